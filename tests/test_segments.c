// The invariant of the KV tree: any split of timelines into segments gives the same hidden states, log-probabilities and
// gradients as the timelines one by one.
#include "base/rng.h"
#include "golden.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

enum { BRANCHES = 8, ROWS_MOST = 512, THOUGHTS_MOST = 32, SEEDS = 20 };

typedef struct Branch {     // a run of positions behind the whole of its parent
    int parent, len, first; // first: its place in the arrays of the tree
    int path;               // positions from the root to its end
} Branch;

// instruction -> three prompts -> four answers that begin with a thought; the lengths go over the tiles of attention.
typedef struct Tree {
    int branches, rows, thoughts, D;
    Branch branch[BRANCHES];
    int32_t ids[ROWS_MOST], target[ROWS_MOST]; // ids < 0: the next of the thoughts
    float weight[ROWS_MOST];                   // gradient of each row's log-probability
    float *thought;                            // (thoughts, D)
    int thought_row[THOUGHTS_MOST];
} Tree;

static void tree_make(Tree *t, const ModelConfig *c, uint64_t seed) {
    static const int parent[BRANCHES] = {-1, 0, 0, 0, 1, 1, 2, 3}, most[BRANCHES] = {80, 70, 40, 9, 20, 12, 40, 1};
    *t = (Tree){.branches = BRANCHES, .D = c->D};
    rng_normal(t->weight, ROWS_MOST, seed, 50, 0);
    for (int b = 0; b < BRANCHES; b++) {
        int len = 1 + (int)rng_below(seed, 51, (uint64_t)b, (uint64_t)most[b]);
        t->branch[b] = (Branch){parent[b], len, t->rows, len + (parent[b] < 0 ? 0 : t->branch[parent[b]].path)};
        for (int i = 0; i < len; i++, t->rows++) {
            t->ids[t->rows] = (int32_t)rng_below(seed, 52, (uint64_t)t->rows, (uint64_t)c->V);
            t->target[t->rows] = (int32_t)rng_below(seed, 53, (uint64_t)t->rows, (uint64_t)c->V);
            if (b >= 4 && (i == 0 || i == 5)) t->ids[t->rows] = -1, t->thought_row[t->thoughts++] = t->rows;
        }
    }
    t->thought = malloc(sizeof(float) * (size_t)t->thoughts * (size_t)c->D);
    rng_normal(t->thought, (size_t)t->thoughts * (size_t)c->D, seed, 54, 0);
}

typedef struct Results { // by row of the tree
    float *h, *logprob;  // (rows, D), (rows)
    float *dthought;     // (thoughts, D)
    float *dw;           // (params.total)
} Results;

static Results results_new(const Tree *t, const Llm *m) {
    return (Results){calloc((size_t)(t->rows * t->D), 4), calloc((size_t)t->rows, 4), calloc((size_t)(t->thoughts * t->D), 4),
                     calloc(m->params.total, 4)};
}

static void results_free(Results *r) {
    free(r->h), free(r->logprob), free(r->dthought), free(r->dw);
}

typedef struct Piece { // consecutive rows of a branch: one node
    int branch, at, len;
    int before; // the piece it continues, or -1
    int node;
} Piece;

// Cut every branch into pieces of random length; the first piece of a branch continues the last one of its parent.
static int pieces_cut(const Tree *t, Piece *piece, uint64_t seed, int most) {
    int n = 0, last[BRANCHES];
    for (int b = 0; b < t->branches; b++) {
        int before = t->branch[b].parent < 0 ? -1 : last[t->branch[b].parent];
        for (int at = 0, len; at < t->branch[b].len; at += len) {
            len = 1 + (int)rng_below(seed, 60, (uint64_t)n, (uint64_t)most);
            if (len > t->branch[b].len - at) len = t->branch[b].len - at;
            piece[n] = (Piece){b, at, len, before, -1};
            before = n++;
        }
        last[b] = before;
    }
    return n;
}

