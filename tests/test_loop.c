// Whole runs of both stages: the same bits again and with any number of threads, four rows learnt by heart, samples without
// noise that teach nothing, stopping when asked, when nothing improves and when gradients are no numbers.
#include "base/rng.h"
#include "golden.h"
#include "train/rl.h"

static const char *const qwen = "tests/golden/tiny-qwen2", *const llama = "tests/golden/tiny-llama";

enum { EVENTS = 256 };

typedef struct Run { // a model, a session, and what the loop told
    Golden g;
    Session s;
    atomic_int interrupt;
    int interrupt_at; // this step's event asks to stop; 0: none does
    int saves, validations, steps;
    double reward_mean[EVENTS], reward_std[EVENTS], loss[EVENTS], validation[EVENTS];
    float *kept; // weights at the last save
} Run;

static float *weights_of(const Llm *m) {
    float *w = malloc(m->params.total * sizeof(float));
    ops_download(m->ops, w, m->w, m->params.total * sizeof(float));
    return w;
}

static double field(const json_t *event, const char *name) {
    const json_t *x = json_object_get(event, name);
    return json_is_number(x) ? json_number_value(x) : NAN;
}

static void on_event(void *context, const json_t *event) {
    Run *r = context;
    assert_true(r->steps < EVENTS && r->validations < EVENTS);
    if (strcmp(json_string_value(json_object_get(event, "event")), "validation") == 0) {
        r->validation[r->validations++] = field(event, "loss");
        return;
    }
    r->loss[r->steps] = field(event, "loss");
    r->reward_mean[r->steps] = field(event, "reward_mean"), r->reward_std[r->steps] = field(event, "reward_std");
    r->steps++;
    assert_int_equal(field(event, "step"), r->steps);
    if (r->steps == r->interrupt_at) r->interrupt = 1;
}

static int on_save(void *context, Err *err) {
    Run *r = context;
    (void)err;
    free(r->kept);
    r->kept = weights_of(&r->g.llm);
    r->saves++;
    return 0;
}

// The golden rows, cut: the last 20 tokens of a prompt, the first 8 of an answer.
static void run_open(Run *r, const char *folder, int threads) {
    Err err = {0};
    memset(r, 0, sizeof *r);
    golden_open_threads(&r->g, folder, DTYPE_F32, 1, 0, threads);
    for (int i = 0; i < r->g.examples.n; i++) {
        Example *x = &r->g.examples.example[i];
        memmove((int32_t *)x->prompt, x->prompt + x->prompt_len - 20, 20 * sizeof(int32_t));
        x->prompt_len = 20, x->answer_len = 8;
    }
    OK(session_init(&r->s, &r->g.llm, 2048, &err));
}

static void run_close(Run *r) {
    free(r->kept);
    session_free(&r->s);
    golden_close_all(&r->g);
}

static LoopOptions loop_of(Run *r, int batch, int epochs) {
    return (LoopOptions){.batch = batch,
                         .micro_rows = 1 << 10,
                         .epochs = epochs,
                         .patience = 1,
                         .validations = 1,
                         .seed = 3,
                         .interrupt = &r->interrupt,
                         .event = on_event,
                         .save = on_save,
                         .context = r};
}

static OptimizerOptions adam(double lr, Schedule schedule) {
    return (OptimizerOptions){.lr = lr, .clip = 1, .schedule = schedule, .warmup = 2};
}

static RlMethod rl_method(double sigma) {
    return (RlMethod){.rollout = {.samples = 4, .sigma = sigma}, .objective = {.epsilon_low = 0.2, .epsilon_high = 0.28}};
}

// ---- the same run ---------------------------------------------------------------------------------------------------

// Two epochs of batches of 4 and 2 of the 6 rows; weights at the end.
static float *sft_weights(int threads) {
    Err err = {0};
    Run r;
    LoopReport report;
    run_open(&r, qwen, threads);
    const SftOptions o = {loop_of(&r, 4, 2), adam(1e-3, SCHEDULE_LINEAR), TRAIN_BACKBONE | TRAIN_LATENT};
    OK(sft_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err));
    assert_int_equal(report.steps, 4);
    assert_int_equal(report.examples, 12);
    float *w = weights_of(&r.g.llm);
    run_close(&r);
    return w;
}

