// Losses and gradients of both stages against the method in double precision (ref_model.h): the loss itself, and for every
// weight tensor the derivative along a random direction and at its largest entry, by central differences. A random direction
// sees any error of the gradient, at the error's full length.
#include "base/rng.h"
#include "golden.h"
#include "ref_model.h"
#include "train/rl.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

typedef struct Method {
    int thoughts, window, hidden, alone; // alone: the answer sees the thoughts and not the prompt
    float rms;                           // of the thoughts, 0: as they are made
    int layer;                           // whose states they are made of, 0: the last one's
} Method;

typedef struct Adapters {
    int rank;
    unsigned targets;
} Adapters;

enum { PROMPTS = 3, PROMPT_MOST = 16, ANSWER_MOST = 5, SAMPLES_MOST = 4, THOUGHT_MOST = 64 };

typedef struct Bench { // a tiny model, a few short rows, and the reference over the same weights
    Ops *ops;
    Llm llm;
    Session s;
    Examples examples;
    uint32_t index[PROMPTS];
    int32_t prompt[PROMPTS][PROMPT_MOST], answer[PROMPTS][ANSWER_MOST]; // the whole prompt, instruction included
    int prompt_len[PROMPTS], answer_len[PROMPTS];
    RefModel ref;
    double entry_step; // of the differences at a tensor's largest entry
} Bench;

// Rows 0 and 1 share an instruction of 4 tokens, row 2 is a root of its own; prompts of 9, 6 and 12 tokens.
static void bench_rows(Bench *b) {
    static const int prompt[PROMPTS] = {9, 6, 12}, answer[PROMPTS] = {4, 5, 1}, instruction = 4;
    const uint64_t V = (uint64_t)b->llm.config.V;
    Examples *e = &b->examples;
    *e = (Examples){.n = PROMPTS, .example = calloc(PROMPTS, sizeof(Example)), .longest = PROMPT_MOST + ANSWER_MOST};
    for (int i = 0; i < instruction; i++) ints_push(&e->common.ids, (int32_t)rng_below(3, 70, (uint64_t)i, V));
    for (int r = 0; r < PROMPTS; r++) {
        const int shared = r < 2 ? instruction : 0;
        for (int i = 0; i < prompt[r]; i++)
            b->prompt[r][i] = i < shared ? e->common.ids.data[i] : (int32_t)rng_below(3, 71 + (uint64_t)r, (uint64_t)i, V);
        for (int i = 0; i < answer[r]; i++) b->answer[r][i] = (int32_t)rng_below(3, 81 + (uint64_t)r, (uint64_t)i, V);
        b->prompt_len[r] = prompt[r], b->answer_len[r] = answer[r], b->index[r] = (uint32_t)r;
        e->example[r] = (Example){b->prompt[r] + shared, b->answer[r], prompt[r] - shared, answer[r], shared > 0, r};
    }
}

// Adapters that add about a tenth of the weights: B is not zero, or A would have no gradient.
static void bench_adapters(Bench *b) {
    const size_t begin = b->llm.params.begin[PARAMS_LORA], count = b->llm.params.total - begin;
    float *host = malloc((count + 1) * sizeof(float));
    rng_normal(host, count, 29, 1, 0);
    for (size_t i = 0; i < count; i++) host[i] *= 0.05f;
    ops_upload(b->ops, b->llm.w + begin, host, count * sizeof(float));
    llm_changed(&b->llm, PARAMS_LORA);
    free(host);
}

static void bench_open(Bench *b, const char *folder, Method method, Adapters lora) {
    Err err = {0};
    memset(b, 0, sizeof *b);
    char *path = file_join(folder, "config.json");
    json_t *json = json_read(path, 0, &err);
    ModelConfig config;
    OK(config_from_json(&config, json, path, &err));
    json_decref(json);
    free(path);
    config.thoughts = method.thoughts, config.thought_window = method.window, config.thought_hidden = method.hidden;
    config.lora_rank = lora.rank, config.lora_targets = lora.targets, config.lora_alpha = 5;
    config.answer_sees_thought = method.alone, config.thought_rms = method.rms, config.thought_layer = method.layer;
    OK(ops_open(&b->ops, NULL, 2, DTYPE_F32, &err));
    OK(llm_init(&b->llm, b->ops, &config, 64, &err));
    golden_load_file(&b->llm, folder, "model.safetensors");
    golden_load_file(&b->llm, folder, "latentratt.safetensors");
    bench_adapters(b);
    OK(session_init(&b->s, &b->llm, 512, &err));
    bench_rows(b);
    ref_model_init(&b->ref, &b->llm);
    b->entry_step = 1e-4;
}

