// From the events of a log to the rows of three splits: filters, k-core, order in time, cuts. All in memory.
#ifndef DATA_SPLIT_H
#define DATA_SPLIT_H

#include "data/interactions.h"

enum { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST, SPLITS };

typedef struct SplitOptions {
    int k_core;        // least number of interactions of a user and of an item, iterated to a fixed point; 0 or 1: off
    int history;       // most predecessors in a row
    double min_rating; // 0: off
    int leave_one_out; // else cut 80/10/10 by time
} SplitOptions;

typedef struct SplitRow {
    size_t event; // the target; its predecessors stand right before it
    int history;  // how many of them
} SplitRow;

typedef struct Split {
    const Event *event; // (events): kept, user after user by first event, each by time, ties in file order
    size_t events;
    int32_t *number; // (items of the log): number of a kept item in the order of the item file, or -1
    int items, users;
    SplitRow *row;            // (begin[SPLITS])
    size_t begin[SPLITS + 1]; // the rows of split s are [begin[s], begin[s + 1])
    // Events dropped, and users left without a row.
    int64_t low_rating, untitled, too_few, users_without_row;
} Split;

// Sorts and filters the events of `x` in place and borrows them. A time split orders all rows by their target's time (ties:
// user after user, as the published pipeline has it) and cuts at 8/10 and 9/10 of them. Leave-one-out gives each user's last
// target to test, the one before to valid, the others to train; users with fewer than 3 events are dropped.
void split_make(Split *s, Interactions *x, const SplitOptions *o);
void split_free(Split *s);

typedef struct SplitStatistics {
    int64_t repeated_titles, repeated_title_items; // titles with several items, and those items
    int64_t repeated_pairs;                        // events whose user met the item before
    int64_t last_two_tied;                         // users whose last two events have the same time
    int64_t tied_rows[SPLITS];                     // rows whose target has the time of the event before
    int cut_tied[SPLITS];                          // the first row has the time of the last row of the split before
    int64_t cold_rows[SPLITS], cold_items[SPLITS]; // targets in no row of train
    int64_t late_train_rows;                       // later than the first target of test
} SplitStatistics;

void split_statistics(SplitStatistics *out, const Split *s, const Interactions *x);

#endif
