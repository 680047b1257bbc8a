// Compiled for x86-64-v2, -v3 and -v4, elsewhere once as the compiler does by itself (KERNELS names the table). Plain loops
// that the compiler turns into vectors; the one tile product is written with vector types because its registers have to be
// counted. Reductions run in the order that the `omp simd` lanes give: fixed for a machine.
#include "ops/cpu/kernels.h"

#include <math.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16, TILE_ROWS = 6, TILE_VECS = 4 };
#elif defined(__AVX2__)
enum { LANES = 8, TILE_ROWS = 6, TILE_VECS = 2 };
#else
enum { LANES = 4, TILE_ROWS = 6, TILE_VECS = 2 };
#endif
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define SIMD       _Pragma("omp simd")
#define SIMD_SUM_S _Pragma("omp simd reduction(+ : s)")

static inline float bits_float(uint32_t b) {
    float f;
    memcpy(&f, &b, 4);
    return f;
}

static inline uint32_t float_bits(float f) {
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}

static inline float widen(uint16_t h) {
    return bits_float((uint32_t)h << 16);
}

static inline uint16_t narrow(float f) {
    uint32_t b = float_bits(f);
    uint32_t rounded = b + 0x7fffu + (b >> 16 & 1);
    return (uint16_t)((f == f ? rounded : b | 0x400000u) >> 16); // a NaN must not round to infinity
}

// exp by 2^n times a polynomial on [-ln2/2, ln2/2] (Taylor to degree 7, relative error below 2e-7), for x in [-87.3, 88].
static inline float exp_within(float x) {
    float shifted = x * 1.44269504f + 12582912.0f; // the low bits of this float are round(x / ln2)
    float n = shifted - 12582912.0f;
    float r = x - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * bits_float((float_bits(shifted) << 23) + 0x3f800000u);
}

// Below -87.3 it gives 1e-38; NaN stays NaN.
static inline float exp_fast(float x) {
    x = x < -87.3f ? -87.3f : x;
    x = x > 88.0f ? 88.0f : x;
    return exp_within(x);
}

static void load(float *restrict out, const act *restrict x, size_t n, Dtype type) {
    if (type == DTYPE_F32) {
        memcpy(out, x, n * 4);
        return;
    }
    const uint16_t *h = x;
    SIMD for (size_t i = 0; i < n; i++) out[i] = widen(h[i]);
}

static void store(act *restrict out, const float *restrict x, size_t n, Dtype type) {
    if (type == DTYPE_F32) {
        memcpy(out, x, n * 4);
        return;
    }
    uint16_t *h = out;
    SIMD for (size_t i = 0; i < n; i++) h[i] = narrow(x[i]);
}

static float dot(const float *a, const float *b, size_t n) {
    float s = 0;
    SIMD_SUM_S for (size_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

static float dot_act(const float *a, const act *b, size_t n, Dtype type) {
    if (type == DTYPE_F32) return dot(a, b, n);
    const uint16_t *h = b;
    float s = 0;
    SIMD_SUM_S for (size_t i = 0; i < n; i++) s += a[i] * widen(h[i]);
    return s;
}

static void axpy(float *restrict y, float a, const float *restrict x, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void axpy_act(float *restrict y, float a, const act *restrict x, size_t n, Dtype type) {
    if (type == DTYPE_F32) {
        axpy(y, a, x, n);
        return;
    }
    const uint16_t *h = x;
    SIMD for (size_t i = 0; i < n; i++) y[i] += a * widen(h[i]);
}

static void scale(float *x, float a, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) x[i] *= a;
}

static double sum_squares(const float *x, size_t n) {
    double s = 0;
    SIMD_SUM_S for (size_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return s;
}

// NaN is passed over here and found by the sum of exponentials.
static float max(const float *x, size_t n) {
    float best[LANES], m = -INFINITY;
    for (int j = 0; j < LANES; j++) best[j] = -INFINITY;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) best[j] = x[i + (size_t)j] > best[j] ? x[i + (size_t)j] : best[j];
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    for (int j = 0; j < LANES; j++) m = best[j] > m ? best[j] : m;
    return m;
}

static float exp_sum(float *out, const float *x, float shift, float by, size_t n) {
    float s = 0;
    SIMD_SUM_S for (size_t i = 0; i < n; i++) {
        float e = exp_fast((x[i] - shift) * by);
        out[i] = e;
        s += e;
    }
    return s;
}

static void norm_apply(float *restrict out, const float *restrict x, const float *restrict weight, float rstd, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) out[i] = x[i] * rstd * weight[i];
}

static void norm_backward(float *restrict dx, float *restrict dweight, const float *restrict dout, const float *restrict x,
                          const float *restrict weight, float rstd, float c, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) dx[i] += rstd * (dout[i] * weight[i] - x[i] * c);
    if (!dweight) return;
    SIMD for (size_t i = 0; i < n; i++) dweight[i] += dout[i] * x[i] * rstd;
}

