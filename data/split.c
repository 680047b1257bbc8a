#include "data/split.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

// ---- filters ----

static void drop_unfit(Split *s, Interactions *x, double min_rating) {
    size_t kept = 0;
    for (size_t i = 0; i < x->n; i++) {
        const Event *e = &x->event[i];
        if (x->title[e->item] < 0)
            s->untitled++;
        else if (min_rating > 0 && !(e->rating >= min_rating))
            s->low_rating++;
        else
            x->event[kept++] = *e;
    }
    x->n = kept;
}

// The k-core is unique, so the order of removal is free; counts that fall at once make a cascade short.
static void drop_too_few(Split *s, Interactions *x, int user_least, int item_least) {
    int *of_user = mem_zalloc((size_t)x->users.n, sizeof *of_user), *of_item = mem_zalloc((size_t)x->items.n, sizeof *of_item);
    for (size_t i = 0; i < x->n; i++) of_user[x->event[i].user]++, of_item[x->event[i].item]++;
    for (size_t before = x->n + 1; x->n < before;) {
        before = x->n;
        x->n = 0;
        for (size_t i = 0; i < before; i++) {
            Event e = x->event[i];
            if (of_user[e.user] >= user_least && of_item[e.item] >= item_least)
                x->event[x->n++] = e;
            else
                of_user[e.user]--, of_item[e.item]--, s->too_few++;
        }
    }
    free(of_user), free(of_item);
}

// ---- order ----

typedef struct Key {
    int32_t group;
    int64_t timestamp;
    size_t place; // makes the order total, so any sort is a stable one
} Key;

static int compare_keys(const void *a, const void *b) {
    const Key *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->timestamp != y->timestamp) return x->timestamp < y->timestamp ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

// User after user in the order of their first events that are left.
static void sort_events(Interactions *x) {
    Key *key = mem_alloc(x->n, sizeof *key);
    Event *sorted = mem_alloc(x->n, sizeof *sorted);
    int32_t *rank = mem_alloc((size_t)x->users.n, sizeof *rank), ranks = 0;
    memset(rank, 0xff, (size_t)x->users.n * sizeof *rank);
    for (size_t i = 0; i < x->n; i++) {
        int32_t *r = &rank[x->event[i].user];
        if (*r < 0) *r = ranks++;
        key[i] = (Key){*r, x->event[i].timestamp, i};
    }
    qsort(key, x->n, sizeof *key, compare_keys);
    for (size_t i = 0; i < x->n; i++) sorted[i] = x->event[key[i].place];
    free(rank), free(key), free(x->event);
    x->event = sorted;
    x->cap = x->n;
}

static void sort_rows(SplitRow *row, size_t n, const Event *event) {
    Key *key = mem_alloc(n, sizeof *key);
    SplitRow *sorted = mem_alloc(n, sizeof *sorted);
    for (size_t i = 0; i < n; i++) key[i] = (Key){0, event[row[i].event].timestamp, i};
    qsort(key, n, sizeof *key, compare_keys);
    for (size_t i = 0; i < n; i++) sorted[i] = row[key[i].place];
    memcpy(row, sorted, n * sizeof *row);
    free(key), free(sorted);
}

static void number_items(Split *s, const Interactions *x) {
    s->number = mem_alloc((size_t)x->items.n, sizeof *s->number);
    for (int i = 0; i < x->items.n; i++) s->number[i] = -1;
    for (size_t i = 0; i < x->n; i++) s->number[x->event[i].item] = 0;
    for (int i = 0; i < x->items.n; i++)
        if (s->number[i] == 0) s->number[i] = s->items++;
}

// ---- rows ----

// The end of the user's events that begin at `begin`.
static size_t user_end(const Split *s, size_t begin) {
    size_t end = begin + 1;
    while (end < s->events && s->event[end].user == s->event[begin].user) end++;
    return end;
}

static void add_row(Split *s, size_t *n, size_t first, size_t target, int history) {
    size_t before = target - first;
    s->row[(*n)++] = (SplitRow){target, before < (size_t)history ? (int)before : history};
}

static void rows_by_time(Split *s, int history) {
    size_t n = 0;
    for (size_t first = 0, end; first < s->events; first = end) {
        end = user_end(s, first);
        for (size_t i = first + 1; i < end; i++) add_row(s, &n, first, i, history);
    }
    sort_rows(s->row, n, s->event);
    s->begin[SPLIT_VALID] = n / 10 * 8 + n % 10 * 8 / 10;
    s->begin[SPLIT_TEST] = n / 10 * 9 + n % 10 * 9 / 10;
    s->begin[SPLITS] = n;
}

