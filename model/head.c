// From hidden states to log-probabilities over the vocabulary, a chunk of rows at a time.
#include "base/log.h"
#include "model/session.h"

#include <string.h>

static act *hidden_of(Session *s, const int32_t *slot_device, int M) {
    act *h = arena_get(&s->device, (size_t)M * (size_t)s->llm->config.D, dtype_bytes(ops_dtype(s->ops)));
    op_rows_gather(s->ops, h, s->h, slot_device, M, s->llm->config.D, dtype_bytes(ops_dtype(s->ops)));
    return h;
}

void session_hidden(Session *s, const int32_t *slot, int M, float *out) {
    const size_t mark = arena_mark(&s->device), n = (size_t)M * (size_t)s->llm->config.D;
    const act *h = hidden_of(s, session_upload(s, slot, (size_t)M), M);
    float *wide = ARENA_NEW(&s->device, float, n);
    op_from_act(s->ops, wide, h, n);
    ops_download(s->ops, out, wide, n * sizeof *out);
    arena_reset(&s->device, mark);
}

// Logits of a chunk, and back at once: they are too large to keep (V floats a row).
static void head_chunk(Session *s, const int32_t *slot, const int32_t *target, int M, float *logprob, const float *dlogprob) {
    const int D = s->llm->config.D, V = s->llm->config.V;
    Ops *ops = s->ops;
    size_t mark = arena_mark(&s->device);
    size_t act_bytes = dtype_bytes(ops_dtype(ops));
    int32_t *slots = session_upload(s, slot, (size_t)M), *targets = session_upload(s, target, (size_t)M);
    act *h = hidden_of(s, slots, M);
    float *logits = ARENA_NEW(&s->device, float, (size_t)M *(size_t)V), *lse = ARENA_NEW(&s->device, float, M),
          *lp = ARENA_NEW(&s->device, float, M);
    op_linear_forward(ops, logits, DTYPE_F32, h, &s->llm->head, NULL, M);
    op_logprob(ops, lp, lse, logits, targets, M, V);
    ops_fetch(ops, logprob, lp, (size_t)M * sizeof(float));
    if (dlogprob) {
        float *d = ARENA_NEW(&s->device, float, M), *dh = ARENA_NEW(&s->device, float, (size_t)M *(size_t)D);
        act *dlogits = arena_get(&s->device, (size_t)M * (size_t)V, act_bytes);
        ops_upload(ops, d, dlogprob, (size_t)M * sizeof(float));
        op_logprob_backward(ops, dlogits, logits, lse, targets, d, M, V);
        op_linear_backward_input(ops, dh, DTYPE_F32, dlogits, &s->llm->head, M);
        float *dw = llm_gradient(s->llm, s->llm->head.w);
        if (dw) op_linear_backward_weight(ops, dw, NULL, dlogits, h, M, V, D);
        session_add_gradient(s, s->dh, slot, dh, M);
    }
    arena_reset(&s->device, mark);
}

void head_logprob(Session *s, const int32_t *slot, const int32_t *target, int M, float *logprob, const float *dlogprob) {
    const int chunk = ops_rows_at_once(s->ops); // 128: 25 MB of logits for a vocabulary of 49,153
    size_t mark = arena_mark(&s->host);
    for (int m = 0; m < M; m += chunk)
        head_chunk(s, slot + m, target + m, M - m < chunk ? M - m : chunk, logprob + m, dlogprob ? dlogprob + m : NULL);
    if (!dlogprob) ops_wait(s->ops);
    arena_reset(&s->host, mark);
}

static void binary_chunk(Session *s, const int32_t *slot, const int32_t *id, int M, int C, float *loss, float weight) {
    const int D = s->llm->config.D;
    const size_t n = (size_t)M * (size_t)C, mark = arena_mark(&s->device);
    const float *table = s->llm->head.w;
    Ops *ops = s->ops;
    int32_t *ids = session_upload(s, id, n);
    act *h = hidden_of(s, session_upload(s, slot, (size_t)M), M);
    float *logits = ARENA_NEW(&s->device, float, n), *dlogits = weight != 0 ? ARENA_NEW(&s->device, float, n) : NULL,
          *sums = ARENA_NEW(&s->device, float, M);
    op_sampled_forward(ops, logits, h, table, ids, M, C, D);
    op_binary(ops, sums, dlogits, logits, M, C, weight);
    ops_fetch(ops, loss, sums, (size_t)M * sizeof(float));
    if (dlogits) {
        float *dh = ARENA_NEW(&s->device, float, (size_t)M *(size_t)D);
        op_sampled_backward(ops, dh, llm_gradient(s->llm, table), dlogits, h, table, ids, M, C, D);
        session_add_gradient(s, s->dh, slot, dh, M);
    }
    arena_reset(&s->device, mark);
}

void head_binary(Session *s, const int32_t *slot, const int32_t *id, int M, int C, float *loss, float weight) {
    const int chunk = 2048;
    const size_t mark = arena_mark(&s->host);
    for (int m = 0; m < M; m += chunk)
        binary_chunk(s, slot + m, id + (size_t)m * (size_t)C, M - m < chunk ? M - m : chunk, C, loss + m, weight);
    if (weight == 0) ops_wait(s->ops);
    arena_reset(&s->host, mark);
}

void head_rows(Session *s, HeadRows *rows, const int32_t *slot, int M) {
    const int V = s->llm->config.V;
    rows->M = M;
    rows->logits = ARENA_NEW(&s->device, float, (size_t)M *(size_t)V);
    rows->lse = ARENA_NEW(&s->device, float, M);
    size_t mark = arena_mark(&s->device);
    act *h = hidden_of(s, session_upload(s, slot, (size_t)M), M);
    op_linear_forward(s->ops, rows->logits, DTYPE_F32, h, &s->llm->head, NULL, M);
    if (s->timed) ops_wait(s->ops);
    const double product_done = log_seconds();
    op_logprob(s->ops, NULL, rows->lse, rows->logits, NULL, M, V);
    if (s->timed) ops_wait(s->ops);
    rows->softmax_s = log_seconds() - product_done;
    arena_reset(&s->device, mark);
}

void head_pick(Session *s, const HeadRows *rows, const int32_t *row, const int32_t *token, size_t n, float *out) {
    size_t mark = arena_mark(&s->device);
    float *picked = ARENA_NEW(&s->device, float, n);
    op_logprob_pick(s->ops, picked, rows->logits, rows->lse, session_upload(s, row, n), session_upload(s, token, n), n,
                    s->llm->config.V);
    ops_fetch(s->ops, out, picked, n * sizeof(float));
    arena_reset(&s->device, mark);
}
