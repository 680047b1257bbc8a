// Panels of bf16 pairs, multiplied by VDPBF16PS. Compiled for AVX512-BF16; called only where the processor has it.
#include "ops/cpu/panel.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = 16, TILE_ROWS = 6, TILE_VECS = 4 };

// 16 x 16 elements: out row i = column i of the 16 rows in r.
static inline void transpose16(uint32_t *out, int ld, __m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; h++) {
            r[i + 2 * h] = _mm512_unpacklo_epi64(t[i + h], t[i + h + 2]);
            r[i + 2 * h + 1] = _mm512_unpackhi_epi64(t[i + h], t[i + h + 2]);
        }
    for (int i = 0; i < 4;
         i++) { // 128-bit quarters: rows 4q + i of the result lie in quarter q of r[i], r[i+4], r[i+8], r[i+12]
        __m512i low0 = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88), low1 = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88),
                high0 = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd), high1 = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
        _mm512_storeu_si512(out + (ptrdiff_t)i * ld, _mm512_shuffle_i32x4(low0, low1, 0x88));
        _mm512_storeu_si512(out + (ptrdiff_t)(i + 8) * ld, _mm512_shuffle_i32x4(low0, low1, 0xdd));
        _mm512_storeu_si512(out + (ptrdiff_t)(i + 4) * ld, _mm512_shuffle_i32x4(high0, high1, 0x88));
        _mm512_storeu_si512(out + (ptrdiff_t)(i + 12) * ld, _mm512_shuffle_i32x4(high0, high1, 0xdd));
    }
}

static void turn(const Ops *ops, uint32_t *out, const act *const *row, int n, int K, float *scratch) {
    (void)ops, (void)scratch;
    const int pairs = K / 2;
    for (int p = 0; p < pairs; p += LANES) {
        const int width = pairs - p < LANES ? pairs - p : LANES;
        const __mmask16 mask = (__mmask16)((1u << width) - 1);
        for (int j = 0; j < PANEL_KEYS; j += LANES) {
            __m512i r[LANES];
            uint32_t edge[LANES * LANES];
            for (int i = 0; i < LANES; i++)
                r[i] = j + i < n ? _mm512_maskz_loadu_epi32(mask, (const uint32_t *)row[j + i] + p) : _mm512_setzero_si512();
            if (width == LANES) {
                transpose16(out + (ptrdiff_t)p * PANEL_KEYS + j, PANEL_KEYS, r);
                continue;
            }
            transpose16(edge, LANES, r);
            for (int i = 0; i < width; i++) memcpy(out + (ptrdiff_t)(p + i) * PANEL_KEYS + j, edge + i * LANES, LANES * 4);
        }
    }
}

// Low halves from a, high halves from b.
static inline __m512i interleave(__m256i a, __m256i b) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

static void stack(const Ops *ops, uint32_t *out, const act *const *row, int n, int K) {
    (void)ops;
    for (int j = 0; j < n; j += 2) {
        const uint16_t *low = row[j], *high = j + 1 < n ? row[j + 1] : NULL;
        for (int k = 0; k < K; k += LANES) {
            const __mmask16 mask = (__mmask16)(K - k < LANES ? (1u << (K - k)) - 1 : 0xffffu);
            __m256i a = _mm256_maskz_loadu_epi16(mask, low + k),
                    b = high ? _mm256_maskz_loadu_epi16(mask, high + k) : _mm256_setzero_si256();
            _mm512_mask_storeu_epi32(out + (ptrdiff_t)(j / 2) * K + k, mask, interleave(a, b));
        }
    }
}

static Left rows(const Ops *ops, uint32_t *out, const act *x, int Q, int K) {
    (void)ops, (void)out, (void)Q;
    return (Left){x, K / 2, 1};
}

static inline __m256i narrow(const float *x) { // to bf16, round to nearest even
    return (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x));
}

static Left by_keys(const Ops *ops, uint32_t *out, const float *x, int Q) {
    (void)ops;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)Q * PANEL_KEYS; i += LANES)
        _mm256_storeu_si256((__m256i *)(void *)(out + i / 2), narrow(x + i));
    return (Left){out, PANEL_KEYS / 2, 1};
}

// Keys j .. j + 15 of queries i and i + 1, those from Q on being zero.
static inline __m512i pair_of(const float *x, int i, int j, int Q) {
    const float *low = x + (ptrdiff_t)i * PANEL_KEYS + j;
    return interleave(i < Q ? narrow(low) : _mm256_setzero_si256(),
                      i + 1 < Q ? narrow(low + PANEL_KEYS) : _mm256_setzero_si256());
}

