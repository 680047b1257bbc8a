#include "ops/cuda/cuda.cuh"

void op_swiglu_forward(Ops *ops, act *out, const act *gu, int N, int F) {
    const size_t width = (size_t)F;
    memory_written(ops, out, (size_t)N * width * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)out; const T *from = (const T *)gu; each_place(ops, N, F, [=] __device__(int n, int f) {
                const T *row = from + (size_t)n * 2 * width + (size_t)f;
                const float gate = load(row), up = load(row + width);
                store(to + (size_t)n * width + (size_t)f, gate / (1.0f + expf(-gate)) * up);
            }));
}

void op_swiglu_backward(Ops *ops, act *dgu, const act *dout, const act *gu, int N, int F) {
    const size_t width = (size_t)F;
    memory_written(ops, dgu, 2 * (size_t)N * width * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)dgu; const T *from = (const T *)gu; const T *dy = (const T *)dout;
            each_place(ops, N, F, [=] __device__(int n, int f) {
                const size_t at = (size_t)n * 2 * width + (size_t)f;
                const float gate = load(from + at), up = load(from + at + width), d = load(dy + (size_t)n * width + (size_t)f),
                            s = 1.0f / (1.0f + expf(-gate));
                store(to + at, d * up * s * (1.0f + gate * (1.0f - s)));
                store(to + at + width, d * gate * s);
            }));
}
