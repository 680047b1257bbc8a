// The product of panels by AMX: a panel of pairs is what a tile holds. Compiled for AMX; called only where the processor has
// it.
#include "ops/cpu/panel.h"

#include <immintrin.h>

enum { SIDE = 16, COLUMNS = 4 }; // of a tile: rows, and 4-byte elements of a row; tiles of the result side by side

// Tiles 0 to 3 are sums, 4 the left operand and 6 the right one; 5 and 7 hold what is left over at the end of a sum.
static void configure(int rows, int tail) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int tile = 0; tile < 8; tile++)
        config.rows[tile] = (uint8_t)(tile < 6 ? rows : SIDE), config.row_bytes[tile] = SIDE * 4;
    if (tail) config.row_bytes[5] = (uint16_t)(tail * 4), config.rows[7] = (uint8_t)tail;
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

// The number of a tile is part of an instruction.
#define OF_EACH(DO)                                                                                                            \
    do {                                                                                                                       \
        DO(0);                                                                                                                 \
        if (columns > 1) {                                                                                                     \
            DO(1);                                                                                                             \
            DO(2);                                                                                                             \
            DO(3);                                                                                                             \
        }                                                                                                                      \
    } while (0)
#define ZERO(j)  _tile_zero(j)
#define LOAD(j)  _tile_loadd(j, c + j * SIDE, c_row)
#define STORE(j) _tile_stored(j, c + j * SIDE, c_row)
#define ADD(j, left, right)                                                                                                    \
    _tile_loadd(right, b + j * SIDE, b_row);                                                                                   \
    _tile_dpbf16ps(j, left, right)
#define ADD_WHOLE(j) ADD(j, 4, 6)
#define ADD_TAIL(j)  ADD(j, 5, 7)

// Up to SIDE rows by one or COLUMNS tiles of the result.
static inline __attribute__((always_inline)) void product_tiles(float *c, int ldc, Left a, const uint32_t *b, int ldb,
                                                                int columns, int P, int add) {
    const size_t c_row = (size_t)ldc * 4, a_row = (size_t)a.row * 4, b_row = (size_t)ldb * 4;
    if (add)
        OF_EACH(LOAD);
    else
        OF_EACH(ZERO);
    for (; P >= SIDE; P -= SIDE, a.at += SIDE, b += (ptrdiff_t)SIDE * ldb) {
        _tile_loadd(4, a.at, a_row);
        OF_EACH(ADD_WHOLE);
    }
    if (P) {
        _tile_loadd(5, a.at, a_row);
        OF_EACH(ADD_TAIL);
    }
    OF_EACH(STORE);
}

// A row's bits do not depend on M.
void panel_amx_product(const Ops *ops, float *c, int ldc, Left a, const uint32_t *b, int ldb, int M, int N, int P, int add) {
    const int whole = N / SIDE * SIDE;
    if (whole < N) panels_bf16.product(ops, c + whole, ldc, a, b + whole, ldb, M, N - whole, P, add);
    for (int m = 0; m < M; m += SIDE, c += (ptrdiff_t)SIDE * ldc, a.at += (ptrdiff_t)SIDE * a.row) {
        const int rows = M - m < SIDE ? M - m : SIDE;
        if (m == 0 || rows < SIDE) configure(rows, P % SIDE);
        int n = 0;
        for (; n + COLUMNS * SIDE <= whole; n += COLUMNS * SIDE) product_tiles(c + n, ldc, a, b + n, ldb, COLUMNS, P, add);
        for (; n < whole; n += SIDE) product_tiles(c + n, ldc, a, b + n, ldb, 1, P, add);
    }
    _tile_release();
}
