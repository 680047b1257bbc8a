// Attention of query blocks over the spans of a KV tree, in tiles (in the manner of Dao 2023): the scores of 64 queries against
// 64 keys at a time, never the whole matrix.
//
//   forward    a block of threads has (query tile, key/value head, 128 columns of the values). It walks the keys twice: for the
//              largest score and the sum, then for the weighted values, whose sums so never need rescaling
//   backward   dq: the same tiles.  dk, dv: a block has (64 slots, key/value head, 128 columns) and walks the queries that see
//              them, in order; where they are many (an instruction is seen by all prompts), several blocks walk a chunk of them
//              each, and the chunks' sums are added in their order. So every sum has one owner and one order
// All H/G query heads that share a key/value head go together: a tile has 64 / (H/G) rows times H/G queries.
#include "ops/cuda/tile.cuh"

#include <vector>

enum {
    COLUMNS = 2,     // pieces of columns that a block of threads sums
    CHUNK_TILES = 32 // of queries that one walks at most, for 64 slots
};

typedef struct Tile { // rows [row, row + rows) of the segment, which are rows first ... of their block
    int row, rows, first;
    int span, spans, span_keys, own;
} Tile;

typedef struct Shape {
    int H, G, K, rep, wide;
    float scale;
} Shape;

// Rows that see some of 64 slots: row i of the run sees those of [from, last + step * i), up to `cap`.
typedef struct Run {
    int row, rows, from, last, step, cap;
    int at; // rows of the runs before it
} Run;

typedef struct Heap { // device: what a tile reads
    const Tile *tile;
    const Span *span;
} Heap;

typedef struct Chunk { // rows [first, end) of those that see a piece of 64 slots
    int piece, first, end;
    int part; // of KeySums, that takes the sums; < 0: the gradients themselves, as there is no other chunk
} Chunk;

typedef struct Cut { // a piece of several chunks, whose sums are parts [part, part + parts)
    int piece, part, parts;
} Cut;

typedef struct KeySums { // device: what the pieces of 64 slots read. Of slot0 on, of which there are `slots`
    const Run *run;
    const int *offset; // piece p has runs [offset[p], offset[p + 1])
    const Chunk *chunk;
    const Cut *cut;
    int slot0, slots, grad_slot0;
    float *dk, *dv;           // (S - grad_slot0, G K)
    float *dk_part, *dv_part; // (parts, 64, G K)
} KeySums;

template <typename T> struct Workplace { // shared memory of a block of threads
    Piece<T> a, b, weight;
    Piece<float> score, dscore;
    int query[TILE], key[TILE]; // row of (N H, K) and of (S G, K); -1: none
    int from[TILE], last[TILE]; // keys of the piece that a query sees
    float lse[TILE], dot[TILE]; // by query
};

#define WORKPLACE(T, w)                                                                                                        \
    SHARED_BYTES(shared_bytes);                                                                                                \
    Workplace<T> *w = (Workplace<T> *)shared_bytes

static Shape shape_make(const Ops *ops, int H, int G, int K, float scale, const void *const *all, int n) {
    uintptr_t address = (uintptr_t)K * dtype_bytes(ops->dtype);
    for (int i = 0; i < n; i++) address |= (uintptr_t)all[i];
    CHECK(H / G <= TILE);
    return Shape{H, G, K, H / G, address % 16 == 0, scale};
}

// ---- queries by tiles -----------------------------------------------------------------------------------------------------

static std::vector<Tile> tiles_make(const AttnPlan *plan, int rep) {
    std::vector<Tile> tiles;
    const int most = TILE / rep;
    for (int b = 0; b < plan->blocks; b++) {
        const AttnBlock *block = &plan->block[b];
        int keys = 0;
        for (int i = 0; i < block->spans; i++) keys += plan->span[block->span + i].len;
        for (int r = 0; r < block->rows; r += most)
            tiles.push_back(Tile{block->row + r, block->rows - r < most ? block->rows - r : most, r, block->span, block->spans,
                                 keys, block->own});
    }
    return tiles;
}

// All layers of a network attend by one plan: the last one stays on the device, in an arena of its own.
struct KeptPlan {
    Arena memory;
    size_t mark;          // behind the tiles
    std::vector<int> key; // what the tiles are made of
    Heap heap;
    size_t tiles;
    int grad_slot0; // that the pieces are of; < 0: there are none
    KeySums sums;
    size_t chunks, cuts, parts;
};

