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
    int item = items_group_of(s->items, row->target_id, row->target_title);
    return item < 0 ? outside : s->in[item];
}

static int shorter(const SlicesRanks *r) {
    return r->other_list < r->list ? r->other_list : r->list;
}

void slices_part_open(SlicesPart *p, int rows) {
    int *room = mem_alloc(4 * (size_t)rows, sizeof *room);
    *p = (SlicesPart){0, room, room + rows, room + 2 * (size_t)rows, room + 3 * (size_t)rows};
}

void slices_part_close(SlicesPart *p) {
    free(p->rank);
    *p = (SlicesPart){0};
}

void slices_pick(SlicesPart *p, int slice, const int *in, const int *rank, const int *other, const int *user, int rows) {
    int users = 0;
    p->n = 0;
    memset(p->number, 0xff, (size_t)rows * sizeof *p->number);
    for (int i = 0; i < rows; i++) {
        if (!(in[i] >> slice & 1)) continue;
        if (p->number[user[i]] < 0) p->number[user[i]] = users++;
        p->user[p->n] = p->number[user[i]];
        p->rank[p->n] = rank[i];
        p->other[p->n++] = other ? other[i] : 0;
    }
}

static void slice_measure(Slice *slice, int all, const SlicesPart *p, const SlicesRanks *r) {
    metrics_from_ranks(&slice->metrics, p->rank, p->user, p->n, r->list, all ? r->resamples : 0, r->seed);
    if (!r->other) return;
    metrics_from_ranks(&slice->other, p->other, p->user, p->n, shorter(r), 0, r->seed);
    metrics_of_gain(&slice->gain, p->rank, p->other, p->user, p->n, shorter(r), r->resamples, r->seed);
}

void slices_measure(Slices *s, const Rows *rows, const SlicesRanks *r, int *in) {
    SlicesPart part;
    for (int i = 0; i < rows->n; i++) in[i] = slices_of(s, &rows->row[i]);
    slices_part_open(&part, rows->n);
    for (int slice = 0; slice < SLICES; slice++) {
        slices_pick(&part, slice, in, r->rank, r->other, r->user, rows->n);
        if (part.n > 0) slice_measure(&s->slice[slice], slice == SLICE_ALL, &part, r);
    }
    slices_part_close(&part);
}

// ---- report ------------------------------------------------------------------------------------------------------------

const char *const slice_label[SLICES] = {"all",       "warm",      "cold",      "popular",   "unpopular",
                                         "1st fifth", "2nd fifth", "3rd fifth", "4th fifth", "last fifth"};

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
    for (int i = 1; i < SLICE_BUCKET; i++) json_object_set_new(json, slice_label[i], slice_to_json(&slice[i], gain));
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
