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
    shelf_drop(a->shelf);
    free(a->item), free(a->plain), free(a->weight);
    *a = (Answer){0};
}

// ---- what users ask for, in the catalogue's terms ---------------------------------------------------------------------

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

static EnginePlace *enter(Engine *e, const Ask *ask) {
    const Items *items = &e->shelf->data.items;
    const size_t n = (size_t)ask->n + 1;
    EnginePlace *p = e->place;
    while (p->ask) p++;
    *p = (EnginePlace){.ask = ask,
                       .title = mem_alloc(n, sizeof *p->title),
                       .id = mem_alloc(n, sizeof *p->id),
                       .text = mem_alloc(n, sizeof *p->text),
                       .allowed = allowed_items(ask, items)};
    int k = 0;
    for (int i = 0; i < ask->n; i++)
        if (items_entry(items, ask->history[i], ask->by_id, &p->title[k], &p->id[k], &p->text[k]) >= 0 || !ask->by_id) k++;
    p->history =
        (History){.title = p->title, .item_id = ask->by_id ? p->id : NULL, .text = p->text, .n = k, .number = ask->number};
    e->joined++;
    return p;
}

static void leave(Engine *e, EnginePlace *p) {
    free(p->title), free(p->id), free(p->text), free(p->allowed);
    answer_free(&p->answer);
    *p = (EnginePlace){0};
    e->joined--;
}

// ---- opening ----------------------------------------------------------------------------------------------------------

// The caches are reserved for the longest prompts and the widest searches; a range that is spent would end the program.
static int check_memory(const Llm *m, const Trie *t, const EngineOptions *o, Err *err) {
    const ModelConfig *c = &m->config;
    const BeamOptions beam = {.beams = o->beams};
    const double slots = (double)o->users * (PROMPT_RECOMMEND_TOKENS + c->thoughts) + (double)beam_slots(t, &beam, o->users);
    const double slot = (2.0 * c->L * c->G * c->K + 2.0 * c->D) * (double)dtype_bytes(ops_dtype(m->ops)),
                 room = fmin(0.75 * (double)ops_memory_bytes(m->ops), (double)ops_free_bytes(m->ops));
    if (slots < INT32_MAX && slots * slot < room) return 0;
    return err_set(err, ERR_MEMORY,
                   "%d users at a time and %d beams would need caches of %.1f GiB, the device has room for %.1f", o->users,
                   o->beams, slots * slot / (1 << 30), room / (1 << 30));
}

static int open_recommender(Engine *e, Recommender *r, Llm *llm, int users, PrefixCache *prefixes, Err *err) {
    const RecommendOptions options = {.beams = e->o.beams,
                                      .k = e->o.beams,
                                      .users = users,
                                      .length_penalty = e->o.length_penalty,
                                      .skip_ghosts = e->o.skip_ghosts,
                                      .prefixes = prefixes};
    return recommend_open(r, llm, e->model->tokenizer, &e->model->style, &e->catalogue, &options, err);
}

static int open_language_model(Engine *e, Err *err) {
    Model *m = e->model;
    if (catalogue_open(&e->catalogue, &e->shelf->data.items, m->tokenizer, &m->style, e->o.index, err)) return -1;
    prefix_open(&e->prefixes, e->o.prefix_bytes);
    // All that engine_start will find: by then a change of the catalogue is on the disk.
    if (recommend_fits(m->llm, m->tokenizer, &m->style, &e->catalogue, err)) return -1;
    return check_memory(m->llm, &e->catalogue.trie, &e->o, err);
}

