// Panels of floats: rows in the compute type are widened.
#include "ops/cpu/isa.h"
#include "ops/cpu/panel.h"

#include <string.h>

static void turn(const Ops *ops, uint32_t *out, const act *const *row, int n, int K, float *scratch) {
    for (int j = 0; j < n; j++) ops->k->load(scratch + (size_t)j * (size_t)K, row[j], (size_t)K, ops->dtype);
    ops->k->transpose((float *)(void *)out, PANEL_KEYS, scratch, n, K);
}

static void stack(const Ops *ops, uint32_t *out, const act *const *row, int n, int K) {
    for (int j = 0; j < n; j++) ops->k->load((float *)(void *)out + (size_t)j * (size_t)K, row[j], (size_t)K, ops->dtype);
}

static Left rows(const Ops *ops, uint32_t *out, const act *x, int Q, int K) {
    if (ops->dtype == DTYPE_F32) return (Left){x, K, 1};
    ops->k->load((float *)(void *)out, x, (size_t)Q * (size_t)K, ops->dtype);
    return (Left){out, K, 1};
}

static Left by_keys(const Ops *ops, uint32_t *out, const float *x, int Q) {
    (void)ops, (void)out, (void)Q;
    return (Left){(const uint32_t *)(const void *)x, PANEL_KEYS, 1};
}

static Left by_queries(const Ops *ops, uint32_t *out, const float *x, int Q) {
    (void)ops, (void)out, (void)Q;
    return (Left){(const uint32_t *)(const void *)x, 1, PANEL_KEYS};
}

static void product(const Ops *ops, float *c, int ldc, Left a, const uint32_t *b, int ldb, int M, int N, int P, int add) {
    ops->k->gemm(c, ldc, (const float *)(const void *)a.at, a.row, a.col, (const float *)(const void *)b, ldb, M, N, P, add);
}

const Panels panels_f32 = {1, turn, stack, rows, by_keys, by_queries, product};

const Panels *panels_of(const Ops *ops, int K) {
#ifdef __x86_64__
    if (ops->dtype == DTYPE_BF16 && K % 2 == 0) // bf16 is opened only where it is multiplied
        return isa_has_tiles() ? &panels_amx : &panels_bf16;
#endif
    (void)ops, (void)K;
    return &panels_f32;
}
