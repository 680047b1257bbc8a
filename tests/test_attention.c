// Attention over the spans of a KV tree against the literal formula in double (ref_ops.h), and that against differences.
//
// Slots that no row sees hold NaN: stale or uninitialized cache rows must never reach a result.
#include "ops_case.h"

// dims. Blocks of `rows` rows (negative: of 1 to -rows rows, at random). Every block sees the prefix, if any, and `spans`
// spans of 1 to `length` slots (negative: of exactly -length), shared by each pair of blocks; `own`: and its own slots,
// causally. BEFORE: how many slots have no gradients, or NO_KEYS, OWN_KEYS. HARD: scale of the queries, which makes the
// softmax peaked. STEP: how many slots of the prefix each block sees beyond those of the block before it.
enum { H, G, K, BLOCKS, ROWS, PREFIX, SPANS, LENGTH, OWN, BEFORE, HARD, STEP };
enum { NO_KEYS = -1, OWN_KEYS = -2 }; // no gradients of keys and values at all; those of the blocks' own alone

typedef struct Layout {
    int N, S, blocks, spans;
    AttnBlock block[128];
    Span span[2048];
    char seen[4096]; // by slot
} Layout;

static void layout_see(Layout *l, int slot, int len) {
    CHECK(slot + len <= (int)sizeof l->seen);
    memset(l->seen + slot, 1, (size_t)len);
}

static int at_least_one(const Case *c, int stream, int i, int most) {
    return most < 0 ? -most : 1 + case_below(c, stream, (size_t)i, most);
}

// Prefix, then the spans of the blocks with gaps between some of them, then the blocks' own slots, which run on.
static void layout_make(Layout *l, Case *c) {
    int slot = 2;
    *l = (Layout){.blocks = c->dim[BLOCKS]};
    const int prefix = slot;
    const int prefix_end = c->dim[PREFIX] + c->dim[STEP] * (l->blocks - 1);
    layout_see(l, slot, prefix_end);
    slot += prefix_end;
    for (int b = 0; b < l->blocks; b++) {
        const AttnBlock *sibling = b % 2 ? &l->block[b - 1] : NULL;
        l->block[b] = (AttnBlock){.span = l->spans, .spans = c->dim[SPANS] + (c->dim[PREFIX] > 0)};
        CHECK(l->spans + l->block[b].spans <= (int)(sizeof l->span / sizeof *l->span));
        if (c->dim[PREFIX]) l->span[l->spans++] = (Span){prefix, c->dim[PREFIX] + b * c->dim[STEP]};
        for (int s = 0; s < c->dim[SPANS]; s++) {
            if (sibling) {
                l->span[l->spans] = l->span[sibling->span + (c->dim[PREFIX] > 0) + s];
            } else {
                slot += case_below(c, 11, (size_t)l->spans, 3);
                l->span[l->spans] = (Span){slot, at_least_one(c, 12, l->spans, c->dim[LENGTH])};
                slot += l->span[l->spans].len;
            }
            layout_see(l, l->span[l->spans].slot, l->span[l->spans].len);
            l->spans++;
        }
    }
    for (int b = 0; b < l->blocks; b++) {
        int rows = at_least_one(c, 13, b, -c->dim[ROWS]);
        l->block[b].row = l->N, l->block[b].rows = rows, l->block[b].own = c->dim[OWN] ? slot : -1;
        l->N += rows;
        if (!c->dim[OWN]) continue;
        layout_see(l, slot, rows);
        slot += rows;
    }
    l->S = slot + 3;
    AttnBlock *block = mem_alloc((size_t)l->blocks + 1, sizeof *block);
    Span *span = mem_alloc((size_t)l->spans + 1, sizeof *span);
    c->plan.block = memcpy(block, l->block, (size_t)l->blocks * sizeof *block);
    c->plan.span = memcpy(span, l->span, (size_t)l->spans * sizeof *span);
    c->plan.blocks = l->blocks;
}

static RefAttention shape_of(const Case *c, int N, int S) {
    return (RefAttention){&c->plan, N, S, c->dim[H], c->dim[G], c->dim[K], (double)(float)(1 / sqrt(c->dim[K]))};
}

