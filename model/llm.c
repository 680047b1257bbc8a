#include "model/llm.h"
#include "base/rng.h"
#include "io/tensor.h"
#include "model/frozen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float *weight(const Llm *m, const char *name) {
    const Param *p = params_find(&m->params, name);
    CHECK(p);
    return m->w + p->offset;
}

static const float *layer_weight(const Llm *m, int layer, const char *name) {
    char full[96];
    snprintf(full, sizeof full, "model.layers.%d.%s", layer, name);
    return weight(m, full);
}

static ParamGroup group_of(const Llm *m, const float *w) {
    ParamGroup g = PARAMS_BACKBONE;
    while ((size_t)(w - m->w) >= m->params.begin[g + 1]) g++;
    return g;
}

// NULL where the model has no such tensor.
static const float *optional(const Llm *m, int present, const char *name) {
    return present ? weight(m, name) : NULL;
}

static const float *layer_bias(const Llm *m, int layer, const char *name) {
    char full[80];
    snprintf(full, sizeof full, "model.layers.%d.%s.bias", layer, name);
    const Param *p = params_find(&m->params, full);
    return p ? m->w + p->offset : NULL;
}

static LlmNorm layer_norm(const Llm *m, int layer, const char *name) {
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    return (LlmNorm){layer_weight(m, layer, full), layer_bias(m, layer, name)};
}

static Matrix matrix(Llm *m, const float *w, int O, int I) {
    return (Matrix){.w = w, .version = &m->version[group_of(m, w)], .O = O, .I = I};
}

void llm_changed(Llm *m, ParamGroup group) {
    m->version[group]++;
}

static void bind_weights(Llm *m) {
    const ModelConfig *c = &m->config;
    const float *embed = weight(m, "model.embed_tokens.weight");
    m->embed = m->embed_w = embed;
    m->embed_type = DTYPE_F32;
    m->norm = (LlmNorm){weight(m, "model.norm.weight"), optional(m, c->layer_norm, "model.norm.bias")};
    m->position_embed = optional(m, c->learned_positions, "model.embed_positions.weight");
    m->thought_embed = optional(m, c->learned_positions && c->thoughts, "model.embed_thoughts.weight");
    m->head = matrix(m, c->tied ? embed : weight(m, "lm_head.weight"), c->V, c->D);
    if (llm_has_latent(m)) {
        m->ratt_q = matrix(m, weight(m, "attention.query.weight"), c->D, c->D);
        m->ratt_k = matrix(m, weight(m, "attention.key.weight"), c->D, c->D);
        m->ratt_v = matrix(m, weight(m, "attention.value.weight"), c->D, c->D);
        m->ratt_qb = weight(m, "attention.query.bias");
        m->ratt_kb = weight(m, "attention.key.bias");
        m->ratt_vb = weight(m, "attention.value.bias");
    }
    m->block = mem_zalloc((size_t)c->L, sizeof *m->block);
    const int gated = c->activation == ACTIVATION_SWIGLU;
    for (int l = 0; l < c->L; l++) {
        LlmBlock *b = &m->block[l];
        b->qkv = matrix(m, layer_weight(m, l, "self_attn.q_proj.weight"), (c->H + 2 * c->G) * c->K, c->D);
        b->out = matrix(m, layer_weight(m, l, "self_attn.o_proj.weight"), c->D, c->H * c->K);
        b->gate_up =
            matrix(m, layer_weight(m, l, gated ? "mlp.gate_proj.weight" : "mlp.up_proj.weight"), gated ? 2 * c->F : c->F, c->D);
        b->down = matrix(m, layer_weight(m, l, "mlp.down_proj.weight"), c->D, c->F);
        b->qkv_bias = layer_bias(m, l, "self_attn.q_proj");
        b->out_bias = layer_bias(m, l, "self_attn.o_proj");
        b->up_bias = layer_bias(m, l, "mlp.up_proj");
        b->down_bias = layer_bias(m, l, "mlp.down_proj");
        b->norm1 = layer_norm(m, l, "input_layernorm");
        b->norm2 = layer_norm(m, l, "post_attention_layernorm");
    }
}

