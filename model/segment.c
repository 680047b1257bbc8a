// The network itself: one segment forward, and back.
#include "base/rng.h"
#include "model/session.h"

#include <string.h>

void segment_begin(Session *s, Segment *g, int max_nodes, int max_rows) {
    *g = (Segment){.slot0 = s->slots_used, .first_node = s->nodes, .max_rows = max_rows, .max_nodes = max_nodes};
    g->ids = ARENA_NEW(&s->host, int32_t, max_rows);
}

int segment_add(Session *s, Segment *g, int parent, const int32_t *ids, int len) {
    CHECK(g->nodes < g->max_nodes && g->N + len <= g->max_rows);
    CHECK(s->nodes == g->first_node + g->nodes); // one segment is built at a time
    const int at = session_node(s, parent, len);
    KvNode *node = &s->node[at];
    memcpy(g->ids + g->N, ids, (size_t)len * sizeof *ids);
    for (int i = 0; i < len; i++) node->thoughts += ids[i] < 0, g->given += ids[i] < 0;
    g->N += len;
    g->nodes++;
    return at;
}

int segment_add_shared(Session *s, Segment *g, const int32_t *ids, int len) {
    const int root = segment_add(s, g, -1, ids, len);
    s->node[root].shared = 1;
    return root;
}

// A node that goes on where the one before it ended: their rows are one causal run.
static int goes_on(const Session *s, const Segment *g, int i) {
    if (i == 0) return 0;
    const KvNode *node = &s->node[g->first_node + i], *before = node - 1;
    return node->parent == g->first_node + i - 1 && before->len > 0 && node->sees_from == before->sees_from &&
           before->sees_from <= before->position;
}

// One block a run: the slots of its ancestors that it sees, and its own causally.
static void segment_plan(Session *s, Segment *g) {
    AttnBlock *block = ARENA_NEW(&s->host, AttnBlock, g->nodes);
    int most = 0, spans = 0, blocks = 0;
    for (int i = 0; i < g->nodes; i++)
        if (!goes_on(s, g, i)) most += session_depth(s, g->first_node + i);
    Span *span = ARENA_NEW(&s->host, Span, most + 1);
    for (int i = 0; i < g->nodes; i++) {
        const KvNode *node = &s->node[g->first_node + i];
        if (node->len == 0) continue;
        if (goes_on(s, g, i)) {
            block[blocks - 1].rows += node->len;
            continue;
        }
        int n = session_path(s, node->parent, node->sees_from, span + spans, most + 1 - spans);
        block[blocks++] =
            (AttnBlock){node->slot - g->slot0, node->len, node->slot, spans, n, session_owner(s, g->first_node + i)};
        spans += n;
    }
    g->plan = (AttnPlan){block, span, blocks};
}

// Where learned tables are added: items by position, thoughts by their number on the path.
static void segment_places(Session *s, Segment *g) {
    const ModelConfig *c = &s->llm->config;
    int32_t *place = ARENA_NEW(&s->host, int32_t, g->N), *thought = ARENA_NEW(&s->host, int32_t, g->N);
    for (int i = 0; i < g->nodes; i++) {
        const KvNode *node = &s->node[g->first_node + i];
        int number = node->parent < 0 ? 0 : s->node[node->parent].thoughts;
        for (int j = 0, n = node->slot - g->slot0; j < node->len; j++, n++) {
            const int given = g->ids[n] < 0;
            CHECK(given ? number < c->thoughts : node->position + j < c->max_positions);
            place[n] = given ? -1 : node->position + j;
            thought[n] = given ? number++ : -1;
        }
    }
    g->place_device = session_upload(s, place, (size_t)g->N);
    g->thought_row_device = session_upload(s, thought, (size_t)g->N);
}

// A row's dropout goes by its sequence, its position and its thoughts, whatever else is in the segment.
static void segment_keys(Session *s, Segment *g) {
    const uint64_t positions = (uint64_t)s->llm->rope.positions;
    uint64_t *key = ARENA_NEW(&s->host, uint64_t, g->N);
    for (int i = 0; i < g->nodes; i++) {
        const KvNode *node = &s->node[g->first_node + i];
        const uint64_t timeline = (uint64_t)node->sequence * (CONFIG_THOUGHTS + 1) + (uint64_t)node->thoughts;
        for (int j = 0; j < node->len; j++)
            key[node->slot - g->slot0 + j] = timeline * positions + (uint64_t)(node->position + j);
    }
    g->dropout_key = ARENA_NEW(&s->device, uint64_t, g->N);
    ops_upload(s->ops, g->dropout_key, key, (size_t)g->N * sizeof *key);
}

