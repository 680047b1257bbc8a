#include "rec/ranker.h"
#include "base/arena.h"

#include <math.h>
#include <stdlib.h>

int ranker_best(const float *score, int n, int k, Recommendation *out, int *found, Err *err) {
    int have = 0;
    for (int i = 0; i < n; i++) {
        if (!(score[i] < INFINITY)) return err_set(err, ERR_DATA, "the score of item %d is not finite", i);
        if (score[i] == -INFINITY || (have == k && !(score[i] > out[k - 1].score))) continue;
        int at = have < k ? have++ : k - 1;
        for (; at > 0 && out[at - 1].score < score[i]; at--) out[at] = out[at - 1];
        out[at] = (Recommendation){i, score[i]};
    }
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