int attention_open(Ops *ops, Err *err) {
    const size_t bytes = (size_t)1 << 30;
    void *range = ops_reserve(ops, bytes, err);
    if (!range) return -1;
    ops->plan = new KeptPlan();
    arena_init(&ops->plan->memory, range, bytes, "the arena of attention's plan");
    return 0;
}

void attention_close(Ops *ops) {
    delete ops->plan;
}

template <typename T> static T *upload(Ops *ops, const T *x, size_t n) {
    T *to = (T *)arena_get(&ops->plan->memory, n + 1, sizeof *x);
    ops_upload(ops, to, x, n * sizeof *x);
    return to;
}

static std::vector<int> key_of(const AttnPlan *plan, int rep, size_t spans) {
    std::vector<int> key = {rep, plan->blocks};
    const int *block = (const int *)plan->block, *span = (const int *)plan->span;
    key.insert(key.end(), block, block + (size_t)plan->blocks * (sizeof *plan->block / sizeof *block));
    key.insert(key.end(), span, span + spans * (sizeof *plan->span / sizeof *span));
    return key;
}

static KeptPlan *plan_on_device(Ops *ops, const AttnPlan *plan, int rep) {
    KeptPlan *kept = ops->plan;
    size_t spans = 0;
    for (int b = 0; b < plan->blocks; b++) {
        const size_t end = (size_t)(plan->block[b].span + plan->block[b].spans);
        if (end > spans) spans = end;
    }
    std::vector<int> key = key_of(plan, rep, spans);
    if (key == kept->key) return kept;
    const std::vector<Tile> tiles = tiles_make(plan, rep);
    arena_reset(&kept->memory, 0);
    kept->heap = Heap{upload(ops, tiles.data(), tiles.size()), upload(ops, plan->span, spans)};
    kept->tiles = tiles.size();
    kept->key.swap(key);
    kept->mark = arena_mark(&kept->memory);
    kept->grad_slot0 = -1;
    return kept;
}

__device__ __forceinline__ int tile_keys(const Tile &t) {
    return t.span_keys + (t.own < 0 ? 0 : t.first + t.rows);
}

// Slot of key `n` of the walk: the spans', then the block's own.
__device__ inline int tile_slot(const Tile &t, const Span *span, int n) {
    if (n >= t.span_keys) return t.own + n - t.span_keys;
    for (int i = t.span;; n -= span[i++].len)
        if (n < span[i].len) return span[i].slot + n;
}

// The tile's queries, and how many keys of the whole walk each sees.
template <typename T> __device__ void queries_set(Workplace<T> *w, const Tile &t, const Shape &s, int g) {
    const int i = (int)threadIdx.x;
    if (i < TILE) {
        const int there = i < t.rows * s.rep;
        w->query[i] = there ? (t.row + i / s.rep) * s.H + g * s.rep + i % s.rep : -1;
        w->last[i] = there ? t.span_keys + (t.own < 0 ? 0 : t.first + i / s.rep + 1) : 0;
    }
    __syncthreads();
}

// The keys [at, at + 64) of the walk.
template <typename T>
__device__ void keys_set(Workplace<T> *w, const Tile &t, const Span *span, const Shape &s, int g, int at) {
    const int i = (int)threadIdx.x;
    __syncthreads(); // the last ones have been read
    if (i < TILE) w->key[i] = at + i < tile_keys(t) ? tile_slot(t, span, at + i) * s.G + g : -1;
    __syncthreads();
}

// A row of scores belongs to two neighbours of a warp, each of which has half of it.
struct HalfRow {
    int row, begin;
};
__device__ __forceinline__ HalfRow half_row() {
    return HalfRow{(int)threadIdx.x / 2, (int)threadIdx.x % 2 * (TILE / 2)};
}

// The columns of the block of threads that sums have been made of, one piece of 64 at a time: f(row, column, value).
template <typename T, typename F>
__device__ __forceinline__ void sums_walk(Workplace<T> *w, const Sum16<T> *sum, int column, int K, F f) {
    const int warp_row = (int)threadIdx.x / 32 * PART;
    __syncwarp();
#pragma unroll
    for (int p = 0; p < PARTS; p++) sum[p].put(&w->score.x[warp_row][p * PART]);
    __syncwarp();
    for (int i = (int)threadIdx.x % 32; i < PART * TILE; i += 32) {
        const int row = warp_row + i / TILE, c = i % TILE;
        if (column + c < K) f(row, column + c, w->score.x[row][c]);
    }
}