static void segment_upload(Session *s, Segment *g) {
    int32_t *position = ARENA_NEW(&s->host, int32_t, g->N), *given = ARENA_NEW(&s->host, int32_t, g->given + 1);
    int n = 0;
    for (int i = 0; i < g->nodes; i++) {
        const KvNode *node = &s->node[g->first_node + i];
        for (int j = 0; j < node->len; j++) position[node->slot - g->slot0 + j] = node->position + j;
    }
    for (int i = 0; i < g->N; i++)
        if (g->ids[i] < 0) given[n++] = i;
    g->ids_device = session_upload(s, g->ids, (size_t)g->N);
    g->position_device = session_upload(s, position, (size_t)g->N);
    g->given_row_device = session_upload(s, given, (size_t)g->given);
    if (s->llm->config.learned_positions) segment_places(s, g);
    if (s->dropout.rate > 0) segment_keys(s, g);
}

static SegmentActs acts_new(Session *s, int N, int record) {
    const ModelConfig *c = &s->llm->config;
    size_t n = (size_t)N, D = (size_t)c->D, act_bytes = dtype_bytes(ops_dtype(s->ops));
    return (SegmentActs){
        .x_in = ARENA_NEW(&s->device, float, n *D),
        .x_mid = record ? ARENA_NEW(&s->device, float, n *D) : NULL,
        .rstd1 = ARENA_NEW(&s->device, float, n),
        .rstd2 = ARENA_NEW(&s->device, float, n),
        .q = arena_get(&s->device, n * (size_t)(c->H * c->K), act_bytes),
        .attn = arena_get(&s->device, n * (size_t)(c->H * c->K), act_bytes),
        .lse = ARENA_NEW(&s->device, float, n *(size_t)c->H),
        .gate_up = arena_get(&s->device, n * (size_t)s->llm->block[0].gate_up.O, act_bytes),
    };
}

typedef struct Scratch { // of one layer, (N, .)
    act *normed;         // (N, D)
    act *qkv;            // (N, (H + 2G) K)
    act *hidden;         // (N, F)
    float *delta;        // (N, D) what a half adds to the residual stream
} Scratch;

static Scratch scratch_new(Session *s, int N) {
    const ModelConfig *c = &s->llm->config;
    size_t n = (size_t)N, act_bytes = dtype_bytes(ops_dtype(s->ops));
    return (Scratch){arena_get(&s->device, n * (size_t)c->D, act_bytes),
                     arena_get(&s->device, n * (size_t)((c->H + 2 * c->G) * c->K), act_bytes),
                     arena_get(&s->device, n * (size_t)c->F, act_bytes), ARENA_NEW(&s->device, float, n *(size_t)c->D)};
}

static float attention_scale(const ModelConfig *c) {
    return 1.0f / __builtin_sqrtf((float)c->K);
}

static void norm_forward(Session *s, act *out, float *rstd, float *sum, const float *x, const float *delta, LlmNorm w, int N) {
    const ModelConfig *c = &s->llm->config;
    if (w.bias)
        op_layernorm_forward(s->ops, out, rstd, sum, x, delta, w.weight, w.bias, N, c->D, c->rms_eps);
    else
        op_rmsnorm_forward(s->ops, out, rstd, sum, x, delta, w.weight, N, c->D, c->rms_eps);
}

static void norm_again(Session *s, act *out, const float *x, const float *rstd, LlmNorm w, int N) {
    if (w.bias)
        op_layernorm_again(s->ops, out, x, rstd, w.weight, w.bias, N, s->llm->config.D);
    else
        op_rmsnorm_again(s->ops, out, x, rstd, w.weight, N, s->llm->config.D);
}

static void norm_backward(Session *s, float *dx, const float *dout, const float *x, const float *rstd, LlmNorm w, int N) {
    float *dweight = llm_gradient(s->llm, w.weight);
    if (w.bias)
        op_layernorm_backward(s->ops, dx, dweight, llm_gradient(s->llm, w.bias), dout, x, rstd, w.weight, N, s->llm->config.D);
    else
        op_rmsnorm_backward(s->ops, dx, dweight, dout, x, rstd, w.weight, N, s->llm->config.D);
}

static void activation_forward(Session *s, act *hidden, const act *gate_up, int N) {
    const ModelConfig *c = &s->llm->config;
    if (c->activation == ACTIVATION_SWIGLU)
        op_swiglu_forward(s->ops, hidden, gate_up, N, c->F);
    else
        op_activation_forward(s->ops, hidden, gate_up, c->activation, N, c->F);
}

