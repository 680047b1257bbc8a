// Attention of query blocks over the spans of a KV tree, in tiles (in the manner of Dao 2023): the scores of a tile of
// queries against 64 keys at a time, never the whole matrix.
//
//   forward    a task is (query tile, key/value head); running maximum and sum over the key tiles
//   backward   dq: the same tasks again.  dk, dv: a task is (64 slots, key/value head) and walks the query tiles that see
//              them, in order. So every sum has one owner and one order, whatever the number of threads; the price is
//              that the scores are computed once more.
// All H/G query heads that share a key/value head go together: a tile has up to 32 rows times H/G queries.
#include "ops/cpu/panel.h"

#include <math.h>
#include <string.h>

enum { ROWS = 32, KEYS = PANEL_KEYS, FEW = 8 };

typedef struct Shape {
    Ops *ops;
    const AttnPlan *plan;
    const Panels *panels;
    int H, G, K, rep;
    float scale;
} Shape;

static Shape shape_make(Ops *ops, const AttnPlan *plan, int H, int G, int K, float scale) {
    return (Shape){ops, plan, panels_of(ops, K), H, G, K, H / G, scale};
}

typedef struct Tile { // rows [first, first + rows) of a block; or all rows of `blocks` blocks that follow each other
    int block, first, rows, blocks;
    int shared; // keys at the beginning that these blocks have in common
} Tile;

// A walk over keys: spans first, then the block's own slots; up to KEYS of them at a time.
typedef struct KeyWalk {
    const AttnBlock *b;
    const Span *span;
    int left, at;     // spans not yet begun; slots of span[0] already taken
    int limit;        // keys still to be taken from spans
    int own, own_end; // the tile's last row sees own slots below own_end
    int slot[KEYS];
    int keys, full; // slots in this round; the first `full` of them are seen by every row
    int own_first;  // index in the block of the first own key in this round
} KeyWalk;

// Keys [skip, skip + limit) of a block's spans, and its own slots below own_end.
static KeyWalk walk_start(const AttnPlan *plan, int block, int skip, int limit, int own_end) {
    const AttnBlock *b = &plan->block[block];
    KeyWalk w = {.b = b, .span = plan->span + b->span, .left = b->spans, .limit = limit, .own_end = b->own < 0 ? 0 : own_end};
    while (w.left && skip >= w.span->len) skip -= w.span->len, w.span++, w.left--;
    w.at = skip;
    return w;
}

static int walk_next(KeyWalk *w) {
    w->keys = 0;
    while (w->left && w->limit && w->keys < KEYS) {
        int n = w->span->len - w->at;
        if (n > KEYS - w->keys) n = KEYS - w->keys;
        if (n > w->limit) n = w->limit;
        for (int i = 0; i < n; i++) w->slot[w->keys++] = w->span->slot + w->at + i;
        w->at += n;
        w->limit -= n;
        if (w->at == w->span->len) w->span++, w->left--, w->at = 0;
    }
    w->full = w->keys;
    w->own_first = w->own;
    while ((!w->left || !w->limit) && w->own < w->own_end && w->keys < KEYS) w->slot[w->keys++] = w->b->own + w->own++;
    return w->keys;
}

// How many keys of this round row i of the block sees: always the first ones.
static int walk_seen(const KeyWalk *w, int row) {
    int own = row - w->own_first + 1;
    if (own < 0) own = 0;
    int seen = w->full + own;
    return seen < w->keys ? seen : w->keys;
}

static int keys_of_spans(const AttnPlan *plan, int block) {
    int n = 0;
    for (int i = 0; i < plan->block[block].spans; i++) n += plan->span[plan->block[block].span + i].len;
    return n;
}

// How many of their first keys two blocks have in common.
static int keys_in_common(const AttnPlan *plan, int one, int other) {
    const AttnBlock *x = &plan->block[one], *y = &plan->block[other];
    int n = 0;
    for (int i = 0; i < x->spans && i < y->spans; i++) {
        Span p = plan->span[x->span + i], q = plan->span[y->span + i];
        if (p.slot != q.slot) break;
        n += p.len < q.len ? p.len : q.len;
        if (p.len != q.len) break;
    }
    return n;
}

