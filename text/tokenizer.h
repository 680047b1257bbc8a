// BPE as the `tokenizers` package runs it, byte-level (Qwen, Llama 3, SmolLM) or of characters with bytes to fall back to
// (SentencePiece's: Llama 2, Mistral): normalizer, added tokens, pre-tokenizer patterns (pcre2), merges.
// Read from tokenizer.json, or from the vocabulary a GGUF file carries; written back as tokenizer.json.
// A tokenizer does not change after it is made, but for tokenizer_add and the like; encoding is safe from several threads.
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include "base/err.h"
#include "base/vec.h"

typedef struct Tokenizer Tokenizer;

int tokenizer_open(Tokenizer **t, const char *tokenizer_json_path, Err *err);
int tokenizer_parse(Tokenizer **t, const char *json, size_t bytes, const char *name, Err *err);

// A vocabulary given piece by piece (as in GGUF): token texts in byte-level alphabet with merges as "left right", or
// SentencePiece's pieces with their scores, from which the merges are made.
typedef struct TokenizerPieces {
    size_t n_tokens, n_merges;
    const char *const *token; // token i: token_len[i] bytes
    const size_t *token_len;
    const char *const *merge;
    const size_t *merge_len;
    const int32_t *kind; // (n_tokens) 1 normal, 3 control, 4 user-defined, 5 unused, 6 byte, as GGUF numbers them; or NULL
    const float *score;  // (n_tokens) SentencePiece's, or NULL: byte-level; then the two below are
    int no_prefix;       // a text gets no blank in front
    const char *pre_tokenizer; // GGUF's name: "smollm", "qwen2", "llama-bpe", "gpt-2", "default", ...; others are refused
} TokenizerPieces;
int tokenizer_from_pieces(Tokenizer **t, const TokenizerPieces *pieces, const char *name, Err *err);
void tokenizer_close(Tokenizer *t);

// How a text is encoded. Specials: added tokens inside it become their ids, as `tokenizers` does; without, they are plain text
// (a title must not be able to end an answer). Inside: it goes on behind a token, so that it gets no blank as a text's
// beginning.
enum { TOKENIZER_SPECIALS = 1, TOKENIZER_INSIDE = 2 };

// Append the ids of a text of `len` bytes, which must be UTF-8 (else ERR_DATA naming the byte). No BOS or EOS is put in.
int tokenizer_encode(const Tokenizer *t, Ints *ids, const char *text, size_t len, int how, Err *err);
// Append the text of the ids as `tokenizers` decodes them, added tokens as they are. Ids without a token are skipped.
void tokenizer_decode(const Tokenizer *t, Str *text, const int32_t *ids, size_t n);
// Append what one token adds to a text, which may be a part of a character.
void tokenizer_token_text(const Tokenizer *t, Str *text, int id);

int tokenizer_size(const Tokenizer *t);                  // one more than the largest id
int tokenizer_id(const Tokenizer *t, const char *token); // id of a token's text as it is written in the file, or -1
const char *tokenizer_token(const Tokenizer *t, int id); // or NULL; borrowed until tokenizer_add or tokenizer_close
// The id of an added token that is not special, or -1.
int tokenizer_text_token(const Tokenizer *t, const char *text, size_t len);
int tokenizer_is_added(const Tokenizer *t, const char *text, size_t len); // special or not
// Add a special token as the last id (the one it already has, if it exists). Returns its id, or -1 with err.
int tokenizer_add(Tokenizer *t, const char *token, Err *err);
// Add tokens that are not special, in this order, behind the last id; those that are added tokens already are left as they are.
int tokenizer_add_texts(Tokenizer *t, const char *const *token, int n, Err *err);
// 128-bit hash of all that decides the ids of a text, 32 hexadecimal digits.
void tokenizer_hash(const Tokenizer *t, char hex[33]);
// Take an added token away where it is the last id: 1; else nothing changes: 0.
int tokenizer_drop_last(Tokenizer *t, const char *token);
// Write tokenizer.json so that `tokenizers` loads it and gives the same ids.
int tokenizer_save(const Tokenizer *t, const char *path, Err *err);

#endif