template <typename T>
__global__ void __launch_bounds__(TILE_THREADS)
    forward_kernel(Heap heap, Shape s, T *out, float *lse, const T *q, const T *k, const T *v) {
    WORKPLACE(T, w);
    const Tile t = heap.tile[blockIdx.x];
    const int g = (int)blockIdx.y, column0 = (int)blockIdx.z * COLUMNS * TILE, keys = tile_keys(t);
    const HalfRow mine = half_row();
    queries_set(w, t, s, g);
    const int seen = w->last[mine.row];
    float most = -INFINITY, sum = 0;
    for (int at = 0; at < keys; at += TILE) {
        keys_set(w, t, heap.span, s, g, at);
        piece_scores(&w->score, &w->a, &w->b, q, w->query, k, w->key, s.K, s.wide);
        const float *row = &w->score.x[mine.row][mine.begin];
        const int n = min(max(seen - at - mine.begin, 0), TILE / 2);
        float here = most; // NaN is passed over: the sum shows it
        for (int j = 0; j < n; j++) here = fmaxf(here, row[j]);
        here = fmaxf(here, __shfl_xor_sync(0xffffffffu, here, 1));
        float part = 0;
        for (int j = 0; j < n; j++) part += expf((row[j] - here) * s.scale);
        part += __shfl_xor_sync(0xffffffffu, part, 1);
        sum = part + (most == here ? sum : sum * expf((most - here) * s.scale));
        most = here;
    }
    const float inverse = 1.0f / sum;
    Sum16<T> o[COLUMNS][PARTS];
#pragma unroll
    for (int i = 0; i < COLUMNS * PARTS; i++) o[i / PARTS][i % PARTS].zero();
    for (int at = 0; at < keys; at += TILE) {
        keys_set(w, t, heap.span, s, g, at);
        piece_scores(&w->score, &w->a, &w->b, q, w->query, k, w->key, s.K, s.wide);
        float weight[TILE / 2]; // read as a whole, in an order of its own: the rows of a warp begin in four banks
#pragma unroll
        for (int i = 0; i < TILE / 2; i++) weight[i] = w->score.x[mine.row][mine.begin + i];
#pragma unroll
        for (int i = 0; i < TILE / 2; i++)
            store(&w->weight.x[mine.row][mine.begin + i],
                  at + mine.begin + i < seen ? expf((weight[i] - most) * s.scale) * inverse : 0);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            if (column0 + c * TILE < s.K)
                piece_combine<false>(o[c], &w->weight, &w->b, w->query, v, w->key, column0 + c * TILE, s.K, s.wide);
    }
    const int query = w->query[mine.row];
    if (blockIdx.z == 0 && mine.begin == 0 && query >= 0) lse[query] = s.scale * most + logf(sum);
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        sums_walk(w, o[c], column0 + c * TILE, s.K, [=](int row, int column, float x) {
            if (w->query[row] >= 0) store(out + (size_t)w->query[row] * (size_t)s.K + column, x);
        });
}

// The queries' softmax weights over a piece of keys, from their lse, and the gradients of the scores: weight (dp - dot) scale.
// score and dscore are there; f(query, key, weight, gradient) for the half row of this thread.
template <typename T, typename F> __device__ void back_scores(Workplace<T> *w, const Shape &s, F f) {
    const HalfRow mine = half_row();
    const float lse = w->lse[mine.row], dot = w->dot[mine.row];
    enum { AT_ONCE = 8 };
    const int from = w->from[mine.row], last = w->last[mine.row];
#pragma unroll 1
    for (int first = mine.begin; first < mine.begin + TILE / 2; first += AT_ONCE) {
        float score[AT_ONCE], dscore[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            score[i] = w->score.x[mine.row][first + i], dscore[i] = w->dscore.x[mine.row][first + i];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int seen = first + i >= from && first + i < last;
            const float p = seen ? expf(s.scale * score[i] - lse) : 0;
            f(mine.row, first + i, p, seen ? p * (dscore[i] - dot) * s.scale : 0);
        }
    }
}

