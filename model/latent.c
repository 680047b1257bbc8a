#include "model/latent.h"

static size_t act_bytes(const Session *s) {
    return dtype_bytes(ops_dtype(s->ops));
}

static int32_t *slot_positions(Session *s, int slots) {
    int32_t *position = ARENA_NEW(&s->host, int32_t, slots + 1);
    for (int i = 0; i < s->nodes; i++)
        for (int j = 0; j < s->node[i].len; j++) position[s->node[i].slot + j] = s->node[i].position + j;
    return session_upload(s, position, (size_t)slots);
}

// Keys of every slot that has none yet: k = rope(W_k h + b_k).
static void latent_keys(Session *s, LatentPass *p) {
    const Llm *m = s->llm;
    const int first = s->ratt_made, n = s->slots_used - first;
    p->slots = s->slots_used;
    p->slot_position = slot_positions(s, p->slots);
    act *k = session_row(s, s->ratt_k, first);
    op_linear_forward(s->ops, k, ops_dtype(s->ops), session_row(s, s->ratt_h, first), &s->llm->ratt_k, m->ratt_kb, n);
    op_rope(s->ops, k, p->slot_position + first, &m->ratt_rope, n, 0);
    s->ratt_made = s->slots_used;
}

// Block b is the one query of timeline b; it reads the timeline's slots, or the last `window` of them.
static AttnPlan latent_plan(Session *s, const int *node, int B) {
    int most = 0, spans = 0;
    const int window = s->llm->config.thought_window;
    for (int b = 0; b < B; b++) most += session_depth(s, node[b]);
    AttnBlock *block = ARENA_NEW(&s->host, AttnBlock, B);
    Span *span = ARENA_NEW(&s->host, Span, most + 1);
    for (int b = 0; b < B; b++) {
        const int from = window ? session_length(s, node[b]) - window : 0;
        const int n = session_path(s, node[b], from, span + spans, most + 1 - spans);
        block[b] = (AttnBlock){b, 1, -1, spans, n, session_owner(s, node[b])};
        spans += n;
    }
    return (AttnPlan){block, span, B};
}

static float latent_scale(const Session *s) {
    return 1.0f / __builtin_sqrtf((float)s->llm->config.D);
}

// The value projection is linear and the weights sum to 1, so it is applied to the weighted mean of h, once a thought:
// sum_j w_j (W_v h_j + b_v) = W_v (sum_j w_j h_j) + b_v.
static void latent_attend(Session *s, LatentPass *p, float *r, const int *node) {
    const Llm *m = s->llm;
    const int D = m->config.D, B = p->B;
    const size_t n = (size_t)B * (size_t)D;
    Ops *ops = s->ops;
    latent_keys(s, p);
    p->q = arena_get(&s->device, n, act_bytes(s));
    p->pooled = arena_get(&s->device, n, act_bytes(s));
    p->lse = ARENA_NEW(&s->device, float, B);
    p->plan = latent_plan(s, node, B);
    op_linear_forward(ops, p->q, ops_dtype(ops), p->h_last, &s->llm->ratt_q, m->ratt_qb, B);
    op_rope(ops, p->q, p->position, &m->ratt_rope, B, 0);
    op_attention_forward(ops, p->pooled, p->lse, p->q, s->ratt_k, s->ratt_h, &p->plan, B, 1, 1, D, latent_scale(s));
    op_linear_forward(ops, r, DTYPE_F32, p->pooled, &s->llm->ratt_v, m->ratt_vb, B);
}

// r = made / rms(made) thought_rms.
static void latent_resize(Session *s, LatentPass *p) {
    const ModelConfig *c = &s->llm->config;
    const size_t n = (size_t)p->B * (size_t)c->D, mark = arena_mark(&s->device);
    act *sized = arena_get(&s->device, n, act_bytes(s));
    op_rmsnorm_forward(s->ops, sized, p->rstd, NULL, p->made, NULL, s->llm->thought_gain, p->B, c->D, c->rms_eps);
    op_from_act(s->ops, p->r, sized, n);
    arena_reset(&s->device, mark);
}

static const float *latent_resize_backward(Session *s, const LatentPass *p, const float *dr) {
    const int D = s->llm->config.D;
    float *dmade = ARENA_NEW(&s->device, float, (size_t)p->B *(size_t)D);
    ops_zero(s->ops, dmade, (size_t)p->B * (size_t)D * sizeof(float));
    op_rmsnorm_backward(s->ops, dmade, NULL, dr, p->made, p->rstd, s->llm->thought_gain, p->B, D);
    return dmade;
}

