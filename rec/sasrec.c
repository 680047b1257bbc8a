#include "rec/sasrec.h"
#include "model/think.h"

#include <math.h>
#include <stdlib.h>

int sasrec_ranker_open(SasrecRanker *r, Llm *llm, const Items *items, const int32_t *token, int users, int k, int exclude_seen,
                       Err *err) {
    *r = (SasrecRanker){.items = items, .token = token, .users = users, .k = k, .exclude_seen = exclude_seen};
    const int64_t slots = (int64_t)users * (llm->config.max_positions + llm->config.thoughts);
    if (slots > INT32_MAX) return err_set(err, ERR_USAGE, "%d users at a time need too many positions", users);
    return session_init(&r->session, llm, (int)slots, err);
}

void sasrec_ranker_close(SasrecRanker *r) {
    session_free(&r->session);
    *r = (SasrecRanker){0};
}

static int item_of(const SasrecRanker *r, const History *h, int i) {
    return items_find(r->items, h->item_id ? h->item_id[i] : h->title[i], h->item_id != NULL);
}

// The last items that the model knows, as its tokens.
static ThinkPrompt prompt_of(SasrecRanker *r, const History *h) {
    const int most = r->session.llm->config.max_positions;
    int32_t *ids = ARENA_NEW(&r->session.host, int32_t, most + 1);
    int n = 0;
    for (int i = h->n - 1; i >= 0 && n < most; i--) {
        const int item = item_of(r, h, i);
        if (item >= 0 && r->token[item] >= 0) ids[n++] = r->token[item];
    }
    for (int i = 0; i < n / 2; i++) { // oldest first
        const int32_t swap = ids[i];
        ids[i] = ids[n - 1 - i];
        ids[n - 1 - i] = swap;
    }
    return (ThinkPrompt){.ids = ids, .len = n};
}

// The slots that predict the next item, for B prompts that are not empty.
static int32_t *predicting_slots(SasrecRanker *r, const ThinkPrompt *prompt, const int *number, int B) {
    const Ints nothing_common = {0};
    Session *s = &r->session;
    int32_t *slot = ARENA_NEW(&s->host, int32_t, B);
    Think t;
    Segment last;
    think_prompts(s, &t, -1, &nothing_common, prompt, B, NULL, NULL, THINK_FORWARD, 0);
    thoughts_give(&r->thoughts, s, &t, number);
    think_thoughts(s, &t, THINK_FORWARD, 0);
    thoughts_take(&r->thoughts, s, &t, number);
    think_predict(s, &t, &last, slot, 0);
    return slot;
}

static int spread(const SasrecRanker *r, const float *logits, float lse, float *score, Err *err) {
    for (int i = 0; i < r->items->n; i++) {
        const int known = r->token[i] >= 0 && !r->items->removed[i];
        score[i] = known ? logits[r->token[i]] - lse : -INFINITY;
        if (known && !isfinite(score[i])) return err_set(err, ERR_DATA, "the score of item %s is not finite", r->items->id[i]);
    }
    return 0;
}

int sasrec_ranker_scores(SasrecRanker *r, const History *h, int users, float *score, Err *err) {
    Session *s = &r->session;
    const size_t V = (size_t)s->llm->config.V, n = (size_t)r->items->n;
    const SessionMark mark = session_mark(s);
    CHECK(users <= r->users);
    ThinkPrompt *prompt = ARENA_NEW(&s->host, ThinkPrompt, users);
    int *user = ARENA_NEW(&s->host, int, users), *number = ARENA_NEW(&s->host, int, users), B = 0;
    for (int u = 0; u < users; u++) {
        prompt[B] = prompt_of(r, &h[u]);
        if (prompt[B].len > 0) number[B] = h[u].number, user[B++] = u;
        for (size_t i = 0; i < n; i++) score[(size_t)u * n + i] = r->token[i] >= 0 && !r->items->removed[i] ? 0 : -INFINITY;
    }
    int status = 0;
    if (B > 0) {
        HeadRows rows;
        head_rows(s, &rows, predicting_slots(r, prompt, number, B), B);
        float *logits = ARENA_NEW(&s->host, float, (size_t)B *V), *lse = ARENA_NEW(&s->host, float, B);
        ops_download(s->ops, logits, rows.logits, (size_t)B * V * sizeof(float));
        ops_download(s->ops, lse, rows.lse, (size_t)B * sizeof(float));
        for (int b = 0; b < B && status == 0; b++)
            status = spread(r, logits + (size_t)b * V, lse[b], score + (size_t)user[b] * n, err);
    }
    session_reset(s, mark);
    return status;
}

