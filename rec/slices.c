#include "rec/slices.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

typedef struct Counted {
    int item, count;
} Counted;

static int by_count(const void *a, const void *b) {
    const Counted *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static void add_item(Slices *s, int slice, Counted c) {
    s->in[c.item] |= (uint16_t)(1 << slice);
    s->slice[slice].items++;
    s->slice[slice].interactions += c.count;
}

void slices_open(Slices *s, const Baseline *b) {
    const int n = b->items->n;
    *s = (Slices){.items = b->items, .in = mem_zalloc((size_t)n, sizeof *s->in)};
    Counted *all = mem_alloc((size_t)n, sizeof *all);
    int keys = 0, warm = 0;
    for (int i = 0; i < n; i++) {
        if (b->key[i] != i) continue;
        all[keys++] = (Counted){i, b->count[i]};
        warm += b->count[i] > 0;
    }
    qsort(all, (size_t)keys, sizeof *all, by_count);
    int64_t before = 0;
    for (int i = 0; i < keys; i++) {
        add_item(s, SLICE_ALL, all[i]);
        if (b->events == 0) continue;
        add_item(s, all[i].count > 0 ? SLICE_WARM : SLICE_COLD, all[i]);
        add_item(s, i < (warm + 4) / 5 ? SLICE_POPULAR : SLICE_UNPOPULAR, all[i]);
        int bucket = (int)(before * SLICE_BUCKETS / b->events);
        add_item(s, SLICE_BUCKET + (bucket < SLICE_BUCKETS ? bucket : SLICE_BUCKETS - 1), all[i]);
        before += all[i].count;
    }
    free(all);
}

void slices_close(Slices *s) {
    free(s->in);
    *s = (Slices){0};
}

// ---- measuring ---------------------------------------------------------------------------------------------------------

int slices_of(const Slices *s, const Row *row) {
    const int outside = 1 << SLICE_ALL | 1 << SLICE_COLD | 1 << SLICE_UNPOPULAR | 1 << (SLICES - 1);
    int item = items_by_title(s->items, row->target_title);
    return item < 0 ? outside : s->in[item];
}

static int shorter(const SlicesRanks *r) {
    return r->other_list < r->list ? r->other_list : r->list;
}

static void slice_measure(Slice *slice, int all, const int *rank, const int *other, const int *user, int n,
                          const SlicesRanks *r) {
    metrics_from_ranks(&slice->metrics, rank, user, n, r->list, all ? r->resamples : 0, r->seed);
    if (!r->other) return;
    metrics_from_ranks(&slice->other, other, user, n, shorter(r), 0, r->seed);
    metrics_of_gain(&slice->gain, rank, other, user, n, shorter(r), r->resamples, r->seed);
}

void slices_measure(Slices *s, const Rows *rows, const SlicesRanks *r) {
    const size_t n = (size_t)rows->n;
    int *rank = mem_alloc(n, sizeof *rank), *other = mem_alloc(n, sizeof *other), *user = mem_alloc(n, sizeof *user);
    int *number = mem_alloc(n, sizeof *number); // of each user within the slice
    for (int slice = 0; slice < SLICES; slice++) {
        int m = 0, users = 0;
        memset(number, 0xff, n * sizeof *number);
        for (int i = 0; i < rows->n; i++) {
            if (!(slices_of(s, &rows->row[i]) >> slice & 1)) continue;
            if (number[r->user[i]] < 0) number[r->user[i]] = users++;
            user[m] = number[r->user[i]];
            rank[m] = r->rank[i];
            other[m++] = r->other ? r->other[i] : 0;
        }
        if (m > 0) slice_measure(&s->slice[slice], slice == SLICE_ALL, rank, other, user, m, r);
    }
    free(rank), free(other), free(user), free(number);
}

// ---- report ------------------------------------------------------------------------------------------------------------

static const char *const slice_name[SLICE_BUCKET] = {NULL, "warm", "cold", "popular", "unpopular"};

static json_t *slice_to_json(const Slice *s, int gain) {
    const Metrics *m = gain ? &s->gain : &s->metrics;
    json_t *json =
        json_pack("{s:i, s:i, s:I}", "rows", m->rows, "items", s->items, "interactions", (json_int_t)s->interactions);
    json_t *values = !m->rows ? json_object() : gain ? metrics_gain_to_json(m, &s->other) : metrics_to_json(m);
    json_object_update(json, values);
    json_decref(values);
    return json;
}

static void put_slices(json_t *json, const Slice slice[SLICES], int gain) {
    json_t *buckets = json_array();
    for (int i = 1; i < SLICE_BUCKET; i++) json_object_set_new(json, slice_name[i], slice_to_json(&slice[i], gain));
    for (int i = SLICE_BUCKET; i < SLICES; i++) json_array_append_new(buckets, slice_to_json(&slice[i], gain));
    json_object_set_new(json, "buckets", buckets);
}

void slices_to_json(json_t *json, const Slice slice[SLICES]) {
    if (slice[SLICE_ALL].interactions > 0) put_slices(json, slice, 0);
}

json_t *slices_gain_to_json(const Slice slice[SLICES]) {
    json_t *json = slice_to_json(&slice[SLICE_ALL], 1);
    if (slice[SLICE_ALL].interactions > 0) put_slices(json, slice, 1);
    return json;
}
