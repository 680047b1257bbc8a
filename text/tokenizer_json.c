// tokenizer.json, read and written. Whatever would change ids and is not done here is refused by its name.
#include "base/arena.h"
#include "base/file.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENIZER_FILE_LIMIT = 64 << 20, TOKENIZER_VALUES_LIMIT = 4 << 20 };

static const char *type_of(const json_t *node) {
    const char *type = json_string_value(json_object_get(node, "type"));
    return type ? type : "(no type)";
}

static int is_set(const json_t *node) {
    return node && !json_is_null(node);
}

// A member that must be there and be a boolean.
static int get_flag(const json_t *node, const char *key, int *flag, Err *err) {
    const json_t *value = json_object_get(node, key);
    if (!json_is_boolean(value)) return err_set(err, ERR_DATA, "\"%s\" is not true or false", key);
    *flag = json_is_true(value);
    return 0;
}

// The steps of a "Sequence" are under `key`; any other node is its own only step.
static size_t step_count(const json_t *node, const char *key) {
    return strcmp(type_of(node), "Sequence") == 0 ? json_array_size(json_object_get(node, key)) : 1;
}

static const json_t *step_at(const json_t *node, const char *key, size_t i) {
    return strcmp(type_of(node), "Sequence") == 0 ? json_array_get(json_object_get(node, key), i) : node;
}

// A short text without NUL.
static int get_text(char *text, const json_t *value, int may_be_empty, size_t limit, Err *err) {
    const size_t len = json_string_length(value);
    if (!json_is_string(value) || len != strlen(json_string_value(value)) || len > limit || (len == 0 && !may_be_empty))
        return err_set(err, ERR_DATA, "not a text of at most %zu bytes", limit);
    memcpy(text, json_string_value(value), len + 1);
    return 0;
}

// {"pattern": {"String": from}, "content": to}
static int read_replace(NormalizeStep *step, const json_t *node, Err *err) {
    const json_t *pattern = json_object_get(node, "pattern"), *from = json_object_get(pattern, "String");
    step->kind = NORMALIZE_REPLACE;
    if (!from) return err_set(err, ERR_DATA, "\"pattern\" is not {\"String\": text}");
    if (get_text(step->from, from, 0, NORMALIZE_BYTES_LIMIT, err)) return err_prefix(err, "\"pattern\"");
    if (get_text(step->to, json_object_get(node, "content"), 1, NORMALIZE_BYTES_LIMIT, err))
        return err_prefix(err, "\"content\"");
    if (strlen(step->to) > NORMALIZE_GROWTH * strlen(step->from))
        return err_set(err, ERR_DATA, "\"content\" is over %d times as long as \"pattern\"", NORMALIZE_GROWTH);
    return 0;
}

static int read_normalizer(Tokenizer *t, const json_t *node, Err *err) {
    static const char key[] = "normalizers";
    if (!is_set(node)) return 0;
    if (strcmp(type_of(node), "Sequence") == 0 && !json_is_array(json_object_get(node, key)))
        return err_set(err, ERR_DATA, "normalizer: \"normalizers\" is not a list");
    if (step_count(node, key) > NORMALIZE_STEPS_LIMIT)
        return err_set(err, ERR_DATA, "normalizer: %zu steps, more than the limit of %d", step_count(node, key),
                       NORMALIZE_STEPS_LIMIT);
    for (size_t i = 0; i < step_count(node, key); i++) {
        const json_t *at = step_at(node, key, i);
        const char *type = type_of(at);
        NormalizeStep *step = &t->normalizer.step[t->normalizer.n++];
        int status = 0;
        if (strcmp(type, "NFC") == 0) {
            step->kind = NORMALIZE_NFC;
        } else if (strcmp(type, "Prepend") == 0) {
            step->kind = NORMALIZE_PREPEND;
            status = get_text(step->to, json_object_get(at, "prepend"), 1, NORMALIZE_BYTES_LIMIT, err);
            if (status == 0 && !*step->to) status = err_set(err, ERR_DATA, "\"prepend\" is empty");
        } else if (strcmp(type, "Replace") == 0) {
            status = read_replace(step, at, err);
        } else {
            return err_set(err, ERR_DATA, "normalizer \"%.60s\" is not supported", type);
        }
        if (status) return err_prefix(err, "normalizer step %zu, \"%s\"", i, type);
    }
    return 0;
}

