#include "rec/score.h"

#include <math.h>

int score_open(Reader *r, Llm *llm, const Tokenizer *t, const PromptStyle *style, int users, int room, Err *err) {
    if (llm->rope.positions < room)
        return err_set(err, ERR_DATA, "the model has %d positions; rows have up to %d", llm->rope.positions, room);
    return reader_open(r, llm, t, style, users, room, room, 0, err);
}

double score_perplexity(RowScore s) {
    return exp(-s.logprob / s.tokens);
}

// The answers behind their thoughts. The last token of an answer is only a target, never an input.
static void score_answers(Session *s, const Example *x, int n, const int *node, RowScore *score) {
    int total = 0;
    for (int i = 0; i < n; i++) total += x[i].answer_len;
    Segment g;
    segment_begin(s, &g, n, total);
    int32_t *slot = ARENA_NEW(&s->host, int32_t, total), *target = ARENA_NEW(&s->host, int32_t, total);
    float *logprob = ARENA_NEW(&s->host, float, total);
    for (int i = 0, at = 0; i < n; i++) {
        int answer = segment_add(s, &g, node[i], x[i].answer, x[i].answer_len - 1);
        for (int j = 0; j < x[i].answer_len; j++, at++) {
            slot[at] = j == 0 ? session_last(s, node[i]) : session_slot(s, answer, j - 1);
            target[at] = x[i].answer[j];
        }
    }
    segment_forward(s, &g, NULL, 0);
    head_logprob(s, slot, target, total, logprob, NULL);
    for (int i = 0, at = 0; i < n; i++) {
        score[i] = (RowScore){.tokens = x[i].answer_len};
        for (int j = 0; j < x[i].answer_len; j++) score[i].logprob += (double)logprob[at++];
    }
}

void score_examples(Reader *r, const Examples *e, int first, int n, RowScore *score) {
    CHECK(first >= 0 && n > 0 && first + n <= e->n);
    Session *s = &r->session;
    ThinkPrompt *prompt = ARENA_NEW(&s->host, ThinkPrompt, n);
    int *node = ARENA_NEW(&s->host, int, n), *number = ARENA_NEW(&s->host, int, n);
    for (int i = 0; i < n; i++) {
        const Example *x = &e->example[first + i];
        prompt[i] = (ThinkPrompt){.ids = x->prompt, .len = x->prompt_len, .shared = x->shared};
        number[i] = first + i;
    }
    reader_prompts(r, prompt, number, n, node);
    score_answers(s, e->example + first, n, node, score);
    reader_end(r);
}