static void bench_close(Bench *b) {
    ref_model_free(&b->ref);
    examples_free(&b->examples);
    session_free(&b->s);
    llm_free(&b->llm);
    ops_close(b->ops);
}

// ---- comparing ------------------------------------------------------------------------------------------------------

typedef double Loss(void *context);

static double along(Bench *b, Loss *loss, void *context, const Param *p, const double *direction, double step) {
    double *w = b->ref.w + p->offset, *was = malloc(p->count * sizeof(double)), above, below;
    memcpy(was, w, p->count * sizeof(double));
    for (size_t i = 0; i < p->count; i++) w[i] = was[i] + step * direction[i];
    ref_model_merge(&b->ref);
    above = loss(context);
    for (size_t i = 0; i < p->count; i++) w[i] = was[i] - step * direction[i];
    ref_model_merge(&b->ref);
    below = loss(context);
    memcpy(w, was, p->count * sizeof(double));
    ref_model_merge(&b->ref);
    free(was);
    return (above - below) / (2 * step);
}

// The model's gradient of one tensor. Errors count beside its norm: 5e-5 is some hundred roundings.
static void check_tensor(Bench *b, Loss *loss, void *context, const Param *p) {
    float *got = malloc(p->count * sizeof(float)), *random = malloc(p->count * sizeof(float));
    double *direction = malloc(p->count * sizeof(double)), norm = 0;
    size_t largest = 0;
    ops_download(b->ops, got, b->llm.dw + p->offset, p->count * sizeof(float));
    for (size_t i = 0; i < p->count; i++) {
        norm += (double)got[i] * (double)got[i];
        if (fabsf(got[i]) > fabsf(got[largest])) largest = i;
    }
    norm = sqrt(norm);
    for (int way = 0; way < 2; way++) {
        double have = 0;
        rng_normal(random, p->count, 17, 90 + (uint64_t)way, p->offset);
        for (size_t i = 0; i < p->count; i++) {
            direction[i] = way == 1 ? i == largest : (double)random[i];
            have += direction[i] * (double)got[i];
        }
        golden_close(have, along(b, loss, context, p, direction, way == 1 ? b->entry_step : 1e-6), 5e-5 * norm + 1e-8, p->name,
                     way);
    }
    free(got), free(random), free(direction);
}

static int check_tensors(Bench *b, Loss *loss, void *context) {
    int checked = 0;
    for (int i = 0; i < b->llm.params.n; i++) {
        if (!b->llm.train[b->llm.params.param[i].group]) continue;
        check_tensor(b, loss, context, &b->llm.params.param[i]);
        checked++;
    }
    return checked;
}

// ---- SFT ------------------------------------------------------------------------------------------------------------

static double sft_reference(void *context) {
    const Bench *b = context;
    double loss = 0, *x = malloc(sizeof(double) * (size_t)(PROMPT_MOST + CONFIG_THOUGHTS) * (size_t)b->llm.config.D);
    int tokens = 0;
    for (int r = 0; r < PROMPTS; r++) {
        double logprob[ANSWER_MOST];
        int T = ref_think(&b->ref, x, b->prompt[r], b->prompt_len[r]);
        ref_answer(&b->ref, logprob, x, T, b->answer[r], b->answer_len[r], NULL);
        for (int i = 0; i < b->answer_len[r]; i++, tokens++) loss -= logprob[i];
    }
    free(x);
    return loss / tokens;
}

