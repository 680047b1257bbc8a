// The leaf kernels of every instruction set this machine has, each against double precision: lengths around the vectors'
// widths, every edge of the tile product, the whole range of the exponential, rounding to bf16 of every kind of number.
#include "base/arena.h"
#include "base/rng.h"
#include "ops/cpu/kernels.h"

#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 131 };
static const double u = 0x1p-24;

// Each test runs for each table. Arrays are malloc'd to the exact length, so that the address sanitizer sees their ends.
static void for_each_level(void (*test)(const Kernels *)) {
    const Kernels *k;
    for (int level = 0; (k = kernels_level(level)); level++) test(k);
}

static float *normals(size_t n, uint64_t stream) {
    float *x = mem_alloc(n, sizeof *x);
    rng_normal(x, n, 11, stream, 0);
    return x;
}

static void near(const Kernels *k, const char *what, size_t n, size_t at, float got, double want, double tolerance) {
    if (!(fabs((double)got - want) <= tolerance))
        fail_msg("%s: %s, n %zu, [%zu]: got %.9g, want %.9g (tolerance %.3g)", k->name, what, n, at, (double)got, want,
                 tolerance);
}

// ---- sums and maxima ------------------------------------------------------------------------------------------------

static void reductions(const Kernels *k) {
    for (size_t n = 0; n <= LONGEST; n++) {
        float *a = normals(n, 1), *b = normals(n, 2);
        uint16_t *h = mem_alloc(n, 2);
        k->store(h, b, n, DTYPE_BF16);
        double sum = 0, sum_h = 0, mag = 0, squares = 0;
        float top = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            float wide;
            k->load(&wide, h + i, 1, DTYPE_BF16);
            sum += (double)a[i] * (double)b[i], sum_h += (double)a[i] * (double)wide;
            mag += fabs((double)a[i] * (double)b[i]), squares += (double)a[i] * (double)a[i];
            top = a[i] > top ? a[i] : top;
        }
        const double tolerance = (double)(n + 1) * u * mag * 1.01;
        near(k, "dot", n, 0, k->dot(a, b, n), sum, tolerance);
        near(k, "dot_act f32", n, 0, k->dot_act(a, b, n, DTYPE_F32), sum, tolerance);
        near(k, "dot_act bf16", n, 0, k->dot_act(a, h, n, DTYPE_BF16), sum_h, tolerance);
        if (!(fabs(k->sum_squares(a, n) - squares) <= 1e-14 * squares)) fail_msg("%s: sum_squares, n %zu", k->name, n);
        assert_true(k->max(a, n) == top);
        free(a), free(b), free(h);
    }
}

// ---- elementwise ----------------------------------------------------------------------------------------------------

static void updates(const Kernels *k) {
    for (size_t n = 0; n <= LONGEST; n++) {
        float *x = normals(n, 3), *y = normals(n, 4), *z = normals(n, 4);
        uint16_t *h = mem_alloc(n, 2);
        k->store(h, x, n, DTYPE_BF16);
        k->axpy(y, 0.3f, x, n);
        for (size_t i = 0; i < n; i++) near(k, "axpy", n, i, y[i], (double)z[i] + (double)0.3f * (double)x[i], 3 * u * 4);
        memcpy(y, z, n * 4);
        k->axpy_act(y, 0.3f, h, n, DTYPE_BF16);
        for (size_t i = 0; i < n; i++) {
            float wide;
            k->load(&wide, h + i, 1, DTYPE_BF16);
            near(k, "axpy_act", n, i, y[i], (double)z[i] + (double)0.3f * (double)wide, 3 * u * 4);
        }
        k->scale(z, -0.5f, n);
        memcpy(y, z, n * 4);
        k->axpy_act(y, 2.0f, x, n, DTYPE_F32);
        for (size_t i = 0; i < n; i++) near(k, "scale, axpy", n, i, y[i], (double)z[i] + 2 * (double)x[i], 3 * u * 8);
        free(x), free(y), free(z), free(h);
    }
}

static void rotations(const Kernels *k) {
    for (size_t half = 1; half <= 67; half++) {
        float *x = normals(2 * half, 5), *was = normals(2 * half, 5), *c = mem_alloc(half, 4), *s = mem_alloc(half, 4);
        for (size_t i = 0; i < half; i++) c[i] = cosf((float)i * 0.7f), s[i] = sinf((float)i * 0.7f);
        k->rotate(x, c, s, half, 1.0f);
        for (size_t i = 0; i < half; i++) {
            double a = (double)was[i], b = (double)was[i + half];
            near(k, "rotate", half, i, x[i], a * (double)c[i] - b * (double)s[i], 1e-6);
            near(k, "rotate", half, i + half, x[i + half], b * (double)c[i] + a * (double)s[i], 1e-6);
        }
        k->rotate(x, c, s, half, -1.0f);
        for (size_t i = 0; i < 2 * half; i++) near(k, "rotate back", half, i, x[i], (double)was[i], 2e-6);
        free(x), free(was), free(c), free(s);
    }
}

