#include "data/intern.h"
#include "base/arena.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { CHUNK_BYTES = 64 << 10, FIRST_SLOTS = 64 };

typedef struct InternChunk {
    struct InternChunk *next;
    size_t used, cap;
    char data[];
} InternChunk;

static char *keep(Intern *in, const char *s, size_t len) {
    InternChunk *c = in->chunk;
    if (!c || c->cap - c->used < len + 1) {
        size_t cap = len + 1 > CHUNK_BYTES ? len + 1 : CHUNK_BYTES;
        c = mem_alloc(1, sizeof *c + cap);
        *c = (InternChunk){.next = in->chunk, .cap = cap};
        in->chunk = c;
    }
    char *copy = c->data + c->used;
    memcpy(copy, s, len);
    copy[len] = 0;
    c->used += len + 1;
    return copy;
}

// The slot of the string, or the free one where it belongs.
static size_t place(const Intern *in, const char *s, size_t len, uint64_t hash) {
    size_t mask = in->slots - 1, i = hash & mask;
    for (; in->slot[i] >= 0; i = (i + 1) & mask) {
        int k = in->slot[i];
        if (in->hash[k] == hash && in->len[k] == len && memcmp(in->text[k], s, len) == 0) break;
    }
    return i;
}

// Tables at most half full keep the probes short.
static void grow(Intern *in) {
    if ((size_t)in->n == in->cap) {
        in->cap = in->cap ? in->cap * 2 : FIRST_SLOTS / 2;
        in->text = mem_realloc(in->text, in->cap, sizeof *in->text);
        in->len = mem_realloc(in->len, in->cap, sizeof *in->len);
        in->hash = mem_realloc(in->hash, in->cap, sizeof *in->hash);
    }
    if ((size_t)in->n * 2 < in->slots) return;
    free(in->slot);
    in->slots = in->slots ? in->slots * 2 : FIRST_SLOTS;
    in->slot = mem_alloc(in->slots, sizeof *in->slot);
    memset(in->slot, 0xff, in->slots * sizeof *in->slot);
    for (int k = 0; k < in->n; k++) in->slot[place(in, in->text[k], in->len[k], in->hash[k])] = k;
}

int intern_put(Intern *in, const char *s, size_t len) {
    CHECK(len < UINT32_MAX && in->n < INT32_MAX);
    grow(in);
    uint64_t hash = XXH3_64bits(s, len);
    size_t i = place(in, s, len, hash);
    if (in->slot[i] < 0) {
        in->text[in->n] = keep(in, s, len);
        in->len[in->n] = (uint32_t)len;
        in->hash[in->n] = hash;
        in->slot[i] = in->n++;
    }
    return in->slot[i];
}

int intern_find(const Intern *in, const char *s, size_t len) {
    return in->slots ? in->slot[place(in, s, len, XXH3_64bits(s, len))] : -1;
}

void intern_free(Intern *in) {
    while (in->chunk) {
        InternChunk *next = in->chunk->next;
        free(in->chunk);
        in->chunk = next;
    }
    free(in->text), free(in->len), free(in->hash), free(in->slot);
    *in = (Intern){0};
}