static double center(float *restrict out, const float *restrict x, size_t n) {
    double s = 0;
    SIMD_SUM_S for (size_t i = 0; i < n; i++) s += (double)x[i];
    const float mean = (float)(s / (double)n);
    SIMD for (size_t i = 0; i < n; i++) out[i] = x[i] - mean;
    return sum_squares(out, n);
}

static void shift(float *x, float a, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) x[i] += a;
}

// Below -44 it gives 8e-20. gcc computes what each end of the range gives for every x and then chooses: with 1e-38 there, x
// sigmoid(x) would be subnormal at each |x| < 1, which costs a processor a hundred cycles.
static inline float sigmoid(float x) {
    x = x < -44.0f ? -44.0f : x;
    x = x > 87.0f ? 87.0f : x;
    return 1.0f / (1.0f + exp_within(-x));
}

static void swiglu(float *restrict out, const float *restrict gate, const float *restrict up, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) out[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

static void swiglu_backward(float *restrict dgate, float *restrict dup, const float *restrict dout, const float *restrict gate,
                            const float *restrict up, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) {
        float s = sigmoid(gate[i]), silu = gate[i] * s;
        dup[i] = dout[i] * silu;
        dgate[i] = dout[i] * up[i] * (s + silu * (1.0f - s));
    }
}

// The tanh form, x sigmoid(2 c (x + .044715 x^3)) with c = sqrt(2 / pi): Hendrycks & Gimpel 2016.
static const float GELU_TWICE_C = 1.59576912f, GELU_CUBIC = 0.044715f;

static void activation(float *restrict out, const float *restrict x, size_t n, Activation kind) {
    if (kind == ACTIVATION_RELU) {
        SIMD for (size_t i = 0; i < n; i++) out[i] = x[i] < 0 ? 0 : x[i]; // NaN stays NaN
        return;
    }
    SIMD for (size_t i = 0; i < n; i++) out[i] = x[i] * sigmoid(GELU_TWICE_C * x[i] * (1.0f + GELU_CUBIC * x[i] * x[i]));
}

static void activation_backward(float *restrict dx, const float *restrict dout, const float *restrict x, size_t n,
                                Activation kind) {
    if (kind == ACTIVATION_RELU) {
        SIMD for (size_t i = 0; i < n; i++) dx[i] = dout[i] * (x[i] > 0 ? 1.0f : 0 * x[i]);
        return;
    }
    SIMD for (size_t i = 0; i < n; i++) {
        float square = x[i] * x[i], s = sigmoid(GELU_TWICE_C * x[i] * (1.0f + GELU_CUBIC * square));
        dx[i] = dout[i] * s * (1.0f + (1.0f - s) * GELU_TWICE_C * x[i] * (1.0f + 3.0f * GELU_CUBIC * square));
    }
}