static float *rl_weights(int threads, int micro_rows, RlMethod method, unsigned groups, Run *told) {
    Err err = {0};
    Run r;
    LoopReport report;
    run_open(&r, llama, threads);
    RlOptions o = {loop_of(&r, 4, 2), adam(1e-3, SCHEDULE_COSINE), method, groups};
    o.loop.micro_rows = micro_rows;
    OK(rl_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err));
    assert_int_equal(report.steps, 4);
    float *w = weights_of(&r.g.llm);
    run_close(&r);
    if (told) *told = r;
    return w;
}

static void same_bits(void **state) {
    (void)state;
    Golden g;
    golden_open(&g, qwen, DTYPE_F32, 1, 0);
    const size_t sft_bytes = g.llm.params.total * sizeof(float);
    float *start = weights_of(&g.llm);
    golden_close_all(&g);
    golden_open(&g, llama, DTYPE_F32, 1, 0);
    const size_t rl_bytes = g.llm.params.total * sizeof(float);
    golden_close_all(&g);
    float *sft = sft_weights(2);
    assert_true(memcmp(start, sft, sft_bytes) != 0);
    const int threads[] = {2, 1, 3};
    for (int i = 0; i < 3; i++) {
        float *again = sft_weights(threads[i]);
        if (memcmp(sft, again, sft_bytes) != 0) fail_msg("SFT: other bits with %d threads", threads[i]);
        free(again);
    }
    free(start), free(sft);
    for (int way = 0; way < 3; way++) { // LatentRATT; with inner updates; the whole model, by the latent objective
        RlMethod m = rl_method(1.5);
        m.objective.beta = 0.1, m.inner = 1 + way, m.objective.kind = way == 2 ? OBJECTIVE_LATENT : OBJECTIVE_TOKEN;
        const unsigned groups = TRAIN_LATENT | (way == 2 ? TRAIN_BACKBONE : 0u);
        float *rl = rl_weights(2, 40, m, groups, NULL);
        for (int i = 0; i < 3; i++) {
            float *again = rl_weights(threads[i], 40, m, groups, NULL);
            if (memcmp(rl, again, rl_bytes) != 0) fail_msg("RL, %d: other bits with %d threads", way, threads[i]);
            free(again);
        }
        free(rl);
    }
}

// Noise belongs to the step and the place in the update, so the rewards do not depend on the micro-batches.
static void noise_is_the_same(void **state) {
    (void)state;
    Run one, all;
    float *w1 = rl_weights(2, 1, rl_method(1.5), TRAIN_LATENT, &one),
          *w2 = rl_weights(2, 1 << 10, rl_method(1.5), TRAIN_LATENT, &all);
    for (int step = 0; step < 4; step++) {
        golden_close(one.reward_mean[step], all.reward_mean[step], 1e-5 * fabs(all.reward_mean[step]), "reward", step);
        golden_close(one.reward_std[step], all.reward_std[step], 1e-5 * all.reward_std[step], "spread", step);
        assert_true(all.reward_std[step] > 1);
    }
    free(w1), free(w2);
}

// One row again and again, nothing learnt: only the noise can make a difference, and each step and seed has its own.
static void noise_by_step_and_seed(void **state) {
    (void)state;
    double spread[3][3];
    for (int run = 0; run < 3; run++) {
        Err err = {0};
        Run r;
        LoopReport report;
        run_open(&r, llama, 2);
        RlOptions o = {loop_of(&r, 1, 3), adam(0, SCHEDULE_CONSTANT), rl_method(1.5), TRAIN_LATENT};
        o.loop.seed = run == 2 ? 4 : 3;
        Examples row = r.g.examples;
        row.n = 1;
        OK(rl_train(&r.s, &row, &row, &o, &report, &err));
        assert_int_equal(r.steps, 3);
        memcpy(spread[run], r.reward_std, sizeof spread[run]);
        run_close(&r);
    }
    for (int step = 0; step < 3; step++) {
        assert_true(spread[0][step] == spread[1][step]);
        assert_true(fabs(spread[0][step] - spread[2][step]) > 1e-3);
        assert_true(fabs(spread[0][step] - spread[0][(step + 1) % 3]) > 1e-3);
    }
}