template <typename T> __device__ void back_queries(Workplace<T> *w, const float *lse, const float *dot) {
    const int i = (int)threadIdx.x;
    if (i < TILE) {
        w->lse[i] = w->query[i] < 0 ? 0 : lse[w->query[i]];
        w->dot[i] = w->query[i] < 0 ? 0 : dot[w->query[i]];
    }
}

template <typename T> struct Back { // what both backward kernels read; dot (N, H) = dout . out
    const T *dout, *q, *k, *v;
    const float *lse, *dot;
};

template <typename T>
__global__ void __launch_bounds__(TILE_THREADS) backward_queries_kernel(Heap heap, Shape s, Back<T> x, float *dq) {
    WORKPLACE(T, w);
    const Tile t = heap.tile[blockIdx.x];
    const int g = (int)blockIdx.y, column0 = (int)blockIdx.z * COLUMNS * TILE, keys = tile_keys(t), i = (int)threadIdx.x;
    queries_set(w, t, s, g);
    back_queries(w, x.lse, x.dot);
    const int seen = i < TILE ? w->last[i] : 0;
    Sum16<T> sum[COLUMNS][PARTS];
#pragma unroll
    for (int c = 0; c < COLUMNS * PARTS; c++) sum[c / PARTS][c % PARTS].zero();
    for (int at = 0; at < keys; at += TILE) {
        keys_set(w, t, heap.span, s, g, at);
        if (i < TILE) w->from[i] = 0, w->last[i] = seen - at; // the next __syncthreads is before their use
        piece_scores(&w->score, &w->a, &w->b, x.q, w->query, x.k, w->key, s.K, s.wide);
        piece_scores(&w->dscore, &w->a, &w->b, x.dout, w->query, x.v, w->key, s.K, s.wide);
        back_scores(w, s, [=](int query, int key, float, float d) { store(&w->weight.x[query][key], d); });
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            if (column0 + c * TILE < s.K)
                piece_combine<false>(sum[c], &w->weight, &w->b, w->query, x.k, w->key, column0 + c * TILE, s.K, s.wide);
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        sums_walk(w, sum[c], column0 + c * TILE, s.K, [=](int row, int column, float value) {
            if (w->query[row] >= 0) dq[(size_t)w->query[row] * (size_t)s.K + column] = value;
        });
}

// ---- keys by pieces of 64 slots ---------------------------------------------------------------------------------------------

// Who sees which slots, as KeySums has it.
typedef struct Pieces {
    int slot0, slots; // the first slot of piece 0; slots of all pieces together
    std::vector<int> offset;
    std::vector<Run> run;
    std::vector<Chunk> chunk;
    std::vector<Cut> cut;
    int parts;
} Pieces;

typedef struct Reader { // all rows of a block see the slots, or, where they are its own, causally
    int slot, len, row, rows, own;
} Reader;

static std::vector<Reader> readers_make(const AttnPlan *plan, int grad_slot0) {
    std::vector<Reader> readers;
    for (int b = 0; b < plan->blocks; b++) {
        const AttnBlock *block = &plan->block[b];
        for (int i = 0; i < block->spans; i++) {
            const Span span = plan->span[block->span + i];
            if (span.slot + span.len > grad_slot0) readers.push_back(Reader{span.slot, span.len, block->row, block->rows, 0});
        }
        if (block->own >= 0 && block->own + block->rows > grad_slot0)
            readers.push_back(Reader{block->own, block->rows, block->row, block->rows, 1});
    }
    return readers;
}

static Pieces pieces_make(const AttnPlan *plan, int grad_slot0) {
    const std::vector<Reader> readers = readers_make(plan, grad_slot0);
    int begin = INT32_MAX, end = grad_slot0;
    for (const Reader &r : readers) {
        begin = r.slot < begin ? r.slot : begin;
        end = r.slot + r.len > end ? r.slot + r.len : end;
    }
    if (readers.empty() || begin < grad_slot0) begin = grad_slot0;
    std::vector<std::vector<Run>> piece((size_t)((end - begin + TILE - 1) / TILE));
    for (const Reader &r : readers)
        for (int p = ((r.slot < begin ? begin : r.slot) - begin) / TILE; begin + p * TILE < r.slot + r.len; p++) {
            const int base = begin + p * TILE, from = r.slot > base ? r.slot - base : 0;
            const int cap = r.slot + r.len - base < TILE ? r.slot + r.len - base : TILE;
            const int skip = r.own ? base + from - r.slot : 0; // earlier rows of the owner see none of these
            std::vector<Run> &runs = piece[(size_t)p];
            const int at = runs.empty() ? 0 : runs.back().at + runs.back().rows;
            runs.push_back(Run{r.row + skip, r.rows - skip, from, r.own ? from + 1 : cap, r.own, cap, at});
        }
    Pieces all = {begin, end - begin, {0}, {}, {}, {}, 0};
    for (const std::vector<Run> &runs : piece) {
        all.run.insert(all.run.end(), runs.begin(), runs.end());
        all.offset.push_back((int)all.run.size());
    }
    return all;
}

static void chunks_make(Pieces *all, int most) {
    for (size_t p = 0; p + 1 < all->offset.size(); p++) {
        if (all->offset[p] == all->offset[p + 1]) continue;
        const Run &last = all->run[(size_t)all->offset[p + 1] - 1];
        const int rows = last.at + last.rows, chunks = (rows + most - 1) / most, piece = (int)p;
        for (int c = 0; c < chunks; c++)
            all->chunk.push_back(
                Chunk{piece, c * most, c + 1 < chunks ? (c + 1) * most : rows, chunks > 1 ? all->parts + c : -1});
        if (chunks < 2) continue;
        all->cut.push_back(Cut{piece, all->parts, chunks});
        all->parts += chunks;
    }
}

static void pieces_on_device(Ops *ops, KeptPlan *kept, const AttnPlan *plan, int grad_slot0, int rep) {
    if (kept->grad_slot0 == grad_slot0) return;
    Pieces p = pieces_make(plan, grad_slot0);
    chunks_make(&p, CHUNK_TILES * (TILE / rep));
    arena_reset(&kept->memory, kept->mark);
    kept->sums = KeySums{upload(ops, p.run.data(), p.run.size()),
                         upload(ops, p.offset.data(), p.offset.size()),
                         upload(ops, p.chunk.data(), p.chunk.size()),
                         upload(ops, p.cut.data(), p.cut.size()),
                         p.slot0,
                         p.slots,
                         grad_slot0,
                         NULL,
                         NULL,
                         NULL,
                         NULL};
    kept->chunks = p.chunk.size(), kept->cuts = p.cut.size(), kept->parts = (size_t)p.parts;
    kept->grad_slot0 = grad_slot0;
}

// The run that row `n` of all runs is of.
__device__ inline const Run *run_find(const Run *run, int runs, int n) {
    int low = 0, high = runs - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (run[middle].at <= n)
            low = middle;
        else
            high = middle - 1;
    }
    return run + low;
}

