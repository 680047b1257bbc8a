#include "rec/baseline.h"
#include "base/arena.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct UserAt {
    const char *user;
    int row;
} UserAt;

static int by_user_then_row(const void *a, const void *b) {
    const UserAt *x = a, *y = b;
    int order = strcmp(x->user, y->user);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

int baseline_number_users(const Rows *rows, int *user) {
    UserAt *at = mem_alloc((size_t)rows->n, sizeof *at);
    for (int i = 0; i < rows->n; i++) at[i] = (UserAt){rows->row[i].user, i};
    qsort(at, (size_t)rows->n, sizeof *at, by_user_then_row);
    // user[] first holds the first row of the row's user, then that row's number.
    for (int i = 0, first = 0; i < rows->n; i++) {
        if (i == 0 || strcmp(at[i].user, at[i - 1].user) != 0) first = at[i].row;
        user[at[i].row] = first;
    }
    free(at);
    int users = 0;
    for (int i = 0; i < rows->n; i++) user[i] = user[i] == i ? users++ : user[user[i]];
    return users;
}

// ---- neighbours --------------------------------------------------------------------------------------------------------

static int by_number(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

// Each user's items once, and the other way round: the users of each item.
typedef struct Pairs {
    size_t *first_item, *first_user; // (users + 1), (items + 1)
    int *item, *user;
} Pairs;

static void pairs_open(Pairs *p, const Baseline *b) {
    const size_t items = (size_t)b->items->n, users = (size_t)b->train.n;
    *p = (Pairs){mem_zalloc(users + 1, sizeof(size_t)), mem_zalloc(items + 1, sizeof(size_t)),
                 mem_alloc((size_t)b->events, sizeof(int)), mem_alloc((size_t)b->events, sizeof(int))};
    size_t n = 0;
    for (size_t u = 0; u < users; u++) {
        const Ints *sequence = &b->train.item[u];
        const size_t len = sequence->len;
        int *mine = p->item + n;
        for (size_t i = 0; i < len; i++) mine[i] = b->key[sequence->data[i]];
        qsort(mine, len, sizeof *mine, by_number);
        size_t kept = 0;
        for (size_t i = 0; i < len; i++)
            if (i == 0 || mine[i] != mine[kept - 1]) mine[kept++] = mine[i];
        for (size_t i = 0; i < kept; i++) p->first_user[mine[i] + 1]++;
        p->first_item[u + 1] = n += kept;
    }
    for (size_t i = 0; i < items; i++) p->first_user[i + 1] += p->first_user[i];
    size_t *at = mem_alloc(items + 1, sizeof *at);
    memcpy(at, p->first_user, (items + 1) * sizeof *at);
    for (size_t u = 0; u < users; u++)
        for (size_t i = p->first_item[u]; i < p->first_item[u + 1]; i++) p->user[at[p->item[i]]++] = (int)u;
    free(at);
}

static void pairs_close(Pairs *p) {
    free(p->first_item), free(p->first_user), free(p->item), free(p->user);
}

// The nearest of item h: out (NEAREST); returns how many. both (items) zeros, and left so; touched (items).
static int nearest_of(const Pairs *p, int h, int *both, int *touched, Recommendation *out) {
    int n = 0, found = 0;
    const double own = (double)(p->first_user[h + 1] - p->first_user[h]);
    for (size_t u = p->first_user[h]; u < p->first_user[h + 1]; u++)
        for (size_t i = p->first_item[p->user[u]]; i < p->first_item[p->user[u] + 1]; i++)
            if (both[p->item[i]]++ == 0) touched[n++] = p->item[i];
    for (int t = 0; t < n; t++) {
        const int i = touched[t], together = both[i];
        both[i] = 0;
        if (i == h) continue;
        float cosine = (float)(together / sqrt(own * (double)(p->first_user[i + 1] - p->first_user[i])));
        int at = found;
        while (at > 0 && (out[at - 1].score < cosine || (out[at - 1].score == cosine && out[at - 1].item > i))) at--;
        if (at == BASELINE_NEAREST) continue;
        if (found < BASELINE_NEAREST) found++;
        memmove(out + at + 1, out + at, (size_t)(found - 1 - at) * sizeof *out);
        out[at] = (Recommendation){i, cosine};
    }
    return found;
}

static void find_neighbours(const Baseline *b) {
    const int n = b->items->n;
    Neighbours *near = b->near;
    Pairs p;
    pairs_open(&p, b);
    size_t used = 0, cap = 0;
    int *both = mem_zalloc((size_t)n, sizeof *both), *touched = mem_alloc((size_t)n, sizeof *touched);
    near->first = mem_zalloc((size_t)n + 1, sizeof *near->first);
    for (int h = 0; h < n; h++) {
        Recommendation best[BASELINE_NEAREST];
        int found = nearest_of(&p, h, both, touched, best);
        if (used + (size_t)found > cap) {
            cap = 2 * cap + (size_t)found;
            near->item = mem_realloc(near->item, cap, sizeof *near->item);
            near->cosine = mem_realloc(near->cosine, cap, sizeof *near->cosine);
        }
        for (int i = 0; i < found; i++, used++) near->item[used] = best[i].item, near->cosine[used] = best[i].score;
        near->first[h + 1] = used;
    }
    free(both), free(touched);
    pairs_close(&p);
}

// ---- open and close ----------------------------------------------------------------------------------------------------

static int is_candidate(const Baseline *b, int item) {
    return b->key[item] == item && !b->items->removed[item];
}

static void forget_neighbours(Baseline *b) {
    free(b->near->first), free(b->near->item), free(b->near->cosine);
    *b->near = (Neighbours){0};
}

// Where no title repeats, each item counts under itself by title too: all but the look-up of a history's items is the same.
void baseline_match_by(Baseline *b, MatchBy by) {
    int changed = 0;
    b->by = by;
    for (int i = 0; i < b->items->n; i++) {
        const int key = by == MATCH_ITEM ? i : items_title_group(b->items, i);
        changed |= b->key[i] != key;
        b->key[i] = key;
    }
    if (!changed) return;
    forget_neighbours(b);
    memset(b->count, 0, (size_t)b->items->n * sizeof *b->count);
    b->candidates = 0;
    for (int i = 0; i < b->items->n; i++) b->candidates += is_candidate(b, i);
    for (int u = 0; u < b->train.n; u++) {
        const Ints *sequence = &b->train.item[u];
        for (size_t i = 0; i < sequence->len; i++) b->count[b->key[sequence->data[i]]]++;
    }
}

void baseline_open(Baseline *b, const Items *items, const Rows *train, MatchBy by) {
    const size_t n = (size_t)items->n;
    *b = (Baseline){.items = items, .near = mem_zalloc(1, sizeof *b->near)};
    b->key = mem_alloc(n, sizeof *b->key);
    b->count = mem_alloc(n, sizeof *b->count);
    memset(b->key, 0xff, n * sizeof *b->key); // no item's: they all change
    sequences_add(&b->train, items, train, NULL);
    for (int u = 0; u < b->train.n; u++) b->events += (int64_t)b->train.item[u].len;
    baseline_match_by(b, by);
}

void baseline_close(Baseline *b) {
    sequences_free(&b->train);
    if (b->near) forget_neighbours(b);
    free(b->key), free(b->count), free(b->near);
    *b = (Baseline){0};
}

// ---- as recommenders ---------------------------------------------------------------------------------------------------

const char *const baseline_name[BASELINES] = {"popularity", "item-knn", "repeat-last", "random"};

int baseline_kind(const char *name) {
    for (int kind = 0; kind < BASELINES; kind++)
        if (!strcmp(name, baseline_name[kind])) return kind;
    return -1;
}

// The key of entry i of a history, or -1 where the catalogue does not have it.
static int history_key(const Baseline *b, const History *h, int i) {
    const char *id = h->item_id ? h->item_id[i] : NULL;
    const int item = b->by == MATCH_ITEM && id ? items_by_id(b->items, id) : items_group_of(b->items, id, h->title[i]);
    return item < 0 ? -1 : b->key[item];
}

static int stands_later(const Baseline *b, const History *h, int i, int key) {
    for (int later = i + 1; later < h->n; later++)
        if (history_key(b, h, later) == key) return 1;
    return 0;
}

int baseline_choices(const Baseline *b, const Row *row, int exclude_seen) {
    const History h = ranker_history(row, 0), target = {&row->target_title, &row->target_id, NULL, 1, 0};
    const int wanted = history_key(b, &target, 0);
    int choices = b->candidates;
    if (wanted < 0 || !is_candidate(b, wanted)) return 0;
    for (int i = 0; i < h.n && exclude_seen; i++) {
        const int key = history_key(b, &h, i);
        if (key < 0 || stands_later(b, &h, i, key)) continue;
        if (key == wanted) return 0;
        choices -= is_candidate(b, key);
    }
    return choices;
}

// The neighbours of each item of the history, once, where it stands last.
static void add_neighbours(const BaselineRanker *r, const History *h, float *score) {
    const Baseline *b = r->b;
    const Neighbours *near = b->near;
    int *key = mem_alloc((size_t)h->n + 1, sizeof *key);
    for (int i = h->n - 1; i >= 0; i--) {
        key[i] = history_key(b, h, i);
        if (key[i] < 0) continue;
        if (r->met[key[i]])
            key[i] = -1;
        else
            r->met[key[i]] = 1;
    }
    for (int i = 0; i < h->n; i++) {
        if (key[i] < 0) continue;
        r->met[key[i]] = 0;
        for (size_t j = near->first[key[i]]; j < near->first[key[i] + 1]; j++) score[near->item[j]] += near->cosine[j];
    }
    free(key);
}

static void score_user(const BaselineRanker *r, const History *h, float *score) {
    const Baseline *b = r->b;
    const size_t n = (size_t)b->items->n;
    memcpy(score, r->empty, n * sizeof *score);
    for (size_t i = 0; i < n && r->kind == BASELINE_RANDOM; i++)
        if (is_candidate(b, (int)i)) score[i] = (float)rng_uniform(r->seed, RNG_SAMPLE, (uint64_t)h->number * n + i);
    for (int i = 0; i < h->n && r->kind == BASELINE_REPEAT_LAST; i++) {
        const int key = history_key(b, h, i);
        if (key >= 0 && is_candidate(b, key)) score[key] = (float)i;
    }
    if (r->kind == BASELINE_ITEM_KNN) add_neighbours(r, h, score);
    for (int i = 0; i < h->n && r->exclude_seen; i++)
        if (history_key(b, h, i) >= 0) score[history_key(b, h, i)] = -INFINITY;
    for (size_t i = 0; i < n && r->every_item; i++)
        if (!b->items->removed[i]) score[i] = score[b->key[i]];
}

static int score_users(void *self, const History *h, int users, float *score, Err *err) {
    const BaselineRanker *r = self;
    (void)err;
    for (int u = 0; u < users; u++) score_user(r, &h[u], score + (size_t)u * (size_t)r->b->items->n);
    return 0;
}

int baseline_ranker_knows(const BaselineRanker *r, const History *h) {
    for (int i = 0; i < h->n; i++)
        if (history_key(r->b, h, i) >= 0) return 1;
    return r->kind != BASELINE_ITEM_KNN;
}

static int rank_users(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    const BaselineRanker *r = self;
    for (int u = 0; u < users; u++) {
        found[u] = 0;
        if (!baseline_ranker_knows(r, &h[u])) continue;
        score_user(r, &h[u], r->score);
        if (ranker_best(r->score, r->b->items->n, r->k, out + (size_t)u * (size_t)r->k, &found[u], err)) return -1;
    }
    return 0;
}

Ranker baseline_ranker(BaselineRanker *r) {
    const Baseline *b = r->b;
    if (r->kind == BASELINE_ITEM_KNN && !b->near->first) find_neighbours(b);
    r->score = mem_alloc((size_t)b->items->n, sizeof *r->score);
    r->empty = mem_alloc((size_t)b->items->n, sizeof *r->empty);
    r->met = mem_zalloc((size_t)b->items->n, 1);
    for (int i = 0; i < b->items->n; i++) {
        r->empty[i] = r->kind == BASELINE_ITEM_KNN ? 0 : -INFINITY;
        if (r->kind == BASELINE_POPULARITY) r->empty[i] = logf(1 + (float)b->count[i]);
        if (!is_candidate(b, i)) r->empty[i] = -INFINITY;
    }
    return (Ranker){.self = r, .items = r->b->items, .users = r->users, .k = r->k, .rank = rank_users, .score = score_users};
}

void baseline_ranker_free(BaselineRanker *r) {
    free(r->score), free(r->empty), free(r->met);
    r->score = r->empty = NULL, r->met = NULL;
}
