// Rows by index: embeddings, gather, scatter.
#include "ops/cuda/rows.cuh"

#include <stdint.h>

template <typename T> static void embed(Ops *ops, float *x, const T *table, const int32_t *ids, int N, int D) {
    const size_t width = (size_t)D;
    each_place(ops, N, D, [=] __device__(int n, int d) {
        if (ids[n] >= 0) x[(size_t)n * width + (size_t)d] = load(table + (size_t)ids[n] * width + (size_t)d);
    });
}

void op_embed_forward(Ops *ops, float *x, const void *table, Dtype table_type, const int32_t *ids, int N, int D) {
    memory_written(ops, x, (size_t)N * (size_t)D * sizeof *x);
    BY_TYPE(table_type, T, embed<T>(ops, x, (const T *)table, ids, N, D));
}

void op_embed_add(Ops *ops, float *x, const float *table, const int32_t *ids, int N, int D) {
    const size_t width = (size_t)D;
    memory_written(ops, x, (size_t)N * width * sizeof *x);
    each_place(ops, N, D, [=] __device__(int n, int d) {
        if (ids[n] >= 0) x[(size_t)n * width + (size_t)d] += table[(size_t)ids[n] * width + (size_t)d];
    });
}

void op_embed_backward(Ops *ops, float *dtable, const float *dx, const int32_t *ids, int N, int D) {
    rows_add(ops, dtable, dx, NULL, 1, ids, (size_t)N, D);
}

typedef struct Unit16 {
    uint64_t a, b;
} Unit16;

// Rows in units of 16 bytes where all addresses allow it.
template <typename Unit, typename Row>
static void move(Ops *ops, void *to, const void *from, int M, size_t row_bytes, Row row) {
    const size_t units = row_bytes / sizeof(Unit);
    Unit *out = (Unit *)to;
    const Unit *in = (const Unit *)from;
    each(ops, (size_t)M * units, [=] __device__(size_t i) {
        const size_t m = i / units, u = i % units;
        out[row.to(m) * units + u] = in[row.from(m) * units + u];
    });
}

template <typename Row> static void move_rows(Ops *ops, void *to, const void *from, int M, size_t row_bytes, Row row) {
    const uintptr_t all = (uintptr_t)to | (uintptr_t)from | row_bytes;
    if (all % 16 == 0)
        move<Unit16>(ops, to, from, M, row_bytes, row);
    else if (all % 4 == 0)
        move<uint32_t>(ops, to, from, M, row_bytes, row);
    else
        move<uint16_t>(ops, to, from, M, row_bytes, row);
}

struct Gather {
    const int32_t *index;
    __device__ size_t to(size_t m) const { return m; }
    __device__ size_t from(size_t m) const { return (size_t)index[m]; }
};
struct Scatter {
    const int32_t *index;
    __device__ size_t to(size_t m) const { return (size_t)index[m]; }
    __device__ size_t from(size_t m) const { return m; }
};

void op_rows_gather(Ops *ops, void *out, const void *x, const int32_t *index, int M, int D, size_t element_bytes) {
    const size_t row_bytes = (size_t)D * element_bytes;
    memory_written(ops, out, (size_t)M * row_bytes);
    move_rows(ops, out, x, M, row_bytes, Gather{index});
}

// The rows are among those that x has: it is backed.
void op_rows_scatter(Ops *ops, void *x, const void *in, const int32_t *index, int M, int D, size_t element_bytes) {
    move_rows(ops, x, in, M, (size_t)D * element_bytes, Scatter{index});
}

void op_rows_scatter_add(Ops *ops, float *x, const float *in, const int32_t *index, int M, int D) {
    rows_add(ops, x, in, NULL, 1, index, (size_t)M, D);
}