// Blocks of few rows that follow each other and share most of their keys (a user's beams behind one prompt) make one tile.
static Tile tile_group(const AttnPlan *plan, int first) {
    enum { FEW_ROWS = 8 };
    const AttnBlock *b = &plan->block[first];
    Tile t = {.block = first, .rows = b->rows, .blocks = 1};
    const int keys = keys_of_spans(plan, first), least = keys / 2 > KEYS ? keys / 2 : KEYS;
    if (b->rows > FEW_ROWS) return t;
    for (int next = first + 1; next < plan->blocks; next++) {
        const AttnBlock *n = &plan->block[next];
        const int common = n->owner == b->owner ? keys_in_common(plan, first, next) : 0;
        if (n->rows > FEW_ROWS || t.rows + n->rows > ROWS || n->row != b->row + t.rows || common < least) break;
        if (t.blocks == 1 || common < t.shared) t.shared = common;
        t.rows += n->rows;
        t.blocks++;
    }
    return t;
}

static Tile *tiles_make(Ops *ops, const AttnPlan *plan, int *n) {
    int most = 0;
    for (int b = 0; b < plan->blocks; b++) most += (plan->block[b].rows + ROWS - 1) / ROWS;
    Tile *tile = ARENA_NEW(&ops->shared, Tile, most + 1), *t = tile;
    for (int b = 0; b < plan->blocks;) {
        const Tile together = tile_group(plan, b);
        if (together.blocks > 1) {
            *t++ = together;
            b += together.blocks;
            continue;
        }
        for (int r = 0; r < plan->block[b].rows; r += ROWS)
            *t++ = (Tile){
                .block = b, .first = r, .rows = plan->block[b].rows - r < ROWS ? plan->block[b].rows - r : ROWS, .blocks = 1};
        b++;
    }
    *n = (int)(t - tile);
    return tile;
}

static int tile_row(const Shape *s, const Tile *t) {
    return s->plan->block[t->block].row + t->first;
}

// Rows [row, row + rows) of x (N, H K) and the heads of group g -> out (rows * rep, K), row-major by row then head.
static void gather_queries(const Shape *s, act *out, const act *x, int row, int rows, int g) {
    const size_t n = (size_t)s->rep * (size_t)s->K, width = (size_t)s->G * n, bytes = dtype_bytes(s->ops->dtype);
    for (int i = 0; i < rows; i++)
        memcpy((char *)out + (size_t)i * n * bytes, (const char *)x + ((size_t)(row + i) * width + (size_t)g * n) * bytes,
               n * bytes);
}

static void scatter_queries(const Shape *s, void *x, Dtype type, const float *in, const Tile *t, int g) {
    size_t K = (size_t)s->K, width = (size_t)s->H * K, n = (size_t)s->rep * K;
    int row = tile_row(s, t);
    for (int i = 0; i < t->rows; i++)
        s->ops->k->store((char *)x + ((size_t)(row + i) * width + (size_t)g * n) * dtype_bytes(type), in + (size_t)i * n, n,
                         type);
}

static const act *cache_row(const Shape *s, const act *cache, int slot, int g) {
    return act_row(s->ops, cache, (size_t)slot * (size_t)s->G + (size_t)g, (size_t)s->K);
}

static void cache_rows(const Shape *s, const act **row, const act *cache, const int *slot, int keys, int g) {
    for (int j = 0; j < keys; j++) row[j] = cache_row(s, cache, slot[j], g);
}

typedef struct TileMemory {                         // of one thread; Q = rows * rep queries
    act *q, *dout, *out_act;                        // (Q, K)
    float *out, *dq;                                // (Q, K)
    float *score, *dscore;                          // (Q, KEYS)
    uint32_t *left, *right, *right2, *stack, *wide; // panels: (Q, KEYS), (KEYS, K), (KEYS, K), (Q, K), (Q, K)
    float *scratch;                                 // (KEYS, K) of Panels.turn
    float *largest, *sum, *dot;                     // (Q)
    float *few;                                     // (FEW, K) queries as floats
    const act **row;                                // (Q)
} TileMemory;

