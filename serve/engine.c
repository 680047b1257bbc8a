#include "serve/engine.h"
#include "base/arena.h"
#include "rec/explain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

Model *model_hold(Model *m) {
    atomic_fetch_add(&m->holders, 1);
    return m;
}

void model_drop(Model *m) {
    if (!m || atomic_fetch_sub(&m->holders, 1) > 1) return;
    if (m->close) m->close(m->self);
    free(m->name);
    free(m);
}

void answer_free(Answer *a) {
    free(a->item), free(a->plain), free(a->weight);
    *a = (Answer){0};
}

// ---- opening ----------------------------------------------------------------------------------------------------------

// The caches are reserved for the longest prompts and the widest searches; a range that is spent would end the program.
static int check_memory(const Llm *m, const Trie *t, const EngineOptions *o, Err *err) {
    const ModelConfig *c = &m->config;
    const BeamOptions beam = {.beams = o->beams, .chain_ahead = RECOMMEND_CHAIN_AHEAD};
    const double slots = (double)o->users * (PROMPT_RECOMMEND_TOKENS + c->thoughts) + (double)beam_slots(t, &beam, o->users);
    const double slot = (2.0 * c->L * c->G * c->K + 2.0 * c->D) * (double)dtype_bytes(ops_dtype(m->ops)),
                 machine = (double)arena_machine_bytes();
    if (slots < INT32_MAX && slots * slot < 0.75 * machine) return 0;
    return err_set(err, ERR_MEMORY, "%d users at a time and %d beams would need caches of %.1f GiB, the machine has %.1f",
                   o->users, o->beams, slots * slot / (1 << 30), machine / (1 << 30));
}

static int open_recommender(Engine *e, Recommender *r, Llm *llm, int users, PrefixCache *prefixes, Err *err) {
    const RecommendOptions options = {.beams = e->o.beams,
                                      .k = e->o.beams,
                                      .users = users,
                                      .length_penalty = e->o.length_penalty,
                                      .chain_ahead = RECOMMEND_CHAIN_AHEAD,
                                      .skip_ghosts = e->o.skip_ghosts,
                                      .prefixes = prefixes};
    return recommend_open(r, llm, e->model->tokenizer, &e->model->style, &e->catalogue, &options, err);
}

static int open_language_model(Engine *e, Err *err) {
    Model *m = e->model;
    if (catalogue_open(&e->catalogue, &e->shelf->data.items, m->tokenizer, &m->style, e->o.index, err)) return -1;
    prefix_open(&e->prefixes, e->o.prefix_bytes);
    if (check_memory(m->llm, &e->catalogue.trie, &e->o, err)) return -1;
    return open_recommender(e, &e->recommender, m->llm, e->o.users, e->o.prefix_bytes ? &e->prefixes : NULL, err);
}

static int open_baseline(Engine *e, Err *err) {
    if (dataset_rows(&e->shelf->data, &e->train, "train", 0, err)) return -1;
    baseline_open(&e->baseline, &e->shelf->data.items, &e->train, MATCH_TITLE);
    e->baseline_ranker = (BaselineRanker){.b = &e->baseline,
                                          .kind = (BaselineKind)e->model->baseline,
                                          .users = e->o.users,
                                          .k = e->o.beams,
                                          .seed = e->model->seed};
    e->scorer = baseline_ranker(&e->baseline_ranker);
    return 0;
}

static int open_sasrec(Engine *e, Err *err) {
    const Items *items = &e->shelf->data.items;
    e->token = e->model->tokens(e->model->self, items);
    if (sasrec_ranker_open(&e->sasrec, e->model->llm, items, e->token, e->o.users, e->o.beams, 0, err)) return -1;
    e->scorer = sasrec_ranker(&e->sasrec);
    return 0;
}

int engine_open(Engine **engine, Model *m, Shelf *s, const EngineOptions *o, Err *err) {
    Engine *e = mem_zalloc(1, sizeof *e);
    e->model = model_hold(m);
    e->shelf = shelf_hold(s);
    e->o = *o;
    int status = m->tokenizer ? open_language_model(e, err) : m->tokens ? open_sasrec(e, err) : open_baseline(e, err);
    if (status) engine_close(e);
    *engine = status ? NULL : e;
    return status;
}

void engine_close(Engine *e) {
    if (!e) return;
    recommend_close(&e->plain);
    recommend_close(&e->recommender);
    prefix_close(&e->prefixes);
    catalogue_free(&e->catalogue);
    if (e->sasrec.items) sasrec_ranker_close(&e->sasrec);
    free(e->token);
    baseline_ranker_free(&e->baseline_ranker);
    baseline_close(&e->baseline);
    rows_free(&e->train);
    shelf_drop(e->shelf);
    model_drop(e->model);
    free(e);
}