// The adapters of a matrix that is made of the targets [first, first + n), rows[i] rows of it each.
static void bind_lora(Llm *m, int layer, Matrix *w, Lora *lora, int first, int n, const int *rows) {
    const ModelConfig *c = &m->config;
    *lora = (Lora){.scale = c->lora_alpha / (float)c->lora_rank};
    for (int i = 0, row = 0; i < n; row += rows[i++]) {
        char name[40];
        if (!(c->lora_targets >> (first + i) & 1)) continue;
        if (lora->parts == 0) {
            snprintf(name, sizeof name, "%s.lora_A.weight", params_target[first + i]);
            lora->down = matrix(m, layer_weight(m, layer, name), 0, w->I);
        }
        snprintf(name, sizeof name, "%s.lora_B.weight", params_target[first + i]);
        lora->part[lora->parts++] = (LoraPart){layer_weight(m, layer, name), row, rows[i]};
    }
    if (lora->parts == 0) return;
    lora->down.O = lora->parts * c->lora_rank;
    ops_lora_bind(m->ops, lora, w->O);
    w->lora = lora;
}

static void bind_adapters(Llm *m) {
    const ModelConfig *c = &m->config;
    const int Q = c->H * c->K, KV = c->G * c->K, gated = c->activation == ACTIVATION_SWIGLU;
    for (int l = 0; l < c->L; l++) {
        LlmBlock *b = &m->block[l];
        bind_lora(m, l, &b->qkv, &b->lora[0], 0, 3, (int[]){Q, KV, KV});
        bind_lora(m, l, &b->out, &b->lora[1], 3, 1, (int[]){c->D});
        bind_lora(m, l, &b->gate_up, &b->lora[2], gated ? 4 : 5, gated ? 2 : 1, (int[]){c->F, c->F});
        bind_lora(m, l, &b->down, &b->lora[3], 6, 1, (int[]){c->D});
    }
}

// Llama-3 scaling: long wavelengths are divided by the factor, short ones kept, those between blended.
static float scaled_frequency(const ModelConfig *c, float frequency) {
    if (!(c->rope_factor > 0)) return frequency;
    const float wavelength = 2.0f * 3.14159265f / frequency, old = (float)c->rope_original_positions;
    if (wavelength > old / c->rope_low_freq) return frequency / c->rope_factor;
    if (wavelength < old / c->rope_high_freq) return frequency;
    float blend = (old / wavelength - c->rope_low_freq) / (c->rope_high_freq - c->rope_low_freq);
    return (1.0f - blend) * frequency / c->rope_factor + blend * frequency;
}

// Tables (positions, K/2) in f32 as PyTorch makes them: the angle is rounded to f32 before its cosine is taken.
static void rope_init(Rope *rope, Llm *m, int K, float base, int positions, int scaled) {
    int half = K / 2;
    size_t n = (size_t)positions * (size_t)half;
    float *cos_host = mem_alloc(n, sizeof(float)), *sin_host = mem_alloc(n, sizeof(float));
    for (int i = 0; i < half; i++) {
        float frequency = 1.0f / powf(base, (float)(2 * i) / (float)K);
        if (scaled) frequency = scaled_frequency(&m->config, frequency);
        for (int p = 0; p < positions; p++) {
            float angle = (float)p * frequency;
            cos_host[(size_t)p * (size_t)half + (size_t)i] = cosf(angle);
            sin_host[(size_t)p * (size_t)half + (size_t)i] = sinf(angle);
        }
    }
    float *cos_device = ARENA_NEW(&m->arena, float, n), *sin_device = ARENA_NEW(&m->arena, float, n);
    ops_upload(m->ops, cos_device, cos_host, n * sizeof(float));
    ops_upload(m->ops, sin_device, sin_host, n * sizeof(float));
    free(cos_host), free(sin_host);
    *rope = (Rope){cos_device, sin_device, positions, K};
}

