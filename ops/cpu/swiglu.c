#include "ops/cpu/cpu.h"

void op_swiglu_forward(Ops *ops, act *out, const act *gu, int N, int F) {
    PARALLEL_FOR((size_t)N * (size_t)F * 2)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        size_t mark = arena_mark(a), f = (size_t)F;
        float *x = ARENA_NEW(a, float, 2 * f), *y = ARENA_NEW(a, float, f);
        ops->k->load(x, act_row(ops, gu, (size_t)n, 2 * f), 2 * f, ops->dtype);
        ops->k->swiglu(y, x, x + f, f);
        ops->k->store(act_row(ops, out, (size_t)n, f), y, f, ops->dtype);
        arena_reset(a, mark);
    }
}

void op_swiglu_backward(Ops *ops, act *dgu, const act *dout, const act *gu, int N, int F) {
    PARALLEL_FOR((size_t)N * (size_t)F * 2)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        size_t mark = arena_mark(a), f = (size_t)F;
        float *x = ARENA_NEW(a, float, 2 * f), *dx = ARENA_NEW(a, float, 2 * f), *dy = ARENA_NEW(a, float, f);
        ops->k->load(x, act_row(ops, gu, (size_t)n, 2 * f), 2 * f, ops->dtype);
        ops->k->load(dy, act_row(ops, dout, (size_t)n, f), f, ops->dtype);
        ops->k->swiglu_backward(dx, dx + f, dy, x, x + f, f);
        ops->k->store(act_row(ops, dgu, (size_t)n, 2 * f), dx, 2 * f, ops->dtype);
        arena_reset(a, mark);
    }
}