static int rows_of(const Case *c) {
    int N = 0;
    for (int b = 0; b < c->plan.blocks; b++) N += c->plan.block[b].rows;
    return N;
}

// Slots without gradients.
static int before_of(const Case *c) {
    return c->dim[BEFORE] == OWN_KEYS ? c->plan.block[0].own : c->dim[BEFORE];
}

// The next three arguments: q, k_cache, v_cache. Returns N, S and the most keys of a row.
typedef struct Sizes {
    int N, S, keys;
} Sizes;

static Sizes cache_args(Case *c) {
    static Layout l; // large
    layout_make(&l, c);
    const size_t width = (size_t)(c->dim[G] * c->dim[K]);
    case_arg(c, "q", ACT, IN, (size_t)(l.N * c->dim[H] * c->dim[K]), c->dim[HARD] ? c->dim[HARD] : 1);
    Arg *k = case_arg(c, "k_cache", ACT, IN, (size_t)l.S * width, 1),
        *v = case_arg(c, "v_cache", ACT, IN, (size_t)l.S * width, 1);
    Sizes s = {l.N, l.S, 0};
    for (int slot = 0; slot < l.S; slot++) {
        s.keys += l.seen[slot];
        for (size_t i = 0; i < width && !l.seen[slot]; i++)
            k->x[(size_t)slot * width + i] = v->x[(size_t)slot * width + i] = NAN;
    }
    return s;
}

static float scale_of(const Case *c) {
    return (float)(1 / sqrt(c->dim[K]));
}

static double most(double a, double b) {
    return a > b ? a : b;
}

// A sum weighted by softmax weights or their gradients, which are rounded to the compute type before they multiply.
static void sum_arg(Case *c, const char *name, Kind kind, Role role, size_t n, double terms) {
    Arg *a = case_arg(c, name, kind, role, n, 1);
    a->terms = terms;
    a->narrowed = 1;
}

// ---- forward --------------------------------------------------------------------------------------------------------

enum { F_Q, F_K, F_V, F_OUT, F_LSE };

static void forward_setup(Case *c) {
    Sizes s = cache_args(c);
    const double terms = most(s.keys, c->dim[K]) + 8;
    sum_arg(c, "out", ACT, OUT, (size_t)(s.N * c->dim[H] * c->dim[K]), terms);
    case_arg(c, "lse", F32, OUT, (size_t)(s.N * c->dim[H]), 1)->terms = terms;
}

static int slots_of(const Case *c, int cache) {
    return (int)(c->arg[cache].n / (size_t)(c->dim[G] * c->dim[K]));
}

static void forward_run(Ops *ops, Case *c) {
    op_attention_forward(ops, c->arg[F_OUT].dev, (float *)c->arg[F_LSE].dev, c->arg[F_Q].dev, c->arg[F_K].dev, c->arg[F_V].dev,
                         &c->plan, rows_of(c), c->dim[H], c->dim[G], c->dim[K], scale_of(c));
}

static void forward_reference(Case *c) {
    RefAttention a = shape_of(c, rows_of(c), slots_of(c, F_K));
    ref_attention_forward(&a, c->arg[F_OUT].want, c->arg[F_OUT].mag, c->arg[F_LSE].want, c->arg[F_LSE].mag, c->arg[F_Q].x,
                          c->arg[F_K].x, c->arg[F_V].x);
}

// ---- backward -------------------------------------------------------------------------------------------------------

enum { B_Q, B_K, B_V, B_OUT, B_LSE, B_DOUT, B_DQ, B_DK, B_DV };