static void rows_leave_one_out(Split *s, int history) {
    size_t n = 0;
    for (int split = 0; split < SPLITS; split++) {
        s->begin[split] = n;
        for (size_t first = 0, end; first < s->events; first = end) {
            end = user_end(s, first); // three events at least
            size_t begin = split == SPLIT_TRAIN ? first + 1 : end - (split == SPLIT_VALID ? 2 : 1);
            size_t stop = split == SPLIT_TRAIN ? end - 2 : begin + 1;
            for (size_t i = begin; i < stop; i++) add_row(s, &n, first, i, history);
        }
    }
    s->begin[SPLITS] = n;
}

void split_make(Split *s, Interactions *x, const SplitOptions *o) {
    *s = (Split){0};
    drop_unfit(s, x, o->min_rating);
    drop_too_few(s, x, o->leave_one_out && o->k_core < 3 ? 3 : o->k_core, o->k_core);
    number_items(s, x);
    sort_events(x);
    s->event = x->event;
    s->events = x->n;
    for (size_t first = 0, end; first < s->events; first = end) {
        end = user_end(s, first);
        s->users++;
        s->users_without_row += end - first == 1;
    }
    s->row = mem_alloc(s->events, sizeof *s->row);
    if (o->leave_one_out)
        rows_leave_one_out(s, o->history);
    else
        rows_by_time(s, o->history);
}

void split_free(Split *s) {
    free(s->number), free(s->row);
    *s = (Split){0};
}

// ---- statistics ----

static void count_titles(SplitStatistics *out, const Split *s, const Interactions *x) {
    int *items = mem_zalloc((size_t)x->titles.n, sizeof *items);
    for (int i = 0; i < x->items.n; i++)
        if (s->number[i] >= 0) items[x->title[i]]++;
    for (int t = 0; t < x->titles.n; t++)
        if (items[t] > 1) out->repeated_titles++, out->repeated_title_items += items[t];
    free(items);
}

static void count_users(SplitStatistics *out, const Split *s, const Interactions *x) {
    int32_t *met_by = mem_alloc((size_t)x->items.n, sizeof *met_by); // the last user who met the item
    memset(met_by, 0xff, (size_t)x->items.n * sizeof *met_by);
    for (size_t first = 0, end; first < s->events; first = end) {
        end = user_end(s, first);
        for (size_t i = first; i < end; i++) {
            const Event *e = &s->event[i];
            out->repeated_pairs += met_by[e->item] == e->user;
            met_by[e->item] = e->user;
        }
        out->last_two_tied += end - first > 1 && s->event[end - 1].timestamp == s->event[end - 2].timestamp;
    }
    free(met_by);
}

// seen[item]: 1 in a row of train, else 2 + the last split in which it was counted as cold.
static void count_cold(SplitStatistics *out, const Split *s, const Interactions *x) {
    char *seen = mem_zalloc((size_t)x->items.n, 1);
    for (size_t r = 0; r < s->begin[SPLIT_VALID]; r++)
        for (int k = 0; k <= s->row[r].history; k++) seen[s->event[s->row[r].event - (size_t)k].item] = 1;
    for (int split = SPLIT_VALID; split < SPLITS; split++)
        for (size_t r = s->begin[split]; r < s->begin[split + 1]; r++) {
            char *item = &seen[s->event[s->row[r].event].item];
            if (*item == 1) continue;
            out->cold_rows[split]++;
            out->cold_items[split] += *item != 2 + split;
            *item = (char)(2 + split);
        }
    free(seen);
}

static int64_t row_time(const Split *s, size_t row) {
    return s->event[s->row[row].event].timestamp;
}

void split_statistics(SplitStatistics *out, const Split *s, const Interactions *x) {
    *out = (SplitStatistics){0};
    count_titles(out, s, x);
    count_users(out, s, x);
    count_cold(out, s, x);
    for (int split = 0; split < SPLITS; split++) {
        size_t begin = s->begin[split], end = s->begin[split + 1];
        for (size_t r = begin; r < end; r++) out->tied_rows[split] += row_time(s, r) == s->event[s->row[r].event - 1].timestamp;
        out->cut_tied[split] = begin > 0 && begin < end && row_time(s, begin) == row_time(s, begin - 1);
    }
    int64_t first_test = INT64_MAX;
    for (size_t r = s->begin[SPLIT_TEST]; r < s->begin[SPLITS]; r++)
        if (row_time(s, r) < first_test) first_test = row_time(s, r);
    for (size_t r = 0; r < s->begin[SPLIT_VALID]; r++) out->late_train_rows += row_time(s, r) > first_test;
}