static int read_split(PreStep *step, const json_t *node, Err *err) {
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const json_t *pattern = json_object_get(node, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"), *literal = json_object_get(pattern, "String");
    const json_t *source = regex ? regex : literal;
    const char *behavior = json_string_value(json_object_get(node, "behavior"));
    if (!json_is_string(source) || json_object_size(pattern) != 1)
        return err_set(err, ERR_DATA, "\"pattern\" is neither {\"Regex\": text} nor {\"String\": text}");
    size_t i = 0;
    while (i < 5 && (!behavior || strcmp(behavior, behaviors[i]))) i++;
    if (i == 5) return err_set(err, ERR_DATA, "behavior \"%.60s\" is not supported", behavior ? behavior : "(none)");
    step->behavior = (PreBehavior)i;
    if (get_flag(node, "invert", &step->invert, err)) return -1;
    return pattern_compile(&step->pattern, json_string_value(source), json_string_length(source), !regex, err);
}

static int read_digits(PreStep *step, const json_t *node, Err *err) {
    int individual = 0;
    if (get_flag(node, "individual_digits", &individual, err)) return -1;
    step->behavior = individual ? PRE_ISOLATED : PRE_CONTIGUOUS;
    return pattern_digits(&step->pattern, err);
}

static int read_byte_level(PreStep *step, const json_t *node, Err *err) {
    int use_regex = 1, prefix = 0;
    if (get_flag(node, "add_prefix_space", &prefix, err)) return -1;
    step->prefix = prefix ? PRE_PREFIX_ALWAYS : PRE_PREFIX_NEVER;
    if (json_object_get(node, "use_regex") && get_flag(node, "use_regex", &use_regex, err)) return -1;
    return use_regex ? pretokenize_gpt2(&step->pattern, err) : 0;
}

// Files of before "prepend_scheme" say "add_prefix_space".
static int read_scheme(PrePrefix *prefix, const json_t *node, Err *err) {
    static const char *const schemes[] = {"never", "first", "always"}; // in the order of PRE_PREFIX_*
    const json_t *value = json_object_get(node, "prepend_scheme"), *old = json_object_get(node, "add_prefix_space");
    const char *scheme = json_string_value(value);
    int adds = 1, i = value ? 0 : PRE_PREFIX_ALWAYS;
    if (is_set(old) && get_flag(node, "add_prefix_space", &adds, err)) return -1;
    while (value && i < 3 && (!scheme || strcmp(scheme, schemes[i]))) i++;
    if (i == 3) return err_set(err, ERR_DATA, "prepend_scheme \"%.60s\" is not supported", scheme ? scheme : "(none)");
    if (!adds && value && i != PRE_PREFIX_NEVER)
        return err_set(err, ERR_DATA, "\"add_prefix_space\" contradicts \"prepend_scheme\"");
    *prefix = adds ? (PrePrefix)i : PRE_PREFIX_NEVER;
    return 0;
}

static int read_metaspace(PreStep *step, const json_t *node, Err *err) {
    int splits = 1;
    if (get_text(step->blank, json_object_get(node, "replacement"), 0, 4, err) ||
        utf8_count(step->blank, strlen(step->blank)) != 1)
        return err_set(err, ERR_DATA, "\"replacement\" is not one character");
    if (read_scheme(&step->prefix, node, err)) return -1;
    if (json_object_get(node, "split") && get_flag(node, "split", &splits, err)) return -1;
    step->behavior = PRE_MERGED_WITH_NEXT;
    return splits ? pattern_compile(&step->pattern, step->blank, strlen(step->blank), 1, err) : 0;
}

// Without the step "ByteLevel" symbols are characters: SentencePiece's way, alone or behind "Metaspace".
static int read_pre_tokenizer(Tokenizer *t, const json_t *node, Err *err) {
    static const char key[] = "pretokenizers";
    size_t n = is_set(node) ? step_count(node, key) : 0;
    t->bpe.characters = n == 0 || (n == 1 && strcmp(type_of(step_at(node, key, 0)), "Metaspace") == 0);
    if (t->bpe.characters && n == 0) return 0;
    if (n > PRE_STEPS_LIMIT)
        return err_set(err, ERR_DATA, "pre_tokenizer: %zu steps, more than the limit of %d", n, PRE_STEPS_LIMIT);
    for (size_t i = 0; i < n; i++) {
        const json_t *at = step_at(node, key, i);
        const char *type = type_of(at);
        PreStep *step = &t->pre.step[t->pre.n++];
        int status, is_last = strcmp(type, "ByteLevel") == 0 || t->bpe.characters;
        if (t->bpe.characters)
            status = read_metaspace(step, at, err);
        else if (is_last)
            status = read_byte_level(step, at, err);
        else if (strcmp(type, "Split") == 0)
            status = read_split(step, at, err);
        else if (strcmp(type, "Digits") == 0)
            status = read_digits(step, at, err);
        else
            return err_set(err, ERR_DATA, "pre_tokenizer \"%.60s\" is not supported", type);
        if (status) return err_prefix(err, "pre_tokenizer step %zu, \"%s\"", i, type);
        if (is_last != (i + 1 == n))
            return err_set(err, ERR_DATA, "pre_tokenizer: the last step, and no other, must be \"ByteLevel\"");
    }
    return 0;
}

static int read_strip(Tokenizer *t, const json_t *node, Err *err) {
    const char *content = json_string_value(json_object_get(node, "content"));
    const json_int_t start = json_integer_value(json_object_get(node, "start")),
                     stop = json_integer_value(json_object_get(node, "stop"));
    if (!content || strcmp(content, " ") || start < 0 || start > 1 || stop != 0)
        return err_set(err, ERR_DATA, "more than a blank at the beginning is not supported");
    t->strips_blank = start == 1;
    return 0;
}

// A byte-level token says itself what it stands for; of characters the blanks must be named.
static int read_decoder(Tokenizer *t, const json_t *node, Err *err) {
    if (!is_set(node)) return 0; // nothing was said about text, so nothing is contradicted
    for (size_t i = 0; i < step_count(node, "decoders"); i++) {
        const json_t *at = step_at(node, "decoders", i);
        const char *type = type_of(at);
        int status = 0;
        if (!t->bpe.characters && strcmp(type, "ByteLevel") == 0) continue;
        if (!t->bpe.characters || strcmp(type, "ByteLevel") == 0)
            return err_set(err, ERR_DATA, "decoder \"%.60s\" is not supported with this pre_tokenizer", type);
        if (strcmp(type, "Replace") == 0 && t->blanks.n < NORMALIZE_STEPS_LIMIT)
            status = read_replace(&t->blanks.step[t->blanks.n++], at, err);
        else if (strcmp(type, "Strip") == 0)
            status = read_strip(t, at, err);
        else if (strcmp(type, "ByteFallback") && strcmp(type, "Fuse"))
            return err_set(err, ERR_DATA, "decoder \"%.60s\" is not supported", type);
        if (status) return err_prefix(err, "decoder step %zu, \"%s\"", i, type);
    }
    return 0;
}

// Truncation and padding belong to a call, not to the ids of a text: they are kept for others, and must make sense.
static int check_truncation(const json_t *node, Err *err) {
    if (!is_set(node)) return 0;
    const json_t *most = json_object_get(node, "max_length"), *stride = json_object_get(node, "stride");
    if (!json_is_integer(most) || !json_is_integer(stride) || json_integer_value(stride) < 0 ||
        json_integer_value(most) <= json_integer_value(stride))
        return err_set(err, ERR_DATA, "truncation: \"stride\" must be less than \"max_length\", both of them counts");
    return 0;
}

static int check_template(const Tokenizer *t, const json_t *node, Err *err) {
    static const char *const templates[] = {"single", "pair"};
    const json_t *specials = json_object_get(node, "special_tokens"), *piece, *special;
    const char *key;
    for (int k = 0; k < 2; k++) {
        size_t i;
        json_array_foreach(json_object_get(node, templates[k]), i, piece) {
            const json_t *token = json_object_get(piece, "SpecialToken");
            const char *id = json_string_value(json_object_get(token, "id"));
            if (token && (!id || !json_object_get(specials, id)))
                return err_set(err, ERR_DATA,
                               "post_processor: the template names the special token \"%.60s\", which is not listed",
                               id ? id : "(none)");
        }
    }
    json_object_foreach((json_t *)specials, key, special) {
        const json_t *tokens = json_object_get(special, "tokens"), *ids = json_object_get(special, "ids"), *token;
        size_t i;
        if (json_array_size(tokens) != json_array_size(ids))
            return err_set(err, ERR_DATA, "post_processor: special token \"%.60s\" has not as many ids as tokens", key);
        json_array_foreach(tokens, i, token) {
            const json_t *id = json_array_get(ids, i);
            int32_t known =
                json_is_string(token) ? vocab_find(&t->vocab, json_string_value(token), json_string_length(token)) : -1;
            if (known < 0 || !json_is_integer(id) || json_integer_value(id) != known)
                return err_set(err, ERR_DATA, "post_processor: special token \"%.60s\" is absent from the vocabulary", key);
        }
    }
    return 0;
}

// It adds special tokens around a text, which encode never does; here it is only checked.
static int check_post_processor(const Tokenizer *t, const json_t *node, Err *err) {
    static const char *const known[] = {"ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing"};
    for (size_t i = 0; is_set(node) && i < step_count(node, "processors"); i++) {
        const json_t *at = step_at(node, "processors", i);
        int found = 0;
        for (int k = 0; k < 4; k++) found |= strcmp(type_of(at), known[k]) == 0;
        if (!found) return err_set(err, ERR_DATA, "post_processor \"%.60s\" is not supported", type_of(at));
        if (strcmp(type_of(at), "TemplateProcessing") == 0 && check_template(t, at, err)) return -1;
    }
    return 0;
}

static int read_model_options(Tokenizer *t, const json_t *model, Err *err) {
    const json_t *dropout = json_object_get(model, "dropout");
    if (strcmp(type_of(model), "BPE")) return err_set(err, ERR_DATA, "model type \"%.60s\" is not supported", type_of(model));
    if (is_set(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return err_set(err, ERR_DATA, "model: dropout is not supported");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (is_set(affix) && json_string_length(affix) > 0)
            return err_set(err, ERR_DATA, "model: %s is not supported", affixes[i]);
    }
    const struct {
        const char *key;
        int *flag;
    } flags[] = {{"fuse_unk", &t->bpe.fuse_unk}, {"ignore_merges", &t->bpe.ignore_merges}};
    for (int i = 0; i < 2; i++)
        if (is_set(json_object_get(model, flags[i].key)) && get_flag(model, flags[i].key, flags[i].flag, err))
            return err_prefix(err, "model");
    return 0;
}

int tokenizer_read_frame(Tokenizer *t, Err *err) {
    const json_t *version = json_object_get(t->frame, "version");
    if (version && (!json_is_string(version) || strcmp(json_string_value(version), "1.0")))
        return err_set(err, ERR_DATA, "\"version\" is not \"1.0\"");
    json_t *added = json_object_get(t->frame, "added_tokens");
    if (added && !json_is_array(added)) return err_set(err, ERR_DATA, "\"added_tokens\" is not a list");
    if (!added) json_object_set_new(t->frame, "added_tokens", json_array());
    return read_model_options(t, json_object_get(t->frame, "model"), err) ||
                   read_normalizer(t, json_object_get(t->frame, "normalizer"), err) ||
                   read_pre_tokenizer(t, json_object_get(t->frame, "pre_tokenizer"), err) ||
                   read_decoder(t, json_object_get(t->frame, "decoder"), err) ||
                   check_truncation(json_object_get(t->frame, "truncation"), err)
               ? -1
               : 0;
}

static int read_vocab(Tokenizer *t, json_t *vocab, Err *err) {
    const char *token;
    size_t len;
    json_t *value;
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return err_set(err, ERR_DATA, "model.vocab is not an object of ids");
    size_t limit = TOKENIZER_ID_LIMIT(json_object_size(vocab));
    json_object_keylen_foreach(vocab, token, len, value) {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0)
            return err_set(err, ERR_DATA, "model.vocab: the id of \"%.60s\" is not a whole number of at least 0", token);
        if ((size_t)id >= limit)
            return err_set(err, ERR_DATA, "model.vocab: token \"%.60s\" has the id %lld; the limit for %zu tokens is %zu",
                           token, (long long)id, json_object_size(vocab), limit);
        if (vocab_put(&t->vocab, (int32_t)id, token, len, VOCAB_MODEL, err)) return err_prefix(err, "model.vocab");
    }
    t->next_id = t->vocab.count;
    return 0;
}

// "a b"
static int add_legacy_merge(Tokenizer *t, const json_t *merge, Err *err) {
    const char *text = json_string_value(merge), *end = text + json_string_length(merge);
    const char *blank = memchr(text, ' ', (size_t)(end - text));
    if (!blank || memchr(blank + 1, ' ', (size_t)(end - blank - 1)))
        return err_set(err, ERR_DATA, "not two tokens with one blank between");
    return bpe_add_merge(&t->bpe, &t->vocab, text, (size_t)(blank - text), blank + 1, (size_t)(end - blank - 1), err);
}

static int add_pair_merge(Tokenizer *t, const json_t *merge, Err *err) {
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
        return err_set(err, ERR_DATA, "not two tokens");
    return bpe_add_merge(&t->bpe, &t->vocab, json_string_value(left), json_string_length(left), json_string_value(right),
                         json_string_length(right), err);
}

static int read_merges(Tokenizer *t, const json_t *merges, Err *err) {
    if (!json_is_array(merges)) return err_set(err, ERR_DATA, "model.merges is not a list");
    t->merges_as_pairs = json_is_array(json_array_get(merges, 0));
    size_t i;
    const json_t *merge;
    json_array_foreach(merges, i, merge) {
        int status;
        if (t->merges_as_pairs && json_is_array(merge))
            status = add_pair_merge(t, merge, err);
        else if (!t->merges_as_pairs && json_is_string(merge))
            status = strncmp(json_string_value(merge), "#version", 8) ? add_legacy_merge(t, merge, err) : 0;
        else
            status = err_set(err, ERR_DATA, "neither \"a b\" nor [\"a\", \"b\"], or not like the others");
        if (status) return err_prefix(err, "model.merges[%zu]", i);
    }
    return 0;
}

int tokenizer_find_bytes(Tokenizer *t, Err *err) {
    int missing;
    const json_t *model = json_object_get(t->frame, "model"), *unk = json_object_get(model, "unk_token");
    if (t->bpe.characters && !json_is_true(json_object_get(model, "byte_fallback")))
        return err_set(err, ERR_DATA,
                       "neither a byte-level pre_tokenizer nor byte_fallback: such tokenizers are not supported");
    if (bpe_find_bytes(&t->bpe, &t->vocab, &missing, err)) return -1;
    if (missing == 0) return 0; // then nothing is ever unknown
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return err_set(err, ERR_DATA, "model: byte_fallback is not supported where byte tokens are missing (%d are)", missing);
    if (!is_set(unk)) return 0;
    int32_t id = json_is_string(unk) ? vocab_find(&t->vocab, json_string_value(unk), json_string_length(unk)) : -1;
    if (!(vocab_flags(&t->vocab, id) & VOCAB_MODEL)) return err_set(err, ERR_DATA, "model: unk_token is not in the vocabulary");
    t->bpe.unk_id = id;
    return 0;
}

static int read_added_flags(const json_t *entry, int *flags, Err *err) {
    static const char *const names[] = {"special", "single_word", "lstrip", "rstrip", "normalized"};
    *flags = 0;
    for (int k = 0; k < 5; k++) {
        int flag;
        if (get_flag(entry, names[k], &flag, err)) return -1;
        if (flag) *flags |= 1 << k; // the order of ADDED_*
    }
    return 0;
}

// `tokenizers` does not read the id: it takes the model's id of the text or gives the next one. A file that says otherwise
// would have different ids there and here.
static int read_added_token(Tokenizer *t, const json_t *entry, Err *err) {
    const json_t *content = json_object_get(entry, "content"), *id_node = json_object_get(entry, "id");
    const char *text = json_string_value(content);
    size_t len = json_string_length(content);
    int flags;
    if (!text || len == 0) return err_set(err, ERR_DATA, "\"content\" is not a text, or an empty one");
    if (!json_is_integer(id_node)) return err_set(err, ERR_DATA, "\"id\" is not a whole number");
    if (read_added_flags(entry, &flags, err)) return -1;
    int32_t id = vocab_find(&t->vocab, text, len);
    uint32_t known = vocab_flags(&t->vocab, id);
    if (known & VOCAB_ADDED) return err_set(err, ERR_DATA, "\"%.60s\" is listed twice", text);
    size_t expected = known ? (size_t)id : t->next_id;
    if (json_integer_value(id_node) < 0 || (size_t)json_integer_value(id_node) != expected)
        return err_set(err, ERR_DATA, "\"%.60s\" has the id %lld, outside the vocabulary: `tokenizers` would give it %zu", text,
                       (long long)json_integer_value(id_node), expected);
    const uint32_t added = VOCAB_ADDED | (flags & ADDED_SPECIAL ? VOCAB_SPECIAL : 0);
    if (known) {
        t->vocab.token[id].flags |= added;
    } else {
        id = (int32_t)t->next_id++;
        if (vocab_put(&t->vocab, id, text, len, added, err)) return -1;
    }
    if (!(flags & ADDED_NORMALIZED) || len > ADDED_BYTES_LIMIT) return added_put(&t->raw, id, text, len, flags, err);
    Str form = {0};
    int status = normalize_run(&t->normalizer, &form, text, len, err);
    if (status == 0) status = added_put(&t->normalized, id, form.data, form.len, flags, err);
    str_free(&form);
    return status;
}

int tokenizer_read_added(Tokenizer *t, Err *err) {
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(t->frame, "added_tokens"), i, entry) {
        if (read_added_token(t, entry, err)) return err_prefix(err, "added_tokens[%zu]", i);
    }
    return added_sort(&t->raw, err) || added_sort(&t->normalized, err) ? -1 : 0;
}

