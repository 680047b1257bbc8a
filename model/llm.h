// A decoder-only language model and its latent layer: weights on the device. Read-only while serving.
#ifndef MODEL_LLM_H
#define MODEL_LLM_H

#include "base/arena.h"
#include "model/params.h"
#include "ops/ops.h"

typedef struct LlmNorm {
    const float *weight, *bias; // (D); bias: LayerNorm, NULL: RMSNorm
} LlmNorm;

typedef struct LlmBlock {   // one decoder layer; pointers into Llm.w
    Matrix qkv;             // ((H + 2G) K, D)
    Matrix out;             // (D, H K)
    Matrix gate_up;         // (2F, D); without a gate (F, D)
    Matrix down;            // (D, F)
    const float *qkv_bias;  // ((H + 2G) K); this and the next three may be NULL
    const float *out_bias;  // (D)
    const float *up_bias;   // (F)
    const float *down_bias; // (D)
    LlmNorm norm1, norm2;
    Lora lora[4]; // of qkv, out, gate_up, down, where they have adapters
} LlmBlock;

typedef struct Llm {
    ModelConfig config;
    Params params;
    Ops *ops;
    Arena arena;    // device: w, then dw where training asked for it
    float *w;       // (params.total)
    uint16_t *half; // (params.total) where llm_make_half: bf16 of the backbone's matrices, at the same offsets; w is not
                    // touched there
    float *dw;      // (params.total) or NULL; a group that does not train has no gradient, see llm_train
    int train[PARAM_GROUPS];
    uint64_t version[PARAM_GROUPS]; // moves with every change of a group's weights (llm_changed)
    const void *embed;              // (V, D) of embed_type: the master, or, where the backbone is frozen, the compute type
    Dtype embed_type;
    const float *embed_w;          // its place in w
    struct Frozen *frozen;         // frozen.h; NULL: all weights are in w
    const float *position_embed;   // (max_positions, D) added to the items' embeddings, or NULL
    const float *thought_embed;    // (thoughts, D) added to the thoughts, or NULL
    LlmNorm norm;                  // final
    Matrix head;                   // (V, D); w is embed where tied
    Matrix ratt_q, ratt_k, ratt_v; // (D, D) LatentRATT
    const float *ratt_qb, *ratt_kb, *ratt_vb;
    LlmBlock *block; // (L)
    Rope rope, ratt_rope;
    const float *thought_gain; // (D) device: thought_rms each, or NULL
} Llm;

// Weights undefined (weights.h fills them). positions: how many a timeline may have (rows of the rotary tables).
int llm_init(Llm *m, Ops *ops, const ModelConfig *c, int positions, Err *err);
void llm_free(Llm *m);

// The backbone's matrices are kept in bf16 alone, without an f32 master, while they train (optimizer.h rounds at random). Right
// after llm_init, of a model without learned positions.
void llm_make_half(Llm *m);
static inline int llm_is_half(const Llm *m, const Param *p) {
    return m->half && p->group == PARAMS_BACKBONE && p->n_dims == 2;
}
// Values [at, at + n) of a parameter as f32 on the host, in whichever type it is kept. llm_set: llm_changed is left to the
// caller.
void llm_get(const Llm *m, const Param *p, size_t at, size_t n, float *out);
void llm_set(Llm *m, const Param *p, size_t at, size_t n, const float *x);

// Ask for gradients of these groups (TRAIN_*, those that have weights); zeroed. The others cost no memory. A frozen backbone
// (frozen.h) cannot train.
enum { TRAIN_BACKBONE = 1 << PARAMS_BACKBONE, TRAIN_LATENT = 1 << PARAMS_LATENT, TRAIN_LORA = 1 << PARAMS_LORA };
int llm_train(Llm *m, unsigned groups, Err *err);
// Whether what the network itself computes moves with training: then a prompt's states have gradients too.
static inline int llm_network_trains(const Llm *m) {
    return m->train[PARAMS_BACKBONE] || m->train[PARAMS_LORA];
}
// Whether there is a LatentRATT among the weights.
static inline int llm_has_latent(const Llm *m) {
    return m->params.begin[PARAMS_LATENT] < m->params.begin[PARAMS_LATENT + 1];
}
// The groups that train stand side by side: one range of the block, from what this returns. CHECKs that.
size_t llm_train_range(const Llm *m, size_t *count);
void llm_zero_gradients(Llm *m);
// From this place in the block on all gradients are complete when the last segment that goes back has left this layer.
size_t llm_final_from(const Llm *m, int layer);
// To be called when weights were written: the kernels' own copies are made again.
void llm_changed(Llm *m, ParamGroup group);
// Address of the gradient that belongs to the weight at `w`, or NULL where its group does not train.
float *llm_gradient(const Llm *m, const float *w);

// LatentRATT as nn.Linear starts: uniform in +-1/sqrt(D), from `seed`.
void llm_init_latent(Llm *m, uint64_t seed);
// Adapters as PEFT starts them: A uniform in +-1/sqrt(I), from `seed`; B zero, so that they add nothing yet.
void llm_init_lora(Llm *m, uint64_t seed);
// A token gets another id: its rows of the embedding, and of an untied head, become those of `to`.
void llm_move_token(Llm *m, int from, int to);
// The rows [first, first + n) of the embedding, and of an untied head: tokens that mean nothing yet. They lie around the mean
// of the rows before them, at a tenth of those rows' spread, from `seed`: in the mean itself tokens that no row of train holds
// would stay equal to each other for ever, and items that differ in those alone would tie.
void llm_init_tokens(Llm *m, int first, int n, uint64_t seed);
// All weights random (normal 0.02, norms 1), for tests and the offline demo.
void llm_init_random(Llm *m, uint64_t seed);

// The root mean square of the token embeddings' 2-norms.
double llm_embedding_norm(Llm *m);

#endif