static void activation_backward(Session *s, act *dgate_up, const act *dhidden, const act *gate_up, int N) {
    const ModelConfig *c = &s->llm->config;
    if (c->activation == ACTIVATION_SWIGLU)
        op_swiglu_backward(s->ops, dgate_up, dhidden, gate_up, N, c->F);
    else
        op_activation_backward(s->ops, dgate_up, dhidden, gate_up, c->activation, N, c->F);
}

// Where values fall out; each place in the network has random bits of its own. Going back the same ones fall out again.
typedef enum DropoutSite { DROPOUT_EMBEDDING, DROPOUT_ATTENTION, DROPOUT_HIDDEN, DROPOUT_FEED_FORWARD } DropoutSite;

static void drop(Session *s, const Segment *g, void *x, Dtype type, DropoutSite site, int layer, int width) {
    if (!g->dropout_key) return;
    Dropout d = s->dropout;
    d.key = g->dropout_key;
    op_dropout(s->ops, x, type, &d, RNG_DROPOUT | (uint64_t)(layer * 4 + (int)site) << 8 | s->dropout_step << 24, g->N, width);
}

// One decoder layer up to its activation: all that its backward needs. x (N, D) comes in with `delta` of the layer before not
// yet added (NULL: nothing to add); a->x_in receives the sum. Returns the residual stream between the halves.
static float *block_acts(Session *s, Segment *g, int l, SegmentActs *a, Scratch *t, float *x, const float *delta) {
    const ModelConfig *c = &s->llm->config;
    LlmBlock *b = &s->llm->block[l];
    Ops *ops = s->ops;
    const Dtype type = ops_dtype(ops);
    float *x_in = delta ? a->x_in : x, *x_mid = a->x_mid ? a->x_mid : x_in;
    a->x_in = x_in;
    norm_forward(s, t->normed, a->rstd1, x_in, x, delta, b->norm1, g->N);
    if (c->thought_layer && l == c->thought_layer)
        norm_forward(s, session_row(s, s->ratt_h, g->slot0), g->rstd_thought, NULL, x_in, NULL, s->llm->norm, g->N);
    op_linear_forward(ops, t->qkv, type, t->normed, &b->qkv, b->qkv_bias, g->N);
    op_qkv_forward(ops, a->q, s->k[l], s->v[l], t->qkv, g->position_device, g->slot0, &s->llm->rope, g->N, c->H, c->G, c->K);
    op_attention_forward(ops, a->attn, a->lse, a->q, s->k[l], s->v[l], &g->plan, g->N, c->H, c->G, c->K, attention_scale(c));
    op_linear_forward(ops, t->delta, DTYPE_F32, a->attn, &b->out, b->out_bias, g->N);
    drop(s, g, t->delta, DTYPE_F32, DROPOUT_ATTENTION, l, c->D);
    norm_forward(s, t->normed, a->rstd2, x_mid, x_in, t->delta, b->norm2, g->N);
    op_linear_forward(ops, a->gate_up, type, t->normed, &b->gate_up, b->up_bias, g->N);
    return x_mid;
}

// One decoder layer. Returns the residual stream, to which t->delta must still be added.
static float *block_forward(Session *s, Segment *g, int l, SegmentActs *a, Scratch *t, float *x, const float *delta) {
    const ModelConfig *c = &s->llm->config;
    LlmBlock *b = &s->llm->block[l];
    float *x_mid = block_acts(s, g, l, a, t, x, delta);
    activation_forward(s, t->hidden, a->gate_up, g->N);
    drop(s, g, t->hidden, ops_dtype(s->ops), DROPOUT_HIDDEN, l, c->F);
    op_linear_forward(s->ops, t->delta, DTYPE_F32, t->hidden, &b->down, b->down_bias, g->N);
    drop(s, g, t->delta, DTYPE_F32, DROPOUT_FEED_FORWARD, l, c->D);
    return x_mid;
}

// x (N, D): the rows' embeddings, thoughts as given.
static void embed_rows(Session *s, Segment *g, float *x, const float *thought) {
    const Llm *m = s->llm;
    const int D = m->config.D;
    op_embed_forward(s->ops, x, m->embed, m->embed_type, g->ids_device, g->N, D);
    if (g->given) op_rows_scatter(s->ops, x, thought, g->given_row_device, g->given, D, sizeof(float));
    if (m->position_embed) op_embed_add(s->ops, x, m->position_embed, g->place_device, g->N, D);
    if (m->thought_embed && g->given) op_embed_add(s->ops, x, m->thought_embed, g->thought_row_device, g->N, D);
    drop(s, g, x, DTYPE_F32, DROPOUT_EMBEDDING, 0, D);
}

