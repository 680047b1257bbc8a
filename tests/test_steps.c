// Ten AdamW steps of each stage against PyTorch's (tools/make_steps.py): losses, gradient norms and all trained weights.
#include "golden.h"
#include "train/rl.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

typedef struct Steps {
    Golden g;
    json_t *json;
    Safetensors values;
    Session s;
    float *before; // (params.total)
} Steps;

// name: "steps", or "lora" for a model with the adapters of tools/make_lora.py.
static void steps_open(Steps *t, const char *folder, const char *name, int share) {
    Err err = {0};
    char json[256], values[256];
    snprintf(json, sizeof json, "%s/%s.json", folder, name);
    snprintf(values, sizeof values, "%s/%s.safetensors", folder, name);
    t->json = json_read(json, 0, &err);
    if (!t->json) fail_msg("%s", err.message);
    OK(safetensors_open(&t->values, values, &err));
    golden_open_lora(&t->g, folder, DTYPE_F32, 1, share, 2, (int)json_integer_value(json_object_get(t->json, "rank")),
                     json_number_value(json_object_get(t->json, "alpha")));
    for (int i = 0; i < t->values.n; i++) {
        const Tensor *first = &t->values.tensor[i];
        if (strncmp(first->name, "init.", 5)) continue;
        const Param *p = params_find(&t->g.llm.params, first->name + 5);
        float *host = malloc(p->count * sizeof(float));
        tensor_to_f32(host, first, 0, p->count);
        ops_upload(t->g.ops, t->g.llm.w + p->offset, host, p->count * sizeof(float));
        free(host);
    }
    llm_changed(&t->g.llm, PARAMS_LORA);
    OK(session_init(&t->s, &t->g.llm, 8192, &err));
    t->before = malloc(t->g.llm.params.total * sizeof(float));
    ops_download(t->g.ops, t->before, t->g.llm.w, t->g.llm.params.total * sizeof(float));
}

static void steps_close(Steps *t) {
    free(t->before);
    session_free(&t->s);
    safetensors_close(&t->values);
    json_decref(t->json);
    golden_close_all(&t->g);
}

static double number(const Steps *t, const char *key) {
    return json_number_value(json_object_get(t->json, key));
}

static double step_value(const Steps *t, const char *stage, const char *key, int step) {
    return json_number_value(json_array_get(json_object_get(json_object_get(t->json, stage), key), (size_t)step));
}

// The weights within 1e-3 of PyTorch's, by norm and at every entry beside the largest; and what the steps changed within 5e-3
// of what they changed there, by norm (a change is a tenth of the weights or less, and much of it is the sign of a small
// gradient: Adam divides by its size).
static void check_tensor(const Steps *t, const char *stage, const Param *p) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", stage, p->name);
    const Tensor *tensor = safetensors_find(&t->values, name);
    if (!tensor) fail_msg("%s is not in steps.safetensors", name);
    assert_int_equal(tensor->count, p->count);
    float *change = malloc(p->count * sizeof(float)), *after = malloc(p->count * sizeof(float));
    const float *before = t->before + p->offset;
    tensor_to_f32(change, tensor, 0, p->count);
    ops_download(t->g.ops, after, t->g.llm.w + p->offset, p->count * sizeof(float));
    double difference = 0, weights = 0, changes = 0, largest = 0;
    for (size_t i = 0; i < p->count; i++) {
        double want = (double)before[i] + (double)change[i], d = (double)after[i] - want;
        difference += d * d, weights += want * want, changes += (double)change[i] * (double)change[i];
        largest = fmax(largest, fabs(want));
    }
    golden_close(sqrt(difference), 0, 1e-3 * sqrt(weights), name, -1);
    golden_close(sqrt(difference), 0, 5e-3 * sqrt(changes), name, -2);
    for (size_t i = 0; i < p->count; i++)
        golden_close(after[i], (double)before[i] + (double)change[i], 1e-3 * largest, name, (int)i);
    free(change), free(after);
}

static void optimizer_open(Steps *t, Optimizer *o, const char *stage, Schedule schedule) {
    Err err = {0};
    const OptimizerOptions options = {.lr = json_number_value(json_object_get(json_object_get(t->json, stage), "lr")),
                                      .clip = number(t, "clip"),
                                      .schedule = schedule,
                                      .warmup = (int64_t)number(t, "warmup"),
                                      .steps = (int64_t)number(t, "steps")};
    OK(optimizer_init(o, &t->g.llm, &options, &err));
}

