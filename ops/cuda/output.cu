// The end of the network: log-probabilities over the vocabulary and their backward.
#include "ops/cuda/cuda.cuh"

void op_logprob(Ops *ops, float *logprob, float *lse, const float *logits, const int32_t *target, int M, int V) {
    memory_written(ops, lse, (size_t)M * sizeof *lse);
    if (target) memory_written(ops, logprob, (size_t)M * sizeof *logprob);
    each_row(ops, M, V, [=] __device__(int m) {
        const float *row = logits + (size_t)m * (size_t)V;
        float most = -INFINITY, sum = 0;
        for (int v = (int)threadIdx.x; v < V; v += (int)blockDim.x)
            most = fmaxf(most, row[v]); // NaN is passed over: the sum shows it
        most = block_reduce(most, Largest());
        for (int v = (int)threadIdx.x; v < V; v += (int)blockDim.x) sum += expf(row[v] - most);
        sum = block_sum(sum);
        if (threadIdx.x) return;
        lse[m] = most + logf(sum);
        if (target) logprob[m] = row[target[m]] - lse[m];
    });
}

void op_logprob_backward(Ops *ops, act *dlogits, const float *logits, const float *lse, const int32_t *target,
                         const float *dlogprob, int M, int V) {
    const size_t width = (size_t)V;
    memory_written(ops, dlogits, (size_t)M * width * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)dlogits; each_place(ops, M, V, [=] __device__(int m, int v) {
                const size_t i = (size_t)m * width + (size_t)v;
                const float hot = v == target[m] ? 1.0f : 0.0f;
                store(to + i, dlogprob[m] * (hot - expf(logits[i] - lse[m])));
            }));
}

void op_logprob_pick(Ops *ops, float *out, const float *logits, const float *lse, const int32_t *row, const int32_t *token,
                     size_t n, int V) {
    const size_t width = (size_t)V;
    memory_written(ops, out, n * sizeof *out);
    each(ops, n, [=] __device__(size_t i) { out[i] = logits[(size_t)row[i] * width + (size_t)token[i]] - lse[row[i]]; });
}
