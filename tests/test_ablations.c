// Ten AdamW steps of the ways of training that are not the published ones, against PyTorch's (tools/make_ablations.py): inner
// updates with ratios that move, the latent objective, adapters in RL, SFT of LatentRATT alone.
#include "golden.h"
#include "train/rl.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

typedef struct Bench {
    Golden g;
    json_t *json;
    Safetensors values;
    Session s;
    Optimizer optimizer;
    float *before; // (params.total)
} Bench;

static double number(const Bench *b, const char *key) {
    return json_number_value(json_object_get(b->json, key));
}

static double told(const Bench *b, const char *way, const char *key, int i) {
    const json_t *x = json_array_get(json_object_get(json_object_get(b->json, way), key), (size_t)i);
    if (!json_is_number(x)) fail_msg("%s.%s[%d] is not in ablations.json", way, key, i);
    return json_number_value(x);
}

// The adapters' A as PyTorch began.
static void load_adapters(Bench *b) {
    for (int i = 0; i < b->values.n; i++) {
        const Tensor *t = &b->values.tensor[i];
        if (strncmp(t->name, "init.", 5)) continue;
        const Param *p = params_find(&b->g.llm.params, t->name + 5);
        float *host = malloc(p->count * sizeof(float));
        tensor_to_f32(host, t, 0, p->count);
        ops_upload(b->g.ops, b->g.llm.w + p->offset, host, p->count * sizeof(float));
        free(host);
    }
    llm_changed(&b->g.llm, PARAMS_LORA);
}

static void bench_open(Bench *b, const char *folder, unsigned groups) {
    Err err = {0};
    char *json = file_join(folder, "ablations.json"), *values = file_join(folder, "ablations.safetensors");
    b->json = json_read(json, 0, &err);
    if (!b->json) fail_msg("%s", err.message);
    OK(safetensors_open(&b->values, values, &err));
    free(json), free(values);
    const int lora = groups & TRAIN_LORA;
    golden_open_lora(&b->g, folder, DTYPE_F32, 1, 0, 2, lora ? (int)number(b, "rank") : 0, lora ? number(b, "alpha") : 0);
    if (lora) load_adapters(b);
    for (int i = 0; i < b->g.examples.n; i++) { // the end of each prompt, the beginning of each answer
        Example *x = &b->g.examples.example[i];
        const int keep = (int)number(b, "prompt"), answer = (int)number(b, "answer");
        memmove((int32_t *)x->prompt, x->prompt + x->prompt_len - keep, (size_t)keep * sizeof(int32_t));
        x->prompt_len = keep;
        if (x->answer_len > answer) x->answer_len = answer;
    }
    OK(session_init(&b->s, &b->g.llm, 2048, &err));
    OK(llm_train(&b->g.llm, groups, &err));
    const OptimizerOptions o = {.lr = number(b, "lr"),
                                .clip = number(b, "clip"),
                                .schedule = SCHEDULE_COSINE,
                                .warmup = (int64_t)number(b, "warmup"),
                                .steps = (int64_t)number(b, "steps")};
    OK(optimizer_init(&b->optimizer, &b->g.llm, &o, &err));
    b->before = malloc(b->g.llm.params.total * sizeof(float));
    ops_download(b->g.ops, b->before, b->g.llm.w, b->g.llm.params.total * sizeof(float));
}

static void bench_close(Bench *b) {
    free(b->before);
    optimizer_free(&b->optimizer);
    session_free(&b->s);
    safetensors_close(&b->values);
    json_decref(b->json);
    golden_close_all(&b->g);
}

// What the steps changed, within 1e-2 of PyTorch's by norm: Adam divides by the size of gradients, so small ones carry their
// roundings into the weights at full length. The file rounds to f16.
static void check_weights(const Bench *b, const char *way) {
    const Params *params = &b->g.llm.params;
    float *after = malloc(params->total * sizeof(float));
    ops_download(b->g.ops, after, b->g.llm.w, params->total * sizeof(float));
    for (int i = 0; i < params->n; i++) {
        const Param *p = &params->param[i];
        if (!b->g.llm.train[p->group]) {
            assert_memory_equal(after + p->offset, b->before + p->offset, p->count * sizeof(float));
            continue;
        }
        char name[128];
        snprintf(name, sizeof name, "%s.%s", way, p->name);
        const Tensor *t = safetensors_find(&b->values, name);
        if (!t) fail_msg("%s is not in ablations.safetensors", name);
        float *change = malloc(p->count * sizeof(float));
        tensor_to_f32(change, t, 0, p->count);
        double difference = 0, changes = 0;
        for (size_t j = 0; j < p->count; j++) {
            double d = (double)after[p->offset + j] - (double)b->before[p->offset + j] - (double)change[j];
            difference += d * d, changes += (double)change[j] * (double)change[j];
        }
        assert_true(changes > 0);
        golden_close(sqrt(difference / changes), 0, 1e-2, name, 0);
        free(change);
    }
    free(after);
}

