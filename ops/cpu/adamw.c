#include "ops/cpu/cpu.h"

#include <math.h>

enum { CHUNK_VALUES = 1 << 16 };

// As torch.optim.AdamW: p *= 1 - lr decay, then the step with both corrections. 1 - lr decay itself is never formed: its
// rounding to float would be the same each step and add up.
void op_adamw(Ops *ops, float *p, float *m, float *v, const float *g, size_t n, float lr, float beta1, float beta2, float eps,
              float decay, int64_t step, float g_scale) {
    double c1 = 1.0 - pow((double)beta1, (double)step), c2 = 1.0 - pow((double)beta2, (double)step);
    float step_size = (float)((double)lr / c1), v_scale = (float)(1.0 / sqrt(c2)), shrink = (float)((double)lr * (double)decay);
    PARALLEL_FOR(n)
    for (size_t at = 0; at < n; at += CHUNK_VALUES)
        ops->k->adamw(p + at, m + at, v + at, g + at, n - at < CHUNK_VALUES ? n - at : CHUNK_VALUES, g_scale, beta1, beta2,
                      step_size, v_scale, eps, shrink);
}

double op_sum_squares(Ops *ops, const float *x, size_t n) {
    size_t chunks = (n + CHUNK_VALUES - 1) / CHUNK_VALUES, mark = arena_mark(&ops->shared);
    double *partial = ARENA_NEW(&ops->shared, double, chunks + 1), sum = 0;
    PARALLEL_FOR(n)
    for (size_t c = 0; c < chunks; c++) {
        size_t at = c * CHUNK_VALUES;
        partial[c] = ops->k->sum_squares(x + at, n - at < CHUNK_VALUES ? n - at : CHUNK_VALUES);
    }
    for (size_t c = 0; c < chunks; c++) sum += partial[c];
    arena_reset(&ops->shared, mark);
    return sum;
}