static void backward_setup(Case *c) {
    Sizes s = cache_args(c);
    const size_t wide = (size_t)(s.N * c->dim[H] * c->dim[K]);
    const double terms = most(s.keys, most(c->dim[K], (double)s.N * c->dim[H] / c->dim[G])) + 8;
    Arg *out = case_arg(c, "out", ACT, IN, wide, 1), *lse = case_arg(c, "lse", F32, IN, (size_t)(s.N * c->dim[H]), 1);
    RefAttention a = shape_of(c, s.N, s.S);
    ref_attention_forward(&a, out->x, NULL, lse->x, NULL, c->arg[B_Q].x, c->arg[B_K].x, c->arg[B_V].x);
    for (size_t i = 0; i < out->n; i++) out->x[i] = case_round(out->x[i], ACT, c->dtype);
    for (size_t i = 0; i < lse->n; i++) lse->x[i] = case_round(lse->x[i], F32, c->dtype);
    case_arg(c, "dout", ACT, IN, wide, 1);
    sum_arg(c, "dq", F32, OUT, wide, terms);
    if (before_of(c) < 0) return;
    const size_t kept = (size_t)((s.S - before_of(c)) * c->dim[G] * c->dim[K]);
    sum_arg(c, "dk", F32, INOUT, kept, terms);
    sum_arg(c, "dv", F32, INOUT, kept, terms);
}

static void backward_run(Ops *ops, Case *c) {
    const int keys = before_of(c) >= 0;
    op_attention_backward(ops, (float *)c->arg[B_DQ].dev, keys ? (float *)c->arg[B_DK].dev : NULL,
                          keys ? (float *)c->arg[B_DV].dev : NULL, c->arg[B_DOUT].dev, c->arg[B_OUT].dev,
                          (const float *)c->arg[B_LSE].dev, c->arg[B_Q].dev, c->arg[B_K].dev, c->arg[B_V].dev, &c->plan,
                          keys ? before_of(c) : 0, rows_of(c), c->dim[H], c->dim[G], c->dim[K], scale_of(c));
}

// The reference makes gradients of all slots; the first ones may not be wanted.
static void backward_reference(Case *c) {
    RefAttention a = shape_of(c, rows_of(c), slots_of(c, B_K));
    const size_t all = c->arg[B_K].n, skip = before_of(c) > 0 ? (size_t)(before_of(c) * c->dim[G] * c->dim[K]) : 0;
    double *memory[4];
    for (int i = 0; i < 4; i++) memory[i] = mem_zalloc(all, sizeof(double));
    RefAttentionGradients d = {c->arg[B_DQ].want, c->arg[B_DQ].mag, memory[0], memory[1], memory[2], memory[3]};
    ref_attention_backward(&a, &d, c->arg[B_DOUT].x, c->arg[B_OUT].x, c->arg[B_LSE].x, c->arg[B_Q].x, c->arg[B_K].x,
                           c->arg[B_V].x);
    for (int i = 0; i < 2 && before_of(c) >= 0; i++) {
        Arg *arg = &c->arg[B_DK + i];
        for (size_t j = 0; j < arg->n; j++) arg->want[j] += memory[2 * i][skip + j], arg->mag[j] += memory[2 * i + 1][skip + j];
    }
    for (int i = 0; i < 4; i++) free(memory[i]);
}

static const Op forward = {"attention_forward", forward_setup, forward_run, forward_reference},
                backward = {"attention_backward", backward_setup, backward_run, backward_reference};

// Both directions of one shape.
#define BOTH(...)                                                                                                              \
    {&forward, {__VA_ARGS__}}, {                                                                                               \
        &backward, {                                                                                                           \
            __VA_ARGS__                                                                                                        \
        }                                                                                                                      \
    }

