// Binary cross-entropy against a few rows of the table: the true item and negatives (Kang & McAuley 2018).
#include "ops/cuda/rows.cuh"

template <typename T>
static void forward(Ops *ops, float *logits, const T *h, const float *table, const int32_t *id, int M, int C, int D) {
    const size_t width = (size_t)D;
    each_row(ops, M * C, D, [=] __device__(int i) {
        const float *row = table + (size_t)id[i] * width;
        const T *mine = h + (size_t)(i / C) * width;
        float dot = 0;
        for (size_t d = threadIdx.x; d < width; d += blockDim.x) dot += row[d] * load(mine + d);
        dot = block_sum(dot);
        if (threadIdx.x == 0) logits[i] = dot;
    });
}

void op_sampled_forward(Ops *ops, float *logits, const act *h, const float *table, const int32_t *id, int M, int C, int D) {
    memory_written(ops, logits, (size_t)M * (size_t)C * sizeof *logits);
    BY_TYPE(ops->dtype, T, forward<T>(ops, logits, (const T *)h, table, id, M, C, D));
}

void op_sampled_backward(Ops *ops, float *dh, float *dtable, const float *dlogits, const act *h, const float *table,
                         const int32_t *id, int M, int C, int D) {
    const size_t width = (size_t)D;
    memory_written(ops, dh, (size_t)M * width * sizeof *dh);
    each(ops, (size_t)M * width, [=] __device__(size_t i) {
        const size_t m = i / width, d = i % width;
        float sum = 0;
        for (size_t c = m * (size_t)C; c < (m + 1) * (size_t)C; c++) sum += dlogits[c] * table[(size_t)id[c] * width + d];
        dh[i] = sum;
    });
    if (dtable) BY_TYPE(ops->dtype, T, rows_add(ops, dtable, (const T *)h, dlogits, C, id, (size_t)M * (size_t)C, D));
}

void op_binary(Ops *ops, float *loss, float *dlogits, const float *logits, int M, int C, float weight) {
    memory_written(ops, loss, (size_t)M * sizeof *loss);
    if (dlogits) memory_written(ops, dlogits, (size_t)M * (size_t)C * sizeof *dlogits);
    each(ops, (size_t)M, [=] __device__(size_t m) {
        float sum = 0;
        for (int c = 0; c < C; c++) {
            const size_t i = m * (size_t)C + (size_t)c;
            const float x = c ? logits[i] : -logits[i]; // the loss is log(1 + e^x)
            const float e = expf(-fabsf(x)), p = x > 0 ? 1.0f / (1.0f + e) : e / (1.0f + e);
            sum += (x > 0 ? x : 0) + log1pf(e);
            if (dlogits) dlogits[i] = weight * (c ? p : -p);
        }
        loss[m] = sum;
    });
}
