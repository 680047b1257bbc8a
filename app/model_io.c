// Opening and saving a model with its tokenizer. See model_io.h; the rules are those of the method's section 1.
#include "app/model_io.h"
#include "app/item_tokens.h"
#include "app/sasrec_model.h"
#include "base/arena.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/utf8.h"
#include "model/adapter.h"
#include "model/frozen.h"
#include "report/card.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENIZER_CONFIG_BYTES = 16 << 20, TEMPLATE_BYTES = 1 << 20, RUN_BYTES = 16 << 20 };

// ---- the vocabulary of a GGUF ---------------------------------------------------------------------------------------------

// The value of `key`, an array of `element`s. NULL with err.
static const GgufValue *gguf_list(const Gguf *g, const char *key, GgufType element, Err *err) {
    const GgufValue *v = gguf_find(g, key);
    if (!v)
        err_set(err, ERR_DATA, "%s: key %s is missing", g->file.path, key);
    else if (v->type != GGUF_ARRAY || v->element != element)
        err_set(err, ERR_DATA, "%s: key %s is not an array of %s", g->file.path, key,
                element == GGUF_STRING ? "strings"
                : element == GGUF_F32  ? "32-bit floats"
                                       : "32-bit integers");
    else
        return v;
    return NULL;
}

static void gguf_texts(const GgufValue *v, const char ***text, size_t **len) {
    *text = mem_alloc(v->count, sizeof **text);
    *len = mem_alloc(v->count, sizeof **len);
    for (size_t i = 0; i < v->count; i++) {
        GgufString s = gguf_array_string(v, i);
        (*text)[i] = s.data;
        (*len)[i] = s.len;
    }
}

// 1: SentencePiece's pieces with scores ("llama"); 0: byte-level BPE ("gpt2").
static int gguf_has_pieces(const Gguf *g, Err *err) {
    GgufString model;
    if (gguf_string(g, "tokenizer.ggml.model", &model, err)) return -1;
    if (model.len == 4 && !memcmp(model.data, "gpt2", 4)) return 0;
    if (model.len == 5 && !memcmp(model.data, "llama", 5)) return 1;
    return err_set(err, ERR_DATA,
                   "%s: tokenizer '%.*s' is not supported, only BPE, byte-level ('gpt2') or SentencePiece's ('llama')",
                   g->file.path, model.len < 40 ? (int)model.len : 40, model.data);
}

// A list beside the tokens, one entry for each.
static int gguf_beside(const GgufValue **list, const Gguf *g, const char *key, GgufType element, size_t tokens, Err *err) {
    *list = gguf_list(g, key, element, err);
    if (!*list) return -1;
    if ((*list)->count == tokens) return 0;
    return err_set(err, ERR_DATA, "%s: %s has %zu entries for %zu tokens", g->file.path, key, (*list)->count, tokens);
}

typedef struct GgufPieces {
    TokenizerPieces p;
    const char **token, **merge;
    size_t *token_len, *merge_len;
    int32_t *kind;
    float *score;
    char *pre;
} GgufPieces;

static void gguf_pieces_free(GgufPieces *x) {
    free(x->token), free(x->token_len), free(x->merge), free(x->merge_len), free(x->kind), free(x->score), free(x->pre);
}

static int gguf_pieces(GgufPieces *x, const Gguf *g, Err *err) {
    const int scored = gguf_has_pieces(g, err);
    const GgufValue *tokens = scored < 0 ? NULL : gguf_list(g, "tokenizer.ggml.tokens", GGUF_STRING, err);
    if (!tokens) return -1;
    static const char kinds_key[] = "tokenizer.ggml.token_type";
    const GgufValue *merges = NULL, *kinds = NULL, *scores = NULL;
    if (scored && gguf_beside(&scores, g, "tokenizer.ggml.scores", GGUF_F32, tokens->count, err)) return -1;
    if (!scored && !(merges = gguf_list(g, "tokenizer.ggml.merges", GGUF_STRING, err))) return -1;
    if (gguf_find(g, kinds_key) && gguf_beside(&kinds, g, kinds_key, GGUF_I32, tokens->count, err)) return -1;
    gguf_texts(tokens, &x->token, &x->token_len);
    if (merges) gguf_texts(merges, &x->merge, &x->merge_len);
    if (kinds) x->kind = mem_alloc(kinds->count, sizeof *x->kind);
    for (size_t i = 0; kinds && i < kinds->count; i++) x->kind[i] = (int32_t)gguf_array_int(kinds, i);
    if (scores) x->score = mem_alloc(scores->count, sizeof *x->score);
    for (size_t i = 0; scores && i < scores->count; i++) x->score[i] = gguf_array_f32(scores, i);
    GgufString pre;
    if (config_gguf_pre(g, &pre, err)) return -1;
    x->pre = mem_strndup(pre.data, pre.len);
    int prefix = 1;
    if (gguf_find(g, "tokenizer.ggml.add_space_prefix") && gguf_bool(g, "tokenizer.ggml.add_space_prefix", &prefix, err))
        return -1;
    x->p = (TokenizerPieces){.n_tokens = tokens->count,
                             .n_merges = merges ? merges->count : 0,
                             .token = x->token,
                             .token_len = x->token_len,
                             .merge = x->merge,
                             .merge_len = x->merge_len,
                             .kind = x->kind,
                             .score = x->score,
                             .no_prefix = !prefix,
                             .pre_tokenizer = x->pre};
    return 0;
}

