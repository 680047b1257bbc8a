// LR-GRPO against PyTorch: rewards, advantages, loss and LatentRATT's gradients, for both advantages.
#include "base/rng.h"
#include "golden.h"
#include "train/rl.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

static void check_rl(const char *folder, AdvantageScope scope, int share, int micro_rows, double beta) {
    Err err = {0};
    Golden g;
    golden_open(&g, folder, DTYPE_F32, 1, share);
    const char *section = scope == ADVANTAGE_BATCH ? "rl_batch" : "rl_group";
    const Tensor *noise = safetensors_find(&g.values, "rl.noise");
    const int n = g.examples.n, K = (int)noise->dims[1];
    const RlMethod m = {.rollout = {.samples = K, .sigma = 1},
                        .objective = {.epsilon_low = .2, .epsilon_high = .28, .beta = beta},
                        .scope = scope};
    Session s;
    OK(session_init(&s, &g.llm, 8192, &err));
    OK(llm_train(&g.llm, TRAIN_LATENT, &err));
    float *z = malloc(noise->bytes);
    tensor_to_f32(z, noise, 0, noise->count);
    size_t latent = g.llm.params.begin[PARAMS_LATENT], count = g.llm.params.total - latent;
    float *reference = malloc(count * sizeof(float)); // the policy itself: the KL and its gradient are zero
    ops_download(g.ops, reference, g.llm.w + latent, count * sizeof(float));
    double *R = malloc(sizeof(double) * (size_t)(n * K)), *A = malloc(sizeof(double) * (size_t)(n * K));
    RlFigures f = rl_examples(&s, &g.examples, g.index, n, &m, z, reference, micro_rows, R, A);
    json_t *want = json_object_get(g.json, section);
    for (int i = 0; i < n * K; i++) {
        double r = json_number_value(
            json_array_get(json_array_get(json_object_get(want, "rewards"), (size_t)(i / K)), (size_t)(i % K)));
        double a = json_number_value(
            json_array_get(json_array_get(json_object_get(want, "advantages"), (size_t)(i / K)), (size_t)(i % K)));
        golden_close(R[i], r, 1e-4 * fabs(r), "reward", i);
        golden_close(A[i], a, scope == ADVANTAGE_GROUP ? 1e-3 : 1e-4, "advantage", i);
    }
    golden_close(f.loss, golden_number(&g, section, "loss"), 1e-4, "loss", 0);
    golden_close(f.kl, 0, 1e-9, "kl", 0);
    assert_int_equal(golden_gradients(&g, section, 1e-3), 6);
    free(z), free(reference), free(R), free(A);
    session_free(&s);
    golden_close_all(&g);
}

static void gradients_match(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int scope = 0; scope < 2; scope++)
            for (int share = 0; share < 2; share++) {
                check_rl(folders[i], scope, share, 1, 0);
                check_rl(folders[i], scope, share, 500, 0);
                check_rl(folders[i], scope, share, 1 << 20, 0.1); // twice through, with a KL of zero
            }
}

// Frozen prompts run in segments of as many rows as are wanted, to the same bits. Not on a GPU, where the number of rows
// chooses among cuBLASLt's products: there the rewards' last bits differ, and more of the advantages, which divide by their
// spread.
static void prompts_in_parts(void **state) {
    (void)state;
    Err err = {0};
    Golden g;
    enum { K = 4 };
    golden_open(&g, folders[0], DTYPE_F32, 1, 1);
    const int n = g.examples.n;
    const RlMethod m = {.rollout = {.samples = K, .sigma = 1}, .scope = ADVANTAGE_GROUP};
    const size_t latent = g.llm.params.begin[PARAMS_LATENT], count = g.llm.params.total - latent,
                 noises = (size_t)(n * K * g.llm.config.D);
    float *noise = malloc(noises * sizeof *noise), *gradient[2];
    double *reward[2];
    rng_normal(noise, noises, 7, RNG_NOISE, 0);
    OK(llm_train(&g.llm, TRAIN_LATENT, &err));
    for (int i = 0; i < 2; i++) {
        Session s;
        OK(session_init(&s, &g.llm, 8192, &err));
        if (i) s.forward_rows = 1;
        gradient[i] = malloc(count * sizeof(float)), reward[i] = malloc(sizeof(double) * (size_t)(n * K));
        ops_zero(g.ops, g.llm.dw + latent, count * sizeof(float));
        rl_examples(&s, &g.examples, g.index, n, &m, noise, NULL, 1, reward[i], NULL);
        ops_download(g.ops, gradient[i], g.llm.dw + latent, count * sizeof(float));
        session_free(&s);
    }
    const int gpu = strncmp(ops_description(g.ops), "cuda", 4) == 0;
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)gradient[0][i]));
    for (int i = 0; i < n * K; i++) golden_close(reward[1][i], reward[0][i], gpu * 1e-5 * fabs(reward[0][i]), "reward", i);
    for (size_t i = 0; i < count; i++)
        golden_close((double)gradient[1][i], (double)gradient[0][i], gpu * 1e-3 * most, "gradient", (int)i);
    for (int i = 0; i < 2; i++) free(gradient[i]), free(reward[i]);
    free(noise);
    golden_close_all(&g);
}