// alone: LatentRATT trains, the rest being frozen.
static void check_sft(const char *folder, Method method, Adapters lora, int alone) {
    Err err = {0};
    Bench b;
    bench_open(&b, folder, method, lora);
    OK(llm_train(&b.llm, (alone ? 0u : lora.rank ? TRAIN_LORA : TRAIN_BACKBONE) | TRAIN_LATENT, &err));
    int64_t tokens;
    double loss = sft_update(&b.s, &b.examples, b.index, PROMPTS, 1 << 20, 1, &tokens) / (double)tokens,
           want = sft_reference(&b);
    golden_close(loss, want, 1e-6 * want, "loss", method.thoughts);
    int adapters = 0;
    for (unsigned t = lora.targets; t; t &= t - 1) adapters += 2 * b.llm.config.L;
    assert_int_equal(check_tensors(&b, sft_reference, &b), alone       ? 6
                                                           : lora.rank ? adapters + (method.thoughts ? 6 : 0)
                                                                       : b.llm.params.n);
    bench_close(&b);
}

static void sft_by_differences(void **state) {
    (void)state;
    const Method method[] = {{0, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0},    {2, 0, 0, 0, 0, 0},    {3, 0, 0, 0, 0, 0},
                             {1, 0, 1, 0, 0, 0}, {2, 0, 1, 0, 0, 0},    {1, 4, 0, 0, 0, 0},    {3, 2, 0, 0, 0, 0},
                             {8, 0, 0, 0, 0, 0}, {1, 0, 0, 1, 0, 0},    {3, 0, 0, 1, 0, 0},    {2, 0, 1, 1, 0, 0},
                             {2, 3, 0, 1, 0, 0}, {1, 0, 0, 0, 0.1f, 0}, {2, 0, 0, 1, 0.3f, 0}, {2, 0, 1, 0, 0.2f, 0},
                             {1, 0, 0, 0, 0, 1}, {2, 0, 0, 1, 0, 1},    {2, 3, 0, 0, 0.2f, 1}, {1, 0, 1, 0, 0, 1}};
    for (size_t i = 0; i < sizeof method / sizeof *method; i++)
        for (size_t f = 0; f < 2; f++)
            if (i < 2 || f == i % 2) check_sft(folders[f], method[i], (Adapters){0}, 0);
}

static void latent_sft_by_differences(void **state) {
    (void)state;
    const Method method[] = {{1, 0, 0, 0, 0, 0}, {2, 0, 0, 0, 0, 0},    {3, 4, 0, 1, 0, 0},
                             {8, 0, 0, 0, 0, 0}, {2, 0, 0, 0, 0.1f, 0}, {2, 0, 0, 0, 0, 1}};
    for (int i = 0; i < 6; i++) check_sft(folders[i % 2], method[i], (Adapters){0}, 1);
}

// Of adapters on all layers and on some, and of LatentRATT beside them: the rest has no gradient.
static void lora_by_differences(void **state) {
    (void)state;
    const Adapters lora[] = {{3, 127}, {4, 127}, {1, 1 | 4}, {2, 2 | 32}}; // all; all; q, v; k, up
    for (int i = 0; i < 4; i++) check_sft(folders[i % 2], (Method){i % 3, 0, 0, 0, 0, 0}, lora[i], 0);
}

// ---- LR-GRPO --------------------------------------------------------------------------------------------------------

typedef struct RlCase {
    Method method;
    int samples, relative, window;
    AdvantageScope scope;
    double beta;
    ObjectiveKind objective;
    int moved;       // of a second inner update: the weights have moved since the samples were drawn
    unsigned groups; // what trains; 0: LatentRATT
    int rank;        // of adapters
} RlCase;

typedef struct Sampled { // what a policy says of the samples
    double logprob[PROMPTS][SAMPLES_MOST][ANSWER_MOST];
    double thought[PROMPTS][THOUGHT_MOST];
} Sampled;

typedef struct Descent { // what the gradient of one inner update is the gradient of: everything but the policy is frozen
    Bench *b;
    const RlCase *c;
    double *noise; // (PROMPTS, K, D) as it is added
    double sigma[PROMPTS];
    Sampled old, reference;
    double advantage[PROMPTS * SAMPLES_MOST];
} Descent;

