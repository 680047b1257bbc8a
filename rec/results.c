#include "rec/results.h"
#include "base/hash.h"
#include "base/json.h"
#include "rec/lists.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { LINES, RUN, QRELS };

void results_among(ResultsAmong *among, const Items *items, int exclude_seen) {
    Str titles = {0};
    for (int i = 0; i < items->n; i++)
        if (!items->removed[i] && items_title_group(items, i) == i) str_printf(&titles, "%s\n", items->title[i]);
    hash_bytes(among->catalogue, titles.data ? titles.data : "", titles.len);
    among->exclude_seen = exclude_seen;
    str_free(&titles);
}

int results_open(Results *r, const Items *items, const Rows *rows, const ResultsAmong *among, int list,
                 const ResultsPaths *paths, Err *err) {
    const char *const path[RESULTS_FILES] = {paths->lines, paths->trec_run, paths->trec_qrels};
    *r = (Results){.items = items, .among = *among, .list = list, .sampled = paths->sampled};
    if ((paths->trec_run || paths->trec_qrels) && lists_check_trec(items, rows, err)) return -1;
    for (int i = 0; i < RESULTS_FILES; i++) {
        if (path[i] && outfile_open(&r->file[i], path[i], err)) {
            results_abandon(r);
            return -1;
        }
        r->open[i] = path[i] != NULL;
    }
    return 0;
}

int results_commit(Results *r, Err *err) {
    int failed = 0;
    for (int i = 0; i < RESULTS_FILES; i++) {
        if (r->open[i] && !failed)
            failed = outfile_commit(&r->file[i], err);
        else if (r->open[i])
            outfile_abandon(&r->file[i]);
        r->open[i] = 0;
    }
    str_free(&r->line);
    return failed;
}

void results_abandon(Results *r) {
    for (int i = 0; i < RESULTS_FILES; i++) {
        if (r->open[i]) outfile_abandon(&r->file[i]);
        r->open[i] = 0;
    }
    str_free(&r->line);
}

// ---- writing -----------------------------------------------------------------------------------------------------------

static void put_line(Results *r, const Row *row, int number, const int rank[MATCHES], const Recommendation *item, int n) {
    static const char *const name[MATCHES] = {"rank", "rank_item"};
    Str *line = &r->line;
    str_clear(line);
    str_printf(line, "{\"row\": %d", number);
    if (r->sampled) lists_put_text(line, ", \"protocol\": ", r->sampled);
    lists_put_text(line, ", \"user\": ", row->user);
    lists_put_text(line, ", \"target\": ", row->target_title);
    lists_put_text(line, ", \"target_id\": ", row->target_id);
    for (int by = 0; by < MATCHES; by++) {
        if (rank[by])
            str_printf(line, ", \"%s\": %d", name[by], rank[by]);
        else
            str_printf(line, ", \"%s\": null", name[by]);
    }
    str_printf(line, ", \"list\": %d, \"catalogue\": \"%s\"", r->list, r->among.catalogue);
    str_puts(line, r->among.exclude_seen ? ", \"exclude_seen\": true, \"items\": " : ", \"items\": ");
    lists_put_json(line, r->items, item, n);
    str_puts(line, "}\n");
    outfile_write(&r->file[LINES], line->data, line->len);
}

static void put_run(Results *r, int number, const Recommendation *item, int n, const int *seen) {
    char topic[16];
    snprintf(topic, sizeof topic, "%d", number);
    str_clear(&r->line);
    lists_put_trec(&r->line, r->items, topic, item, n, seen, number + 1);
    outfile_write(&r->file[RUN], r->line.data, r->line.len);
}

void results_row(Results *r, const Row *row, int number, const int rank[MATCHES], int target, const Recommendation *item, int n,
                 const int *seen) {
    if (r->open[LINES]) put_line(r, row, number, rank, item, n);
    if (r->open[RUN]) put_run(r, number, item, n, seen);
    if (r->open[QRELS])
        outfile_printf(&r->file[QRELS], "%d 0 %s 1\n", number, target < 0 ? row->target_id : r->items->id[target]);
}