static TileMemory tile_memory(const Shape *s, Arena *a) {
    const size_t Q = (size_t)ROWS * (size_t)s->rep, K = (size_t)s->K, bytes = dtype_bytes(s->ops->dtype);
    return (TileMemory){.q = arena_get(a, Q * K, bytes),
                        .dout = arena_get(a, Q * K, bytes),
                        .out_act = arena_get(a, Q * K, bytes),
                        .out = ARENA_NEW(a, float, Q *K),
                        .dq = ARENA_NEW(a, float, Q *K),
                        .score = ARENA_NEW(a, float, Q *KEYS),
                        .dscore = ARENA_NEW(a, float, Q *KEYS),
                        .left = ARENA_NEW(a, uint32_t, Q * KEYS),
                        .right = ARENA_NEW(a, uint32_t, KEYS * K),
                        .right2 = ARENA_NEW(a, uint32_t, KEYS * K),
                        .stack = ARENA_NEW(a, uint32_t, Q * K),
                        .wide = ARENA_NEW(a, uint32_t, Q * K),
                        .scratch = ARENA_NEW(a, float, KEYS *K),
                        .largest = ARENA_NEW(a, float, Q),
                        .sum = ARENA_NEW(a, float, Q),
                        .dot = ARENA_NEW(a, float, Q),
                        .few = ARENA_NEW(a, float, FEW *K),
                        .row = ARENA_NEW(a, const act *, Q > KEYS ? Q : KEYS)};
}

// score (Q, KEYS) = a (Q, K) times the rows of `cache` at the round's slots. For few queries each key is read once where it
// lies; for many it is worth turning the keys first.
static void tile_scores(const Shape *s, const TileMemory *m, float *score, const act *a, int Q, const act *cache,
                        const KeyWalk *w, int g) {
    const Kernels *k = s->ops->k;
    const size_t K = (size_t)s->K;
    cache_rows(s, m->row, cache, w->slot, w->keys, g);
    if (Q < FEW) {
        k->load(m->few, a, (size_t)Q * K, s->ops->dtype);
        for (int j = 0; j < w->keys; j++)
            for (int i = 0; i < Q; i++) score[i * KEYS + j] = k->dot_act(m->few + (size_t)i * K, m->row[j], K, s->ops->dtype);
        return;
    }
    const Panels *p = s->panels;
    p->turn(s->ops, m->right, m->row, w->keys, s->K, m->scratch);
    p->product(s->ops, score, KEYS, p->rows(s->ops, m->wide, a, Q, s->K), m->right, KEYS, Q, KEYS, s->K / p->step, 0);
}

// out (Q, K) += weight (Q, KEYS) times the rows of `cache`.
static void tile_combine(const Shape *s, const TileMemory *m, float *out, const float *weight, int Q, const act *cache,
                         const KeyWalk *w, int g) {
    const size_t K = (size_t)s->K;
    cache_rows(s, m->row, cache, w->slot, w->keys, g);
    if (Q < FEW) {
        for (int j = 0; j < w->keys; j++)
            for (int i = 0; i < Q; i++)
                s->ops->k->axpy_act(out + (size_t)i * K, weight[i * KEYS + j], m->row[j], K, s->ops->dtype);
        return;
    }
    const Panels *p = s->panels;
    p->stack(s->ops, m->right, m->row, w->keys, s->K);
    p->product(s->ops, out, s->K, p->by_keys(s->ops, m->left, weight, Q), m->right, s->K, Q, s->K,
               (w->keys + p->step - 1) / p->step, 1);
}

// Queries [from, from + Q) of a tile over the keys of a walk: running maximum, sum and weighted values. first: row of query
// `from` in its block.
static void attend(const Shape *s, KeyWalk w, const TileMemory *m, int from, int Q, int first, int g, const act *k_cache,
                   const act *v_cache) {
    const Kernels *k = s->ops->k;
    const size_t K = (size_t)s->K;
    while (walk_next(&w)) {
        tile_scores(s, m, m->score, act_row(s->ops, m->q, (size_t)from, K), Q, k_cache, &w, g);
        for (int i = 0; i < Q; i++) {
            float *row = m->score + (size_t)i * KEYS, *largest = &m->largest[from + i], *sum = &m->sum[from + i];
            int seen = walk_seen(&w, first + i / s->rep);
            memset(row + seen, 0, (size_t)(KEYS - seen) * 4);
            if (!seen) continue;
            float here = k->max(row, (size_t)seen), shift = *largest > here ? *largest : here,
                  keep = expf((*largest - shift) * s->scale);
            *sum = *sum * keep + k->exp_sum(row, row, shift, s->scale, (size_t)seen);
            if (keep != 1.0f) k->scale(m->out + (size_t)(from + i) * K, keep, K);
            *largest = shift;
        }
        tile_combine(s, m, m->out + (size_t)from * K, m->score, Q, v_cache, &w, g);
    }
}