int engine_check_item(const Engine *e, int item, Err *err) {
    const Model *m = e->model;
    const Items *items = &e->shelf->data.items;
    Ints ids = {0};
    if (!m->tokenizer) return 0;
    int status = prompt_answer(&ids, m->tokenizer, &m->style, items->title[item], items->text[item], err);
    if (status == 0 && recommend_crowds(m->llm, (int)ids.len))
        status =
            err_set(err, ERR_DATA, "item %s: an answer of %zu tokens would leave fewer than %d of %d positions for prompts",
                    items->id[item], ids.len, PROMPT_RECOMMEND_TOKENS, m->llm->rope.positions);
    ints_free(&ids);
    return status;
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

static int start_sasrec(Engine *e, Err *err) {
    const Items *items = &e->shelf->data.items;
    if (sasrec_ranker_open(&e->sasrec, e->model->llm, items, e->token, e->o.users, e->o.beams, 0, err)) return -1;
    e->scorer = sasrec_ranker(&e->sasrec);
    return 0;
}

int engine_start(Engine *e, Err *err) {
    const Model *m = e->model;
    if (e->started) return 0;
    if (m->tokenizer &&
        open_recommender(e, &e->recommender, m->llm, e->o.users, e->o.prefix_bytes ? &e->prefixes : NULL, err)) {
        e->recommender = (Recommender){0};
        return -1;
    }
    if (m->tokens && start_sasrec(e, err)) return -1;
    e->started = 1;
    return 0;
}

void engine_rest(const Engine *e) {
    if (e->model->llm) ops_rest(e->model->llm->ops);
}

int engine_open(Engine **engine, Model *m, Shelf *s, const EngineOptions *o, Err *err) {
    CHECK(o->users > 0 && o->users <= ENGINE_USERS);
    Engine *e = mem_zalloc(1, sizeof *e);
    e->model = model_hold(m);
    e->shelf = shelf_hold(s);
    e->o = *o;
    e->place = mem_zalloc((size_t)o->users, sizeof *e->place);
    int status = m->tokenizer       ? open_language_model(e, err)
                 : m->baseline >= 0 ? open_baseline(e, err)
                                    : m->tokens(m->self, &s->data.items, &e->token, err);
    if (status) engine_close(e);
    *engine = status ? NULL : e;
    return status;
}

void engine_close(Engine *e) {
    if (!e) return;
    for (int i = 0; i < e->o.users; i++)
        if (e->place[i].ask) leave(e, &e->place[i]);
    free(e->place);
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
    const Session *plain = &e->plain.reader.session; // of the searches without a thought that `explain` asks for
    const BeamStats *b = &e->recommender.stats, *c = &e->plain.stats;
    return (EngineWork){.tokens = s->tokens_run + plain->tokens_run,
                        .thoughts = s->thoughts_run,
                        .beam_steps = b->steps + c->steps,
                        .beam_rows = b->rows + c->rows,
                        .illegal = b->illegal + c->illegal,
                        .prompt_tokens = e->prefixes.asked_tokens,
                        .known_tokens = e->prefixes.found_tokens};
}

static RecommendWish wish_of(const EnginePlace *p) {
    const Ask *ask = p->ask;
    return (RecommendWish){.beams = ask->beams, .k = ask->k, .exclude_seen = ask->exclude_seen, .allowed = p->allowed};
}

// ---- models that score all items: the answer is there at once ---------------------------------------------------------

static int may_recommend(const Engine *e, const EnginePlace *p, int item) {
    return !e->shelf->data.items.removed[item] && (!p->allowed || p->allowed[item]);
}

// A baseline scores the first item of each title. The title's score goes to the first one that may be recommended.
static void score_titles(const Engine *e, const EnginePlace *p, float *score) {
    const int n = e->shelf->data.items.n, *key = e->baseline.key;
    uint8_t *given = mem_zalloc((size_t)n, 1);
    for (int i = 0; i < n; i++) {
        if (given[key[i]] || !may_recommend(e, p, i)) continue;
        given[key[i]] = 1;
        score[i] = score[key[i]];
    }
    free(given);
}

// The best of the items that the wish leaves.
static int best(const Engine *e, EnginePlace *p, float *score) {
    const Items *items = &e->shelf->data.items;
    p->answer.item = mem_alloc((size_t)p->ask->k, sizeof *p->answer.item);
    const int by_title = e->model->baseline >= 0;
    for (int i = 0; i < p->history.n && p->ask->exclude_seen; i++) {
        const int seen = p->id[i] ? items_by_id(items, p->id[i]) : -1;
        if (seen >= 0) score[by_title ? e->baseline.key[seen] : seen] = -INFINITY;
    }
    if (by_title) score_titles(e, p, score);
    for (int i = 0; i < items->n; i++)
        if (!may_recommend(e, p, i)) score[i] = -INFINITY;
    return ranker_best(score, items->n, p->ask->k, p->answer.item, &p->answer.n, &p->err);
}

int engine_knows(const Engine *e, const History *h) {
    return e->token ? sasrec_ranker_knows(&e->sasrec, h) : baseline_ranker_knows(&e->baseline_ranker, h);
}

int engine_knows_item(const Engine *e, int item) {
    return !e->token || e->token[item] >= 0;
}

static int score_all(Engine *e, EnginePlace *const *p, int users, Err *err) {
    const size_t n = (size_t)e->shelf->data.items.n;
    float *score = mem_alloc((size_t)users * n, sizeof *score);
    History *history = mem_alloc((size_t)users, sizeof *history);
    for (int u = 0; u < users; u++) history[u] = p[u]->history;
    const int status = e->scorer.score(e->scorer.self, history, users, score, err);
    for (int u = 0; u < users && status == 0; u++)
        if (engine_knows(e, &history[u])) best(e, p[u], score + (size_t)u * n);
    free(score), free(history);
    return status;
}

// ---- language models --------------------------------------------------------------------------------------------------

static int join_search(Engine *e, EnginePlace *const *p, int users, Err *err) {
    RecommendWish *wish = mem_alloc((size_t)users, sizeof *wish);
    History *history = mem_alloc((size_t)users, sizeof *history);
    int *place = mem_alloc((size_t)users, sizeof *place);
    for (int u = 0; u < users; u++) {
        wish[u] = wish_of(p[u]);
        history[u] = p[u]->history;
    }
    const int status = recommend_join(&e->recommender, history, wish, users, place, err);
    for (int u = 0; u < users && status == 0; u++) p[u]->search = place[u];
    free(wish), free(history), free(place);
    return status;
}

static int open_plain(Engine *e, Err *err) {
    if (e->plain.catalogue) return 0;
    e->plain_llm = *e->model->llm;
    e->plain_llm.config.thoughts = e->plain_llm.config.answer_sees_thought = 0;
    if (open_recommender(e, &e->plain, &e->plain_llm, 1, e->recommender.reader.prefixes, err) == 0) return 0;
    e->plain = (Recommender){0};
    return -1;
}

static int without_thought(Engine *e, const EnginePlace *p, Answer *answer, Err *err) {
    const RecommendWish wish = wish_of(p);
    if (open_plain(e, err)) return -1;
    answer->plain = mem_alloc((size_t)e->o.beams, sizeof *answer->plain);
    return recommend_wishes(&e->plain, &p->history, &wish, 1, answer->plain, &answer->plains, err);
}

// The weights are in the order of the ask's own entries, of which some may not be in the history.
static int explain(Engine *e, const EnginePlace *p, Answer *answer, Err *err) {
    const Items *items = &e->shelf->data.items;
    const Ask *ask = p->ask;
    answer->explained = 1;
    answer->plains = -1;
    if (!e->model->tokenizer || e->model->llm->config.thoughts == 0) return 0;
    if (without_thought(e, p, answer, err)) return -1;
    float *weight = mem_alloc((size_t)p->history.n + 1, sizeof *weight);
    recommend_make_room(&e->recommender);
    const int found = explain_history(&e->recommender.reader, &p->history, weight, &answer->rest, err);
    if (found == 1) {
        answer->weight = mem_zalloc((size_t)ask->n + 1, sizeof *answer->weight);
        for (int i = 0, k = 0; i < ask->n; i++)
            if (!ask->by_id || items_by_id(items, ask->history[i]) >= 0) answer->weight[i] = weight[k++];
    }
    free(weight);
    return found < 0 ? -1 : 0;
}

// ---- coming and going -------------------------------------------------------------------------------------------------

int engine_free_places(const Engine *e) {
    return e->o.users - e->joined;
}

int engine_join(Engine *e, const Ask *const *ask, int users, int *place, Err *err) {
    CHECK(e->started && users > 0 && users <= engine_free_places(e));
    EnginePlace **p = mem_alloc((size_t)users, sizeof(EnginePlace *));
    for (int u = 0; u < users; u++) {
        p[u] = enter(e, ask[u]);
        place[u] = (int)(p[u] - e->place);
    }
    const int status = e->model->tokenizer ? join_search(e, p, users, err) : score_all(e, p, users, err);
    for (int u = 0; u < users && status; u++) leave(e, p[u]);
    free(p);
    return status;
}

void engine_step(Engine *e) {
    if (e->model->tokenizer) recommend_step(&e->recommender);
}

int engine_take(Engine *e, int place, Answer *answer, Err *err) {
    EnginePlace *p = &e->place[place];
    int status = p->err.code ? -1 : 1;
    if (status < 0) *err = p->err;
    *answer = p->answer;
    p->answer = (Answer){0};
    if (e->model->tokenizer) {
        answer->item = mem_alloc((size_t)p->ask->k, sizeof *answer->item);
        status = recommend_take(&e->recommender, p->search, answer->item, &answer->n, err);
    }
    if (status > 0 && p->ask->explain && explain(e, p, answer, err)) status = -1;
    answer->shelf = shelf_hold(e->shelf);
    if (status <= 0) answer_free(answer);
    if (status) leave(e, p);
    return status;
}

void engine_drop(Engine *e, int place) {
    if (e->model->tokenizer) recommend_drop(&e->recommender, e->place[place].search);
    leave(e, &e->place[place]);
}

int engine_rank(Engine *e, const Ask *ask, Answer *answer, Err *err) {
    int place, status;
    if (engine_join(e, &ask, 1, &place, err)) return -1;
    while ((status = engine_take(e, place, answer, err)) == 0) engine_step(e);
    return status < 0 ? -1 : 0;
}
