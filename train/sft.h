// Stage 1: supervised fine-tuning on the ground-truth titles (method, section 3), in a single pass.
#ifndef TRAIN_SFT_H
#define TRAIN_SFT_H

#include "data/examples.h"
#include "model/think.h"
#include "train/loop.h"
#include "train/optimizer.h"
#include "train/shares.h"

// Forward, loss and backward of some examples (those with the numbers in index, n of them); gradients += weight times the
// summed cross-entropy. weight: 1 / (answer tokens of the whole update), so that any division into micro-batches gives
// the same gradient. Returns the summed cross-entropy. With train 0 it only measures.
double sft_examples(Session *s, const Examples *e, const uint32_t *index, int n, double weight, int train);

// Split index[0..n) into micro-batches of at most micro_rows positions (at least one example each) and add up sft_examples.
// Returns the summed cross-entropy; *answer_tokens (may be NULL) receives the number of answer tokens.
double sft_update(Session *s, const Examples *e, const uint32_t *index, int n, int micro_rows, int train,
                  int64_t *answer_tokens);

// Mean cross-entropy over the answer tokens of all examples, computed by all ranks together (NULL: alone). v: see loop.h.
double sft_measure(Session *s, const Examples *e, int micro_rows, const Ranks *ranks, LoopValidation *v);

typedef struct SftOptions {
    LoopOptions loop;
    OptimizerOptions optimizer; // steps is computed here
    unsigned groups;            // TRAIN_*: which weights train
} SftOptions;

// Whether the model can be trained so: ERR_USAGE before anything is written.
int sft_check(const Llm *m, unsigned groups, Err *err);
// See LoopOptions for stopping and saving. Where LatentRATT alone trains the model as it came competes too, as in RL.
int sft_train(Session *s, const Examples *train, const Examples *valid, const SftOptions *o, LoopReport *report, Err *err);

// Positions that an epoch takes through the network, forward and back together; in another order of the rows micro-batches hold
// others, and what all begin with runs a few times more or less. next: as in LoopOptions. shares: of an update (shares_count),
// each with its own micro-batches.
int64_t sft_epoch_tokens(const Examples *e, const int32_t *next, int thoughts, int batch, int micro_rows, int shares,
                         unsigned groups);

// Positions a session needs for micro-batches of micro_rows.
int sft_slots(const Examples *e, int thoughts, int micro_rows);

#endif
