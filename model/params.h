// The one list of a model's tensors: names as in a Hugging Face file, shapes, and where each lies in the one block of
// weights (and of gradients, and of moments). Load, save, optimizer and tests walk this list.
#ifndef MODEL_PARAMS_H
#define MODEL_PARAMS_H

#include "model/config.h"
#include <stddef.h>

// Groups are contiguous ranges of the block, so "train only the latent layer" is a range.
typedef enum ParamGroup { PARAMS_BACKBONE, PARAMS_LATENT, PARAMS_LORA, PARAM_GROUPS } ParamGroup;

typedef struct Param {
    char name[80];
    int n_dims, dims[2];  // (O, I) or (O)
    size_t offset, count; // in floats
    ParamGroup group;
} Param;

typedef struct Params {
    int n;
    Param *param;                   // malloc'd
    size_t total;                   // floats, with padding (zeros) between tensors
    size_t begin[PARAM_GROUPS + 1]; // group g is [begin[g], begin[g + 1])
} Params;

// Order within a layer: q, k, v adjacent (one matrix for the kernels), their biases adjacent, gate and up adjacent.
void params_init(Params *p, const ModelConfig *c);
void params_free(Params *p);

// The linear layers of a decoder layer, by the bits of ModelConfig.lora_targets: "self_attn.q_proj", ... Their adapters are
// named as PEFT names them, "model.layers.0.self_attn.q_proj.lora_A.weight" (R, I) and "... lora_B.weight" (O, R).
enum { PARAMS_TARGETS = 7 };
extern const char *const params_target[PARAMS_TARGETS];
const Param *params_find(const Params *p, const char *name); // or NULL

#endif
