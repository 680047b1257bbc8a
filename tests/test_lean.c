// Training with weights and moments in bf16 (--lean): the rounding is by the bits that it promises and right in the mean, and a
// model learns as it does with f32 masters, where rounding to nearest would stand still.
#include "base/rng.h"
#include "golden.h"
#include "ops_case.h"
#include "train/optimizer.h"
#include "train/sft.h"

enum { N = 9000, FIRST = 48 };
static const uint64_t SEED = 11, STREAM = RNG_ROUND | 3u << 16;

typedef struct Moments {
    float p[N], m[N], v[N], g[N];      // as bf16 can hold them, but for g
    uint16_t half[3][N], before[3][N]; // p, m, v
} Moments;

// Weights around 1 whose steps of 1e-4 are far below half a unit of bf16 (2e-3).
static Moments *moments_new(void) {
    Moments *x = calloc(1, sizeof *x);
    float *const wide[] = {x->p, x->m, x->v};
    for (int k = 0; k < 3; k++) {
        rng_normal(wide[k], N, 31, 1 + (uint64_t)k, 0);
        for (int i = 0; i < N; i++) {
            const float value = k == 0 ? wide[k][i] + 1 : k == 1 ? 1e-2f * wide[k][i] : 1e-3f * wide[k][i] * wide[k][i];
            x->before[k][i] = f32_to_bf16(value);
            wide[k][i] = bf16_to_f32(x->before[k][i]);
        }
    }
    rng_normal(x->g, N, 31, 9, 0);
    return x;
}

static void half_step(Ops *ops, Moments *x, uint64_t seed) {
    uint16_t *half = device_new(ops, x->before, 3 * N, sizeof *half);
    float *g = device_new(ops, x->g, N, sizeof *g);
    op_adamw_half(ops, half, half + N, half + 2 * N, g, N, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 7, 0.5f, seed, STREAM, FIRST);
    ops_download(ops, x->half, half, sizeof x->half);
    ops_release(ops, half, sizeof x->half + 1), ops_release(ops, g, sizeof x->g + 1);
}

// The same step of f32.
static void wide_step(Ops *ops, Moments *x) {
    float *const host[] = {x->p, x->m, x->v, x->g}, *at[4];
    for (int k = 0; k < 4; k++) at[k] = device_new(ops, host[k], N, sizeof *host[k]);
    op_adamw(ops, at[0], at[1], at[2], at[3], N, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 7, 0.5f);
    for (int k = 0; k < 4; k++) {
        ops_download(ops, host[k], at[k], N * sizeof *host[k]);
        ops_release(ops, at[k], N * sizeof *host[k] + 1);
    }
}

static Ops *ops_of(int threads) {
    Err err = {0};
    Ops *ops;
    OK(ops_open(&ops, NULL, threads, DTYPE_F32, &err));
    return ops;
}

// Value i of each 64 is rounded by half i / 8 of block i % 8 of its stream.
static void bits_as_promised(void **state) {
    (void)state;
    Moments *x = moments_new();
    Ops *one = ops_of(1), *two = ops_of(2);
    half_step(two, x, SEED);
    uint16_t(*got)[N] = malloc(sizeof x->half);
    memcpy(got, x->half, sizeof x->half);
    half_step(one, x, SEED);
    assert_memory_equal(got, x->half, sizeof x->half);
    float *const wide[] = {x->p, x->m, x->v};
    wide_step(one, x);
    int moved = 0;
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i++) {
            uint32_t block[4], bits;
            rng_block(block, SEED, STREAM | (uint64_t)k << 8, FIRST + (uint64_t)(i / 64 * 8 + i % 8));
            const int half = i % 64 / 8;
            memcpy(&bits, &wide[k][i], 4);
            const uint16_t want = (uint16_t)((bits + (block[half / 2] >> 16 * (half % 2) & 0xffff)) >> 16);
            if (got[k][i] != want) fail_msg("%d: value %d: got %04x, want %04x", k, i, got[k][i], want);
            moved += k == 0 && want != x->before[0][i];
        }
    assert_in_range(moved, N / 200, N / 5); // a few of the weights take a whole unit each
    ops_close(one), ops_close(two);
    free(got), free(x);
}

// Over many seeds the mean of each value is the f32 result: within 5 of its standard errors (a unit over twice the root).
static void right_in_the_mean(void **state) {
    (void)state;
    enum { SEEDS = 2000, LOOKED_AT = 256 };
    Moments *x = moments_new();
    Ops *ops = ops_of(2);
    double sum[3][LOOKED_AT] = {{0}};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        half_step(ops, x, seed);
        for (int k = 0; k < 3; k++)
            for (int i = 0; i < LOOKED_AT; i++) sum[k][i] += (double)bf16_to_f32(x->half[k][i]);
    }
    float *const wide[] = {x->p, x->m, x->v};
    wide_step(ops, x);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < LOOKED_AT; i++) {
            const double want = (double)wide[k][i], unit = fabs(want) / 128;
            golden_close(sum[k][i] / SEEDS, want, 5 * unit / (2 * sqrt(SEEDS)), k == 0 ? "p" : k == 1 ? "m" : "v", i);
        }
    ops_close(ops);
    free(x);
}

// The loss after so many updates with a rate whose steps bf16 cannot hold.
static double learn(int lean, double *first) {
    static const char *const folder = "tests/golden/tiny-llama";
    enum { STEPS = 80 };
    Err err = {0};
    Golden g;
    Session s;
    Optimizer o;
    int64_t tokens;
    golden_open(&g, folder, DTYPE_BF16, 1, 0);
    if (lean) {
        llm_make_half(&g.llm);
        golden_load_file(&g.llm, folder, "model.safetensors");
    }
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    OK(session_init(&s, &g.llm, sft_slots(&g.examples, 1, 1 << 12), &err));
    OK(optimizer_init(&o, &g.llm, &(OptimizerOptions){.lr = 2e-5, .clip = 1, .seed = 3}, &err));
    double loss = 0;
    for (int step = 0; step <= STEPS; step++) {
        loss = sft_update(&s, &g.examples, g.index, g.examples.n, 1 << 12, step < STEPS, &tokens) / (double)tokens;
        if (step == 0) *first = loss;
        if (step < STEPS) optimizer_update(&o);
    }
    optimizer_free(&o);
    session_free(&s);
    golden_close_all(&g);
    return loss;
}

static void learns_as_with_masters(void **state) {
    (void)state;
    if (!ops_has_bf16(NULL)) skip();
    double first[2], last[2];
    for (int lean = 0; lean < 2; lean++) last[lean] = learn(lean, &first[lean]);
    print_message("loss %.4f -> %.4f with f32 masters, %.4f -> %.4f lean\n", first[0], last[0], first[1], last[1]);
    golden_close(first[1], first[0], 1e-3 * first[0], "loss before", 0); // the weights were rounded once
    assert_true(last[0] < 0.97 * first[0]);
    golden_close(first[1] - last[1], first[0] - last[0], 0.1 * (first[0] - last[0]), "what was learnt", 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits_as_promised), cmocka_unit_test(right_in_the_mean),
                                       cmocka_unit_test(learns_as_with_masters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
