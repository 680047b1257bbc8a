// AdamW over many steps against double precision, the schedules against transformers' values, and refused updates.
#include "base/rng.h"
#include "golden.h"
#include "ref_ops.h"
#include "train/optimizer.h"

static const char *const folder = "tests/golden/tiny-llama";

// A thousand steps on the same gradients. The weights lie between -3 and 3 and each step rounds them once more: the norm of
// the error grows like the square root of the steps, to about 1e-6 of the norm.
static void adamw_for_long(void **state) {
    (void)state;
    enum { N = 300, STEPS = 1000 };
    Err err = {0};
    Ops *ops;
    OK(ops_open(&ops, NULL, 2, DTYPE_F32, &err));
    float p[N], m[N], v[N], g[N], *device = ops_reserve(ops, 4 * sizeof p, &err); // p, m, v, g
    assert_non_null(device);
    double p64[N], m64[N] = {0}, v64[N] = {0}, g64[N];
    rng_normal(p, N, 5, 1, 0);
    for (int i = 0; i < N; i++) p64[i] = (double)p[i];
    ops_upload(ops, device, p, sizeof p);
    ops_zero(ops, device + N, sizeof m + sizeof v);
    for (int step = 1; step <= STEPS; step++) {
        rng_normal(g, N, 5, 2, (uint64_t)step * N);
        for (int i = 0; i < N; i++) { // sizes from 1e-6 to 1, some with a drift, some seldom there
            g[i] = (float)pow(10, -6.0 * i / N) * (g[i] + (float)(i % 3)) * (i % 5 == 0 && step % 50 ? 0 : 1);
            g64[i] = (double)g[i];
        }
        ops_upload(ops, device + 3 * N, g, sizeof g);
        op_adamw(ops, device, device + N, device + 2 * N, device + 3 * N, N, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, step, 0.5f);
        ref_adamw(p64, m64, v64, g64, N, 1e-3, 0.9, 0.999, 1e-8, 0.01, step, 0.5);
    }
    ops_download(ops, p, device, sizeof p);
    ops_download(ops, m, device + N, sizeof m);
    ops_download(ops, v, device + 2 * N, sizeof v);
    ops_release(ops, device, 4 * sizeof p);
    double difference = 0, norm = 0;
    for (int i = 0; i < N; i++) {
        difference += ((double)p[i] - p64[i]) * ((double)p[i] - p64[i]), norm += p64[i] * p64[i];
        golden_close(p[i], p64[i], 1e-5, "p", i);
        golden_close(m[i], m64[i], 1e-5 * fabs(m64[i]) + 1e-7 * sqrt(v64[i]), "m", i);
        golden_close(v[i], v64[i], 3e-5 * v64[i], "v", i); // 0.999 is no float: 1 - 0.999f is 1.3e-5 off, as is c2
    }
    golden_close(sqrt(difference / norm), 0, 1e-6, "relative error of the weights", STEPS);
    ops_close(ops);
}

// transformers 4.57: get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup with 20 of 100 steps, rate 3e-4.
static void schedules(void **state) {
    (void)state;
    static const struct {
        int64_t step;
        double linear, cosine;
    } want[] = {{0, 0, 0},
                {1, 1.5e-5, 1.5e-5},
                {10, 1.5e-4, 1.5e-4},
                {19, 2.85e-4, 2.85e-4},
                {20, 3e-4, 3e-4},
                {21, 0.00029624999999999996, 0.00029988435543610843},
                {37, 0.00023624999999999997, 0.0002677975396321117},
                {60, 1.5e-4, 1.5e-4},
                {83, 6.374999999999999e-05, 3.220246036788829e-05},
                {99, 3.7499999999999997e-06, 1.1564456389156485e-07},
                {100, 0, 0}};
    OptimizerOptions o = {.lr = 3e-4, .warmup = 20, .steps = 100};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        o.schedule = SCHEDULE_LINEAR;
        golden_close(optimizer_rate(&o, want[i].step), want[i].linear, 1e-18, "linear", (int)want[i].step);
        o.schedule = SCHEDULE_COSINE;
        golden_close(optimizer_rate(&o, want[i].step), want[i].cosine, 1e-18, "cosine", (int)want[i].step);
        o.schedule = SCHEDULE_CONSTANT;
        golden_close(optimizer_rate(&o, want[i].step), want[i].step < 20 ? want[i].linear : 3e-4, 1e-18, "constant",
                     (int)want[i].step);
    }
    o = (OptimizerOptions){.lr = 1, .schedule = SCHEDULE_LINEAR, .steps = 4}; // no warm-up: the first step has the whole rate
    golden_close(optimizer_rate(&o, 0), 1, 0, "no warm-up", 0);
    golden_close(optimizer_rate(&o, 3), 0.25, 0, "no warm-up", 3);
    o.warmup = 10; // warm-up alone
    golden_close(optimizer_rate(&o, 3), 0.3, 1e-15, "all warm-up", 3);
}

static float *weights_now(const Llm *m) {
    float *w = malloc(m->params.total * sizeof(float));
    ops_download(m->ops, w, m->w, m->params.total * sizeof(float));
    return w;
}

static void put(const Llm *m, float *at, float value) {
    ops_upload(m->ops, at, &value, sizeof value);
}

static void gradients_fill(const Llm *m, size_t from, size_t to, float scale) {
    float *g = malloc((to - from) * sizeof(float));
    rng_normal(g, to - from, 8, 1, from);
    for (size_t i = 0; i < to - from; i++) g[i] *= scale;
    ops_upload(m->ops, m->dw + from, g, (to - from) * sizeof(float));
    free(g);
}

