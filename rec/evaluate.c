#include "rec/evaluate.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

typedef struct Ranks { // (rows) each; 0: a miss
    int *match[MATCHES];
    int *user;
} Ranks;

static void write_result(OutFile *f, const Items *items, const Row *row, int number, const int rank[MATCHES],
                         const Recommendation *item, int n, Str *line) {
    const char *name[MATCHES] = {"rank", "rank_item"};
    str_clear(line);
    str_printf(line, "{\"row\": %d, \"target\": ", number);
    str_json(line, row->target_title, strlen(row->target_title));
    for (int by = 0; by < MATCHES; by++) {
        if (rank[by])
            str_printf(line, ", \"%s\": %d", name[by], rank[by]);
        else
            str_printf(line, ", \"%s\": null", name[by]);
    }
    str_puts(line, ", \"items\": [");
    for (int i = 0; i < n; i++) {
        const char *id = items->id[item[i].item], *title = items->title[item[i].item];
        str_puts(line, i ? ", {\"id\": " : "{\"id\": ");
        str_json(line, id, strlen(id));
        str_puts(line, ", \"title\": ");
        str_json(line, title, strlen(title));
        str_printf(line, ", \"score\": %.6g}", (double)item[i].score);
    }
    str_puts(line, "]}\n");
    outfile_write(f, line->data, line->len);
}

// Places of the target in a list: by title among the distinct titles before it, by item as it stands.
static void find_target(const Items *items, const int *title_of, const Row *row, const Recommendation *item, int n,
                        int rank[MATCHES]) {
    int title = items_by_title(items, row->target_title), number = items_by_id(items, row->target_id), titles = 0;
    rank[MATCH_TITLE] = rank[MATCH_ITEM] = 0;
    for (int i = 0; i < n; i++) {
        int again = 0;
        for (int j = 0; j < i && !again; j++) again = title_of[item[j].item] == title_of[item[i].item];
        titles += !again;
        if (!again && title_of[item[i].item] == title) rank[MATCH_TITLE] = titles;
        if (item[i].item == number && !rank[MATCH_ITEM]) rank[MATCH_ITEM] = i + 1;
    }
}

typedef struct Measure { // one recommender over all rows
    Evaluation *e;
    const Ranker *r;
    const Rows *rows;
    Ranks *ranks;
    const int *title_of;  // (items): the first with the same title
    OutFile *results;     // or NULL
    History *history;     // of the users of one group, as all below
    Recommendation *item; // (users, k)
    int *found;
    Str line;
} Measure;

static int measure_group(Measure *m, int first, int n, Err *err) {
    const Ranker *r = m->r;
    for (int i = 0; i < n; i++) m->history[i] = ranker_history(&m->rows->row[first + i], first + i);
    if (r->rank(r->self, m->history, n, m->item, m->found, err))
        return err_prefix(err, "%s rows %d to %d", m->rows->name, first, first + n - 1);
    for (int i = 0; i < n; i++) {
        const Recommendation *item = m->item + (size_t)i * (size_t)r->k;
        const Row *row = &m->rows->row[first + i];
        int rank[MATCHES];
        find_target(r->items, m->title_of, row, item, m->found[i], rank);
        for (int by = 0; by < MATCHES; by++) m->ranks->match[by][first + i] = rank[by];
        if (m->e) m->e->short_lists += m->found[i] < r->k;
        if (m->results) write_result(m->results, r->items, row, first + i, rank, item, m->found[i], &m->line);
    }
    return 0;
}

// Groups differ by one user at most: so none is of one user alone where another user's thought is asked for.
static int measure_rows(Measure *m, Err *err) {
    const int n = m->rows->n, users = m->r->users < n ? m->r->users : n, groups = (n + users - 1) / users;
    int failed = 0, hits = 0;
    m->history = mem_alloc((size_t)users, sizeof *m->history);
    m->item = mem_alloc((size_t)users * (size_t)m->r->k, sizeof *m->item);
    m->found = mem_alloc((size_t)users, sizeof *m->found);
    Progress progress;
    progress_start(&progress, m->rows->name, "users", (uint64_t)n);
    for (int i = 0; i < groups && !failed; i++) {
        int first = (int)((int64_t)n * i / groups), end = (int)((int64_t)n * (i + 1) / groups);
        failed = measure_group(m, first, end - first, err);
        for (int row = first; row < end && !failed; row++) hits += m->ranks->match[MATCH_TITLE][row] > 0;
        if (m->e) progress_update(&progress, (uint64_t)end, "HR@%d %.4f", m->r->k, (double)hits / end);
    }
    if (m->e) progress_finish(&progress);
    free(m->history), free(m->item), free(m->found);
    str_free(&m->line);
    return failed;
}

static void summarize(const Evaluation *e, const EvaluateOptions *o, const Ranks *ranks, Metrics *m, MatchBy by) {
    metrics_from_ranks(m, ranks->match[by], ranks->user, e->rows, e->list, o->resamples, o->seed);
}

// ---- what has to be beaten -------------------------------------------------------------------------------------------

