#include "rec/baseline.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

int match_key(const Items *items, MatchBy by, const char *title, const char *id) {
    if (by == MATCH_ITEM) return items_by_id(items, id);
    int item = items_by_title(items, title);
    return item < 0 ? -1 : items_title_group(items, item);
}

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

typedef struct Counted {
    int key, count;
} Counted;

static int by_count(const void *a, const void *b) {
    const Counted *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

static void baseline_order(Baseline *b, MatchBy by) {
    int n = b->items->n, keys = 0;
    Counted *all = mem_alloc((size_t)n, sizeof *all);
    for (int i = 0; i < n; i++)
        if (!b->items->removed[i] && (by == MATCH_ITEM || items_title_group(b->items, i) == i))
            all[keys++] = (Counted){i, b->count[by][i]};
    qsort(all, (size_t)keys, sizeof *all, by_count);
    for (int i = 0; i < keys; i++) b->place[by][all[i].key] = i + 1;
    b->candidates[by] = keys;
    free(all);
}

static void baseline_add(Baseline *b, const char *title, const char *id) {
    b->events++;
    for (int by = 0; by < MATCHES; by++) {
        int key = match_key(b->items, (MatchBy)by, title, id);
        if (key >= 0) b->count[by][key]++;
    }
}

void baseline_count(Baseline *b, const Items *items, const Rows *train) {
    *b = (Baseline){.items = items};
    for (int by = 0; by < MATCHES; by++) {
        b->count[by] = mem_zalloc((size_t)items->n, sizeof(int));
        b->place[by] = mem_zalloc((size_t)items->n, sizeof(int));
    }
    int *user = mem_alloc((size_t)train->n, sizeof *user), users = 0;
    baseline_number_users(train, user);
    for (int i = 0; i < train->n; i++) {
        const Row *row = &train->row[i];
        int first = user[i] == users; // numbers go up by one at each user's first row
        users += first;
        for (int h = 0; first && h < row->n; h++) baseline_add(b, row->title[h], row->item_id[h]);
        baseline_add(b, row->target_title, row->target_id);
    }
    free(user);
    for (int by = 0; by < MATCHES; by++) baseline_order(b, (MatchBy)by);
}

void baseline_free(Baseline *b) {
    for (int by = 0; by < MATCHES; by++) free(b->count[by]), free(b->place[by]);
    *b = (Baseline){0};
}

// Whether history entry `h` is the newest of its key, and one to recommend; *key is set.
static int newest(const Baseline *b, MatchBy by, const Row *row, int h, int *key) {
    *key = match_key(b->items, by, row->title[h], row->item_id[h]);
    for (int later = h + 1; later < row->n; later++)
        if (match_key(b->items, by, row->title[later], row->item_id[later]) == *key) return 0;
    return *key >= 0 && !b->items->removed[*key];
}

int baseline_popularity(const Baseline *b, MatchBy by, const Row *row, int exclude_seen) {
    int target = match_key(b->items, by, row->target_title, row->target_id), key;
    if (target < 0 || b->items->removed[target]) return 0;
    int rank = b->place[by][target];
    for (int h = 0; exclude_seen && h < row->n; h++) {
        if (!newest(b, by, row, h, &key)) continue;
        if (key == target) return 0;
        rank -= b->place[by][key] < b->place[by][target];
    }
    return rank;
}

int baseline_repeat(const Baseline *b, MatchBy by, const Row *row) {
    int target = match_key(b->items, by, row->target_title, row->target_id), key;
    for (int h = row->n - 1, rank = 0; h >= 0 && target >= 0; h--) {
        if (!newest(b, by, row, h, &key)) continue;
        rank++;
        if (key == target) return rank;
    }
    return 0;
}
