#include "rec/explain.h"

#include <string.h>

// What stands for entry i in the prompt.
static const char *text_of(const Reader *r, const History *h, int i) {
    const char *text = r->style.index_histories && h->text ? h->text[i] : NULL;
    return text ? text : h->title[i];
}

// Where each title, with its quotes, lies in the text of the prompt: byte end[i] is the first behind it. 0 where the text is
// not there as it was given.
static int title_spans(const Reader *r, const History *h, const Str *prompt, size_t *begin, size_t *end) {
    size_t at = 0;
    Str quoted = {0};
    int found = 1;
    for (int i = h->n > PROMPT_HISTORY ? h->n - PROMPT_HISTORY : 0; i < h->n && found; i++) {
        str_clear(&quoted);
        str_printf(&quoted, "\"%s\"", text_of(r, h, i));
        const char *place = strstr(prompt->data + at, quoted.data);
        found = place != NULL;
        if (!found) break;
        begin[i] = (size_t)(place - prompt->data);
        at = end[i] = begin[i] + quoted.len;
    }
    str_free(&quoted);
    return found;
}

// Gives every token's weight to the title that it has bytes of, the first where it has bytes of two.
static int share_out(const Reader *r, const History *h, const int32_t *ids, size_t n, const float *token_weight, float *weight,
                     float *rest) {
    Arena *host = (Arena *)&r->session.host;
    size_t *begin = ARENA_NEW(host, size_t, h->n + 1), *end = ARENA_NEW(host, size_t, h->n + 1),
           *token_end = ARENA_NEW(host, size_t, n);
    Str text = {0};
    for (size_t t = 0; t < n; t++) {
        tokenizer_token_text(r->tokenizer, &text, ids[t]);
        token_end[t] = text.len;
    }
    const int found = text.len > 0 && title_spans(r, h, &text, begin, end);
    str_free(&text);
    if (!found) return 0;
    double sum = 0;
    for (int i = 0; i < h->n; i++) weight[i] = 0;
    size_t t = 0;
    for (int i = h->n > PROMPT_HISTORY ? h->n - PROMPT_HISTORY : 0; i < h->n; i++) {
        while (t < n && token_end[t] <= begin[i]) t++;
        for (; t < n && (t ? token_end[t - 1] : 0) < end[i]; t++) weight[i] += token_weight[t];
        sum += (double)weight[i];
    }
    *rest = (float)(1 - sum);
    return 1;
}

// The weights over the n tokens of the input piece, which begin behind the instruction.
static const float *token_weights(Reader *r, const ThinkPrompt *prompt, int n_input) {
    Session *s = &r->session;
    const int head = prompt_instruction_len(&r->common), length = head + n_input + s->llm->config.thoughts;
    float *all = ARENA_NEW(&s->host, float, length), *own = ARENA_NEW(&s->host, float, n_input);
    Think t;
    think_forward(s, &t, r->node, &r->common.ids, prompt, 1, NULL, NULL, THINK_FORWARD, 0);
    const int last = session_length(s, t.node[0]), n = latent_weights(s, &t.pass[t.thoughts - 1], 0, all, length);
    for (int i = 0; i < n_input; i++) {
        const int at = head + i - (last - n); // a window sees the last n positions
        own[i] = at >= 0 ? all[at] : 0;
    }
    return n > 0 ? own : NULL;
}

int explain_history(Reader *r, const History *h, float *weight, float *rest, Err *err) {
    const ModelConfig *c = &r->session.llm->config;
    if (c->thoughts == 0 || c->thought_hidden || h->n == 0) return 0;
    const int head = prompt_instruction_len(&r->common);
    r->text.len = 0;
    ints_append(&r->text, r->common.ids.data, (size_t)head);
    if (prompt_input(&r->text, r->tokenizer, &r->style, h->title, h->text, h->n, err)) return -1;
    if ((int)r->text.len > r->room) return 0;
    const int32_t *input = r->text.data + head;
    const int n = (int)r->text.len - head;
    ThinkPrompt prompt = {0};
    prompt.shared = prompt_shares(&r->common, input, n, r->room, &prompt.len);
    prompt.ids = r->text.data + r->text.len - prompt.len;
    const SessionMark before = session_mark(&r->session);
    const float *token_weight = token_weights(r, &prompt, n);
    const int found = token_weight && share_out(r, h, input, (size_t)n, token_weight, weight, rest);
    session_reset(&r->session, before);
    return found;
}