// Takes the document over.
static int read_document(Tokenizer **out, json_t *doc, Err *err) {
    json_t *model = json_object_get(doc, "model");
    if (!json_is_object(model)) {
        json_decref(doc);
        return err_set(err, ERR_DATA, "not an object with a \"model\"");
    }
    json_t *vocab = json_incref(json_object_get(model, "vocab")), *merges = json_incref(json_object_get(model, "merges"));
    json_object_del(model, "vocab");
    json_object_del(model, "merges");
    Tokenizer *t = tokenizer_new(doc);
    int status = tokenizer_read_frame(t, err);
    if (status == 0) status = read_vocab(t, vocab, err);
    json_decref(vocab);
    if (status == 0) status = tokenizer_find_bytes(t, err);
    if (status == 0) status = read_merges(t, merges, err);
    json_decref(merges);
    if (status == 0) status = tokenizer_read_added(t, err);
    if (status == 0) status = check_post_processor(t, json_object_get(doc, "post_processor"), err);
    if (status == 0)
        *out = t;
    else
        tokenizer_close(t);
    return status;
}

// At least as many as the text has values. In memory one takes up to 136 bytes, in a file as little as three: so they are
// counted before. (A quarter of a million tokens and half a million merges in pairs are two million.)
static size_t most_values(const char *json, size_t bytes) {
    size_t n = 1;
    for (size_t i = 0; i < bytes; i++) n += json[i] == ',' || json[i] == '[' || json[i] == '{';
    return n;
}