void latent_forward(Session *s, LatentPass *p, const int *node, int B) {
    const Llm *m = s->llm;
    const int D = m->config.D;
    Ops *ops = s->ops;
    *p = (LatentPass){.B = B};
    int32_t *last = ARENA_NEW(&s->host, int32_t, B), *position = ARENA_NEW(&s->host, int32_t, B);
    for (int b = 0; b < B; b++) {
        CHECK(s->node[node[b]].len > 0);
        last[b] = session_last(s, node[b]);
        position[b] = session_length(s, node[b]) - 1;
    }
    p->last_slot = last;
    int32_t *last_device = session_upload(s, last, (size_t)B);
    p->position = session_upload(s, position, (size_t)B);
    size_t n = (size_t)B * (size_t)D;
    p->h_last = arena_get(&s->device, n, act_bytes(s));
    p->r = ARENA_NEW(&s->device, float, n);
    if (m->thought_gain) p->made = ARENA_NEW(&s->device, float, n), p->rstd = ARENA_NEW(&s->device, float, B);
    float *r = m->thought_gain ? p->made : p->r; // (B, D)
    op_rows_gather(ops, p->h_last, s->ratt_h, last_device, B, D, act_bytes(s));
    if (m->config.thought_hidden)
        op_from_act(ops, r, p->h_last, n);
    else
        latent_attend(s, p, r, node);
    if (p->made) latent_resize(s, p);
    s->thoughts_run += B;
    op_add_squares(ops, s->thought_squares, p->r, n);
}

// The gradients of all keys and values that the pass has read are summed in memory of this call: W_k wants them whole, the
// hidden states only where they have gradients (none do when the backbone is frozen).
void latent_backward(Session *s, LatentPass *p, const float *dr) {
    const Llm *m = s->llm;
    const int D = m->config.D, B = p->B;
    const int query_gradient = s->dh && p->last_slot[0] >= s->grad_slot0;
    const size_t n = (size_t)B * (size_t)D, all = (size_t)p->slots * (size_t)D, mark = arena_mark(&s->device);
    Ops *ops = s->ops;
    if (p->made) dr = latent_resize_backward(s, p, dr);
    if (m->config.thought_hidden) {
        if (query_gradient) session_add_gradient(s, s->ratt_dh, p->last_slot, dr, p->B);
        arena_reset(&s->device, mark);
        return;
    }
    float *dkeys = ARENA_NEW(&s->device, float, all), *dvalues = ARENA_NEW(&s->device, float, all),
          *dq = ARENA_NEW(&s->device, float, n); // (slots, D), (slots, D), (B, D)
    ops_zero(ops, dkeys, all * sizeof(float));
    ops_zero(ops, dvalues, all * sizeof(float));
    act *dr_act = arena_get(&s->device, n, act_bytes(s)), *dpooled = arena_get(&s->device, n, act_bytes(s)),
        *dq_act = arena_get(&s->device, n, act_bytes(s)), *dkeys_act = arena_get(&s->device, all, act_bytes(s));
    op_to_act(ops, dr_act, dr, n);
    session_weight_gradient(s, &m->ratt_v, m->ratt_vb, dr_act, p->pooled, B);
    op_linear_backward_input(ops, dpooled, ops_dtype(ops), dr_act, &s->llm->ratt_v, B);
    op_attention_backward(ops, dq, dkeys, dvalues, dpooled, p->pooled, p->lse, p->q, s->ratt_k, s->ratt_h, &p->plan, 0, B, 1, 1,
                          D, latent_scale(s));
    op_rope_f32(ops, dq, p->position, &m->ratt_rope, B, 1);
    op_to_act(ops, dq_act, dq, n);
    session_weight_gradient(s, &m->ratt_q, m->ratt_qb, dq_act, p->h_last, B);
    op_rope_f32(ops, dkeys, p->slot_position, &m->ratt_rope, p->slots, 1);
    op_to_act(ops, dkeys_act, dkeys, all);
    session_weight_gradient(s, &m->ratt_k, m->ratt_kb, dkeys_act, s->ratt_h, p->slots);
    if (query_gradient) {
        op_linear_backward_input(ops, dq, DTYPE_F32, dq_act, &s->llm->ratt_q, B);
        session_add_gradient(s, s->ratt_dh, p->last_slot, dq, p->B);
    }
    if (s->dh && s->grad_slot0 < p->slots) {
        const int rows = p->slots - s->grad_slot0;
        const size_t from = (size_t)s->grad_slot0 * (size_t)D, count = (size_t)rows * (size_t)D;
        op_linear_backward_input(ops, dkeys, DTYPE_F32, session_row(s, dkeys_act, s->grad_slot0), &s->llm->ratt_k, rows);
        op_add(ops, s->ratt_dh, dkeys, 1.0f, count);
        op_add(ops, s->ratt_dh, dvalues + from, 1.0f, count);
    }
    arena_reset(&s->device, mark);
}

int latent_weights(Session *s, const LatentPass *p, int b, float *weight, int cap) {
    if (s->llm->config.thought_hidden) return 0;
    AttnBlock block = p->plan.block[b];
    int n = 0;
    for (int i = 0; i < block.spans; i++) n += p->plan.span[block.span + i].len;
    CHECK(n <= cap);
    AttnPlan one = {&block, p->plan.span, 1};
    op_attention_weights(s->ops, &weight, p->q, s->ratt_k, p->lse, &one, s->llm->config.D, latent_scale(s));
    return n;
}
