// The CPU backend's own state, shared by the files of this folder alone.
#ifndef OPS_CPU_CPU_H
#define OPS_CPU_CPU_H

#include "base/arena.h"
#include "ops/cpu/kernels.h"
#include "ops/ops.h"

#include <omp.h>

enum { CPU_MAX_THREADS = 256 };

struct Ops {
    int threads;
    Dtype dtype;
    const Kernels *k;
    struct LinearState *linear; // oneDNN engine, primitives (linear.c)
    Arena shared;               // scratch of one op call
    Arena own[CPU_MAX_THREADS]; // scratch of each thread inside an op call
    char description[128];
};

int linear_open(Ops *ops, Err *err);
void linear_close(Ops *ops);

// The products of ops.h without their low-rank addition; `add`: y += and dx +=.
void linear_forward(Ops *ops, void *y, Dtype y_type, int add, const act *x, Matrix *w, const float *bias, int N);
void linear_backward_input(Ops *ops, void *dx, Dtype dx_type, int add, const act *dy, Matrix *w, int N);
// f32 products with the same bits for any number of threads (blocks.c), one team of them: c (M, N) = a (M, K) b + bias, or
// added to c. b_turned: b lies as (N, K), else as (K, N); bias (N), or NULL, as always where it is
// added to c. And c (M, N) += the transpose of a (K, M) times b
// (K, N).
void blocks_product(Ops *ops, float *c, const float *a, const float *b, int b_turned, const float *bias, int M, int N, int K,
                    int add);
void blocks_add_turned(Ops *ops, float *c, const float *a, const float *b, int M, int N, int K);
// The low-rank addition itself (lora.c): y (N, O) += and dx (N, I) += .
void lora_forward(Ops *ops, void *y, Dtype y_type, const act *x, Lora *l, int N);
void lora_backward_input(Ops *ops, void *dx, Dtype dx_type, const act *dy, Lora *l, int N);

// Address of row n of a tensor of activations with D columns.
static inline act *act_row(const Ops *ops, const act *x, size_t n, size_t D) {
    return (char *)x + n * D * dtype_bytes(ops->dtype);
}

#define PRAGMA(text) _Pragma(#text)
// Rows are dealt to threads in runs of equal length. `values` is how many are touched: a loop too short to pay for waking the
// other threads stays on this one. (The search for races is built with CPU_SHORT_LOOP=1: every loop is shared.)
#ifndef CPU_SHORT_LOOP
#define CPU_SHORT_LOOP (1 << 15)
#endif
#define PARALLEL_FOR(values) PRAGMA(omp parallel for num_threads(cpu_team(ops, (size_t)(values))) schedule(static))
static inline int cpu_team(const Ops *ops, size_t values) {
    return values < CPU_SHORT_LOOP ? 1 : ops->threads;
}
// Tasks of unequal length; each writes memory of its own, so their order does not matter.
#define PARALLEL_TASKS _Pragma("omp parallel for num_threads(ops->threads) schedule(dynamic, 1)")

// Sums over rows run in chunks of this many rows whatever the number of threads, then chunk by chunk.
enum { CPU_ROW_CHUNK = 128 };

#endif
