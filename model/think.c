#include "model/think.h"

static int any_shared(const ThinkPrompt *prompt, int B) {
    for (int b = 0; b < B; b++)
        if (prompt[b].shared) return 1;
    return 0;
}

// Prompts that begin alike run once as far as they do: a path of nodes, each up to a place where a later prompt leaves it,
// whichever segment that is of.
typedef struct Paths {
    const ThinkPrompt *prompt; // (B)
    int B;
    int n;          // of the present prompt's path
    int *at, *node; // (n) tokens up to the end of each node, and the node
} Paths;

static int joins_of(const ThinkPrompt *prompt, int b) {
    return b ? prompt[b].joins : 0;
}

static int rows_of(const ThinkPrompt *prompt, const ThinkPrompt *extra, int b) {
    return prompt[b].len - joins_of(prompt, b) + (extra ? extra[b].len : 0);
}

int think_slots(const ThinkPrompt *prompt, int B, int common_len, int thoughts) {
    int n = common_len + (thoughts > 0 ? B * (thoughts - 1) : 0);
    for (int b = 0; b < B; b++) n += rows_of(prompt, NULL, b);
    return n;
}

// Where the node of prompt b that begins behind `from` tokens ends.
static int next_end(const Paths *p, int b, int from) {
    int least = p->prompt[b].len;
    for (int c = b + 1; c < p->B && p->prompt[c].joins > from; c++)
        if (p->prompt[c].joins < least) least = p->prompt[c].joins;
    return least;
}

// Adds what prompt b has behind the one before it; returns its last node.
static int add_prompt(Session *s, Segment *g, Paths *p, int b, int root) {
    const ThinkPrompt *x = &p->prompt[b];
    const int joins = joins_of(p->prompt, b);
    CHECK(joins < x->len || joins == 0);
    while (p->n > 0 && p->at[p->n - 1] > joins) p->n--;
    int parent = x->prefix ? x->prefix : x->shared ? root : -1, from = joins;
    if (joins) parent = p->node[p->n - 1];
    if (x->len == 0) return x->prefix ? parent : segment_add(s, g, parent, x->ids, 0);
    for (int end; from < x->len; from = end) {
        end = next_end(p, b, from);
        parent = segment_add(s, g, parent, x->ids + from, end - from);
        p->at[p->n] = end, p->node[p->n++] = parent;
    }
    return parent;
}

// The prompts [first, end): as many nodes, one more for each that leaves another's path, and those of extra.
static void prompts_segment(Session *s, Think *t, const Ints *common, Paths *paths, const ThinkPrompt *extra, int *extra_node,
                            int first, int end, int record) {
    const ThinkPrompt *prompt = paths->prompt;
    int rows = (int)common->len;
    for (int b = first; b < end; b++) rows += rows_of(prompt, extra, b);
    segment_begin(s, &t->prompts, 2 * (end - first) + (paths->B - first) + 1, rows);
    if (t->root < 0 && any_shared(prompt + first, end - first))
        t->root = segment_add_shared(s, &t->prompts, common->data, (int)common->len);
    for (int b = first; b < end; b++) t->prompt[b] = add_prompt(s, &t->prompts, paths, b, t->root);
    for (int b = first; extra && b < end; b++) // of one token, which comes behind the last thought: nothing is left
        extra_node[b] = extra[b].len ? segment_add(s, &t->prompts, t->prompt[b], extra[b].ids, extra[b].len) : t->prompt[b];
    if (t->prompts.N > 0) segment_forward(s, &t->prompts, NULL, record);
}

void think_prompts(Session *s, Think *t, int root, const Ints *common, const ThinkPrompt *prompt, int B,
                   const ThinkPrompt *extra, int *extra_node, ThinkRecord record, int gradient_slots) {
    *t = (Think){.B = B, .thoughts = s->llm->config.thoughts, .root = root};
    CHECK(t->thoughts <= CONFIG_THOUGHTS);
    t->prompt = ARENA_NEW(&s->host, int, B);
    t->node = ARENA_NEW(&s->host, int, B);
    if (record == THINK_RECORD_ALL) session_want_gradients(s, gradient_slots);
    Paths paths = {prompt, B, .at = ARENA_NEW(&s->host, int, B + 1), .node = ARENA_NEW(&s->host, int, B + 1)};
    for (int first = 0, end = 0; first < B; first = end) {
        for (int rows = 0; end < B; end++) {
            rows += rows_of(prompt, extra, end);
            if (record != THINK_RECORD_ALL && rows > s->forward_rows && end > first) break;
        }
        prompts_segment(s, t, common, &paths, extra, extra_node, first, end, record == THINK_RECORD_ALL);
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

void think_forward(Session *s, Think *t, int root, const Ints *common, const ThinkPrompt *prompt, int B,
                   const ThinkPrompt *extra, int *extra_node, ThinkRecord record, int gradient_slots) {
    think_prompts(s, t, root, common, prompt, B, extra, extra_node, record, gradient_slots);
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
