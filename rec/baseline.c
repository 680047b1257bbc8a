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

int baseline_choices(const Baseline *b, const Row *row, int exclude_seen) {
    const History h = ranker_history(row, 0), target = {&row->target_title, &row->target_id, NULL, 1, 0};
    const int wanted = history_key(b, &target, 0);
    int choices = b->candidates, n = 0;
    if (wanted < 0 || !is_candidate(b, wanted)) return 0;
    int *key = mem_alloc((size_t)h.n + 1, sizeof *key);
    for (int i = 0; i < h.n && exclude_seen; i++) {
        key[n] = history_key(b, &h, i);
        if (key[n] == wanted) choices = 0;
        n += key[n] >= 0;
    }
    qsort(key, (size_t)n, sizeof *key, by_number);
    for (int i = 0; i < n && choices; i++) choices -= (i == 0 || key[i] != key[i - 1]) && is_candidate(b, key[i]);
    free(key);
    return choices;
}

// The keys of the history's items, each where it stands last; returns how many. key (h->n).
static int history_keys(const BaselineRanker *r, const History *h, int *key) {
    int first = h->n;
    for (int i = h->n - 1; i >= 0; i--) {
        const int k = history_key(r->b, h, i);
        if (k < 0 || r->met[k]) continue;
        r->met[k] = 1;
        key[--first] = k;
    }
    for (int i = first; i < h->n; i++) r->met[key[i]] = 0;
    memmove(key, key + first, (size_t)(h->n - first) * sizeof *key);
    return h->n - first;
}

