// Opening and saving a model with its tokenizer. See model_io.h; the rules are those of the method's section 1.
#include "app/model_io.h"
#include "app/item_tokens.h"
#include "app/sasrec_model.h"
#include "app/tokenizer_files.h"
#include "base/arena.h"
#include "base/log.h"
#include "model/adapter.h"
#include "model/frozen.h"
#include "report/card.h"

#include <stdlib.h>
#include <string.h>

enum { RUN_BYTES = 16 << 20 };

// ---- open -----------------------------------------------------------------------------------------------------------------

// What prompts call an item: --category and dataset.json come first, then what the model was trained with, then the names of
// published files.
static int choose_category(OpenModel *m, ModelConfig *c, const Dataset *d, Err *err) {
    const int saved = *c->category != 0;
    if (!d) return 0;
    if (saved && dataset_check_category(c->category, ERR_DATA, err)) return err_prefix(err, "%s", m->path);
    if (!saved && !d->category_known) log_warn("%s: no category phrase is known, the prompt says \"item\"", d->folder);
    const char *category = saved && !d->category_said ? c->category : d->category;
    if (saved && strcmp(category, c->category))
        log_warn("%s was trained with the category \"%s\", and the prompt says \"%s\": --category says another", m->path,
                 c->category, category);
    m->category = mem_strndup(category, strlen(category));
    snprintf(c->category, sizeof c->category, "%s", m->category);
    return 0;
}

// Whether prompts begin with BOS: --bos, else what was saved with the model, else whether tokenizer_config.json has one.
static int choose_style(OpenModel *m, ModelConfig *c, const Options *o, Err *err) {
    int bos, eos, use = c->add_bos;
    if (tokenizer_files_id(&bos, m->tokenizer, m->tokenizer_config, "bos_token", c->bos_id, m->path, err) ||
        tokenizer_files_id(&eos, m->tokenizer, m->tokenizer_config, "eos_token", c->eos_id, m->path, err))
        return -1;
    if (use < 0) use = tokenizer_files_has_bos(m->tokenizer_config);
    if (strcmp(o->bos, "auto")) use = !strcmp(o->bos, "yes");
    if (use && bos < 0)
        return err_set(err, ERR_USAGE, "prompts are to begin with BOS (--bos yes, or saved so), and %s has none", m->path);
    if (eos < 0 && o->command->bit != CMD_CONVERT)
        return err_set(err, ERR_DATA, "%s: no end-of-text token is named, so no answer can end", m->path);
    c->add_bos = use;
    c->bos_id = bos;
    c->eos_id = eos; // what ends the answers that this model learns
    m->style = (PromptStyle){.category = m->category,
                             .bos_id = use ? bos : -1,
                             .eos_id = eos,
                             .index_answers = c->item_text,
                             .index_histories = c->item_text && !c->history_titles};
    return 0;
}

int model_io_thoughts(ModelConfig *c, const Options *o, Err *err) {
    if (o->thoughts >= 0) c->thoughts = o->thoughts;
    if (o->thought_window >= 0) c->thought_window = o->thought_window;
    if (o->thought_layer >= c->L)
        return err_set(err, ERR_USAGE, "--thought-layer %d: the model has %d layers, 0 stands for all of them",
                       o->thought_layer, c->L);
    if (o->thought_layer >= 0) c->thought_layer = o->thought_layer;
    if (o->thought_rms >= 0) c->thought_rms = (float)o->thought_rms;
    if (o->thought) c->thought_hidden = !strcmp(o->thought, "hidden");
    if (o->answer_sees) c->answer_sees_thought = !strcmp(o->answer_sees, "thought");
    if (c->answer_sees_thought && c->thoughts == 0)
        return err_set(err, ERR_USAGE, "without a thought the answer must see the prompt: --answer-sees prompt");
    return 0;
}

// What sft trains has a thought where nothing else is said.
static int choose_thoughts(ModelConfig *c, const WeightsSource *s, const Options *o, Err *err) {
    if (!json_object_get(s->config_json, "latentr3")) c->thoughts = s->has_latent;
    if (o->add_thought && c->thoughts)
        return err_set(err, ERR_USAGE, "--add-thought: %s has a thought already%s", s->path,
                       c->thought_hidden ? ", its last hidden state" : "");
    if ((o->add_thought || o->command->bit == CMD_SFT) && !c->thoughts) c->thoughts = 1;
    return model_io_thoughts(c, o, err);
}