// A random order in which every piece comes after the one that it continues.
static void pieces_order(const Piece *piece, int n, int *order, uint64_t seed) {
    char taken[ROWS_MOST] = {0};
    for (int i = 0; i < n; i++) {
        int at = (int)rng_below(seed, 61, (uint64_t)i, (uint64_t)n);
        while (taken[at] || (piece[at].before >= 0 && !taken[piece[at].before])) at = (at + 1) % n;
        order[i] = at;
        taken[at] = 1;
    }
}

// The thoughts of the rows of some pieces, in their order -> device; index says which they are.
static float *segment_thoughts(Session *s, const Tree *t, const Piece *piece, const int *order, int n, int *index, int *count) {
    float *host = malloc(sizeof(float) * (size_t)t->thoughts * (size_t)t->D);
    *count = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < t->thoughts; j++) {
            const Piece *p = &piece[order[i]];
            int row = t->branch[p->branch].first + p->at;
            if (t->thought_row[j] < row || t->thought_row[j] >= row + p->len) continue;
            memcpy(host + (size_t)*count * (size_t)t->D, t->thought + (size_t)j * (size_t)t->D, sizeof(float) * (size_t)t->D);
            index[(*count)++] = j;
        }
    float *device = *count ? arena_get(&s->device, (size_t)*count * (size_t)t->D, sizeof(float)) : NULL;
    if (device) ops_upload(s->ops, device, host, sizeof(float) * (size_t)*count * (size_t)t->D);
    free(host);
    return device;
}

typedef struct Run { // one segment and the thoughts in it
    Segment g;
    float *thought; // device, then its gradient
    int index[THOUGHTS_MOST], count;
} Run;

// The pieces in this order, `cut` of them (at random) a segment; forward, the head on every row, and back `times` times.
static void tree_run(Session *s, const Tree *t, Piece *piece, const int *order, int n, uint64_t seed, int cut, int times,
                     Results *out) {
    const SessionMark mark = session_mark(s);
    const size_t D = (size_t)t->D;
    const int calls = n > 1 ? 2 : 1; // the gradients of two calls of the head add up
    int runs = 0, slot[ROWS_MOST], target[ROWS_MOST], row_of[ROWS_MOST], rows = 0;
    float weight[ROWS_MOST], logprob[ROWS_MOST];
    Run *run = calloc((size_t)n, sizeof *run);
    session_want_gradients(s, t->rows);
    for (int first = 0, end; first < n; first = end, runs++) {
        Run *r = &run[runs];
        end = first + 1 + (int)rng_below(seed, 62, (uint64_t)runs, (uint64_t)cut);
        if (end > n) end = n;
        segment_begin(s, &r->g, end - first, t->rows);
        for (int i = first; i < end; i++) {
            Piece *p = &piece[order[i]];
            int row = t->branch[p->branch].first + p->at;
            p->node = segment_add(s, &r->g, p->before < 0 ? -1 : piece[p->before].node, t->ids + row, p->len);
            for (int j = 0; j < p->len; j++, rows++) {
                slot[rows] = session_slot(s, p->node, j), row_of[rows] = row + j;
                target[rows] = t->target[row + j], weight[rows] = t->weight[row + j] / (float)calls;
            }
        }
        r->thought = segment_thoughts(s, t, piece, order + first, end - first, r->index, &r->count);
        segment_forward(s, &r->g, r->thought, 1);
    }
    for (int time = 0; time < times; time++) {
        if (time) session_zero_gradients(s, s->grad_slot0);
        for (int call = 0; call < calls; call++) head_logprob(s, slot, target, rows, logprob, weight);
        for (int i = runs - 1; i >= 0; i--) {
            segment_backward(s, &run[i].g, run[i].thought);
            for (int j = 0; j < run[i].count; j++)
                ops_download(s->ops, out->dthought + (size_t)run[i].index[j] * D, run[i].thought + (size_t)j * D, D * 4);
        }
    }
    ops_wait(s->ops);
    for (int i = 0; i < rows; i++) {
        out->logprob[row_of[i]] = logprob[i];
        ops_download(s->ops, out->h + (size_t)row_of[i] * D, (float *)s->h + (size_t)slot[i] * D, D * 4);
    }
    if (s->llm->train[PARAMS_BACKBONE]) ops_download(s->ops, out->dw, s->llm->dw, s->llm->params.total * sizeof(float));
    llm_zero_gradients(s->llm);
    free(run);
    session_reset(s, mark);
}