static void embed_rows_backward(Session *s, Segment *g, float *dx, float *dthought) {
    const Llm *m = s->llm;
    const int D = m->config.D;
    drop(s, g, dx, DTYPE_F32, DROPOUT_EMBEDDING, 0, D);
    if (m->train[PARAMS_BACKBONE]) {
        op_embed_backward(s->ops, llm_gradient(m, m->embed_w), dx, g->ids_device, g->N, D);
        if (m->position_embed) op_embed_backward(s->ops, llm_gradient(m, m->position_embed), dx, g->place_device, g->N, D);
        if (m->thought_embed && g->given)
            op_embed_backward(s->ops, llm_gradient(m, m->thought_embed), dx, g->thought_row_device, g->N, D);
    }
    if (dthought && g->given) op_rows_gather(s->ops, dthought, dx, g->given_row_device, g->given, D, sizeof(float));
}

void segment_forward(Session *s, Segment *g, const float *thought, int record) {
    const ModelConfig *c = &s->llm->config;
    CHECK(!g->given == !thought);
    if (g->N == 0) return;
    segment_plan(s, g);
    segment_upload(s, g);
    g->record = record;
    size_t n = (size_t)g->N * (size_t)c->D;
    size_t mark = arena_mark(&s->device);
    const int again = record && s->recompute;
    g->rstd_thought = c->thought_layer ? ARENA_NEW(&s->device, float, g->N) : NULL;
    if (record) {
        g->acts = ARENA_NEW(&s->host, SegmentActs, c->L);
        for (int l = 0; l < c->L; l++)
            g->acts[l] = again ? (SegmentActs){.x_in = ARENA_NEW(&s->device, float, n)} : acts_new(s, g->N, 1);
        g->x_out = ARENA_NEW(&s->device, float, n);
        g->rstd_out = ARENA_NEW(&s->device, float, g->N);
        mark = arena_mark(&s->device);
    }
    SegmentActs single = {0}; // every layer writes over the one before
    if (!record || again) single = acts_new(s, g->N, again);
    Scratch t = scratch_new(s, g->N);
    float *x = record ? g->acts[0].x_in : single.x_in;
    embed_rows(s, g, x, thought);
    for (int l = 0; l < c->L; l++) {
        if (again) single.x_in = g->acts[l].x_in;
        x = block_forward(s, g, l, record && !again ? &g->acts[l] : &single, &t, x, l ? t.delta : NULL);
    }
    float *x_out = record ? g->x_out : single.x_in, *rstd_out = record ? g->rstd_out : single.rstd1;
    norm_forward(s, session_row(s, s->h, g->slot0), rstd_out, x_out, x, t.delta, s->llm->norm, g->N);
    arena_reset(&s->device, mark);
    s->tokens_run += g->N;
}

typedef struct BackScratch { // (N, .)
    act *dy;                 // (N, D) a half's output gradient, in the compute type
    act *dhidden;            // (N, F)
    act *dgate_up;           // (N, 2F), or (N, F)
    act *hidden;             // (N, F)
    act *normed;             // (N, D)
    float *dnormed;          // (N, D)
    float *dq;               // (N, H K)
    act *dattn;              // (N, H K)
    act *dqkv;               // (N, (H + 2G) K)
} BackScratch;

static BackScratch back_scratch_new(Session *s, int N) {
    const ModelConfig *c = &s->llm->config;
    size_t n = (size_t)N, D = (size_t)c->D, F = (size_t)c->F, Q = (size_t)(c->H * c->K), W = (size_t)((c->H + 2 * c->G) * c->K),
           act_bytes = dtype_bytes(ops_dtype(s->ops));
    return (BackScratch){.dy = arena_get(&s->device, n * D, act_bytes),
                         .dhidden = arena_get(&s->device, n * F, act_bytes),
                         .dgate_up = arena_get(&s->device, n * (size_t)s->llm->block[0].gate_up.O, act_bytes),
                         .hidden = arena_get(&s->device, n * F, act_bytes),
                         .normed = arena_get(&s->device, n * D, act_bytes),
                         .dnormed = ARENA_NEW(&s->device, float, n *D),
                         .dq = ARENA_NEW(&s->device, float, n *Q),
                         .dattn = arena_get(&s->device, n * Q, act_bytes),
                         .dqkv = arena_get(&s->device, n * W, act_bytes)};
}