void engine_inherit(Engine *e, Engine *from) {
    if (e->model != from->model) return;
    const PrefixCache kept = from->prefixes;
    from->prefixes = e->prefixes;
    e->prefixes = kept;
    from->prefixes.asked_tokens = kept.asked_tokens, from->prefixes.found_tokens = kept.found_tokens; // counted with its work
    e->prefixes.asked_tokens = e->prefixes.found_tokens = 0;
}

EngineWork engine_work(const Engine *e) {
    const Session *s = e->model->tokenizer ? &e->recommender.reader.session : &e->sasrec.session;
    const BeamStats *b = &e->recommender.stats;
    return (EngineWork){s->tokens_run,           s->thoughts_run, b->steps, b->rows, b->illegal, e->prefixes.asked_tokens,
                        e->prefixes.found_tokens};
}

// ---- what users ask for, in the catalogue's terms ---------------------------------------------------------------------

typedef struct Wanted { // the arrays of one user
    const char **title, **id, **text;
    uint8_t *allowed;
    History history;
} Wanted;

static void mark(uint8_t *allowed, const Items *items, const char *const *id, int n, uint8_t value) {
    for (int i = 0; i < n; i++) {
        const int item = items_by_id(items, id[i]);
        if (item >= 0) allowed[item] = value;
    }
}

// NULL where all items may be recommended.
static uint8_t *allowed_items(const Ask *ask, const Items *items) {
    if (ask->allows < 0 && ask->denies == 0) return NULL;
    uint8_t *allowed = mem_alloc((size_t)items->n, 1);
    memset(allowed, ask->allows < 0, (size_t)items->n);
    mark(allowed, items, ask->allow, ask->allows, 1);
    mark(allowed, items, ask->deny, ask->denies, 0);
    return allowed;
}

// By id or by title; ids that the catalogue lacks are left out, titles stand in the prompt as they are.
static void want(Wanted *w, const Ask *ask, const Items *items) {
    const size_t n = (size_t)ask->n + 1;
    *w = (Wanted){mem_alloc(n, sizeof(char *)), mem_alloc(n, sizeof(char *)), mem_alloc(n, sizeof(char *)), NULL, {0}};
    int k = 0;
    for (int i = 0; i < ask->n; i++) {
        const int item = ask->by_id ? items_by_id(items, ask->history[i]) : items_by_title(items, ask->history[i]);
        if (item < 0 && ask->by_id) continue;
        w->title[k] = ask->by_id ? items->title[item] : ask->history[i];
        w->id[k] = item < 0 ? NULL : items->id[item];
        w->text[k++] = item < 0 ? NULL : items->text[item];
    }
    w->history = (History){.title = w->title, .item_id = ask->by_id ? w->id : NULL, .text = w->text, .n = k};
    w->allowed = allowed_items(ask, items);
}

static void want_free(Wanted *w) {
    free(w->title), free(w->id), free(w->text), free(w->allowed);
}

// ---- ranking ----------------------------------------------------------------------------------------------------------

static Recommendation *copy_items(const Recommendation *item, int n) {
    Recommendation *copy = mem_alloc((size_t)n + 1, sizeof *copy);
    memcpy(copy, item, (size_t)n * sizeof *copy);
    return copy;
}

static RecommendWish wish_of(const Ask *ask, const Wanted *w) {
    return (RecommendWish){.beams = ask->beams, .k = ask->k, .exclude_seen = ask->exclude_seen, .allowed = w->allowed};
}

static int search(Engine *e, const Ask *const *ask, const Wanted *w, Answer *const *answer, int users, Err *err) {
    const size_t k = (size_t)e->o.beams;
    Recommendation *out = mem_alloc((size_t)users * k, sizeof *out);
    RecommendWish *wish = mem_alloc((size_t)users, sizeof *wish);
    History *history = mem_alloc((size_t)users, sizeof *history);
    int *found = mem_alloc((size_t)users, sizeof *found);
    for (int u = 0; u < users; u++) {
        wish[u] = wish_of(ask[u], &w[u]);
        history[u] = w[u].history;
    }
    const int status = recommend_wishes(&e->recommender, history, wish, users, out, found, err);
    for (int u = 0; u < users && status == 0; u++) {
        answer[u]->item = copy_items(out + (size_t)u * k, found[u]);
        answer[u]->n = found[u];
    }
    free(out), free(wish), free(history), free(found);
    return status;
}

