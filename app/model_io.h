// A model as the commands use it: weights, tokenizer and prompt rules, opened from a Hugging Face folder or a GGUF file and
// written back as a Hugging Face folder.
#ifndef APP_MODEL_IO_H
#define APP_MODEL_IO_H

#include "app/options.h"
#include "data/dataset.h"
#include "model/weights.h"
#include "text/prompt.h"

// Rotary tables reach as far as the model was made for, but no further than the first (the longest prompt when recommending,
// thoughts and an answer behind it), and as far as the second (a row of training) in any case.
enum { MODEL_IO_POSITIONS = PROMPT_RECOMMEND_TOKENS + 1536, MODEL_IO_LEAST_POSITIONS = 3 * PROMPT_TRAIN_TOKENS };

typedef struct OpenModel {
    Ops *ops;
    Llm llm; // llm.config.thoughts, .thought_window, .thought_hidden, .answer_sees_thought: what counts, options included
    Tokenizer *tokenizer;
    PromptStyle style;
    char *category; // of the style: --category's, else the data folder's, else what was saved with the model
    json_t *items;  // a SASRec has these ids of its items in place of a tokenizer (sasrec_model.h); else NULL
    int had_latent; // LatentRATT was in the file (else it is initialised from --seed)
    char *path;
    json_t *tokenizer_config; // tokenizer_config.json as it will be saved
    json_t *generation;       // generation_config.json as it was, or NULL
    WeightsSource source;     // stays open where the backbone is frozen
} OpenModel;

// Opens o->model by --dtype, --threads, --bos, --thoughts, --thought-window, --thought, --answer-sees, --item-text. For
// training and for thoughts <|Thought|> is added as the last id where it is missing, before it for `sft` the pieces of the
// data's index texts, and the embedding sized to the tokenizer. d (may be NULL: no prompts will be made) must outlive `m`.
// Options that the command has not, or were not given, leave what was saved with the model; a model that says nothing has one
// thought where LatentRATT is in the file and none else. A SASRec's folder is opened for the commands that know what to do with
// it.
int model_io_open(OpenModel *m, const Options *o, const Dataset *d, Err *err);
void model_io_close(OpenModel *m);

// Thoughts as the options say, else as they stand in `c`.
int model_io_thoughts(ModelConfig *c, const Options *o, Err *err);

// What the command trains of it by --train and --lora-rank, as options_parse lets them stand together: TRAIN_* of model/llm.h,
// 0 for nothing.
unsigned model_io_trains(const Options *o);

// The backend by --dtype and --threads.
int model_io_ops(Ops **ops, const Options *o, Err *err);

// Writes config.json, model.safetensors, generation_config.json, tokenizer.json, tokenizer_config.json and
// special_tokens_map.json into `folder`, which is made where it is missing (its parent exists).
int model_io_save(const OpenModel *m, const char *folder, TensorType type, Err *err);

#endif