// ---- reading -----------------------------------------------------------------------------------------------------------

// Whether a member that is there is the text it should be.
static int same(const json_t *line, const char *name, const char *text) {
    const char *other = json_string_value(json_object_get(line, name));
    return !other || !strcmp(other, text);
}

static int read_line(const json_t *line, const Row *row, int number, int *rank, int *list) {
    const json_t *r = json_object_get(line, "rank"), *items = json_object_get(line, "items");
    const json_t *n = json_object_get(line, "row"), *titles = json_object_get(line, "list");
    if (!json_is_integer(n) || json_integer_value(n) != number || !json_is_string(json_object_get(line, "target"))) return -1;
    if (!same(line, "target", row->target_title) || !same(line, "target_id", row->target_id) || !same(line, "user", row->user))
        return -1;
    const json_int_t at = json_integer_value(r), have = (json_int_t)json_array_size(items);
    const json_int_t length = titles ? json_integer_value(titles) : have; // there may be more items than titles, or fewer
    if (!json_is_array(items) || length < (titles != NULL) || length > INT_MAX) return -1;
    if (json_is_integer(r) ? at < 1 || at > have || at > length : !json_is_null(r)) return -1;
    *rank = (int)at;
    if ((int)length > *list) *list = (int)length;
    return 0;
}

// Which items took part there and not here; NULL where they are the same, or the line does not say.
static const char *other_items(const json_t *line, const ResultsAmong *among) {
    const char *catalogue = json_string_value(json_object_get(line, "catalogue"));
    const int unseen = json_is_true(json_object_get(line, "exclude_seen"));
    if (json_object_get(line, "protocol")) return "drawn candidates, not among all items";
    if (!catalogue) return NULL;
    if (strcmp(catalogue, among->catalogue)) return "the items of another catalogue";
    return unseen == among->exclude_seen ? NULL
           : unseen                      ? "the items without those of the history, unlike here (--exclude-seen)"
                                         : "all items, and here without those of the history (--exclude-seen)";
}

int results_parse(const char *data, size_t bytes, const char *name, const Rows *rows, const ResultsAmong *among, int *rank,
                  int *list, Err *err) {
    size_t at = 0;
    int i = 0;
    *list = 0;
    for (; at < bytes; i++) {
        const char *end = memchr(data + at, '\n', bytes - at);
        const size_t len = end ? (size_t)(end - data) - at : bytes - at;
        if (i == rows->n) return err_set(err, ERR_DATA, "%s: more than the %d rows of this evaluation", name, rows->n);
        json_t *line = json_parse_line(data + at, len, name, i + 1, err);
        if (!line) return -1;
        int failed = read_line(line, &rows->row[i], i, &rank[i], list);
        const char *others = other_items(line, among);
        json_decref(line);
        if (others) return err_set(err, ERR_DATA, "%s: line %d: ranked among %s", name, i + 1, others);
        if (failed)
            return err_set(err, ERR_DATA,
                           "%s: line %d: not a result of the same row (row %d of user %.64s, target \"%.200s\"); --against "
                           "needs the --results of the same data, --split, --max-rows and --sample",
                           name, i + 1, i, rows->row[i].user, rows->row[i].target_title);
        at += len + 1;
    }
    if (i < rows->n) return err_set(err, ERR_DATA, "%s: %d rows, this evaluation has %d", name, i, rows->n);
    if (*list == 0) return err_set(err, ERR_DATA, "%s: all lists are empty", name);
    return 0;
}

int results_read(const char *path, const Rows *rows, const ResultsAmong *among, int *rank, int *list, Err *err) {
    MapFile file;
    if (mapfile_open(&file, path, 0, err)) return -1;
    int status = results_parse(file.data, file.bytes, path, rows, among, rank, list, err);
    mapfile_close(&file);
    return status;
}
