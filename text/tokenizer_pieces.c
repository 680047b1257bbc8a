// The vocabulary that a GGUF file carries. GGUF names the pre-tokenizer only; what `tokenizers` does for a model of that name
// is written here in the words of tokenizer.json, so that there is one way to read it and one to write it.
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { KIND_NORMAL = 1, KIND_UNKNOWN = 2, KIND_CONTROL = 3, KIND_USER = 4, KIND_UNUSED = 5 };

#define BYTE_LEVEL(use_regex)                                                                                                  \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": " use_regex "}"
#define SPLIT(digits)                                                                                                          \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "                             \
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits                                           \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, "                                \
    "\"behavior\": \"Isolated\", \"invert\": false}, " BYTE_LEVEL("false") "]}"

static const struct {
    const char *name, *normalizer, *pre_tokenizer;
    int ignore_merges;
} families[] = {
    {"smollm", "null",
     "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": true}, " BYTE_LEVEL(
         "true") "]}",
     0},
    {"qwen2", "{\"type\": \"NFC\"}", SPLIT("\\\\p{N}"), 0},
    {"llama-bpe", "null", SPLIT("\\\\p{N}{1,3}"), 1},
    {"gpt-2", "null", BYTE_LEVEL("true"), 0},
};
enum { FAMILIES = sizeof families / sizeof *families };

static json_t *literal(const char *json) {
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    CHECK(value);
    return value;
}

static json_t *frame_of(int family) {
    return json_pack("{s:s, s:n, s:n, s:[], s:o, s:o, s:n, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b}}", "version", "1.0",
                     "truncation", "padding", "added_tokens", "normalizer", literal(families[family].normalizer),
                     "pre_tokenizer", literal(families[family].pre_tokenizer), "post_processor", "decoder",
                     literal(BYTE_LEVEL("true")), "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", families[family].ignore_merges);
}

static int find_family(const char *name, Err *err) {
    if (!name || !*name || strcmp(name, "default") == 0) {
        log_warn("the vocabulary names no pre-tokenizer; GPT-2's is taken");
        name = "gpt-2";
    }
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(name, families[i].name) == 0) return i;
    return err_set(err, ERR_DATA, "pre-tokenizer \"%.60s\" is not supported", name);
}

static int is_marked(const TokenizerPieces *p, size_t i) {
    int kind = p->kind ? p->kind[i] : KIND_NORMAL;
    return kind == KIND_UNKNOWN || kind == KIND_CONTROL || kind == KIND_USER;
}

static int put_token(Tokenizer *t, const TokenizerPieces *p, size_t i, Err *err) {
    int kind = p->kind ? p->kind[i] : KIND_NORMAL;
    size_t len = p->token_len[i];
    if (kind < KIND_NORMAL || kind > KIND_UNUSED)
        return err_set(err, ERR_DATA, "kind %d does not belong into a byte-level vocabulary", kind);
    if (utf8_check(p->token[i], len) < len) return err_set(err, ERR_DATA, "its text is no UTF-8");
    if (len == 0 && is_marked(p, i)) return err_set(err, ERR_DATA, "its text is empty");
    if (vocab_put(&t->vocab, (int32_t)i, p->token[i], len, VOCAB_MODEL, err)) return -1;
    if (!is_marked(p, i)) return 0;
    json_t *entry = json_pack("{s:i, s:s%, s:b, s:b, s:b, s:b, s:b}", "id", (int)i, "content", p->token[i], len, "single_word",
                              0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", kind != KIND_USER);
    CHECK(entry && json_array_append_new(json_object_get(t->frame, "added_tokens"), entry) == 0);
    return 0;
}

static int put_merge(Tokenizer *t, const char *text, size_t len, Err *err) {
    const char *blank = memchr(text, ' ', len);
    if (!blank) return err_set(err, ERR_DATA, "no blank in it");
    size_t left = (size_t)(blank - text);
    return bpe_add_merge(&t->bpe, &t->vocab, text, left, blank + 1, len - left - 1, err);
}

static int read_pieces(Tokenizer *t, const TokenizerPieces *p, Err *err) {
    size_t n = p->n_tokens; // unused tokens at the end only pad the embedding matrix: the vocabulary ends before them
    while (n > 0 && p->kind && p->kind[n - 1] == KIND_UNUSED) n--;
    if (n == 0 || n > INT32_MAX / 2) return err_set(err, ERR_DATA, "a vocabulary of %zu tokens", n);
    if (tokenizer_read_frame(t, err)) return -1;
    for (size_t i = 0; i < n; i++)
        if (put_token(t, p, i, err)) return err_prefix(err, "token %zu", i);
    t->next_id = t->vocab.count;
    if (tokenizer_find_bytes(t, err)) return -1;
    for (size_t i = 0; i < p->n_merges; i++)
        if (put_merge(t, p->merge[i], p->merge_len[i], err)) return err_prefix(err, "merge %zu", i);
    return tokenizer_read_added(t, err);
}

int tokenizer_from_pieces(Tokenizer **out, const TokenizerPieces *p, const char *name, Err *err) {
    *out = NULL;
    int family = find_family(p->pre_tokenizer, err);
    if (family < 0) return err_prefix(err, "%s", name);
    Tokenizer *t = tokenizer_new(frame_of(family));
    CHECK(t->frame);
    if (read_pieces(t, p, err)) {
        tokenizer_close(t);
        return err_prefix(err, "%s", name);
    }
    *out = t;
    return 0;
}
