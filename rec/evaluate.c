#include "rec/evaluate.h"
#include "base/arena.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

typedef struct Ranks { // (rows) each; 0: a miss
    int *match[MATCHES];
    int *user;
    int *other; // of another evaluation, by title; or NULL
    int other_list;
} Ranks;

int evaluate_list(const Ranker *r) {
    return r->titles ? r->titles : r->k;
}

typedef struct Measure { // one recommender over all rows
    Evaluation *e;
    const Ranker *r;
    const Rows *rows;
    Ranks *ranks;
    const int *title_of;  // (items): the first with the same title
    Results *results;     // or NULL
    History *history;     // of the users of one group, as all below
    Recommendation *item; // (users, k)
    int *found;
    int list;  // titles that count
    int *last; // (items) the row, from 1, that last had an item of the title in its list; 0: none
    int *seen; // (items) likewise in its history; or NULL: the ranker lists none of these titles
} Measure;

// Places of the target in a list: by title among the distinct titles before it, by item as it stands. Items of one index text
// are the same title where the ranker does not tell them apart, and one with a title that was seen is a place by item alone.
// *target: the first item with the title that was found, or that is missed; -1: no item has it. Returns how many of the n items
// the titles that count take.
static int find_target(const Measure *m, int at, const Recommendation *item, int n, int rank[MATCHES], int *target) {
    const Items *items = m->r->items;
    const Row *row = &m->rows->row[at];
    const int title = items_group_of(items, row->target_id, row->target_title), number = items_by_id(items, row->target_id);
    const char *text = m->r->by_text && number >= 0 && !items->removed[number] ? items->text[number] : NULL;
    int i = 0;
    rank[MATCH_TITLE] = rank[MATCH_ITEM] = 0;
    *target = title;
    for (int titles = 0; i < n; i++) {
        const int of = m->title_of[item[i].item], seen = m->seen && m->seen[of] == at + 1,
                  again = seen || m->last[of] == at + 1;
        if (!again && titles == m->list) break;
        titles += !again;
        m->last[of] = at + 1;
        int same = of == title || (text && items->text[item[i].item] == text); // each text is kept once
        if (same && !seen && !rank[MATCH_TITLE]) rank[MATCH_TITLE] = titles, *target = of;
        if (item[i].item == number && i < m->list && !rank[MATCH_ITEM]) rank[MATCH_ITEM] = i + 1;
    }
    return i;
}

static void mark_seen(Measure *m, int at) {
    const Row *row = &m->rows->row[at];
    for (int i = 0; m->seen && i < row->n; i++) {
        const int item = items_by_id(m->r->items, row->item_id[i]);
        if (item >= 0) m->seen[m->title_of[item]] = at + 1;
    }
}

static int measure_group(Measure *m, int first, int n, Err *err) {
    const Ranker *r = m->r;
    for (int i = 0; i < n; i++) m->history[i] = ranker_history(&m->rows->row[first + i], first + i);
    if (r->rank(r->self, m->history, n, m->item, m->found, err))
        return err_prefix(err, "%s rows %d to %d", m->rows->name, first, first + n - 1);
    for (int i = 0; i < n; i++) {
        const Recommendation *item = m->item + (size_t)i * (size_t)r->k;
        const Row *row = &m->rows->row[first + i];
        int rank[MATCHES], target;
        mark_seen(m, first + i);
        const int listed = find_target(m, first + i, item, m->found[i], rank, &target);
        for (int by = 0; by < MATCHES; by++) m->ranks->match[by][first + i] = rank[by];
        if (m->e) m->e->short_lists += m->found[i] < m->list;
        if (m->results) results_row(m->results, row, first + i, rank, target, item, listed, m->seen);
    }
    return 0;
}

// In groups of one size, but for one user.
static int measure_rows(Measure *m, Err *err) {
    const int n = m->rows->n, users = m->r->users < n ? m->r->users : n, groups = (n + users - 1) / users;
    int failed = 0, hits = 0;
    m->history = mem_alloc((size_t)users, sizeof *m->history);
    m->item = mem_alloc((size_t)users * (size_t)m->r->k, sizeof *m->item);
    m->found = mem_alloc((size_t)users, sizeof *m->found);
    m->list = evaluate_list(m->r);
    m->last = mem_zalloc((size_t)m->r->items->n, sizeof *m->last);
    m->seen = m->r->seen_by_item ? mem_zalloc((size_t)m->r->items->n, sizeof *m->seen) : NULL;
    Progress progress;
    progress_start(&progress, m->rows->name, "users", (uint64_t)n);
    for (int i = 0; i < groups && !failed; i++) {
        int first = (int)((int64_t)n * i / groups), end = (int)((int64_t)n * (i + 1) / groups);
        failed = measure_group(m, first, end - first, err);
        for (int row = first; row < end && !failed; row++) hits += m->ranks->match[MATCH_TITLE][row] > 0;
        if (m->e) progress_update(&progress, (uint64_t)end, "HR@%d %.4f", m->list, (double)hits / end);
    }
    if (m->e) progress_finish(&progress);
    free(m->history), free(m->item), free(m->found), free(m->seen), free(m->last);
    return failed;
}