static void attention_cases(void **state) {
    (void)state;
    //    H  G  K  blocks rows prefix spans length own before hard
    const Shape shapes[] = {
        BOTH(1, 1, 2, 1, 1, 0, 0, 1, 1, 0),            // one row that sees itself
        BOTH(2, 1, 4, 1, 5, 0, 0, 1, 1, 0),            // causal
        BOTH(3, 1, 16, 1, 37, 0, 0, 1, 1, 0),          // more than a tile of rows, three heads to a key
        BOTH(4, 2, 16, 1, 67, 0, 0, 1, 1, 0),          // more than a round of keys
        BOTH(9, 3, 64, 1, 131, 0, 0, 1, 1, 0),         // two rounds and more, SmolLM2's heads
        BOTH(2, 2, 80, 1, 33, 0, 2, 50, 1, 0),         // a head size that is no power of two, own slots after spans
        BOTH(4, 2, 16, 3, 33, 40, 1, 71, 1, 0),        // instruction, prompt, answers
        BOTH(4, 2, 16, 3, 33, 40, 1, 71, 1, 42),       // of which the instruction is not wanted
        BOTH(4, 2, 16, 3, 33, 40, 1, 71, 1, 57),       // nor a part of the first prompt
        BOTH(4, 2, 16, 3, 33, 40, 1, 71, 1, NO_KEYS),  // nor any
        BOTH(4, 2, 16, 3, 33, 40, 1, 71, 1, OWN_KEYS), // all but the answers' own frozen
        BOTH(3, 1, 16, 8, -7, 65, 2, 9, 1, 67),        // noisy answers of few rows
        BOTH(2, 1, 16, 11, 1, 30, 25, 3, 1, 0),        // beams: one row, many short spans
        BOTH(7, 1, 16, 2, 1, 64, 1, 64, 1, 0),         // FEW queries less one
        BOTH(8, 1, 16, 2, 1, 63, 1, -1, 1, 0),         // FEW queries; 64 keys before one's own
        BOTH(1, 1, 96, 5, 1, 17, 1, 130, 0, 0),        // LatentRATT: no own slots, one head of the whole width
        BOTH(1, 1, 576, 3, 1, 0, 2, 70, 0, 0),         // and at SmolLM2's width
        BOTH(1, 1, 48, 3, 1, 0, 1, 90, 0, 64),         // only the last keys wanted
        BOTH(4, 2, 16, 2, 40, 9, 1, 80, 1, 0, 12),     // scores far apart
        BOTH(3, 1, 128, 1, 45, 70, 1, 9, 1, 0),        // two panels of columns
        BOTH(4, 2, 7, 1, 21, 9, 1, 8, 1, 0),           // an odd head size
        BOTH(4, 2, 22, 3, 13, 5, 2, 9, 1, 0),          // pairs that do not fill a vector
        BOTH(1, 1, 128, 99, 1, 1, 0, 1, 1, 0, 0, 1),   // thoughts behind every item of a sequence
        BOTH(2, 2, 16, 99, 1, 1, 0, 1, 1, 70, 0, 1),   // of which the first items are not wanted
        BOTH(1, 1, 64, 120, 1, 3, 0, 1, 0, 0, 0, 1),   // LatentRATT at every item
        BOTH(3, 1, 16, 70, 1, 66, 1, -1, 1, 0, 0, 1),  // second thoughts: each behind the first
        BOTH(2, 1, 16, 30, -3, 60, 0, 1, 1, 0, 0, 2),  // blocks of a few rows, two more keys each
        BOTH(66, 2, 8, 3, 33, 70, 1, 9, 1, 0),         // slots that many tiles of queries see, and their own
        BOTH(66, 2, 8, 3, 33, 70, 1, 9, 1, 42),        // of which the first are not wanted
        BOTH(64, 1, 136, 1, 37, 66, 0, 1, 1, 0),       // likewise, and a second block of columns
        BOTH(2, 1, 8, 0, 1, 3, 1, 5, 1, 0),            // nothing at all
    };
    CASES_RUN(shapes);
}

// ---- weights --------------------------------------------------------------------------------------------------------