static const float *constant_row(Llm *m, float value, int D) {
    float *host = mem_alloc((size_t)D, sizeof *host), *row = ARENA_NEW(&m->arena, float, D);
    for (int d = 0; d < D; d++) host[d] = value;
    ops_upload(m->ops, row, host, (size_t)D * sizeof *host);
    free(host);
    return row;
}

int llm_init(Llm *m, Ops *ops, const ModelConfig *c, int positions, Err *err) {
    const float ratt_rope_base = 1000.0f;
    *m = (Llm){.config = *c, .ops = ops};
    params_init(&m->params, c);
    size_t tables = (size_t)positions * ((size_t)c->K + (size_t)c->D) * sizeof(float);
    // w, dw, half; the embedding of a frozen backbone, which stands beside them; small change
    size_t bytes = m->params.total * (2 * sizeof(float) + sizeof(uint16_t)) + (size_t)c->V * (size_t)c->D * sizeof(float) +
                   tables + ((size_t)64 << 20);
    void *range = ops_reserve(ops, bytes, err);
    if (!range) {
        params_free(&m->params);
        return -1;
    }
    arena_init(&m->arena, range, bytes, "the model's arena");
    m->w = ARENA_NEW(&m->arena, float, m->params.total);
    bind_weights(m);
    if (c->lora_rank > 0) bind_adapters(m);
    if (c->learned_positions)
        m->rope = (Rope){.positions = positions, .K = c->K};
    else
        rope_init(&m->rope, m, c->K, c->rope_base, positions, 1);
    if (m->ratt_q.w) rope_init(&m->ratt_rope, m, c->D, ratt_rope_base, positions, 0);
    if (c->thought_rms > 0) m->thought_gain = constant_row(m, c->thought_rms, c->D);
    return 0;
}

static void bind_half(Llm *m, Matrix *w) {
    w->half = m->half + (w->w - m->w);
}

void llm_make_half(Llm *m) {
    CHECK(!m->config.learned_positions);
    m->half = ARENA_NEW(&m->arena, uint16_t, m->params.total);
    m->embed = m->half + (m->embed_w - m->w);
    m->embed_type = DTYPE_BF16;
    bind_half(m, &m->head);
    for (int l = 0; l < m->config.L; l++) {
        LlmBlock *b = &m->block[l];
        bind_half(m, &b->qkv), bind_half(m, &b->out), bind_half(m, &b->gate_up), bind_half(m, &b->down);
    }
}

void llm_get(const Llm *m, const Param *p, size_t at, size_t n, float *out) {
    if (!llm_is_half(m, p)) {
        ops_download(m->ops, out, m->w + p->offset + at, n * sizeof *out);
        return;
    }
    uint16_t *host = mem_alloc(n, sizeof *host);
    ops_download(m->ops, host, m->half + p->offset + at, n * sizeof *host);
    for (size_t i = 0; i < n; i++) out[i] = bf16_to_f32(host[i]);
    free(host);
}

void llm_set(Llm *m, const Param *p, size_t at, size_t n, const float *x) {
    if (!llm_is_half(m, p)) {
        ops_upload(m->ops, m->w + p->offset + at, x, n * sizeof *x);
        return;
    }
    uint16_t *host = mem_alloc(n, sizeof *host);
    tensor_to_bf16(host, x, n);
    ops_upload(m->ops, m->half + p->offset + at, host, n * sizeof *host);
    free(host);
}

void llm_free(Llm *m) {
    if (!m->ops) return;
    Matrix *single[] = {&m->head, &m->ratt_q, &m->ratt_k, &m->ratt_v};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) ops_matrix_free(m->ops, single[i]);
    for (int l = 0; m->block && l < m->config.L; l++) {
        ops_matrix_free(m->ops, &m->block[l].qkv);
        ops_matrix_free(m->ops, &m->block[l].out);
        ops_matrix_free(m->ops, &m->block[l].gate_up);
        ops_matrix_free(m->ops, &m->block[l].down);
    }
    frozen_free(m->frozen);
    free(m->block);
    ops_release(m->ops, m->arena.base, m->arena.capacity_bytes);
    params_free(&m->params);
    *m = (Llm){0};
}