static int choose_adapters(ModelConfig *c, const Options *o, Err *err) {
    if (o->lora_rank <= 0) return 0;
    c->lora_rank = o->lora_rank;
    c->lora_alpha = o->lora_alpha > 0 ? (float)o->lora_alpha : 2.0f * (float)o->lora_rank;
    return adapter_targets(&c->lora_targets, o->lora_targets, err) ? err_prefix(err, "--lora-targets") : 0;
}

static int choose_item_text(ModelConfig *c, const Options *o, Err *err) {
    if (o->item_text) c->item_text = 1;
    if (o->history_text) c->history_titles = !strcmp(o->history_text, "title");
    if (o->history_text && !c->item_text) return err_set(err, ERR_USAGE, "--history-text says nothing without --item-text");
    return 0;
}

// A model without thoughts that is only used stays as it is: one more class would change its probabilities.
static int wants_thought_token(const ModelConfig *c, const Options *o) {
    const int bit = o->command->bit;
    return bit == CMD_CONVERT ? o->add_thought : bit == CMD_SFT || bit == CMD_RL || c->thoughts > 0;
}

static int add_thought_token(OpenModel *m, ModelConfig *c, Err *err) {
    int id = tokenizer_add(m->tokenizer, PROMPT_THOUGHT_TOKEN, err);
    if (id < 0) return -1;
    tokenizer_files_announce_thought(m->tokenizer_config, id);
    c->V = tokenizer_size(m->tokenizer);
    return 0;
}

static void say_not_used(const WeightsSource *s) {
    static const char *const sampling[] = {"do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"};
    Str list = {0};
    for (size_t i = 0; i < sizeof sampling / sizeof sampling[0]; i++)
        if (json_object_get(s->generation, sampling[i])) str_printf(&list, "%s%s", list.len ? ", " : "", sampling[i]);
    if (list.len)
        log_info("generation_config.json: %s not used, answers come from a beam search over the catalogue", list.data);
    str_free(&list);
}

int model_io_ops(Ops **ops, const Options *o, Err *err) {
    int bf16 = o->dtype && (!strcmp(o->dtype, "bf16") || (!strcmp(o->dtype, "auto") && ops_has_bf16(o->device)));
    return ops_open(ops, o->device, o->threads, bf16 ? DTYPE_BF16 : DTYPE_F32, err);
}

// `bench sft` and `bench rl` train too, and the other benches measure what their commands do.
unsigned model_io_trains(const Options *o) {
    const int bit = o->command->bit;
    const char *bench = bit == CMD_BENCH && o->operand ? o->operand : "";
    if (bit != CMD_SFT && bit != CMD_RL && strcmp(bench, "sft") && strcmp(bench, "rl")) return 0;
    if (!strcmp(bench, "rl") || (o->train && !strcmp(o->train, "latent"))) return TRAIN_LATENT;
    return TRAIN_LATENT | (o->lora_rank > 0 ? TRAIN_LORA : TRAIN_BACKBONE);
}

// Else it stays as it is in the file.
static int trains_backbone(const Options *o) {
    return (model_io_trains(o) & TRAIN_BACKBONE) != 0;
}

static int positions_of(const ModelConfig *c) {
    const int most = c->max_positions < MODEL_IO_POSITIONS ? c->max_positions : MODEL_IO_POSITIONS;
    return most > MODEL_IO_LEAST_POSITIONS ? most : MODEL_IO_LEAST_POSITIONS;
}