// A tile of several blocks walks their common keys together, then each block's own.
static void attend_tile(const Shape *s, const Tile *t, const TileMemory *m, int g, const act *k_cache, const act *v_cache) {
    const AttnPlan *plan = s->plan;
    if (t->blocks == 1) {
        attend(s, walk_start(plan, t->block, 0, INT32_MAX, t->first + t->rows), m, 0, t->rows * s->rep, t->first, g, k_cache,
               v_cache);
        return;
    }
    attend(s, walk_start(plan, t->block, 0, t->shared, 0), m, 0, t->rows * s->rep, 0, g, k_cache, v_cache);
    for (int b = t->block, from = 0; b < t->block + t->blocks; from += plan->block[b++].rows * s->rep)
        attend(s, walk_start(plan, b, t->shared, INT32_MAX, plan->block[b].rows), m, from, plan->block[b].rows * s->rep, 0, g,
               k_cache, v_cache);
}

static void forward_tile(const Shape *s, const Tile *t, int g, act *out, float *lse, const act *q, const act *k_cache,
                         const act *v_cache) {
    const Kernels *k = s->ops->k;
    Arena *a = &s->ops->own[omp_get_thread_num()];
    size_t mark = arena_mark(a), K = (size_t)s->K;
    int Q = t->rows * s->rep;
    TileMemory m = tile_memory(s, a);
    gather_queries(s, m.q, q, tile_row(s, t), t->rows, g);
    memset(m.out, 0, (size_t)Q * K * 4);
    for (int i = 0; i < Q; i++) m.largest[i] = -INFINITY, m.sum[i] = 0;
    attend_tile(s, t, &m, g, k_cache, v_cache);
    int row = tile_row(s, t);
    for (int i = 0; i < Q; i++) {
        k->scale(m.out + (size_t)i * K, 1.0f / m.sum[i], K);
        lse[(size_t)(row + i / s->rep) * (size_t)s->H + (size_t)(g * s->rep + i % s->rep)] =
            s->scale * m.largest[i] + logf(m.sum[i]);
    }
    scatter_queries(s, out, s->ops->dtype, m.out, t, g);
    arena_reset(a, mark);
}

void op_attention_forward(Ops *ops, act *out, float *lse, const act *q, const act *k_cache, const act *v_cache,
                          const AttnPlan *plan, int N, int H, int G, int K, float scale) {
    (void)N;
    Shape s = shape_make(ops, plan, H, G, K, scale);
    size_t mark = arena_mark(&ops->shared);
    int tiles;
    Tile *tile = tiles_make(ops, plan, &tiles);
    PARALLEL_TASKS for (int i = 0; i < tiles * G; i++) forward_tile(&s, &tile[i / G], i % G, out, lse, q, k_cache, v_cache);
    arena_reset(&ops->shared, mark);
}

typedef struct Back { // inputs of both backward walks
    const act *dout, *out, *q, *k_cache, *v_cache;
    const float *lse;
} Back;

// For the queries of some rows: q, dout, and dot = dout . out of each query.
static void back_queries(const Shape *s, const Back *x, int row, int rows, int g, TileMemory *m) {
    size_t K = (size_t)s->K;
    int Q = rows * s->rep;
    gather_queries(s, m->q, x->q, row, rows, g);
    gather_queries(s, m->dout, x->dout, row, rows, g);
    gather_queries(s, m->out_act, x->out, row, rows, g);
    s->ops->k->load(m->out, m->out_act, (size_t)Q * K, s->ops->dtype);
    for (int i = 0; i < Q; i++) {
        m->dot[i] = s->ops->k->dot_act(m->out + (size_t)i * K, act_row(s->ops, m->dout, (size_t)i, K), K, s->ops->dtype);
        m->largest[i] = x->lse[(size_t)(row + i / s->rep) * (size_t)s->H + (size_t)(g * s->rep + i % s->rep)];
    }
}