// Every branch without descendants as a timeline of its own. A branch that several share counts for the first one only.
static void tree_run_alone(Session *s, const Tree *t, Results *out) {
    char counted[BRANCHES] = {0};
    for (int leaf = 0; leaf < t->branches; leaf++) {
        int path[BRANCHES], depth = 0, inner = 0;
        for (int b = 0; b < t->branches; b++) inner |= t->branch[b].parent == leaf;
        if (inner) continue;
        for (int b = leaf; b >= 0; b = t->branch[b].parent) path[depth++] = b;
        Tree alone = {.branches = 1, .D = t->D, .thought = malloc(sizeof(float) * (size_t)(t->thoughts * t->D))};
        int row_of[ROWS_MOST], thought_of[THOUGHTS_MOST];
        for (int d = depth - 1; d >= 0; d--) {
            const Branch *b = &t->branch[path[d]];
            for (int row = b->first; row < b->first + b->len; row++, alone.rows++) {
                row_of[alone.rows] = row;
                alone.ids[alone.rows] = t->ids[row], alone.target[alone.rows] = t->target[row];
                alone.weight[alone.rows] = counted[path[d]] ? 0 : t->weight[row];
                for (int j = 0; j < t->thoughts; j++) {
                    if (t->thought_row[j] != row) continue;
                    memcpy(alone.thought + (size_t)(alone.thoughts * t->D), t->thought + (size_t)(j * t->D), (size_t)t->D * 4);
                    thought_of[alone.thoughts] = j;
                    alone.thought_row[alone.thoughts++] = alone.rows;
                }
            }
            counted[path[d]] = 1;
        }
        alone.branch[0] = (Branch){-1, alone.rows, 0, alone.rows};
        Results one = results_new(&alone, s->llm);
        Piece whole = {0, 0, alone.rows, -1, -1};
        const int order = 0;
        tree_run(s, &alone, &whole, &order, 1, 0, 1, 1, &one);
        for (int i = 0; i < alone.rows; i++) {
            out->logprob[row_of[i]] = one.logprob[i];
            memcpy(out->h + (size_t)(row_of[i] * t->D), one.h + (size_t)(i * t->D), (size_t)t->D * 4);
        }
        for (int i = 0; i < alone.thoughts * t->D; i++)
            out->dthought[thought_of[i / t->D] * t->D + i % t->D] += one.dthought[i];
        for (size_t i = 0; i < s->llm->params.total; i++) out->dw[i] += one.dw[i];
        results_free(&one);
        free(alone.thought);
    }
}

// Within 1e-5 of the largest entry.
static void same(const float *got, const float *want, size_t n, const char *what) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)want[i]));
    for (size_t i = 0; i < n; i++) golden_close(got[i], want[i], 1e-5 * largest, what, (int)i);
}

static void results_same(const Tree *t, const Llm *m, const Results *got, const Results *want) {
    same(got->h, want->h, (size_t)(t->rows * t->D), "hidden state");
    same(got->logprob, want->logprob, (size_t)t->rows, "log-probability");
    same(got->dthought, want->dthought, (size_t)(t->thoughts * t->D), "gradient of a thought");
    for (int i = 0; i < m->params.n; i++) {
        const Param *p = &m->params.param[i];
        if (p->group == PARAMS_BACKBONE) same(got->dw + p->offset, want->dw + p->offset, p->count, p->name);
    }
}

