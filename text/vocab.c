#include "text/vocab.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

// The slot of the text, or the free one where it would go.
static size_t find_slot(const Vocab *v, const char *text, size_t len) {
    size_t i = XXH3_64bits(text, len) & (v->slots - 1);
    for (; v->slot[i]; i = (i + 1) & (v->slots - 1)) {
        const VocabToken *t = &v->token[v->slot[i] - 1];
        if (t->len == len && memcmp(v->texts.data + t->at, text, len) == 0) break;
    }
    return i;
}

static void make_slots(Vocab *v, size_t slots) {
    v->slots = slots;
    free(v->slot);
    v->slot = mem_zalloc(v->slots, sizeof *v->slot);
    for (size_t id = 0; id < v->size; id++) {
        const VocabToken *t = &v->token[id];
        if (t->flags) v->slot[find_slot(v, v->texts.data + t->at, t->len)] = (int32_t)id + 1;
    }
}

static void grow_slots(Vocab *v) {
    if (!v->slots || v->count >= v->slots / 2) make_slots(v, v->slots ? 2 * v->slots : 1024);
}

static void grow_tokens(Vocab *v, size_t size) {
    if (size > v->cap) {
        v->cap = size > v->cap + v->cap / 2 ? size : v->cap + v->cap / 2;
        v->token = mem_realloc(v->token, v->cap, sizeof *v->token);
    }
    for (; v->size < size; v->size++) v->token[v->size] = (VocabToken){0};
}

int vocab_put(Vocab *v, int32_t id, const char *text, size_t len, uint32_t flags, Err *err) {
    CHECK(id >= 0 && flags);
    if (len > UINT32_MAX) return err_set(err, ERR_DATA, "a token of %zu bytes", len);
    grow_slots(v);
    size_t slot = find_slot(v, text, len);
    const int shown = len < 60 ? (int)len : 60; // the text need not be terminated
    if (v->slot[slot])
        return err_set(err, ERR_DATA, "token \"%.*s\" has two ids, %d and %d", shown, text, (int)v->slot[slot] - 1, (int)id);
    if ((size_t)id < v->size && v->token[id].flags)
        return err_set(err, ERR_DATA, "two tokens have the id %d: \"%.60s\" and \"%.*s\"", (int)id,
                       v->texts.data + v->token[id].at, shown, text);
    grow_tokens(v, (size_t)id + 1);
    v->token[id] = (VocabToken){.at = v->texts.len, .len = (uint32_t)len, .flags = flags};
    v->slot[slot] = id + 1;
    v->count++;
    if (len > v->longest) v->longest = len;
    str_append(&v->texts, text, len);
    str_append(&v->texts, "", 1);
    return 0;
}

void vocab_drop_last(Vocab *v) {
    CHECK(v->size > 0);
    v->token[v->size - 1].flags = 0; // its text stays where it is
    v->count--;
    while (v->size > 0 && !v->token[v->size - 1].flags) v->size--;
    make_slots(v, v->slots);
}

int32_t vocab_find(const Vocab *v, const char *text, size_t len) {
    return v->slots ? v->slot[find_slot(v, text, len)] - 1 : -1;
}

uint32_t vocab_flags(const Vocab *v, int32_t id) {
    return id >= 0 && (size_t)id < v->size ? v->token[id].flags : 0;
}

const char *vocab_text(const Vocab *v, int32_t id, size_t *len) {
    if (!vocab_flags(v, id)) return NULL;
    if (len) *len = v->token[id].len;
    return v->texts.data + v->token[id].at;
}

void vocab_free(Vocab *v) {
    str_free(&v->texts);
    free(v->token);
    free(v->slot);
    *v = (Vocab){0};
}

// Printable bytes stand for themselves; the others, in their order, take the characters from U+0100 on.
static int printable(unsigned c) {
    return (c >= '!' && c <= '~') || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

uint32_t vocab_byte_char(unsigned char byte) {
    if (printable(byte)) return byte;
    return 0x100 + (byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 0x7fu + 0x21 : 0x43u);
}

int vocab_char_byte(uint32_t c) {
    if (c < 0x100) return printable(c) ? (int)c : -1;
    if (c <= 0x120) return (int)c - 0x100;
    if (c <= 0x142) return (int)c - 0x121 + 0x7f;
    return c == 0x143 ? 0xad : -1;
}
