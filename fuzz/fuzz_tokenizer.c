// Any bytes as a tokenizer, and a text for it: JSON up to the first NUL, the text behind it. A document that says
// "bytes": true gets the 256 byte tokens as ids 0..255, so that inputs stay small (those of characters' fallback where there is
// one, or "scores"); one with "pieces" is a vocabulary as GGUF carries it. Either it is refused with a line, or every text has
// ids, and where nothing normalizes they give it back.
#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { LIST_LIMIT = 1024 };

static size_t byte_token(char text[8], int byte, int fallback) {
    return fallback ? (size_t)snprintf(text, 8, "<0x%02X>", (unsigned)byte)
                    : utf8_put(text, vocab_byte_char((unsigned char)byte));
}

static void add_byte_tokens(json_t *vocab, int fallback) {
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        size_t len = byte_token(text, byte, fallback);
        if (!json_object_getn(vocab, text, len)) json_object_setn_new(vocab, text, len, json_integer(byte));
    }
}

// The strings of a list, behind the byte tokens where `with_bytes`; returns how many.
static size_t strings(const char **text, size_t *len, const json_t *list, int with_bytes, int fallback) {
    static char byte_text[256][8];
    size_t n = 0, i;
    const json_t *item;
    for (int byte = 0; with_bytes && byte < 256; byte++, n++) {
        text[n] = byte_text[byte];
        len[n] = byte_token(byte_text[byte], byte, fallback);
    }
    json_array_foreach(list, i, item) {
        if (n == LIST_LIMIT) break;
        text[n] = json_is_string(item) ? json_string_value(item) : "";
        len[n++] = json_string_length(item);
    }
    return n;
}

static int from_pieces(Tokenizer **t, const json_t *doc, Err *err) {
    static const char *token[LIST_LIMIT], *merge[LIST_LIMIT];
    static size_t token_len[LIST_LIMIT], merge_len[LIST_LIMIT];
    static int32_t kind[LIST_LIMIT];
    static float score[LIST_LIMIT];
    const json_t *pieces = json_object_get(doc, "pieces"), *kinds = json_object_get(pieces, "kinds"),
                 *scores = json_object_get(pieces, "scores");
    int with_bytes = json_is_true(json_object_get(doc, "bytes"));
    TokenizerPieces p = {.token = token, .token_len = token_len, .merge = merge, .merge_len = merge_len};
    p.n_tokens = strings(token, token_len, json_object_get(pieces, "tokens"), with_bytes, scores != NULL);
    p.n_merges = strings(merge, merge_len, json_object_get(pieces, "merges"), 0, 0);
    p.pre_tokenizer = json_string_value(json_object_get(pieces, "pre"));
    size_t skipped = with_bytes ? 256 : 0;
    for (size_t i = 0; i < p.n_tokens; i++) {
        kind[i] = i < skipped ? (scores ? 6 : 1) : (int32_t)json_integer_value(json_array_get(kinds, i - skipped));
        score[i] = i < skipped ? 0 : (float)json_number_value(json_array_get(scores, i - skipped));
    }
    if (kinds) p.kind = kind;
    if (scores) p.score = score;
    p.no_prefix = json_is_true(json_object_get(pieces, "no_prefix"));
    return tokenizer_from_pieces(t, &p, "fuzz", err);
}

static int from_json(Tokenizer **t, json_t *doc, const char *json, size_t len, Err *err) {
    json_t *vocab = json_object_get(json_object_get(doc, "model"), "vocab");
    if (!json_is_true(json_object_get(doc, "bytes")) || !json_is_object(vocab))
        return tokenizer_parse(t, json, len, "fuzz", err);
    add_byte_tokens(vocab, json_is_true(json_object_get(json_object_get(doc, "model"), "byte_fallback")));
    char *filled = json_dumps(doc, JSON_COMPACT);
    EXPECT(filled);
    int status = tokenizer_parse(t, filled, strlen(filled), "fuzz", err);
    free(filled);
    return status;
}

static int gives_text_back(const json_t *doc) {
    const json_t *pre = json_object_get(doc, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(pre, "type"));
    if (json_object_get(doc, "pieces") || json_object_get(doc, "normalizer") || !json_is_true(json_object_get(doc, "bytes")))
        return 0;
    if (!pre && !json_object_get(doc, "decoder")) return 1; // characters
    return type && strcmp(type, "ByteLevel") == 0 && json_is_false(json_object_get(pre, "add_prefix_space"));
}

static void encode(const Tokenizer *t, const Str *text, int specials, int expect_back) {
    Err err = {0};
    Ints ids = {0};
    Str back = {0};
    if (tokenizer_encode(t, &ids, text->data, text->len, specials, &err)) {
        EXPECT(err.code == ERR_DATA && ids.len == 0);
    } else {
        for (size_t i = 0; i < ids.len; i++) EXPECT(ids.data[i] < tokenizer_size(t) && tokenizer_token(t, ids.data[i]));
        tokenizer_decode(t, &back, ids.data, ids.len);
        if (expect_back) EXPECT(back.len == text->len && memcmp(back.data, text->data, back.len) == 0);
    }
    str_free(&back), ints_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const char *json = (const char *)data, *nul = bytes ? memchr(data, 0, bytes) : NULL;
    size_t len = nul ? (size_t)(nul - json) : bytes;
    Err err = {0};
    Tokenizer *t;
    json_t *doc = json_parse(json, len, "fuzz", NULL);
    int status = json_object_get(doc, "pieces") ? from_pieces(&t, doc, &err) : from_json(&t, doc, json, len, &err);
    if (status) {
        EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
    } else {
        Str text = {0};
        str_clear(&text);
        if (nul) utf8_replace(&text, nul + 1, bytes - len - 1);
        // A byte token that is an added token too comes back as it is written, a text that spells one as the byte.
        int back = gives_text_back(doc) && json_array_size(json_object_get(doc, "added_tokens")) == 0 &&
                   !memmem(text.data, text.len, "<0x", 3);
        encode(t, &text, 0, back);
        encode(t, &text, 1, back);
        EXPECT(tokenizer_add(t, "<|more|>", &err) >= 0 || err.code == ERR_DATA);
        tokenizer_close(t);
        str_free(&text);
    }
    json_decref(doc);
    return 0;
}