// m->score = the softmax weights of this round, m->dscore = weight * (dout . v - dot), both zero where a key is not seen.
static void back_scores(const Shape *s, const TileMemory *m, int i, int seen, int from) {
    const Kernels *k = s->ops->k;
    float *p = m->score + (size_t)i * KEYS, *d = m->dscore + (size_t)i * KEYS;
    k->exp_sum(p, p, m->largest[i] / s->scale, s->scale, (size_t)seen); // m->largest is the log of the normalizer here
    for (int j = 0; j < seen; j++) d[j] = p[j] * (d[j] - m->dot[i]);
    for (int j = seen; j < KEYS; j++) p[j] = d[j] = 0;
    for (int j = 0; j < from; j++) p[j] = d[j] = 0;
}

// dq of queries [from, from + Q) of a tile over the keys of a walk; first: row of query `from` in its block.
static void back_attend(const Shape *s, KeyWalk w, const TileMemory *m, int from, int Q, int first, int g, const Back *x) {
    const size_t K = (size_t)s->K;
    TileMemory part = *m; // these queries alone
    part.dot += from, part.largest += from;
    while (walk_next(&w)) {
        tile_scores(s, m, m->score, act_row(s->ops, m->q, (size_t)from, K), Q, x->k_cache, &w, g);
        tile_scores(s, m, m->dscore, act_row(s->ops, m->dout, (size_t)from, K), Q, x->v_cache, &w, g);
        for (int i = 0; i < Q; i++) back_scores(s, &part, i, walk_seen(&w, first + i / s->rep), 0);
        tile_combine(s, m, m->dq + (size_t)from * K, m->dscore, Q, x->k_cache, &w, g);
    }
}

static void backward_queries_tile(const Shape *s, const Back *x, const Tile *t, int g, float *dq) {
    const AttnPlan *plan = s->plan;
    Arena *a = &s->ops->own[omp_get_thread_num()];
    size_t mark = arena_mark(a), K = (size_t)s->K;
    int Q = t->rows * s->rep;
    TileMemory m = tile_memory(s, a);
    back_queries(s, x, tile_row(s, t), t->rows, g, &m);
    memset(m.dq, 0, (size_t)Q * K * 4);
    if (t->blocks == 1) {
        back_attend(s, walk_start(plan, t->block, 0, INT32_MAX, t->first + t->rows), &m, 0, Q, t->first, g, x);
    } else { // as attend_tile
        back_attend(s, walk_start(plan, t->block, 0, t->shared, 0), &m, 0, Q, 0, g, x);
        for (int b = t->block, from = 0; b < t->block + t->blocks; from += plan->block[b++].rows * s->rep)
            back_attend(s, walk_start(plan, b, t->shared, INT32_MAX, plan->block[b].rows), &m, from,
                        plan->block[b].rows * s->rep, 0, g, x);
    }
    s->ops->k->scale(m.dq, s->scale, (size_t)Q * K);
    scatter_queries(s, dq, DTYPE_F32, m.dq, t, g);
    arena_reset(a, mark);
}

// Who sees a run of slots: all rows of a block (a span), or, causally, the block that owns them.
typedef struct Reader {
    int slot, len, block, own;
} Reader;

// sum (slots, K) += weight (Q, KEYS) transposed times x (Q, K).
static void add_by_queries(const Shape *s, const TileMemory *m, float *sum, const float *weight, const act *x, int Q,
                           int slots) {
    const Panels *p = s->panels;
    for (int i = 0; i < Q; i++) m->row[i] = act_row(s->ops, x, (size_t)i, (size_t)s->K);
    p->stack(s->ops, m->stack, m->row, Q, s->K);
    p->product(s->ops, sum, s->K, p->by_queries(s->ops, m->left, weight, Q), m->stack, s->K, slots, s->K,
               (Q + p->step - 1) / p->step, 1);
}

// Rows that follow each other and see some of a piece's slots, row i those of [from[i], last[i]).
typedef struct Seers {
    int row, rows, from[ROWS], last[ROWS];
} Seers;

typedef struct PieceSums {
    int slots;
    float *dk, *dv; // (KEYS, K)
} PieceSums;

