// AdamW over the parameter groups that train, with a schedule and clipping of the global norm.
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "base/json.h"
#include "model/llm.h"
#include "train/guard.h"

typedef enum Schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE } Schedule;

typedef struct OptimizerOptions {
    double lr;        // at the top of the warm-up
    double latent_lr; // LatentRATT's; 0: lr
    double clip;      // global gradient norm; 0: no clipping
    double spike;     // guard_refuses' limit
    Schedule schedule;
    int64_t warmup, steps; // updates; the rate falls to 0 at `steps`
    uint64_t seed;         // of the rounding of what is kept in bf16
} OptimizerOptions;

typedef struct OptimizerStep {
    double rate, norm;  // learning rate used; gradient norm before clipping
    double latent_rate; // LatentRATT's
    int refused;        // by guard_refuses: nothing was changed
    const char *why;    // it was refused, or NULL
    const char *where;  // the first parameter whose gradient is not finite, or NULL
} OptimizerStep;

typedef struct Optimizer {
    OptimizerOptions options;
    Llm *llm;
    Arena arena;               // device: moments
    size_t begin, count;       // the range of the parameter block that trains
    float *m, *v;              // (count)
    uint16_t *half_m, *half_v; // (count) in their place for what the model keeps in bf16 (llm_is_half), or NULL
    int64_t step;              // updates done
    Guard guard;
    OptimizerStep last; // of the last update
} Optimizer;

int optimizer_init(Optimizer *o, Llm *m, const OptimizerOptions *options, Err *err);
void optimizer_free(Optimizer *o);
// Learning rate of update number step (0, 1, ...).
double optimizer_rate(const OptimizerOptions *o, int64_t step);
// One update from the gradients in the model, which are then zeroed; moves the model's version. loss: what they are the
// gradients of, for the guard alone.
OptimizerStep optimizer_update_for(Optimizer *o, double loss);
OptimizerStep optimizer_update(Optimizer *o); // where the loss is not known
// "refused" of a step's event, and "why" and "where" if it was; "latent_learning_rate" where LatentRATT has one of its own.
void optimizer_tell(const OptimizerStep *s, json_t *event);

// 128-bit hash of the weights that train, their moments and the step, 32 hexadecimal digits.
void optimizer_hash(Optimizer *o, char hex[33]);

// What a checkpoint holds: the weights that train, their moments and the step, as optimizer_bytes bytes of the host.
size_t optimizer_bytes(Optimizer *o);
void optimizer_store(Optimizer *o, void *out);
// The other way. Bytes of another model, or with values that no training has (not finite, a negative second moment), are
// ERR_DATA and change nothing.
int optimizer_load(Optimizer *o, const void *in, size_t bytes, Err *err);

#endif