int llm_train(Llm *m, unsigned groups, Err *err) {
    if ((groups & TRAIN_BACKBONE) && m->frozen)
        return err_set(err, ERR_INTERNAL, "the backbone was opened frozen and cannot train");
    for (int g = 0; g < PARAM_GROUPS; g++) m->train[g] = (groups >> g & 1) && m->params.begin[g] < m->params.begin[g + 1];
    if (groups && !m->dw) m->dw = ARENA_NEW(&m->arena, float, m->params.total);
    llm_zero_gradients(m);
    return 0;
}

size_t llm_train_range(const Llm *m, size_t *count) {
    const size_t *begin = m->params.begin;
    int first = 0, end = PARAM_GROUPS;
    while (first < PARAM_GROUPS && !m->train[first]) first++;
    while (end > first && !m->train[end - 1]) end--;
    for (int g = first; g < end; g++) CHECK(m->train[g] || begin[g] == begin[g + 1]);
    *count = begin[end] - begin[first];
    return begin[first];
}

void llm_zero_gradients(Llm *m) {
    for (int g = 0; g < PARAM_GROUPS; g++)
        if (m->train[g])
            ops_zero(m->ops, m->dw + m->params.begin[g], (m->params.begin[g + 1] - m->params.begin[g]) * sizeof(float));
}

// Only a layer before it, and the tables at the network's two ends, can be incomplete: LatentRATT and the last norm go back
// before any layer of that segment, and a tied head is the embedding. Where thoughts are made of an earlier layer's states the
// norm goes back there once more.
static int completes_behind(const ModelConfig *c, const Param *p, int layer) {
    int of;
    if (sscanf(p->name, "model.layers.%d.", &of) == 1) return of < layer;
    if (c->thought_layer && strstr(p->name, "model.norm.")) return layer > c->thought_layer;
    return strstr(p->name, "embed") || strstr(p->name, "lm_head");
}

size_t llm_final_from(const Llm *m, int layer) {
    size_t count, from = llm_train_range(m, &count);
    for (int i = 0; i < m->params.n; i++) {
        const Param *p = &m->params.param[i];
        if (m->train[p->group] && completes_behind(&m->config, p, layer)) from = p->offset + p->count;
    }
    return from;
}

float *llm_gradient(const Llm *m, const float *w) {
    if (!m->dw || !w) return NULL;
    return m->train[group_of(m, w)] ? m->dw + (w - m->w) : NULL;
}

static void upload_filled(Llm *m, const Param *p, float *host) {
    llm_set(m, p, 0, p->count, host);
    free(host);
    llm_changed(m, p->group);
}

// Uniform in +-bound, by the tensor's place in its group.
static void fill_uniform(Llm *m, const Param *p, float bound, uint64_t seed, uint64_t stream) {
    const size_t first = p->offset - m->params.begin[p->group];
    float *host = mem_alloc(p->count, sizeof(float));
    for (size_t j = 0; j < p->count; j++) host[j] = bound * (float)(2.0 * rng_uniform(seed, stream, first + j) - 1.0);
    upload_filled(m, p, host);
}

void llm_init_latent(Llm *m, uint64_t seed) {
    for (int i = 0; i < m->params.n; i++)
        if (m->params.param[i].group == PARAMS_LATENT)
            fill_uniform(m, &m->params.param[i], 1.0f / sqrtf((float)m->config.D), seed, RNG_INIT);
}

void llm_init_lora(Llm *m, uint64_t seed) {
    for (int i = 0; i < m->params.n; i++) {
        const Param *p = &m->params.param[i];
        if (p->group != PARAMS_LORA) continue;
        const float bound = strstr(p->name, ".lora_A.") ? 1.0f / sqrtf((float)p->dims[1]) : 0.0f;
        fill_uniform(m, p, bound, seed, RNG_ADAPTER);
    }
}

