// The vocabulary that a GGUF file carries. GGUF names the pre-tokenizer only; what `tokenizers` does for a model of that name
// is written here in the words of tokenizer.json, so that there is one way to read it and one to write it.
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KIND_NORMAL = 1, KIND_UNKNOWN = 2, KIND_CONTROL = 3, KIND_USER = 4, KIND_UNUSED = 5, KIND_BYTE = 6 };
enum {
    PIECE_BYTES = 256,
    PIECE_PAIRS = 16
}; // of SentencePiece's: its trainer makes 16 characters at most; pairs a piece, on average

#define BYTE_LEVEL(use_regex)                                                                                                  \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": " use_regex "}"
#define SPLIT(digits)                                                                                                          \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "                             \
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits                                           \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, "                                \
    "\"behavior\": \"Isolated\", \"invert\": false}, " BYTE_LEVEL("false") "]}"
#define REPLACE(from, to) "{\"type\": \"Replace\", \"pattern\": {\"String\": \"" from "\"}, \"content\": \"" to "\"}"
#define PIECES_DECODER(strip)                                                                                                  \
    "{\"type\": \"Sequence\", \"decoders\": [" REPLACE("▁", " ") ", {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}" strip  \
                                                                 "]}"

typedef struct Family {
    const char *name, *normalizer, *pre_tokenizer, *decoder;
    int ignore_merges, characters;
} Family;

static const Family families[] = {
    {"smollm", "null",
     "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": true}, " BYTE_LEVEL(
         "true") "]}",
     BYTE_LEVEL("true"), 0, 0},
    {"qwen2", "{\"type\": \"NFC\"}", SPLIT("\\\\p{N}"), BYTE_LEVEL("true"), 0, 0},
    {"llama-bpe", "null", SPLIT("\\\\p{N}{1,3}"), BYTE_LEVEL("true"), 1, 0},
    {"gpt-2", "null", BYTE_LEVEL("true"), BYTE_LEVEL("true"), 0, 0},
};
enum { FAMILIES = sizeof families / sizeof *families };

// SentencePiece's, with a blank in front of a text and without one.
static const Family sentencepiece[] = {
    {"", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"▁\"}, " REPLACE(" ", "▁") "]}",
     "null", PIECES_DECODER(", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}"), 0, 1},
    {"", REPLACE(" ", "▁"), "null", PIECES_DECODER(""), 0, 1},
};

static json_t *literal(const char *json) {
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    CHECK(value);
    return value;
}

static json_t *frame_of(const Family *f) {
    return json_pack("{s:s, s:n, s:n, s:[], s:o, s:o, s:n, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b}}", "version", "1.0",
                     "truncation", "padding", "added_tokens", "normalizer", literal(f->normalizer), "pre_tokenizer",
                     literal(f->pre_tokenizer), "post_processor", "decoder", literal(f->decoder), "model", "type", "BPE",
                     "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", f->characters,
                     "byte_fallback", f->characters, "ignore_merges", f->ignore_merges);
}

static const Family *find_family(const TokenizerPieces *p, Err *err) {
    const char *name = p->pre_tokenizer;
    if (p->score) return &sentencepiece[p->no_prefix != 0];
    if (!name || !*name || strcmp(name, "default") == 0) {
        log_warn("the vocabulary names no pre-tokenizer; GPT-2's is taken");
        name = "gpt-2";
    }
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(name, families[i].name) == 0) return &families[i];
    err_set(err, ERR_DATA, "pre-tokenizer \"%.60s\" is not supported", name);
    return NULL;
}

static int is_marked(const TokenizerPieces *p, size_t i) {
    int kind = p->kind ? p->kind[i] : KIND_NORMAL;
    return kind == KIND_UNKNOWN || kind == KIND_CONTROL || kind == KIND_USER;
}

