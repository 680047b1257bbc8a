// SASRec: at every item of a user's sequence predict the next one (Kang & McAuley 2018; with full cross-entropy Klenitskiy &
// Vasilev 2023). Where the model thinks, its thoughts stand between each item and what is predicted there: LatentRATT's over
// the hidden states up to it, or the hidden states themselves, K steps in a row (ReaRec, Tang et al. 2025, arXiv 2503.22675).
#ifndef TRAIN_SASREC_H
#define TRAIN_SASREC_H

#include "model/session.h"
#include "train/loop.h"
#include "train/optimizer.h"
#include "train/shares.h"

typedef struct SasrecExample {
    const int32_t *item; // (n) oldest first: item[i] is predicted from item[0 .. i)
    int n;               // at least 2
    const int32_t *seen; // (seen_n) what the user met up to there: no negatives
    int seen_n;
    const int32_t *place; // (places) ascending, the last n - 1: which items are predicted; NULL: all but the first
    int places;
} SasrecExample;

typedef struct SasrecExamples { // borrowed
    int n, longest;
    const SasrecExample *example; // (n)
} SasrecExamples;

typedef enum SasrecLoss { SASREC_CROSS_ENTROPY, SASREC_BINARY } SasrecLoss;

typedef struct SasrecMethod {
    SasrecLoss loss;
    int negatives; // of the binary loss, for each prediction: uniform over the items that the user has not met
    float dropout;
    uint64_t seed; // of dropout and negatives
} SasrecMethod;

// One update's gradients, added to the model's: of the mean loss over all predictions, in micro-batches of at most micro_rows
// positions (at least one example each). What is random depends on (seed, step, example, position) alone. Returns the summed
// loss; *predictions (may be NULL) how many were made.
double sasrec_update(Session *s, const SasrecExamples *e, const uint32_t *index, int n, const SasrecMethod *m, int64_t step,
                     int micro_rows, int64_t *predictions);

// Mean NDCG@10 of the predictions, each ranked among all items, by all ranks together (NULL: alone). Ties count as half.
// v: see loop.h.
double sasrec_ndcg(Session *s, const SasrecExamples *e, int micro_rows, const Ranks *ranks, LoopValidation *v);

typedef struct SasrecOptions {
    LoopOptions loop;
    OptimizerOptions optimizer; // steps is computed here
    SasrecMethod method;
} SasrecOptions;

// Trains all of the model; the best by NDCG@10 on `valid` is kept.
int sasrec_train(Session *s, const SasrecExamples *train, const SasrecExamples *valid, const SasrecOptions *o,
                 LoopReport *report, Err *err);

// Positions a session needs for micro-batches of micro_rows.
int sasrec_slots(const SasrecExamples *e, int thoughts, int micro_rows);

#endif
