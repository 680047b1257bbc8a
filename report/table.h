// A table of an experiment: rows by metrics, each with mean and spread over the seeds, and gains over one of the rows.
#ifndef REPORT_TABLE_H
#define REPORT_TABLE_H

#include "base/json.h"
#include "base/vec.h"
#include "report/spread.h"

typedef struct TableRow {
    char *label;
    SpreadValue *value; // (metrics)
} TableRow;

typedef struct Table {
    const char *title, *baseline; // title: over the labels; baseline: label of the row that others are held against, or NULL
    const char *const *metric;    // (metrics)
    int metrics;
    TableRow *row; // (rows)
    int rows;
} Table;

void table_markdown(Str *out, const Table *t);
void table_csv(Str *out, const Table *t); // a line for each row and metric, all digits
void table_latex(Str *out, const Table *t);
// [{"row", "metrics": {"HR@10": {"runs", "mean", "sd", "gain": {"pairs", "other", "gain", "relative", "interval", "p"}}}}]
json_t *table_to_json(const Table *t);

#endif
