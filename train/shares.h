// An update cut into shares, each computed by one rank, whose gradients are added in the order of the shares.
//
// By default each rank has one share: the same ranks and threads give the same bits. Deterministic, there are SHARES_FIXED of
// them whatever the ranks (share i is rank i modulo size's), each begun with gradients of zero, so that any number of ranks
// gives the same bits. That costs a pass over the gradients for each share and, between all ranks, memory for one more copy of
// them.
//
// A round is a share of each rank. The gradients of all shares go in buckets, from the end of the parameters to their
// beginning: each rank receives its part of a bucket of all shares and adds them one after the other; in the last round all
// receive all sums. A bucket goes as soon as its gradients are final, while the pass back goes on (session.h, layer_final): a
// thread, the courier, exchanges and adds what this one has put before it.
#ifndef TRAIN_SHARES_H
#define TRAIN_SHARES_H

#include "model/session.h"
#include "train/optimizer.h"
#include "train/ranks.h"

enum { SHARES_FIXED = 8 };

typedef struct Shares {
    const Ranks *ranks; // borrowed; NULL: alone
    Llm *llm;
    int n, rounds;              // shares of an update; those of a rank
    int *begin;                 // (n + 1) of the update's examples, from shares_cut
    size_t from, count;         // the range of the parameter block that trains
    size_t slice, buckets;      // values of a bucket that go to each rank; how many of those there are
    size_t *final;              // (L) the first so many buckets are final when the pass back has left the layer
    float *slot, *in;           // (slots, size, slice) of buckets under way; (size, slice)
    float *sum;                 // (buckets, slice) of this rank's part; with one round (slice)
    size_t slots, given, taken; // of this round's buckets: put before the courier; done with
    int round;
    Session *session;        // that tells of final layers, between shares_begin and shares_add
    struct Courier *courier; // NULL: one rank
    double seconds;          // in shares_add
} Shares;

// ERR_USAGE for more ranks than there are shares.
int shares_check(const Ranks *ranks, int deterministic, Err *err);
// How many an update has.
int shares_count(const Ranks *ranks, int deterministic);
// Behind llm_train. bucket: values of one; 0: as many as are good.
void shares_init(Shares *s, const Ranks *ranks, Llm *m, int deterministic, size_t bucket);
void shares_free(Shares *s);

// Example i of the update's n has rows[i] positions: each share gets about as many. A share may be empty.
void shares_cut(Shares *s, const int *rows, int n);

// This rank's share in a round; one behind the last is empty.
typedef struct Share {
    int number, first, end; // examples [first, end)
} Share;
Share shares_own(const Shares *s, int round);

// "seconds_between_ranks" of a step's event: since the last call, in shares_add, waiting for slower ranks included. What went
// while the pass back went on is not in it.
void shares_tell(Shares *s, json_t *event);

// Around the work of each round, on all ranks. Behind it the gradients of its share are in the model; behind the last
// shares_add those of the update. The session is the one in which gradients become final.
void shares_begin(Shares *s, Session *session, int round);
void shares_add(Shares *s);

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
