// Rotary embedding, half-split pairing (Su et al. 2021, in the layout of Hugging Face), and the split of q, k, v.
#include "ops/cuda/cuda.cuh"

typedef struct Turn { // of one place of a head: value = x cos + partner sin, sin with its sign
    float cos, sin;
    int partner; // distance to the other value of the pair
} Turn;

__device__ __forceinline__ Turn turn_of(const Rope &rope, int position, int d, float sign) {
    const int half = rope.K / 2;
    if (!rope.cos) return Turn{1, 0, 0};
    const size_t at = (size_t)position * (size_t)half + (size_t)(d % half);
    return d < half ? Turn{rope.cos[at], -sign * rope.sin[at], half} : Turn{rope.cos[at], sign * rope.sin[at], -half};
}

template <typename T> __device__ __forceinline__ float turned(const T *x, Turn t) {
    return t.partner ? load(x) * t.cos + load(x + t.partner) * t.sin : load(x);
}

template <typename T>
static void split(Ops *ops, T *q, T *k, T *v, const T *qkv, const int32_t *position, Rope rope, int N, int H, int G, int K) {
    const int q_width = H * K, kv_width = G * K, width = q_width + 2 * kv_width;
    each_place(ops, N, width, [=] __device__(int row, int at) {
        const size_t n = (size_t)row;
        const T *from = qkv + n * (size_t)width + (size_t)at;
        if (at >= q_width + kv_width) {
            v[n * (size_t)kv_width + (size_t)(at - q_width - kv_width)] = *from;
            return;
        }
        const float x = turned(from, turn_of(rope, position[row], at % K, 1));
        store(at < q_width ? q + n * (size_t)q_width + (size_t)at : k + n * (size_t)kv_width + (size_t)(at - q_width), x);
    });
}

void op_qkv_forward(Ops *ops, act *q, act *k_cache, act *v_cache, const act *qkv, const int32_t *position, int slot0,
                    const Rope *rope, int N, int H, int G, int K) {
    const size_t bytes = dtype_bytes(ops->dtype), own = (size_t)N * (size_t)G * (size_t)K * bytes,
                 skip = (size_t)slot0 * (size_t)G * (size_t)K * bytes;
    char *k = (char *)k_cache + skip, *v = (char *)v_cache + skip;
    memory_written(ops, q, (size_t)N * (size_t)H * (size_t)K * bytes);
    memory_written(ops, k, own);
    memory_written(ops, v, own);
    BY_TYPE(ops->dtype, T, split<T>(ops, (T *)q, (T *)k, (T *)v, (const T *)qkv, position, *rope, N, H, G, K));
}

template <typename T>
static void join(Ops *ops, T *dqkv, const float *dq, const float *dk, const float *dv, const int32_t *position, Rope rope,
                 int N, int H, int G, int K) {
    const int q_width = H * K, kv_width = G * K, width = q_width + 2 * kv_width;
    each_place(ops, N, width, [=] __device__(int row, int at) {
        const size_t n = (size_t)row;
        T *to = dqkv + n * (size_t)width + (size_t)at;
        if (at >= q_width + kv_width) {
            store(to, dv[n * (size_t)kv_width + (size_t)(at - q_width - kv_width)]);
            return;
        }
        const float *x =
            at < q_width ? dq + n * (size_t)q_width + (size_t)at : dk + n * (size_t)kv_width + (size_t)(at - q_width);
        store(to, turned(x, turn_of(rope, position[row], at % K, -1))); // the transpose is the inverse
    });
}

void op_qkv_backward(Ops *ops, act *dqkv, const float *dq, const float *dk, const float *dv, const int32_t *position,
                     const Rope *rope, int N, int H, int G, int K) {
    memory_written(ops, dqkv, (size_t)N * (size_t)(H + 2 * G) * (size_t)K * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, join<T>(ops, (T *)dqkv, dq, dk, dv, position, *rope, N, H, G, K));
}

// A thread has both values of a pair.
template <typename T> static void rotate(Ops *ops, T *x, const int32_t *position, Rope rope, int N, float sign) {
    const size_t half = (size_t)rope.K / 2;
    if (!rope.cos) return;
    each(ops, (size_t)N * half, [=] __device__(size_t i) {
        const size_t n = i / half, d = i % half, at = (size_t)position[n] * half + d;
        T *a = x + n * 2 * half + d, *b = a + half;
        const float one = load(a), other = load(b), cos = rope.cos[at], sin = sign * rope.sin[at];
        store(a, one * cos - other * sin);
        store(b, other * cos + one * sin);
    });
}

void op_rope(Ops *ops, act *x, const int32_t *position, const Rope *rope, int N, int inverse) {
    BY_TYPE(ops->dtype, T, rotate<T>(ops, (T *)x, position, *rope, N, inverse ? -1.0f : 1.0f));
}

void op_rope_f32(Ops *ops, float *x, const int32_t *position, const Rope *rope, int N, int inverse) {
    rotate<float>(ops, x, position, *rope, N, inverse ? -1.0f : 1.0f);
}
