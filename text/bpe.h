// The byte-pair merges: a piece of text to ids. A piece begins as its bytes, each written as a character (GPT-2's way), or as
// its characters, where one without a token is its bytes, written as <0xE2> (SentencePiece's way, which `tokenizers` calls byte
// fallback). Of all neighbouring pairs the one with the lowest rank is merged first, of equal ones the leftmost; a heap of
// pairs keeps that n log n.
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include "text/vocab.h"

typedef struct BpeMerge {
    int32_t left, right, result;
} BpeMerge;

typedef struct Bpe {
    int characters;       // SentencePiece's way
    int32_t byte_id[256]; // -1: the vocabulary has no token for the byte
    BpeMerge *merge;      // (n_merges) in order of rank
    size_t n_merges, cap;
    uint32_t *slot; // (slots) rank + 1, or 0
    size_t slots;
    int ignore_merges; // a piece that is a token is that token, whatever the merges say
    int32_t unk_id;    // stands for a byte without a token; -1: such bytes are left out
    int fuse_unk;      // one unk_id for a run of such bytes
} Bpe;

// Memory of one thread for encoding, used again for piece after piece. Starts as zeros.
typedef struct BpeWork {
    struct BpeSymbol *symbol;
    uint64_t *heap;
    size_t symbols_cap, heap_cap, heap_len;
    Str text;
} BpeWork;
void bpe_work_free(BpeWork *w);

// Look up the 256 bytes. A byte that ordinary text contains must have a token; those that only control characters or
// planes without characters contain may be missing (real vocabularies lack some) but where characters fall back to bytes;
// `missing` counts them.
int bpe_find_bytes(Bpe *bpe, const Vocab *v, int *missing, Err *err);

// Append a merge; both tokens and what they make together must be in the vocabulary, and no pair may come twice.
int bpe_add_merge(Bpe *bpe, const Vocab *v, const char *left, size_t left_len, const char *right, size_t right_len, Err *err);
// The byte that a token of SentencePiece's way stands for, or -1.
int bpe_fallback_byte(const char *token, size_t len);
void bpe_encode(const Bpe *bpe, const Vocab *v, BpeWork *w, Ints *ids, const char *piece, size_t n);
void bpe_free(Bpe *bpe);

#endif
