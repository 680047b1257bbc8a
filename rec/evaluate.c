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

// Places of the target among the items: by title under the first item that has it, by item under its own number.
static void find_target(const Items *items, const Row *row, const Recommendation *item, int n, int rank[MATCHES]) {
    int title = items_by_title(items, row->target_title), number = items_by_id(items, row->target_id);
    rank[MATCH_TITLE] = rank[MATCH_ITEM] = 0;
    for (int i = n - 1; i >= 0; i--) {
        if (title >= 0 && items_title_group(items, item[i].item) == title) rank[MATCH_TITLE] = i + 1;
        if (number >= 0 && item[i].item == number) rank[MATCH_ITEM] = i + 1;
    }
}

typedef struct Group { // buffers for the users of one group
    History *history;
    Recommendation *item; // (users, k)
    int *found;
    Str line;
} Group;

static int evaluate_group(Evaluation *e, const Ranker *r, const Rows *rows, int first, int n, Group *g, Ranks *ranks,
                          OutFile *results, Err *err) {
    for (int i = 0; i < n; i++) g->history[i] = ranker_history(&rows->row[first + i], first + i);
    double start = log_seconds();
    if (r->rank(r->self, g->history, n, g->item, g->found, err))
        return err_prefix(err, "%s rows %d to %d", rows->name, first, first + n - 1);
    e->seconds += log_seconds() - start;
    for (int i = 0; i < n; i++) {
        const Recommendation *item = g->item + (size_t)i * (size_t)r->k;
        int rank[MATCHES], row = first + i;
        find_target(r->items, &rows->row[row], item, g->found[i], rank);
        for (int by = 0; by < MATCHES; by++) ranks->match[by][row] = rank[by];
        e->short_lists += g->found[i] < r->k;
        e->outside += !items_offer(r->items, rows->row[row].target_title);
        if (results) write_result(results, r->items, &rows->row[row], row, rank, item, g->found[i], &g->line);
    }
    return 0;
}

// Groups differ by one user at most: so none is of one user alone where another user's thought is asked for.
static int evaluate_model(Evaluation *e, const Ranker *r, const Rows *rows, Ranks *ranks, OutFile *results, Err *err) {
    int users = r->users < rows->n ? r->users : rows->n, groups = (rows->n + users - 1) / users, failed = 0, hits = 0;
    Group g = {.history = mem_alloc((size_t)users, sizeof(History)),
               .item = mem_alloc((size_t)users * (size_t)r->k, sizeof(Recommendation)),
               .found = mem_alloc((size_t)users, sizeof(int))};
    Progress progress;
    progress_start(&progress, rows->name, "users", (uint64_t)rows->n);
    for (int i = 0; i < groups && !failed; i++) {
        int first = (int)((int64_t)rows->n * i / groups), end = (int)((int64_t)rows->n * (i + 1) / groups);
        failed = evaluate_group(e, r, rows, first, end - first, &g, ranks, results, err);
        for (int row = first; row < end && !failed; row++) hits += ranks->match[MATCH_TITLE][row] > 0;
        progress_update(&progress, (uint64_t)end, "HR@%d %.4f", r->k, (double)hits / end);
    }
    progress_finish(&progress);
    free(g.history), free(g.item), free(g.found);
    str_free(&g.line);
    return failed;
}

// ---- what has to be beaten -------------------------------------------------------------------------------------------

static void measure(const Evaluation *e, const EvaluateOptions *o, const Ranks *ranks, Metrics *m, const int *rank) {
    metrics_from_ranks(m, rank, ranks->user, e->rows, e->list, o->resamples, o->seed);
}

static void evaluate_baselines(Evaluation *e, const Baseline *b, const Rows *rows, const EvaluateOptions *o,
                               const Ranks *ranks) {
    int *popular = mem_alloc((size_t)rows->n, sizeof(int)), *repeat = mem_alloc((size_t)rows->n, sizeof(int));
    for (int by = 0; by < MATCHES; by++) {
        for (int i = 0; i < rows->n; i++) {
            popular[i] = baseline_popularity(b, (MatchBy)by, &rows->row[i], o->exclude_seen);
            repeat[i] = o->exclude_seen ? 0 : baseline_repeat(b, (MatchBy)by, &rows->row[i]);
        }
        if (b->events > 0) measure(e, o, ranks, &e->popularity[by], popular);
        measure(e, o, ranks, &e->repeat[by], repeat);
        metrics_of_chance(&e->chance[by], b->candidates[by], rows->n, e->list);
    }
    free(popular), free(repeat);
}

// Rows whose target occurs in the train rows, and the others.
static void evaluate_warmth(Evaluation *e, const Baseline *b, const Rows *rows, const Ranks *ranks) {
    int *rank = mem_alloc((size_t)rows->n, sizeof(int));
    for (int cold = 0; cold < 2; cold++) {
        int n = 0;
        for (int i = 0; i < rows->n; i++) {
            int key = match_key(b->items, MATCH_TITLE, rows->row[i].target_title, NULL);
            if ((key < 0 || b->count[MATCH_TITLE][key] == 0) == cold) rank[n++] = ranks->match[MATCH_TITLE][i];
        }
        if (n > 0) metrics_from_ranks(cold ? &e->cold : &e->warm, rank, NULL, n, e->list, 0, 0);
    }
    free(rank);
}

static int evaluate_all(Evaluation *e, const Ranker *r, const Rows *rows, const Rows *train, const EvaluateOptions *o,
                        Ranks *ranks, OutFile *results, Err *err) {
    if (evaluate_model(e, r, rows, ranks, results, err)) return -1;
    e->users = baseline_number_users(rows, ranks->user);
    for (int by = 0; by < MATCHES; by++) measure(e, o, ranks, &e->match[by], ranks->match[by]);
    const Rows none = {0};
    Baseline b;
    baseline_count(&b, r->items, train ? train : &none);
    evaluate_baselines(e, &b, rows, o, ranks);
    if (b.events > 0) evaluate_warmth(e, &b, rows, ranks);
    baseline_free(&b);
    return 0;
}

int evaluate_rows(Evaluation *e, const Ranker *r, const Rows *rows, const Rows *train, const EvaluateOptions *o, Err *err) {
    *e = (Evaluation){.rows = rows->n, .list = r->k};
    if (rows->n < 1) return err_set(err, ERR_DATA, "%s: no rows to evaluate", rows->name);
    OutFile results;
    if (o->results && outfile_open(&results, o->results, err)) return -1;
    Ranks ranks = {.user = mem_alloc((size_t)rows->n, sizeof(int))};
    for (int by = 0; by < MATCHES; by++) ranks.match[by] = mem_alloc((size_t)rows->n, sizeof(int));
    int failed = evaluate_all(e, r, rows, train, o, &ranks, o->results ? &results : NULL, err);
    if (o->results && !failed) failed = outfile_commit(&results, err);
    if (o->results && failed) outfile_abandon(&results);
    free(ranks.user);
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
    json_t *json = json_pack("{s:i, s:i, s:i}", "rows", e->rows, "users", e->users, "list", e->list),
           *baselines = json_object();
    json_object_set_new(json, "title", metrics_to_json(&e->match[MATCH_TITLE]));
    json_object_set_new(json, "item", metrics_to_json(&e->match[MATCH_ITEM]));
    if (e->popularity[MATCH_TITLE].rows) json_object_set_new(baselines, "popularity", by_title_and_item(e->popularity));
    json_object_set_new(baselines, "repeat_last", by_title_and_item(e->repeat));
    json_object_set_new(baselines, "random", by_title_and_item(e->chance));
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