// ---- the exponential ------------------------------------------------------------------------------------------------

static void exponentials(const Kernels *k) {
    enum { N = 40001 };
    float *x = mem_alloc(N, 4), *e = mem_alloc(N, 4);
    for (int i = 0; i < N; i++) x[i] = -87.25f + (float)i * (87.25f + 87.75f) / (N - 1);
    k->exp_sum(e, x, 0, 1, N);
    for (int i = 0; i < N; i++) {
        double want = exp((double)x[i]);
        near(k, "exp", N, (size_t)i, e[i], want, 4e-7 * want);
    }
    for (size_t n = 0; n <= LONGEST; n++) {
        double sum = 0;
        float got = k->exp_sum(e, x + N / 2, 1.5f, 0.75f, n);
        for (size_t i = 0; i < n; i++) sum += (double)e[i];
        near(k, "exp_sum", n, 0, got, sum, (double)n * u * sum);
    }
    const float far[] = {-88, -100, -1e4f, -1e30f, -INFINITY}; // a weight that is nothing beside others
    k->exp_sum(e, far, 0, 1, 5);
    for (int i = 0; i < 5; i++) assert_true(e[i] >= 0 && e[i] < 2e-38f);
    assert_true(k->exp_sum(e, x, NAN, 1, 3) != k->exp_sum(e, x, NAN, 1, 3)); // NaN
    const float one[] = {0};
    assert_true(k->exp_sum(e, one, 0, 1, 1) == 1.0f);
    free(x), free(e);
}

static void activations(const Kernels *k) {
    enum { N = 4001 };
    float *gate = mem_alloc(N, 4), *up = normals(N, 6), *d = normals(N, 7), *out = mem_alloc(N, 4), *dup = mem_alloc(N, 4);
    for (int i = 0; i < N; i++) gate[i] = -100 + (float)i * 200 / (N - 1);
    k->swiglu(out, gate, up, N);
    for (int i = 0; i < N; i++) {
        double g = (double)gate[i], s = 1 / (1 + exp(-g)), want = g * s * (double)up[i];
        near(k, "swiglu", N, (size_t)i, out[i], want, 1e-16 + 1.5e-6 * fabs(want)); // sigmoid ends at 8e-20
    }
    k->swiglu_backward(out, dup, d, gate, up, N);
    for (int i = 0; i < N; i++) {
        double g = (double)gate[i], s = 1 / (1 + exp(-g)), want = (double)d[i] * (double)up[i] * s * (1 + g * (1 - s));
        near(k, "dup", N, (size_t)i, dup[i], (double)d[i] * g * s, 1e-16 + 1.5e-6 * fabs((double)d[i] * g * s));
        near(k, "dgate", N, (size_t)i, out[i], want, 1e-5 + 1.3e-6 * fabs(want)); // 1 - s cancels for large gates
    }
    free(gate), free(up), free(d), free(out), free(dup);
}

// No common argument meets a subnormal number on the way: where one does, a processor takes ten times as long.
static void no_underflow(const Kernels *k) {
    enum { N = 4000 };
    float gate[N], one[N], out[N], dup[N];
    for (int i = 0; i < N; i++) gate[i] = (float)(i - N / 2) / 100, one[i] = 1;
    feclearexcept(FE_ALL_EXCEPT);
    k->swiglu(out, gate, one, N);
    k->swiglu_backward(out, dup, one, gate, one, N);
    const int six = N / 2 - 600; // gate[six] is -6: what GELU gives sigmoid is -21
    k->activation(out, gate + six, 1200, ACTIVATION_GELU);
    k->activation_backward(out, one, gate + six, 1200, ACTIVATION_GELU);
    if (fetestexcept(FE_UNDERFLOW)) fail_msg("%s: a number below the normal ones", k->name);
}

// ---- bf16 -----------------------------------------------------------------------------------------------------------

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

