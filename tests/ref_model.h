// The method in double precision, literally: a timeline goes through the whole network from its first position each time, no
// cache, no tree, no shared prefix, no batch. Built from ref_ops.h; differentiable by finite differences alone.
#ifndef TESTS_REF_MODEL_H
#define TESTS_REF_MODEL_H

#include "model/llm.h"
#include "ref_ops.h"

#include <stdio.h>

typedef struct RefModel {
    ModelConfig c;
    const Params *params;
    double *w;      // (params->total), as Llm.w
    double *merged; // the same with the adapters added to their weights (ref_model_merge); w itself where there are none
} RefModel;

// To be called when w has changed: merged = w, and W + alpha / R  B A for the weights that have adapters.
static inline void ref_model_merge(const RefModel *r) {
    if (r->merged == r->w) return;
    memcpy(r->merged, r->w, r->params->total * sizeof(double));
    for (int i = 0; i < r->params->n; i++) {
        const Param *down = &r->params->param[i];
        const char *at = strstr(down->name, ".lora_A.weight");
        char name[96];
        if (!at) continue;
        snprintf(name, sizeof name, "%.*s.lora_B.weight", (int)(at - down->name), down->name);
        const Param *up = params_find(r->params, name);
        snprintf(name, sizeof name, "%.*s.weight", (int)(at - down->name), down->name);
        double *weight = r->merged + params_find(r->params, name)->offset;
        const int R = down->dims[0], I = down->dims[1];
        for (int o = 0; o < up->dims[0]; o++)
            for (int k = 0; k < R; k++)
                for (int j = 0; j < I; j++)
                    weight[o * I + j] += (double)r->c.lora_alpha / R * r->w[up->offset + (size_t)(o * R + k)] *
                                         r->w[down->offset + (size_t)(k * I + j)];
    }
}

static inline void ref_model_init(RefModel *r, const Llm *m) {
    float *host = mem_alloc(m->params.total, sizeof(float));
    *r = (RefModel){m->config, &m->params, mem_alloc(m->params.total, sizeof(double)), NULL};
    ops_download(m->ops, host, m->w, m->params.total * sizeof(float));
    for (size_t i = 0; i < m->params.total; i++) r->w[i] = (double)host[i];
    free(host);
    r->merged = m->config.lora_rank ? mem_alloc(m->params.total, sizeof(double)) : r->w;
    ref_model_merge(r);
}

static inline void ref_model_free(RefModel *r) {
    if (r->merged != r->w) free(r->merged);
    free(r->w);
}

static inline const double *ref_weight(const RefModel *m, const char *name) {
    const Param *p = params_find(m->params, name);
    return p ? m->merged + p->offset : NULL;
}

static inline const double *ref_layer_weight(const RefModel *m, int layer, const char *name) {
    char full[80];
    snprintf(full, sizeof full, "model.layers.%d.%s", layer, name);
    return ref_weight(m, full);
}

// x (T, K) of head columns rotated in place; row t has position first + t.
static inline void ref_rotate_rows(double *x, int T, int heads, int K, double base, int first) {
    double *cos_row = malloc(sizeof(double) * (size_t)K), *sin_row = malloc(sizeof(double) * (size_t)K);
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < K / 2; i++) {
            double angle = (first + t) * pow(base, -2.0 * i / K);
            cos_row[i] = cos(angle), sin_row[i] = sin(angle);
        }
        for (int h = 0; h < heads; h++)
            ref_rotate(x + ((size_t)t * (size_t)heads + (size_t)h) * (size_t)K, cos_row, sin_row, K, 1);
    }
    free(cos_row), free(sin_row);
}

typedef struct RefBuffers { // (T, .)
    double *normed, *rstd, *q, *k, *v, *attn, *lse, *delta, *gu, *hidden;
} RefBuffers;

