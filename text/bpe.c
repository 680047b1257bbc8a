#include "text/bpe.h"
#include "base/arena.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A piece is a linked list of symbols; a merge keeps the left one and takes the right one out.
typedef struct BpeSymbol {
    int32_t id, prev, next; // id -1: taken out; prev, next -1: none
} BpeSymbol;

// Bytes that stand in no text people write: C0 controls but tab and line ends, DEL, never-used bytes and leads of empty planes.
static int is_ordinary(int byte) {
    if (byte < 0x20) return byte == '\t' || byte == '\n' || byte == '\r';
    return byte != 0x7f && byte != 0xc0 && byte != 0xc1 && byte <= 0xf0;
}

static int32_t model_token(const Vocab *v, const char *text, size_t len) {
    int32_t id = vocab_find(v, text, len);
    return vocab_flags(v, id) & VOCAB_MODEL ? id : -1;
}

static size_t byte_text(const Bpe *bpe, char text[8], int byte) {
    return bpe->characters ? (size_t)snprintf(text, 8, "<0x%02X>", (unsigned)byte)
                           : utf8_put(text, vocab_byte_char((unsigned char)byte));
}

int bpe_fallback_byte(const char *token, size_t len) {
    static const char digits[] = "0123456789ABCDEF";
    if (len != 6 || memcmp(token, "<0x", 3) || token[5] != '>') return -1;
    const char *high = memchr(digits, token[3], 16), *low = memchr(digits, token[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

int bpe_find_bytes(Bpe *bpe, const Vocab *v, int *missing, Err *err) {
    *missing = 0;
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        size_t len = byte_text(bpe, text, byte);
        int32_t id = model_token(v, text, len);
        if (id < 0 && (bpe->characters || is_ordinary(byte)))
            return err_set(err, ERR_DATA, "the vocabulary has no token \"%.*s\" for the byte 0x%02x", (int)len, text, byte);
        *missing += id < 0;
        bpe->byte_id[byte] = id;
    }
    return 0;
}

static size_t find_slot(const Bpe *bpe, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key = (key ^ key >> 29) * 0x9e3779b97f4a7c15u;
    size_t i = (key ^ key >> 32) & (bpe->slots - 1);
    for (; bpe->slot[i]; i = (i + 1) & (bpe->slots - 1)) {
        const BpeMerge *m = &bpe->merge[bpe->slot[i] - 1];
        if (m->left == left && m->right == right) break;
    }
    return i;
}

static void grow_slots(Bpe *bpe) {
    if (bpe->slots && bpe->n_merges < bpe->slots / 2) return;
    bpe->slots = bpe->slots ? 2 * bpe->slots : 1024;
    free(bpe->slot);
    bpe->slot = mem_zalloc(bpe->slots, sizeof *bpe->slot);
    for (size_t rank = 0; rank < bpe->n_merges; rank++)
        bpe->slot[find_slot(bpe, bpe->merge[rank].left, bpe->merge[rank].right)] = (uint32_t)rank + 1;
}

int bpe_add_merge(Bpe *bpe, const Vocab *v, const char *left, size_t left_len, const char *right, size_t right_len, Err *err) {
    BpeMerge m = {.left = model_token(v, left, left_len), .right = model_token(v, right, right_len)};
    if (m.left < 0 || m.right < 0) {
        const char *unknown = m.left < 0 ? left : right;
        size_t len = m.left < 0 ? left_len : right_len;
        return err_set(err, ERR_DATA, "\"%.*s\" is not in the vocabulary", len < 60 ? (int)len : 60, unknown);
    }
    Str both = {0};
    str_append(&both, left, left_len);
    str_append(&both, right, right_len);
    m.result = model_token(v, both.data, both.len);
    int status = 0;
    if (m.result < 0) status = err_set(err, ERR_DATA, "its result \"%.60s\" is not in the vocabulary", both.data);
    str_free(&both);
    if (status) return status;
    grow_slots(bpe);
    size_t slot = find_slot(bpe, m.left, m.right);
    if (bpe->slot[slot]) return err_set(err, ERR_DATA, "it repeats merge %u", (unsigned)bpe->slot[slot] - 1);
    if (bpe->n_merges == bpe->cap) {
        bpe->cap = bpe->cap ? 2 * bpe->cap : 1024;
        bpe->merge = mem_realloc(bpe->merge, bpe->cap, sizeof *bpe->merge);
    }
    bpe->merge[bpe->n_merges++] = m;
    bpe->slot[slot] = (uint32_t)bpe->n_merges;
    return 0;
}

// A heap entry is rank << 32 | position, so that numbers compare as merges do.
static void heap_push(BpeWork *w, uint64_t entry) {
    if (w->heap_len == w->heap_cap) {
        w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 64;
        w->heap = mem_realloc(w->heap, w->heap_cap, sizeof *w->heap);
    }
    size_t i = w->heap_len++;
    for (; i > 0 && w->heap[(i - 1) / 2] > entry; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = entry;
}

static uint64_t heap_pop(BpeWork *w) {
    uint64_t top = w->heap[0], last = w->heap[--w->heap_len];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_len) break;
        if (child + 1 < w->heap_len && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= last) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static const BpeMerge *merge_of(const Bpe *bpe, int32_t left, int32_t right) {
    uint32_t rank1 = bpe->slots ? bpe->slot[find_slot(bpe, left, right)] : 0;
    return rank1 ? &bpe->merge[rank1 - 1] : NULL;
}

// Put the pair that begins at `pos` on the heap, if it can be merged.
static void consider(const Bpe *bpe, BpeWork *w, int32_t pos) {
    const BpeSymbol *s = &w->symbol[pos];
    const BpeMerge *m = s->next < 0 ? NULL : merge_of(bpe, s->id, w->symbol[s->next].id);
    if (m) heap_push(w, (uint64_t)(m - bpe->merge) << 32 | (uint32_t)pos);
}

static void merge_all(const Bpe *bpe, BpeWork *w, size_t n) {
    for (size_t i = 0; i + 1 < n; i++) consider(bpe, w, (int32_t)i);
    while (w->heap_len) {
        uint64_t top = heap_pop(w);
        int32_t pos = (int32_t)(top & 0xffffffff), result = bpe->merge[top >> 32].result;
        BpeSymbol *s = &w->symbol[pos];
        if (s->id < 0 || s->next < 0) continue;
        BpeSymbol *right = &w->symbol[s->next];
        const BpeMerge *m = merge_of(bpe, s->id, right->id);
        if (!m || m->result != result) continue; // an earlier merge has taken one of the two
        s->id = result;
        s->next = right->next;
        right->id = -1;
        if (s->next >= 0) w->symbol[s->next].prev = pos;
        if (s->prev >= 0) consider(bpe, w, s->prev);
        consider(bpe, w, pos);
    }
}

static int32_t whole_piece(const Bpe *bpe, const Vocab *v, BpeWork *w, const char *piece, size_t n) {
    if (n > v->longest) return -1;
    if (bpe->characters) return model_token(v, piece, n);
    str_clear(&w->text);
    for (size_t i = 0; i < n; i++) {
        char text[4];
        str_append(&w->text, text, utf8_put(text, vocab_byte_char((unsigned char)piece[i])));
    }
    return model_token(v, w->text.data, w->text.len);
}

static void put_symbol(BpeWork *w, int32_t *len, int32_t id) {
    w->symbol[*len] = (BpeSymbol){.id = id, .prev = *len - 1, .next = *len + 1};
    ++*len;
}

static int32_t put_bytes(const Bpe *bpe, BpeWork *w, const char *piece, size_t n) {
    int32_t len = 0;
    int was_unknown = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = bpe->byte_id[(unsigned char)piece[i]];
        int unknown = id < 0;
        if (unknown) id = was_unknown && bpe->fuse_unk ? -1 : bpe->unk_id;
        was_unknown = unknown;
        if (id >= 0) put_symbol(w, &len, id);
    }
    return len;
}

static int32_t put_characters(const Bpe *bpe, const Vocab *v, BpeWork *w, const char *piece, size_t n) {
    int32_t len = 0;
    for (size_t i = 0, bytes; i < n; i += bytes) {
        uint32_t c;
        bytes = utf8_next(piece + i, n - i, &c);
        CHECK(bytes > 0);
        const int32_t id = model_token(v, piece + i, bytes);
        if (id >= 0) put_symbol(w, &len, id);
        for (size_t k = 0; id < 0 && k < bytes; k++) put_symbol(w, &len, bpe->byte_id[(unsigned char)piece[i + k]]);
    }
    return len;
}

void bpe_encode(const Bpe *bpe, const Vocab *v, BpeWork *w, Ints *ids, const char *piece, size_t n) {
    CHECK(n <= INT32_MAX);
    int32_t whole = bpe->ignore_merges ? whole_piece(bpe, v, w, piece, n) : -1;
    if (whole >= 0) {
        ints_push(ids, whole);
        return;
    }
    if (n > w->symbols_cap) {
        w->symbols_cap = n > 2 * w->symbols_cap ? n : 2 * w->symbols_cap;
        w->symbol = mem_realloc(w->symbol, w->symbols_cap, sizeof *w->symbol);
    }
    const int32_t len = bpe->characters ? put_characters(bpe, v, w, piece, n) : put_bytes(bpe, w, piece, n);
    if (len == 0) return;
    w->symbol[len - 1].next = -1;
    merge_all(bpe, w, (size_t)len);
    for (int32_t i = 0; i >= 0; i = w->symbol[i].next) ints_push(ids, w->symbol[i].id);
}

void bpe_work_free(BpeWork *w) {
    free(w->symbol);
    free(w->heap);
    str_free(&w->text);
    *w = (BpeWork){0};
}

void bpe_free(Bpe *bpe) {
    free(bpe->merge);
    free(bpe->slot);
    *bpe = (Bpe){0};
}
