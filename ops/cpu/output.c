// The end of the network: log-probabilities over the vocabulary and their backward.
#include "ops/cpu/cpu.h"

#include <math.h>

// Two passes over strips of a row: the largest logit, then the sum of exponentials (in double, strip by strip).
static float log_sum_exp(const Ops *ops, const float *logits, int V, float *strip_memory) {
    const int strip = 4096;
    float largest = ops->k->max(logits, (size_t)V);
    double sum = 0;
    for (int v = 0; v < V; v += strip)
        sum += (double)ops->k->exp_sum(strip_memory, logits + v, largest, 1.0f, (size_t)(V - v < strip ? V - v : strip));
    return largest + (float)log(sum);
}

void op_logprob(Ops *ops, float *logprob, float *lse, const float *logits, const int32_t *target, int M, int V) {
    PARALLEL_FOR((size_t)M * (size_t)V)
    for (int m = 0; m < M; m++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        size_t mark = arena_mark(a);
        const float *row = logits + (size_t)m * (size_t)V;
        lse[m] = log_sum_exp(ops, row, V, ARENA_NEW(a, float, 4096));
        if (target) logprob[m] = row[target[m]] - lse[m];
        arena_reset(a, mark);
    }
}

void op_logprob_backward(Ops *ops, act *dlogits, const float *logits, const float *lse, const int32_t *target,
                         const float *dlogprob, int M, int V) {
    PARALLEL_FOR((size_t)M * (size_t)V)
    for (int m = 0; m < M; m++) {
        Arena *a = &ops->own[omp_get_thread_num()];
        size_t mark = arena_mark(a);
        float *row = ARENA_NEW(a, float, V);
        ops->k->softmax_backward(row, logits + (size_t)m * (size_t)V, lse[m], dlogprob[m], (size_t)V);
        row[target[m]] += dlogprob[m];
        ops->k->store(act_row(ops, dlogits, (size_t)m, (size_t)V), row, (size_t)V, ops->dtype);
        arena_reset(a, mark);
    }
}

void op_logprob_pick(Ops *ops, float *out, const float *logits, const float *lse, const int32_t *row, const int32_t *token,
                     size_t n, int V) {
    PARALLEL_FOR(n)
    for (size_t i = 0; i < n; i++) out[i] = logits[(size_t)row[i] * (size_t)V + (size_t)token[i]] - lse[row[i]];
}