// Relative sigma counts in the present thought's size for the policy before RL as well: the noise is the same.
static void relative_noise_is_shared(void **state) {
    (void)state;
    Err err = {0};
    Golden g;
    golden_open(&g, folders[0], DTYPE_F32, 1, 1);
    Session s;
    OK(session_init(&s, &g.llm, 8192, &err));
    OK(llm_train(&g.llm, TRAIN_LATENT, &err));
    const size_t latent = g.llm.params.begin[PARAMS_LATENT], count = g.llm.params.total - latent, D = (size_t)g.llm.config.D;
    float *reference = malloc(count * sizeof(float)), noise[4 * 64];
    assert_true(D == 64);
    ops_download(g.ops, reference, g.llm.w + latent, count * sizeof(float));
    for (size_t i = 0; i < count; i++) reference[i] *= 1.5f; // its thoughts are larger
    rng_normal(noise, 4 * D, 7, RNG_NOISE, 0);
    RlMethod m = {.rollout = {.samples = 4, .sigma = 0.3, .sigma_relative = 1}, .objective = {.beta = 0.1}};
    RlFigures relative = rl_examples(&s, &g.examples, g.index, 1, &m, noise, reference, 4096, NULL, NULL);
    m.rollout.sigma_relative = 0;
    m.rollout.sigma = 0.3 * relative.thought_norm / sqrt((double)D);
    RlFigures absolute = rl_examples(&s, &g.examples, g.index, 1, &m, noise, reference, 4096, NULL, NULL);
    assert_true(relative.kl > 1e-6);
    golden_close(relative.kl, absolute.kl, 1e-5 * absolute.kl, "kl", 0);
    golden_close(relative.loss, absolute.loss, 1e-6, "loss", 0);
    free(reference);
    session_free(&s);
    golden_close_all(&g);
}

// ---- figures --------------------------------------------------------------------------------------------------------

static double mean_of(const double *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum / n;
}

static double products(const double *x, const double *y, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - mean_of(x, n)) * (y[i] - mean_of(y, n));
    return sum;
}

// What a step logs, from its rewards and advantages.
static void figures(void **state) {
    (void)state;
    enum { K = 4, MOST = 64 };
    for (int noise = 0; noise < 2; noise++) {
        Err err = {0};
        Golden g;
        Session s;
        golden_open(&g, folders[0], DTYPE_F32, 1, 0);
        OK(session_init(&s, &g.llm, 8192, &err));
        OK(llm_train(&g.llm, TRAIN_LATENT, &err));
        const int n = g.examples.n;
        const size_t noises = (size_t)(n * K * g.llm.config.D);
        float *z = malloc(noises * sizeof(float));
        double R[MOST], A[MOST], mean[MOST], length[MOST], within = 0, between = 0;
        assert_true(n * K <= MOST);
        rng_normal(z, noises, 7, RNG_NOISE, 0);
        const RlMethod m = {.rollout = {.samples = K, .sigma = noise, .reward = REWARD_LOGPROB}};
        RlFigures f = rl_examples(&s, &g.examples, g.index, n, &m, z, NULL, 4096, R, A);
        for (int b = 0; b < n; b++) {
            mean[b] = mean_of(R + b * K, K), length[b] = g.examples.example[b].answer_len;
            within += sqrt(products(R + b * K, R + b * K, K) / (K - 1)) / n;
            between += K * pow(mean_of(A + b * K, K) - mean_of(A, n * K), 2);
        }
        golden_close(f.reward_mean, mean_of(R, n * K), 1e-9, "mean", noise);
        golden_close(f.reward_std, sqrt(products(R, R, n * K) / (n * K - 1)), 1e-9, "std", noise);
        golden_close(f.spread_within, within, 1e-9, "within", noise);
        golden_close(f.spread_between, sqrt(products(mean, mean, n) / (n - 1)), 1e-9, "between", noise);
        golden_close(f.advantage_between, between / products(A, A, n * K), 1e-9, "share between prompts", noise);
        golden_close(f.length_correlation,
                     products(mean, length, n) / sqrt(products(mean, mean, n) * products(length, length, n)), 1e-9,
                     "correlation", noise);
        golden_close(f.zero_variance, !noise, 1e-12, "groups without variance", noise);
        if (!noise) golden_close(f.advantage_between, 1, 1e-9, "all of it between prompts", 0);
        free(z);
        session_free(&s);
        golden_close_all(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_match), cmocka_unit_test(prompts_in_parts),
                                       cmocka_unit_test(relative_noise_is_shared), cmocka_unit_test(figures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
