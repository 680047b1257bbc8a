#include "ops/cpu/cpu.h"

#include <math.h>
#include <string.h>

typedef struct Rows { // of one thread: two rows of scratch
    Arena *arena;
    size_t mark;
    float *centered, *out;
} Rows;

static Rows rows_take(Ops *ops, int D) {
    Rows r = {.arena = &ops->own[omp_get_thread_num()]};
    r.mark = arena_mark(r.arena);
    r.centered = ARENA_NEW(r.arena, float, D);
    r.out = ARENA_NEW(r.arena, float, D);
    return r;
}

static void apply(Ops *ops, act *out, int n, const Rows *r, float rstd, const float *weight, const float *bias, int D) {
    ops->k->norm_apply(r->out, r->centered, weight, rstd, (size_t)D);
    ops->k->axpy(r->out, 1.0f, bias, (size_t)D);
    ops->k->store(act_row(ops, out, (size_t)n, (size_t)D), r->out, (size_t)D, ops->dtype);
}

void op_layernorm_forward(Ops *ops, act *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight,
                          const float *bias, int N, int D, float eps) {
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int n = 0; n < N; n++) {
        const float *row = x + (size_t)n * D;
        if (delta) {
            float *to = sum + (size_t)n * D;
            if (to != row) memcpy(to, row, (size_t)D * 4);
            ops->k->axpy(to, 1.0f, delta + (size_t)n * D, (size_t)D);
            row = to;
        }
        Rows r = rows_take(ops, D);
        rstd[n] = (float)(1.0 / sqrt(ops->k->center(r.centered, row, (size_t)D) / D + (double)eps));
        apply(ops, out, n, &r, rstd[n], weight, bias, D);
        arena_reset(r.arena, r.mark);
    }
}

void op_layernorm_again(Ops *ops, act *out, const float *x, const float *rstd, const float *weight, const float *bias, int N,
                        int D) {
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int n = 0; n < N; n++) {
        Rows r = rows_take(ops, D);
        ops->k->center(r.centered, x + (size_t)n * D, (size_t)D);
        apply(ops, out, n, &r, rstd[n], weight, bias, D);
        arena_reset(r.arena, r.mark);
    }
}

// With c = x - mean, y = c rstd w + b and g = dout w:  dx = rstd (g - mean(g) - c rstd^2 mean(g . c)).
void op_layernorm_backward(Ops *ops, float *dx, float *dweight, float *dbias, const float *dout, const float *x,
                           const float *rstd, const float *weight, int N, int D) {
    const int chunks = (N + CPU_ROW_CHUNK - 1) / CPU_ROW_CHUNK;
    const size_t width = (size_t)D, shared = arena_mark(&ops->shared);
    float *partial = dweight ? ARENA_NEW(&ops->shared, float, (size_t)chunks * 2 * width) : NULL; // (chunks, 2, D)
    PARALLEL_FOR((size_t)N * width)
    for (int c = 0; c < chunks; c++) {
        float *dw = partial ? partial + (size_t)c * 2 * width : NULL, *db = dw ? dw + width : NULL;
        if (dw) memset(dw, 0, 2 * width * 4);
        Rows r = rows_take(ops, D);
        const int end = (c + 1) * CPU_ROW_CHUNK < N ? (c + 1) * CPU_ROW_CHUNK : N;
        for (int n = c * CPU_ROW_CHUNK; n < end; n++) {
            const float *d = dout + (size_t)n * width;
            float *to = dx + (size_t)n * width;
            ops->k->center(r.centered, x + (size_t)n * width, width);
            ops->k->norm_apply(r.out, d, weight, 1.0f, width);
            const float along = ops->k->dot(r.out, r.centered, width) / (float)D,
                        mean = ops->k->dot(d, weight, width) / (float)D;
            ops->k->norm_backward(to, dw, d, r.centered, weight, rstd[n], rstd[n] * rstd[n] * along, width);
            ops->k->shift(to, -rstd[n] * mean, width);
            if (db) ops->k->axpy(db, 1.0f, d, width);
        }
        arena_reset(r.arena, r.mark);
    }
    for (int c = 0; partial && c < chunks; c++) {
        ops->k->axpy(dweight, 1.0f, partial + (size_t)c * 2 * width, width);
        ops->k->axpy(dbias, 1.0f, partial + ((size_t)c * 2 + 1) * width, width);
    }
    arena_reset(&ops->shared, shared);
}
