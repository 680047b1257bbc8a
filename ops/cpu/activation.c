// Element by element between the two products of a feed-forward: ReLU and GELU, and dropout.
#include "ops/cpu/cpu.h"

void op_activation_forward(Ops *ops, act *out, const act *x, Activation kind, int N, int F) {
    const size_t f = (size_t)F;
    PARALLEL_FOR((size_t)N * f)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        const size_t mark = arena_mark(a);
        float *in = ARENA_NEW(a, float, f), *y = ARENA_NEW(a, float, f);
        ops->k->load(in, act_row(ops, x, (size_t)n, f), f, ops->dtype);
        ops->k->activation(y, in, f, kind);
        ops->k->store(act_row(ops, out, (size_t)n, f), y, f, ops->dtype);
        arena_reset(a, mark);
    }
}

void op_activation_backward(Ops *ops, act *dx, const act *dout, const act *x, Activation kind, int N, int F) {
    const size_t f = (size_t)F;
    PARALLEL_FOR((size_t)N * f)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        const size_t mark = arena_mark(a);
        float *in = ARENA_NEW(a, float, f), *dy = ARENA_NEW(a, float, f), *d = ARENA_NEW(a, float, f);
        ops->k->load(in, act_row(ops, x, (size_t)n, f), f, ops->dtype);
        ops->k->load(dy, act_row(ops, dout, (size_t)n, f), f, ops->dtype);
        ops->k->activation_backward(d, dy, in, f, kind);
        ops->k->store(act_row(ops, dx, (size_t)n, f), d, f, ops->dtype);
        arena_reset(a, mark);
    }
}

// One block of random bits serves eight values, and a kernel makes eight of them at a time.
void op_dropout(Ops *ops, void *x, Dtype type, const Dropout *d, uint64_t stream, int N, int D) {
    const size_t width = (size_t)D, row_bytes = width * dtype_bytes(type);
    const uint32_t least = (uint32_t)(d->rate * 65536.0f + 0.5f);
    const float scale = 65536.0f / (float)(65536 - least);
    const uint64_t blocks = (width + 63) / 64 * 8;
    PARALLEL_FOR((size_t)N * width)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        const size_t mark = arena_mark(a);
        char *at = (char *)x + (size_t)n * row_bytes;
        float *row = ARENA_NEW(a, float, width);
        ops->k->load(row, at, width, type);
        ops->k->dropout(row, width, least, scale, d->seed, stream, d->key[n] * blocks);
        ops->k->store(at, row, width, type);
        arena_reset(a, mark);
    }
}
