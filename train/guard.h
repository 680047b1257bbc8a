// Whether the figures of an update are those of a training that goes well: an update that has none, or a spike, is refused.
#ifndef TRAIN_GUARD_H
#define TRAIN_GUARD_H

#include <stdint.h>

enum { GUARD_WINDOW = 200, GUARD_LEAST = 50 };

typedef struct Guard { // plain numbers, a part of checkpoints; zeroed at first
    int64_t seen;      // updates taken; the last GUARD_WINDOW of them are here
    double loss[GUARD_WINDOW], norm[GUARD_WINDOW];
} Guard;

// NULL, and the figures are remembered; or why the update is refused. A spike lies more than `limit` times the median absolute
// deviation (at least a thousandth of the median) above the median of the last updates; looked for once there were GUARD_LEAST.
// Where most of these were zeros, or what rounding leaves of them, their deviation says nothing and there is no spike.
// limit 0: none is looked for.
const char *guard_refuses(Guard *g, double loss, double norm, double limit);

#endif