// The groups that do not train keep their bits.
static void check_frozen(const Steps *t) {
    const Params *p = &t->g.llm.params;
    for (int g = 0; g < PARAM_GROUPS; g++) {
        if (t->g.llm.train[g]) continue;
        const size_t bytes = (p->begin[g + 1] - p->begin[g]) * sizeof(float);
        float *after = malloc(bytes + 1);
        ops_download(t->g.ops, after, t->g.llm.w + p->begin[g], bytes);
        assert_memory_equal(after, t->before + p->begin[g], bytes);
        free(after);
    }
}

static void check_sft(const char *folder, const char *name, unsigned groups, int share, int micro_rows) {
    Err err = {0};
    Steps t;
    Optimizer o;
    steps_open(&t, folder, name, share);
    OK(llm_train(&t.g.llm, groups, &err));
    optimizer_open(&t, &o, "sft", SCHEDULE_LINEAR);
    for (int step = 0; step < o.options.steps; step++) {
        int64_t tokens;
        double loss = sft_update(&t.s, &t.g.examples, t.g.index, t.g.examples.n, micro_rows, 1, &tokens) / (double)tokens,
               want = step_value(&t, "sft", "losses", step), norm = step_value(&t, "sft", "norms", step);
        OptimizerStep s = optimizer_update(&o);
        golden_close(loss, want, 1e-4 * want, "loss", step);
        golden_close(s.norm, norm, 1e-3 * norm, "norm", step);
    }
    for (int i = 0; i < t.g.llm.params.n; i++)
        if (t.g.llm.train[t.g.llm.params.param[i].group]) check_tensor(&t, "sft", &t.g.llm.params.param[i]);
    check_frozen(&t);
    optimizer_free(&o);
    steps_close(&t);
}

static void sft_steps(void **state) {
    (void)state;
    check_sft(folders[0], "steps", TRAIN_BACKBONE | TRAIN_LATENT, 1, 1 << 20);
    check_sft(folders[1], "steps", TRAIN_BACKBONE | TRAIN_LATENT, 0, 300);
}

static void lora_steps(void **state) {
    (void)state;
    check_sft(folders[0], "lora", TRAIN_LORA | TRAIN_LATENT, 1, 300);
    check_sft(folders[1], "lora", TRAIN_LORA | TRAIN_LATENT, 0, 1 << 20);
}

static void check_rl(const char *folder, int share, int micro_rows) {
    Err err = {0};
    Steps t;
    Optimizer o;
    steps_open(&t, folder, "steps", share);
    OK(llm_train(&t.g.llm, TRAIN_LATENT, &err));
    optimizer_open(&t, &o, "rl", SCHEDULE_COSINE);
    const Tensor *noise = safetensors_find(&t.values, "rl.noise"); // (steps, rows, samples, D)
    const RlMethod m = {.rollout = {.samples = (int)number(&t, "samples"), .sigma = number(&t, "sigma")},
                        .objective = {.epsilon_low = 0.2, .epsilon_high = 0.28},
                        .scope = ADVANTAGE_BATCH};
    const size_t each = noise->count / (size_t)o.options.steps;
    float *z = malloc(each * sizeof(float));
    Shares alone;
    shares_init(&alone, NULL, &t.g.llm, 0, 0);
    for (int step = 0; step < o.options.steps; step++) {
        tensor_to_f32(z, noise, (size_t)step * each, each);
        OptimizerStep s;
        RlFigures f =
            rl_update(&(Session *){&t.s}, &t.g.examples, t.g.index, t.g.examples.n, &m, z, NULL, micro_rows, &alone, &o, &s);
        double reward = step_value(&t, "rl", "rewards", step), norm = step_value(&t, "rl", "norms", step);
        golden_close(f.reward_mean, reward, 1e-3 * fabs(reward), "reward", step);
        golden_close(f.loss, step_value(&t, "rl", "losses", step), 1e-4, "loss", step);
        golden_close(s.norm, norm, 2e-3 * norm, "norm", step);
    }
    for (int i = 0; i < t.g.llm.params.n; i++) {
        const Param *p = &t.g.llm.params.param[i];
        if (p->group == PARAMS_LATENT) check_tensor(&t, "rl", p);
    }
    check_frozen(&t);
    free(z);
    shares_free(&alone);
    optimizer_free(&o);
    steps_close(&t);
}

static void rl_steps(void **state) {
    (void)state;
    check_rl(folders[0], 1, 500);
    check_rl(folders[1], 0, 1 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sft_steps), cmocka_unit_test(lora_steps), cmocka_unit_test(rl_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