static void check_splits(const char *folder) {
    Err err = {0};
    Golden g;
    Session s;
    golden_open(&g, folder, DTYPE_F32, 1, 0);
    OK(session_init(&s, &g.llm, 1024, &err));
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        Tree t;
        tree_make(&t, &g.llm.config, seed);
        Results want = results_new(&t, &g.llm), got = results_new(&t, &g.llm);
        tree_run_alone(&s, &t, &want);
        Piece *piece = malloc(sizeof *piece * (size_t)t.rows);
        int *order = malloc(sizeof *order * (size_t)t.rows);
        // All in one segment; each branch a segment; and pieces of up to 9 or 60 rows in segments of up to 3 or 12 of them.
        const int most[] = {ROWS_MOST, ROWS_MOST, 9, 60}, cut[] = {0, 1, 12, 3};
        for (int way = seed ? 2 : 0; way < 4; way++) {
            int n = pieces_cut(&t, piece, seed, most[way]);
            for (int i = 0; way < 2 && i < t.branches; i++) piece[i] = (Piece){i, 0, t.branch[i].len, t.branch[i].parent, -1};
            if (way < 2) n = t.branches;
            pieces_order(piece, n, order, seed);
            tree_run(&s, &t, piece, order, n, seed, cut[way] ? cut[way] : 1000000, 1, &got);
            results_same(&t, &g.llm, &got, &want);
        }
        free(piece), free(order), free(t.thought);
        results_free(&want), results_free(&got);
    }
    session_free(&s);
    golden_close_all(&g);
}

static void any_split_is_the_same(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) check_splits(folders[i]);
}

// A frozen backbone passes the same gradient on; a second backward over zeroed gradients gives what the first one gave.
static void frozen_and_twice(void **state) {
    (void)state;
    Err err = {0};
    Golden g;
    Session s;
    Tree t;
    golden_open(&g, folders[0], DTYPE_F32, 1, 0);
    OK(session_init(&s, &g.llm, 1024, &err));
    tree_make(&t, &g.llm.config, 99);
    Results once = results_new(&t, &g.llm), twice = results_new(&t, &g.llm), frozen = results_new(&t, &g.llm);
    Piece piece[ROWS_MOST];
    int order[ROWS_MOST] = {0}, n = pieces_cut(&t, piece, 99, 30);
    pieces_order(piece, n, order, 99);
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    tree_run(&s, &t, piece, order, n, 99, 3, 1, &once);
    tree_run(&s, &t, piece, order, n, 99, 3, 2, &twice);
    OK(llm_train(&g.llm, TRAIN_LATENT, &err));
    tree_run(&s, &t, piece, order, n, 99, 3, 1, &frozen);
    const size_t bytes = (size_t)(t.thoughts * t.D) * sizeof(float);
    assert_memory_equal(once.dthought, twice.dthought, bytes);
    assert_memory_equal(once.dthought, frozen.dthought, bytes);
    for (size_t i = 0; i < g.llm.params.total; i++) once.dw[i] *= 2;
    results_same(&t, &g.llm, &twice, &once);
    results_free(&once), results_free(&twice), results_free(&frozen);
    free(t.thought);
    session_free(&s);
    golden_close_all(&g);
}

// What is kept of a tree lies where it lay together, bit for bit: moved by few places, by many, and not at all.
static void compacted(void **state) {
    (void)state;
    static const struct {
        int parent, len, kept;
    } branch[] = {{-1, 30, 1}, {0, 3, 0}, {0, 150, 1}, {0, 1, 0}, {2, 90, 1}, {2, 100, 0}, {2, 20, 1}, {0, 70, 1}};
    enum { N = sizeof branch / sizeof *branch, PATH = 400 };
    Err err = {0};
    Golden g;
    Session s;
    int32_t ids[ROWS_MOST];
    golden_open(&g, folders[0], DTYPE_F32, 1, 0);
    OK(session_init(&s, &g.llm, 1024, &err));
    for (int i = 0; i < ROWS_MOST; i++) ids[i] = (int32_t)rng_below(3, 52, (uint64_t)i, (uint64_t)g.llm.config.V);
    const size_t bytes = session_row_bytes(&s);
    SessionMark floor = {0};
    int node[N], path[N];
    char *before[N] = {0}, *after = mem_alloc(PATH, bytes);
    for (int b = 0; b < N; b++) {
        Segment one;
        segment_begin(&s, &one, 1, branch[b].len);
        node[b] = segment_add(&s, &one, branch[b].parent < 0 ? -1 : node[branch[b].parent], ids + 7 * b, branch[b].len);
        segment_forward(&s, &one, NULL, 0);
        path[b] = branch[b].len + (branch[b].parent < 0 ? 0 : path[branch[b].parent]);
        if (b == 0) floor = session_mark(&s);
        before[b] = mem_alloc((size_t)path[b], bytes);
        session_save_rows(&s, node[b], 0, path[b], before[b]);
    }
    int *kept[N], n = 0, rows = 0;
    for (int b = 1; b < N; b++)
        if (branch[b].kept) kept[n++] = &node[b], rows += branch[b].len;
    const size_t mark = arena_mark(&s.device);
    session_compact(&s, floor, kept, n);
    assert_int_equal(s.slots_used, branch[0].len + rows);
    assert_int_equal(arena_mark(&s.device), mark);
    for (int b = 0; b < N; b++) {
        if (branch[b].kept) {
            session_save_rows(&s, node[b], 0, path[b], after);
            assert_memory_equal(after, before[b], (size_t)path[b] * bytes);
        }
        free(before[b]);
    }
    free(after);
    session_free(&s);
    golden_close_all(&g);
}

