// The data folder all commands read: train.csv, valid.csv, test.csv and info.txt in the published layout, and
// dataset.json (category phrase, counts, hashes). A folder from elsewhere without dataset.json is read as it is.
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include "base/err.h"
#include "base/json.h"
#include "base/vec.h"
#include <stdint.h>

// Items of info.txt ("title<TAB>item id"), in file order: item number i is the line i.
typedef struct Items {
    int n;
    const char **title, **id; // borrowed from `text`
    char *text;
    struct ItemsIndex *index;
} Items;

int items_open(Items *items, const char *info_txt_path, Err *err);
void items_free(Items *items);
int items_by_id(const Items *items, const char *id);       // item number, or -1
int items_by_title(const Items *items, const char *title); // first item with that title, or -1
int items_title_group(const Items *items, int item);       // number of the first item with the same title

// One row of a split: up to 10 predecessors, oldest first, and the target.
typedef struct Row {
    const char *user, *target_title, *target_id; // borrowed from the Rows
    int64_t timestamp;
    int n;                      // history
    const char *const *title;   // (n)
    const char *const *item_id; // (n)
} Row;

typedef struct Rows {
    int n;
    Row *row;
    char *name; // "valid"
    struct RowsMemory *memory;
} Rows;

// Columns are found by name (user_id, history_item_title, item_title, history_item_id, item_id, timestamp; the others are
// checked for form and kept out of memory). max_rows 0: all; else the first max_rows. strict: a bad row is an error (exit
// 3, with file, line and column); else it is skipped, counted and named in the log.
int rows_open(Rows *rows, const char *csv_path, const char *name, int max_rows, int strict, Err *err);
void rows_free(Rows *rows);

typedef struct Dataset {
    char *folder, *category;
    Items items;
    json_t *json; // dataset.json, or NULL
} Dataset;

// category_override may be NULL; without it and without dataset.json the phrase is "item" and a warning says so.
int dataset_open(Dataset *d, const char *folder, const char *category_override, Err *err);
void dataset_close(Dataset *d);
// split: "train", "valid" or "test".
int dataset_rows(const Dataset *d, Rows *rows, const char *split, int max_rows, Err *err);
// {"folder": name, "train.csv": hash, ...} of the files that are there, for metrics.json. The caller owns it.
json_t *dataset_hashes(const Dataset *d, Err *err);

#endif