// What the seers add to dk and dv of the piece, whose keys and values stand turned in m->right and m->right2.
static void add_seers(const Shape *s, const Back *x, TileMemory *m, Seers *seers, int g, const PieceSums *sum) {
    const Panels *p = s->panels;
    const int depth = s->K / p->step, Q = seers->rows * s->rep;
    if (Q == 0) return;
    back_queries(s, x, seers->row, seers->rows, g, m);
    p->product(s->ops, m->score, KEYS, p->rows(s->ops, m->wide, m->q, Q, s->K), m->right, KEYS, Q, KEYS, depth, 0);
    p->product(s->ops, m->dscore, KEYS, p->rows(s->ops, m->wide, m->dout, Q, s->K), m->right2, KEYS, Q, KEYS, depth, 0);
    for (int i = 0; i < Q; i++) back_scores(s, m, i, seers->last[i / s->rep], seers->from[i / s->rep]);
    add_by_queries(s, m, sum->dv, m->score, m->dout, Q, sum->slots);
    add_by_queries(s, m, sum->dk, m->dscore, m->q, Q, sum->slots);
    seers->rows = 0;
}

// dk, dv of the slots [slot, slot + slots) that readers see, for group g. Blocks of single rows, one behind the other, are
// read in tiles as the rows of one block are.
static void backward_keys_tile(const Shape *s, const Back *x, const Reader *reader, int readers, int slot, int slots, int g,
                               float *dk, float *dv, int grad_slot0) {
    const Kernels *k = s->ops->k;
    const Panels *p = s->panels;
    Arena *a = &s->ops->own[omp_get_thread_num()];
    size_t mark = arena_mark(a), K = (size_t)s->K;
    TileMemory m = tile_memory(s, a);
    const PieceSums sum = {slots, ARENA_NEW(a, float, KEYS *K), ARENA_NEW(a, float, KEYS *K)};
    memset(sum.dk, 0, KEYS * K * 4), memset(sum.dv, 0, KEYS * K * 4);
    int all[KEYS];
    for (int j = 0; j < slots; j++) all[j] = slot + j;
    cache_rows(s, m.row, x->k_cache, all, slots, g);
    p->turn(s->ops, m.right, m.row, slots, s->K, m.scratch);
    cache_rows(s, m.row, x->v_cache, all, slots, g);
    p->turn(s->ops, m.right2, m.row, slots, s->K, m.scratch);
    Seers seers = {0};
    for (const Reader *r = reader; r < reader + readers; r++) {
        const int begin = r->slot > slot ? r->slot : slot;
        const int end = r->slot + r->len < slot + slots ? r->slot + r->len : slot + slots;
        const AttnBlock *block = &s->plan->block[r->block];
        if (begin >= end) continue;
        for (int i = r->own ? begin - r->slot : 0; i < block->rows; i++) { // earlier rows of the owner see none of these
            if (seers.rows == ROWS || block->row + i != seers.row + seers.rows) add_seers(s, x, &m, &seers, g, &sum);
            if (seers.rows == 0) seers.row = block->row + i;
            const int last = r->own && r->slot + i + 1 < end ? r->slot + i + 1 : end; // causal: its own slot and before
            seers.from[seers.rows] = begin - slot, seers.last[seers.rows++] = last - slot;
        }
    }
    add_seers(s, x, &m, &seers, g, &sum);
    for (int j = 0; j < slots; j++) {
        size_t row = ((size_t)(slot + j - grad_slot0) * (size_t)s->G + (size_t)g) * K;
        k->axpy(dk + row, s->scale, sum.dk + (size_t)j * K, K);
        k->axpy(dv + row, 1.0f, sum.dv + (size_t)j * K, K);
    }
    arena_reset(a, mark);
}

static int readers_make(const AttnPlan *plan, Reader *reader, int grad_slot0) {
    int n = 0;
    for (int b = 0; b < plan->blocks; b++) {
        const AttnBlock *block = &plan->block[b];
        for (int i = 0; i < block->spans; i++) {
            Span span = plan->span[block->span + i];
            if (span.slot + span.len > grad_slot0) reader[n++] = (Reader){span.slot, span.len, b, 0};
        }
        if (block->own >= 0 && block->own + block->rows > grad_slot0) reader[n++] = (Reader){block->own, block->rows, b, 1};
    }
    return n;
}

// For each piece of KEYS slots, the readers that see any of it, in the order of the blocks: list[offset[p]...].
typedef struct Pieces {
    int n, slot0;
    int *offset;
    Reader *reader;
} Pieces;