static void check_rl(const char *folder, const char *way, RlMethod m, unsigned groups, int micro_rows) {
    Bench b;
    bench_open(&b, folder, groups);
    m.rollout.samples = (int)number(&b, "samples"), m.rollout.sigma = number(&b, "sigma");
    m.objective.epsilon_low = number(&b, "epsilon_low"), m.objective.epsilon_high = number(&b, "epsilon_high");
    m.inner = (int)number(&b, "inner");
    const Tensor *noise = safetensors_find(&b.values, "rl.noise");
    const int batches = (int)noise->dims[0], n = b.g.examples.n;
    const size_t each = noise->count / (size_t)batches;
    size_t count, begin = llm_train_range(&b.g.llm, &count);
    float *z = malloc(each * sizeof(float)), *reference = malloc(count * sizeof(float));
    ops_download(b.g.ops, reference, b.g.llm.w + begin, count * sizeof(float));
    Shares alone;
    shares_init(&alone, NULL, &b.g.llm, 0, 0);
    for (int batch = 0; batch < batches; batch++) {
        OptimizerStep step;
        tensor_to_f32(z, noise, (size_t)batch * each, each);
        RlFigures f = rl_update(&(Session *){&b.s}, &b.g.examples, b.g.index, n, &m, z, reference, micro_rows, &alone,
                                &b.optimizer, &step);
        const int last = (batch + 1) * m.inner - 1; // figures are those of the last inner update
        const double reward = told(&b, way, "rewards", batch), norm = told(&b, way, "norms", last);
        golden_close(f.reward_mean, reward, 1e-3 * fabs(reward), "reward", batch);
        golden_close(f.loss, told(&b, way, "losses", last), 2e-4, "loss", last);
        golden_close(step.norm, norm, 5e-3 * norm, "norm", last);
        golden_close(f.clip_fraction, told(&b, way, "clips", last), 1e-9, "clip fraction", last);
        if (batch > 0) assert_true(f.ratio_min < 1 && f.ratio_max > 1); // the first two rates of the warm-up are low
    }
    check_weights(&b, way);
    shares_free(&alone);
    free(z), free(reference);
    bench_close(&b);
}

static void inner_updates(void **state) {
    (void)state;
    const RlMethod m = {.objective = {.beta = 0.1}, .scope = ADVANTAGE_GROUP};
    for (int f = 0; f < 2; f++) check_rl(folders[f], "token", m, TRAIN_LATENT, f ? 1 << 20 : 60);
}

static void latent_objective(void **state) {
    (void)state;
    const RlMethod m = {.rollout = {.reward = REWARD_LOGPROB}, .objective = {.kind = OBJECTIVE_LATENT, .beta = 0.1}};
    for (int f = 0; f < 2; f++) check_rl(folders[f], "latent", m, TRAIN_LATENT, f ? 60 : 1 << 20);
}

static void adapters(void **state) {
    (void)state;
    for (int f = 0; f < 2; f++) check_rl(folders[f], "joint", (RlMethod){0}, TRAIN_LORA | TRAIN_LATENT, f ? 1 << 20 : 60);
}

static void more_sft(void **state) {
    (void)state;
    for (int f = 0; f < 2; f++) {
        Bench b;
        bench_open(&b, folders[f], TRAIN_LATENT);
        for (int step = 0; step < b.optimizer.options.steps; step++) {
            int64_t tokens;
            double loss = sft_update(&b.s, &b.g.examples, b.g.index, b.g.examples.n, f ? 1 << 20 : 60, 1, &tokens) /
                          (double)tokens,
                   want = told(&b, "sft", "losses", step), norm = told(&b, "sft", "norms", step);
            OptimizerStep s = optimizer_update(&b.optimizer);
            golden_close(loss, want, 1e-4 * want, "loss", step);
            golden_close(s.norm, norm, 1e-3 * norm, "norm", step);
        }
        check_weights(&b, "sft");
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(inner_updates), cmocka_unit_test(latent_objective),
                                       cmocka_unit_test(adapters), cmocka_unit_test(more_sft)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