static void weights_match(void **state) {
    (void)state;
    enum { WIDTH = 24, SLOTS = 90 };
    const Span span[] = {{3, 1}, {7, 70}, {80, 5}, {0, 2}};
    const AttnBlock block[] = {{0, 1, -1, 0, 3, 0}, {1, 1, -1, 3, 1, 0}, {2, 1, -1, 1, 2, 0}};
    const AttnPlan plan = {block, span, 3};
    const int counts[] = {76, 2, 75};
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, NULL, 2, DTYPE_F32, &err)) fail_msg("%s", err.message);
    float q[3 * WIDTH], k[SLOTS * WIDTH], out[3 * WIDTH], got[3][80];
    float *weight[3] = {got[0], got[1], got[2]};
    rng_normal(q, 3 * WIDTH, 1, 1, 0), rng_normal(k, SLOTS * WIDTH, 1, 2, 0);
    float *const at[] = {device_new(ops, q, 3 * WIDTH, sizeof *q), device_new(ops, k, SLOTS * WIDTH, sizeof *k),
                         device_new(ops, NULL, 3 * WIDTH, sizeof *out), device_new(ops, NULL, 3, sizeof(float))};
    op_attention_forward(ops, at[2], at[3], at[0], at[1], at[1], &plan, 3, 1, 1, WIDTH, 0.5f);
    for (int b = 0; b < 3; b++) got[b][counts[b]] = -7;
    op_attention_weights(ops, weight, at[0], at[1], at[3], &plan, WIDTH, 0.5f);
    ops_download(ops, out, at[2], sizeof out);
    for (int b = 0; b < 3; b++) {
        double sum = 0, mean[WIDTH] = {0};
        int slot[SLOTS], seen = ref_attention_seen(&plan, &block[b], 0, slot);
        assert_int_equal(seen, counts[b]);
        for (int j = 0; j < seen; j++) {
            sum += (double)got[b][j];
            for (int d = 0; d < WIDTH; d++) mean[d] += (double)got[b][j] * (double)k[slot[j] * WIDTH + d];
        }
        assert_true(fabs(sum - 1) <= 1e-5);
        for (int d = 0; d < WIDTH; d++) assert_true(fabs(mean[d] - (double)out[b * WIDTH + d]) <= 1e-5);
        assert_true(got[b][counts[b]] == -7);
    }
    const size_t bytes[] = {sizeof q, sizeof k, sizeof out, 3 * sizeof(float)};
    for (int i = 0; i < 4; i++) ops_release(ops, at[i], bytes[i] + 1);
    ops_close(ops);
}

// ---- the reference by differences -----------------------------------------------------------------------------------

typedef struct Check {
    RefAttention a;
    double *q, *k, *v, *dout, *out, *lse;
} Check;

static double check_loss(void *context) {
    Check *c = context;
    double loss = 0;
    ref_attention_forward(&c->a, c->out, NULL, c->lse, NULL, c->q, c->k, c->v);
    for (int i = 0; i < c->a.N * c->a.H * c->a.K; i++) loss += c->out[i] * c->dout[i];
    return loss;
}

static void reference_by_differences(void **state) {
    (void)state;
    enum { N = 6, S = 11, HEADS = 2, SIZE = 3, QUERIES = N * HEADS * SIZE, KEYS = S * SIZE };
    const Span span[] = {{0, 2}, {4, 1}, {0, 2}};
    const AttnBlock block[] = {{0, 3, 5, 0, 2, 0}, {3, 2, 8, 2, 1, 0}, {5, 1, -1, 0, 2, 0}};
    const AttnPlan plan = {block, span, 3};
    Check c = {.a = {&plan, N, S, HEADS, 1, SIZE, 0.7},
               .q = random_doubles(QUERIES, 1),
               .k = random_doubles(KEYS, 2),
               .v = random_doubles(KEYS, 3),
               .dout = random_doubles(QUERIES, 4),
               .out = random_doubles(QUERIES, 5),
               .lse = random_doubles(N * HEADS, 6)};
    double dq[QUERIES], dk[KEYS] = {0}, dv[KEYS] = {0}, mag[QUERIES + 2 * KEYS] = {0};
    RefAttentionGradients d = {dq, mag, dk, mag + QUERIES, dv, mag + QUERIES + KEYS};
    check_loss(&c);
    ref_attention_backward(&c.a, &d, c.dout, c.out, c.lse, c.q, c.k, c.v);
    check_differences("dq", check_loss, &c, c.q, dq, QUERIES);
    check_differences("dk", check_loss, &c, c.k, dk, KEYS);
    check_differences("dv", check_loss, &c, c.v, dv, KEYS);
    free(c.q), free(c.k), free(c.v), free(c.dout), free(c.out), free(c.lse);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_by_differences),
        cmocka_unit_test(attention_cases),
        cmocka_unit_test(weights_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