// An update that was refused has used up its noise: nothing learnt, and yet no two updates draw the same.
static void noise_behind_a_refusal(void **state) {
    (void)state;
    Err err = {0};
    Run r;
    LoopReport report;
    run_open(&r, llama, 2);
    RlOptions o = {loop_of(&r, 1, 90), adam(0, SCHEDULE_CONSTANT), rl_method(1.5), TRAIN_LATENT};
    o.optimizer.spike = 1;
    Examples row = r.g.examples;
    row.n = 1;
    rl_train(&r.s, &row, &row, &o, &report, &err); // to its end, or until three in a row are refused
    assert_true(report.refused > 0);
    for (int i = 0; i < r.steps; i++)
        for (int j = 0; j < i; j++) assert_true(r.reward_std[i] != r.reward_std[j]);
    run_close(&r);
}

// ---- what teaches nothing -------------------------------------------------------------------------------------------

static void constant_rewards(void **state) {
    (void)state;
    double reward[24], advantage[24];
    RlMethod m = rl_method(1);
    for (int scope = 0; scope < 2; scope++)
        for (int window = 0; window < 3; window++) {
            m.scope = scope, m.window = window;
            for (int i = 0; i < 24; i++) reward[i] = -1234.5678;
            advantage_of(m.scope, m.window, reward, 6, m.rollout.samples, advantage);
            for (int i = 0; i < 24; i++) golden_close(advantage[i], 0, 1e-6, "advantage of a constant", i);
        }
}

// Samples without noise are the same sample: with each prompt for its own baseline every advantage and the gradient are zero,
// and the update leaves every bit of the weights.
static void no_noise(void **state) {
    (void)state;
    for (int scope = 0; scope < 2; scope++)
        for (int micro = 0; micro < 2; micro++) {
            Err err = {0};
            Run r;
            Optimizer o;
            run_open(&r, scope ? llama : qwen, 2);
            OK(llm_train(&r.g.llm, TRAIN_LATENT, &err));
            const OptimizerOptions options = {.lr = 1e-2, .clip = 1, .steps = 9};
            OK(optimizer_init(&o, &r.g.llm, &options, &err));
            RlMethod m = rl_method(0);
            m.scope = scope ? ADVANTAGE_GROUP : ADVANTAGE_BATCH, m.window = 1;
            const int n = r.g.examples.n;
            const size_t noises = (size_t)(n * m.rollout.samples * r.g.llm.config.D),
                         bytes = r.g.llm.params.total * sizeof(float);
            float *z = malloc(noises * sizeof(float)), *before = weights_of(&r.g.llm);
            rng_normal(z, noises, 4, 4, 0);
            double advantage[64];
            rl_examples(&r.s, &r.g.examples, r.g.index, n, &m, z, NULL, micro ? 1 << 10 : 1, NULL, advantage);
            for (int i = 0; i < n * m.rollout.samples; i++) golden_close(advantage[i], 0, 0, "advantage without noise", i);
            OptimizerStep s = optimizer_update(&o);
            golden_close(s.norm, 0, 0, "gradient norm", micro);
            float *after = weights_of(&r.g.llm);
            assert_true(!s.refused && s.rate > 0);
            assert_int_equal(memcmp(before, after, bytes), 0);
            free(z), free(before), free(after);
            optimizer_free(&o);
            run_close(&r);
        }
}

// ---- learning -------------------------------------------------------------------------------------------------------

static void by_heart(void **state) {
    (void)state;
    Err err = {0};
    Run r;
    LoopReport report;
    run_open(&r, qwen, 2);
    Examples four = r.g.examples;
    four.n = 4;
    SftOptions o = {loop_of(&r, 4, 100), adam(3e-3, SCHEDULE_CONSTANT), TRAIN_BACKBONE | TRAIN_LATENT};
    OK(sft_train(&r.s, &four, &four, &o, &report, &err));
    assert_int_equal(report.steps, 100);
    if (!(report.first_loss > 5 && report.best_loss < 0.05)) fail_msg("from %g to %g", report.first_loss, report.best_loss);
    golden_close(sft_measure(&r.s, &four, 100, NULL, NULL), r.validation[r.validations - 1], 1e-5, "loss", 0);
    run_close(&r);
}

