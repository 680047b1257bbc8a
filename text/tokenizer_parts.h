// What a tokenizer is made of: shared by the files tokenizer*.c alone.
#ifndef TEXT_TOKENIZER_PARTS_H
#define TEXT_TOKENIZER_PARTS_H

#include "base/json.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

// Ids are array indices: a file may leave gaps, but not ask for memory out of proportion to itself.
#define TOKENIZER_ID_LIMIT(tokens) (2 * (size_t)(tokens) + 65536)

struct Tokenizer {
    Vocab vocab;
    Bpe bpe;
    AddedSet raw;        // added tokens looked for before normalization
    AddedSet normalized; // and those looked for behind it
    Pretokenizer pre;
    Normalizer normalizer;
    Normalizer blanks; // what decoding makes of a token's text, and whether it takes a blank at the beginning away
    int strips_blank;
    size_t next_id;      // what `tokenizers` gives to the next added token that the model's vocabulary does not list
    json_t *frame;       // tokenizer.json without model.vocab and model.merges: what save writes around those
    int merges_as_pairs; // ["a", "b"], not "a b"
};

// All but vocabulary, merges and added tokens: checks the whole frame.
int tokenizer_read_frame(Tokenizer *t, Err *err);
// frame.added_tokens; vocabulary and merges are complete.
int tokenizer_read_added(Tokenizer *t, Err *err);
// Between the two, with the vocabulary complete: byte tokens, the unknown token.
int tokenizer_find_bytes(Tokenizer *t, Err *err);
Tokenizer *tokenizer_new(json_t *frame);

#endif
