// Rows of a split as token ids, ready for training and scoring.
#ifndef DATA_EXAMPLES_H
#define DATA_EXAMPLES_H

#include "data/dataset.h"
#include "text/prompt.h"

typedef struct Example {
    const int32_t *prompt; // what is behind the common beginning; or, of a row that lost its oldest tokens, all of it
    const int32_t *answer; // with end-of-text
    int prompt_len, answer_len;
    int shared; // the common beginning stands before the prompt
    int number; // of its row (dataset.h), whatever was sampled
} Example;

typedef struct Examples {
    int n;
    Example *example;
    PromptCommon common;
    int longest;   // tokens of the longest example, the common ones included
    int shortened; // rows that lost tokens
    int64_t answer_tokens;
    Ints ids; // memory of all
} Examples;

// limit_tokens: a row (prompt, thoughts, answer) longer than this loses its oldest tokens. One whose answer alone does not fit
// is left out, of `rows` too, counted and named in the log; strict makes it an error, as does a lack of others.
int examples_make(Examples *e, Rows *rows, const Tokenizer *t, const PromptStyle *style, int thoughts, int limit_tokens,
                  int strict, Err *err);
void examples_free(Examples *e);
// As rows_sample does with rows.
void examples_sample(Examples *e, int n, uint64_t seed);
// Tokens of b's prompt that a's begins with too, where they are so many that computing them once pays; else 0. Both have more.
int examples_join(const Example *a, const Example *b);
// Positions in the network that example i takes beside the common ones.
static inline int example_rows(const Example *x, int thoughts) {
    return x->prompt_len + thoughts + x->answer_len - 1;
}

#endif
