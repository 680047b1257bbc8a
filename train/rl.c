#include "train/rl.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Update { // one update, in the session's host arena
    Session *s;
    const Examples *e;
    const uint32_t *index;
    const RlMethod *m;
    int n, K, D, micro_rows;
    float *r;                 // (n, K, D) noisy thoughts
    float *dr;                // (n, K, D) their gradients
    size_t *token;            // (n + 1) where the samples of example b begin in logprob: K times its answer tokens
    float *logprob;           // (all tokens of all samples)
    float *reference_logprob; // the same under the policy before RL, or NULL
    float *dlogprob;          // what goes back
    float *sigma;             // (n) of each prompt's noise, from the present policy's thoughts
    int sigma_known;
} Update;

static const Example *example_of(const Update *u, int b) {
    return &u->e->example[u->index[b]];
}

static Update update_new(Session *s, const Examples *e, const uint32_t *index, int n, const RlMethod *m, int micro_rows) {
    Update u = {
        .s = s, .e = e, .index = index, .m = m, .n = n, .K = m->samples, .D = s->llm->config.D, .micro_rows = micro_rows};
    size_t thoughts = (size_t)n * (size_t)u.K * (size_t)u.D;
    u.r = ARENA_NEW(&s->host, float, thoughts);
    u.dr = ARENA_NEW(&s->host, float, thoughts);
    u.token = ARENA_NEW(&s->host, size_t, n + 1);
    u.token[0] = 0;
    for (int b = 0; b < n; b++) u.token[b + 1] = u.token[b] + (size_t)u.K * (size_t)example_of(&u, b)->answer_len;
    u.logprob = ARENA_NEW(&s->host, float, u.token[n]);
    u.dlogprob = ARENA_NEW(&s->host, float, u.token[n]);
    u.sigma = ARENA_NEW(&s->host, float, n);
    return u;
}

// The thoughts of all prompts, and their noisy copies u->r. Slots behind the prompts get gradients where `train`.
static void think_and_noise(Update *u, Think *t, const float *noise, int train, int suffix_rows) {
    ThinkPrompt *prompt = ARENA_NEW(&u->s->host, ThinkPrompt, u->n);
    for (int b = 0; b < u->n; b++)
        prompt[b] = (ThinkPrompt){example_of(u, b)->prompt, example_of(u, b)->prompt_len, example_of(u, b)->shared};
    think_forward(u->s, t, -1, &u->e->instruction, prompt, u->n, NULL, NULL, train ? THINK_RECORD_THOUGHTS : THINK_FORWARD,
                  (u->s->llm->config.thoughts - 1) * u->n + suffix_rows);
    const size_t D = (size_t)u->D, K = (size_t)u->K;
    float *clean = ARENA_NEW(&u->s->host, float, (size_t)u->n *D);
    ops_download(u->s->ops, clean, t->r, (size_t)u->n * D * sizeof(float));
    for (int b = 0; b < u->n; b++) {
        const float *r = clean + (size_t)b * D;
        double squares = 0;
        for (size_t d = 0; d < D; d++) squares += (double)r[d] * (double)r[d];
        if (!u->sigma_known) u->sigma[b] = (float)(u->m->sigma * (u->m->sigma_relative ? sqrt(squares / (double)D) : 1.0));
        for (size_t k = 0; k < K; k++) {
            size_t at = ((size_t)b * K + k) * D;
            for (size_t d = 0; d < D; d++) u->r[at + d] = k ? r[d] + u->sigma[b] * noise[at + d] : r[d];
        }
    }
    u->sigma_known = 1;
}

static int suffix_rows(const Update *u, int b) {
    return u->K * example_of(u, b)->answer_len;
}