static int gguf_tokenizer(Tokenizer **t, const Gguf *g, Err *err) {
    GgufPieces x = {0};
    int status = gguf_pieces(&x, g, err);
    if (status == 0) status = tokenizer_from_pieces(t, &x.p, g->file.path, err);
    gguf_pieces_free(&x);
    return status;
}

static int folder_tokenizer(Tokenizer **t, const char *folder, Err *err) {
    const char *other = file_exists_in(folder, "tokenizer.model") ? "tokenizer.model"
                        : file_exists_in(folder, "vocab.json")    ? "vocab.json"
                                                                  : NULL;
    char *path = file_join(folder, "tokenizer.json");
    int status =
        other && !file_exists(path)
            ? err_set(err, ERR_IO,
                      "%s: no tokenizer.json, and %s is not read; load the folder with transformers' AutoTokenizer and "
                      "save_pretrained() it, which writes tokenizer.json",
                      folder, other)
            : tokenizer_open(t, path, err);
    free(path);
    return status;
}

// ---- tokenizer_config.json ------------------------------------------------------------------------------------------------

// A string, or an object with "content"; NULL where absent, null or empty.
static const char *text_of(const json_t *token) {
    if (json_is_object(token)) token = json_object_get(token, "content");
    return json_string_length(token) ? json_string_value(token) : NULL;
}

// "bos_token" and the like.
static const char *token_text(const json_t *config, const char *key) {
    return text_of(json_object_get(config, key));
}

static void set_token(json_t *config, const char *key, const char *text) {
    json_object_set_new(config, key, text ? json_string(text) : json_null());
}

// chat_template.jinja, where there is one, counts instead of the template in tokenizer_config.json.
static int read_chat_template(json_t *config, const char *folder, Err *err) {
    char *path = file_join(folder, "chat_template.jinja");
    int status = 0;
    MapFile f;
    if (file_exists(path) && (status = mapfile_open(&f, path, TEMPLATE_BYTES, err)) == 0) {
        json_t *text = json_stringn(f.data, f.bytes);
        if (text)
            json_object_set_new(config, "chat_template", text);
        else
            status = err_set(err, ERR_DATA, "%s: no UTF-8 at byte %zu", path, utf8_check(f.data, f.bytes));
        mapfile_close(&f);
    }
    free(path);
    return status;
}

// An empty one where the folder has no such file; NULL: an error.
static json_t *read_object(const char *folder, const char *name, Err *err) {
    char *path = file_join(folder, name);
    json_t *object;
    int status = json_read_optional(&object, path, TOKENIZER_CONFIG_BYTES, err);
    if (status == 0 && !object) object = json_object();
    if (status == 0 && !json_is_object(object)) status = err_set(err, ERR_DATA, "%s: not an object", path);
    free(path);
    if (status == 0) return object;
    json_decref(object);
    return NULL;
}

// What older folders say of their tokens beside tokenizer_config.json; transformers takes it where that lists no tokens itself.
static int read_special_tokens(json_t *config, const char *folder, Err *err) {
    if (json_object_get(config, "added_tokens_decoder")) return 0;
    json_t *map = read_object(folder, "special_tokens_map.json", err);
    if (!map) return -1;
    json_object_update(config, map);
    json_decref(map);
    return 0;
}

