#include "data/histories.h"
#include "base/arena.h"
#include "base/file.h"
#include "data/columns.h"
#include "data/intern.h"

#include <stdlib.h>
#include <string.h>

typedef struct Event {
    int user, title, asin; // of `users` and `strings`; asin -1: the file has none
    int64_t item, timestamp;
    double rating;
} Event;

typedef struct Histories {
    Intern users, strings;
    Event *event; // user after user, oldest first
    size_t n, cap;
    size_t *target; // (targets): events that become rows
    size_t targets;
    int64_t until;    // the first target, of valid.csv but where that has no rows
    unsigned present; // columns of both files
} Histories;

static int put_string(Histories *h, const char *s) {
    return intern_put(&h->strings, s, strlen(s));
}

static void keep_history(Histories *h, const ColumnsRow *row, int user) {
    if (h->n + (size_t)row->n > h->cap) {
        h->cap = h->cap * 2 + (size_t)row->n;
        h->event = mem_realloc(h->event, h->cap, sizeof *h->event);
    }
    for (int i = 0; i < row->n; i++)
        h->event[h->n++] = (Event){.user = user,
                                   .title = put_string(h, row->history_title[i]),
                                   .asin = row->history_asin ? put_string(h, row->history_asin[i]) : -1,
                                   .item = row->history_item[i],
                                   .timestamp = row->history_timestamp[i],
                                   .rating = row->history_rating ? row->history_rating[i] : 0};
}

static int read_rows(Histories *h, ColumnsReader *r, Err *err) {
    ColumnsRow row;
    int status;
    h->present &= r->present;
    if (!(r->present & COLUMN_BIT(COLUMN_HISTORY_TIME)))
        return err_set(err, ERR_DATA, "%s: no column history_timestamp, which says what lies before the rows of valid.csv",
                       r->csv.name);
    while ((status = columns_next(r, &row, err)) != 0) {
        if (status < 0) return -1;
        if (status == COLUMNS_BAD) continue;
        const int users = h->users.n, user = intern_put(&h->users, row.user, strlen(row.user));
        if (user == users) keep_history(h, &row, user);
        if (row.timestamp < h->until) h->until = row.timestamp;
    }
    return 0;
}

static int read_file(Histories *h, const char *path, Err *err) {
    MapFile file;
    ColumnsReader r;
    int status = mapfile_open(&file, path, 0, err);
    if (status == 0) {
        status = columns_open(&r, file.data, file.bytes, path, err);
        if (status == 0) status = read_rows(h, &r, err);
        columns_close(&r);
    }
    mapfile_close(&file);
    return status;
}

typedef struct Target {
    int64_t timestamp;
    size_t event;
} Target;

static int compare_targets(const void *a, const void *b) {
    const Target *x = a, *y = b;
    if (x->timestamp != y->timestamp) return x->timestamp < y->timestamp ? -1 : 1;
    return (x->event > y->event) - (x->event < y->event);
}

// All events of a user but the first, up to the first that is not before valid.csv; by time, ties user after user.
static void find_targets(Histories *h) {
    Target *target = mem_alloc(h->n + 1, sizeof *target);
    int late = 0; // the present user has come to an event that is
    for (size_t i = 0; i < h->n; i++) {
        const Event *e = &h->event[i];
        const int first = i == 0 || e[-1].user != e->user;
        late = (!first && late) || e->timestamp >= h->until;
        if (!first && !late) target[h->targets++] = (Target){e->timestamp, i};
    }
    qsort(target, h->targets, sizeof *target, compare_targets);
    h->target = mem_alloc(h->targets + 1, sizeof *h->target);
    for (size_t i = 0; i < h->targets; i++) h->target[i] = target[i].event;
    free(target);
}

// A column of histories goes with that of targets.
static unsigned whole_pairs(unsigned present) {
    const unsigned asins = COLUMN_BIT(COLUMN_ASIN) | COLUMN_BIT(COLUMN_HISTORY_ASIN);
    if ((present & asins) != asins) present &= ~asins;
    if ((present & COLUMNS_RATINGS) != COLUMNS_RATINGS) present &= ~(unsigned)COLUMNS_RATINGS;
    return present;
}

typedef struct Lists { // of one row
    const char **asin, **title;
    int64_t *item, *timestamp;
    double *rating;
} Lists;

static void put_row(Str *out, const Histories *h, size_t target, int history, unsigned present, Lists *l) {
    const Event *e = &h->event[target];
    int n = 0;
    while (n < history && (size_t)n < target && e[-n - 1].user == e->user) n++;
    for (int i = 0; i < n; i++) {
        const Event *p = e - n + i;
        l->asin[i] = p->asin < 0 ? NULL : h->strings.text[p->asin];
        l->title[i] = h->strings.text[p->title];
        l->item[i] = p->item;
        l->timestamp[i] = p->timestamp;
        l->rating[i] = p->rating;
    }
    columns_put_row(out,
                    &(ColumnsRow){.user = h->users.text[e->user],
                                  .asin = e->asin < 0 ? NULL : h->strings.text[e->asin],
                                  .title = h->strings.text[e->title],
                                  .item = e->item,
                                  .timestamp = e->timestamp,
                                  .rating = e->rating,
                                  .n = n,
                                  .history_asin = l->asin,
                                  .history_title = l->title,
                                  .history_item = l->item,
                                  .history_timestamp = l->timestamp,
                                  .history_rating = l->rating},
                    present);
}

static void put_rows(Str *out, const Histories *h, int history) {
    const size_t most = (size_t)history;
    const unsigned present = whole_pairs(h->present);
    Lists l = {.asin = mem_alloc(most, sizeof *l.asin),
               .title = mem_alloc(most, sizeof *l.title),
               .item = mem_alloc(most, sizeof *l.item),
               .timestamp = mem_alloc(most, sizeof *l.timestamp),
               .rating = mem_alloc(most, sizeof *l.rating)};
    columns_put_header(out, present);
    for (size_t i = 0; i < h->targets; i++) put_row(out, h, h->target[i], history, present, &l);
    free(l.asin), free(l.title), free(l.item), free(l.timestamp), free(l.rating);
}

int histories_train(Str *out, const char *valid_csv, const char *test_csv, int history, Err *err) {
    Histories h = {.until = INT64_MAX, .present = COLUMNS_ALL};
    int status = read_file(&h, valid_csv, err);
    if (status == 0 && test_csv) status = read_file(&h, test_csv, err);
    if (status == 0) {
        find_targets(&h);
        put_rows(out, &h, history);
    }
    intern_free(&h.users), intern_free(&h.strings);
    free(h.event), free(h.target);
    return status;
}