// The K answers behind each of the prompts [first, end): log-probabilities, and, where `dlogprob`, back to their thoughts.
static void suffixes_micro(Update *u, const Think *t, int first, int end, float *logprob, const float *dlogprob) {
    Session *s = u->s;
    const SessionMark mark = session_mark(s);
    const int given = (end - first) * u->K;
    const size_t D = (size_t)u->D, first_thought = (size_t)first * (size_t)u->K * D, bytes = (size_t)given * D * sizeof(float);
    int rows = 0, tokens = (int)(u->token[end] - u->token[first]), at = 0;
    for (int b = first; b < end; b++) rows += suffix_rows(u, b);
    int32_t *slot = ARENA_NEW(&s->host, int32_t, tokens), *target = ARENA_NEW(&s->host, int32_t, tokens),
            *ids = ARENA_NEW(&s->host, int32_t, u->e->longest + 1);
    Segment g;
    segment_begin(s, &g, given, rows);
    for (int b = first; b < end; b++) {
        const Example *x = example_of(u, b);
        ids[0] = -1; // the thought, then the answer but its last token: A rows that predict the A tokens
        memcpy(ids + 1, x->answer, (size_t)(x->answer_len - 1) * sizeof *ids);
        for (int k = 0; k < u->K; k++) {
            int node = think_follow(s, t, b, &g, ids, x->answer_len);
            for (int i = 0; i < x->answer_len; i++, at++) slot[at] = session_slot(s, node, i), target[at] = x->answer[i];
        }
    }
    float *r = ARENA_NEW(&s->device, float, (size_t)given *D); // (given, D), then its gradient
    ops_upload(s->ops, r, u->r + first_thought, bytes);
    segment_forward(s, &g, r, dlogprob != NULL);
    head_logprob(s, slot, target, tokens, logprob + u->token[first], dlogprob ? dlogprob + u->token[first] : NULL);
    if (dlogprob) {
        segment_backward(s, &g, r);
        ops_download(s->ops, u->dr + first_thought, r, bytes);
        session_zero_gradients(s, g.slot0); // the next micro-batch takes the same slots
    }
    session_reset(s, mark);
}

static void suffixes(Update *u, const Think *t, float *logprob, const float *dlogprob) {
    for (int first = 0, end; first < u->n; first = end) {
        int rows = 0;
        for (end = first; end < u->n; end++) {
            rows += suffix_rows(u, end);
            if (rows > u->micro_rows && end > first) break;
        }
        suffixes_micro(u, t, first, end, logprob, dlogprob);
    }
}

// Rows of the largest micro-batch of suffixes.
static int most_suffix_rows(const Update *u) {
    int most = 0, all = 0;
    for (int b = 0; b < u->n; b++) {
        all += suffix_rows(u, b);
        if (suffix_rows(u, b) > most) most = suffix_rows(u, b);
    }
    if (most < u->micro_rows) most = u->micro_rows;
    return most < all ? most : all;
}

static void rewards_of(const Update *u, double *reward) {
    for (int b = 0; b < u->n; b++) {
        const int A = example_of(u, b)->answer_len;
        for (int k = 0; k < u->K; k++) {
            const float *lp = u->logprob + u->token[b] + (size_t)k * (size_t)A;
            double sum = 0;
            for (int i = 0; i < A; i++) sum += (double)lp[i];
            reward[(size_t)b * (size_t)u->K + (size_t)k] = -exp(-sum / A);
        }
    }
}

// dlogprob of every token for given advantages (NULL: 1). The loss is the mean over prompts of the mean over K A tokens of
// -A_k log p (the ratio is 1), and of beta times the k3 estimate of the KL, exp(d) - d - 1 with d = reference - log p.
static double token_gradients(const Update *u, const double *advantage, double *kl) {
    double loss = 0;
    *kl = 0;
    for (int b = 0; b < u->n; b++) {
        const int A = example_of(u, b)->answer_len;
        const double share = 1.0 / ((double)u->n * u->K * A);
        for (int k = 0; k < u->K; k++) {
            const size_t at = u->token[b] + (size_t)k * (size_t)A;
            const double a = advantage ? advantage[(size_t)b * (size_t)u->K + (size_t)k] : 1.0;
            for (size_t i = at; i < at + (size_t)A; i++) {
                double d = u->reference_logprob ? (double)u->reference_logprob[i] - (double)u->logprob[i] : 0;
                *kl += share * (exp(d) - d - 1);
                loss += share * -a;
                u->dlogprob[i] = (float)(share * (-a + u->m->beta * (1 - exp(d))));
            }
        }
    }
    return loss + u->m->beta * *kl;
}

// Log-probabilities under LatentRATT as it was before RL, with the same noise.
static void reference_pass(Update *u, const float *noise, const float *reference) {
    Llm *m = u->s->llm;
    const size_t begin = m->params.begin[PARAMS_LATENT], bytes = (m->params.begin[PARAMS_LATENT + 1] - begin) * sizeof(float);
    u->reference_logprob = ARENA_NEW(&u->s->host, float, u->token[u->n]);
    const SessionMark mark = session_mark(u->s);
    Think t;
    if (u->m->sigma_relative) { // the scale of the noise is that of the present policy's thoughts
        think_and_noise(u, &t, noise, 0, 0);
        session_reset(u->s, mark);
    }
    float *now = arena_get(&u->s->host, bytes, 1);
    ops_download(u->s->ops, now, m->w + begin, bytes);
    ops_upload(u->s->ops, m->w + begin, reference, bytes);
    llm_changed(m, PARAMS_LATENT);
    think_and_noise(u, &t, noise, 0, 0);
    suffixes(u, &t, u->reference_logprob, NULL);
    ops_upload(u->s->ops, m->w + begin, now, bytes);
    llm_changed(m, PARAMS_LATENT);
    session_reset(u->s, mark);
}