// ---- stopping -------------------------------------------------------------------------------------------------------

static void stops_when_asked(void **state) {
    (void)state;
    for (int stage = 0; stage < 2; stage++) {
        Err err = {0};
        Run r;
        LoopReport report;
        run_open(&r, llama, 2);
        r.interrupt_at = 2;
        float *before = weights_of(&r.g.llm);
        const size_t bytes = r.g.llm.params.total * sizeof(float);
        if (stage == 0) {
            const SftOptions o = {loop_of(&r, 2, 5), adam(1e-3, SCHEDULE_CONSTANT), TRAIN_BACKBONE | TRAIN_LATENT};
            OK(sft_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err));
        } else {
            const RlOptions o = {loop_of(&r, 2, 5), adam(1e-3, SCHEDULE_CONSTANT), rl_method(1.5), TRAIN_LATENT};
            OK(rl_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err));
        }
        assert_int_equal(report.interrupted, 1);
        assert_int_equal(report.steps, 2);
        assert_int_equal(r.saves, 1);
        float *after = weights_of(&r.g.llm);
        assert_true(memcmp(before, after, bytes) != 0);
        // SFT leaves what two steps made of it; RL had kept the model as it came, which is still the best it measured.
        assert_int_equal(memcmp(r.kept, stage == 0 ? after : before, bytes), 0);
        free(before), free(after);
        run_close(&r);
    }
}

static void stops_when_nothing_improves(void **state) {
    (void)state;
    Err err = {0};
    Run r;
    LoopReport report;
    run_open(&r, llama, 2);
    SftOptions o = {loop_of(&r, 6, 9), adam(0, SCHEDULE_CONSTANT), TRAIN_BACKBONE | TRAIN_LATENT}; // nothing is learnt
    o.loop.early_stop = 1, o.loop.patience = 2;
    OK(sft_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err));
    assert_int_equal(report.steps, 3); // the first is kept, two more do not better it
    assert_int_equal(report.best_step, 1);
    assert_int_equal(r.saves, 1);
    assert_int_equal(report.interrupted, 0);
    run_close(&r);
}

// Six steps an epoch, validations spread over them; no step has two.
static void validates_within_epochs(void **state) {
    (void)state;
    static const struct { int asked, made; } cases[] = {{1, 1 + 2}, {2, 1 + 4}, {4, 1 + 8}, {6, 1 + 12}, {100, 1 + 12}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Err err = {0};
        Run r;
        LoopReport report;
        run_open(&r, llama, 1);
        SftOptions o = {loop_of(&r, 1, 2), adam(1e-3, SCHEDULE_CONSTANT), TRAIN_LATENT};
        o.loop.validations = cases[i].asked;
        OK(sft_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err));
        assert_int_equal(report.steps, 12);
        assert_int_equal(r.validations, cases[i].made);
        run_close(&r);
    }
}