// The best of the items that the wish leaves; of items that share a title the first.
static int best(const Engine *e, const Ask *ask, const Wanted *w, float *score, Answer *answer, Err *err) {
    const Items *items = &e->shelf->data.items;
    Recommendation *out = mem_alloc((size_t)ask->k, sizeof *out);
    for (int i = 0; i < items->n; i++)
        if (items->removed[i] || (w->allowed && !w->allowed[i])) score[i] = -INFINITY;
    for (int i = 0; i < w->history.n && ask->exclude_seen; i++) {
        const int seen = w->id[i] ? items_by_id(items, w->id[i]) : -1;
        if (seen >= 0) score[seen] = -INFINITY;
    }
    const int status = ranker_best(score, items->n, ask->k, out, &answer->n, err);
    answer->item = out;
    return status;
}

// A SASRec that knows nothing of a history has no list for it.
static int knows_any(const Engine *e, const Wanted *w) {
    for (int i = 0; i < w->history.n; i++) {
        const int item = w->id[i] ? items_by_id(&e->shelf->data.items, w->id[i]) : -1;
        if (item >= 0 && e->token[item] >= 0) return 1;
    }
    return 0;
}

static int score_all(Engine *e, const Ask *const *ask, const Wanted *w, Answer *const *answer, int users, Err *err) {
    const size_t n = (size_t)e->shelf->data.items.n;
    float *score = mem_alloc((size_t)users * n, sizeof *score);
    History *history = mem_alloc((size_t)users, sizeof *history);
    for (int u = 0; u < users; u++) history[u] = w[u].history;
    int status = e->scorer.score(e->scorer.self, history, users, score, err);
    for (int u = 0; u < users && status == 0; u++)
        if (!e->token || knows_any(e, &w[u])) status = best(e, ask[u], &w[u], score + (size_t)u * n, answer[u], err);
    free(score), free(history);
    return status;
}

// ---- why --------------------------------------------------------------------------------------------------------------

static int open_plain(Engine *e, Err *err) {
    if (e->plain.catalogue) return 0;
    e->plain_llm = *e->model->llm;
    e->plain_llm.config.thoughts = e->plain_llm.config.answer_sees_thought = 0;
    if (open_recommender(e, &e->plain, &e->plain_llm, 1, e->recommender.reader.prefixes, err) == 0) return 0;
    e->plain = (Recommender){0};
    return -1;
}

static int without_thought(Engine *e, const Ask *ask, const Wanted *w, Answer *answer, Err *err) {
    const RecommendWish wish = wish_of(ask, w);
    if (open_plain(e, err)) return -1;
    Recommendation *out = mem_alloc((size_t)e->o.beams, sizeof *out);
    const int status = recommend_wishes(&e->plain, &w->history, &wish, 1, out, &answer->plains, err);
    answer->plain = out;
    return status;
}

// A window of the weights is in the order of the ask's own entries, of which some may not be in the history.
static int explain(Engine *e, const Ask *ask, const Wanted *w, Answer *answer, Err *err) {
    const Items *items = &e->shelf->data.items;
    answer->explained = 1;
    answer->plains = -1;
    if (!e->model->tokenizer || e->model->llm->config.thoughts == 0) return 0;
    if (without_thought(e, ask, w, answer, err)) return -1;
    float *weight = mem_alloc((size_t)w->history.n + 1, sizeof *weight);
    const int found = explain_history(&e->recommender.reader, &w->history, weight, &answer->rest, err);
    if (found == 1) {
        answer->weight = mem_zalloc((size_t)ask->n + 1, sizeof *answer->weight);
        for (int i = 0, k = 0; i < ask->n; i++)
            if (!ask->by_id || items_by_id(items, ask->history[i]) >= 0) answer->weight[i] = weight[k++];
    }
    free(weight);
    return found < 0 ? -1 : 0;
}

int engine_rank(Engine *e, const Ask *const *ask, Answer *const *answer, int users, Err *err) {
    const Items *items = &e->shelf->data.items;
    CHECK(users > 0 && users <= e->o.users);
    Wanted *w = mem_alloc((size_t)users, sizeof *w);
    for (int u = 0; u < users; u++) want(&w[u], ask[u], items);
    int status = e->model->tokenizer ? search(e, ask, w, answer, users, err) : score_all(e, ask, w, answer, users, err);
    for (int u = 0; u < users && status == 0; u++)
        if (ask[u]->explain) status = explain(e, ask[u], &w[u], answer[u], err);
    for (int u = 0; u < users; u++) want_free(&w[u]);
    free(w);
    return status;
}
