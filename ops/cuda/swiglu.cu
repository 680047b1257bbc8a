#include "ops/cuda/cuda.cuh"

void op_swiglu_forward(Ops *ops, act *out, const act *gu, int N, int F) {
    const size_t width = (size_t)F, n = (size_t)N * width;
    memory_written(ops, out, n * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)out; const T *from = (const T *)gu; each(ops, n, [=] __device__(size_t i) {
                const T *row = from + i / width * 2 * width + i % width;
                const float gate = load(row), up = load(row + width);
                store(to + i, gate / (1.0f + expf(-gate)) * up);
            }));
}

void op_swiglu_backward(Ops *ops, act *dgu, const act *dout, const act *gu, int N, int F) {
    const size_t width = (size_t)F, n = (size_t)N * width;
    memory_written(ops, dgu, 2 * n * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)dgu; const T *from = (const T *)gu; const T *dy = (const T *)dout;
            each(ops, n, [=] __device__(size_t i) {
                const size_t at = i / width * 2 * width + i % width;
                const float gate = load(from + at), up = load(from + at + width), d = load(dy + i),
                            s = 1.0f / (1.0f + expf(-gate));
                store(to + at, d * up * s * (1.0f + gate * (1.0f - s)));
                store(to + at + width, d * gate * s);
            }));
}