// 64 times 16 random bits: rng_block (base/rng.h) of first .. first + 7 at once, place i has half i / 8 of block i % 8.
enum { BLOCKS = 8, HALVES = 8, DRAWN = BLOCKS * HALVES };

static inline void draw(uint32_t bits[DRAWN], uint64_t seed, uint64_t stream, uint64_t first) {
    uint32_t r[4][BLOCKS];
    SIMD for (int b = 0; b < BLOCKS; b++) {
        const uint64_t index = first + (uint64_t)b;
        uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32),
                 k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = (uint32_t)p0;
        }
        r[0][b] = c0, r[1][b] = c1, r[2][b] = c2, r[3][b] = c3;
    }
    for (int half = 0; half < HALVES; half++)
        SIMD for (int b = 0; b < BLOCKS; b++) bits[half * BLOCKS + b] = r[half / 2][b] >> 16 * (half % 2) & 0xffffu;
}

static void dropout(float *restrict x, size_t n, uint32_t least, float scale_by, uint64_t seed, uint64_t stream,
                    uint64_t first) {
    for (size_t at = 0; at < n; at += DRAWN, first += BLOCKS) {
        uint32_t bits[DRAWN];
        draw(bits, seed, stream, first);
        const size_t left = n - at < DRAWN ? n - at : DRAWN;
        SIMD for (size_t i = 0; i < left; i++) x[at + i] = bits[i] < least ? 0 : x[at + i] * scale_by;
    }
}

static void store_random(uint16_t *restrict out, const float *restrict x, size_t n, uint64_t seed, uint64_t stream,
                         uint64_t first) {
    for (size_t at = 0; at < n; at += DRAWN, first += BLOCKS) {
        uint32_t bits[DRAWN];
        draw(bits, seed, stream, first);
        const size_t left = n - at < DRAWN ? n - at : DRAWN;
        SIMD for (size_t i = 0; i < left; i++) out[at + i] = (uint16_t)((float_bits(x[at + i]) + bits[i]) >> 16);
    }
}

static void rotate(float *restrict x, const float *restrict cos, const float *restrict sin, size_t half, float sign) {
    float *restrict y = x + half;
    SIMD for (size_t i = 0; i < half; i++) {
        float a = x[i], b = y[i], s = sign * sin[i];
        x[i] = a * cos[i] - b * s;
        y[i] = b * cos[i] + a * s;
    }
}

static void adamw(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, size_t n, float g_scale,
                  float beta1, float beta2, float step_size, float v_scale, float eps, float shrink) {
    SIMD for (size_t i = 0; i < n; i++) {
        float gi = g[i] * g_scale;
        m[i] += (1.0f - beta1) * (gi - m[i]);
        v[i] = beta2 * v[i] + (1.0f - beta2) * gi * gi;
        p[i] -= shrink * p[i] + step_size * m[i] / (sqrtf(v[i]) * v_scale + eps);
    }
}

static void softmax_backward(float *out, const float *logits, float lse, float d, size_t n) {
    SIMD for (size_t i = 0; i < n; i++) out[i] = -d * exp_fast(logits[i] - lse);
}