template <typename T>
__device__ void seers_set(Workplace<T> *w, const Run *run, int runs, int first, int rows, const Shape &s, int g) {
    const int i = (int)threadIdx.x, n = first + i / s.rep;
    __syncthreads(); // the last ones have been read
    if (i < TILE) {
        const int there = i / s.rep < TILE / s.rep && n < rows;
        w->query[i] = -1, w->from[i] = w->last[i] = 0;
        if (there) {
            const Run *r = run_find(run, runs, n);
            w->query[i] = (r->row + n - r->at) * s.H + g * s.rep + i % s.rep;
            w->from[i] = r->from;
            w->last[i] = min(r->last + r->step * (n - r->at), r->cap);
        }
    }
    __syncthreads();
}

template <typename T> __global__ void __launch_bounds__(TILE_THREADS) backward_keys_kernel(KeySums sums, Shape s, Back<T> x) {
    WORKPLACE(T, w);
    const Chunk chunk = sums.chunk[blockIdx.x];
    const int p = chunk.piece, g = (int)blockIdx.y, column0 = (int)blockIdx.z * COLUMNS * TILE, i = (int)threadIdx.x;
    const Run *run = sums.run + sums.offset[p];
    const int runs = sums.offset[p + 1] - sums.offset[p];
    if (i < TILE) w->key[i] = p * TILE + i < sums.slots ? (sums.slot0 + p * TILE + i) * s.G + g : -1;
    Sum16<T> dk[COLUMNS][PARTS], dv[COLUMNS][PARTS];
#pragma unroll
    for (int c = 0; c < COLUMNS * PARTS; c++) dk[c / PARTS][c % PARTS].zero(), dv[c / PARTS][c % PARTS].zero();
    for (int first = chunk.first; first < chunk.end; first += TILE / s.rep) {
        seers_set(w, run, runs, first, chunk.end, s, g);
        back_queries(w, x.lse, x.dot);
        piece_scores(&w->score, &w->a, &w->b, x.q, w->query, x.k, w->key, s.K, s.wide);
        piece_scores(&w->dscore, &w->a, &w->b, x.dout, w->query, x.v, w->key, s.K, s.wide);
        back_scores(w, s, [=](int query, int key, float weight, float d) {
            store(&w->weight.x[query][key], weight);
            store(&w->a.x[query][key], d); // a row of a is read by its own warp alone
        });
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            if (column0 + c * TILE >= s.K) continue;
            piece_combine<true>(dv[c], &w->weight, &w->b, w->key, x.dout, w->query, column0 + c * TILE, s.K, s.wide);
            piece_combine<true>(dk[c], &w->a, &w->b, w->key, x.q, w->query, column0 + c * TILE, s.K, s.wide);
        }
    }
    const int whole = chunk.part < 0;
    const size_t before = whole ? (size_t)(sums.slot0 - sums.grad_slot0 + p * TILE) : (size_t)chunk.part * TILE;
    float *to_k = whole ? sums.dk : sums.dk_part, *to_v = whole ? sums.dv : sums.dv_part;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        const auto place = [=](int row, int column) {
            return ((before + (size_t)row) * (size_t)s.G + (size_t)g) * (size_t)s.K + (size_t)column;
        };
        sums_walk(w, dk[c], column0 + c * TILE, s.K, [=](int row, int column, float value) {
            if (w->key[row] >= 0) to_k[place(row, column)] = whole ? to_k[place(row, column)] + value : value;
        });
        sums_walk(w, dv[c], column0 + c * TILE, s.K, [=](int row, int column, float value) {
            if (w->key[row] >= 0) to_v[place(row, column)] = whole ? to_v[place(row, column)] + value : value;
        });
    }
}