static int open_from(OpenModel *m, const WeightsSource *s, const Options *o, const Dataset *d, Err *err) {
    ModelConfig c = s->config;
    if (tokenizer_files_open(&m->tokenizer, &m->tokenizer_config, s, err)) return -1;
    if (tokenizer_size(m->tokenizer) > c.V)
        return err_set(err, ERR_DATA, "%s: the tokenizer has %d ids, the embedding %d rows", m->path,
                       tokenizer_size(m->tokenizer), c.V);
    if (choose_category(m, &c, d, err) || choose_item_text(&c, o, err)) return -1;
    if (choose_style(m, &c, o, err) || choose_thoughts(&c, s, o, err) || choose_adapters(&c, o, err)) return -1;
    ItemTokens added = {0};
    if (c.item_text && d && item_tokens_add(&added, m->tokenizer, &d->items, o->command->bit == CMD_SFT, m->path, err))
        return -1;
    if (c.item_text && d) tokenizer_files_announce_pieces(m->tokenizer_config, m->tokenizer);
    if (added.n && !trains_backbone(o))
        return err_set(err, ERR_USAGE,
                       "a frozen backbone keeps its embedding: the %d new tokens of --item-text would never be learnt",
                       added.n);
    if (wants_thought_token(&c, o) && add_thought_token(m, &c, err)) return -1;
    if (config_check(&c, m->path, err)) return -1; // with the thought that it has by now
    if (model_io_ops(&m->ops, o, err) || llm_init(&m->llm, m->ops, &c, positions_of(&c), err)) return -1;
    if (o->lean && !trains_backbone(o))
        return err_set(err, ERR_USAGE,
                       "--lean is for training the whole model: what does not train is in the compute type as it is");
    if (o->lean && ops_dtype(m->ops) != DTYPE_BF16)
        return err_set(
            err, ERR_USAGE,
            "--lean needs --dtype bf16 and a machine that multiplies it: products in f32 would want the memory back");
    if (o->lean) llm_make_half(&m->llm);
    m->had_latent = s->has_latent;
    if (!s->has_latent) llm_init_latent(&m->llm, (uint64_t)o->seed);
    llm_init_lora(&m->llm, (uint64_t)o->seed);
    size_t memory = (size_t)(o->weights_memory * 1e9);
    if (o->command->bit == CMD_CONVERT) memory = FROZEN_UNUSED; // written as it is read, and checked there
    if (!trains_backbone(o)) return frozen_attach(&m->llm, s, memory, err);
    if (weights_load(&m->llm, s, err)) return -1;
    if (added.moved) llm_move_token(&m->llm, added.first, c.V - 1);
    if (added.n) llm_init_tokens(&m->llm, added.first, added.n, (uint64_t)o->seed);
    return 0;
}

// metrics.json of a training that a signal stopped, or that was killed or still runs: then it holds no steps. Beside where a
// command says that it made the model it is an earlier one's.
static void warn_unfinished(const char *folder) {
    json_t *run = file_exists_in(folder, CARD_ORIGIN) ? NULL : json_read_in(folder, "metrics.json", RUN_BYTES);
    const json_t *steps = json_object_get(run, "steps");
    if (json_is_true(json_object_get(run, "interrupted")) && json_is_integer(steps))
        log_warn("%s: its training was stopped at step %lld, before its end: the command that made it goes on with --resume",
                 folder, (long long)json_integer_value(steps));
    else if (json_is_string(json_object_get(run, "command")) && !steps)
        log_warn(
            "%s: its training has not come to its end (it was killed, or runs still): this is the best model so far, and the "
            "command that made it goes on with --resume",
            folder);
    json_decref(run);
}

int model_io_open(OpenModel *m, const Options *o, const Dataset *d, Err *err) {
    *m = (OpenModel){.path = mem_strndup(o->model, strlen(o->model))};
    warn_unfinished(o->model);
    if (sasrec_model_is(o->model)) {
        if (sasrec_model_open(m, o, err) == 0) return 0;
        model_io_close(m);
        return -1;
    }
    if (weights_open(&m->source, o->model, err)) {
        model_io_close(m);
        return -1;
    }
    m->generation = json_incref(m->source.generation);
    say_not_used(&m->source);
    int status = open_from(m, &m->source, o, d, err);
    if (!m->llm.frozen) weights_close(&m->source);
    if (status) {
        model_io_close(m);
        return -1;
    }
    const ModelConfig *c = &m->llm.config;
    log_info("model %s: %d layers, width %d, vocabulary %d, %d thought%s%s, %s", m->path, c->L, c->D, c->V, c->thoughts,
             c->thoughts == 1 ? "" : "s", m->style.bos_id >= 0 ? ", BOS" : "", ops_description(m->ops));
    return 0;
}

void model_io_close(OpenModel *m) {
    if (m->llm.ops) llm_free(&m->llm);
    if (m->ops) ops_close(m->ops);
    weights_close(&m->source);
    if (m->tokenizer) tokenizer_close(m->tokenizer);
    json_decref(m->tokenizer_config), json_decref(m->items), json_decref(m->generation);
    free(m->category), free(m->path);
    *m = (OpenModel){0};
}

// ---- save -----------------------------------------------------------------------------------------------------------------

int model_io_save(const OpenModel *m, const char *folder, TensorType type, Err *err) {
    if (file_make_folder(folder, err)) return -1;
    if (m->items) return sasrec_model_save(m, folder, type, err);
    if (weights_save(&m->llm, folder, type, m->generation, err)) return -1;
    return tokenizer_files_save(m->tokenizer, m->tokenizer_config, m->llm.config.family, m->style.bos_id, m->style.eos_id,
                                folder, err);
}