static void sampled(const Descent *s, Sampled *out) {
    const Bench *b = s->b;
    const size_t D = (size_t)b->llm.config.D, K = (size_t)s->c->samples;
    double *x = malloc(sizeof(double) * (size_t)(PROMPT_MOST + CONFIG_THOUGHTS) * D);
    for (int r = 0; r < PROMPTS; r++) {
        int T = ref_think(&b->ref, x, b->prompt[r], b->prompt_len[r]);
        memcpy(out->thought[r], x + (size_t)(T - 1) * D, D * sizeof(double));
        for (size_t k = 0; k < K && s->c->objective == OBJECTIVE_TOKEN; k++)
            ref_answer(&b->ref, out->logprob[r][k], x, T, b->answer[r], b->answer_len[r], s->noise + ((size_t)r * K + k) * D);
    }
    free(x);
}

static double clipped(double ratio, double advantage) {
    const double bounded = ratio < 0.8 ? 0.8 : ratio > 1.28 ? 1.28 : ratio;
    return ratio * advantage < bounded * advantage ? ratio * advantage : bounded * advantage;
}

// Method, section 4: the clipped surrogate and the k3 estimate of the KL, means over a prompt's K A tokens, then over prompts.
static double token_loss(const Descent *s, const Sampled *now) {
    const int K = s->c->samples;
    double loss = 0;
    for (int r = 0; r < PROMPTS; r++)
        for (int k = 0; k < K; k++)
            for (int i = 0; i < s->b->answer_len[r]; i++) {
                double lp = now->logprob[r][k][i], d = s->reference.logprob[r][k][i] - lp,
                       gain = clipped(exp(lp - s->old.logprob[r][k][i]), s->advantage[r * K + k]);
                loss += (-gain + s->c->beta * (exp(d) - d - 1)) / (PROMPTS * K * s->b->answer_len[r]);
            }
    return loss;
}

// Section 9: the same of the Gaussians' densities, a mean over the K - 1 draws, and their KL.
static double latent_loss(const Descent *s, const Sampled *now) {
    const int K = s->c->samples, D = s->b->llm.config.D;
    double loss = 0;
    for (int r = 0; r < PROMPTS; r++) {
        const double variance = s->sigma[r] * s->sigma[r];
        double kl = 0;
        for (int k = 1; k < K; k++) {
            double density = 0, before = 0;
            for (int d = 0; d < D; d++) {
                const double z = s->noise[(r * K + k) * D + d], at = s->old.thought[r][d] + z - now->thought[r][d];
                density -= at * at / (2 * variance), before -= z * z / (2 * variance);
            }
            loss -= clipped(exp(density - before), s->advantage[r * K + k]) / (PROMPTS * (K - 1));
        }
        for (int d = 0; d < D; d++) kl += pow(now->thought[r][d] - s->reference.thought[r][d], 2) / (2 * variance);
        loss += s->c->beta * kl / PROMPTS;
    }
    return loss;
}

static double descent_loss(void *context) {
    const Descent *s = context;
    Sampled now;
    sampled(s, &now);
    return s->c->objective == OBJECTIVE_TOKEN ? token_loss(s, &now) : latent_loss(s, &now);
}

// The noise as it is added to the last thought of each prompt, none for the first sample.
static void descent_noise(Descent *s, const float *unit, double sigma) {
    const int D = s->b->llm.config.D, K = s->c->samples;
    for (int r = 0; r < PROMPTS; r++) {
        double squares = 0;
        for (int d = 0; d < D; d++) squares += s->old.thought[r][d] * s->old.thought[r][d];
        s->sigma[r] = sigma * (s->c->relative ? sqrt(squares / D) : 1);
        for (int i = 0; i < K * D; i++) s->noise[r * K * D + i] = i < D ? 0 : s->sigma[r] * (double)unit[r * K * D + i];
    }
}

static void check_rewards(const Descent *s, const double *reward) {
    const int K = s->c->samples;
    double want[PROMPTS * SAMPLES_MOST], advantage[PROMPTS * SAMPLES_MOST];
    for (int r = 0; r < PROMPTS; r++)
        for (int k = 0; k < K; k++) {
            double sum = 0;
            for (int i = 0; i < s->b->answer_len[r]; i++) sum += s->old.logprob[r][k][i];
            want[r * K + k] = -exp(-sum / s->b->answer_len[r]);
            golden_close(reward[r * K + k], want[r * K + k], -1e-5 * want[r * K + k], "reward", r * K + k);
        }
    advantage_of(s->c->scope, s->c->window, want, PROMPTS, K, advantage);
    for (int i = 0; i < PROMPTS * K; i++)
        golden_close(s->advantage[i], advantage[i], 1e-4 * fmax(1, fabs(advantage[i])), "advantage", i);
}