static void summarize(const Evaluation *e, const EvaluateOptions *o, const Ranks *ranks, Metrics *m, MatchBy by) {
    metrics_from_ranks(m, ranks->match[by], ranks->user, e->rows, e->list, o->resamples, o->seed);
}

// ---- what has to be beaten -------------------------------------------------------------------------------------------

static void measure_chance(Evaluation *e, const Baseline *b, const Rows *rows, const EvaluateOptions *o) {
    int *choices = mem_alloc((size_t)rows->n, sizeof *choices);
    for (int i = 0; i < rows->n; i++) choices[i] = baseline_choices(b, &rows->row[i], o->exclude_seen);
    metrics_of_chance(&e->baseline[BASELINE_RANDOM][b->by], choices, rows->n, e->list);
    free(choices);
}

static int measure_baselines(Evaluation *e, const Baseline *b, const Measure *model, const EvaluateOptions *o, Ranks *ranks,
                             Err *err) {
    const Rows *rows = o->own ? o->own : model->rows;
    for (int kind = 0; kind < BASELINES; kind++) {
        Metrics *metrics = &e->baseline[kind][b->by];
        if (kind == BASELINE_RANDOM) measure_chance(e, b, rows, o);
        if (kind == BASELINE_RANDOM || (kind != BASELINE_REPEAT_LAST && b->events == 0)) continue;
        BaselineRanker self = {.b = b, .kind = kind, .users = 1, .k = e->list, .exclude_seen = o->exclude_seen};
        const Ranker r = baseline_ranker(&self);
        Measure m = {.r = &r, .rows = rows, .title_of = model->title_of, .ranks = ranks};
        int failed = measure_rows(&m, err);
        baseline_ranker_free(&self);
        if (failed) return -1;
        summarize(e, o, ranks, metrics, b->by);
    }
    return 0;
}

// The model's rows apart, and beside another evaluation's.
static void measure_slices(Evaluation *e, const Baseline *b, const Rows *rows, const EvaluateOptions *o, const Ranks *ranks) {
    Slices s;
    const SlicesRanks r = {.rank = ranks->match[MATCH_TITLE],
                           .other = ranks->other,
                           .user = ranks->user,
                           .list = e->list,
                           .other_list = ranks->other_list,
                           .resamples = o->resamples,
                           .seed = o->seed};
    int *in = o->slices ? o->slices : mem_alloc((size_t)rows->n, sizeof *in);
    slices_open(&s, b);
    slices_measure(&s, rows, &r, in);
    memcpy(e->slice, s.slice, sizeof e->slice);
    slices_close(&s);
    if (!o->slices) free(in);
}

static int compare_baselines(Evaluation *e, const Measure *model, const Rows *train, const EvaluateOptions *o, Err *err) {
    const Rows none = {0};
    int failed = 0;
    Ranks ranks = {.user = model->ranks->user};
    for (int by = 0; by < MATCHES; by++) ranks.match[by] = mem_alloc((size_t)e->rows, sizeof(int));
    Baseline b;
    baseline_open(&b, model->r->items, train ? train : &none, MATCH_TITLE);
    for (int by = 0; by < MATCHES && !failed; by++) {
        baseline_match_by(&b, (MatchBy)by);
        failed = measure_baselines(e, &b, model, o, &ranks, err);
        if (by == MATCH_TITLE) measure_slices(e, &b, model->rows, o, model->ranks);
    }
    baseline_close(&b);
    for (int by = 0; by < MATCHES; by++) free(ranks.match[by]);
    return failed;
}

// ---- together --------------------------------------------------------------------------------------------------------

static int is_outside(const Items *items, const Row *row) {
    const int title = items_group_of(items, row->target_id, row->target_title);
    return title < 0 || items->removed[title];
}

