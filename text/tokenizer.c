#include "text/tokenizer.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

Tokenizer *tokenizer_new(json_t *frame) {
    Tokenizer *t = mem_zalloc(1, sizeof *t);
    t->frame = frame;
    t->bpe.unk_id = -1;
    return t;
}

void tokenizer_close(Tokenizer *t) {
    if (!t) return;
    vocab_free(&t->vocab);
    bpe_free(&t->bpe);
    added_free(&t->raw);
    added_free(&t->normalized);
    pretokenize_free(&t->pre);
    json_decref(t->frame);
    free(t);
}

// One call of encode: text -> (added tokens) -> normalized -> (normalized added tokens) -> pieces -> merges.
typedef struct Encoder {
    const Tokenizer *t;
    Ints *ids;
    PatternRun *run;
    BpeWork work;
    int specials;
    int first; // nothing of the text has gone by
} Encoder;

static void encode_piece(void *user, const char *piece, size_t len) {
    Encoder *e = user;
    bpe_encode(&e->t->bpe, &e->t->vocab, &e->work, e->ids, piece, len);
}

static int encode_normalized(void *user, int32_t id, const char *text, size_t len, Err *err) {
    Encoder *e = user;
    const int first = e->first;
    e->first = 0;
    if (id >= 0) {
        ints_push(e->ids, id);
        return 0;
    }
    return pretokenize_run(&e->t->pre, e->run, text, len, first, encode_piece, e, err);
}

static int encode_raw(void *user, int32_t id, const char *text, size_t len, Err *err) {
    Encoder *e = user;
    if (id >= 0) return encode_normalized(e, id, NULL, 0, err);
    Str own = {0};
    int status = 0;
    if (e->t->normalizer.n) {
        status = normalize_run(&e->t->normalizer, &own, text, len, err);
        text = own.data;
        len = own.len;
    }
    if (status == 0)
        status = e->specials ? added_split(&e->t->normalized, e->run, text, len, encode_normalized, e, err)
                             : encode_normalized(e, -1, text, len, err);
    str_free(&own);
    return status;
}

int tokenizer_encode(const Tokenizer *t, Ints *ids, const char *text, size_t len, int how, Err *err) {
    const int specials = how & TOKENIZER_SPECIALS;
    size_t valid = utf8_check(text, len);
    if (valid < len)
        return err_set(err, ERR_DATA, "the text is no UTF-8 at byte %zu (0x%02x)", valid, (unsigned char)text[valid]);
    if (len > NORMALIZE_TEXT_LIMIT) return err_set(err, ERR_DATA, "a text of %zu bytes, more than the limit of 512 MiB", len);
    if (len == 0) return 0;
    size_t before = ids->len;
    Encoder e = {.t = t, .ids = ids, .run = pattern_run_open(len), .specials = specials, .first = !(how & TOKENIZER_INSIDE)};
    int status = specials ? added_split(&t->raw, e.run, text, len, encode_raw, &e, err) : encode_raw(&e, -1, text, len, err);
    if (status) ids->len = before;
    pattern_run_close(e.run);
    bpe_work_free(&e.work);
    return status;
}

// A token of the byte-level alphabet; one that holds another character stands for itself.
static void decode_byte_level(Str *out, const char *token, size_t len) {
    size_t before = out->len;
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        i += utf8_next(token + i, len - i, &c);
        int byte = vocab_char_byte(c);
        if (byte < 0) {
            out->len = before;
            str_append(out, token, len);
            return;
        }
        char bytes[1] = {(char)byte};
        str_append(out, bytes, 1);
    }
}

// The byte that stands for itself where no character does, or -1.
static int byte_of(const Tokenizer *t, int32_t id) {
    size_t len;
    const char *token = t->bpe.characters ? vocab_text(&t->vocab, id, &len) : NULL;
    return token ? bpe_fallback_byte(token, len) : -1;
}

void tokenizer_token_text(const Tokenizer *t, Str *text, int id) {
    size_t len;
    const char *token = vocab_text(&t->vocab, id, &len);
    const int byte = byte_of(t, id);
    str_append(text, "", 0);
    if (!token) return;
    if (byte >= 0)
        str_append(text, (char[1]){(char)byte}, 1);
    else if (t->bpe.characters)
        (void)normalize_run(&t->blanks, text, token, len, NULL); // a token far too long for any text stands for nothing
    else if (vocab_flags(&t->vocab, id) & VOCAB_ADDED)
        str_append(text, token, len);
    else
        decode_byte_level(text, token, len);
}

// A run of byte tokens that is no UTF-8 is a U+FFFD for each.
static void end_bytes(Str *text, size_t begin) {
    const size_t n = text->len - begin;
    if (n == 0 || utf8_check(text->data + begin, n) == n) return;
    text->len = begin;
    for (size_t i = 0; i < n; i++) str_puts(text, "\xef\xbf\xbd");
}