static void add_neighbours(const Neighbours *near, const int *key, int keys, float *score) {
    for (int i = 0; i < keys; i++)
        for (size_t j = near->first[key[i]]; j < near->first[key[i] + 1]; j++) score[near->item[j]] += near->cosine[j];
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
    if (r->kind == BASELINE_ITEM_KNN) {
        int *key = mem_alloc((size_t)h->n + 1, sizeof *key);
        add_neighbours(b->near, key, history_keys(r, h, key), score);
        free(key);
    }
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

// ---- lists: what ranker_best makes of all scores, from those alone that can be in it -----------------------------------

static void mark_keys(const BaselineRanker *r, const int *key, int keys, char mark) {
    for (int i = 0; i < keys && r->exclude_seen; i++) r->met[key[i]] = mark;
}

static int list_popular(BaselineRanker *r, const int *key, int keys, Recommendation *out, int *found, Err *err) {
    const int n = r->b->items->n;
    if (!r->best) {
        r->best = mem_alloc((size_t)r->b->candidates + 1, sizeof *r->best);
        if (ranker_best(r->empty, n, r->b->candidates, r->best, &r->bests, err)) return -1;
    }
    mark_keys(r, key, keys, 1);
    for (int i = 0; i < r->bests && *found < r->k; i++)
        if (!r->met[r->best[i].item]) out[(*found)++] = r->best[i];
    mark_keys(r, key, keys, 0);
    return 0;
}

static int list_latest(const BaselineRanker *r, const History *h, Recommendation *out) {
    int n = 0;
    for (int i = h->n - 1; i >= 0 && n < r->k && !r->exclude_seen; i--) {
        const int key = history_key(r->b, h, i);
        if (key < 0 || r->met[key] || !is_candidate(r->b, key)) continue;
        r->met[key] = 1;
        out[n++] = (Recommendation){key, (float)i};
    }
    for (int i = 0; i < n; i++) r->met[out[i].item] = 0;
    return n;
}

static int by_item(const void *a, const void *b) {
    const Recommendation *x = a, *y = b;
    return (x->item > y->item) - (x->item < y->item);
}

// The items that the neighbours touch and that can be listed, by number; r->score, zeros, is left so. Returns how many.
static int touched_items(const BaselineRanker *r, const int *key, int keys, Recommendation **touched) {
    const Neighbours *near = r->b->near;
    size_t most = 1;
    int n = 0;
    add_neighbours(near, key, keys, r->score);
    for (int i = 0; i < keys; i++) most += near->first[key[i] + 1] - near->first[key[i]];
    *touched = mem_alloc(most, sizeof **touched);
    for (int i = 0; i < keys; i++)
        for (size_t j = near->first[key[i]]; j < near->first[key[i] + 1]; j++) {
            const int item = near->item[j];
            if (r->score[item] > 0 && !r->met[item] && is_candidate(r->b, item))
                (*touched)[n++] = (Recommendation){item, r->score[item]};
            r->score[item] = 0;
        }
    qsort(*touched, (size_t)n, sizeof **touched, by_item);
    return n;
}

// Behind those that are touched come the others, which all score 0.
static int list_near(const BaselineRanker *r, const int *key, int keys, Recommendation *out, int *found, Err *err) {
    const Baseline *b = r->b;
    Recommendation *touched;
    mark_keys(r, key, keys, 1);
    const int n = touched_items(r, key, keys, &touched);
    float *score = mem_alloc((size_t)n + 1, sizeof *score);
    for (int i = 0; i < n; i++) score[i] = touched[i].score;
    const int status = ranker_best(score, n, r->k, out, found, err);
    for (int i = 0; i < *found; i++) out[i].item = touched[out[i].item].item;
    for (int i = 0, at = 0; i < b->items->n && *found < r->k; i++) {
        const int there = at < n && touched[at].item == i;
        at += there;
        if (!there && !r->met[i] && is_candidate(b, i)) out[(*found)++] = (Recommendation){i, 0};
    }
    mark_keys(r, key, keys, 0);
    free(touched), free(score);
    return status;
}

static int rank_user(BaselineRanker *r, const History *h, Recommendation *out, int *found, Err *err) {
    *found = 0;
    if (!baseline_ranker_knows(r, h)) return 0;
    if (r->kind == BASELINE_RANDOM || r->every_item) {
        score_user(r, h, r->score);
        return ranker_best(r->score, r->b->items->n, r->k, out, found, err);
    }
    if (r->kind == BASELINE_REPEAT_LAST) {
        *found = list_latest(r, h, out);
        return 0;
    }
    int *key = mem_alloc((size_t)h->n + 1, sizeof *key);
    const int keys = history_keys(r, h, key), status = r->kind == BASELINE_POPULARITY
                                                           ? list_popular(r, key, keys, out, found, err)
                                                           : list_near(r, key, keys, out, found, err);
    free(key);
    return status;
}

static int rank_users(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    BaselineRanker *r = self;
    for (int u = 0; u < users; u++)
        if (rank_user(r, &h[u], out + (size_t)u * (size_t)r->k, &found[u], err)) return -1;
    return 0;
}

Ranker baseline_ranker(BaselineRanker *r) {
    const Baseline *b = r->b;
    if (r->kind == BASELINE_ITEM_KNN && !b->near->first) find_neighbours(b);
    r->score = mem_zalloc((size_t)b->items->n, sizeof *r->score);
    r->empty = mem_alloc((size_t)b->items->n, sizeof *r->empty);
    r->met = mem_zalloc((size_t)b->items->n, 1);
    r->best = NULL;
    r->bests = 0;
    for (int i = 0; i < b->items->n; i++) {
        r->empty[i] = r->kind == BASELINE_ITEM_KNN ? 0 : -INFINITY;
        if (r->kind == BASELINE_POPULARITY) r->empty[i] = logf(1 + (float)b->count[i]);
        if (!is_candidate(b, i)) r->empty[i] = -INFINITY;
    }
    return (Ranker){.self = r, .items = r->b->items, .users = r->users, .k = r->k, .rank = rank_users, .score = score_users};
}

void baseline_ranker_free(BaselineRanker *r) {
    free(r->score), free(r->empty), free(r->met), free(r->best);
    r->score = r->empty = NULL, r->met = NULL, r->best = NULL, r->bests = 0;
}
