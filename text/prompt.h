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
} PromptStyle;

// The text of each piece, appended; the titles stand oldest first.
void prompt_instruction_text(Str *out, const char *category);
void prompt_input_text(Str *out, const char *category, const char *const *title, int n);
void prompt_answer_text(Str *out, const char *title);

// Their ids, appended. The instruction begins with BOS where there is one. At most the last PROMPT_HISTORY titles are used.
int prompt_instruction(Ints *ids, const Tokenizer *t, const PromptStyle *style, Err *err);
int prompt_input(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *const *title, int n, Err *err);
int prompt_answer(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *title, Err *err);

#endif
