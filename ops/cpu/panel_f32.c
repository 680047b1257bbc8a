// Panels of floats: rows in the compute type are widened.
#include "ops/cpu/panel.h"

#include <string.h>

static void turn(const Ops *ops, uint32_t *out, const act *const *row, int n, int K, float *scratch) {
    for (int j = 0; j < n; j++) ops->k->load(scratch + (size_t)j * (size_t)K, row[j], (size_t)K, ops->dtype);
    ops->k->transpose((float *)(void *)out, PANEL_KEYS, scratch, n, K);
}

static void stack(const Ops *ops, uint32_t *out, const act *const *row, int n, int K) {
    for (int j = 0; j < n; j++) ops->k->load((float *)(void *)out + (size_t)j * (size_t)K, row[j], (size_t)K, ops->dtype);
}

static const uint32_t *rows(const Ops *ops, uint32_t *out, const act *x, int Q, int K) {
    if (ops->dtype == DTYPE_F32) return x;
    ops->k->load((float *)(void *)out, x, (size_t)Q * (size_t)K, ops->dtype);
    return out;
}

static const uint32_t *as_it_is(const Ops *ops, uint32_t *out, const float *x, int Q) {
    (void)ops, (void)out, (void)Q;
    return (const uint32_t *)(const void *)x;
}

static void product(const Ops *ops, float *c, int ldc, const uint32_t *a, int a_row, int a_col, const uint32_t *b, int ldb,
                    int M, int N, int P, int add) {
    ops->k->gemm(c, ldc, (const float *)(const void *)a, a_row, a_col, (const float *)(const void *)b, ldb, M, N, P, add);
}

const Panels panels_f32 = {1, turn, stack, rows, as_it_is, as_it_is, product};

const Panels *panels_of(const Ops *ops, int K) {
#ifdef __x86_64__
    if (ops->dtype == DTYPE_BF16 && K % 2 == 0) return &panels_bf16; // bf16 is opened only where it is multiplied
#endif
    (void)ops, (void)K;
    return &panels_f32;
}