// dr of prompt b: the sum over its samples, weighted where the samples' gradients were taken for an advantage of 1. A sample
// without a finite reward has no part in it, unless all are so: then nothing is left to learn from and the update is refused.
static void combine(Update *u, const double *reward, const double *advantage, int weighted, float *out) {
    const size_t D = (size_t)u->D;
    memset(out, 0, (size_t)u->n * D * sizeof(float));
    for (int b = 0; b < u->n; b++)
        for (int k = 0; k < u->K; k++) {
            const size_t i = (size_t)b * (size_t)u->K + (size_t)k;
            const float w = weighted ? (float)advantage[i] : 1.0f;
            if (!isfinite(reward[i]) && isfinite(advantage[i])) continue;
            for (size_t d = 0; d < D; d++) out[(size_t)b * D + d] += w * u->dr[i * D + d];
        }
}

static RlFigures figures_of(const Update *u, const double *reward, const double *advantage) {
    const int n = u->n, K = u->K;
    RlFigures f = {.reward_mean = advantage_mean(reward, n * K, 1),
                   .reward_clean = advantage_mean(reward, n, K),
                   .reward_std = advantage_std(reward, n * K),
                   .advantage_norm = advantage_norm(advantage, n * K)};
    double *mean = mem_alloc((size_t)n, sizeof *mean), all = 0, between = 0, center = advantage_mean(advantage, n * K, 1),
           norms = 0;
    for (int b = 0; b < n; b++) {
        const double *a = advantage + (size_t)b * (size_t)K;
        mean[b] = advantage_mean(reward + (size_t)b * (size_t)K, K, 1);
        f.spread_within += advantage_std(reward + (size_t)b * (size_t)K, K) / n;
        double group = advantage_mean(a, K, 1) - center, squares = 0;
        between += K * group * group;
        for (int k = 0; k < K; k++) all += (a[k] - center) * (a[k] - center);
        const float *r = u->r + (size_t)b * (size_t)K * (size_t)u->D;
        for (int d = 0; d < u->D; d++) squares += (double)r[d] * (double)r[d];
        norms += sqrt(squares);
    }
    f.spread_between = advantage_std(mean, n);
    f.advantage_between = all > 0 ? between / all : 0;
    f.thought_norm = norms / n;
    free(mean);
    return f;
}

// With one thought and no KL, the gradient of each sample is taken once for an advantage of 1 and weighted when all
// rewards of the update are known: it is linear in the advantage, because the ratio is 1. Else the samples go through
// twice, first for the rewards.
RlFigures rl_examples(Session *s, const Examples *e, const uint32_t *index, int n, const RlMethod *m, const float *noise,
                      const float *reference, int micro_rows, int train, double *reward, double *advantage) {
    const SessionMark mark = session_mark(s);
    Update u = update_new(s, e, index, n, m, micro_rows);
    const size_t samples = (size_t)n * (size_t)u.K;
    double *R = ARENA_NEW(&s->host, double, samples), *A = ARENA_NEW(&s->host, double, samples), kl;
    const int once = train && s->llm->config.thoughts == 1 && m->beta == 0;
    if (m->beta > 0) reference_pass(&u, noise, reference);
    Think t;
    think_and_noise(&u, &t, noise, train, most_suffix_rows(&u));
    if (once) token_gradients(&u, NULL, &kl);
    suffixes(&u, &t, u.logprob, once ? u.dlogprob : NULL);
    rewards_of(&u, R);
    advantage_of(m->scope, m->window, R, n, m->samples, A);
    RlFigures f = figures_of(&u, R, A);
    if (once)
        for (size_t i = 0; i < samples; i++) f.loss -= A[i] / (double)samples;
    else
        f.loss = token_gradients(&u, A, &f.kl);
    if (train && !once) suffixes(&u, &t, u.logprob, u.dlogprob);
    if (train) {
        float *dr_host = ARENA_NEW(&s->host, float, (size_t)n *(size_t)u.D);
        float *dr = ARENA_NEW(&s->device, float, (size_t)n *(size_t)u.D); // (n, D)
        combine(&u, R, A, once, dr_host);
        ops_upload(s->ops, dr, dr_host, (size_t)n * (size_t)u.D * sizeof(float));
        think_backward(s, &t, dr);
    }
    if (reward) memcpy(reward, R, samples * sizeof *R);
    if (advantage) memcpy(advantage, A, samples * sizeof *A);
    session_reset(s, mark);
    return f;
}

