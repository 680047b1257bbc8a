// latentr3_recommend: the users of a call join the engine's search as others leave it.
#include "base/arena.h"
#include "base/utf8.h"
#include "lib/handle.h"

#include <stdlib.h>
#include <string.h>

// ---- what is asked for --------------------------------------------------------------------------------------------------

// A caller of an older header knows of fewer members, one of a newer header must not ask for what is not there.
int handle_query(latentr3_query *q, const latentr3_query *given, Err *err) {
    *q = (latentr3_query){.size = sizeof *q};
    if (!given) return 0;
    if (given->size < sizeof given->size) return err_set(err, ERR_USAGE, "query: size is %zu", given->size);
    for (size_t i = sizeof *q; i < given->size; i++)
        if (((const char *)given)[i])
            return err_set(err, ERR_USAGE, "query: size is %zu, this library knows %zu bytes of it", given->size, sizeof *q);
    memcpy(q, given, given->size < sizeof *q ? given->size : sizeof *q);
    return 0;
}

static int check_ids(const char *what, const char *const *id, int n, Err *err) {
    if (n < 0 || (n && !id)) return err_set(err, ERR_USAGE, "query: %s is no list", what);
    for (int i = 0; i < n; i++)
        if (!id[i]) return err_set(err, ERR_USAGE, "query: entry %d of %s is NULL", i, what);
    return 0;
}

static int fill_query(const latentr3 *r, latentr3_query *q, Err *err) {
    const int most = r->o.max_beams;
    const int beams = q->beams ? q->beams : r->o.beams;
    if (q->k == 0) q->k = REQUEST_K < beams ? REQUEST_K : beams;
    if (q->beams == 0) q->beams = q->k > beams ? q->k : beams;
    if (q->k < 1 || q->k > q->beams || q->beams > most)
        return err_set(err, ERR_USAGE, "query: k %d and beams %d, where 1 <= k <= beams <= max-beams %d", q->k, q->beams, most);
    return check_ids("allow", q->allow, q->allows, err) || check_ids("deny", q->deny, q->denies, err) ? -1 : 0;
}

int handle_histories(const latentr3 *r, const latentr3_history *history, int users, const latentr3_query *q, Err *err) {
    const Items *items = &r->shelf->data.items;
    if (users < 0 || (users && !history)) return err_set(err, ERR_USAGE, "%d users without histories", users);
    for (int u = 0; u < users; u++) {
        const latentr3_history *h = &history[u];
        if (h->n < 1 || !h->entry) return err_set(err, ERR_USAGE, "user %d: an empty history", u);
        for (int i = 0; i < h->n; i++) {
            if (!h->entry[i]) return err_set(err, ERR_USAGE, "user %d: entry %d of the history is NULL", u, i);
            const size_t len = strlen(h->entry[i]), good = utf8_check(h->entry[i], len);
            if (good < len)
                return err_set(err, ERR_DATA, "user %d: entry %d of the history is no UTF-8 at byte %zu", u, i, good);
            if (q->by_id && items_by_id(items, h->entry[i]) < 0)
                return err_set(err, ERR_USAGE, "user %d: '%.60s' is no item of the catalogue", u, h->entry[i]);
        }
    }
    return 0;
}

static Ask ask_of(const latentr3_query *q, const latentr3_history *h, int user) {
    return (Ask){.history = (const char **)h->entry,
                 .n = h->n,
                 .by_id = q->by_id,
                 .number = user,
                 .k = q->k,
                 .beams = q->beams,
                 .exclude_seen = q->exclude_seen,
                 .allow = (const char **)q->allow,
                 .allows = q->allow ? q->allows : -1,
                 .deny = (const char **)q->deny,
                 .denies = q->denies};
}

// ---- the search ---------------------------------------------------------------------------------------------------------

typedef struct Search { // of one call
    Engine *engine;
    const Ask *ask;    // (users)
    int users, joined; // all, and those of them who have joined
    int k;
    int32_t *item; // (users, k), as what follows the call's own
    float *score;
    int *found;                                         // (users)
    int lives, live[ENGINE_USERS], place[ENGINE_USERS]; // who is in the engine, and where
} Search;

static int search_join(Search *s, Err *err) {
    const Ask *ask[ENGINE_USERS];
    int n = 0;
    for (; n < engine_free_places(s->engine) && s->joined + n < s->users; n++) {
        ask[n] = &s->ask[s->joined + n];
        s->live[s->lives + n] = s->joined + n;
    }
    if (n == 0) return 0;
    if (engine_join(s->engine, ask, n, s->place + s->lives, err))
        return n == 1 ? err_prefix(err, "user %d", s->joined) : err_prefix(err, "users %d to %d", s->joined, s->joined + n - 1);
    s->joined += n;
    s->lives += n;
    return 0;
}

static void search_put(Search *s, int u, const Answer *a) {
    s->found[u] = a->n;
    for (int i = 0; i < s->k; i++) {
        const size_t at = (size_t)u * (size_t)s->k + (size_t)i;
        s->item[at] = i < a->n ? a->item[i].item : -1;
        s->score[at] = i < a->n ? a->item[i].score : 0;
    }
}

static int search_leave(Search *s, Err *err) {
    for (int i = 0; i < s->lives;) {
        const int u = s->live[i];
        Answer answer = {0};
        const int status = engine_take(s->engine, s->place[i], &answer, err);
        if (status == 0) {
            i++;
            continue;
        }
        s->lives--;
        s->live[i] = s->live[s->lives];
        s->place[i] = s->place[s->lives];
        if (status < 0) return err_prefix(err, "user %d", u);
        search_put(s, u, &answer);
        answer_free(&answer);
    }
    return 0;
}

static int search_run(void *self, Err *err) {
    Search *s = self;
    int status = 0;
    while (status == 0 && (s->joined < s->users || s->lives > 0)) {
        status = search_join(s, err);
        if (status == 0) engine_step(s->engine);
        if (status == 0) status = search_leave(s, err);
    }
    for (int i = 0; i < s->lives; i++) engine_drop(s->engine, s->place[i]);
    return status;
}

int latentr3_recommend(latentr3 *r, const latentr3_history *history, int users, const latentr3_query *query, int32_t *item,
                       float *score, int *found, latentr3_error *error) {
    Err err = {0};
    latentr3_query q;
    if (handle_query(&q, query, &err) || fill_query(r, &q, &err) || handle_histories(r, history, users, &q, &err))
        return handle_fail(error, &err);
    if (users == 0) return 0;
    if (!item || !score || !found) {
        err_set(&err, ERR_USAGE, "item, score or found is NULL");
        return handle_fail(error, &err);
    }
    Ask *ask = mem_alloc((size_t)users, sizeof *ask);
    for (int u = 0; u < users; u++) ask[u] = ask_of(&q, &history[u], u);
    Search s = {.engine = r->engine, .ask = ask, .users = users, .k = q.k, .item = item, .score = score, .found = found};
    pthread_mutex_lock(&r->lock);
    const int status = handle_run(search_run, &s, &err);
    pthread_mutex_unlock(&r->lock);
    free(ask);
    return status ? handle_fail(error, &err) : 0;
}
