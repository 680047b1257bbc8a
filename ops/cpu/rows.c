// Rows by index: embeddings, gather, scatter.
#include "ops/cpu/cpu.h"

#include <string.h>

void op_embed_forward(Ops *ops, float *x, const void *table, Dtype table_type, const int32_t *ids, int N, int D) {
    const size_t row_bytes = (size_t)D * dtype_bytes(table_type);
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int n = 0; n < N; n++) {
        if (ids[n] >= 0)
            ops->k->load(x + (size_t)n * (size_t)D, (const char *)table + (size_t)ids[n] * row_bytes, (size_t)D, table_type);
    }
}

void op_embed_add(Ops *ops, float *x, const float *table, const int32_t *ids, int N, int D) {
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int n = 0; n < N; n++)
        if (ids[n] >= 0) ops->k->axpy(x + (size_t)n * D, 1.0f, table + (size_t)ids[n] * D, (size_t)D);
}

// Ids repeat, so threads share the columns, not the rows: each sum runs in the order of the rows.
void op_embed_backward(Ops *ops, float *dtable, const float *dx, const int32_t *ids, int N, int D) {
    const int strip = 64;
    PARALLEL_FOR((size_t)N * (size_t)D)
    for (int d = 0; d < D; d += strip) {
        size_t width = (size_t)(D - d < strip ? D - d : strip);
        for (int n = 0; n < N; n++)
            if (ids[n] >= 0) ops->k->axpy(dtable + (size_t)ids[n] * D + d, 1.0f, dx + (size_t)n * D + d, width);
    }
}

void op_rows_gather(Ops *ops, void *out, const void *x, const int32_t *index, int M, int D, size_t element_bytes) {
    size_t bytes = (size_t)D * element_bytes;
    PARALLEL_FOR((size_t)M * (size_t)D)
    for (int m = 0; m < M; m++) memcpy((char *)out + (size_t)m * bytes, (const char *)x + (size_t)index[m] * bytes, bytes);
}

void op_rows_scatter(Ops *ops, void *x, const void *in, const int32_t *index, int M, int D, size_t element_bytes) {
    size_t bytes = (size_t)D * element_bytes;
    PARALLEL_FOR((size_t)M * (size_t)D)
    for (int m = 0; m < M; m++) memcpy((char *)x + (size_t)index[m] * bytes, (const char *)in + (size_t)m * bytes, bytes);
}

void op_rows_scatter_add(Ops *ops, float *x, const float *in, const int32_t *index, int M, int D) {
    const int strip = 64;
    PARALLEL_FOR((size_t)M * (size_t)D)
    for (int d = 0; d < D; d += strip) {
        size_t width = (size_t)(D - d < strip ? D - d : strip);
        for (int m = 0; m < M; m++) ops->k->axpy(x + (size_t)index[m] * D + d, 1.0f, in + (size_t)m * D + d, width);
    }
}