void tokenizer_decode(const Tokenizer *t, Str *text, const int32_t *ids, size_t n) {
    str_append(text, "", 0);
    const size_t begin = text->len;
    size_t bytes = begin; // where the present run of byte tokens begins
    for (size_t i = 0; i < n; i++) {
        const int is_byte = byte_of(t, ids[i]) >= 0;
        if (!is_byte) end_bytes(text, bytes);
        tokenizer_token_text(t, text, ids[i]);
        if (!is_byte) bytes = text->len;
    }
    end_bytes(text, bytes);
    if (t->strips_blank && text->len > begin && text->data[begin] == ' ') {
        memmove(text->data + begin, text->data + begin + 1, text->len - begin); // with the NUL behind it
        text->len--;
    }
}

int tokenizer_size(const Tokenizer *t) {
    return (int)t->vocab.size;
}

int tokenizer_id(const Tokenizer *t, const char *token) {
    return vocab_find(&t->vocab, token, strlen(token));
}

const char *tokenizer_token(const Tokenizer *t, int id) {
    return vocab_text(&t->vocab, id, NULL);
}

int tokenizer_text_token(const Tokenizer *t, const char *text, size_t len) {
    int32_t id = vocab_find(&t->vocab, text, len);
    return (vocab_flags(&t->vocab, id) & (VOCAB_ADDED | VOCAB_SPECIAL)) == VOCAB_ADDED ? id : -1;
}

int tokenizer_is_added(const Tokenizer *t, const char *text, size_t len) {
    return (vocab_flags(&t->vocab, vocab_find(&t->vocab, text, len)) & VOCAB_ADDED) != 0;
}

// added_sort is due behind it.
static int add(Tokenizer *t, const char *token, int special, Err *err) {
    size_t len = strlen(token);
    int32_t id = vocab_find(&t->vocab, token, len);
    uint32_t flags = vocab_flags(&t->vocab, id);
    if (flags & VOCAB_ADDED) return id;
    if (id < 0 && t->next_id != t->vocab.size)
        return err_set(err, ERR_DATA, "cannot add \"%.60s\" as the last id, %zu: ids have gaps, `tokenizers` would give it %zu",
                       token, t->vocab.size, t->next_id);
    int is_new = id < 0;
    if (is_new) id = (int32_t)t->next_id;
    json_t *entry = json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content", token, "single_word", 0,
                              "lstrip", 0, "rstrip", 0, "normalized", 0, "special", special);
    if (!entry) return err_set(err, ERR_DATA, "cannot add a token that is no UTF-8");
    if (added_put(&t->raw, id, token, len, special ? ADDED_SPECIAL : 0, err)) {
        json_decref(entry);
        return -1;
    }
    CHECK(json_array_append_new(json_object_get(t->frame, "added_tokens"), entry) == 0);
    uint32_t added = VOCAB_ADDED | (special ? VOCAB_SPECIAL : 0);
    if (is_new) {
        CHECK(vocab_put(&t->vocab, id, token, len, added, NULL) == 0);
        t->next_id++;
    } else {
        t->vocab.token[id].flags |= added;
    }
    return id;
}

int tokenizer_add(Tokenizer *t, const char *token, Err *err) {
    int id = add(t, token, 1, err);
    CHECK(added_sort(&t->raw, NULL) == 0);
    return id;
}

int tokenizer_add_texts(Tokenizer *t, const char *const *token, int n, Err *err) {
    int failed = 0;
    for (int i = 0; i < n && !failed; i++) failed = add(t, token[i], 0, err) < 0;
    CHECK(added_sort(&t->raw, NULL) == 0);
    return failed ? -1 : 0;
}

int tokenizer_drop_last(Tokenizer *t, const char *token) {
    const int id = tokenizer_id(t, token);
    const uint32_t flags = vocab_flags(&t->vocab, id);
    if (!(flags & VOCAB_ADDED) || (flags & VOCAB_MODEL) || (size_t)id + 1 != t->vocab.size || t->next_id != t->vocab.size)
        return 0;
    vocab_drop_last(&t->vocab);
    t->next_id--;
    AddedSet *set = added_drop(&t->raw, id) ? &t->raw : &t->normalized;
    if (set == &t->normalized) CHECK(added_drop(set, id));
    CHECK(added_sort(set, NULL) == 0);
    json_t *list = json_object_get(t->frame, "added_tokens");
    for (size_t i = json_array_size(list); i-- > 0;)
        if (json_integer_value(json_object_get(json_array_get(list, i), "id")) == id) json_array_remove(list, i);
    return 1;
}

void tokenizer_hash(const Tokenizer *t, char hex[33]) {
    Str all = {0};
    str_append(&all, t->vocab.texts.data, t->vocab.texts.len);
    for (size_t i = 0; i < t->vocab.size; i++) str_printf(&all, "%zu %u\n", t->vocab.token[i].at, t->vocab.token[i].flags);
    for (size_t i = 0; i < t->bpe.n_merges; i++) str_printf(&all, "%d %d\n", t->bpe.merge[i].left, t->bpe.merge[i].right);
    char *frame = json_dumps(t->frame, JSON_COMPACT | JSON_SORT_KEYS); // normalizer, patterns, added tokens
    if (frame) str_puts(&all, frame);
    hash_bytes(hex, all.data, all.len);
    free(frame);
    str_free(&all);
}