// A rate of LatentRATT's own: the backbone goes as with the one rate, LatentRATT as with the other.
static void two_rates(void **state) {
    (void)state;
    const double rate[3][2] = {{1e-2, 0}, {3e-3, 0}, {1e-2, 3e-3}}; // lr, latent_lr
    float *after[3];
    size_t latent = 0, total = 0;
    for (int way = 0; way < 3; way++) {
        Err err = {0};
        Golden g;
        Optimizer o;
        const OptimizerOptions options = {
            .lr = rate[way][0], .latent_lr = rate[way][1], .schedule = SCHEDULE_LINEAR, .warmup = 1, .steps = 9};
        golden_open(&g, folder, DTYPE_F32, 1, 0);
        OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
        OK(optimizer_init(&o, &g.llm, &options, &err));
        latent = g.llm.params.begin[PARAMS_LATENT], total = g.llm.params.total;
        for (int step = 0; step < 3; step++) {
            gradients_fill(&g.llm, 0, total, 1);
            optimizer_update(&o);
        }
        after[way] = weights_now(&g.llm);
        optimizer_free(&o);
        golden_close_all(&g);
    }
    assert_memory_equal(after[2], after[0], latent * sizeof(float));
    for (size_t i = latent; i < total; i++) golden_close(after[2][i], after[1][i], 1e-7, "LatentRATT", (int)i);
    assert_true(memcmp(after[0] + latent, after[1] + latent, (total - latent) * sizeof(float)) != 0);
    for (int way = 0; way < 3; way++) free(after[way]);
}

// A gradient that is not finite changes nothing; the next update is as if it had not been.
static void refused_updates(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    Err err = {0};
    Golden g, clean;
    Optimizer o, other;
    const OptimizerOptions options = {.lr = 1e-2, .clip = 1, .steps = 10};
    golden_open(&g, folder, DTYPE_F32, 1, 0), golden_open(&clean, folder, DTYPE_F32, 1, 0);
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    OK(llm_train(&clean.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    OK(optimizer_init(&o, &g.llm, &options, &err));
    OK(optimizer_init(&other, &clean.llm, &options, &err));
    const size_t total = g.llm.params.total, bytes = total * sizeof(float);
    for (int round = 0; round < 3; round++) {
        float *before = weights_now(&g.llm);
        const uint64_t version = g.llm.version[PARAMS_BACKBONE];
        gradients_fill(&g.llm, 0, total, 1);
        put(&g.llm, g.llm.dw + (round == 0 ? 0 : round == 1 ? total / 2 : g.llm.params.begin[PARAMS_LATENT]), bad[round]);
        OptimizerStep s = optimizer_update(&o);
        float *after = weights_now(&g.llm);
        assert_true(s.refused && !isfinite(s.norm));
        assert_int_equal(o.step, round);
        assert_int_equal(memcmp(before, after, bytes), 0);
        assert_true(g.llm.version[PARAMS_BACKBONE] == version);
        assert_true(op_sum_squares(g.ops, g.llm.dw, total) == 0); // zeroed all the same
        free(before), free(after);
        gradients_fill(&g.llm, 0, total, 1), gradients_fill(&clean.llm, 0, total, 1);
        s = optimizer_update(&o);
        assert_true(!s.refused && s.norm > 1);
        optimizer_update(&other);
        float *refused = weights_now(&g.llm), *never = weights_now(&clean.llm);
        assert_int_equal(memcmp(refused, never, bytes), 0);
        free(refused), free(never);
    }
    optimizer_free(&o), optimizer_free(&other);
    golden_close_all(&g), golden_close_all(&clean);
}

// Only the groups that train move, and clipping is by the norm of all of them.
static void groups_and_clipping(void **state) {
    (void)state;
    for (int which = 1; which <= 3; which++) { // 1: backbone, 2: latent, 3: both
        Err err = {0};
        Golden g;
        Optimizer o;
        const OptimizerOptions options = {.lr = 1e-2, .clip = 0.5, .steps = 10};
        golden_open(&g, folder, DTYPE_F32, 1, 0);
        OK(llm_train(&g.llm, (unsigned)which, &err));
        OK(optimizer_init(&o, &g.llm, &options, &err));
        const size_t latent = g.llm.params.begin[PARAMS_LATENT], total = g.llm.params.total, from = which == 2 ? latent : 0,
                     to = which == 1 ? latent : total;
        float *before = weights_now(&g.llm);
        gradients_fill(&g.llm, from, to, 1e-2f);
        const double norm = sqrt(op_sum_squares(g.ops, g.llm.dw + from, to - from));
        double *w = calloc(to - from, 8), *m = calloc(to - from, 8), *v = calloc(to - from, 8), *d = calloc(to - from, 8);
        float *gradient = malloc((to - from) * sizeof(float));
        ops_download(g.ops, gradient, g.llm.dw + from, (to - from) * sizeof(float));
        for (size_t i = 0; i < to - from; i++) w[i] = (double)before[from + i], d[i] = (double)gradient[i];
        OptimizerStep s = optimizer_update(&o);
        golden_close(s.norm, norm, 1e-12 * norm, "norm", which);
        ref_adamw(w, m, v, d, to - from, 1e-2, 0.9, 0.999, 1e-8, 0, 1, 0.5 / (norm + 1e-6));
        float *after = weights_now(&g.llm);
        for (size_t i = 0; i < total; i++) {
            if (i >= from && i < to)
                golden_close(after[i], w[i - from], 1e-6, "weight", (int)i);
            else
                assert_true(after[i] == before[i]);
        }
        free(before), free(after), free(w), free(m), free(v), free(d), free(gradient);
        optimizer_free(&o);
        golden_close_all(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(adamw_for_long), cmocka_unit_test(schedules),
                                       cmocka_unit_test(two_rates), cmocka_unit_test(refused_updates),
                                       cmocka_unit_test(groups_and_clipping)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