// Behind `common` tokens that are everybody's, users' prompts in one segment and their beams in the next, of one row or two;
// of the users [first, end) alone. state: the beams' rows (USERS, BEAMS, 2) as session_save_rows has them.
enum { USERS = 4, BEAMS = 3 };

static void beams_run(Session *s, const int32_t *ids, int common, int first, int end, char *state) {
    const SessionMark before = session_mark(s);
    const size_t bytes = session_row_bytes(s);
    int prompt[USERS], beam[USERS][BEAMS];
    Segment g;
    segment_begin(s, &g, 1, common);
    const int root = segment_add_shared(s, &g, ids, common);
    segment_forward(s, &g, NULL, 0);
    segment_begin(s, &g, USERS, USERS * 40);
    for (int u = first; u < end; u++) prompt[u] = segment_add(s, &g, root, ids + common + u, 6 + 9 * u);
    segment_forward(s, &g, NULL, 0);
    segment_begin(s, &g, USERS * BEAMS, USERS * BEAMS * 2);
    for (int u = first; u < end; u++)
        for (int b = 0; b < BEAMS; b++) beam[u][b] = segment_add(s, &g, prompt[u], ids + common + 50 * u + b, 1 + b % 2);
    segment_forward(s, &g, NULL, 0);
    for (int u = first; u < end; u++)
        for (int b = 0; b < BEAMS; b++)
            session_save_rows(s, beam[u][b], session_length(s, prompt[u]), 1 + b % 2,
                              state + (size_t)(u * BEAMS + b) * 2 * bytes);
    session_reset(s, before);
}

// A user's bits do not depend on who else is there, however much all prompts have in common.
static void others_change_no_bit(void **state) {
    (void)state;
    Err err = {0};
    for (int i = 0; i < 2; i++) {
        Golden g;
        Session s;
        int32_t ids[600];
        golden_open(&g, folders[i], i && ops_has_bf16(NULL) ? DTYPE_BF16 : DTYPE_F32, 1, 0);
        OK(session_init(&s, &g.llm, 1024, &err));
        for (int j = 0; j < 600; j++) ids[j] = (int32_t)rng_below(5, 52, (uint64_t)j, (uint64_t)g.llm.config.V);
        const size_t user = BEAMS * 2 * session_row_bytes(&s);
        for (int common = 60; common <= 240; common += 60) {
            char *all = calloc(USERS, user), *alone = calloc(USERS, user);
            beams_run(&s, ids, common, 0, USERS, all);
            for (int u = 0; u < USERS; u++) beams_run(&s, ids, common, u, u + 1, alone);
            assert_memory_equal(all, alone, USERS * user);
            free(all), free(alone);
        }
        session_free(&s);
        golden_close_all(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_split_is_the_same), cmocka_unit_test(frozen_and_twice),
                                       cmocka_unit_test(compacted), cmocka_unit_test(others_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