static int rank_score(void *self, const History *h, int users, float *score, Err *err) {
    SasrecRanker *r = self;
    if (sasrec_ranker_scores(r, h, users, score, err)) return -1;
    for (int u = 0; u < users && r->exclude_seen; u++)
        for (int i = 0; i < h[u].n; i++) {
            const int item = item_of(r, &h[u], i);
            if (item >= 0) score[(size_t)u * (size_t)r->items->n + (size_t)item] = -INFINITY;
        }
    return 0;
}

int sasrec_ranker_knows(const SasrecRanker *r, const History *h) {
    for (int i = 0; i < h->n; i++) {
        const int item = item_of(r, h, i);
        if (item >= 0 && r->token[item] >= 0) return 1;
    }
    return 0;
}

static int rank_list(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    SasrecRanker *r = self;
    const size_t n = (size_t)r->items->n;
    float *score = mem_alloc((size_t)users * n, sizeof *score);
    int status = rank_score(r, h, users, score, err);
    for (int u = 0; u < users && status == 0; u++) {
        float *mine = score + (size_t)u * n;
        found[u] = 0;
        if (sasrec_ranker_knows(r, &h[u]))
            status = ranker_best(mine, (int)n, r->k, out + (size_t)u * (size_t)r->k, &found[u], err);
    }
    free(score);
    return status;
}

Ranker sasrec_ranker(SasrecRanker *r) {
    return (Ranker){.self = r,
                    .items = r->items,
                    .users = r->users,
                    .k = r->k,
                    .seen_by_item = r->exclude_seen,
                    .rank = rank_list,
                    .score = rank_score};
}

int sasrec_losses(void *losses, double *loss, double *tokens, Err *err) {
    const SasrecLosses *x = losses;
    SasrecRanker *r = x->ranker;
    const size_t n = (size_t)r->items->n;
    float *score = mem_alloc((size_t)r->users * n, sizeof *score);
    History *history = mem_alloc((size_t)r->users, sizeof *history);
    int status = 0;
    for (int first = 0, users; first < x->rows->n && status == 0; first += users) {
        users = x->rows->n - first < r->users ? x->rows->n - first : r->users;
        for (int u = 0; u < users; u++) history[u] = ranker_history(&x->rows->row[first + u], first + u);
        status = sasrec_ranker_scores(r, history, users, score, err);
        for (int u = 0; u < users && status == 0; u++) {
            const int item = items_by_id(r->items, x->rows->row[first + u].target_id), known = item >= 0 && r->token[item] >= 0;
            tokens[first + u] = known && !r->items->removed[item] && sasrec_ranker_knows(r, &history[u]);
            loss[first + u] = tokens[first + u] > 0 ? -(double)score[(size_t)u * n + (size_t)item] : 0;
        }
    }
    free(score), free(history);
    return status;
}

void sasrec_ranks(Session *s, int32_t token, const int *node, int n, int k, int *rank) {
    const int V = s->llm->config.V;
    const SessionMark mark = session_mark(s);
    int32_t *slot = ARENA_NEW(&s->host, int32_t, n);
    for (int i = 0; i < n; i++) slot[i] = session_last(s, node[i]);
    HeadRows rows;
    head_rows(s, &rows, slot, n);
    float *score = ARENA_NEW(&s->host, float, (size_t)n *(size_t)V);
    ops_download(s->ops, score, rows.logits, (size_t)n * (size_t)V * sizeof(float));
    for (int i = 0; i < n; i++, score += V) {
        int before = 0;
        for (int v = 0; v < V; v++) before += v < token ? score[v] >= score[token] : score[v] > score[token];
        rank[i] = before < k && isfinite(score[token]) ? before + 1 : 0;
    }
    session_reset(s, mark);
}
