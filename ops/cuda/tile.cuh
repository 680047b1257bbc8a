// Attention's small products: pieces of 64 x 64 values in shared memory, and sums of 16 x 16 that a warp holds. bf16 goes
// through the tensor cores, f32 through the ordinary units, with the same calls.
#ifndef OPS_CUDA_TILE_CUH
#define OPS_CUDA_TILE_CUH

#include "ops/cuda/cuda.cuh"

#include <mma.h>

enum { TILE = 64, STRIDE = TILE + 8, PART = 16, PARTS = TILE / PART, TILE_THREADS = 128 }; // a warp for each 16 rows

template <typename T> struct Piece { T x[TILE][STRIDE]; };

// c (16, 16) += a (16, 16) b (16, 16), which lie in pieces; turned: as their transposes. Sums are registers only where all that
// is called with them is inlined.
template <typename T> struct Sum16;

template <> struct Sum16<bf16> {
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, PART, PART, PART, float> c;
    __device__ __forceinline__ void zero() { nvcuda::wmma::fill_fragment(c, 0.0f); }
    template <bool A_TURNED, bool B_TURNED> __device__ __forceinline__ void add(const bf16 *a, const bf16 *b) {
        using namespace nvcuda::wmma;
        fragment<matrix_a, PART, PART, PART, bf16, typename Layout<A_TURNED>::type> left;
        fragment<matrix_b, PART, PART, PART, bf16, typename Layout<B_TURNED>::type> right;
        load_matrix_sync(left, a, STRIDE);
        load_matrix_sync(right, b, STRIDE);
        mma_sync(c, left, right, c);
    }
    __device__ __forceinline__ void put(float *to) const {
        nvcuda::wmma::store_matrix_sync(to, c, STRIDE, nvcuda::wmma::mem_row_major);
    }

  private:
    template <bool TURNED, typename Unused = void> struct Layout { typedef nvcuda::wmma::row_major type; };
    template <typename Unused> struct Layout<true, Unused> { typedef nvcuda::wmma::col_major type; };
};

template <> struct Sum16<float> { // a lane has half a row
    float c[PART / 2];
    __device__ __forceinline__ void zero() {
        for (int j = 0; j < PART / 2; j++) c[j] = 0;
    }
    template <bool A_TURNED, bool B_TURNED> __device__ __forceinline__ void add(const float *a, const float *b) {
        const int row = (int)threadIdx.x % 32 / 2, column = (int)threadIdx.x % 2 * (PART / 2);
        for (int k = 0; k < PART; k++) {
            const float left = a[A_TURNED ? k * STRIDE + row : row * STRIDE + k];
            for (int j = 0; j < PART / 2; j++) c[j] += left * b[B_TURNED ? (column + j) * STRIDE + k : k * STRIDE + column + j];
        }
    }
    __device__ __forceinline__ void put(float *to) const {
        const int row = (int)threadIdx.x % 32 / 2, column = (int)threadIdx.x % 2 * (PART / 2);
        for (int j = 0; j < PART / 2; j++) to[row * STRIDE + column + j] = c[j];
    }
};

// Columns [column, column + 64) of the rows of x (., K) that `row` names, zeros where it is negative or behind the last column.
// `wide`: x and its rows begin at multiples of 16 bytes.
template <typename T>
__device__ __forceinline__ void piece_load(Piece<T> *to, const T *x, const int *row, int column, int K, int wide) {
    if (wide) { // all of a thread's loads are under way before the first is stored
        enum { STEP = 16 / (int)sizeof(T), LOADS = TILE * TILE / (TILE_THREADS * STEP) };
        uint4 value[LOADS];
#pragma unroll
        for (int j = 0; j < LOADS; j++) {
            const int i = ((int)threadIdx.x + j * TILE_THREADS) * STEP, r = i / TILE, c = i % TILE, from = row[r];
            value[j] = from >= 0 && column + c < K ? *(const uint4 *)(x + (size_t)from * (size_t)K + column + c)
                                                   : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int j = 0; j < LOADS; j++) {
            const int i = ((int)threadIdx.x + j * TILE_THREADS) * STEP;
            *(uint4 *)&to->x[i / TILE][i % TILE] = value[j];
        }
        return;
    }
    for (int i = (int)threadIdx.x; i < TILE * TILE; i += TILE_THREADS) {
        const int r = i / TILE, c = i % TILE;
        if (row[r] >= 0 && column + c < K)
            to->x[r][c] = x[(size_t)row[r] * (size_t)K + column + c];
        else
            store(&to->x[r][c], 0);
    }
}

// In what follows the rows that are there (>= 0) come first, and sixteens of which none is there are passed over.

// The warp's 16 rows of out (64, 64) = x (64 rows, K) times the rows of y (64 rows, K), through a and b. All warps call.
template <typename T>
__device__ __forceinline__ void piece_scores(Piece<float> *out, Piece<T> *a, Piece<T> *b, const T *x, const int *x_row,
                                             const T *y, const int *y_row, int K, int wide) {
    const int first = (int)threadIdx.x / 32 * PART;
    Sum16<T> sum[PARTS];
    for (int p = 0; p < PARTS; p++) sum[p].zero();
    for (int column = 0; column < K; column += TILE) {
        __syncthreads(); // the pieces have been read
        piece_load(a, x, x_row, column, K, wide);
        piece_load(b, y, y_row, column, K, wide);
        __syncthreads();
        for (int k = 0; x_row[first] >= 0 && k < TILE && column + k < K; k += PART)
#pragma unroll
            for (int p = 0; p < PARTS; p++)
                if (y_row[p * PART] >= 0) sum[p].template add<false, true>(&a->x[first][k], &b->x[p * PART][k]);
    }
#pragma unroll
    for (int p = 0; p < PARTS; p++) sum[p].put(&out->x[first][p * PART]);
    __syncwarp();
}

// sum (the warp's 16 rows, 64) += weight (64 rows of x, 64 of y) times columns [column, column + 64) of the rows of y, through
// b; WEIGHT_TURNED: weight is (64 of y, 64 of x). All warps call, when all weights are there.
template <bool WEIGHT_TURNED, typename T>
__device__ __forceinline__ void piece_combine(Sum16<T> *sum, const Piece<T> *weight, Piece<T> *b, const int *x_row, const T *y,
                                              const int *y_row, int column, int K, int wide) {
    const int first = (int)threadIdx.x / 32 * PART;
    __syncthreads();
    piece_load(b, y, y_row, column, K, wide);
    __syncthreads();
    for (int k = 0; x_row[first] >= 0 && k < TILE && y_row[k] >= 0; k += PART)
#pragma unroll
        for (int p = 0; p < PARTS; p++)
            sum[p].template add<WEIGHT_TURNED, false>(WEIGHT_TURNED ? &weight->x[k][first] : &weight->x[first][k],
                                                      &b->x[k][p * PART]);
}

#endif
