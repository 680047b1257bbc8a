// The single pass against PyTorch's two: losses, hidden states, thoughts, log-probabilities and every gradient.
#include "base/rng.h"
#include "golden.h"
#include "train/sft.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

static Session new_session(Golden *g, int slots) {
    Err err = {0};
    Session s;
    OK(session_init(&s, &g->llm, slots, &err));
    return s;
}

static void check_forward(const char *folder) {
    Golden g;
    golden_open(&g, folder, DTYPE_F32, 1, 0);
    Session s = new_session(&g, 2048);
    const int D = g.llm.config.D;
    json_t *rows = json_object_get(g.json, "rows");
    for (int i = 0; i < g.examples.n; i++) {
        const Example *x = &g.examples.example[i];
        SessionMark mark = session_mark(&s);
        ThinkPrompt prompt = {.ids = x->prompt, .len = x->prompt_len};
        Think t;
        think_forward(&s, &t, -1, &g.examples.common.ids, &prompt, 1, NULL, NULL, THINK_FORWARD, 0);
        float *h = malloc(sizeof(float) * (size_t)D), *r = malloc(sizeof(float) * (size_t)D);
        ops_download(g.ops, h, (float *)s.h + (size_t)session_last(&s, t.node[0]) * (size_t)D, sizeof(float) * (size_t)D);
        ops_download(g.ops, r, t.r, sizeof(float) * (size_t)D);
        json_t *row = json_array_get(rows, (size_t)i);
        for (int d = 0; d < D; d++) {
            double want = json_number_value(json_array_get(json_object_get(row, "last_hidden"), (size_t)d));
            golden_close(h[d], want, 1e-4 * fmax(1, fabs(want)), "last_hidden", d);
            want = json_number_value(json_array_get(json_object_get(row, "thought"), (size_t)d));
            golden_close(r[d], want, 1e-4 * fmax(1, fabs(want)), "thought", d);
        }
        free(h), free(r);
        session_reset(&s, mark);
    }
    session_free(&s);
    golden_close_all(&g);
}

static void forward_matches(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) check_forward(folders[i]);
}

static void check_gradients(const char *folder, int thoughts, int share, int micro_rows) {
    Err err = {0};
    Golden g;
    const char *section = thoughts ? "sft" : "sft_without_thought";
    golden_open(&g, folder, DTYPE_F32, thoughts, share);
    Session s = new_session(&g, 4096);
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    int64_t tokens;
    double loss = sft_update(&s, &g.examples, g.index, g.examples.n, micro_rows, 1, &tokens) / (double)tokens;
    golden_close(loss, golden_number(&g, section, "loss"), 1e-4 * loss, section, 0);
    int compared = golden_gradients(&g, section, 1e-3);
    assert_int_equal(compared, g.llm.params.n);
    session_free(&s);
    golden_close_all(&g);
}

static void gradients_match(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int thoughts = 0; thoughts < 2; thoughts++)
            for (int share = 0; share < 2; share++)
                for (int micro = 0; micro < 3; micro++)
                    check_gradients(folders[i], thoughts, share, micro == 0 ? 1 : micro == 1 ? 700 : 1 << 20);
}

// ---- histories that grow out of each other -------------------------------------------------------------------------------

enum { GROWN = 8, PROMPT = 70 };

// Rows of one history, cut here and there, each with a tail of its own; what the row before begins with too.
static const struct {
    int history, tail, shared, joins;
} grown[GROWN] = {{24, 5, 1, 0},   {40, 5, 1, 24}, {40, 6, 1, 40}, {20, 7, 1, 20}, // growing, the same once more, shorter again
                  {0, 30, 1, 0},   {60, 5, 1, 0},                                  // another user's between
                  {60, -5, 1, 64}, {60, 5, 0, 0}};                                 // twice the same; and one that stands alone

static void grow(Example *x, int32_t ids[GROWN][PROMPT], int32_t answer[GROWN][3], int V) {
    for (int i = 0; i < GROWN; i++) {
        const int history = grown[i].history, tail = abs(grown[i].tail), same = grown[i].tail < 0 ? i - 1 : i;
        for (int j = 0; j < history; j++) ids[i][j] = (int32_t)rng_below(1, 1, (uint64_t)j, (uint64_t)V);
        for (int j = 0; j < tail; j++) // no two tails, nor a tail and the history, begin alike
            ids[i][history + j] = (int32_t)(j ? (int)rng_below(1, 2 + (uint64_t)same, (uint64_t)j, (uint64_t)V) : V - 1 - same);
        for (int j = 0; j < 3; j++) answer[i][j] = (int32_t)rng_below(1, 100 + (uint64_t)i, (uint64_t)j, (uint64_t)V);
        x[i] = (Example){ids[i], answer[i], history + tail, 1 + i % 3, grown[i].shared, i};
    }
}

