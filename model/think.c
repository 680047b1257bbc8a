#include "model/think.h"

int think_slots(const ThinkPrompt *prompt, int B, int instruction_len, int thoughts) {
    int n = instruction_len + (thoughts > 0 ? B * (thoughts - 1) : 0);
    for (int b = 0; b < B; b++) n += prompt[b].len;
    return n;
}

static int any_shared(const ThinkPrompt *prompt, int B) {
    for (int b = 0; b < B; b++)
        if (prompt[b].shared) return 1;
    return 0;
}

static int rows_of(const ThinkPrompt *prompt, const ThinkPrompt *extra, int b) {
    return prompt[b].len + (extra ? extra[b].len : 0);
}

// The prompts [first, end).
static void prompts_segment(Session *s, Think *t, const Ints *instruction, const ThinkPrompt *prompt, const ThinkPrompt *extra,
                            int *extra_node, int first, int end, int record) {
    int rows = (int)instruction->len;
    for (int b = first; b < end; b++) rows += rows_of(prompt, extra, b);
    segment_begin(s, &t->prompts, 2 * (end - first) + 1, rows);
    if (t->root < 0 && any_shared(prompt + first, end - first))
        t->root = segment_add(s, &t->prompts, -1, instruction->data, (int)instruction->len);
    for (int b = first; b < end; b++) {
        const int parent = prompt[b].prefix ? prompt[b].prefix : prompt[b].shared ? t->root : -1;
        t->prompt[b] =
            prompt[b].len || !prompt[b].prefix ? segment_add(s, &t->prompts, parent, prompt[b].ids, prompt[b].len) : parent;
    }
    for (int b = first; extra && b < end; b++) // of one token, which comes behind the last thought: nothing is left
        extra_node[b] = extra[b].len ? segment_add(s, &t->prompts, t->prompt[b], extra[b].ids, extra[b].len) : t->prompt[b];
    if (t->prompts.N > 0) segment_forward(s, &t->prompts, NULL, record);
}

void think_prompts(Session *s, Think *t, int root, const Ints *instruction, const ThinkPrompt *prompt, int B,
                   const ThinkPrompt *extra, int *extra_node, ThinkRecord record, int gradient_slots) {
    *t = (Think){.B = B, .thoughts = s->llm->config.thoughts, .root = root};
    CHECK(t->thoughts <= CONFIG_THOUGHTS);
    t->prompt = ARENA_NEW(&s->host, int, B);
    t->node = ARENA_NEW(&s->host, int, B);
    if (record == THINK_RECORD_ALL) session_want_gradients(s, gradient_slots);
    for (int first = 0, end = 0; first < B; first = end) {
        for (int rows = 0; end < B; end++) {
            rows += rows_of(prompt, extra, end);
            if (record != THINK_RECORD_ALL && rows > s->forward_rows && end > first) break;
        }
        prompts_segment(s, t, instruction, prompt, extra, extra_node, first, end, record == THINK_RECORD_ALL);
    }
}

static int chain_place(const ThinkChain *c, int i) {
    return c->place ? c->place[i] : i + 1;
}

void think_chains(Session *s, Think *t, const ThinkChain *chain, int n, ThinkRecord record, int gradient_slots) {
    *t = (Think){.thoughts = s->llm->config.thoughts, .root = -1};
    int rows = 0;
    for (int i = 0; i < n; i++) t->B += chain[i].places, rows += chain_place(&chain[i], chain[i].places - 1);
    t->prompt = ARENA_NEW(&s->host, int, t->B);
    t->node = ARENA_NEW(&s->host, int, t->B);
    if (record == THINK_RECORD_ALL) session_want_gradients(s, gradient_slots);
    segment_begin(s, &t->prompts, t->B, rows);
    for (int i = 0, b = 0; i < n; i++)
        for (int j = 0, from = 0; j < chain[i].places; j++, b++) { // a node up to each place, so that others can follow it
            const int end = chain_place(&chain[i], j);
            t->prompt[b] = segment_add(s, &t->prompts, j ? t->prompt[b - 1] : -1, chain[i].ids + from, end - from);
            s->node[t->prompt[b]].sequence = chain[i].sequence;
            from = end;
        }
    segment_forward(s, &t->prompts, NULL, record == THINK_RECORD_ALL);
    think_thoughts(s, t, record, gradient_slots);
}

void think_thoughts(Session *s, Think *t, ThinkRecord record, int gradient_slots) {
    const int32_t given = -1;
    CHECK(!t->given || record == THINK_FORWARD);
    if (record == THINK_RECORD_THOUGHTS) session_want_gradients(s, gradient_slots);
    for (int b = 0; b < t->B; b++) t->node[b] = t->prompt[b];
    for (int n = 0; n < t->thoughts; n++) {
        if (n > 0) {
            Segment *g = &t->thought[n - 1];
            segment_begin(s, g, t->B, t->B);
            for (int b = 0; b < t->B; b++) t->node[b] = segment_add(s, g, t->node[b], &given, 1);
            segment_forward(s, g, t->r, record != THINK_FORWARD);
        }
        if (!t->given) latent_forward(s, &t->pass[n], t->node, t->B);
        t->r = t->given ? t->given + (size_t)n * (size_t)t->B * (size_t)s->llm->config.D : t->pass[n].r;
    }
}

void think_forward(Session *s, Think *t, int root, const Ints *instruction, const ThinkPrompt *prompt, int B,
                   const ThinkPrompt *extra, int *extra_node, ThinkRecord record, int gradient_slots) {
    think_prompts(s, t, root, instruction, prompt, B, extra, extra_node, record, gradient_slots);
    think_thoughts(s, t, record, gradient_slots);
}

int think_follow(Session *s, const Think *t, int b, Segment *g, const int32_t *ids, int len) {
    int node = segment_add(s, g, t->node[b], ids, len);
    if (s->llm->config.answer_sees_thought) s->node[node].sees_from = session_length(s, t->prompt[b]);
    return node;
}

void think_predict(Session *s, const Think *t, Segment *g, int32_t *slot, int record) {
    const int32_t given = -1;
    if (t->r) segment_begin(s, g, t->B, t->B);
    for (int b = 0; b < t->B; b++) slot[b] = session_last(s, t->r ? think_follow(s, t, b, g, &given, 1) : t->node[b]);
    if (t->r) segment_forward(s, g, t->r, record);
}

void think_backward(Session *s, Think *t, float *dr) {
    for (int n = t->thoughts - 1; n >= 0; n--) {
        latent_backward(s, &t->pass[n], dr);
        if (n > 0) segment_backward(s, &t->thought[n - 1], dr);
    }
    t->prompts.last = s->last;
    if (t->prompts.record) segment_backward(s, &t->prompts, NULL);
}