// The gradients of cut pieces += the sums of their chunks.
static void parts_add(Ops *ops, const KeySums &all, size_t cuts, size_t width) {
    const KeySums sums = all;
    const size_t piece = TILE * width;
    each(ops, cuts * piece, [=] __device__(size_t i) {
        const Cut cut = sums.cut[i / piece];
        const size_t in = i % piece, slot = (size_t)cut.piece * TILE + in / width;
        if (slot >= (size_t)sums.slots) return;
        const size_t at = ((size_t)(sums.slot0 - sums.grad_slot0) + slot) * width + in % width;
        float k = sums.dk[at], v = sums.dv[at];
        for (int c = cut.part; c < cut.part + cut.parts; c++)
            k += sums.dk_part[(size_t)c * piece + in], v += sums.dv_part[(size_t)c * piece + in];
        sums.dk[at] = k, sums.dv[at] = v;
    });
}

// ---- the ops ----------------------------------------------------------------------------------------------------------------

static dim3 grid_of(size_t tiles, const Shape &s) {
    return dim3((unsigned)tiles, (unsigned)s.G, (unsigned)((s.K + COLUMNS * TILE - 1) / (COLUMNS * TILE)));
}

template <typename T>
static void forward(Ops *ops, T *out, float *lse, const T *q, const T *k, const T *v, const AttnPlan *plan, int H, int G, int K,
                    float scale) {
    const void *all[] = {q, k, v};
    const Shape s = shape_make(ops, H, G, K, scale, all, 3);
    const KeptPlan *kept = plan_on_device(ops, plan, s.rep);
    const Heap heap = kept->heap;
    if (kept->tiles > 0)
        LAUNCH(ops, forward_kernel<T>, grid_of(kept->tiles, s), TILE_THREADS, sizeof(Workplace<T>), heap, s, out, lse, q, k, v);
}

void op_attention_forward(Ops *ops, act *out, float *lse, const act *q, const act *k_cache, const act *v_cache,
                          const AttnPlan *plan, int N, int H, int G, int K, float scale) {
    const size_t mark = arena_mark(&ops->scratch), queries = (size_t)N * (size_t)H;
    memory_written(ops, out, queries * (size_t)K * dtype_bytes(ops->dtype));
    memory_written(ops, lse, queries * sizeof *lse);
    BY_TYPE(ops->dtype, T,
            forward<T>(ops, (T *)out, lse, (const T *)q, (const T *)k_cache, (const T *)v_cache, plan, H, G, K, scale));
    arena_reset(&ops->scratch, mark);
}