// The model kept is the one with the least validation loss, the untouched one among them in RL.
static void keeps_the_best(void **state) {
    (void)state;
    Err err = {0};
    Run r;
    LoopReport report;
    run_open(&r, llama, 2);
    SftOptions o = {loop_of(&r, 6, 6), adam(3e-2, SCHEDULE_CONSTANT), TRAIN_BACKBONE | TRAIN_LATENT};
    Examples train = r.g.examples, valid = r.g.examples; // validation on another row: it gets worse after a while
    train.n = 5;
    valid.n = 1, valid.example = r.g.examples.example + 5;
    OK(sft_train(&r.s, &train, &valid, &o, &report, &err));
    int best = 1;
    for (int i = 1; i < r.validations; i++)
        if (r.validation[i] < r.validation[best]) best = i;
    assert_int_equal(r.validations, 7);
    assert_int_equal(report.best_step, best); // one step an epoch, one validation a step
    golden_close(report.best_loss, r.validation[best], 1e-12, "best loss", best);
    ops_upload(r.g.ops, r.g.llm.w, r.kept, r.g.llm.params.total * sizeof(float));
    llm_changed(&r.g.llm, PARAMS_BACKBONE), llm_changed(&r.g.llm, PARAMS_LATENT);
    golden_close(sft_measure(&r.s, &valid, 100, NULL, NULL), report.best_loss, 1e-6, "loss of the model kept", best);
    run_close(&r);

    run_open(&r, llama, 2);
    RlOptions rl = {loop_of(&r, 6, 1), adam(10, SCHEDULE_CONSTANT), rl_method(1.5), TRAIN_LATENT}; // a rate that ruins it
    rl.optimizer.warmup = 0;
    OK(rl_train(&r.s, &r.g.examples, &r.g.examples, &rl, &report, &err));
    assert_true(r.validation[1] > r.validation[0]);
    assert_int_equal(report.best_step, 0);
    assert_int_equal(r.saves, 1);
    golden_close(report.best_loss, report.first_loss, 0, "loss", 0);
    const size_t bytes = r.g.llm.params.total * sizeof(float);
    float *untouched = mem_alloc(1, bytes);
    memcpy(untouched, r.kept, bytes);
    run_close(&r);

    run_open(&r, llama, 2); // the same, and what it made is kept
    rl.loop = loop_of(&r, 6, 1);
    rl.loop.keep_last = 1;
    OK(rl_train(&r.s, &r.g.examples, &r.g.examples, &rl, &report, &err));
    assert_true(r.validation[1] > r.validation[0]);
    assert_int_equal(report.best_step, report.steps);
    assert_int_equal(r.saves, 2); // the model as it came, and the last
    golden_close(report.best_loss, r.validation[1], 0, "loss", 1);
    assert_memory_not_equal(r.kept, untouched, bytes);
    free(untouched);
    run_close(&r);
}

// A weight that is no number: every update is refused, the third one ends the run; the weights are as they were.
static void stops_without_numbers(void **state) {
    (void)state;
    for (int stage = 0; stage < 2; stage++) {
        Err err = {0};
        Run r;
        LoopReport report;
        run_open(&r, llama, 2);
        const Param *p = params_find(&r.g.llm.params, stage ? "attention.value.bias" : "model.layers.1.mlp.down_proj.weight");
        const float nan = NAN;
        ops_upload(r.g.ops, r.g.llm.w + p->offset + 5, &nan, sizeof nan);
        llm_changed(&r.g.llm, p->group);
        float *before = weights_of(&r.g.llm);
        int status;
        if (stage == 0) {
            const SftOptions o = {loop_of(&r, 6, 9), adam(1e-3, SCHEDULE_CONSTANT), TRAIN_BACKBONE | TRAIN_LATENT};
            status = sft_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err);
        } else {
            const RlOptions o = {loop_of(&r, 6, 9), adam(1e-3, SCHEDULE_CONSTANT), rl_method(1.5), TRAIN_LATENT};
            status = rl_train(&r.s, &r.g.examples, &r.g.examples, &o, &report, &err);
        }
        assert_int_equal(status, -1);
        assert_int_equal(err.code, ERR_DATA);
        assert_int_equal(report.refused, 3);
        assert_int_equal(report.steps, 3);
        float *after = weights_of(&r.g.llm);
        assert_int_equal(memcmp(before, after, r.g.llm.params.total * sizeof(float)), 0);
        for (int i = 0; i < r.validations; i++) assert_true(isnan(r.validation[i]));
        free(before), free(after);
        run_close(&r);
    }
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(noise_is_the_same),
        cmocka_unit_test(noise_by_step_and_seed),
        cmocka_unit_test(noise_behind_a_refusal),
        cmocka_unit_test(constant_rewards),
        cmocka_unit_test(no_noise),
        cmocka_unit_test(by_heart),
        cmocka_unit_test(stops_when_asked),
        cmocka_unit_test(validates_within_epochs),
        cmocka_unit_test(keeps_the_best),
        cmocka_unit_test(stops_when_nothing_improves),
        cmocka_unit_test(stops_without_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
