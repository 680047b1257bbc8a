#include "data/split.h"
#include "base/arena.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

// ---- order ----

typedef int64_t (*KeyOf)(const void *context, uint32_t i);

// Sorts order[0..n) by key, from `least` to `most`; what has the same key stays in order. Digit after digit from the lowest,
// so its cost does not depend on how the log was sorted. spare: (n).
static void sort_stably(uint32_t *order, uint32_t *spare, size_t n, KeyOf key, const void *context, int64_t least,
                        int64_t most) {
    enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };
    size_t place[DIGITS + 1];
    uint32_t *from = order, *to = spare;
    for (int shift = 0; shift < 63 && (most - least) >> shift; shift += DIGIT_BITS) {
        memset(place, 0, sizeof place);
        for (size_t i = 0; i < n; i++) place[((key(context, from[i]) - least) >> shift & (DIGITS - 1)) + 1]++;
        for (int d = 0; d < DIGITS; d++) place[d + 1] += place[d];
        for (size_t i = 0; i < n; i++) to[place[(key(context, from[i]) - least) >> shift & (DIGITS - 1)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order) memcpy(order, from, n * sizeof *order);
}

static int64_t time_of(const void *events, uint32_t i) {
    return ((const Event *)events)[i].timestamp;
}

static void sort_by_time(uint32_t *order, uint32_t *spare, size_t n, const Event *event) {
    int64_t least = INT64_MAX, most = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t t = event[order[i]].timestamp;
        if (t < least) least = t;
        if (t > most) most = t;
    }
    if (n) sort_stably(order, spare, n, time_of, event, least, most);
}

typedef struct UserRank {
    const Event *event;
    const int32_t *rank; // (users): in the order of their first events that are left
} UserRank;

static int64_t rank_of(const void *context, uint32_t i) {
    const UserRank *u = context;
    return u->rank[u->event[i].user];
}

// User after user in the order of their first events that are left, each by time, ties in the order of the log, or, where
// tie_order is not 0, in one of chance.
static void sort_events(Interactions *x, uint64_t tie_order) {
    uint32_t *order = mem_alloc(x->n, sizeof *order), *spare = mem_alloc(x->n, sizeof *spare);
    int32_t *rank = mem_alloc((size_t)x->users.n, sizeof *rank), ranks = 0;
    memset(rank, 0xff, (size_t)x->users.n * sizeof *rank);
    for (size_t i = 0; i < x->n; i++) {
        int32_t *r = &rank[x->event[i].user];
        if (*r < 0) *r = ranks++;
        order[i] = (uint32_t)i;
    }
    if (tie_order) rng_permutation(order, x->n, tie_order, RNG_SHUFFLE);
    sort_by_time(order, spare, x->n, x->event);
    sort_stably(order, spare, x->n, rank_of, &(UserRank){x->event, rank}, 0, ranks);
    free(spare), free(rank);
    Event *sorted = mem_alloc(x->n, sizeof *sorted);
    for (size_t i = 0; i < x->n; i++) sorted[i] = x->event[order[i]];
    free(order), free(x->event);
    x->event = sorted;
    x->cap = x->n;
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

static void rows_by_time(Split *s) {
    size_t n = 0;
    uint32_t *spare = mem_alloc(s->events, sizeof *spare);
    for (size_t first = 0, end; first < s->events; first = end) {
        end = user_end(s, first);
        for (size_t i = first + 1; i < end; i++) s->row[n++] = (uint32_t)i;
    }
    sort_by_time(s->row, spare, n, s->event);
    free(spare);
    s->begin[SPLIT_VALID] = n / 10 * 8 + n % 10 * 8 / 10;
    s->begin[SPLIT_TEST] = n / 10 * 9 + n % 10 * 9 / 10;
    s->begin[SPLITS] = n;
}

static void rows_leave_one_out(Split *s) {
    size_t n = 0;
    for (int split = 0; split < SPLITS; split++) {
        s->begin[split] = n;
        for (size_t first = 0, end; first < s->events; first = end) {
            end = user_end(s, first); // three events at least
            size_t begin = split == SPLIT_TRAIN ? first + 1 : end - (split == SPLIT_VALID ? 2 : 1);
            size_t stop = split == SPLIT_TRAIN ? end - 2 : begin + 1;
            for (size_t i = begin; i < stop; i++) s->row[n++] = (uint32_t)i;
        }
    }
    s->begin[SPLITS] = n;
}

void split_make(Split *s, Interactions *x, int leave_one_out, int history, uint64_t tie_order) {
    CHECK(x->n <= SPLIT_EVENTS_LIMIT);
    *s = (Split){.history = history};
    number_items(s, x);
    sort_events(x, tie_order);
    s->event = x->event;
    s->events = x->n;
    for (size_t first = 0, end; first < s->events; first = end) {
        end = user_end(s, first);
        s->users++;
        s->users_without_row += end - first == 1;
    }
    s->row = mem_alloc(s->events, sizeof *s->row);
    if (leave_one_out)
        rows_leave_one_out(s);
    else
        rows_by_time(s);
}

int split_history(const Split *s, uint32_t target) {
    int n = 0;
    const Event *e = &s->event[target];
    while (n < s->history && (uint32_t)n < target && e[-n - 1].user == e->user) n++;
    return n;
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
        for (int k = 0, n = split_history(s, s->row[r]); k <= n; k++) seen[s->event[s->row[r] - (uint32_t)k].item] = 1;
    for (int split = SPLIT_VALID; split < SPLITS; split++)
        for (size_t r = s->begin[split]; r < s->begin[split + 1]; r++) {
            char *item = &seen[s->event[s->row[r]].item];
            if (*item == 1) continue;
            out->cold_rows[split]++;
            out->cold_items[split] += *item != 2 + split;
            *item = (char)(2 + split);
        }
    free(seen);
}

static int64_t row_time(const Split *s, size_t row) {
    return s->event[s->row[row]].timestamp;
}

void split_statistics(SplitStatistics *out, const Split *s, const Interactions *x) {
    *out = (SplitStatistics){0};
    count_titles(out, s, x);
    count_users(out, s, x);
    count_cold(out, s, x);
    for (int split = 0; split < SPLITS; split++) {
        size_t begin = s->begin[split], end = s->begin[split + 1];
        for (size_t r = begin; r < end; r++) out->tied_rows[split] += row_time(s, r) == s->event[s->row[r] - 1].timestamp;
        out->cut_tied[split] = begin > 0 && begin < end && row_time(s, begin) == row_time(s, begin - 1);
    }
    int64_t first_test = INT64_MAX;
    for (size_t r = s->begin[SPLIT_TEST]; r < s->begin[SPLITS]; r++)
        if (row_time(s, r) < first_test) first_test = row_time(s, r);
    for (size_t r = 0; r < s->begin[SPLIT_VALID]; r++) out->late_train_rows += row_time(s, r) > first_test;
}
