// What `prepare` says of its work: dataset.json, the log, --json.
#ifndef DATA_REPORT_H
#define DATA_REPORT_H

#include "base/json.h"
#include "data/filter.h"
#include "data/prepare.h"
#include "data/source.h"
#include "data/split.h"

extern const char *const report_split_name[SPLITS];

// Format, version, category, source and options; the caller owns it.
json_t *report_new(const PrepareOptions *o, const Source *source);
// Counts of a log that was filtered and split.
void report_add(json_t *report, const Split *s, const Interactions *x, const FilterCounts *f);
void report_log(const json_t *report);

void report_put(json_t *o, const char *name, int64_t count);
json_t *report_object(json_t *o, const char *name); // a new object inside of another
void report_put_splits(json_t *o, const char *name, const int64_t count[SPLITS], int first);
void report_put_hash(json_t *o, const char *path, const char hex[33]); // under the file's name

#endif
