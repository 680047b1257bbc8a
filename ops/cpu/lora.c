// The low-rank addition to a product. The middle, scale x A^T, is rounded to the compute type as activations are; backward
// makes it again rather than keep it: it costs R / O of the product. The B of several parts make one matrix, mostly zeros
// where there are three: oneDNN has no fast product between parts of rows, and this one is small.
#include "ops/cpu/cpu.h"

#include <string.h>

static int rank(const Lora *l) {
    return l->down.O / l->parts;
}

static void up_read(const void *context, void *out, Dtype type, int first, int rows) {
    const Lora *l = context;
    const Kernels *k = kernels_best();
    const size_t R = (size_t)rank(l), row_bytes = (size_t)l->up.I * dtype_bytes(type);
    memset(out, 0, (size_t)rows * row_bytes);
    for (int i = 0; i < l->parts; i++) {
        const LoraPart *p = &l->part[i];
        for (int r = first > p->row ? first : p->row; r < first + rows && r < p->row + p->rows; r++)
            k->store((char *)out + (size_t)(r - first) * row_bytes + (size_t)i * R * dtype_bytes(type),
                     p->b + (size_t)(r - p->row) * R, R, type);
    }
}

void ops_lora_bind(Ops *ops, Lora *l, int O) {
    (void)ops;
    l->up = (Matrix){.w = l->part[0].b, .version = l->down.version, .O = O, .I = l->down.O, .read = up_read, .context = l};
}

// out (n) = scale x, in the compute type; x is used up.
static void scaled_act(Ops *ops, act *out, float *x, float scale, size_t n) {
    enum { PIECE = 1 << 14 };
    PARALLEL_FOR(n)
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t count = n - at < PIECE ? n - at : PIECE;
        ops->k->scale(x + at, scale, count);
        ops->k->store(act_row(ops, out, at, 1), x + at, count, ops->dtype);
    }
}

// The middle's values (N, parts R) in the compute type and as the product makes them, in `ops->shared`.
typedef struct Middle {
    size_t n;
    act *act;
    float *sum;
} Middle;

static Middle middle_new(Ops *ops, const Lora *l, int N) {
    const size_t n = (size_t)N * (size_t)l->down.O;
    return (Middle){n, arena_get(&ops->shared, n, dtype_bytes(ops->dtype)), ARENA_NEW(&ops->shared, float, n)};
}

// scale x A^T
static act *middle_forward(Ops *ops, const act *x, Lora *l, int N) {
    Middle m = middle_new(ops, l, N);
    linear_forward(ops, m.sum, DTYPE_F32, 0, x, &l->down, NULL, N);
    scaled_act(ops, m.act, m.sum, l->scale, m.n);
    return m.act;
}

// scale dy B
static act *middle_backward(Ops *ops, const act *dy, Lora *l, int N) {
    Middle m = middle_new(ops, l, N);
    linear_backward_input(ops, m.sum, DTYPE_F32, 0, dy, &l->up, N);
    scaled_act(ops, m.act, m.sum, l->scale, m.n);
    return m.act;
}

void lora_forward(Ops *ops, void *y, Dtype y_type, const act *x, Lora *l, int N) {
    const size_t mark = arena_mark(&ops->shared);
    linear_forward(ops, y, y_type, 1, middle_forward(ops, x, l, N), &l->up, NULL, N);
    arena_reset(&ops->shared, mark);
}

void lora_backward_input(Ops *ops, void *dx, Dtype dx_type, const act *dy, Lora *l, int N) {
    const size_t mark = arena_mark(&ops->shared);
    linear_backward_input(ops, dx, dx_type, 1, middle_backward(ops, dy, l, N), &l->down, N);
    arena_reset(&ops->shared, mark);
}

void op_lora_backward_weight(Ops *ops, float *ddown, float *const *dup, const act *dy, const act *x, Lora *l, int N) {
    if (N == 0) return;
    const size_t mark = arena_mark(&ops->shared), R = (size_t)rank(l), width = (size_t)l->up.I;
    act *u = middle_forward(ops, x, l, N), *du = middle_backward(ops, dy, l, N);
    float *all = ARENA_NEW(&ops->shared, float, (size_t)l->up.O *width); // (O, parts R), of which the parts' own count
    memset(all, 0, (size_t)l->up.O * width * sizeof *all);
    op_linear_backward_weight(ops, all, NULL, dy, u, N, l->up.O, l->up.I);
    for (int i = 0; i < l->parts; i++) {
        const LoraPart *p = &l->part[i];
        for (size_t r = 0; r < (size_t)p->rows; r++)
            ops->k->axpy(dup[i] + r * R, 1.0f, all + ((size_t)p->row + r) * width + (size_t)i * R, R);
    }
    op_linear_backward_weight(ops, ddown, NULL, du, x, N, l->down.O, l->down.I);
    arena_reset(&ops->shared, mark);
}
