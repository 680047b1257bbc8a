// Element by element between the two products of a feed-forward: ReLU and GELU, and dropout.
#include "ops/cuda/cuda.cuh"

// GELU's tanh form as x sigmoid(2 c (x + 0.044715 x^3)), c = sqrt(2 / pi).
#define GELU_TWICE_C 1.5957691216057308f
#define GELU_CUBIC   0.044715f

__device__ __forceinline__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__device__ __forceinline__ float activation(float x, Activation kind) {
    if (kind == ACTIVATION_RELU) return x < 0 ? 0 : x; // NaN stays NaN
    return x * sigmoid(GELU_TWICE_C * x * (1.0f + GELU_CUBIC * x * x));
}

__device__ __forceinline__ float activation_slope(float x, Activation kind) {
    if (kind == ACTIVATION_RELU) return x > 0 ? 1.0f : 0 * x;
    const float square = x * x, s = sigmoid(GELU_TWICE_C * x * (1.0f + GELU_CUBIC * square));
    return s * (1.0f + (1.0f - s) * GELU_TWICE_C * x * (1.0f + 3.0f * GELU_CUBIC * square));
}

void op_activation_forward(Ops *ops, act *out, const act *x, Activation kind, int N, int F) {
    const size_t n = (size_t)N * (size_t)F;
    memory_written(ops, out, n * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)out; const T *from = (const T *)x;
            each(ops, n, [=] __device__(size_t i) { store(to + i, activation(load(from + i), kind)); }));
}

void op_activation_backward(Ops *ops, act *dx, const act *dout, const act *x, Activation kind, int N, int F) {
    const size_t n = (size_t)N * (size_t)F;
    memory_written(ops, dx, n * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)dx; const T *d = (const T *)dout; const T *from = (const T *)x;
            each(ops, n, [=] __device__(size_t i) { store(to + i, load(d + i) * activation_slope(load(from + i), kind)); }));
}

// A thread has one block of random bits, which serves eight values of a run of 64.
template <typename T> static void dropout(Ops *ops, T *x, const Dropout *d, uint64_t stream, int N, size_t width) {
    const uint32_t least = (uint32_t)(d->rate * 65536.0f + 0.5f);
    const float scale = 65536.0f / (float)(65536 - least);
    const uint64_t blocks = (width + 63) / 64 * 8, seed = d->seed;
    const uint64_t *key = d->key;
    each(ops, (size_t)N * blocks, [=] __device__(size_t i) {
        const size_t n = i / blocks, b = i % blocks;
        uint32_t random[4];
        random_block(random, seed, stream, key[n] * blocks + b);
        for (int h = 0; h < 8; h++) {
            const size_t at = b / 8 * 64 + (size_t)h * 8 + b % 8;
            T *value = x + n * width + at;
            if (at < width) store(value, random_half(random, h) < least ? 0 : load(value) * scale);
        }
    });
}

void op_dropout(Ops *ops, void *x, Dtype type, const Dropout *d, uint64_t stream, int N, int D) {
    BY_TYPE(type, T, dropout<T>(ops, (T *)x, d, stream, N, (size_t)D));
}
