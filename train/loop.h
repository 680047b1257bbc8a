// What the trainers share: epochs, the order of examples, logging, validation, keeping the best model, stopping, going on.
#ifndef TRAIN_LOOP_H
#define TRAIN_LOOP_H

#include "base/json.h"
#include "base/log.h"
#include "data/examples.h"
#include "model/session.h"
#include "train/checkpoints.h"
#include "train/ranks.h"

#include <stdatomic.h>

typedef struct LoopOptions {
    int batch;      // examples an update
    int micro_rows; // positions a micro-batch
    int epochs;
    int max_steps;  // 0: as the epochs say
    int early_stop; // stop when the validation loss has not fallen for `patience` validations
    int keep_last;  // each validation keeps the model, whatever its loss: what a training made, rather than the best of it
    int patience;
    int validations; // an epoch, from 1
    uint64_t seed;
    const int32_t *next; // (examples) the one that comes right behind it in every epoch's order, or -1; NULL: each by itself
    const atomic_int *interrupt; // non-zero: stop at the end of the step; may be NULL
    const Ranks *ranks;          // that train together, all with the same options but for what follows; NULL: alone
    int deterministic;           // the same bits for any number of ranks (shares.h)
    size_t bucket;               // gradients that the ranks add at a time (shares_init)
    // One event a step, as JSON (borrowed); may be NULL.
    void (*event)(void *context, const json_t *event);
    // The model is the best so far by validation loss (or the last): keep it. Called at least once.
    int (*save)(void *context, Err *err);
    // Whether what was told is lost, and the error: then the run ends behind the present step, at a checkpoint. May be NULL.
    int (*lost)(void *context, Err *err);
    void *context;
    // Where the run's checkpoints go, and the one that it goes on from (checkpoints_find); NULL: none. Rank 0's alone count.
    Checkpoints *checkpoints;
    int save_every; // steps between checkpoints, and one at the end; 0: only where the run is interrupted, and then at its end
} LoopOptions;

typedef struct LoopReport {
    int64_t steps, examples, tokens;
    int64_t tokens_forward, tokens_back; // of the updates alone: rows that went through the network, each way
    double seconds, update_seconds;      // of all, validations and what is saved among them; of the updates alone
    double first_loss, best_loss;        // validation loss before the first step, and of the model kept
    int64_t best_step;                   // 0: the model as it came
    int interrupted;                     // what *interrupt was, of any rank
    int refused;                         // updates refused (guard.h); three in a row end the run
    const char *figure;                  // what the losses are
} LoopReport;

// Updates in all: epochs times the updates of an epoch (the last may be short), or max_steps.
int64_t loop_steps(const LoopOptions *o, int examples);

// A validation under way: how far it is, and whether it is to stop.
typedef struct LoopValidation {
    const atomic_int *interrupt;
    Progress bar;
} LoopValidation;

// Before each micro-batch, with `done` of n examples measured. 1: what is to be measured is not wanted any more; whatever
// `validate` returns does not count, and a run that goes on makes the validation again. v NULL: nobody watches.
int loop_validation_stops(LoopValidation *v, int done, int n);

// The method of one stage, called by loop_run.
typedef struct LoopStage {
    const char *name;
    // Update number `step` (0, 1, ...; a refused one has a number too) on examples index[0..n); fills `event` with its figures
    // (loss, norm, ...). Returns 1 where refused. What is random in it depends on its number alone: nothing else would be there
    // after a resume.
    int (*update)(void *stage, int64_t step, const uint32_t *index, int n, json_t *event);
    double (*validate)(void *stage, LoopValidation *v); // validation loss (lower is better)
    const char *figure;                                 // what `validate` gives where that is no loss, or NULL
    const char *shown;                                  // of an event's figures beside the progress bar; NULL: "loss"
    int (*number)(const void *stage, uint32_t example); // what the log calls an example; NULL: as they are used (0, 1, ...)
    int keep_first; // the model as it came competes too (RL), and is saved before the first step
} LoopStage;
// optimizer: the one that `update` uses; with the session's weights it is what a checkpoint holds.
int loop_run(const LoopOptions *o, const LoopStage *stage, void *context, Optimizer *optimizer, const Session *s, int examples,
             LoopReport *report, Err *err);

#endif