// Every bf16 number widens and narrows to itself; between two neighbours the nearest wins, a tie goes to the even one.
static void roundings(const Kernels *k) {
    enum { N = 1 << 16 };
    uint16_t *h = mem_alloc(N, 2), *back = mem_alloc(N, 2);
    float *f = mem_alloc(N, 4);
    for (uint32_t i = 0; i < N; i++) h[i] = (uint16_t)i;
    k->load(f, h, N, DTYPE_BF16);
    k->store(back, f, N, DTYPE_BF16);
    for (uint32_t i = 0; i < N; i++) {
        if (isnan(f[i]))
            assert_true((back[i] & 0x7fff) > 0x7f80);
        else
            assert_int_equal(back[i], i);
    }
    const uint32_t between[] = {0x0001, 0x7fff, 0x8000, 0x8001, 0xffff};
    for (size_t b = 0; b < sizeof between / sizeof *between; b++) {
        for (uint32_t i = 0; i < N; i++) f[i] = from_bits(i << 16 | between[b]);
        k->store(back, f, N, DTYPE_BF16);
        for (uint32_t i = 0; i < N; i++) {
            uint32_t up = between[b] > 0x8000 || (between[b] == 0x8000 && (i & 1)); // away from zero
            if (isnan(f[i]))
                assert_true((back[i] & 0x7fff) > 0x7f80);
            else
                assert_int_equal(back[i], i + up);
        }
    }
    free(h), free(back), free(f);
}

// ---- the tile product -----------------------------------------------------------------------------------------------

// c (M, ldc) with a (M, K) or its transpose in memory; columns past N must stay.
static void product(const Kernels *k, int M, int N, int K, int turned, int add) {
    const int ldc = N + 3, ldb = N + 2, a_row = turned ? 1 : K + 1, a_col = turned ? M + 1 : 1;
    const size_t a_size = turned ? (size_t)(K - 1) * (size_t)a_col + (size_t)M : (size_t)(M - 1) * (size_t)a_row + (size_t)K,
                 b_size = (size_t)(K - 1) * (size_t)ldb + (size_t)N, c_size = (size_t)(M - 1) * (size_t)ldc + (size_t)N;
    float *a = normals(a_size, 8), *b = normals(b_size, 9), *c = normals(c_size, 10), *was = normals(c_size, 10);
    k->gemm(c, ldc, a, a_row, a_col, b, ldb, M, N, K, add);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < ldc && (size_t)m * (size_t)ldc + (size_t)n < c_size; n++) {
            size_t at = (size_t)m * (size_t)ldc + (size_t)n;
            double want = add || n >= N ? (double)was[at] : 0, mag = fabs(want);
            for (int x = 0; x < K && n < N; x++) {
                double term = (double)a[(size_t)m * (size_t)a_row + (size_t)x * (size_t)a_col] *
                              (double)b[(size_t)x * (size_t)ldb + (size_t)n];
                want += term, mag += fabs(term);
            }
            near(k, "gemm", (size_t)N, at, c[at], want, n < N ? (double)(K + 1) * u * mag * 1.01 : 0);
        }
    free(a), free(b), free(c), free(was);
}

static void products(const Kernels *k) {
    const int widths[] = {1, 7, 16, 31, 64, 80, 129}, depths[] = {1, 5, 64};
    for (int M = 1; M <= 14; M++)
        for (size_t n = 0; n < sizeof widths / sizeof *widths; n++)
            for (size_t d = 0; d < sizeof depths / sizeof *depths; d++)
                for (int way = 0; way < 4; way++) product(k, M, widths[n], depths[d], way & 1, way >> 1);
}

static void transposes(const Kernels *k) {
    const int shapes[][2] = {{1, 1}, {1, 17}, {3, 16}, {64, 80}, {31, 15}, {63, 96}};
    enum { LD = 64 };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int n = shapes[s][0], K = shapes[s][1];
        float *x = normals((size_t)(n * K), 12), *out = mem_alloc((size_t)(LD * K), 4);
        for (int i = 0; i < LD * K; i++) out[i] = NAN;
        k->transpose(out, LD, x, n, K);
        for (int i = 0; i < K; i++)
            for (int j = 0; j < LD; j++) assert_true(out[i * LD + j] == (j < n ? x[j * K + i] : 0));
        free(x), free(out);
    }
}

#define LEVELS(name)                                                                                                           \
    static void name##_at_all_levels(void **state) {                                                                           \
        (void)state;                                                                                                           \
        for_each_level(name);                                                                                                  \
    }
LEVELS(reductions)
LEVELS(updates)
LEVELS(rotations)
LEVELS(exponentials)
LEVELS(activations)
LEVELS(no_underflow)
LEVELS(roundings)
LEVELS(products)
LEVELS(transposes)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_at_all_levels),  cmocka_unit_test(updates_at_all_levels),
        cmocka_unit_test(rotations_at_all_levels),   cmocka_unit_test(exponentials_at_all_levels),
        cmocka_unit_test(activations_at_all_levels), cmocka_unit_test(no_underflow_at_all_levels),
        cmocka_unit_test(roundings_at_all_levels),   cmocka_unit_test(products_at_all_levels),
        cmocka_unit_test(transposes_at_all_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