static int evaluate_all(Measure *m, const Rows *train, const EvaluateOptions *o, Err *err) {
    Evaluation *e = m->e;
    double start = log_seconds();
    if (measure_rows(m, err)) return -1;
    e->seconds = log_seconds() - start;
    e->users = baseline_number_users(m->rows, m->ranks->user);
    for (int i = 0; i < e->rows; i++) e->outside += is_outside(m->r->items, &m->rows->row[i]);
    for (int by = 0; by < MATCHES; by++) summarize(e, o, m->ranks, &e->match[by], (MatchBy)by);
    return o->alone ? 0 : compare_baselines(e, m, train, o, err);
}

static int *title_groups(const Items *items) {
    int *title_of = mem_alloc((size_t)items->n, sizeof *title_of);
    for (int i = 0; i < items->n; i++) title_of[i] = items_title_group(items, i);
    return title_of;
}

int evaluate_ranks(const Ranker *r, const Rows *rows, int *const rank[MATCHES], Err *err) {
    Ranks ranks = {.match = {rank[MATCH_TITLE], rank[MATCH_ITEM]}};
    int *title_of = title_groups(r->items);
    Measure m = {.r = r, .rows = rows, .ranks = &ranks, .title_of = title_of};
    const int failed = measure_rows(&m, err);
    free(title_of);
    return failed;
}

static int evaluate_into(Evaluation *e, const Ranker *r, const Rows *rows, const Rows *train, const EvaluateOptions *o,
                         Ranks *ranks, Err *err) {
    Results results;
    ResultsAmong among;
    results_among(&among, r->items, o->exclude_seen);
    if (o->against && results_read(o->against, rows, &among, ranks->other, &ranks->other_list, err)) return -1;
    if (results_open(&results, r->items, rows, &among, e->list, &o->results, err)) return -1;
    int *title_of = title_groups(r->items);
    Measure m = {.e = e, .r = r, .rows = rows, .ranks = ranks, .title_of = title_of, .results = &results};
    int failed = evaluate_all(&m, train, o, err);
    if (!failed) failed = results_commit(&results, err);
    results_abandon(&results);
    free(title_of);
    return failed ? -1 : 0;
}

int evaluate_rows(Evaluation *e, const Ranker *r, const Rows *rows, const Rows *train, const EvaluateOptions *o, Err *err) {
    const size_t n = (size_t)rows->n;
    *e = (Evaluation){.rows = rows->n, .list = evaluate_list(r)};
    if (rows->n < 1) return err_set(err, ERR_DATA, "%s: no rows to evaluate", rows->name);
    Ranks ranks = {.user = mem_alloc(n, sizeof(int)), .other = o->against ? mem_alloc(n, sizeof(int)) : NULL};
    for (int by = 0; by < MATCHES; by++) ranks.match[by] = mem_alloc(n, sizeof(int));
    int failed = evaluate_into(e, r, rows, train, o, &ranks, err);
    if (o->rank) memcpy(o->rank, ranks.match[MATCH_TITLE], n * sizeof(int));
    free(ranks.user), free(ranks.other);
    for (int by = 0; by < MATCHES; by++) free(ranks.match[by]);
    return failed;
}

// ---- report ----------------------------------------------------------------------------------------------------------

static json_t *by_title_and_item(const Metrics m[MATCHES]) {
    json_t *json = metrics_to_json(&m[MATCH_TITLE]);
    json_object_set_new(json, "item", metrics_to_json(&m[MATCH_ITEM]));
    return json;
}

json_t *evaluate_to_json(const Evaluation *e) {
    static const char *const baseline_key[BASELINES] = {"popularity", "item_knn", "repeat_last", "random"};
    json_t *json = json_pack("{s:i, s:i, s:i}", "rows", e->rows, "users", e->users, "list", e->list),
           *baselines = json_object();
    json_object_set_new(json, "title", metrics_to_json(&e->match[MATCH_TITLE]));
    json_object_set_new(json, "item", metrics_to_json(&e->match[MATCH_ITEM]));
    for (int kind = 0; kind < BASELINES; kind++)
        if (e->baseline[kind][MATCH_TITLE].rows)
            json_object_set_new(baselines, baseline_key[kind], by_title_and_item(e->baseline[kind]));
    json_object_set_new(json, "baselines", baselines);
    slices_to_json(json, e->slice);
    if (e->slice[SLICE_ALL].gain.rows) json_object_set_new(json, "against", slices_gain_to_json(e->slice));
    json_object_set_new(json, "targets_outside", json_integer(e->outside));
    json_object_set_new(json, "short_lists", json_integer(e->short_lists));
    json_object_set_new(json, "seconds", json_real(e->seconds));
    json_object_set_new(json, "seconds_per_user", json_real(e->seconds / e->rows));
    return json;
}
