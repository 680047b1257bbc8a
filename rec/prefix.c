#include "rec/prefix.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

enum { PREFIX_LEAST = 8 }; // shorter ones are computed as fast as copied

void prefix_open(PrefixCache *c, size_t most_bytes) {
    *c = (PrefixCache){.most_bytes = most_bytes};
}

static void drop(PrefixCache *c, int i) {
    c->bytes -= c->entry[i].bytes;
    free(c->entry[i].ids), free(c->entry[i].rows);
    c->entry[i] = c->entry[--c->entries];
}

void prefix_close(PrefixCache *c) {
    while (c->entries) drop(c, 0);
    free(c->entry);
    *c = (PrefixCache){0};
}

static int common(const Prefix *p, const int32_t *ids, int n) {
    int i = 0;
    while (i < n && i < p->n && p->ids[i] == ids[i]) i++;
    return i;
}

// One after the other: thousands of comparisons that end after a few tokens cost less than one row of the network.
int prefix_find(PrefixCache *c, const int32_t *ids, int n, const void **rows, int *saved) {
    int best = -1, most = PREFIX_LEAST - 1;
    for (int i = 0; i < c->entries; i++) {
        const int m = common(&c->entry[i], ids, n);
        if (m > most) most = m, best = i;
    }
    c->asked_tokens += n;
    if (best < 0) return 0;
    c->entry[best].used = ++c->clock;
    c->found_tokens += most;
    *rows = c->entry[best].rows;
    *saved = c->entry[best].n;
    return most;
}

static void make_room(PrefixCache *c, size_t bytes) {
    while (c->entries && c->bytes + bytes > c->most_bytes) {
        int oldest = 0;
        for (int i = 1; i < c->entries; i++)
            if (c->entry[i].used < c->entry[oldest].used) oldest = i;
        drop(c, oldest);
    }
}

void *prefix_put(PrefixCache *c, const int32_t *ids, int n, size_t row_bytes) {
    const size_t bytes = (size_t)n * row_bytes;
    if (bytes > c->most_bytes) return NULL;
    make_room(c, bytes);
    c->entry = mem_realloc(c->entry, (size_t)c->entries + 1, sizeof *c->entry);
    Prefix *p = &c->entry[c->entries++];
    *p = (Prefix){mem_alloc((size_t)n, sizeof *ids), n, bytes, mem_alloc(1, bytes), ++c->clock};
    memcpy(p->ids, ids, (size_t)n * sizeof *ids);
    c->bytes += bytes;
    return p->rows;
}
