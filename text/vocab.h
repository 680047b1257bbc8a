// Token texts and their ids, both ways. Ids may have gaps.
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H

#include "base/err.h"
#include "base/vec.h"

// A token may be of the model and added: then the model's vocabulary lists an added token too.
enum { VOCAB_MODEL = 1, VOCAB_ADDED = 2, VOCAB_SPECIAL = 4 };

typedef struct VocabToken {
    size_t at; // in texts
    uint32_t len;
    uint32_t flags; // 0: no token has this id
} VocabToken;

typedef struct Vocab {
    Str texts;         // of all tokens, each followed by a NUL
    VocabToken *token; // (size)
    size_t size, cap;  // size: one more than the largest id
    size_t count;      // tokens
    size_t longest;    // bytes of the longest token
    int32_t *slot;     // (slots) id + 1, or 0: open addressing by the hash of the text
    size_t slots;
} Vocab;

// A text that has an id already, or an id that has a text already, is refused. Memory grows with `id`: the caller limits it.
int vocab_put(Vocab *v, int32_t id, const char *text, size_t len, uint32_t flags, Err *err);
void vocab_drop_last(Vocab *v);                                   // the token with the largest id
int32_t vocab_find(const Vocab *v, const char *text, size_t len); // or -1
uint32_t vocab_flags(const Vocab *v, int32_t id);                 // 0 where there is no such token
const char *vocab_text(const Vocab *v, int32_t id, size_t *len);  // or NULL; NUL-terminated, borrowed until the next put
void vocab_free(Vocab *v);

// The alphabet of byte-level BPE, where each byte of a text has a printable character, as GPT-2 chose them.
uint32_t vocab_byte_char(unsigned char byte);
int vocab_char_byte(uint32_t code_point); // or -1

#endif
