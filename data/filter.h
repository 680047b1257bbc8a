// Which interactions stay: the k-core, and the window of time that moves back until enough items are left.
#ifndef DATA_FILTER_H
#define DATA_FILTER_H

#include "data/interactions.h"

typedef struct FilterOptions {
    int user_core, item_core; // least number of interactions of a user and of an item, iterated to a fixed point; 0, 1: off
    int64_t from;             // seconds since 1970: earlier interactions go; 0: off
    int min_items;            // while fewer are left, `from` moves back by three months (UTC) and all is done anew; 0: off
} FilterOptions;

typedef struct FilterCounts {
    int64_t from; // where the window begins after all
    int64_t outside_window, too_few;
    int items; // that are left
} FilterCounts;

// Leaves in `x`, in their order, the interactions that stay.
void filter_apply(FilterCounts *out, Interactions *x, const FilterOptions *o);

// The same day and hour `months` earlier, in UTC; the day is cut to the month's last.
int64_t filter_months_back(int64_t seconds, int months);

#endif
