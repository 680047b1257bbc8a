// Products of 16 x 16 parts by a warp. Its first lane does the work, so that another lane's value which no barrier has made
// visible is found.
#ifndef SHIM_MMA_H
#define SHIM_MMA_H

#include <cuda_bf16.h>

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {
    static size_t at(int row, int column, unsigned stride) { return (size_t)row * stride + (size_t)column; }
};
struct col_major {
    static size_t at(int row, int column, unsigned stride) { return (size_t)column * stride + (size_t)row; }
};
enum layout_t { mem_row_major };

template <typename Use, int M, int N, int K, typename T, typename Layout = void> struct fragment { float x[16][16]; };

static inline bool first_lane() {
    return threadIdx.x % 32 == 0;
}

template <typename F> void each_entry(F f) {
    for (int i = 0; i < 16 && first_lane(); i++)
        for (int j = 0; j < 16; j++) f(i, j);
}

template <typename Fragment> void fill_fragment(Fragment &c, float value) {
    each_entry([&](int i, int j) { c.x[i][j] = value; });
}

template <typename Use, typename T, typename Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout> &to, const T *from, unsigned stride) {
    if ((uintptr_t)from % 32 || stride * sizeof(T) % 16) abort(); // as the hardware asks
    each_entry([&](int i, int j) { to.x[i][j] = __bfloat162float(from[Layout::at(i, j, stride)]); });
}

template <typename A, typename B, typename C> void mma_sync(C &to, const A &a, const B &b, const C &c) {
    each_entry([&](int i, int j) {
        float sum = c.x[i][j];
        for (int k = 0; k < 16; k++) sum += a.x[i][k] * b.x[k][j];
        to.x[i][j] = sum;
    });
}

template <typename C> void store_matrix_sync(float *to, const C &c, unsigned stride, layout_t) {
    if ((uintptr_t)to % 32 || stride * sizeof(float) % 16) abort();
    each_entry([&](int i, int j) { to[(size_t)i * stride + (size_t)j] = c.x[i][j]; });
}

} // namespace wmma
} // namespace nvcuda

#endif
