#include "ops/cuda/cuda.cuh"

__device__ __forceinline__ float row_mean(const float *x, int D) {
    float sum = 0;
    for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x) sum += x[d];
    return block_sum(sum) / (float)D;
}

template <typename T>
static void forward(Ops *ops, T *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight,
                    const float *bias, int N, int D, float eps) {
    each_row(ops, N, D, [=] __device__(int n) {
        const size_t row = (size_t)n * (size_t)D;
        if (delta)
            for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x) sum[row + d] = x[row + d] + delta[row + d];
        const float *in = (delta ? sum : x) + row; // each thread reads what it wrote
        const float mean = row_mean(in, D);
        float squares = 0;
        for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x) squares += (in[d] - mean) * (in[d] - mean);
        const float r = (float)(1.0 / sqrt((double)block_sum(squares) / D + (double)eps));
        if (threadIdx.x == 0) rstd[n] = r;
        for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x)
            store(out + row + d, (in[d] - mean) * r * weight[d] + bias[d]);
    });
}

void op_layernorm_forward(Ops *ops, act *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight,
                          const float *bias, int N, int D, float eps) {
    const size_t n = (size_t)N * (size_t)D;
    memory_written(ops, out, n * dtype_bytes(ops->dtype));
    memory_written(ops, rstd, (size_t)N * sizeof *rstd);
    if (delta) memory_written(ops, sum, n * sizeof *sum);
    BY_TYPE(ops->dtype, T, forward<T>(ops, (T *)out, rstd, sum, x, delta, weight, bias, N, D, eps));
}

template <typename T>
static void again(Ops *ops, T *out, const float *x, const float *rstd, const float *weight, const float *bias, int N, int D) {
    each_row(ops, N, D, [=] __device__(int n) {
        const size_t row = (size_t)n * (size_t)D;
        const float mean = row_mean(x + row, D), r = rstd[n];
        for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x)
            store(out + row + d, (x[row + d] - mean) * r * weight[d] + bias[d]);
    });
}

void op_layernorm_again(Ops *ops, act *out, const float *x, const float *rstd, const float *weight, const float *bias, int N,
                        int D) {
    memory_written(ops, out, (size_t)N * (size_t)D * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, again<T>(ops, (T *)out, x, rstd, weight, bias, N, D));
}

// With c = x - mean, y = c rstd w + b and g = dout w:  dx = rstd (g - mean(g) - c rstd^2 mean(g . c)).
void op_layernorm_backward(Ops *ops, float *dx, float *dweight, float *dbias, const float *dout, const float *x,
                           const float *rstd, const float *weight, int N, int D) {
    const size_t width = (size_t)D, mark = arena_mark(&ops->scratch);
    float *means = scratch_get<float>(ops, (size_t)N);
    each_row(ops, N, D, [=] __device__(int n) {
        const float *d = dout + (size_t)n * width, *row = x + (size_t)n * width;
        float *to = dx + (size_t)n * width;
        const float mean = row_mean(row, D), r = rstd[n];
        float along = 0, sum = 0;
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) {
            along += d[i] * weight[i] * (row[i] - mean);
            sum += d[i] * weight[i];
        }
        const float c = r * r * (block_sum(along) / (float)D), g = block_sum(sum) / (float)D;
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) to[i] += r * (d[i] * weight[i] - (row[i] - mean) * c - g);
        if (threadIdx.x == 0) means[n] = mean;
    });
    if (dweight) {
        column_sums(ops, dweight, N, D, [=] __device__(int n, int d) {
            const size_t i = (size_t)n * width + (size_t)d;
            return dout[i] * (x[i] - means[n]) * rstd[n];
        });
        column_sums(ops, dbias, N, D, [=] __device__(int n, int d) { return dout[(size_t)n * width + (size_t)d]; });
    }
    arena_reset(&ops->scratch, mark);
}