static json_t *folder_tokenizer_config(const char *folder, Err *err) {
    json_t *config = read_object(folder, "tokenizer_config.json", err);
    if (!config || (read_special_tokens(config, folder, err) == 0 && read_chat_template(config, folder, err) == 0))
        return config;
    json_decref(config);
    return NULL;
}

// What a folder's tokenizer_config.json says, or what a GGUF's metadata says in the same words. An empty object where the
// folder has none.
static json_t *read_tokenizer_config(const WeightsSource *s, const Tokenizer *t, Err *err) {
    if (!s->is_gguf) return folder_tokenizer_config(s->path, err);
    json_t *config = json_pack("{s:b, s:i}", "clean_up_tokenization_spaces", 0, "model_max_length", s->config.max_positions);
    GgufString template;
    int64_t padding = -1;
    if (gguf_string(&s->gguf, "tokenizer.chat_template", &template, NULL) == 0)
        json_object_set_new(config, "chat_template", json_stringn(template.data, template.len));
    if (s->config.eos_id >= 0) set_token(config, "eos_token", tokenizer_token(t, s->config.eos_id));
    if (gguf_int(&s->gguf, "tokenizer.ggml.padding_token_id", &padding, NULL) == 0 && padding >= 0 &&
        padding < tokenizer_size(t))
        set_token(config, "pad_token", tokenizer_token(t, (int)padding));
    return config;
}

static void list_token(json_t *decoder, int id, const char *text, int special) {
    char number[16];
    snprintf(number, sizeof number, "%d", id);
    json_object_set_new(decoder, number,
                        json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", text, "lstrip", 0, "normalized", 0, "rstrip", 0,
                                  "single_word", 0, "special", special));
}

// The pieces of index texts in the list that transformers keeps beside tokenizer.json: where there is one, some of its
// tokenizers (Qwen2's) know no added tokens but those.
static void announce_pieces(json_t *config, const Tokenizer *t) {
    json_t *decoder = json_object_get(config, "added_tokens_decoder");
    for (int id = 0; id < tokenizer_size(t) && json_is_object(decoder); id++) {
        char number[16];
        const char *text = tokenizer_token(t, id);
        snprintf(number, sizeof number, "%d", id);
        const char *listed = json_string_value(json_object_get(json_object_get(decoder, number), "content"));
        if (!text || tokenizer_text_token(t, text, strlen(text)) < 0 || (listed && !strcmp(listed, text))) continue;
        list_token(decoder, id, text, 0);
    }
}

// <|Thought|> in the lists that transformers keeps beside tokenizer.json; transformers 5 calls that of the special tokens
// "extra_special_tokens", which of transformers 4 is an object.
static void announce_thought(json_t *config, int id) {
    const char *list =
        json_is_array(json_object_get(config, "extra_special_tokens")) ? "extra_special_tokens" : "additional_special_tokens";
    json_t *decoder = json_object_get(config, "added_tokens_decoder"), *special = json_object_get(config, list);
    const char *key;
    void *next;
    json_t *entry;
    json_object_foreach_safe(decoder, next, key, entry) { // it may have had another id
        const char *content = json_string_value(json_object_get(entry, "content"));
        if (content && !strcmp(content, PROMPT_THOUGHT_TOKEN)) json_object_del(decoder, key);
    }
    if (json_is_object(decoder)) list_token(decoder, id, PROMPT_THOUGHT_TOKEN, 1);
    if (!json_is_array(special)) {
        special = json_array();
        json_object_set_new(config, list, special);
    }
    size_t i;
    json_t *v;
    json_array_foreach(special, i, v) if (json_is_string(v) && !strcmp(json_string_value(v), PROMPT_THOUGHT_TOKEN)) return;
    json_array_append_new(special, json_string(PROMPT_THOUGHT_TOKEN));
}

// ---- open -----------------------------------------------------------------------------------------------------------------

static int token_id(const OpenModel *m, const char *key, int otherwise, int *id, Err *err) {
    const char *text = token_text(m->tokenizer_config, key);
    *id = text ? tokenizer_id(m->tokenizer, text) : otherwise;
    if (text && *id < 0)
        return err_set(err, ERR_DATA, "%s: %s '%.60s' of tokenizer_config.json is not in the vocabulary", m->path, key, text);
    if (*id >= 0 && !tokenizer_token(m->tokenizer, *id))
        return err_set(err, ERR_DATA, "%s: %s %d is not in the vocabulary", m->path, key, *id);
    return 0;
}