template <typename T> static float *dots(Ops *ops, const T *dout, const T *out, size_t queries, int K) {
    float *dot = scratch_get<float>(ops, queries);
    each(ops, queries * 32, [=] __device__(size_t i) { // a warp has a query: its rows are read as they lie
        const size_t row = i / 32;
        float sum = 0;
        for (size_t j = row * (size_t)K + i % 32; j < (row + 1) * (size_t)K; j += 32) sum += load(dout + j) * load(out + j);
        sum = warp_reduce(sum, Sum());
        if (i % 32 == 0) dot[row] = sum;
    });
    return dot;
}

template <typename T>
static void backward(Ops *ops, float *dq, float *dk, float *dv, const T *out, Back<T> x, const AttnPlan *plan, int grad_slot0,
                     int N, int H, int G, int K, float scale) {
    const void *all[] = {x.dout, x.q, x.k, x.v};
    const Shape s = shape_make(ops, H, G, K, scale, all, 4);
    KeptPlan *kept = plan_on_device(ops, plan, s.rep);
    const Heap heap = kept->heap;
    if (kept->tiles == 0) return;
    x.dot = dots(ops, x.dout, out, (size_t)N * (size_t)H, K);
    LAUNCH(ops, backward_queries_kernel<T>, grid_of(kept->tiles, s), TILE_THREADS, sizeof(Workplace<T>), heap, s, x, dq);
    if (!dk) return;
    pieces_on_device(ops, kept, plan, grad_slot0, s.rep);
    if (kept->chunks == 0) return;
    const size_t width = (size_t)G * (size_t)K, part = kept->parts * TILE * width;
    KeySums sums = kept->sums;
    sums.dk = dk, sums.dv = dv;
    sums.dk_part = scratch_get<float>(ops, part), sums.dv_part = scratch_get<float>(ops, part);
    LAUNCH(ops, backward_keys_kernel<T>, grid_of(kept->chunks, s), TILE_THREADS, sizeof(Workplace<T>), sums, s, x);
    parts_add(ops, sums, kept->cuts, width);
}

void op_attention_backward(Ops *ops, float *dq, float *dk, float *dv, const act *dout, const act *out, const float *lse,
                           const act *q, const act *k_cache, const act *v_cache, const AttnPlan *plan, int grad_slot0, int N,
                           int H, int G, int K, float scale) {
    const size_t mark = arena_mark(&ops->scratch);
    memory_written(ops, dq, (size_t)N * (size_t)H * (size_t)K * sizeof *dq);
    BY_TYPE(ops->dtype, T, const Back<T> x = {(const T *)dout, (const T *)q, (const T *)k_cache, (const T *)v_cache, lse, NULL};
            backward<T>(ops, dq, dk, dv, (const T *)out, x, plan, grad_slot0, N, H, G, K, scale));
    arena_reset(&ops->scratch, mark);
}

// One thread a key, of the first row of each block.
template <typename T>
static void weights(Ops *ops, float *const *weight, const T *q, const T *k, const float *lse, const AttnPlan *plan, int K,
                    float scale) {
    for (int b = 0; b < plan->blocks; b++) {
        const AttnBlock block = plan->block[b];
        const T *row = q + (size_t)block.row * (size_t)K;
        const float *normalizer = lse + block.row;
        size_t at = 0;
        for (int i = 0; i < block.spans; i++) {
            const Span span = plan->span[block.span + i];
            const T *first = k + (size_t)span.slot * (size_t)K;
            const size_t mark = arena_mark(&ops->scratch);
            float *to = scratch_get<float>(ops, (size_t)span.len);
            each(ops, (size_t)span.len, [=] __device__(size_t j) {
                float dot = 0;
                for (int d = 0; d < K; d++) dot += load(row + d) * load(first + j * (size_t)K + d);
                to[j] = expf(scale * dot - *normalizer);
            });
            ops_download(ops, weight[b] + at, to, (size_t)span.len * sizeof *to);
            arena_reset(&ops->scratch, mark);
            at += (size_t)span.len;
        }
    }
}

void op_attention_weights(Ops *ops, float *const *weight, const act *q, const act *k_cache, const float *lse,
                          const AttnPlan *plan, int K, float scale) {
    BY_TYPE(ops->dtype, T, weights<T>(ops, weight, (const T *)q, (const T *)k_cache, lse, plan, K, scale));
}
