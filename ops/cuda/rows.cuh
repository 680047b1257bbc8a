#ifndef OPS_CUDA_ROWS_CUH
#define OPS_CUDA_ROWS_CUH

#include "ops/cuda/cuda.cuh"

// Row id[i] of `to` (., D) += weight[i] (NULL: 1) times row i / per of `from`, for i in [0, n) with id[i] >= 0.
// Ids repeat: the block of the first of equal ones adds them all, in their order.
template <typename T>
void rows_add(Ops *ops, float *to, const T *from, const float *weight, int per, const int32_t *id, size_t n, int D) {
    const size_t width = (size_t)D;
    each_row(ops, (int)n, BLOCK, [=] __device__(int first) {
        __shared__ int source[BLOCK]; // row of `from`; -1: another id's
        const int32_t mine = id[first];
        const size_t t = threadIdx.x;
        if (mine < 0) return;
        for (size_t at = 0; at < (size_t)first; at += BLOCK)
            if (__syncthreads_or(at + t < (size_t)first && id[at + t] == mine)) return;
        for (size_t at = (size_t)first; at < n; at += BLOCK) {
            source[t] = at + t < n && id[at + t] == mine ? (int)((at + t) / (size_t)per) : -1;
            if (!__syncthreads_or(source[t] >= 0)) continue;
            for (size_t d = t; d < width; d += BLOCK) {
                float sum = to[(size_t)mine * width + d];
                for (size_t i = 0; i < BLOCK; i++)
                    if (source[i] >= 0) sum += (weight ? weight[at + i] : 1.0f) * load(from + (size_t)source[i] * width + d);
                to[(size_t)mine * width + d] = sum;
            }
            __syncthreads();
        }
    });
}

#endif
