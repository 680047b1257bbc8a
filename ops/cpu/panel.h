// Operands of attention's small products. A product sums over K values of a row, over keys or over queries; its operands lie
// in *panels* of 4-byte elements, each of which holds `step` neighbours along the sum: one float, or, where the processor
// multiplies bf16, a pair of bf16 (then products are twice as fast and nothing is widened first; sums stay f32).
#ifndef OPS_CPU_PANEL_H
#define OPS_CPU_PANEL_H

#include "ops/cpu/cpu.h"

enum { PANEL_KEYS = 64 };

// A left operand: element (m, p) is at[m * row + p * col].
typedef struct Left {
    const uint32_t *at;
    int row, col;
} Left;

typedef struct Panels {
    int step;
    // Right operand of a sum over the row: out (K/step, PANEL_KEYS), column j from row[j] of K values; columns n.. are zero.
    // scratch (PANEL_KEYS, K) floats.
    void (*turn)(const Ops *ops, uint32_t *out, const act *const *row, int n, int K, float *scratch);
    // Right operand of a sum over n rows: out (ceil(n/step), K).
    void (*stack)(const Ops *ops, uint32_t *out, const act *const *row, int n, int K);
    // Left operands, in `out` (Q, PANEL_KEYS or K, whichever is wider) or x itself: for a sum over the row, (Q, K/step), made
    // of x (Q, K);
    Left (*rows)(const Ops *ops, uint32_t *out, const act *x, int Q, int K);
    // of x (Q, PANEL_KEYS) for a sum over keys, (Q, PANEL_KEYS/step), and for one over queries, (PANEL_KEYS, ceil(Q/step)).
    Left (*by_keys)(const Ops *ops, uint32_t *out, const float *x, int Q);
    Left (*by_queries)(const Ops *ops, uint32_t *out, const float *x, int Q);
    // c (M, N; ldc) (=, or += where add) a (M, P) * b (P, N; ldb), P panel elements deep.
    void (*product)(const Ops *ops, float *c, int ldc, Left a, const uint32_t *b, int ldb, int M, int N, int P, int add);
} Panels;

// Those for rows of K values in the compute type.
const Panels *panels_of(const Ops *ops, int K);
extern const Panels panels_f32;
#ifdef __x86_64__
extern const Panels panels_bf16, panels_amx; // for AVX512-BF16; for AMX, which has that too
void panel_amx_product(const Ops *ops, float *c, int ldc, Left a, const uint32_t *b, int ldb, int M, int N, int P, int add);
#endif

#endif