static int put_token(Tokenizer *t, const TokenizerPieces *p, size_t i, Err *err) {
    int kind = p->kind ? p->kind[i] : KIND_NORMAL;
    size_t len = p->token_len[i];
    if (kind < KIND_NORMAL || kind > (p->score ? KIND_BYTE : KIND_UNUSED))
        return err_set(err, ERR_DATA, "kind %d does not belong into this vocabulary", kind);
    if (p->score && (len > PIECE_BYTES || isnan(p->score[i])))
        return err_set(err, ERR_DATA, "a piece of %zu bytes (the limit is %d) with the score %g", len, PIECE_BYTES,
                       (double)p->score[i]);
    if (utf8_check(p->token[i], len) < len) return err_set(err, ERR_DATA, "its text is no UTF-8");
    if (len == 0 && is_marked(p, i)) return err_set(err, ERR_DATA, "its text is empty");
    if (vocab_put(&t->vocab, (int32_t)i, p->token[i], len, VOCAB_MODEL, err)) return -1;
    if (p->score && kind == KIND_UNKNOWN)
        CHECK(!json_object_set_new(json_object_get(t->frame, "model"), "unk_token", json_stringn(p->token[i], len)));
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

// SentencePiece merges the two neighbours that make the best piece. As merges in order, the way transformers converts its
// models: pieces from the best down, each by all its pairs of pieces, longest left part first.
typedef struct Pair {
    float score;
    int32_t left, right; // characters
    int32_t piece;
} Pair;

static int best_first(const void *a, const void *b) {
    const Pair *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    if (x->left != y->left) return x->left < y->left ? 1 : -1;
    if (x->right != y->right) return x->right < y->right ? 1 : -1;
    return (x->piece > y->piece) - (x->piece < y->piece);
}

// Bytes of the first `n` characters.
static size_t head_bytes(const char *text, size_t len, int n) {
    size_t at = 0;
    for (uint32_t c; n > 0; n--) at += utf8_next(text + at, len - at, &c);
    return at;
}

static size_t pairs_of(const Tokenizer *t, const TokenizerPieces *p, size_t i, Pair **pair, size_t n, size_t *cap) {
    const char *text = p->token[i];
    const size_t len = p->token_len[i];
    const int characters = (int)utf8_count(text, len);
    size_t at = 0;
    for (int left = 1; left < characters; left++) {
        uint32_t c;
        at += utf8_next(text + at, len - at, &c);
        if (vocab_find(&t->vocab, text, at) < 0 || vocab_find(&t->vocab, text + at, len - at) < 0) continue;
        if (n == *cap) {
            *cap = *cap ? 2 * *cap : 4096;
            *pair = mem_realloc(*pair, *cap, sizeof **pair);
        }
        (*pair)[n++] = (Pair){p->score[i], left, characters - left, (int32_t)i};
    }
    return n;
}

static int make_merges(Tokenizer *t, const TokenizerPieces *p, size_t tokens, Err *err) {
    Pair *pair = NULL;
    size_t n = 0, cap = 0;
    int status = 0;
    for (size_t i = 0; i < tokens && n <= PIECE_PAIRS * tokens; i++)
        if (!is_marked(p, i) && (!p->kind || p->kind[i] != KIND_BYTE)) n = pairs_of(t, p, i, &pair, n, &cap);
    if (n > PIECE_PAIRS * tokens)
        status = err_set(err, ERR_DATA, "%zu merges for %zu pieces, more than %d each", n, tokens, PIECE_PAIRS);
    if (n && status == 0) qsort(pair, n, sizeof *pair, best_first);
    for (size_t i = 0; i < n && status == 0; i++) {
        const char *text = p->token[pair[i].piece];
        const size_t len = p->token_len[pair[i].piece], left = head_bytes(text, len, pair[i].left);
        status = bpe_add_merge(&t->bpe, &t->vocab, text, left, text + left, len - left, err);
    }
    free(pair);
    return status;
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
    if (p->score && make_merges(t, p, n, err)) return -1;
    for (size_t i = 0; i < p->n_merges; i++)
        if (put_merge(t, p->merge[i], p->merge_len[i], err)) return err_prefix(err, "merge %zu", i);
    return tokenizer_read_added(t, err);
}

int tokenizer_from_pieces(Tokenizer **out, const TokenizerPieces *p, const char *name, Err *err) {
    *out = NULL;
    const Family *family = find_family(p, err);
    if (!family) return err_prefix(err, "%s", name);
    Tokenizer *t = tokenizer_new(frame_of(family));
    CHECK(t->frame);
    if (read_pieces(t, p, err)) {
        tokenizer_close(t);
        return err_prefix(err, "%s", name);
    }
    *out = t;
    return 0;
}
