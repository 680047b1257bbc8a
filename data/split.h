// From the events of a log to the rows of three splits: order in time, cuts. All in memory.
#ifndef DATA_SPLIT_H
#define DATA_SPLIT_H

#include "data/interactions.h"

enum { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST, SPLITS };

enum { SPLIT_EVENTS_LIMIT = INT32_MAX };

typedef struct Split {
    const Event *event; // (events): user after user by first event, each by time, ties in file order or one of chance
    size_t events;
    int32_t *number; // (items of the log): number of a kept item in the order of the item file, or -1
    int items, users, users_without_row;
    int history;              // most predecessors of a row
    uint32_t *row;            // (begin[SPLITS]): the event that is the target; its predecessors stand right before it
    size_t begin[SPLITS + 1]; // the rows of split s are [begin[s], begin[s + 1])
} Split;

// Sorts the events of `x` (at most SPLIT_EVENTS_LIMIT) in place and borrows them. A time split orders all rows by their
// target's time (ties: user after user, as the published pipeline has it) and cuts at 8/10 and 9/10 of them. Leave-one-out
// gives each user's last target to test, the one before to valid, the others to train; it needs three events a user.
// tie_order: 0, or the seed of the order of a user's events of the same time.
void split_make(Split *s, Interactions *x, int leave_one_out, int history, uint64_t tie_order);
int split_history(const Split *s, uint32_t target); // how many predecessors that row has
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
