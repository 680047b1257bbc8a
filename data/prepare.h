// From an interaction log to a data folder.
#ifndef DATA_PREPARE_H
#define DATA_PREPARE_H

#include "base/err.h"
#include "base/json.h"

typedef enum PrepareFormat { PREPARE_AUTO, PREPARE_MOVIELENS_100K, PREPARE_RECBOLE } PrepareFormat;

typedef struct PrepareOptions {
    const char *input; // file or folder (RecBole: folder with NAME.inter and NAME.item, or the .inter file)
    const char *out;   // folder to write
    PrepareFormat format;
    const char *category; // phrase for the prompt; NULL: "movie" for MovieLens, else the folder's name
    int k_core;           // 5: iterated to a fixed point; 0: off
    int history;          // 10
    double min_rating;    // 0: off
    const char *split;    // "time" (80/10/10 by target time) or "leave-one-out"
    int strict;
} PrepareOptions;

// Writes train.csv, valid.csv, test.csv, info.txt and dataset.json. The report (counts, what was dropped and why, ties,
// repeated titles) goes to the log and into dataset.json. *report (caller owns) may be NULL.
int prepare_run(const PrepareOptions *o, json_t **report, Err *err);

#endif
