// A backbone that is only used: no f32 master. Matrices are read from the model's file straight into the kernels' layout
// (half the memory in bf16, and no copy in between). Those that do not fit stream: each is read and laid out again for each
// product, to the same bits, so that a model runs in little memory beside its file.
#ifndef MODEL_FROZEN_H
#define MODEL_FROZEN_H

#include "model/weights.h"

typedef struct Frozen Frozen;

// In place of weights_load: norms, biases and LatentRATT are loaded, the embedding table in the compute type, the matrices
// bound to `s`, which must stay open as long as the model. Checks what weights_load checks. memory_bytes: what the matrices
// may take, the others stream (0: all of them where they fit into three quarters of the device, else half of it; 1: none).
// FROZEN_UNUSED: nothing will be multiplied, so no matrix is kept, nor read before it is asked for.
#define FROZEN_UNUSED SIZE_MAX
int frozen_attach(Llm *m, const WeightsSource *s, size_t memory_bytes, Err *err);
void frozen_free(Frozen *f);
// Row `row` (dims[1]) of a matrix parameter as the file has it, f32: for saving a model whose backbone was not touched.
void frozen_param_row(const Llm *m, const Param *p, size_t row, float *out);
// -1, naming the place, where the file's matrix holds a value that is not finite.
int frozen_check_param(const Llm *m, const Param *p, Err *err);

#endif