// One tile of the product: up to TILE_ROWS rows by TILE_VECS vectors, all sums in registers.
static inline __attribute__((always_inline)) void gemm_tile(float *c, int ldc, const float *a, int a_row, int a_col,
                                                            const float *b, int ldb, int rows, int K, int add) {
    Vec sum[TILE_ROWS][TILE_VECS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < TILE_VECS; j++) sum[i][j] = add ? *(const Vec *)(c + (ptrdiff_t)i * ldc + j * LANES) : (Vec){0};
    for (int k = 0; k < K; k++) {
        Vec right[TILE_VECS];
        for (int j = 0; j < TILE_VECS; j++) right[j] = *(const Vec *)(b + (ptrdiff_t)k * ldb + j * LANES);
        for (int i = 0; i < rows; i++) {
            float left = a[(ptrdiff_t)i * a_row + (ptrdiff_t)k * a_col];
            for (int j = 0; j < TILE_VECS; j++) sum[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < TILE_VECS; j++) *(Vec *)(c + (ptrdiff_t)i * ldc + j * LANES) = sum[i][j];
}

static void gemm_edge(float *c, int ldc, const float *a, int a_row, int a_col, const float *b, int ldb, int M, int N, int K,
                      int add) {
    for (int m = 0; m < M; m++) {
        float *restrict out = c + (ptrdiff_t)m * ldc;
        if (!add) memset(out, 0, (size_t)N * 4);
        for (int k = 0; k < K; k++) {
            float left = a[(ptrdiff_t)m * a_row + (ptrdiff_t)k * a_col];
            const float *restrict right = b + (ptrdiff_t)k * ldb;
            SIMD for (int n = 0; n < N; n++) out[n] += left * right[n];
        }
    }
}

static void gemm(float *c, int ldc, const float *a, int a_row, int a_col, const float *b, int ldb, int M, int N, int K,
                 int add) {
    const int width = LANES * TILE_VECS;
    int whole = N / width * width;
    for (int n = 0; n < whole; n += width) {
        int m = 0;
        for (; m + TILE_ROWS <= M; m += TILE_ROWS)
            gemm_tile(c + (ptrdiff_t)m * ldc + n, ldc, a + (ptrdiff_t)m * a_row, a_row, a_col, b + n, ldb, TILE_ROWS, K, add);
        float *rest = c + (ptrdiff_t)m * ldc + n;
        const float *left = a + (ptrdiff_t)m * a_row;
        switch (M - m) { // a constant number of rows keeps the sums in registers
        case 1: gemm_tile(rest, ldc, left, a_row, a_col, b + n, ldb, 1, K, add); break;
        case 2: gemm_tile(rest, ldc, left, a_row, a_col, b + n, ldb, 2, K, add); break;
        case 3: gemm_tile(rest, ldc, left, a_row, a_col, b + n, ldb, 3, K, add); break;
        case 4: gemm_tile(rest, ldc, left, a_row, a_col, b + n, ldb, 4, K, add); break;
        case 5: gemm_tile(rest, ldc, left, a_row, a_col, b + n, ldb, 5, K, add); break;
        default: break;
        }
    }
    if (whole < N) gemm_edge(c + whole, ldc, a, a_row, a_col, b + whole, ldb, M, N - whole, K, add);
}

static void transpose(float *restrict out, int ld, const float *restrict x, int n, int K) {
    for (int k0 = 0; k0 < K; k0 += 16) { // 16 rows of the result stay in the first cache
        int k1 = k0 + 16 < K ? k0 + 16 : K;
        for (int j = 0; j < n; j++)
            for (int k = k0; k < k1; k++) out[(ptrdiff_t)k * ld + j] = x[(ptrdiff_t)j * K + k];
        if (n < ld)
            for (int k = k0; k < k1; k++) memset(out + (ptrdiff_t)k * ld + n, 0, (size_t)(ld - n) * 4);
    }
}

#define NAME_OF(x) #x
#define NAME(x)    NAME_OF(x)
const Kernels KERNELS = {
    .name = NAME(KERNELS),
    .load = load,
    .store = store,
    .dot = dot,
    .dot_act = dot_act,
    .axpy = axpy,
    .axpy_act = axpy_act,
    .scale = scale,
    .sum_squares = sum_squares,
    .max = max,
    .exp_sum = exp_sum,
    .norm_apply = norm_apply,
    .norm_backward = norm_backward,
    .center = center,
    .shift = shift,
    .activation = activation,
    .activation_backward = activation_backward,
    .dropout = dropout,
    .store_random = store_random,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .rotate = rotate,
    .adamw = adamw,
    .softmax_backward = softmax_backward,
    .gemm = gemm,
    .transpose = transpose,
};