static Left by_queries(const Ops *ops, uint32_t *out, const float *x, int Q) {
    (void)ops;
    for (int i = 0; i < Q; i += 2)
        for (int j = 0; j < PANEL_KEYS; j += LANES)
            _mm512_storeu_si512(out + (ptrdiff_t)(i / 2) * PANEL_KEYS + j, pair_of(x, i, j, Q));
    return (Left){out, 1, PANEL_KEYS};
}

// The same with a key's pairs side by side, as a tile's row has them.
static Left by_queries_in_rows(const Ops *ops, uint32_t *out, const float *x, int Q) {
    (void)ops;
    const int width = ((Q + 1) / 2 + LANES - 1) / LANES * LANES;
    for (int p = 0; p < width; p += LANES)
        for (int j = 0; j < PANEL_KEYS; j += LANES) {
            __m512i r[LANES];
            for (int i = 0; i < LANES; i++) r[i] = pair_of(x, 2 * (p + i), j, Q);
            transpose16(out + (ptrdiff_t)j * width + p, width, r);
        }
    return (Left){out, width, 1};
}

// `rows` by `vecs` vectors of the result, all sums in registers; the last vector has only the columns of `mask`.
static inline __attribute__((always_inline)) void product_tile(float *c, int ldc, Left a, const uint32_t *b, int ldb, int rows,
                                                               int vecs, __mmask16 mask, int P, int add) {
    __m512 sum[TILE_ROWS][TILE_VECS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vecs; j++)
            sum[i][j] = add ? _mm512_maskz_loadu_ps(j == vecs - 1 ? mask : 0xffff, c + (ptrdiff_t)i * ldc + j * LANES)
                            : _mm512_setzero_ps();
    for (int p = 0; p < P; p++) {
        __m512bh right[TILE_VECS];
        for (int j = 0; j < vecs; j++)
            right[j] = (__m512bh)_mm512_maskz_loadu_epi32(j == vecs - 1 ? mask : 0xffff, b + (ptrdiff_t)p * ldb + j * LANES);
        for (int i = 0; i < rows; i++) {
            __m512bh left = (__m512bh)_mm512_set1_epi32((int)a.at[(ptrdiff_t)i * a.row + (ptrdiff_t)p * a.col]);
            for (int j = 0; j < vecs; j++) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vecs; j++)
            _mm512_mask_storeu_ps(c + (ptrdiff_t)i * ldc + j * LANES, j == vecs - 1 ? mask : 0xffff, sum[i][j]);
}

// A constant number of rows and vectors keeps the sums in registers.
static inline __attribute__((always_inline)) void product_columns(float *c, int ldc, Left a, const uint32_t *b, int ldb, int M,
                                                                  int vecs, __mmask16 mask, int P, int add) {
    int m = 0;
    for (; m + TILE_ROWS <= M; m += TILE_ROWS, c += (ptrdiff_t)TILE_ROWS * ldc, a.at += (ptrdiff_t)TILE_ROWS * a.row)
        product_tile(c, ldc, a, b, ldb, TILE_ROWS, vecs, mask, P, add);
    switch (M - m) {
    case 1: product_tile(c, ldc, a, b, ldb, 1, vecs, mask, P, add); break;
    case 2: product_tile(c, ldc, a, b, ldb, 2, vecs, mask, P, add); break;
    case 3: product_tile(c, ldc, a, b, ldb, 3, vecs, mask, P, add); break;
    case 4: product_tile(c, ldc, a, b, ldb, 4, vecs, mask, P, add); break;
    case 5: product_tile(c, ldc, a, b, ldb, 5, vecs, mask, P, add); break;
    default: break;
    }
}

static void product(const Ops *ops, float *c, int ldc, Left a, const uint32_t *b, int ldb, int M, int N, int P, int add) {
    (void)ops;
    int n = 0;
    for (; n + TILE_VECS * LANES <= N; n += TILE_VECS * LANES)
        product_columns(c + n, ldc, a, b + n, ldb, M, TILE_VECS, 0xffff, P, add);
    for (; n < N; n += LANES)
        product_columns(c + n, ldc, a, b + n, ldb, M, 1, (__mmask16)(N - n < LANES ? (1u << (N - n)) - 1 : 0xffffu), P, add);
}

const Panels panels_bf16 = {2, turn, stack, rows, by_keys, by_queries, product};
const Panels panels_amx = {2, turn, stack, rows, by_keys, by_queries_in_rows, panel_amx_product};
