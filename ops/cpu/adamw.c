#include "ops/adamw.h"
#include "ops/cpu/cpu.h"

enum { CHUNK_VALUES = 1 << 16 };

// As torch.optim.AdamW: p *= 1 - lr decay, then the step with both corrections. 1 - lr decay itself is never formed: its
// rounding to float would be the same each step and add up.
void op_adamw(Ops *ops, float *p, float *m, float *v, const float *g, size_t n, float lr, float beta1, float beta2, float eps,
              float decay, int64_t step, float g_scale) {
    const AdamScales s = adam_scales(lr, beta1, beta2, decay, step);
    PARALLEL_FOR(n)
    for (size_t at = 0; at < n; at += CHUNK_VALUES)
        ops->k->adamw(p + at, m + at, v + at, g + at, n - at < CHUNK_VALUES ? n - at : CHUNK_VALUES, g_scale, beta1, beta2,
                      s.step, s.v, eps, s.shrink);
}

// Eight indices serve 64 values: a chunk that begins at value `at` draws from first + at / 8 on.
void op_adamw_half(Ops *ops, uint16_t *p, uint16_t *m, uint16_t *v, const float *g, size_t n, float lr, float beta1,
                   float beta2, float eps, float decay, int64_t step, float g_scale, uint64_t seed, uint64_t stream,
                   uint64_t first) {
    enum { CHUNK = 4096 };
    const AdamScales s = adam_scales(lr, beta1, beta2, decay, step);
    PARALLEL_FOR(n)
    for (size_t at = 0; at < n; at += CHUNK) {
        Arena *a = &ops->own[omp_get_thread_num()];
        const size_t mark = arena_mark(a), count = n - at < CHUNK ? n - at : CHUNK;
        uint16_t *const half[] = {p + at, m + at, v + at};
        float *wide[3];
        for (int i = 0; i < 3; i++) {
            wide[i] = ARENA_NEW(a, float, count);
            ops->k->load(wide[i], half[i], count, DTYPE_BF16);
        }
        ops->k->adamw(wide[0], wide[1], wide[2], g + at, count, g_scale, beta1, beta2, s.step, s.v, eps, s.shrink);
        for (int i = 0; i < 3; i++)
            ops->k->store_random(half[i], wide[i], count, seed, stream | (uint64_t)i << 8, first + at / 8);
        arena_reset(a, mark);
    }
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

void op_add_squares(Ops *ops, double *sum, const float *x, size_t n) {
    *sum += op_sum_squares(ops, x, n);
}
