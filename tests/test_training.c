// What must hold of a training run whatever it learns: micro-batches and threads change nothing, bf16 stays within its bars,
// noise of size zero teaches nothing, a few rows can be learnt by heart, a run stops when asked and is the same again.
#include "base/rng.h"
#include "golden.h"
#include "train/rl.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

static float *download(const Llm *m, const float *from) {
    float *x = malloc(m->params.total * sizeof(float));
    ops_download(m->ops, x, from, m->params.total * sizeof(float));
    return x;
}

// Tensor by tensor: the norm of the difference within 1e-6 of the norm, each entry within 2e-6 of the largest. (Sums over
// thousands of rows in another order: some roundings each.) `cancel`: how much larger the terms are than their sum.
static void same_gradients(const Llm *m, const float *got, const float *want, double cancel, const char *what) {
    for (int i = 0; i < m->params.n; i++) {
        const Param *p = &m->params.param[i];
        if (!m->train[p->group]) continue;
        double largest = 0, norm = 0, difference = 0;
        for (size_t j = p->offset; j < p->offset + p->count; j++) {
            double d = (double)got[j] - (double)want[j];
            largest = fmax(largest, fabs((double)want[j])), norm += (double)want[j] * (double)want[j], difference += d * d;
        }
        if (!(sqrt(difference) <= cancel * 1e-6 * sqrt(norm)))
            fail_msg("%s: %s: off by %.3g of its norm", what, p->name, sqrt(difference / norm));
        for (size_t j = p->offset; j < p->offset + p->count; j++)
            golden_close(got[j], want[j], cancel * 2e-6 * largest, p->name, (int)j);
    }
}

// ---- micro-batches --------------------------------------------------------------------------------------------------

// Micro-batches of one row, of three and of all, in sessions as small as sft_slots and rollout_slots allow.
static void sft_micro_batches(void **state) {
    (void)state;
    for (int f = 0; f < 2; f++)
        for (int thoughts = 0; thoughts <= 2; thoughts += 2) {
            Err err = {0};
            Golden g;
            golden_open(&g, folders[f], DTYPE_F32, thoughts, 0);
            OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
            int three = 0, four = 0, last = 0;
            for (int i = 0; i < g.examples.n; i++) {
                int rows = example_rows(&g.examples.example[i], thoughts);
                three += i < 3 ? rows : 0, four += i < 4 ? rows : 0, last += i < 3 ? 0 : rows;
            }
            const int micro_rows[] = {three + last, three > last ? three : last, 1};
            assert_true(g.examples.n == 6 && micro_rows[1] < four);
            float *want = NULL;
            double want_loss = 0;
            for (int way = 0; way < 3; way++) {
                Session s;
                int64_t tokens;
                OK(session_init(&s, &g.llm, sft_slots(&g.examples, thoughts, micro_rows[way]), &err));
                double loss = sft_update(&s, &g.examples, g.index, g.examples.n, micro_rows[way], 1, &tokens) / (double)tokens;
                float *got = download(&g.llm, g.llm.dw);
                llm_zero_gradients(&g.llm);
                session_free(&s);
                if (way == 0) {
                    want = got, want_loss = loss;
                    continue;
                }
                golden_close(loss, want_loss, 1e-6 * want_loss, "loss", way);
                same_gradients(&g.llm, got, want, 1, "SFT");
                free(got);
            }
            free(want);
            golden_close_all(&g);
        }
}

static void check_rl_micro_batches(const char *folder, int thoughts, ObjectiveKind objective, unsigned groups) {
    enum { K = 4 };
    Err err = {0};
    Golden g;
    golden_open(&g, folder, DTYPE_F32, thoughts, 1);
    OK(llm_train(&g.llm, groups, &err));
    int three = 0, four = 0, last = 0;
    for (int i = 0; i < g.examples.n; i++) {
        int rows = K * g.examples.example[i].answer_len;
        three += i < 3 ? rows : 0, four += i < 4 ? rows : 0, last += i < 3 ? 0 : rows;
    }
    const int n = g.examples.n, micro_rows[] = {three + last, three > last ? three : last, 1};
    assert_true(micro_rows[1] < four);
    const size_t noises = (size_t)(n * K * g.llm.config.D);
    float *z = malloc(noises * sizeof(float)), *want = NULL;
    rng_normal(z, noises, 1, 2, 0);
    const RlMethod m = {.rollout = {.samples = K, .sigma = 1.5}, .objective = {.kind = objective}};
    double reward[2][64], advantage[2][64];
    for (int way = 0; way < 3; way++) {
        const int at = way > 0;
        Session s;
        OK(session_init(&s, &g.llm, rollout_slots(&g.examples, thoughts, n, K, micro_rows[way]), &err));
        rl_examples(&s, &g.examples, g.index, n, &m, z, NULL, micro_rows[way], reward[at], advantage[at]);
        float *got = download(&g.llm, g.llm.dw);
        llm_zero_gradients(&g.llm);
        session_free(&s);
        if (way == 0) {
            want = got;
            continue;
        }
        for (int i = 0; i < n * K; i++) {
            golden_close(reward[1][i], reward[0][i], 1e-6 * fabs(reward[0][i]), "reward", i);
            golden_close(advantage[1][i], advantage[0][i], 1e-6, "advantage", i);
        }
        same_gradients(&g.llm, got, want, groups & TRAIN_BACKBONE ? 3 : 1, "RL"); // advantages of both signs
        free(got);
    }
    free(z), free(want);
    golden_close_all(&g);
}

