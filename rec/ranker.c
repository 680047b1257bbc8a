#include "rec/ranker.h"
#include "base/arena.h"

#include <math.h>
#include <stdlib.h>

// As a list has them: of equal scores the lower item number first.
static int by_place(const void *a, const void *b) {
    const Recommendation *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : (x->item > y->item) - (x->item < y->item);
}

// Down from `at`, until no place of the heap is behind the one above it.
static void sift(Recommendation *heap, int n, int at) {
    const Recommendation x = heap[at];
    for (int below; (below = 2 * at + 1) < n; at = below) {
        if (below + 1 < n && by_place(&heap[below], &heap[below + 1]) < 0) below++;
        if (by_place(&heap[below], &x) < 0) break;
        heap[at] = heap[below];
    }
    heap[at] = x;
}

// Lists can be as long as the catalogue: the best so far are a heap with the last of them on top.
int ranker_best(const float *score, int n, int k, Recommendation *out, int *found, Err *err) {
    int have = 0;
    for (int i = 0; i < n; i++) {
        if (!(score[i] < INFINITY)) return err_set(err, ERR_DATA, "the score of item %d is not finite", i);
        if (score[i] == -INFINITY || (have == k && !(score[i] > out[0].score))) continue;
        if (have == k) {
            out[0] = (Recommendation){i, score[i]};
            sift(out, k, 0);
        } else {
            out[have++] = (Recommendation){i, score[i]};
            for (int at = k / 2 - 1; have == k && at >= 0; at--) sift(out, k, at);
        }
    }
    qsort(out, (size_t)have, sizeof *out, by_place);
    *found = have;
    return 0;
}

static int falling(const void *a, const void *b) {
    return *(const int *)b - *(const int *)a;
}

// The most items that are left of the titles of a row's history; size (items): of the title's items, at its first. An item
// that was removed is among them no more.
static int most_twins(const Items *items, const int *size, const Rows *rows) {
    int most = 0;
    for (int r = 0; r < rows->n; r++) {
        int twins = 0;
        for (int h = 0; h < rows->row[r].n && twins < items->n; h++) {
            const int item = items_by_id(items, rows->row[r].item_id[h]);
            if (item >= 0) twins += size[items_title_group(items, item)] - !items->removed[item];
        }
        if (twins > most) most = twins;
    }
    return most;
}

// The titles with the most items may come first.
int ranker_places(const Items *items, int titles, const Rows *seen) {
    int *size = mem_zalloc((size_t)items->n + 1, sizeof *size);
    for (int i = 0; i < items->n; i++) size[items_title_group(items, i)] += !items->removed[i];
    int places = titles + (seen ? most_twins(items, size, seen) : 0);
    qsort(size, (size_t)items->n, sizeof *size, falling);
    for (int i = 0; i < items->n && i < titles && size[i] > 1; i++) places += size[i] - 1;
    free(size);
    return places < items->n ? places : items->n > titles ? items->n : titles;
}
