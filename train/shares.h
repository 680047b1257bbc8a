// An update cut into shares, each computed by one rank, whose gradients are added in the order of the shares.
//
// By default each rank has one share: the same ranks and threads give the same bits. Deterministic, there are SHARES_FIXED of
// them whatever the ranks (share i is rank i modulo size's), each begun with gradients of zero, so that any number of ranks
// gives the same bits. That costs a pass over the gradients for each share and, between all ranks, memory for one more copy of
// them.
//
// A round is a share of each rank. Behind each a rank holds the gradients of its share; the parameters are dealt out to the
// ranks, each receives its part of all shares and adds them one after the other; behind the last round all receive all sums.
#ifndef TRAIN_SHARES_H
#define TRAIN_SHARES_H

#include "model/session.h"
#include "train/optimizer.h"
#include "train/ranks.h"

enum { SHARES_FIXED = 8 };

typedef struct Shares {
    const Ranks *ranks; // borrowed; NULL: alone
    Llm *llm;
    int n, rounds;        // shares of an update; those of a rank
    int *begin;           // (n + 1) of the update's examples, from shares_cut
    size_t from, count;   // the range of the parameter block that trains
    size_t slice, slices; // values that go to a rank at a time; how many of those there are for each
    double seconds;       // in shares_add
    float *out, *in;      // (size, slice)
    float *sum;           // (slices, slice) of this rank's parameters; with one round (slice)
} Shares;

// ERR_USAGE for more ranks than there are shares.
int shares_check(const Ranks *ranks, int deterministic, Err *err);
// Behind llm_train.
void shares_init(Shares *s, const Ranks *ranks, Llm *m, int deterministic);
void shares_free(Shares *s);

// Example i of the update's n has rows[i] positions: each share gets about as many. A share may be empty.
void shares_cut(Shares *s, const int *rows, int n);

// This rank's share in a round; one behind the last is empty.
typedef struct Share {
    int number, first, end; // examples [first, end)
} Share;
Share shares_own(const Shares *s, int round);

// "seconds_between_ranks" of a step's event: since the last call, in shares_add, waiting for slower ranks included.
void shares_tell(Shares *s, json_t *event);

// All ranks call it behind each round. The gradients of its share are in the model; behind the last round those of the update.
void shares_add(Shares *s, int round);

// An update by the mean of a loss over `terms` (tokens, predictions): the shares one after the other, and the optimizer's step.
// `rows` as for shares_cut. `work` computes examples index[first, end) with their gradients, each loss times `weight`, and
// returns the sum of the losses without it.
typedef struct SharesUpdate {
    const uint32_t *index;
    const int *rows;
    int n;
    int64_t terms;
    const char *terms_name; // in the event
    double (*work)(void *context, const uint32_t *index, int first, int end, double weight);
    void *context;
} SharesUpdate;
// The event gets what is to be told of the step. 1 where the update was refused.
int shares_update(Shares *s, Session *session, Optimizer *o, const SharesUpdate *u, json_t *event);

// x (rounds, bytes) of this rank's shares -> all (n, bytes), in the order of the shares.
void shares_gather(const Shares *s, const void *x, void *all, size_t bytes);

// x (examples, bytes): those of each share from its rank.
void shares_collect(const Shares *s, void *x, size_t bytes);

#endif