// The trained weights of the model, and of the reference, moved by `step` times a normal number.
static void move_weights(Bench *b, double step, uint64_t stream, float *host) {
    size_t count, begin = llm_train_range(&b->llm, &count);
    rng_normal(host, count, 23, stream, 0);
    for (size_t i = 0; i < count; i++) host[i] = (float)(b->ref.w[begin + i] + step * (double)host[i]);
}

static void set_reference(Bench *b, const float *host) {
    size_t count, begin = llm_train_range(&b->llm, &count);
    for (size_t i = 0; i < count; i++) b->ref.w[begin + i] = (double)host[i];
    ref_model_merge(&b->ref);
}

// As an optimizer would: the weights on the device are others now.
static void set_model(Bench *b, const float *host) {
    size_t count, begin = llm_train_range(&b->llm, &count);
    ops_upload(b->ops, b->llm.w + begin, host, count * sizeof(float));
    for (int g = 0; g < PARAM_GROUPS; g++)
        if (b->llm.train[g]) llm_changed(&b->llm, (ParamGroup)g);
}

// The gradient of the first inner update, or of one after the weights have moved.
static Surrogate descend(Descent *s, const RlMethod *m, const float *unit, float *reference, const float *moved, int micro_rows,
                         double *reward) {
    Bench *b = s->b;
    Rollout u;
    const SessionMark mark = session_mark(&b->s);
    rollout_init(&u, &b->s, &b->examples, b->index, PROMPTS, &m->rollout, &m->objective, micro_rows);
    rollout_draw(&u, unit);
    advantage_of(m->scope, m->window, u.reward, PROMPTS, u.K, u.advantage);
    if (m->objective.beta > 0) rollout_reference(&u, reference);
    memcpy(reward, u.reward, sizeof(double) * (size_t)(PROMPTS * u.K));
    memcpy(s->advantage, u.advantage, sizeof(double) * (size_t)(PROMPTS * u.K));
    if (moved) set_model(b, moved), set_reference(b, moved), u.inner = 1;
    Surrogate sum = rollout_gradient(&u);
    session_reset(&b->s, mark);
    return sum;
}

// Returns how many terms the clip stopped.
static int64_t check_rl(const char *folder, const RlCase *c, int micro_rows) {
    Err err = {0};
    Bench b;
    bench_open(&b, folder, c->method, (Adapters){c->rank, c->rank ? 127 : 0});
    OK(llm_train(&b.llm, c->groups ? c->groups : TRAIN_LATENT, &err));
    const int K = c->samples;
    const size_t noises = (size_t)(PROMPTS * K * b.llm.config.D);
    size_t count, begin = llm_train_range(&b.llm, &count);
    Descent s = {.b = &b, .c = c, .noise = calloc(noises, sizeof(double))};
    float *unit = malloc(noises * sizeof(float)), *reference = malloc(count * sizeof(float)),
          *policy = malloc(count * sizeof(float)), *moved = malloc(count * sizeof(float));
    double reward[PROMPTS * SAMPLES_MOST];
    const RlMethod m = {
        .rollout = {.samples = K, .sigma = 1.5, .sigma_relative = c->relative},
        .objective = {.kind = c->objective, .epsilon_low = 0.2, .epsilon_high = 0.28, .beta = c->beta},
        .scope = c->scope,
        .window = c->window,
    };
    rng_normal(unit, noises, 23, 1, 0);
    ops_download(b.ops, policy, b.llm.w + begin, count * sizeof(float));
    move_weights(&b, 0.05, 2, reference); // another policy
    move_weights(&b, c->groups & TRAIN_BACKBONE ? 0.003 : 0.02, 3, moved);
    sampled(&s, &s.old);
    descent_noise(&s, unit, m.rollout.sigma);
    sampled(&s, &s.old);
    set_reference(&b, reference);
    sampled(&s, &s.reference);
    set_reference(&b, policy);

    Surrogate sum = descend(&s, &m, unit, reference, c->moved ? moved : NULL, micro_rows, reward);
    if (c->objective == OBJECTIVE_TOKEN) check_rewards(&s, reward);
    if (c->moved == (sum.ratio_min == 1 && sum.ratio_max == 1)) fail_msg("ratios from %g to %g", sum.ratio_min, sum.ratio_max);
    double loss = descent_loss(&s);
    // A ratio that moved holds the roundings of two log-probabilities of about -9: 1e-6 each.
    golden_close(objective_loss(&m.objective, &sum), loss, (c->moved ? 4e-5 : 1e-5) * fabs(loss) + 1e-6, "loss", 0);
    if (c->beta > 0 && !(sum.kl > 1e-4)) fail_msg("the reference is another policy, and the KL is %g", sum.kl);
    if (c->moved) b.entry_step = 1e-6; // or a token's ratio crosses an edge of the clip on the way
    const int tensors = check_tensors(&b, descent_loss, &s);
    assert_int_equal(tensors, c->rank ? 6 + 14 * b.llm.config.L : c->groups & TRAIN_BACKBONE ? b.llm.params.n : 6);
    free(s.noise), free(unit), free(reference), free(policy), free(moved);
    bench_close(&b);
    return sum.clipped;
}