int rl_slots(const Examples *e, int thoughts, int batch, int samples, int micro_rows) {
    int most = samples * (e->longest + thoughts); // one group whatever its length
    return (int)e->instruction.len + batch * (e->longest + thoughts) + (most > micro_rows ? most : micro_rows);
}

typedef struct Rl {
    Session *s;
    const Examples *train, *valid;
    const RlOptions *o;
    Optimizer optimizer;
    float *noise, *reference; // (batch, K, D); LatentRATT before RL
    double embedding_norm;
} Rl;

static int rl_step(void *stage, const uint32_t *index, int n, json_t *event) {
    Rl *t = stage;
    const size_t group = (size_t)t->o->method.samples * (size_t)t->s->llm->config.D;
    // Noise belongs to (step, place in the update), so it is the same after a resume and for any micro-batch.
    rng_normal(t->noise, (size_t)n * group, t->o->loop.seed, RNG_NOISE + ((uint64_t)t->optimizer.step << 8), 0);
    RlFigures f =
        rl_examples(t->s, t->train, index, n, &t->o->method, t->noise, t->reference, t->o->loop.micro_rows, 1, NULL, NULL);
    OptimizerStep step = optimizer_update(&t->optimizer);
    const struct {
        const char *name;
        double value;
    } figures[] = {{"loss", f.loss},
                   {"kl", f.kl},
                   {"reward_mean", f.reward_mean},
                   {"reward_clean", f.reward_clean},
                   {"reward_std", f.reward_std},
                   {"reward_spread_within_groups", f.spread_within},
                   {"reward_spread_between_prompts", f.spread_between},
                   {"advantage_norm", f.advantage_norm},
                   {"advantage_share_between_prompts", f.advantage_between},
                   {"thought_norm", f.thought_norm},
                   {"embedding_norm", t->embedding_norm},
                   {"learning_rate", step.rate},
                   {"gradient_norm", step.norm}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        json_object_set_new(event, figures[i].name, isfinite(figures[i].value) ? json_real(figures[i].value) : json_null());
    json_object_set_new(event, "refused", json_boolean(step.refused));
    return step.refused;
}

static double rl_validate(void *stage) {
    Rl *t = stage;
    return sft_measure(t->s, t->valid, t->o->loop.micro_rows);
}

int rl_train(Session *s, const Examples *train, const Examples *valid, const RlOptions *o, LoopReport *report, Err *err) {
    static const LoopStage stage = {.name = "rl", .update = rl_step, .validate = rl_validate, .keep_first = 1};
    Llm *m = s->llm;
    const size_t latent = m->params.begin[PARAMS_LATENT], count = m->params.begin[PARAMS_LATENT + 1] - latent;
    if (count == 0)
        return err_set(err, ERR_USAGE, "rl trains LatentRATT, and this model has none (--thoughts 0 or --thought hidden)");
    if (o->method.scope != ADVANTAGE_BATCH && o->method.samples < 2)
        return err_set(err, ERR_USAGE, "--advantage group needs --samples of at least 2");
    Rl t = {.s = s, .train = train, .valid = valid, .o = o};
    OptimizerOptions optimizer = o->optimizer;
    optimizer.steps = loop_steps(&o->loop, train->n);
    if (llm_train(m, TRAIN_LATENT, err) || optimizer_init(&t.optimizer, m, &optimizer, err)) return -1;
    t.noise = mem_alloc((size_t)o->loop.batch * (size_t)o->method.samples * (size_t)m->config.D, sizeof(float));
    t.reference = mem_alloc(count, sizeof(float));
    ops_download(s->ops, t.reference, m->w + latent, count * sizeof(float));
    t.embedding_norm = llm_embedding_norm(m);
    int status = loop_run(&o->loop, &stage, &t, s, train->n, report, err);
    free(t.noise), free(t.reference);
    optimizer_free(&t.optimizer);
    return status;
}
