// Rotary embedding, half-split pairing (Su et al. 2021, in the layout of Hugging Face), and the split of q, k, v.
#include "ops/cpu/cpu.h"

static void rotate_heads(const Ops *ops, float *x, int heads, const Rope *rope, int position, float sign) {
    if (!rope->cos) return;
    size_t half = (size_t)rope->K / 2, at = (size_t)position * half;
    for (int h = 0; h < heads; h++) ops->k->rotate(x + (size_t)h * (size_t)rope->K, rope->cos + at, rope->sin + at, half, sign);
}

void op_qkv_forward(Ops *ops, act *q, act *k_cache, act *v_cache, const act *qkv, const int32_t *position, int slot0,
                    const Rope *rope, int N, int H, int G, int K) {
    size_t width = (size_t)(H + 2 * G) * (size_t)K, q_width = (size_t)H * (size_t)K, kv_width = (size_t)G * (size_t)K;
    PARALLEL_FOR((size_t)N * width)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        size_t mark = arena_mark(a);
        float *x = ARENA_NEW(a, float, width);
        ops->k->load(x, act_row(ops, qkv, (size_t)n, width), width, ops->dtype);
        rotate_heads(ops, x, H + G, rope, position[n], 1.0f); // q and k lie side by side
        ops->k->store(act_row(ops, q, (size_t)n, q_width), x, q_width, ops->dtype);
        ops->k->store(act_row(ops, k_cache, (size_t)(slot0 + n), kv_width), x + q_width, kv_width, ops->dtype);
        ops->k->store(act_row(ops, v_cache, (size_t)(slot0 + n), kv_width), x + q_width + kv_width, kv_width, ops->dtype);
        arena_reset(a, mark);
    }
}

void op_qkv_backward(Ops *ops, act *dqkv, const float *dq, const float *dk, const float *dv, const int32_t *position,
                     const Rope *rope, int N, int H, int G, int K) {
    size_t width = (size_t)(H + 2 * G) * (size_t)K, q_width = (size_t)H * (size_t)K, kv_width = (size_t)G * (size_t)K;
    PARALLEL_FOR((size_t)N * width)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        size_t mark = arena_mark(a);
        float *x = ARENA_NEW(a, float, width);
        ops->k->load(x, dq + (size_t)n * q_width, q_width, DTYPE_F32);
        ops->k->load(x + q_width, dk + (size_t)n * kv_width, kv_width, DTYPE_F32);
        ops->k->load(x + q_width + kv_width, dv + (size_t)n * kv_width, kv_width, DTYPE_F32);
        rotate_heads(ops, x, H + G, rope, position[n], -1.0f); // a rotation's transpose is its inverse
        ops->k->store(act_row(ops, dqkv, (size_t)n, width), x, width, ops->dtype);
        arena_reset(a, mark);
    }
}

void op_rope(Ops *ops, act *x, const int32_t *position, const Rope *rope, int N, int inverse) {
    size_t width = (size_t)rope->K;
    PARALLEL_FOR((size_t)N * width)
    for (int n = 0; n < N; n++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        size_t mark = arena_mark(a);
        float *row = ARENA_NEW(a, float, width);
        ops->k->load(row, act_row(ops, x, (size_t)n, width), width, ops->dtype);
        rotate_heads(ops, row, 1, rope, position[n], inverse ? -1.0f : 1.0f);
        ops->k->store(act_row(ops, x, (size_t)n, width), row, width, ops->dtype);
        arena_reset(a, mark);
    }
}

void op_rope_f32(Ops *ops, float *x, const int32_t *position, const Rope *rope, int N, int inverse) {
    PARALLEL_FOR((size_t)N * (size_t)rope->K)
    for (int n = 0; n < N; n++)
        rotate_heads(ops, x + (size_t)n * (size_t)rope->K, 1, rope, position[n], inverse ? -1.0f : 1.0f);
}