int tokenizer_parse(Tokenizer **t, const char *json, size_t bytes, const char *name, Err *err) {
    *t = NULL;
    if (bytes > TOKENIZER_FILE_LIMIT)
        return err_set(err, ERR_DATA, "%s: %zu bytes, more than the limit of %d", name, bytes, TOKENIZER_FILE_LIMIT);
    size_t values = most_values(json, bytes);
    if (values > TOKENIZER_VALUES_LIMIT)
        return err_set(err, ERR_DATA, "%s: %zu JSON values, more than the limit of %d", name, values, TOKENIZER_VALUES_LIMIT);
    json_t *doc = json_parse(json, bytes, name, err);
    if (!doc) return -1;
    return read_document(t, doc, err) ? err_prefix(err, "%s", name) : 0;
}

int tokenizer_open(Tokenizer **t, const char *path, Err *err) {
    MapFile f;
    *t = NULL;
    if (mapfile_open(&f, path, TOKENIZER_FILE_LIMIT, err)) return -1;
    int status = tokenizer_parse(t, f.data, f.bytes, path, err);
    mapfile_close(&f);
    return status;
}

static json_t *vocab_json(const Tokenizer *t) {
    json_t *vocab = json_object();
    for (int32_t id = 0; id < (int32_t)t->vocab.size; id++) {
        size_t len;
        const char *text = vocab_text(&t->vocab, id, &len);
        if (vocab_flags(&t->vocab, id) & VOCAB_MODEL) CHECK(json_object_setn_new(vocab, text, len, json_integer(id)) == 0);
    }
    return vocab;
}

