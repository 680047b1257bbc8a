#include "ops/cuda/cuda.cuh"

// A thread moves 16 bytes at once where all addresses and rows begin at such: one value after the other would wait for each
// store, as the result may lie on the operands for all that the compiler knows.
template <typename T, int VALUES> struct alignas(VALUES * sizeof(T)) Pack { T x[VALUES]; };

static int packs(const void *a, const void *b, const void *c, size_t row_bytes) {
    return ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | row_bytes) % 16 == 0;
}

template <typename T, int P> static void forward(Ops *ops, T *out, const T *gu, int N, int F) {
    typedef Pack<T, P> Packed;
    const size_t width = (size_t)F;
    each_place(ops, N, F / P, [=] __device__(int n, int f) {
        const T *row = gu + (size_t)n * 2 * width + (size_t)f * P;
        const Packed gates = *(const Packed *)row, ups = *(const Packed *)(row + width);
        Packed y;
#pragma unroll
        for (int i = 0; i < P; i++) {
            const float gate = load(&gates.x[i]);
            store(&y.x[i], gate / (1.0f + expf(-gate)) * load(&ups.x[i]));
        }
        *(Packed *)(out + (size_t)n * width + (size_t)f * P) = y;
    });
}

template <typename T, int P> static void backward(Ops *ops, T *dgu, const T *dout, const T *gu, int N, int F) {
    typedef Pack<T, P> Packed;
    const size_t width = (size_t)F;
    each_place(ops, N, F / P, [=] __device__(int n, int f) {
        const size_t at = (size_t)n * 2 * width + (size_t)f * P;
        const Packed gates = *(const Packed *)(gu + at), ups = *(const Packed *)(gu + at + width),
                     dy = *(const Packed *)(dout + (size_t)n * width + (size_t)f * P);
        Packed dgate, dup;
#pragma unroll
        for (int i = 0; i < P; i++) {
            const float gate = load(&gates.x[i]), d = load(&dy.x[i]), s = 1.0f / (1.0f + expf(-gate));
            store(&dgate.x[i], d * load(&ups.x[i]) * s * (1.0f + gate * (1.0f - s)));
            store(&dup.x[i], d * gate * s);
        }
        *(Packed *)(dgu + at) = dgate;
        *(Packed *)(dgu + at + width) = dup;
    });
}

void op_swiglu_forward(Ops *ops, act *out, const act *gu, int N, int F) {
    const size_t row = (size_t)F * dtype_bytes(ops->dtype);
    memory_written(ops, out, (size_t)N * row);
    BY_TYPE(ops->dtype, T, if (packs(out, gu, gu, row)) forward<T, 16 / (int)sizeof(T)>(ops, (T *)out, (const T *)gu, N, F);
            else forward<T, 1>(ops, (T *)out, (const T *)gu, N, F));
}

void op_swiglu_backward(Ops *ops, act *dgu, const act *dout, const act *gu, int N, int F) {
    const size_t row = (size_t)F * dtype_bytes(ops->dtype);
    memory_written(ops, dgu, 2 * (size_t)N * row);
    BY_TYPE(ops->dtype, T,
            if (packs(dgu, dout, gu, row))
                backward<T, 16 / (int)sizeof(T)>(ops, (T *)dgu, (const T *)dout, (const T *)gu, N, F);
            else backward<T, 1>(ops, (T *)dgu, (const T *)dout, (const T *)gu, N, F));
}
