#include "ops/cpu/cpu.h"

#include <math.h>
#include <string.h>

static float *own_row(Ops *ops, size_t mark[1], size_t n) {
    Arena *a = &ops->own[omp_get_thread_num()];
    mark[0] = arena_mark(a);
    return ARENA_NEW(a, float, n);
}

static void own_reset(Ops *ops, const size_t mark[1]) {
    arena_reset(&ops->own[omp_get_thread_num()], mark[0]);
}

void op_rmsnorm_forward(Ops *ops, act *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight,
                        int N, int D, float eps) {
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int n = 0; n < N; n++) {
        const float *row = x + (size_t)n * D;
        if (delta) {
            float *to = sum + (size_t)n * D;
            if (to != row) memcpy(to, row, (size_t)D * 4);
            ops->k->axpy(to, 1.0f, delta + (size_t)n * D, (size_t)D);
            row = to;
        }
        rstd[n] = (float)(1.0 / sqrt(ops->k->sum_squares(row, (size_t)D) / D + (double)eps));
        size_t mark[1];
        float *normed = own_row(ops, mark, (size_t)D);
        ops->k->norm_apply(normed, row, weight, rstd[n], (size_t)D);
        ops->k->store(act_row(ops, out, (size_t)n, (size_t)D), normed, (size_t)D, ops->dtype);
        own_reset(ops, mark);
    }
}

void op_rmsnorm_again(Ops *ops, act *out, const float *x, const float *rstd, const float *weight, int N, int D) {
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int n = 0; n < N; n++) {
        size_t mark[1];
        float *normed = own_row(ops, mark, (size_t)D);
        ops->k->norm_apply(normed, x + (size_t)n * D, weight, rstd[n], (size_t)D);
        ops->k->store(act_row(ops, out, (size_t)n, (size_t)D), normed, (size_t)D, ops->dtype);
        own_reset(ops, mark);
    }
}

// With y = x rstd w and g = dout w:  dx = rstd (g - x rstd^2 mean(g . x)).
void op_rmsnorm_backward(Ops *ops, float *dx, float *dweight, const float *dout, const float *x, const float *rstd,
                         const float *weight, int N, int D) {
    int chunks = (N + CPU_ROW_CHUNK - 1) / CPU_ROW_CHUNK;
    size_t shared = arena_mark(&ops->shared);
    float *partial = dweight ? ARENA_NEW(&ops->shared, float, (size_t)chunks *D) : NULL; // (chunks, D)
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int c = 0; c < chunks; c++) {
        float *dw = partial ? partial + (size_t)c * D : NULL;
        if (dw) memset(dw, 0, (size_t)D * 4);
        size_t mark[1];
        float *weighted = own_row(ops, mark, (size_t)D);
        int end = (c + 1) * CPU_ROW_CHUNK < N ? (c + 1) * CPU_ROW_CHUNK : N;
        for (int n = c * CPU_ROW_CHUNK; n < end; n++) {
            const float *d = dout + (size_t)n * D, *row = x + (size_t)n * D;
            ops->k->norm_apply(weighted, d, weight, 1.0f, (size_t)D);
            float mean = ops->k->dot(weighted, row, (size_t)D) / (float)D;
            ops->k->norm_backward(dx + (size_t)n * D, dw, d, row, weight, rstd[n], rstd[n] * rstd[n] * mean, (size_t)D);
        }
        own_reset(ops, mark);
    }
    for (int c = 0; partial && c < chunks; c++) ops->k->axpy(dweight, 1.0f, partial + (size_t)c * D, (size_t)D);
    arena_reset(&ops->shared, shared);
}
