// The published prompt: three pieces, tokenized apart and concatenated (method, section 1).
#ifndef TEXT_PROMPT_H
#define TEXT_PROMPT_H

#include "text/tokenizer.h"

#define PROMPT_THOUGHT_TOKEN "<|Thought|>"

enum { PROMPT_HISTORY = 10, PROMPT_TRAIN_TOKENS = 512, PROMPT_RECOMMEND_TOKENS = 2560 };

typedef struct PromptStyle {
    const char *category; // e.g. "movie"
    int bos_id;           // -1: none; stands once at the very start, before the instruction
    int eos_id;           // ends an answer
    // Where an item has an index text ("<a_12><b_7>"), it stands in answers, in histories, instead of the title.
    int index_answers, index_histories;
} PromptStyle;

// The text of each piece, appended; the titles stand oldest first.
void prompt_instruction_text(Str *out, const char *category);
void prompt_input_text(Str *out, const char *category, const char *const *title, int n);
void prompt_answer_text(Str *out, const char *title);

// Their ids, appended. The instruction begins with BOS where there is one. At most the last PROMPT_HISTORY titles are used.
// text: of the items, NULL where one has none (or text itself NULL: none has). Its pieces are single tokens where the tokenizer
// has them as added tokens that are not special; everything else in a prompt is plain text, a title that spells a token too.
int prompt_instruction(Ints *ids, const Tokenizer *t, const PromptStyle *style, Err *err);
int prompt_input(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *const *title, const char *const *text,
                 int n, Err *err);
int prompt_answer(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *title, const char *text, Err *err);

// What all prompts of a style begin with: the instruction, and the tokens of the input piece that stand before its first
// title, whatever that is. It is computed once for many prompts.
typedef struct PromptCommon {
    Ints ids;
    int of_input; // the last so many are of the input piece
} PromptCommon;

int prompt_common(PromptCommon *c, const Tokenizer *t, const PromptStyle *style, Err *err); // ids is freed by the caller
// Of the prompt that is the instruction and this input piece (n tokens): its last *own tokens are its own. 1: those behind the
// common ones; 0: it begins with others or has more than `room` tokens, and stands alone, without its oldest ones.
int prompt_shares(const PromptCommon *c, const int32_t *input, int n, int room, int *own);
static inline int prompt_instruction_len(const PromptCommon *c) {
    return (int)c->ids.len - c->of_input;
}

// The ids of a text that stands alone. pieces: its index pieces are tokens, as in an answer.
int prompt_item(Ints *ids, const Tokenizer *t, const char *text, int pieces, Err *err);

// The next piece of an index text at or after `from`: "<", at least one character but < and >, and ">". Returns its length,
// 0 where there is none; *begin: where it stands.
size_t prompt_piece(const char *text, size_t from, size_t *begin);

#endif
