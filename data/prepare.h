// From an interaction log to a data folder.
#ifndef DATA_PREPARE_H
#define DATA_PREPARE_H

#include "base/err.h"
#include "base/json.h"
#include "data/source.h"

typedef struct PrepareOptions {
    const char *input;                 // a log, or a folder with one
    const char *items;                 // the file of its items; NULL: the one beside it
    const char *out;                   // folder to write
    const char *format;                // one of RECORDS_FORMATS; NULL or "auto": what the files look like
    const char *column[RECORDS_NAMES]; // names of columns or members in tsv, csv and jsonl; NULL: found by themselves
    const char *category;              // phrase for the prompt; NULL: that of the source
    const char *title_rules;           // "published", "none"; NULL or "auto": published where log or items are Amazon's
    const char *from, *until;          // YYYY-MM-DD (UTC), [from, until); NULL: off
    int min_items;                     // `from` moves back by three months until so many items are left; 0: off
    int k_core;                        // 5: iterated to a fixed point; 0: off
    int history;                       // 10
    double min_rating;                 // 0: off
    const char *split;                 // "time" (80/10/10 by target time) or "leave-one-out"
    uint64_t tie_order;                // split_make's
    int drop_years;                    // " (1995)" at the end of titles is left out
    int log_ids;                       // items bear the log's ids beside their numbers; 0: as published
    int train_from_histories;          // of a published folder without train.csv: see data/histories.h
    int strict;
    const char *idle_if_split; // an option that was given and does nothing to a published folder, which is refused; or NULL
} PrepareOptions;

// Writes train.csv, valid.csv, test.csv, info.txt and dataset.json. The report (counts, what was dropped and why, ties,
// repeated titles) goes to the log and into dataset.json. *report (caller owns) may be NULL.
int prepare_run(const PrepareOptions *o, json_t **report, Err *err);

// What is read besides a log that is a file: its items, or the folder of the published layout, malloc'd. NULL: nothing, or
// prepare_run would say what is wrong.
char *prepare_beside(const PrepareOptions *o);

int prepare_published_titles(const PrepareOptions *o, const Source *source); // whether titles_clean's rules hold

#endif