// Of the family: "GPT2Tokenizer" and "GPT2TokenizerFast" are one.
static int is_class(const json_t *config, const char *family) {
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    return class && !strncmp(class, family, strlen(family));
}

static int adds_blank(const Tokenizer *t) { // in front of a text
    Ints bare = {0}, blank = {0};
    const int status = tokenizer_encode(t, &bare, "a", 1, 0, NULL) || tokenizer_encode(t, &blank, " a", 2, 0, NULL),
              same = !status && bare.len == blank.len && !memcmp(bare.data, blank.data, bare.len * sizeof *bare.data);
    ints_free(&bare), ints_free(&blank);
    return same;
}

// transformers takes add_prefix_space from tokenizer_config.json rather than from tokenizer.json in some classes.
static int check_prefix(const OpenModel *m, Err *err) {
    const json_t *adds = json_object_get(m->tokenizer_config, "add_prefix_space");
    const int follows = is_class(m->tokenizer_config, "GPT2Tokenizer") ||
                        (is_class(m->tokenizer_config, "Qwen2Tokenizer") && json_is_boolean(adds));
    if (!follows || json_is_true(adds) == adds_blank(m->tokenizer)) return 0;
    return err_set(err, ERR_DATA, "%s: \"add_prefix_space\" is %s in tokenizer_config.json, and not so in tokenizer.json",
                   m->path, json_is_boolean(adds) ? json_is_true(adds) ? "true" : "false" : "missing, which is false,");
}

static int check_named_token(const OpenModel *m, const char *key, const json_t *token, Err *err) {
    const char *text = text_of(token);
    if (!text || !strcmp(text, PROMPT_THOUGHT_TOKEN) || tokenizer_id(m->tokenizer, text) >= 0) return 0;
    return err_set(err, ERR_DATA, "%s: %s '%.60s' of tokenizer_config.json is not in the vocabulary", m->path, key, text);
}

