// Models in and out: a Hugging Face folder or a GGUF file -> Llm, and Llm -> a Hugging Face folder.
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "io/gguf.h"
#include "io/safetensors.h"
#include "model/llm.h"

// An opened model whose weights are not yet read.
typedef struct WeightsSource {
    char *path;
    int is_gguf;
    Gguf gguf;
    Safetensors tensors;
    ModelConfig config;  // as the file has it
    int has_latent;      // attention.* tensors are there
    json_t *generation;  // generation_config.json or NULL
    json_t *config_json; // config.json or NULL
} WeightsSource;

// path: a folder with config.json, or a GGUF file. Unexpected tensors are refused by name, missing ones too, and shapes that
// the configuration does not want: before any memory is asked for. Without a word in config.json, thoughts is 1 where
// LatentRATT's tensors are there and 0 else.
int weights_open(WeightsSource *s, const char *path, Err *err);
void weights_close(WeightsSource *s);

// Read every tensor of the model into `m` (whose config may have more vocabulary rows than the file: new rows get the
// mean of the file's rows; or fewer: the last are dropped). NaN and Inf are refused. The rows of q and k of Llama-family
// GGUF files are put back into half-split order. LatentRATT's tensors are read where present and left alone else.
int weights_load(Llm *m, const WeightsSource *s, Err *err);

// What frozen.c builds on. The file's tensor of a parameter's name, or NULL.
const Tensor *weights_find(const WeightsSource *s, const char *name);
// The row of the file's tensor that is row `row` of the parameter.
size_t weights_source_row(const WeightsSource *s, const ModelConfig *c, const Param *p, size_t row);
// -1, naming the place, where the file's tensor holds a value that is not finite.
int weights_check_finite(const WeightsSource *s, const Tensor *t, Err *err);
// The mean of the file's rows of a table, for tokens that the file does not know: (dims[1]), malloc'd; NULL where it knows all.
float *weights_mean_row(const WeightsSource *s, const ModelConfig *c, const Param *p);
// Whether the file has the tensors of this model; it may differ in its vocabulary and in having LatentRATT.
int weights_check(const Llm *m, const WeightsSource *s, Err *err);
// As weights_load, but of the backbone only norms and biases.
int weights_load_small(Llm *m, const WeightsSource *s, Err *err);

// Write config.json, model.safetensors and generation_config.json into `folder` (which exists), adapters merged. type: F32 or
// BF16. generation: what the source's generation_config.json held, which is kept but for what this model says otherwise; or
// NULL.
int weights_save(const Llm *m, const char *folder, TensorType type, const json_t *generation, Err *err);
// Removes the weights of a Hugging Face folder, whole or in shards, the index first.
int weights_forget(const char *folder, Err *err);
// 128-bit hash over all weights, 32 hexadecimal digits.
void weights_hash(const Llm *m, char hex[33]);

#endif