static Pieces pieces_make(Ops *ops, const AttnPlan *plan, int grad_slot0) {
    int most = 0;
    for (int b = 0; b < plan->blocks; b++) most += plan->block[b].spans + 1;
    Reader *reader = ARENA_NEW(&ops->shared, Reader, most + 1);
    int readers = readers_make(plan, reader, grad_slot0), end = grad_slot0;
    int begin = INT32_MAX;
    for (int r = 0; r < readers; r++) {
        if (reader[r].slot + reader[r].len > end) end = reader[r].slot + reader[r].len;
        if (reader[r].slot < begin) begin = reader[r].slot;
    }
    if (begin < grad_slot0 || readers == 0) begin = grad_slot0;
    Pieces p = {.n = (end - begin + KEYS - 1) / KEYS, .slot0 = begin};
    p.offset = ARENA_NEW(&ops->shared, int, p.n + 2);
    memset(p.offset, 0, sizeof(int) * (size_t)(p.n + 2));
    for (int pass = 0; pass < 2; pass++) { // count, then fill
        for (int r = 0; r < readers; r++) {
            int low = reader[r].slot < begin ? begin : reader[r].slot;
            for (int i = (low - begin) / KEYS; i * KEYS + begin < reader[r].slot + reader[r].len; i++) {
                if (pass)
                    p.reader[p.offset[i + 1]++] = reader[r];
                else
                    p.offset[i + 2]++;
            }
        }
        if (pass) break;
        for (int i = 1; i <= p.n; i++) p.offset[i + 1] += p.offset[i]; // offset[i + 1] is where piece i begins, until filled
        p.reader = ARENA_NEW(&ops->shared, Reader, p.offset[p.n + 1] + 1);
    }
    return p;
}

void op_attention_backward(Ops *ops, float *dq, float *dk, float *dv, const act *dout, const act *out, const float *lse,
                           const act *q, const act *k_cache, const act *v_cache, const AttnPlan *plan, int grad_slot0, int N,
                           int H, int G, int K, float scale) {
    (void)N;
    Shape s = shape_make(ops, plan, H, G, K, scale);
    Back x = {dout, out, q, k_cache, v_cache, lse};
    size_t mark = arena_mark(&ops->shared);
    int tiles;
    Tile *tile = tiles_make(ops, plan, &tiles);
    PARALLEL_TASKS for (int i = 0; i < tiles * G; i++) backward_queries_tile(&s, &x, &tile[i / G], i % G, dq);
    if (dk) {
        Pieces p = pieces_make(ops, plan, grad_slot0);
        PARALLEL_TASKS for (int i = 0; i < p.n * G; i++) {
            int piece = i / G, readers = p.offset[piece + 1] - p.offset[piece];
            int slot = p.slot0 + piece * KEYS, end = slot;
            const Reader *reader = p.reader + p.offset[piece];
            for (int r = 0; r < readers; r++) // a piece ends where its last reader does
                if (reader[r].slot + reader[r].len > end) end = reader[r].slot + reader[r].len;
            if (readers)
                backward_keys_tile(&s, &x, reader, readers, slot, end - slot < KEYS ? end - slot : KEYS, i % G, dk, dv,
                                   grad_slot0);
        }
    }
    arena_reset(&ops->shared, mark);
}

void op_attention_weights(Ops *ops, float *const *weight, const act *q, const act *k_cache, const float *lse,
                          const AttnPlan *plan, int K, float scale) {
    Shape s = shape_make(ops, plan, 1, 1, K, scale);
    for (int b = 0; b < plan->blocks; b++) {
        size_t mark = arena_mark(&ops->shared);
        float *row = ARENA_NEW(&ops->shared, float, K), *to = weight[b];
        const AttnBlock *block = &plan->block[b];
        ops->k->load(row, act_row(ops, q, (size_t)block->row, (size_t)K), (size_t)K, ops->dtype);
        for (int i = 0; i < block->spans; i++) {
            Span span = plan->span[block->span + i];
            for (int j = 0; j < span.len; j++)
                *to++ = expf(scale * ops->k->dot_act(row, cache_row(&s, k_cache, span.slot + j, 0), (size_t)K, ops->dtype) -
                             lse[block->row]);
        }
        arena_reset(&ops->shared, mark);
    }
}
