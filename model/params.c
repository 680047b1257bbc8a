#include "model/params.h"
#include "base/arena.h"
#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_FLOATS = 16, LAYER_PARAMS = 16 + 2 * PARAMS_TARGETS, OTHER_PARAMS = 12 }; // 64 bytes, as the arena

const char *const params_target[PARAMS_TARGETS] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                   "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                   "mlp.down_proj"};

// Where a tensor begins: at a multiple of ALIGN_FLOATS, or right behind the one before it, with which it makes one matrix.
typedef enum Place { PADDED, ADJACENT } Place;

// (O, I), or (O) where I is 0.
__attribute__((format(printf, 6, 7))) static void add(Params *p, ParamGroup group, Place place, int O, int I,
                                                      const char *format, ...) {
    Param *t = &p->param[p->n++];
    *t = (Param){.n_dims = I ? 2 : 1, .dims = {O, I}, .group = group};
    CHECK(checked_mul(&t->count, (size_t)O, I ? (size_t)I : 1) == 0);
    if (place == PADDED) CHECK(checked_align_up(&p->total, p->total, ALIGN_FLOATS) == 0);
    t->offset = p->total;
    CHECK(checked_add(&p->total, p->total, t->count) == 0);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->name, sizeof t->name, format, args);
    va_end(args);
    CHECK(n > 0 && (size_t)n < sizeof t->name);
}

// A vector of O values where the model has it.
static void add_bias(Params *p, int present, int O, int layer, const char *name) {
    if (present) add(p, PARAMS_BACKBONE, PADDED, O, 0, "model.layers.%d.%s.bias", layer, name);
}

static void add_attention(Params *p, const ModelConfig *c, int i) {
    const ParamGroup g = PARAMS_BACKBONE;
    const int Q = c->H * c->K, KV = c->G * c->K;
    add(p, g, PADDED, Q, c->D, "model.layers.%d.self_attn.q_proj.weight", i);
    add(p, g, ADJACENT, KV, c->D, "model.layers.%d.self_attn.k_proj.weight", i);
    add(p, g, ADJACENT, KV, c->D, "model.layers.%d.self_attn.v_proj.weight", i);
    if (c->qkv_bias) {
        add(p, g, PADDED, Q, 0, "model.layers.%d.self_attn.q_proj.bias", i);
        add(p, g, ADJACENT, KV, 0, "model.layers.%d.self_attn.k_proj.bias", i);
        add(p, g, ADJACENT, KV, 0, "model.layers.%d.self_attn.v_proj.bias", i);
    }
    add(p, g, PADDED, c->D, Q, "model.layers.%d.self_attn.o_proj.weight", i);
    add_bias(p, c->biases, c->D, i, "self_attn.o_proj");
}

static void add_feed_forward(Params *p, const ModelConfig *c, int i) {
    const ParamGroup g = PARAMS_BACKBONE;
    const int gated = c->activation == ACTIVATION_SWIGLU;
    if (gated) add(p, g, PADDED, c->F, c->D, "model.layers.%d.mlp.gate_proj.weight", i);
    add(p, g, gated ? ADJACENT : PADDED, c->F, c->D, "model.layers.%d.mlp.up_proj.weight", i);
    add_bias(p, c->biases, c->F, i, "mlp.up_proj");
    add(p, g, PADDED, c->D, c->F, "model.layers.%d.mlp.down_proj.weight", i);
    add_bias(p, c->biases, c->D, i, "mlp.down_proj");
}

static void add_layer(Params *p, const ModelConfig *c, int i) {
    add(p, PARAMS_BACKBONE, PADDED, c->D, 0, "model.layers.%d.input_layernorm.weight", i);
    add_bias(p, c->layer_norm, c->D, i, "input_layernorm");
    add_attention(p, c, i);
    add(p, PARAMS_BACKBONE, PADDED, c->D, 0, "model.layers.%d.post_attention_layernorm.weight", i);
    add_bias(p, c->layer_norm, c->D, i, "post_attention_layernorm");
    add_feed_forward(p, c, i);
}

// Adapters of the targets [first, first + n), which make one matrix for the kernels: so do their A.
static void add_adapters(Params *p, const ModelConfig *c, int layer, int first, int n) {
    const int Q = c->H * c->K, KV = c->G * c->K, R = c->lora_rank, O[] = {Q, KV, KV, c->D, c->F, c->F, c->D},
              I[] = {c->D, c->D, c->D, Q, c->D, c->D, c->F};
    Place place = PADDED;
    for (int t = first; t < first + n; t++) {
        if (!(c->lora_targets >> t & 1)) continue;
        add(p, PARAMS_LORA, place, R, I[t], "model.layers.%d.%s.lora_A.weight", layer, params_target[t]);
        place = ADJACENT;
    }
    for (int t = first; t < first + n; t++)
        if (c->lora_targets >> t & 1)
            add(p, PARAMS_LORA, PADDED, O[t], R, "model.layers.%d.%s.lora_B.weight", layer, params_target[t]);
}

static void end_group(Params *p, ParamGroup group) {
    CHECK(checked_align_up(&p->total, p->total, ALIGN_FLOATS) == 0);
    p->begin[group + 1] = p->total;
}

void params_init(Params *p, const ModelConfig *c) {
    *p = (Params){.param = mem_zalloc((size_t)c->L * LAYER_PARAMS + OTHER_PARAMS, sizeof(Param))};
    add(p, PARAMS_BACKBONE, PADDED, c->V, c->D, "model.embed_tokens.weight");
    if (!c->tied) add(p, PARAMS_BACKBONE, PADDED, c->V, c->D, "lm_head.weight");
    if (c->learned_positions) add(p, PARAMS_BACKBONE, PADDED, c->max_positions, c->D, "model.embed_positions.weight");
    if (c->learned_positions && c->thoughts) add(p, PARAMS_BACKBONE, PADDED, c->thoughts, c->D, "model.embed_thoughts.weight");
    for (int i = 0; i < c->L; i++) add_layer(p, c, i);
    add(p, PARAMS_BACKBONE, PADDED, c->D, 0, "model.norm.weight");
    if (c->layer_norm) add(p, PARAMS_BACKBONE, PADDED, c->D, 0, "model.norm.bias");
    end_group(p, PARAMS_BACKBONE);
    if (c->thoughts > 0 && !c->thought_hidden) {
        static const char *const part[] = {"query", "key", "value"};
        for (int i = 0; i < 3; i++) {
            add(p, PARAMS_LATENT, PADDED, c->D, c->D, "attention.%s.weight", part[i]);
            add(p, PARAMS_LATENT, PADDED, c->D, 0, "attention.%s.bias", part[i]);
        }
    }
    end_group(p, PARAMS_LATENT);
    const int gated = c->activation == ACTIVATION_SWIGLU;
    for (int i = 0; i < c->L && c->lora_rank > 0; i++) {
        add_adapters(p, c, i, 0, 3);
        add_adapters(p, c, i, 3, 1);
        add_adapters(p, c, i, gated ? 4 : 5, gated ? 2 : 1);
        add_adapters(p, c, i, 6, 1);
    }
    end_group(p, PARAMS_LORA);
    CHECK(p->total <= SIZE_MAX / sizeof(double)); // bytes of the block are computed without further checks
}

void params_free(Params *p) {
    free(p->param);
    *p = (Params){0};
}

const Param *params_find(const Params *p, const char *name) {
    for (int i = 0; i < p->n; i++)
        if (strcmp(p->param[i].name, name) == 0) return &p->param[i];
    return NULL;
}
