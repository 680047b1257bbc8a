// The small products of attention by what this processor multiplies bf16 with, against sums in double precision: every shape of
// what is left over behind whole vectors and tiles, and a row that comes out the same whatever stands below it.
#include "ops/cpu/isa.h"
#include "ops/cpu/panel.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __x86_64__

enum { ROWS = 70, WIDE = 96 };

static uint32_t left[ROWS * 64], right[64 * WIDE];
static float scores[ROWS * PANEL_KEYS], made[ROWS * WIDE], again[ROWS * WIDE];

static float half(uint32_t pair, int high) {
    const uint32_t bits = high ? pair & 0xffff0000u : pair << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static uint32_t random_pair(void) {
    uint32_t pair = 0;
    for (int h = 0; h < 2; h++) { // of a magnitude about one
        const float x = (float)(rand() % 2001 - 1000) / 700;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        pair |= (bits >> 16) << 16 * h;
    }
    return pair;
}

static void check(const float *c, Left a, int M, int N, int P, float before) {
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double sum = before, size = fabs(before);
            for (int p = 0; p < P; p++)
                for (int h = 0; h < 2; h++) {
                    const double x = (double)half(a.at[m * a.row + p * a.col], h) * (double)half(right[p * WIDE + n], h);
                    sum += x, size += fabs(x);
                }
            assert_true(fabs((double)c[m * WIDE + n] - sum) <= 1e-6 * size);
        }
}

static void product_of(const Panels *panels) {
    for (int i = 0; i < ROWS * 64; i++) left[i] = random_pair();
    for (int i = 0; i < 64 * WIDE; i++) right[i] = random_pair();
    for (int trial = 0; trial < 400; trial++) {
        const int M = 1 + rand() % ROWS, N = 1 + rand() % WIDE, P = 1 + rand() % 48, add = rand() % 2;
        const Left a = {left, 64, 1};
        for (int i = 0; i < ROWS * WIDE; i++) made[i] = again[i] = 3;
        panels->product(NULL, made, WIDE, a, right, WIDE, M, N, P, add);
        check(made, a, M, N, P, add ? 3 : 0);
        for (int m = 0; m < ROWS; m++) // and nothing beside it was written
            for (int n = m < M ? N : 0; n < WIDE; n++) assert_true(made[m * WIDE + n] == 3);
        panels->product(NULL, again, WIDE, a, right, WIDE, (M + 1) / 2, N, P, add);
        assert_memory_equal(made, again, (size_t)((M + 1) / 2 - 1) * WIDE * 4 + (size_t)N * 4);
    }
}

// Queries as pairs of a sum over them: c = scores transposed times rows.
static void by_queries_of(const Panels *panels) {
    for (int Q = 1; Q <= ROWS; Q++) {
        for (int i = 0; i < Q * PANEL_KEYS; i++) scores[i] = half(random_pair(), 0);
        const Left a = panels->by_queries(NULL, left, scores, Q);
        for (int p = 0; p < (Q + 1) / 2; p++)
            for (int key = 0; key < PANEL_KEYS; key++)
                for (int h = 0; h < 2; h++)
                    assert_true(half(a.at[key * a.row + p * a.col], h) ==
                                (2 * p + h < Q ? scores[(2 * p + h) * PANEL_KEYS + key] : 0));
        panels->product(NULL, made, WIDE, a, right, WIDE, PANEL_KEYS, WIDE, (Q + 1) / 2, 0);
        check(made, a, PANEL_KEYS, WIDE, (Q + 1) / 2, 0);
    }
}

static void panels_by_vectors(void **state) {
    (void)state;
    if (!isa_bf16()) skip();
    product_of(&panels_bf16);
    by_queries_of(&panels_bf16);
}

static void panels_by_tiles(void **state) {
    (void)state;
    if (!isa_has_tiles()) skip();
    product_of(&panels_amx);
    by_queries_of(&panels_amx);
}

#endif

int main(void) {
#ifdef __x86_64__
    const struct CMUnitTest tests[] = {cmocka_unit_test(panels_by_vectors), cmocka_unit_test(panels_by_tiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
