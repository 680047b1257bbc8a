// AdamW over the parameter groups that train, with a schedule and clipping of the global norm.
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "model/llm.h"

typedef enum Schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE } Schedule;

typedef struct OptimizerOptions {
    double lr;                       // at the top of the warm-up
    double latent_lr;                // LatentRATT's; 0: lr
    double beta1, beta2, eps, decay; // 0.9, 0.999, 1e-8, 0
    double clip;                     // global gradient norm; 0: no clipping
    Schedule schedule;
    int64_t warmup, steps; // updates; the rate falls to 0 at `steps`
    uint64_t seed;         // of the rounding of what is kept in bf16
} OptimizerOptions;

typedef struct Optimizer {
    OptimizerOptions options;
    Llm *llm;
    Arena arena;               // device: moments
    size_t begin, count;       // the range of the parameter block that trains
    float *m, *v;              // (count)
    uint16_t *half_m, *half_v; // (count) in their place for what the model keeps in bf16 (llm_is_half), or NULL
    int64_t step;              // updates done
} Optimizer;

int optimizer_init(Optimizer *o, Llm *m, const OptimizerOptions *options, Err *err);
void optimizer_free(Optimizer *o);
// Learning rate of update number step (0, 1, ...).
double optimizer_rate(const OptimizerOptions *o, int64_t step);
typedef struct OptimizerStep {
    double rate, norm; // learning rate used; gradient norm before clipping
    int refused;       // the norm is not finite: nothing was changed
} OptimizerStep;
// One update from the gradients in the model, which are then zeroed; moves the model's version.
OptimizerStep optimizer_update(Optimizer *o);

// What a checkpoint holds: the weights that train, their moments and the step, as optimizer_bytes bytes of the host.
size_t optimizer_bytes(Optimizer *o);
void optimizer_store(Optimizer *o, void *out);
// The other way. Bytes of another model, or with values that no training has (not finite, a negative second moment), are
// ERR_DATA and change nothing.
int optimizer_load(Optimizer *o, const void *in, size_t bytes, Err *err);

#endif
