// The shape of a decoder-only model, from config.json or GGUF metadata: a language model, or SASRec, whose vocabulary is a
// catalogue (token i is its item i).
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include "base/err.h"
#include "base/json.h"
#include "io/gguf.h"
#include "ops/ops.h"

enum { CONFIG_THOUGHTS = 16 };       // the most a model may have
enum { CONFIG_HEAD_SIZE = 1 << 10 }; // likewise
enum { CONFIG_CATEGORY = 132 };      // room for a category phrase and a NUL; a multiple of 4: no padding behind it
#define CONFIG_THOUGHT_RMS 1e4

typedef enum ModelFamily { FAMILY_LLAMA, FAMILY_QWEN2, FAMILY_SASREC } ModelFamily;

typedef struct ModelConfig {
    ModelFamily family;
    int L, D, H, G, K, F, V; // layers, width, heads, key/value heads, head size, feed-forward, vocabulary
    int qkv_bias;            // Qwen2, SASRec
    int biases;              // of all other linear layers: SASRec
    int layer_norm;          // with bias, in place of RMSNorm: SASRec
    int learned_positions;   // a table of max_positions rows, in place of rotary embedding: SASRec
    Activation activation;   // of the feed-forward; SwiGLU has a gate beside it
    int tied;                // the head is the embedding table
    int max_positions;
    float rms_eps, rope_base; // rms_eps: of either norm
    // Llama-3 scaling of the rotary frequencies; factor 0: none.
    float rope_factor, rope_low_freq, rope_high_freq;
    int rope_original_positions;
    int bos_id, eos_id; // -1: none
    // latentr3's own keys in config.json ("latentr3": {...}); defaults where absent
    int thoughts;                   // thought tokens, 0: none
    int thought_window;             // 0: whole prompt
    int thought_hidden;             // the last hidden state instead of LatentRATT
    int answer_sees_thought;        // the answer attends to the thoughts alone, not to the prompt
    int thought_layer;              // layers below the states that the thought is made of, 0: all
    float thought_rms;              // what each thought's root mean square is scaled to; 0: it is left as it is made
    int add_bos;                    // -1: not said, 0 or 1
    int item_text;                  // answers are the items' index texts
    int history_titles;             // with item_text: histories are titles all the same
    char category[CONFIG_CATEGORY]; // what the prompts that it was trained on call an item; "": not said
    // low-rank adapters; not a part of config.json
    int lora_rank;         // 0: none
    unsigned lora_targets; // bit t: on params_target[t]
    float lora_alpha;      // what they add is scaled by alpha / rank
} ModelConfig;

// Unknown architectures, and options that would change results, are refused by name.
int config_from_json(ModelConfig *c, const json_t *json, const char *name, Err *err);
int config_from_gguf(ModelConfig *c, const Gguf *g, Err *err);
// The pre-tokenizer of a byte-level vocabulary (borrowed): as the file names it, and of files of before "tokenizer.ggml.pre"
// what their models need.
int config_gguf_pre(const Gguf *g, GgufString *pre, Err *err);
// For transformers: architectures, model_type, sizes, and our own keys. The caller owns it.
json_t *config_to_json(const ModelConfig *c, const char *dtype);
// SASRec over a catalogue of `items`, with its usual norm and activation; the sizes are left to the caller.
ModelConfig config_sasrec(int items);
// Refuses sizes that are zero, negative, over their limits or that do not divide.
int config_check(const ModelConfig *c, const char *name, Err *err);

#endif