static json_t *merges_json(const Tokenizer *t) {
    json_t *merges = json_array();
    Str both = {0};
    for (size_t i = 0; i < t->bpe.n_merges; i++) {
        const BpeMerge *m = &t->bpe.merge[i];
        size_t left_len, right_len;
        const char *left = vocab_text(&t->vocab, m->left, &left_len), *right = vocab_text(&t->vocab, m->right, &right_len);
        json_t *merge;
        if (t->merges_as_pairs) {
            merge = json_pack("[s%, s%]", left, left_len, right, right_len);
        } else {
            str_clear(&both);
            str_append(&both, left, left_len);
            str_puts(&both, " ");
            str_append(&both, right, right_len);
            merge = json_stringn(both.data, both.len);
        }
        CHECK(merge && json_array_append_new(merges, merge) == 0);
    }
    str_free(&both);
    return merges;
}

int tokenizer_save(const Tokenizer *t, const char *path, Err *err) {
    json_t *doc = json_copy(t->frame), *model = json_copy(json_object_get(t->frame, "model"));
    json_object_set_new(model, "vocab", vocab_json(t));
    json_object_set_new(model, "merges", merges_json(t));
    json_object_set_new(doc, "model", model);
    int status = json_save(path, doc, err);
    json_decref(doc);
    return status;
}
