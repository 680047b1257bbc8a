#include "app/tokenizer_files.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "text/prompt.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENIZER_CONFIG_BYTES = 16 << 20, TEMPLATE_BYTES = 1 << 20 };

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
    char *others = file_join(folder, "additional_chat_templates");
    if (status == 0 && file_is_folder(others)) log_warn("%s: not taken along: the one chat template is", others);
    free(others);
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

static json_t *folder_config(const char *folder, Err *err) {
    json_t *config = read_object(folder, "tokenizer_config.json", err);
    if (!config || (read_special_tokens(config, folder, err) == 0 && read_chat_template(config, folder, err) == 0))
        return config;
    json_decref(config);
    return NULL;
}

// What a GGUF's metadata says in the words of tokenizer_config.json.
static json_t *gguf_config(const WeightsSource *s, const Tokenizer *t) {
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

// ---- what transformers would read otherwise ---------------------------------------------------------------------------------

// Of the family: "GPT2Tokenizer" and "GPT2TokenizerFast" are one.
static int is_class(const json_t *config, const char *family) {
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    return class && !strncmp(class, family, strlen(family));
}

typedef struct Files {
    const char *path; // of the model
    const Tokenizer *tokenizer;
    const json_t *config;
} Files;

// Whether a text has the ids of `a` and then `b`.
static int is_same(const Tokenizer *t, const char *text, const char *a, const char *b) {
    Ints one = {0}, two = {0};
    const int status = tokenizer_encode(t, &one, text, strlen(text), 0, NULL) ||
                       tokenizer_encode(t, &two, a, strlen(a), 0, NULL) || tokenizer_encode(t, &two, b, strlen(b), 0, NULL),
              same = !status && one.len == two.len && !memcmp(one.data, two.data, one.len * sizeof *one.data);
    ints_free(&one), ints_free(&two);
    return same;
}

static int adds_blank(const Tokenizer *t) { // in front of a text
    return is_same(t, "a", " a", "");
}

// Of a model that calls itself Qwen2 transformers 5 takes the vocabulary and the merges, and splits texts as Qwen2's does,
// whatever tokenizer.json and the class say.
static void warn_qwen2(const Files *f) {
    const Tokenizer *t = f->tokenizer;
    const int adds = json_is_true(json_object_get(f->config, "add_prefix_space"));
    const char *own = tokenizer_id(t, "<|endoftext|>") < 0       ? "adds <|endoftext|>"
                      : adds != adds_blank(t)                    ? "has another \"add_prefix_space\""
                      : !is_same(t, "e\xcc\x81", "\xc3\xa9", "") ? "composes letters (NFC)"
                                                                 : NULL;
    for (int i = 0; i < 100; i++) {
        const char two[] = {(char)('0' + i / 10), (char)('0' + i % 10), 0}, one[] = {two[0], 0};
        if (!is_same(t, two, one, two + 1)) own = "splits digits";
    }
    if (own)
        log_warn(
            "%s: tokenizer.json counts here; transformers 5 makes a Qwen2 tokenizer of its own of this vocabulary, which %s: "
            "prompts may have other ids there",
            f->path, own);
}

// transformers takes add_prefix_space from tokenizer_config.json rather than from tokenizer.json in some classes.
static int check_prefix(const Files *f, Err *err) {
    const json_t *adds = json_object_get(f->config, "add_prefix_space");
    const int follows =
        is_class(f->config, "GPT2Tokenizer") || (is_class(f->config, "Qwen2Tokenizer") && json_is_boolean(adds));
    if (!follows || json_is_true(adds) == adds_blank(f->tokenizer)) return 0;
    return err_set(err, ERR_DATA, "%s: \"add_prefix_space\" is %s in tokenizer_config.json, and not so in tokenizer.json",
                   f->path, json_is_boolean(adds) ? json_is_true(adds) ? "true" : "false" : "missing, which is false,");
}

static int check_named_token(const Files *f, const char *key, const json_t *token, Err *err) {
    const char *text = text_of(token);
    if (!text || !strcmp(text, PROMPT_THOUGHT_TOKEN) || tokenizer_id(f->tokenizer, text) >= 0) return 0;
    return err_set(err, ERR_DATA, "%s: %s '%.60s' of tokenizer_config.json is not in the vocabulary", f->path, key, text);
}

// Any "..._token" with a text, and what the lists name. (bos_token and eos_token: tokenizer_files_id.)
static int check_named_tokens(const Files *f, Err *err) {
    static const char *const several[] = {"additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)f->config, key, value) {
        const int elsewhere = !strcmp(key, "bos_token") || !strcmp(key, "eos_token");
        if (file_ends_with(key, "_token") && !elsewhere && check_named_token(f, key, value, err)) return -1;
    }
    for (size_t i = 0; i < sizeof several / sizeof *several; i++) {
        json_t *tokens = json_object_get(f->config, several[i]), *token; // a list, or in some versions named ones
        const char *name;
        size_t k;
        json_array_foreach(tokens, k, token) if (check_named_token(f, several[i], token, err)) return -1;
        json_object_foreach(tokens, name, token) if (check_named_token(f, several[i], token, err)) return -1;
    }
    return 0;
}

// A token that such a list alone has: transformers adds it, and <|Thought|> would get its id. That one may be listed under any
// id: it has no row, and is listed anew.
static int check_listed(const Files *f, const char *list, const char *text, const char *id, Err *err) {
    const int known = text ? tokenizer_id(f->tokenizer, text) : -1;
    char number[16];
    snprintf(number, sizeof number, "%d", known);
    if ((known >= 0 && !strcmp(id, number)) || (text && !strcmp(text, PROMPT_THOUGHT_TOKEN))) return 0;
    return err_set(err, ERR_DATA,
                   "%s: token '%.60s' of %s, id %.20s, is not so in tokenizer.json: load the folder with transformers and "
                   "save_pretrained() it, which writes tokenizer.json anew",
                   f->path, text ? text : "", list, id);
}

// Older folders list tokens in a file of their own, which transformers takes where tokenizer_config.json lists none.
static int check_added(const Files *f, Err *err) {
    json_t *added = read_object(f->path, "added_tokens.json", err), *id;
    const char *text;
    int status = added ? 0 : -1;
    json_object_foreach(added, text, id) {
        char number[24];
        snprintf(number, sizeof number, "%lld", json_is_integer(id) ? (long long)json_integer_value(id) : -1);
        if (status == 0) status = check_listed(f, "added_tokens.json", text, number, err);
    }
    json_decref(added);
    return status;
}

static int check_files(const Files *f, Err *err) {
    const char *id;
    json_t *entry, *decoder = json_object_get(f->config, "added_tokens_decoder");
    json_object_foreach(decoder, id, entry) {
        const char *text = json_string_value(json_object_get(entry, "content"));
        if (check_listed(f, "tokenizer_config.json", text, id, err)) return -1;
    }
    if (!decoder && file_is_folder(f->path) && check_added(f, err)) return -1;
    return check_prefix(f, err) || check_named_tokens(f, err) ? -1 : 0;
}

// ---- open -----------------------------------------------------------------------------------------------------------------

int tokenizer_files_open(Tokenizer **t, json_t **config, const WeightsSource *s, Err *err) {
    *config = NULL;
    if (s->is_gguf ? gguf_tokenizer(t, &s->gguf, err) : folder_tokenizer(t, s->path, err)) return -1;
    *config = s->is_gguf ? gguf_config(s, *t) : folder_config(s->path, err);
    const Files files = {s->path, *t, *config};
    if (*config && check_files(&files, err) == 0) {
        if (!s->is_gguf && s->config.family == FAMILY_QWEN2) warn_qwen2(&files);
        return 0;
    }
    tokenizer_close(*t), json_decref(*config);
    *t = NULL, *config = NULL;
    return -1;
}

// As models are opened: what they would refuse is refused.
static int open_folder(Tokenizer **t, const char *folder, Err *err) {
    const WeightsSource s = {.path = (char *)folder};
    json_t *config;
    if (tokenizer_files_open(t, &config, &s, err)) return -1;
    json_decref(config);
    return 0;
}

int tokenizer_files_tokenizer(Tokenizer **t, const char *path, Err *err) {
    if (file_is_folder(path)) return open_folder(t, path, err);
    if (file_ends_with(path, ".json")) return tokenizer_open(t, path, err);
    Gguf g;
    if (gguf_open(&g, path, err)) return -1;
    int status = gguf_tokenizer(t, &g, err);
    gguf_close(&g);
    return status;
}

int tokenizer_files_id(int *id, const Tokenizer *t, const json_t *config, const char *key, int otherwise, const char *path,
                       Err *err) {
    const char *text = token_text(config, key);
    *id = text ? tokenizer_id(t, text) : otherwise;
    if (text && *id < 0)
        return err_set(err, ERR_DATA, "%s: %s '%.60s' of tokenizer_config.json is not in the vocabulary", path, key, text);
    if (*id >= 0 && !tokenizer_token(t, *id))
        return err_set(err, ERR_DATA, "%s: %s %d is not in the vocabulary", path, key, *id);
    return 0;
}

int tokenizer_files_has_bos(const json_t *config) {
    return token_text(config, "bos_token") != NULL;
}

// ---- tokens that were added -------------------------------------------------------------------------------------------------

static void list_token(json_t *decoder, int id, const char *text, int special) {
    char number[16];
    snprintf(number, sizeof number, "%d", id);
    json_object_set_new(decoder, number,
                        json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", text, "lstrip", 0, "normalized", 0, "rstrip", 0,
                                  "single_word", 0, "special", special));
}

