// The processes ("ranks") that train or evaluate together, as mpirun starts them: each has the whole model and all data, and
// computes its part of every update. Rank 0 alone writes files and speaks. A program that mpirun did not start is one rank, and
// neither loads MPI nor waits for it.
//
// What is between two ranks goes through these calls, which all ranks make in the same order. A NULL Ranks is one rank.
#ifndef TRAIN_RANKS_H
#define TRAIN_RANKS_H

#include "base/err.h"

typedef struct RanksCarrier { // what carries bytes: MPI (train/mpi/), or threads of a test
    // all (size, bytes): what rank i gave as `mine` stands at i.
    void (*gather)(void *self, const void *mine, void *all, size_t bytes);
    // in (size, bytes): block `rank` of what rank i gave as `out` (size, bytes) stands at i.
    void (*exchange)(void *self, const void *out, void *in, size_t bytes);
    void (*broadcast)(void *self, void *data, size_t bytes); // from rank 0
    // all (size): each rank's value, as soon as all have called; -1 where that takes longer than `seconds` (0: no limit). What
    // else the others may be waiting in does not disturb it.
    int (*meet)(void *self, int value, int *all, double seconds);
    void (*leave)(void *self);                             // nothing can be called behind it
    void (*abandon)(int status) __attribute__((noreturn)); // ends all ranks at once
} RanksCarrier;

typedef struct Ranks {
    int rank, size;
    const RanksCarrier *carrier; // NULL: alone
    void *self;                  // the carrier's own
    struct Watch *watch;         // watch.h; NULL: nobody sees to it that the others are still there
} Ranks;

static inline int ranks_size(const Ranks *r) {
    return r && r->carrier ? r->size : 1;
}
static inline int ranks_rank(const Ranks *r) {
    return r && r->carrier ? r->rank : 0;
}

// Joins the others where mpirun started this process and others beside it. ERR_USAGE where this build has no MPI.
int ranks_open(Ranks *r, Err *err);
// To be called with the status, and the error, that the work ended with. Returns a status that is the same on all ranks: that
// of the first that failed. That one says its error here; no message is left in err. Where others are still at work, and would
// wait for ever, all are ended.
int ranks_close(Ranks *r, int status, Err *err);

void ranks_gather(const Ranks *r, const void *mine, void *all, size_t bytes);
void ranks_broadcast(const Ranks *r, void *data, size_t bytes);

// x (n, bytes): element i was made by rank owner[i]; all receive all.
void ranks_collect(const Ranks *r, void *x, const int *owner, int n, size_t bytes);
// The sum of x (n), from the first to the last, whatever the ranks: each has set those that ranks_mine says are its own.
double ranks_sum(const Ranks *r, double *x, int n);
static inline int ranks_mine(const Ranks *r, int i) {
    return i % ranks_size(r) == ranks_rank(r);
}

// Rank 0's text, malloc'd, on all ranks; that of the others is not looked at.
char *ranks_text(const Ranks *r, const char *text);

// The same status and error on all ranks: those of the first that has one, with its number before the message.
int ranks_agree(const Ranks *r, int status, Err *err);

#endif
