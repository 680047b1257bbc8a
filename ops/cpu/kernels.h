// Leaf kernels: loops over one row or one tile, no threads, no allocation. kernels.c is compiled once for each
// instruction set; `kernels_best` picks the table for this machine.
#ifndef OPS_CPU_KERNELS_H
#define OPS_CPU_KERNELS_H

#include "ops/ops.h"

typedef struct Kernels {
    const char *name;
    void (*load)(float *out, const act *x, size_t n, Dtype type);  // to f32
    void (*store)(act *out, const float *x, size_t n, Dtype type); // from f32, round to nearest even
    float (*dot)(const float *a, const float *b, size_t n);
    float (*dot_act)(const float *a, const act *b, size_t n, Dtype type);
    void (*axpy)(float *y, float a, const float *x, size_t n); // y += a x
    void (*axpy_act)(float *y, float a, const act *x, size_t n, Dtype type);
    void (*scale)(float *x, float a, size_t n);
    double (*sum_squares)(const float *x, size_t n);
    float (*max)(const float *x, size_t n); // NaN is passed over: exp_sum shows it
    // out = exp((x - shift) scale); returns the sum
    float (*exp_sum)(float *out, const float *x, float shift, float scale, size_t n);
    // out = x * rstd * weight
    void (*norm_apply)(float *out, const float *x, const float *weight, float rstd, size_t n);
    // dx += rstd * (dout * weight - x * c) and dweight += dout * x * rstd (or NULL)
    void (*norm_backward)(float *dx, float *dweight, const float *dout, const float *x, const float *weight, float rstd,
                          float c, size_t n);
    // out = x - mean(x); returns the sum of squares of out
    double (*center)(float *out, const float *x, size_t n);
    void (*shift)(float *x, float a, size_t n);                                // x += a
    void (*activation)(float *out, const float *x, size_t n, Activation kind); // not ACTIVATION_SWIGLU
    void (*activation_backward)(float *dx, const float *dout, const float *x, size_t n, Activation kind);
    // x kept and times `scale` where its 16 random bits are at least `least`, else 0. Value i of each 64 has half
    // i / 8 of block i % 8 of (seed, stream, first ...), eight blocks for each 64 values.
    void (*dropout)(float *x, size_t n, uint32_t least, float scale, uint64_t seed, uint64_t stream, uint64_t first);
    // out = bf16 of x (finite), away from zero with the probability that makes its mean x. Bits as for dropout.
    void (*store_random)(uint16_t *out, const float *x, size_t n, uint64_t seed, uint64_t stream, uint64_t first);
    void (*swiglu)(float *out, const float *gate, const float *up, size_t n);
    void (*swiglu_backward)(float *dgate, float *dup, const float *dout, const float *gate, const float *up, size_t n);
    // Half-split rotation of x (2 half) by cos, sin (half); sign -1 undoes it.
    void (*rotate)(float *x, const float *cos, const float *sin, size_t half, float sign);
    void (*adamw)(float *p, float *m, float *v, const float *g, size_t n, float g_scale, float beta1, float beta2,
                  float step_size, float v_scale, float eps, float shrink);
    // dlogits = d * (onehot - exp(logits - lse)), the onehot left to the caller
    void (*softmax_backward)(float *out, const float *logits, float lse, float d, size_t n);
    // c (M, N; ldc) (=, or += where add) a (M, K; element m*a_row + k*a_col) * b (K, N; ldb)
    void (*gemm)(float *c, int ldc, const float *a, int a_row, int a_col, const float *b, int ldb, int M, int N, int K,
                 int add);
    // out (K, ld) column j = row j of x (n, K): the transpose, columns n..ld-1 zero
    void (*transpose)(float *out, int ld, const float *x, int n, int K);
} Kernels;

// The tables that this machine can run, the plainest first; NULL behind the last, which is the best.
const Kernels *kernels_level(int level);
const Kernels *kernels_best(void);

#endif