// The pieces of index texts in the list that transformers keeps beside tokenizer.json: where there is one, some of its
// tokenizers (Qwen2's) know no added tokens but those.
void tokenizer_files_announce_pieces(json_t *config, const Tokenizer *t) {
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
void tokenizer_files_announce_thought(json_t *config, int id) {
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

// ---- save -----------------------------------------------------------------------------------------------------------------

// bos_token stands there only where prompts begin with it: others read the rule from its presence, as we do.
static json_t *final_config(const Tokenizer *t, const json_t *of, ModelFamily family, int bos, int eos) {
    json_t *config = json_deep_copy(of);
    set_token(config, "bos_token", bos >= 0 ? tokenizer_token(t, bos) : NULL);
    if (eos >= 0) set_token(config, "eos_token", tokenizer_token(t, eos));
    if (!token_text(config, "pad_token")) set_token(config, "pad_token", token_text(config, "eos_token"));
    // Under other names transformers 5 makes tokenizers of its own, which split digits or text behind added tokens otherwise,
    // or add tokens (LlamaTokenizer, GPT2Tokenizer, Qwen2Tokenizer, CodeLlamaTokenizer). Of a Qwen2 model it does so in any
    // case.
    if (family != FAMILY_QWEN2 || !json_is_string(json_object_get(config, "tokenizer_class")) ||
        is_class(config, "LlamaTokenizer") || is_class(config, "GPT2Tokenizer"))
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

static int save_json(const char *folder, const char *name, json_t *value, Err *err) {
    char *path = file_join(folder, name);
    int status = json_save(path, value, err);
    free(path);
    json_decref(value);
    return status;
}

int tokenizer_files_save(const Tokenizer *t, const json_t *config, ModelFamily family, int bos, int eos, const char *folder,
                         Err *err) {
    static const char *const older[] = {"chat_template.jinja"}; // ours stands in tokenizer_config.json, and would not count
    if (file_remove_all(folder, older, 1, err)) return -1;
    char *path = file_join(folder, "tokenizer.json");
    int status = tokenizer_save(t, path, err);
    free(path);
    if (status) return -1;
    json_t *final = final_config(t, config, family, bos, eos);
    status = save_json(folder, "special_tokens_map.json", special_tokens_map(final), err);
    if (status) {
        json_decref(final);
        return -1;
    }
    return save_json(folder, "tokenizer_config.json", final, err);
}