static inline void ref_add(double *x, const double *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

// One decoder layer: x (T, D) in place.
static inline void ref_block(const RefModel *m, int l, RefBuffers *b, double *x, int T, const AttnPlan *plan) {
    const ModelConfig *c = &m->c;
    const int Q = c->H * c->K, KV = c->G * c->K;
    const size_t wide = (size_t)T * (size_t)c->D;
    double *same = malloc(wide * sizeof(double));
    ref_rmsnorm_forward(b->normed, b->rstd, same, x, NULL, ref_layer_weight(m, l, "input_layernorm.weight"), T, c->D,
                        (double)c->rms_eps);
    const struct {
        double *out;
        const char *weight, *bias;
        int O;
    } part[] = {{b->q, "self_attn.q_proj.weight", "self_attn.q_proj.bias", Q},
                {b->k, "self_attn.k_proj.weight", "self_attn.k_proj.bias", KV},
                {b->v, "self_attn.v_proj.weight", "self_attn.v_proj.bias", KV}};
    for (int i = 0; i < 3; i++)
        ref_linear_forward(part[i].out, NULL, b->normed, ref_layer_weight(m, l, part[i].weight),
                           ref_layer_weight(m, l, part[i].bias), T, part[i].O, c->D);
    ref_rotate_rows(b->q, T, c->H, c->K, (double)c->rope_base, 0);
    ref_rotate_rows(b->k, T, c->G, c->K, (double)c->rope_base, 0);
    const RefAttention attention = {plan, T, T, c->H, c->G, c->K, 1 / sqrt(c->K)};
    ref_attention_forward(&attention, b->attn, NULL, b->lse, NULL, b->q, b->k, b->v);
    ref_linear_forward(b->delta, NULL, b->attn, ref_layer_weight(m, l, "self_attn.o_proj.weight"), NULL, T, c->D, Q);
    ref_add(x, b->delta, wide);
    ref_rmsnorm_forward(b->normed, b->rstd, same, x, NULL, ref_layer_weight(m, l, "post_attention_layernorm.weight"), T, c->D,
                        (double)c->rms_eps);
    ref_linear_forward(b->gu, NULL, b->normed, ref_layer_weight(m, l, "mlp.gate_proj.weight"), NULL, T, 2 * c->F,
                       c->D); // up_proj lies right behind gate_proj
    ref_swiglu_forward(b->hidden, b->gu, T, c->F);
    ref_linear_forward(b->delta, NULL, b->hidden, ref_layer_weight(m, l, "mlp.down_proj.weight"), NULL, T, c->D, c->F);
    ref_add(x, b->delta, wide);
    free(same);
}

// h (T, D) behind the first `layers` layers and the final norm, of a timeline with embeddings x (T, D). Rows from `cut` on see
// none of those before `from`.
static inline void ref_hidden_cut(const RefModel *m, double *h, const double *x, int T, int cut, int from, int layers) {
    const ModelConfig *c = &m->c;
    const size_t n = (size_t)T, sizes[] = {(size_t)c->D,          1,
                                           (size_t)(c->H * c->K), (size_t)(c->G * c->K),
                                           (size_t)(c->G * c->K), (size_t)(c->H * c->K),
                                           (size_t)c->H,          (size_t)c->D,
                                           2 * (size_t)c->F,      (size_t)c->F};
    double *part[10], *stream = malloc(n * (size_t)c->D * sizeof(double)), *same = malloc(n * (size_t)c->D * sizeof(double));
    for (int i = 0; i < 10; i++) part[i] = malloc(n * sizes[i] * sizeof(double));
    RefBuffers b = {part[0], part[1], part[2], part[3], part[4], part[5], part[6], part[7], part[8], part[9]};
    memcpy(stream, x, n * (size_t)c->D * sizeof(double));
    const Span between = {from, cut - from};
    const AttnBlock block[2] = {{0, cut, 0, 0, 0, 0}, {cut, T - cut, cut, 0, cut > from, 0}};
    const AttnPlan plan = {block, &between, cut < T ? 2 : 1};
    for (int l = 0; l < layers; l++) ref_block(m, l, &b, stream, T, &plan);
    ref_rmsnorm_forward(h, b.rstd, same, stream, NULL, ref_weight(m, "model.norm.weight"), T, c->D, (double)c->rms_eps);
    for (int i = 0; i < 10; i++) free(part[i]);
    free(stream), free(same);
}

static inline void ref_hidden(const RefModel *m, double *h, const double *x, int T) {
    ref_hidden_cut(m, h, x, T, T, 0, m->c.L);
}

// What LatentRATT makes (D) of a timeline's hidden states h (T, D): method, section 2. weight (T, or NULL) of each position.
static inline void ref_thought_made(const RefModel *m, double *r, double *weight, const double *h, int T) {
    const ModelConfig *c = &m->c;
    const int D = c->D, from = c->thought_window && c->thought_window < T ? T - c->thought_window : 0;
    const size_t last = (size_t)(T - 1) * (size_t)D;
    if (c->thought_hidden) {
        memcpy(r, h + last, (size_t)D * sizeof(double));
        return;
    }
    double *q = malloc(sizeof(double) * (size_t)D), *k = malloc(sizeof(double) * (size_t)T * (size_t)D),
           *v = malloc(sizeof(double) * (size_t)T * (size_t)D), *score = calloc((size_t)T, sizeof(double)), sum = 0;
    ref_linear_forward(q, NULL, h + last, ref_weight(m, "attention.query.weight"), ref_weight(m, "attention.query.bias"), 1, D,
                       D);
    ref_linear_forward(k, NULL, h, ref_weight(m, "attention.key.weight"), ref_weight(m, "attention.key.bias"), T, D, D);
    ref_linear_forward(v, NULL, h, ref_weight(m, "attention.value.weight"), ref_weight(m, "attention.value.bias"), T, D, D);
    ref_rotate_rows(q, 1, 1, D, 1000, T - 1);
    ref_rotate_rows(k, T, 1, D, 1000, 0);
    for (int t = from; t < T; t++) {
        for (int d = 0; d < D; d++) score[t] += q[d] * k[(size_t)t * (size_t)D + (size_t)d] / sqrt(D);
        score[t] = exp(score[t]);
        sum += score[t];
    }
    for (int d = 0; d < D; d++) r[d] = 0;
    for (int t = from; t < T; t++)
        for (int d = 0; d < D; d++) r[d] += score[t] / sum * v[(size_t)t * (size_t)D + (size_t)d];
    for (int t = 0; weight && t < T; t++) weight[t] = score[t] / sum;
    free(q), free(k), free(v), free(score);
}

// The thought r (D): that, scaled where the model's thoughts have one size.
static inline void ref_thought(const RefModel *m, double *r, double *weight, const double *h, int T) {
    const ModelConfig *c = &m->c;
    double squares = 0;
    ref_thought_made(m, r, weight, h, T);
    for (int d = 0; d < c->D; d++) squares += r[d] * r[d];
    const double scale = (double)c->thought_rms / sqrt(squares / c->D + (double)c->rms_eps);
    for (int d = 0; c->thought_rms > 0 && d < c->D; d++) r[d] *= scale;
}

// Embeddings x (P + thoughts, D) of a prompt and the thoughts behind it; returns how many rows that is.
static inline int ref_think(const RefModel *m, double *x, const int32_t *prompt, int P) {
    const size_t D = (size_t)m->c.D;
    double *h = malloc((size_t)(P + m->c.thoughts) * D * sizeof(double));
    ref_embed_forward(x, ref_weight(m, "model.embed_tokens.weight"), prompt, P, m->c.D);
    for (int T = P; T < P + m->c.thoughts; T++) {
        ref_hidden_cut(m, h, x, T, T, 0, m->c.thought_layer ? m->c.thought_layer : m->c.L); // what it is made of
        ref_thought(m, x + (size_t)T * D, NULL, h, T);
    }
    free(h);
    return P + m->c.thoughts;
}

// log p of each answer token (A) behind a timeline with embeddings x (T, D); noise (D, or NULL) is added to its last row.
static inline void ref_answer(const RefModel *m, double *logprob, const double *x, int T, const int32_t *answer, int A,
                              const double *noise) {
    const ModelConfig *c = &m->c;
    const size_t D = (size_t)c->D, rows = (size_t)(T + A - 1);
    const double *table = ref_weight(m, "model.embed_tokens.weight"), *head = c->tied ? table : ref_weight(m, "lm_head.weight");
    double *all = malloc(rows * D * sizeof(double)), *h = malloc(rows * D * sizeof(double)),
           *logits = malloc((size_t)c->V * sizeof(double)), lse;
    memcpy(all, x, (size_t)T * D * sizeof(double));
    if (noise) ref_add(all + (size_t)(T - 1) * D, noise, D);
    ref_embed_forward(all + (size_t)T * D, table, answer, A - 1, c->D);
    if (c->answer_sees_thought)
        ref_hidden_cut(m, h, all, (int)rows, T - 1, T - c->thoughts, c->L);
    else
        ref_hidden(m, h, all, (int)rows);
    for (int i = 0; i < A; i++) {
        ref_linear_forward(logits, NULL, h + (size_t)(T - 1 + i) * D, head, NULL, 1, c->V, c->D);
        ref_logprob(&logprob[i], &lse, logits, &answer[i], 1, c->V);
    }
    free(all), free(h), free(logits);
}

#endif
