#include "rec/protocol.h"
#include "base/arena.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

const char *const protocol_name[3] = {"full", "uniform-100", "popularity-100"};

static int draw(const ProtocolRanker *p, uint64_t index) {
    const uint64_t stream = RNG_SAMPLE | (uint64_t)p->protocol << 8;
    if (p->protocol == PROTOCOL_UNIFORM) return (int)rng_below(ROWS_SAMPLE_SEED, stream, index, (uint64_t)p->inner.items->n);
    const Row *row = &p->train->row[rng_below(ROWS_SAMPLE_SEED, stream, index, (uint64_t)p->train->n)];
    return items_by_id(p->inner.items, row->target_id);
}

// Marks the candidates of a row in keep (items->n): 1; the items of its history, which are never drawn: 2. Returns how many
// were drawn.
static int mark_candidates(const ProtocolRanker *p, int number, unsigned char *keep) {
    enum { DRAWS = 64 * PROTOCOL_CANDIDATES }; // then there are hardly any left
    const Items *items = p->inner.items;
    const Row *row = &p->rows->row[number];
    for (int i = 0; i < items->n; i++) keep[i] = items->removed[i] ? 2 : 0;
    for (int h = 0; h < row->n; h++) {
        const int item = items_by_id(items, row->item_id[h]);
        if (item >= 0) keep[item] = 2;
    }
    const int target = items_by_id(items, row->target_id);
    if (target >= 0) keep[target] = 1;
    int found = 0;
    for (uint64_t i = 0; i < DRAWS && found < PROTOCOL_CANDIDATES; i++) {
        const int item = draw(p, (uint64_t)row->number * DRAWS + i);
        if (item >= 0 && !keep[item]) keep[item] = 1, found++;
    }
    return found;
}

static int rank_candidates(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    ProtocolRanker *p = self;
    const size_t n = (size_t)p->inner.items->n;
    float *score = mem_alloc((size_t)users * n, sizeof *score);
    unsigned char *keep = mem_alloc(n, 1);
    int status = p->inner.score(p->inner.self, h, users, score, err);
    for (int u = 0; u < users && status == 0; u++) {
        p->fewer += mark_candidates(p, h[u].number, keep) < PROTOCOL_CANDIDATES;
        float *mine = score + (size_t)u * n;
        for (size_t i = 0; i < n; i++)
            if (keep[i] != 1) mine[i] = -INFINITY;
        status = ranker_best(mine, (int)n, p->inner.k, out + (size_t)u * (size_t)p->inner.k, &found[u], err);
    }
    free(score), free(keep);
    return status;
}

int protocol_ranker(ProtocolRanker *p, Protocol protocol, const Ranker *inner, const Rows *rows, const Rows *train, Ranker *r,
                    Err *err) {
    *p = (ProtocolRanker){protocol, *inner, rows, train, 0};
    if (!inner->score)
        return err_set(err, ERR_USAGE, "--protocol %s needs a score of every item, and this model only writes lists",
                       protocol_name[protocol]);
    if (protocol == PROTOCOL_POPULARITY && train->n == 0)
        return err_set(err, ERR_DATA, "--protocol %s draws by the interactions of train.csv, and there are none",
                       protocol_name[protocol]);
    *r = (Ranker){.self = p,
                  .items = inner->items,
                  .users = inner->users,
                  .k = inner->k,
                  .titles = inner->titles,
                  .seen_by_item = inner->seen_by_item,
                  .by_text = inner->by_text,
                  .rank = rank_candidates};
    return 0;
}
