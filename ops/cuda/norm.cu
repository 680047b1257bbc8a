#include "ops/cuda/cuda.cuh"

template <typename T>
static void forward(Ops *ops, T *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight, int N,
                    int D, float eps) {
    each_row(ops, N, D, [=] __device__(int n) {
        const size_t row = (size_t)n * (size_t)D;
        float squares = 0;
        for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x) {
            float value = x[row + d];
            if (delta) sum[row + d] = value += delta[row + d];
            squares += value * value;
        }
        const float r = (float)(1.0 / sqrt((double)block_sum(squares) / D + (double)eps));
        if (threadIdx.x == 0) rstd[n] = r;
        const float *summed = delta ? sum : x; // each thread reads what it wrote
        for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x) store(out + row + d, summed[row + d] * r * weight[d]);
    });
}

void op_rmsnorm_forward(Ops *ops, act *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight,
                        int N, int D, float eps) {
    const size_t n = (size_t)N * (size_t)D;
    memory_written(ops, out, n * dtype_bytes(ops->dtype));
    memory_written(ops, rstd, (size_t)N * sizeof *rstd);
    if (delta) memory_written(ops, sum, n * sizeof *sum);
    BY_TYPE(ops->dtype, T, forward<T>(ops, (T *)out, rstd, sum, x, delta, weight, N, D, eps));
}

void op_rmsnorm_again(Ops *ops, act *out, const float *x, const float *rstd, const float *weight, int N, int D) {
    const size_t width = (size_t)D;
    memory_written(ops, out, (size_t)N * width * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)out; each_place(ops, N, D, [=] __device__(int n, int d) {
                const size_t i = (size_t)n * width + (size_t)d;
                store(to + i, x[i] * rstd[n] * weight[d]);
            }));
}

// With y = x rstd w and g = dout w:  dx = rstd (g - x rstd^2 mean(g . x)).
void op_rmsnorm_backward(Ops *ops, float *dx, float *dweight, const float *dout, const float *x, const float *rstd,
                         const float *weight, int N, int D) {
    const size_t width = (size_t)D;
    each_row(ops, N, D, [=] __device__(int n) {
        const float *d = dout + (size_t)n * width, *row = x + (size_t)n * width;
        float *to = dx + (size_t)n * width;
        float dot = 0;
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) dot += d[i] * weight[i] * row[i];
        const float r = rstd[n], c = r * r * (block_sum(dot) / (float)D);
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) to[i] += r * (d[i] * weight[i] - row[i] * c);
    });
    if (!dweight) return;
    column_sums(ops, dweight, N, D, [=] __device__(int n, int d) {
        const size_t i = (size_t)n * width + (size_t)d;
        return dout[i] * x[i] * rstd[n];
    });
}