typedef struct GrownRun {
    const char *folder;
    int thoughts, recompute, micro_rows, forward_rows;
    unsigned groups; // TRAIN_*; 0: the rows are only measured
} GrownRun;

// Loss, gradient and positions run of the rows, in a session that has no slot too many.
static double grown_update(const GrownRun *o, float **gradient, size_t *n, int64_t *run, int *common) {
    Err err = {0};
    Golden g;
    Session s;
    golden_open(&g, o->folder, DTYPE_F32, o->thoughts, 1);
    OK(llm_train(&g.llm, o->groups ? o->groups : TRAIN_BACKBONE | TRAIN_LATENT, &err));
    Example x[GROWN];
    int32_t ids[GROWN][PROMPT], answer[GROWN][3];
    grow(x, ids, answer, g.llm.config.V - 20);
    const Examples e = {.n = GROWN, .example = x, .common = g.examples.common};
    for (int i = 1; i < GROWN; i++) assert_int_equal(examples_join(&x[i - 1], &x[i]), grown[i].joins);
    const uint32_t index[GROWN] = {0, 1, 2, 3, 4, 5, 6, 7};
    int slots = (int)e.common.ids.len, most = 0; // of micro-batches of one row, or of one micro-batch
    for (int i = 0; i < GROWN; i++) {
        const int rows = example_rows(&x[i], o->thoughts) - (o->micro_rows > 1 ? grown[i].joins : 0);
        if (o->micro_rows > 1) slots += rows;
        if (rows > most) most = rows;
    }
    OK(session_init(&s, &g.llm, o->micro_rows > 1 ? slots : slots + most, &err));
    s.recompute = o->recompute, s.forward_rows = o->forward_rows;
    const double loss = sft_update(&s, &e, index, GROWN, o->micro_rows, o->groups != 0, NULL);
    const size_t begin = o->groups & TRAIN_BACKBONE ? 0 : g.llm.params.begin[PARAMS_LATENT];
    *n = o->groups ? g.llm.params.total - begin : 0, *run = s.tokens_run, *common = (int)e.common.ids.len;
    *gradient = malloc((*n + 1) * sizeof(float));
    if (*n) ops_download(g.ops, *gradient, g.llm.dw + begin, *n * sizeof(float));
    session_free(&s);
    golden_close_all(&g);
    return loss;
}

// Together is as one by one.
static void check_grown(GrownRun o) {
    float *alone, *together;
    size_t n;
    int64_t run[2];
    int common, joins = 0, shared = 0;
    for (int i = 0; i < GROWN; i++) joins += grown[i].joins, shared += grown[i].shared;
    GrownRun one = o;
    one.recompute = 0, one.micro_rows = 1, one.forward_rows = 4096;
    const double loss = grown_update(&one, &alone, &n, &run[0], &common);
    const double same = grown_update(&o, &together, &n, &run[1], &common);
    golden_close(same, loss, 1e-5 * loss, "loss", o.thoughts);
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)alone[i]));
    for (size_t i = 0; i < n; i++) golden_close(together[i], alone[i], 1e-5 * largest, "gradient", (int)i);
    assert_int_equal(run[0] - run[1], joins + (shared - 1) * common); // each beginning went through the network once
    free(alone), free(together);
}

static void growing_histories_match(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int thoughts = 0; thoughts < 3; thoughts++)
            for (int recompute = 0; recompute < 2; recompute++)
                check_grown((GrownRun){folders[i], thoughts, recompute, 1 << 20, 4096, TRAIN_BACKBONE | TRAIN_LATENT});
}

// Where nothing of the prompts is recorded they run in segments, of one prompt and of some: what they share runs once all the
// same.
static void segments_of_grown_match(void **state) {
    (void)state;
    static const int forward_rows[] = {1, 50, 4096};
    for (int i = 0; i < 2; i++)
        for (int thoughts = 0; thoughts < 3; thoughts++)
            for (int j = 0; j < 3; j++)
                for (int train = 0; train <= (thoughts > 0); train++)
                    check_grown((GrownRun){folders[i], thoughts, 0, 1 << 20, forward_rows[j], train ? TRAIN_LATENT : 0});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forward_matches), cmocka_unit_test(gradients_match),
                                       cmocka_unit_test(growing_histories_match), cmocka_unit_test(segments_of_grown_match)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