// The mean of the first `rows` rows of a table (D); returns the root mean square of what they differ from it.
static double table_spread(const Llm *m, const Param *p, size_t rows, double *mean) {
    enum { ROWS = 256 };
    const size_t D = (size_t)p->dims[1];
    double *squares = mem_zalloc(D, sizeof *squares), spread = 0;
    float *host = mem_alloc(ROWS * D, sizeof *host);
    for (size_t r = 0; r < rows; r += ROWS) {
        const size_t n = rows - r < ROWS ? rows - r : ROWS;
        llm_get(m, p, r * D, n * D, host);
        for (size_t i = 0; i < n * D; i++) mean[i % D] += (double)host[i], squares[i % D] += (double)host[i] * (double)host[i];
    }
    for (size_t d = 0; d < D; d++) {
        mean[d] /= (double)rows;
        spread += squares[d] / (double)rows - mean[d] * mean[d];
    }
    free(host), free(squares);
    return spread > 0 ? sqrt(spread / (double)D) : 0;
}

// The embedding, and the head or NULL where it is tied.
static const Param *token_table(const Llm *m, int i) {
    return params_find(&m->params, i ? "lm_head.weight" : "model.embed_tokens.weight");
}

void llm_move_token(Llm *m, int from, int to) {
    const size_t D = (size_t)m->config.D;
    float *row = mem_alloc(D, sizeof *row);
    for (int i = 0; i < 2 && token_table(m, i); i++) {
        llm_get(m, token_table(m, i), (size_t)from * D, D, row);
        llm_set(m, token_table(m, i), (size_t)to * D, D, row);
    }
    free(row);
    llm_changed(m, PARAMS_BACKBONE);
}

void llm_init_tokens(Llm *m, int first, int n, uint64_t seed) {
    const size_t D = (size_t)m->config.D;
    float *row = mem_alloc(D, sizeof *row);
    for (int i = 0; i < 2 && token_table(m, i); i++) {
        const Param *p = token_table(m, i);
        double *mean = mem_zalloc(D, sizeof *mean);
        const double spread = table_spread(m, p, (size_t)first, mean);
        for (size_t r = (size_t)first; r < (size_t)(first + n); r++) {
            rng_normal(row, D, seed, RNG_INIT, (uint64_t)1 << 41 | (p->offset + r * D));
            for (size_t d = 0; d < D; d++) row[d] = (float)(mean[d] + 0.1 * spread * (double)row[d]);
            llm_set(m, p, r * D, D, row);
        }
        free(mean);
    }
    free(row);
    llm_changed(m, PARAMS_BACKBONE);
}

void llm_init_random(Llm *m, uint64_t seed) {
    for (int i = 0; i < m->params.n; i++) {
        const Param *p = &m->params.param[i];
        if (p->group != PARAMS_BACKBONE) continue;
        float *host = mem_alloc(p->count, sizeof(float));
        if (strstr(p->name, "norm.weight")) {
            for (size_t j = 0; j < p->count; j++) host[j] = 1.0f;
        } else {
            rng_normal(host, p->count, seed, RNG_INIT, (uint64_t)1 << 40 | p->offset);
            for (size_t j = 0; j < p->count; j++) host[j] = strstr(p->name, "bias") ? 0.0f : 0.02f * host[j];
        }
        upload_filled(m, p, host);
    }
    llm_init_latent(m, seed);
}

double llm_embedding_norm(Llm *m) {
    enum { ROWS = 1024 };
    const size_t V = (size_t)m->config.V, D = (size_t)m->config.D;
    if (m->embed_type == DTYPE_F32) return sqrt(op_sum_squares(m->ops, m->embed, V * D) / (double)V);
    Arena *a = &m->arena; // a piece of it, given back at once
    const size_t mark = arena_mark(a);
    float *rows = ARENA_NEW(a, float, ROWS *D);
    double sum = 0;
    for (size_t v = 0; v < V; v += ROWS) {
        const size_t n = V - v < ROWS ? V - v : ROWS;
        op_from_act(m->ops, rows, (const char *)m->embed + v * D * dtype_bytes(m->embed_type), n * D);
        sum += op_sum_squares(m->ops, rows, n * D);
    }
    arena_reset(a, mark);
    return sqrt(sum / (double)V);
}