static int measure_baselines(Evaluation *e, const Baseline *b, const Measure *model, const EvaluateOptions *o, Ranks *ranks,
                             Err *err) {
    for (int kind = 0; kind < BASELINES; kind++) {
        Metrics *metrics = &e->baseline[kind][b->by];
        if (kind == BASELINE_RANDOM) metrics_of_chance(metrics, b->candidates, e->rows, e->list);
        if (kind == BASELINE_RANDOM || (kind != BASELINE_REPEAT_LAST && b->events == 0)) continue;
        BaselineRanker self = {.b = b, .kind = kind, .users = 1, .k = e->list, .exclude_seen = o->exclude_seen};
        const Ranker r = baseline_ranker(&self);
        Measure m = {.r = &r, .rows = model->rows, .title_of = model->title_of, .ranks = ranks};
        int failed = measure_rows(&m, err);
        baseline_ranker_free(&self);
        if (failed) return -1;
        summarize(e, o, ranks, metrics, b->by);
    }
    return 0;
}

// Rows whose target occurs in the train rows, and the others.
static void evaluate_warmth(Evaluation *e, const Baseline *b, const Rows *rows, const Ranks *ranks) {
    int *rank = mem_alloc((size_t)rows->n, sizeof(int));
    for (int cold = 0; cold < 2; cold++) {
        int n = 0;
        for (int i = 0; i < rows->n; i++) {
            int title = items_by_title(b->items, rows->row[i].target_title);
            if ((title < 0 || b->count[title] == 0) == cold) rank[n++] = ranks->match[MATCH_TITLE][i];
        }
        if (n > 0) metrics_from_ranks(cold ? &e->cold : &e->warm, rank, NULL, n, e->list, 0, 0);
    }
    free(rank);
}

static int compare_baselines(Evaluation *e, const Measure *model, const Rows *train, const EvaluateOptions *o, Err *err) {
    const Rows none = {0};
    int failed = 0;
    Ranks ranks = {.user = model->ranks->user};
    for (int by = 0; by < MATCHES; by++) ranks.match[by] = mem_alloc((size_t)e->rows, sizeof(int));
    for (int by = 0; by < MATCHES && !failed; by++) {
        Baseline b;
        baseline_open(&b, model->r->items, train ? train : &none, (MatchBy)by);
        failed = measure_baselines(e, &b, model, o, &ranks, err);
        if (by == MATCH_TITLE && b.events > 0) evaluate_warmth(e, &b, model->rows, model->ranks);
        baseline_close(&b);
    }
    for (int by = 0; by < MATCHES; by++) free(ranks.match[by]);
    return failed;
}

// ---- together --------------------------------------------------------------------------------------------------------

static int evaluate_all(Measure *m, const Rows *train, const EvaluateOptions *o, Err *err) {
    Evaluation *e = m->e;
    double start = log_seconds();
    if (measure_rows(m, err)) return -1;
    e->seconds = log_seconds() - start;
    e->users = baseline_number_users(m->rows, m->ranks->user);
    for (int i = 0; i < e->rows; i++) e->outside += !items_offer(m->r->items, m->rows->row[i].target_title);
    for (int by = 0; by < MATCHES; by++) summarize(e, o, m->ranks, &e->match[by], (MatchBy)by);
    return compare_baselines(e, m, train, o, err);
}

int evaluate_rows(Evaluation *e, const Ranker *r, const Rows *rows, const Rows *train, const EvaluateOptions *o, Err *err) {
    *e = (Evaluation){.rows = rows->n, .list = r->k};
    if (rows->n < 1) return err_set(err, ERR_DATA, "%s: no rows to evaluate", rows->name);
    OutFile results;
    if (o->results && outfile_open(&results, o->results, err)) return -1;
    Ranks ranks = {.user = mem_alloc((size_t)rows->n, sizeof(int))};
    for (int by = 0; by < MATCHES; by++) ranks.match[by] = mem_alloc((size_t)rows->n, sizeof(int));
    int *title_of = mem_alloc((size_t)r->items->n, sizeof *title_of);
    for (int i = 0; i < r->items->n; i++) title_of[i] = items_title_group(r->items, i);
    Measure m = {.e = e, .r = r, .rows = rows, .ranks = &ranks, .title_of = title_of, .results = o->results ? &results : NULL};
    int failed = evaluate_all(&m, train, o, err);
    if (o->results && !failed) failed = outfile_commit(&results, err);
    if (o->results && failed) outfile_abandon(&results);
    free(ranks.user), free(title_of);
    for (int by = 0; by < MATCHES; by++) free(ranks.match[by]);
    return failed ? -1 : 0;
}

// ---- report ----------------------------------------------------------------------------------------------------------

static json_t *by_title_and_item(const Metrics m[MATCHES]) {
    json_t *json = metrics_to_json(&m[MATCH_TITLE]);
    json_object_set_new(json, "item", metrics_to_json(&m[MATCH_ITEM]));
    return json;
}

static json_t *some_rows(const Metrics *m) {
    json_t *json = m->rows ? metrics_to_json(m) : json_object();
    json_object_set_new(json, "rows", json_integer(m->rows));
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
    if (e->warm.rows + e->cold.rows) {
        json_object_set_new(json, "warm", some_rows(&e->warm));
        json_object_set_new(json, "cold", some_rows(&e->cold));
    }
    json_object_set_new(json, "targets_outside", json_integer(e->outside));
    json_object_set_new(json, "short_lists", json_integer(e->short_lists));
    json_object_set_new(json, "seconds", json_real(e->seconds));
    json_object_set_new(json, "seconds_per_user", json_real(e->seconds / e->rows));
    return json;
}