static int check_named_tokens(const OpenModel *m, Err *err) {
    static const char *const single[] = {"pad_token", "unk_token", "sep_token", "cls_token", "mask_token"},
                             *const several[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (check_named_token(m, single[i], json_object_get(m->tokenizer_config, single[i]), err)) return -1;
    for (size_t i = 0; i < sizeof several / sizeof *several; i++) {
        json_t *tokens = json_object_get(m->tokenizer_config, several[i]), *token; // a list, or in some versions named ones
        const char *name;
        size_t k;
        json_array_foreach(tokens, k, token) if (check_named_token(m, several[i], token, err)) return -1;
        json_object_foreach(tokens, name, token) if (check_named_token(m, several[i], token, err)) return -1;
    }
    return 0;
}

// Tokens that stand in tokenizer_config.json alone: transformers adds them, and <|Thought|> would get their ids. That one may
// be listed under any id: it has no row, and is listed anew.
static int check_listed_tokens(const OpenModel *m, Err *err) {
    static const char remedy[] = "load the folder with transformers and save_pretrained() it, which writes tokenizer.json anew";
    const char *key;
    json_t *entry;
    json_object_foreach(json_object_get(m->tokenizer_config, "added_tokens_decoder"), key, entry) {
        const char *text = json_string_value(json_object_get(entry, "content"));
        const int id = text ? tokenizer_id(m->tokenizer, text) : -1;
        char number[16];
        snprintf(number, sizeof number, "%d", id);
        if ((id >= 0 && !strcmp(key, number)) || (text && !strcmp(text, PROMPT_THOUGHT_TOKEN))) continue;
        return err_set(err, ERR_DATA, "%s: token '%.60s' of tokenizer_config.json, id %.20s, is not so in tokenizer.json: %s",
                       m->path, text ? text : "", key, remedy);
    }
    return check_prefix(m, err) || check_named_tokens(m, err) ? -1 : 0;
}

// As models are opened: what they would refuse is refused.
static int checked_tokenizer(Tokenizer **t, const char *folder, Err *err) {
    if (folder_tokenizer(t, folder, err)) return -1;
    const OpenModel m = {.path = (char *)folder, .tokenizer = *t, .tokenizer_config = folder_tokenizer_config(folder, err)};
    const int status = m.tokenizer_config ? check_listed_tokens(&m, err) : -1;
    json_decref(m.tokenizer_config);
    if (status) tokenizer_close(*t), *t = NULL;
    return status;
}

int model_io_tokenizer(Tokenizer **t, const char *path, Err *err) {
    if (file_is_folder(path)) return checked_tokenizer(t, path, err);
    if (file_ends_with(path, ".json")) return tokenizer_open(t, path, err);
    Gguf g;
    if (gguf_open(&g, path, err)) return -1;
    int status = gguf_tokenizer(t, &g, err);
    gguf_close(&g);
    return status;
}

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
    if (token_id(m, "bos_token", c->bos_id, &bos, err) || token_id(m, "eos_token", c->eos_id, &eos, err)) return -1;
    if (use < 0) use = token_text(m->tokenizer_config, "bos_token") != NULL;
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
    announce_thought(m->tokenizer_config, id);
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
    int status = s->is_gguf ? gguf_tokenizer(&m->tokenizer, &s->gguf, err) : folder_tokenizer(&m->tokenizer, s->path, err);
    if (status) return -1;
    if (tokenizer_size(m->tokenizer) > c.V)
        return err_set(err, ERR_DATA, "%s: the tokenizer has %d ids, the embedding %d rows", m->path,
                       tokenizer_size(m->tokenizer), c.V);
    m->tokenizer_config = read_tokenizer_config(s, m->tokenizer, err);
    if (!m->tokenizer_config || check_listed_tokens(m, err) || choose_category(m, &c, d, err) || choose_item_text(&c, o, err))
        return -1;
    if (choose_style(m, &c, o, err) || choose_thoughts(&c, s, o, err) || choose_adapters(&c, o, err)) return -1;
    ItemTokens added = {0};
    if (c.item_text && d && item_tokens_add(&added, m->tokenizer, &d->items, o->command->bit == CMD_SFT, m->path, err))
        return -1;
    if (c.item_text && d) announce_pieces(m->tokenizer_config, m->tokenizer);
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

static int save_json(const char *folder, const char *name, json_t *value, Err *err) {
    char *path = file_join(folder, name);
    int status = json_save(path, value, err);
    free(path);
    json_decref(value);
    return status;
}

// bos_token stands there only where prompts begin with it: others read the rule from its presence, as we do.
static json_t *final_tokenizer_config(const OpenModel *m) {
    json_t *config = json_deep_copy(m->tokenizer_config);
    set_token(config, "bos_token", m->style.bos_id >= 0 ? tokenizer_token(m->tokenizer, m->style.bos_id) : NULL);
    if (m->style.eos_id >= 0) set_token(config, "eos_token", tokenizer_token(m->tokenizer, m->style.eos_id));
    if (!token_text(config, "pad_token")) set_token(config, "pad_token", token_text(config, "eos_token"));
    // Under these transformers 5 makes tokenizers of its own: the first splits text behind added tokens otherwise, the second
    // does not split digits as SmolLM2's does.
    if (!json_is_string(json_object_get(config, "tokenizer_class")) || is_class(config, "LlamaTokenizer") ||
        is_class(config, "GPT2Tokenizer"))
        json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    return config;
}

static json_t *special_tokens_map(const json_t *config) {
    static const char *const key[] = {"bos_token", "eos_token", "pad_token"};
    json_t *map = json_object(), *special = json_object_get(config, "additional_special_tokens");
    for (int i = 0; i < 3; i++)
        if (token_text(config, key[i])) set_token(map, key[i], token_text(config, key[i]));
    if (json_is_array(special)) json_object_set(map, "additional_special_tokens", special);
    return map;
}

int model_io_save(const OpenModel *m, const char *folder, TensorType type, Err *err) {
    if (file_make_folder(folder, err)) return -1;
    if (m->items) return sasrec_model_save(m, folder, type, err);
    static const char *const older[] = {"chat_template.jinja"}; // ours stands in tokenizer_config.json, and would not count
    if (file_remove_all(folder, older, 1, err)) return -1;
    if (weights_save(&m->llm, folder, type, m->generation, err)) return -1;
    char *path = file_join(folder, "tokenizer.json");
    int status = tokenizer_save(m->tokenizer, path, err);
    free(path);
    if (status) return -1;
    json_t *config = final_tokenizer_config(m);
    status = save_json(folder, "special_tokens_map.json", special_tokens_map(config), err);
    if (status) {
        json_decref(config);
        return -1;
    }
    return save_json(folder, "tokenizer_config.json", config, err);
}