static int64_t check_cases(const RlCase *cases, size_t n) {
    int64_t stopped = 0;
    for (size_t i = 0; i < n; i++) stopped += check_rl(folders[i % 2], &cases[i], i % 3 == 0 ? 1 : i % 3 == 1 ? 1 << 20 : 25);
    return stopped;
}

static void rl_by_differences(void **state) {
    (void)state;
    const RlCase cases[] = {
        {{1, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},   // gradients taken once, weighted afterwards
        {{1, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_GROUP, 0.5, 0, 0, 0, 0}, // twice through, for the KL
        {{2, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},   // through the answers to the first thought
        {{2, 0, 0, 0, 0, 0}, 4, 0, 2, ADVANTAGE_BATCH, 0.5, 0, 0, 0, 0},
        {{3, 0, 0, 0, 0, 0}, 2, 0, 0, ADVANTAGE_GROUP, 0.5, 0, 0, 0, 0},
        {{1, 4, 0, 0, 0, 0}, 2, 0, 1, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},
        {{2, 3, 0, 0, 0, 0}, 2, 1, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},
        {{8, 0, 0, 0, 0, 0}, 2, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},
        {{1, 0, 0, 1, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0}, // the answer sees the thoughts alone
        {{3, 0, 0, 1, 0, 0}, 2, 0, 0, ADVANTAGE_GROUP_MEAN, 0.5, 0, 0, 0, 0},
        {{4, 0, 0, 0, 0, 0}, 2, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},
        {{5, 0, 0, 0, 0, 0}, 2, 0, 0, ADVANTAGE_GROUP, 0, 0, 0, 0, 0},
        {{6, 0, 0, 0, 0, 0}, 2, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},
        {{7, 0, 0, 0, 0, 0}, 2, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},
        {{1, 0, 0, 0, 0.1f, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0}, // thoughts of one size
        {{2, 0, 0, 1, 0.3f, 0}, 2, 0, 0, ADVANTAGE_GROUP, 0.5, 0, 0, 0, 0},
        {{1, 0, 0, 0, 0, 1}, 3, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0}, // made of the first layer's states
        {{2, 0, 0, 0, 0, 1}, 2, 0, 0, ADVANTAGE_BATCH, 0, 0, 0, 0, 0},
    };
    check_cases(cases, sizeof cases / sizeof *cases);
}

// Inner updates after the first: the ratio has moved and the clip stops some tokens.
static void inner_by_differences(void **state) {
    (void)state;
    const RlCase cases[] = {
        {{1, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, OBJECTIVE_TOKEN, 1, 0, 0},
        {{1, 0, 0, 0, 0, 0}, 3, 1, 0, ADVANTAGE_GROUP, 0.5, OBJECTIVE_TOKEN, 1, 0, 0},
        {{2, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_GROUP_MEAN, 0, OBJECTIVE_TOKEN, 1, 0, 0},
        {{1, 0, 0, 0, 0, 0}, 4, 0, 0, ADVANTAGE_GROUP, 0, OBJECTIVE_LATENT, 1, 0, 0},
        {{3, 0, 0, 0, 0, 0}, 3, 1, 0, ADVANTAGE_BATCH, 0.5, OBJECTIVE_LATENT, 1, 0, 0},
    };
    assert_true(check_cases(cases, sizeof cases / sizeof *cases) > 0);
}

static void latent_by_differences(void **state) {
    (void)state;
    const RlCase cases[] = {
        {{1, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, OBJECTIVE_LATENT, 0, 0, 0},
        {{1, 0, 0, 0, 0, 0}, 3, 1, 0, ADVANTAGE_GROUP, 0.5, OBJECTIVE_LATENT, 0, 0, 0},
        {{2, 3, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_GROUP_MEAN, 0, OBJECTIVE_LATENT, 0, 0, 0},
        {{8, 0, 0, 1, 0, 0}, 2, 0, 0, ADVANTAGE_BATCH, 0, OBJECTIVE_LATENT, 0, 0, 0},
    };
    check_cases(cases, sizeof cases / sizeof *cases);
}

// Joint RL: adapters or the whole model beside LatentRATT, through prompts and answers; and the backbone alone, its last hidden
// state being the thought.
static void joint_by_differences(void **state) {
    (void)state;
    const unsigned all = TRAIN_BACKBONE | TRAIN_LATENT, lora = TRAIN_LORA | TRAIN_LATENT;
    const RlCase cases[] = {
        {{1, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, OBJECTIVE_TOKEN, 0, all, 0},
        {{2, 0, 0, 0, 0, 0}, 2, 0, 0, ADVANTAGE_GROUP, 0.5, OBJECTIVE_TOKEN, 1, all, 0},
        {{1, 0, 0, 0, 0, 0}, 3, 1, 0, ADVANTAGE_BATCH, 0.5, OBJECTIVE_LATENT, 1, all, 0},
        {{1, 0, 0, 0, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, OBJECTIVE_TOKEN, 0, lora, 3},
        {{1, 0, 0, 1, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0.5, OBJECTIVE_TOKEN, 1, lora, 2},
        {{1, 0, 1, 0, 0, 0}, 3, 0, 0, ADVANTAGE_BATCH, 0, OBJECTIVE_TOKEN, 1, all, 0},
        {{2, 0, 0, 0, 0, 1}, 2, 0, 0, ADVANTAGE_GROUP, 0.5, OBJECTIVE_TOKEN, 1, all, 0},
    };
    check_cases(cases, sizeof cases / sizeof *cases);
}

// ---- the latent objective's direction ------------------------------------------------------------------------------------

typedef struct RewardOf { // of the first row without noise
    const Bench *b;
    RewardKind kind;
} RewardOf;

static double clean_reward(void *context) {
    const RewardOf *o = context;
    const Bench *b = o->b;
    double logprob[ANSWER_MOST], sum = 0, *x = malloc(sizeof(double) * (size_t)((PROMPT_MOST + 1) * b->llm.config.D));
    int T = ref_think(&b->ref, x, b->prompt[0], b->prompt_len[0]);
    ref_answer(&b->ref, logprob, x, T, b->answer[0], b->answer_len[0], NULL);
    for (int i = 0; i < b->answer_len[0]; i++) sum += logprob[i] / b->answer_len[0];
    free(x);
    return o->kind == REWARD_PERPLEXITY ? -exp(-sum) : sum;
}

// The mean of the score A_k z_k / sigma^2 over many draws is the gradient of the reward itself (method, section 9), seen at the
// bias of the values, whose gradient is that of the thought: with 8192 draws of 48 numbers the cosine is about
// 1 / sqrt(1 + 49 / 8192) = .997.
static void latent_follows_the_reward(void **state) {
    (void)state;
    enum { K = 512, ROUNDS = 16, WIDTH = 48 };
    for (int kind = REWARD_PERPLEXITY; kind <= REWARD_LOGPROB; kind++) {
        Err err = {0};
        Bench b;
        bench_open(&b, folders[1], (Method){1, 0, 0, 0, 0, 0}, (Adapters){0});
        assert_int_equal(b.llm.config.D, WIDTH);
        OK(llm_train(&b.llm, TRAIN_LATENT, &err));
        session_free(&b.s);
        OK(session_init(&b.s, &b.llm, rollout_slots(&b.examples, 1, 1, K, 1), &err));
        const RlMethod m = {.rollout = {.samples = K, .sigma = 0.1, .sigma_relative = 1, .reward = (RewardKind)kind},
                            .objective = {.kind = OBJECTIVE_LATENT, .epsilon_low = 0.2, .epsilon_high = 0.28},
                            .scope = ADVANTAGE_GROUP_MEAN};
        float *unit = malloc(sizeof(float) * K * WIDTH), got[WIDTH];
        for (int round = 0; round < ROUNDS; round++) {
            rng_normal(unit, K * WIDTH, 31, (uint64_t)round, 0);
            rl_examples(&b.s, &b.examples, b.index, 1, &m, unit, NULL, 1 << 20, NULL, NULL);
        }
        const Param *bias = params_find(&b.llm.params, "attention.value.bias");
        ops_download(b.ops, got, b.llm.dw + bias->offset, sizeof got);
        RewardOf reward = {&b, (RewardKind)kind};
        double dot = 0, ours = 0, truth = 0;
        for (int d = 0; d < WIDTH; d++) {
            double direction[WIDTH] = {0};
            direction[d] = 1;
            const double slope = along(&b, clean_reward, &reward, bias, direction, 1e-5), ascent = -(double)got[d] / ROUNDS;
            dot += ascent * slope, ours += ascent * ascent, truth += slope * slope;
        }
        const double cosine = dot / sqrt(ours * truth), length = sqrt(ours / truth);
        if (!(cosine > 0.98)) fail_msg("reward %d: cosine %.4f", kind, cosine);
        if (!(length > 0.9 && length < 1.1)) fail_msg("reward %d: %.4f times the gradient's length", kind, length);
        free(unit);
        bench_close(&b);
    }
}

// ---- the attention of a thought -------------------------------------------------------------------------------------

static void thought_weights(void **state) {
    (void)state;
    for (int window = 0; window <= 5; window += 5) {
        Bench b;
        bench_open(&b, folders[1], (Method){2, window, 0, 0, 0, 0}, (Adapters){0});
        const int D = b.llm.config.D;
        const SessionMark mark = session_mark(&b.s);
        ThinkPrompt prompt[PROMPTS];
        for (int r = 0; r < PROMPTS; r++)
            prompt[r] = (ThinkPrompt){.ids = b.examples.example[r].prompt,
                                      .len = b.examples.example[r].prompt_len,
                                      .shared = b.examples.example[r].shared};
        Think t;
        think_forward(&b.s, &t, -1, &b.examples.common.ids, prompt, PROMPTS, NULL, NULL, THINK_FORWARD, 0);
        for (int r = 0; r < PROMPTS; r++) {
            double x[(PROMPT_MOST + 2) * 48], h[(PROMPT_MOST + 2) * 48], thought[48], want[PROMPT_MOST + 2];
            float got[PROMPT_MOST + 2], vector[48];
            assert_int_equal(D, 48);
            int T = ref_think(&b.ref, x, b.prompt[r], b.prompt_len[r]) - 1; // what the second thought sees
            ref_hidden(&b.ref, h, x, T);
            ref_thought(&b.ref, thought, want, h, T);
            int n = latent_weights(&b.s, &t.pass[1], r, got, PROMPT_MOST + 2);
            assert_int_equal(n, window && window < T ? window : T);
            for (int i = 0; i < n; i++) golden_close(got[i], want[T - n + i], 1e-5, "weight", i);
            ops_download(b.ops, vector, t.r + (size_t)(r * D), sizeof vector);
            for (int d = 0; d < D; d++) golden_close(vector[d], thought[d], 1e-5, "thought", d);
        }
        session_reset(&b.s, mark);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sft_by_differences),
                                       cmocka_unit_test(lora_by_differences),
                                       cmocka_unit_test(latent_sft_by_differences),
                                       cmocka_unit_test(rl_by_differences),
                                       cmocka_unit_test(inner_by_differences),
                                       cmocka_unit_test(latent_by_differences),
                                       cmocka_unit_test(joint_by_differences),
                                       cmocka_unit_test(latent_follows_the_reward),
                                       cmocka_unit_test(thought_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