static void rl_micro_batches(void **state) {
    (void)state;
    for (int f = 0; f < 2; f++)
        for (int thoughts = 1; thoughts <= 2; thoughts++) {
            check_rl_micro_batches(folders[f], thoughts, OBJECTIVE_TOKEN, TRAIN_LATENT);
            check_rl_micro_batches(folders[f], thoughts, OBJECTIVE_LATENT, TRAIN_LATENT);
            check_rl_micro_batches(folders[f], thoughts, (ObjectiveKind)f, TRAIN_BACKBONE | TRAIN_LATENT);
        }
}

// ---- bf16 -----------------------------------------------------------------------------------------------------------

typedef struct Angle {
    double dot, got, want, difference; // sums of squares but the first
} Angle;

static void bf16_against(const Golden *g, const char *section, double most, const char *what) {
    Angle a = {0};
    for (int i = 0; i < g->llm.params.n; i++) {
        const Param *p = &g->llm.params.param[i];
        char name[128];
        snprintf(name, sizeof name, "%s.%s", section, p->name);
        const Tensor *t = safetensors_find(&g->values, name);
        if (!t || !g->llm.train[p->group]) continue;
        float *want = malloc(p->count * sizeof(float)), *got = malloc(p->count * sizeof(float));
        tensor_to_f32(want, t, 0, p->count);
        ops_download(g->ops, got, g->llm.dw + p->offset, p->count * sizeof(float));
        for (size_t j = 0; j < p->count; j++) {
            double x = (double)got[j], y = (double)want[j];
            a.dot += x * y, a.got += x * x, a.want += y * y, a.difference += (x - y) * (x - y);
        }
        free(want), free(got);
    }
    const double cosine = a.dot / sqrt(a.got * a.want), error = sqrt(a.difference / a.want);
    print_message("bf16, %s, %s: cosine %.6f, relative error %.4f\n", g->folder, what, cosine, error);
    if (!(cosine >= 0.999)) fail_msg("%s: cosine %.6f", what, cosine);
    if (!(error <= most)) fail_msg("%s: relative error %.4f", what, error);
}

static void check_bf16(const char *folder) {
    Err err = {0};
    Golden g;
    Session s;
    golden_open(&g, folder, DTYPE_BF16, 1, 1);
    OK(session_init(&s, &g.llm, 8192, &err));
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    int64_t tokens;
    double loss = sft_update(&s, &g.examples, g.index, g.examples.n, 1 << 20, 1, &tokens) / (double)tokens,
           want = golden_number(&g, "sft", "loss");
    print_message("bf16, %s: loss %.5f, in f32 %.5f\n", folder, loss, want);
    golden_close(loss, want, 5e-3 * want, "loss", 0);
    bf16_against(&g, "sft", 2e-2, "SFT");
    OK(llm_train(&g.llm, TRAIN_LATENT, &err));
    const Tensor *noise = safetensors_find(&g.values, "rl.noise");
    float *z = malloc(noise->bytes);
    tensor_to_f32(z, noise, 0, noise->count);
    const RlMethod m = {.rollout = {.samples = (int)noise->dims[1], .sigma = 1}};
    rl_examples(&s, &g.examples, g.index, g.examples.n, &m, z, NULL, 1 << 20, NULL, NULL);
    // A reward is minus the exponential of about 9 here (the models are random): an error of .02 in the mean log-probability
    // is 2 % of it, and the advantages weigh the gradients. Measured .023.
    bf16_against(&g, "rl_batch", 4e-2, "RL");
    free(z);
    session_free(&s);
    golden_close_all(&g);
}

static void bf16_bars(void **state) {
    (void)state;
    if (!ops_has_bf16(NULL)) {
        print_message("this machine does not multiply bf16: skipped\n");
        skip();
    }
    for (int f = 0; f < 2; f++) check_bf16(folders[f]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sft_micro_batches), cmocka_unit_test(rl_micro_batches),
                                       cmocka_unit_test(bf16_bars)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
