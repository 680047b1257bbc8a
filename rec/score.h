// How likely the model finds what users really chose: log-probability and perplexity of each row's answer.
#ifndef REC_SCORE_H
#define REC_SCORE_H

#include "data/examples.h"
#include "rec/reader.h"

typedef struct RowScore {
    int tokens;     // of the answer, end-of-text included
    double logprob; // natural log, summed over them
} RowScore;

// A reader with room for rows of `room` tokens, prompt and answer.
int score_open(Reader *r, Llm *llm, const Tokenizer *t, const PromptStyle *style, int users, int room, Err *err);

// score (n): of the examples first .. first + n, at most r->users of them. The examples were made for the same tokenizer,
// style and thoughts, with at most the reader's room.
void score_examples(Reader *r, const Examples *e, int first, int n, RowScore *score);

double score_perplexity(RowScore s); // exp(-logprob / tokens)

#endif
