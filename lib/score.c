// latentr3_score: a language model scores rows of a split, each user's history before each item; others score all items.
#include "rec/score.h"
#include "base/arena.h"
#include "lib/handle.h"

#include <math.h>
#include <stdlib.h>

typedef struct Pairs { // of one call
    latentr3 *r;
    const latentr3_history *history; // (users)
    int users, items, by_id;
    const int32_t *item; // (items)
    double *score;       // (users, items)
    int32_t *tokens;     // (users, items), or NULL
} Pairs;

typedef struct Told { // a history in the catalogue's terms
    const char **title, **id, **text;
} Told;

static Told tell(const Pairs *p, const latentr3_history *h) {
    const Items *items = &p->r->shelf->data.items;
    const size_t n = (size_t)h->n;
    Told t = {.title = mem_alloc(3 * n, sizeof *t.title)};
    t.id = t.title + n, t.text = t.id + n;
    for (int i = 0; i < h->n; i++) items_entry(items, h->entry[i], p->by_id, &t.title[i], &t.id[i], &t.text[i]);
    return t;
}

// Tokens of a prompt and its answer: what recommending reads, so that both have the same prompts.
static int room_of(const Model *m) {
    return m->llm->rope.positions < PROMPT_RECOMMEND_TOKENS ? m->llm->rope.positions : PROMPT_RECOMMEND_TOKENS;
}

static int open_reader(latentr3 *r, Err *err) {
    const Model *m = r->model;
    if (r->scores) return 0;
    if (score_open(&r->scoring, m->llm, m->tokenizer, &m->style, r->o.batch, room_of(m), err)) return -1;
    r->scores = 1;
    return 0;
}

// One user's items, as many at a time as the reader holds.
static int score_examples_of(const Pairs *p, const Examples *e, int user, Err *err) {
    latentr3 *r = p->r;
    RowScore *row = mem_alloc((size_t)e->n, sizeof *row);
    for (int i = 0; i < e->n; i += r->o.batch)
        score_examples(&r->scoring, e, i, e->n - i < r->o.batch ? e->n - i : r->o.batch, row + i);
    int status = 0;
    for (int i = 0; i < e->n && status == 0; i++) {
        const size_t at = (size_t)user * (size_t)p->items + (size_t)i;
        p->score[at] = row[i].logprob;
        if (p->tokens) p->tokens[at] = row[i].tokens;
        if (!isfinite(row[i].logprob)) status = err_set(err, ERR_DATA, "item %d: the score is not finite", p->item[i]);
    }
    free(row);
    return status;
}

static int score_by_words(const Pairs *p, int user, Err *err) {
    const Model *m = p->r->model;
    const Items *items = &p->r->shelf->data.items;
    const latentr3_history *h = &p->history[user];
    const Told t = tell(p, h);
    Rows rows = {.n = p->items, .row = mem_zalloc((size_t)p->items, sizeof *rows.row), .name = (char *)"score"};
    for (int i = 0; i < p->items; i++)
        rows.row[i] = (Row){.user = "",
                            .target_title = items->title[p->item[i]],
                            .target_id = items->id[p->item[i]],
                            .target_text = items->text[p->item[i]],
                            .n = h->n,
                            .title = t.title,
                            .item_id = t.id,
                            .text = t.text};
    Examples e;
    int status =
        open_reader(p->r, err) || examples_make(&e, &rows, m->tokenizer, &m->style, m->llm->config.thoughts, room_of(m), 1, err)
            ? -1
            : 0;
    if (status == 0) {
        status = score_examples_of(p, &e, user, err);
        examples_free(&e);
    }
    free(rows.row), free(t.title);
    return status;
}

// A baseline has scored the first item of each title.
static double score_of(const Engine *e, const float *all, int known, int item) {
    if (!known || e->shelf->data.items.removed[item]) return -INFINITY;
    return (double)all[e->token ? item : e->baseline.key[item]];
}

// What the engine says of an item that may be recommended.
static int score_by_items(const Pairs *p, int user, Err *err) {
    const Engine *e = p->r->engine;
    const Told t = tell(p, &p->history[user]);
    const History h = {
        .title = t.title, .item_id = p->by_id ? t.id : NULL, .text = t.text, .n = p->history[user].n, .number = user};
    const int known = engine_knows(e, &h);
    float *all = mem_alloc((size_t)latentr3_items(p->r), sizeof *all);
    const int status = e->scorer.score(e->scorer.self, &h, 1, all, err);
    for (int i = 0; i < p->items && status == 0; i++) {
        const size_t at = (size_t)user * (size_t)p->items + (size_t)i;
        p->score[at] = score_of(e, all, known, p->item[i]);
        if (p->tokens) p->tokens[at] = 0;
    }
    free(all), free(t.title);
    return status;
}

static int check_items(const Pairs *p, Err *err) {
    const int n = latentr3_items(p->r);
    if (p->items < 0) return err_set(err, ERR_USAGE, "%d items", p->items);
    if (p->items > 0 && !p->item) return err_set(err, ERR_USAGE, "item is NULL");
    if (p->items > 0 && p->users > 0 && !p->score) return err_set(err, ERR_USAGE, "score is NULL");
    for (int i = 0; i < p->items; i++)
        if (p->item[i] < 0 || p->item[i] >= n)
            return err_set(err, ERR_USAGE, "item %d: the catalogue's numbers are 0 to %d", p->item[i], n - 1);
    return 0;
}

static int score_all(void *context, Err *err) {
    const Pairs *p = context;
    int status = 0;
    for (int u = 0; u < p->users && status == 0; u++) {
        status = p->r->model->tokenizer ? score_by_words(p, u, err) : score_by_items(p, u, err);
        if (status) err_prefix(err, "user %d", u);
    }
    return status;
}

int latentr3_score(latentr3 *r, const latentr3_history *history, int users, const latentr3_query *query, const int32_t *item,
                   int items, double *score, int32_t *tokens, latentr3_error *error) {
    Err err = {0};
    latentr3_query q;
    if (handle_query(&q, query, &err) || handle_histories(r, history, users, &q, &err)) return handle_fail(error, &err);
    const Pairs p = {r, history, users, items, q.by_id, item, score, tokens};
    if (check_items(&p, &err)) return handle_fail(error, &err);
    if (users == 0 || items == 0) return 0;
    pthread_mutex_lock(&r->lock);
    const int status = handle_run(score_all, (void *)&p, &err);
    pthread_mutex_unlock(&r->lock);
    return status ? handle_fail(error, &err) : 0;
}