// Undoes block_forward, last line first. dx (N, D): gradient of the layer's output in, of its input out.
static void block_backward(Session *s, Segment *g, int l, const SegmentActs *a, BackScratch *t, float *dx) {
    const ModelConfig *c = &s->llm->config;
    LlmBlock *b = &s->llm->block[l];
    Ops *ops = s->ops;
    const Dtype type = ops_dtype(ops);
    const int train = llm_network_trains(s->llm);
    const size_t wide = (size_t)g->N * (size_t)c->D;

    op_to_act(ops, t->dy, dx, wide);
    drop(s, g, t->dy, type, DROPOUT_FEED_FORWARD, l, c->D);
    op_linear_backward_input(ops, t->dhidden, type, t->dy, &b->down, g->N);
    drop(s, g, t->dhidden, type, DROPOUT_HIDDEN, l, c->F);
    activation_backward(s, t->dgate_up, t->dhidden, a->gate_up, g->N);
    op_linear_backward_input(ops, t->dnormed, DTYPE_F32, t->dgate_up, &b->gate_up, g->N);
    if (train) {
        activation_forward(s, t->hidden, a->gate_up, g->N);
        drop(s, g, t->hidden, type, DROPOUT_HIDDEN, l, c->F);
        session_weight_gradient(s, &b->down, b->down_bias, t->dy, t->hidden, g->N);
        norm_again(s, t->normed, a->x_mid, a->rstd2, b->norm2, g->N);
        session_weight_gradient(s, &b->gate_up, b->up_bias, t->dgate_up, t->normed, g->N);
    }
    norm_backward(s, dx, t->dnormed, a->x_mid, a->rstd2, b->norm2, g->N);

    op_to_act(ops, t->dy, dx, wide);
    drop(s, g, t->dy, type, DROPOUT_ATTENTION, l, c->D);
    op_linear_backward_input(ops, t->dattn, type, t->dy, &b->out, g->N);
    session_weight_gradient(s, &b->out, b->out_bias, t->dy, a->attn, g->N);
    op_attention_backward(ops, t->dq, s->dk[l], s->dv[l], t->dattn, a->attn, a->lse, a->q, s->k[l], s->v[l], &g->plan,
                          s->grad_slot0, g->N, c->H, c->G, c->K, attention_scale(c));
    const size_t own = (size_t)(g->slot0 - s->grad_slot0) * (size_t)c->G * (size_t)c->K;
    op_qkv_backward(ops, t->dqkv, t->dq, s->dk[l] + own, s->dv[l] + own, g->position_device, &s->llm->rope, g->N, c->H, c->G,
                    c->K);
    op_linear_backward_input(ops, t->dnormed, DTYPE_F32, t->dqkv, &b->qkv, g->N);
    if (train) {
        norm_again(s, t->normed, a->x_in, a->rstd1, b->norm1, g->N);
        session_weight_gradient(s, &b->qkv, b->qkv_bias, t->dqkv, t->normed, g->N);
    }
    norm_backward(s, dx, t->dnormed, a->x_in, a->rstd1, b->norm1, g->N);
}

void segment_backward(Session *s, Segment *g, float *dthought) {
    const ModelConfig *c = &s->llm->config;
    Ops *ops = s->ops;
    CHECK(g->record && s->dh && g->slot0 >= s->grad_slot0);
    size_t mark = arena_mark(&s->device);
    float *dx = ARENA_NEW(&s->device, float, (size_t)g->N *(size_t)c->D);
    BackScratch t = back_scratch_new(s, g->N);
    SegmentActs again = s->recompute ? acts_new(s, g->N, 1) : (SegmentActs){0};
    Scratch forward = s->recompute ? scratch_new(s, g->N) : (Scratch){0};
    ops_zero(ops, dx, (size_t)g->N * (size_t)c->D * sizeof(float));
    const size_t own = (size_t)(g->slot0 - s->grad_slot0) * (size_t)c->D;
    norm_backward(s, dx, s->dh + own, g->x_out, g->rstd_out, s->llm->norm, g->N);
    for (int l = c->L - 1; l >= 0; l--) {
        if (s->recompute) block_acts(s, g, l, &again, &forward, g->acts[l].x_in, NULL); // writes the same keys and values
        block_backward(s, g, l, s->recompute ? &again : &g->acts[l], &t, dx);
        if (c->thought_layer && l == c->thought_layer)
            norm_backward(s, dx, s->ratt_dh + own, g->acts[l].x_in, g->rstd_thought, s->llm->norm, g->N);
        if (g->last && s->layer_final) s->layer_final(s->final_context, l);
    }
    embed_rows_backward(s, g, dx, dthought);
    arena_reset(&s->device, mark);
    s->tokens_back += g->N;
}
