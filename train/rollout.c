#include "train/rollout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const Example *example_of(const Rollout *u, int b) {
    return &u->e->example[u->index[b]];
}

static int answer_rows(const Rollout *u, int b) {
    return u->K * example_of(u, b)->answer_len;
}

void rollout_init(Rollout *u, Session *s, const Examples *e, const uint32_t *index, int n, const RolloutOptions *options,
                  const Objective *o, int micro_rows) {
    *u = (Rollout){.s = s, .e = e, .index = index, .options = options, .o = o, .n = n, .of = n, .micro_rows = micro_rows};
    u->K = options->samples, u->D = s->llm->config.D;
    const size_t thoughts = (size_t)n * (size_t)u->D, group = (size_t)u->K;
    Arena *host = &s->host;
    u->token = ARENA_NEW(host, size_t, n + 1);
    u->token[0] = 0;
    for (int b = 0; b < n; b++) u->token[b + 1] = u->token[b] + (size_t)answer_rows(u, b);
    u->noise = ARENA_NEW(host, float, thoughts *group);
    u->dsample = ARENA_NEW(host, float, thoughts *group);
    u->dr = ARENA_NEW(host, float, thoughts);
    u->old = ARENA_NEW(host, float, thoughts);
    u->r = ARENA_NEW(host, float, thoughts);
    u->sigma = ARENA_NEW(host, float, n);
    u->old_logprob = ARENA_NEW(host, float, u->token[n]);
    u->logprob = ARENA_NEW(host, float, u->token[n]);
    u->dlogprob = ARENA_NEW(host, float, u->token[n]);
    if (o->beta > 0) u->reference = ARENA_NEW(host, float, o->kind == OBJECTIVE_TOKEN ? u->token[n] : thoughts);
    u->reward = ARENA_NEW(host, double, (size_t)n *group);
    u->advantage = ARENA_NEW(host, double, (size_t)n *group);
    u->start = session_mark(s);
}

// ---- prompts and thoughts -------------------------------------------------------------------------------------------

static ThinkPrompt *prompts_of(const Rollout *u, int first, int end) {
    ThinkPrompt *prompt = ARENA_NEW(&u->s->host, ThinkPrompt, end - first);
    for (int b = first; b < end; b++) {
        const Example *x = example_of(u, b);
        prompt[b - first] = (ThinkPrompt){.ids = x->prompt, .len = x->prompt_len, .shared = x->shared};
    }
    return prompt;
}

// Rows of the largest micro-batch of answers.
static int most_answer_rows(const Rollout *u, int first, int end) {
    int most = u->micro_rows, all = 0;
    for (int b = first; b < end; b++) {
        all += answer_rows(u, b);
        if (answer_rows(u, b) > most) most = answer_rows(u, b);
    }
    return most < all ? most : all;
}

// The frozen network's prompts, of the whole update. Their states stay; thoughts are made of them in each pass.
static void prompts_once(Rollout *u) {
    think_prompts(u->s, &u->think, -1, &u->e->common.ids, prompts_of(u, 0, u->n), u->n, NULL, NULL, THINK_FORWARD, 0);
    u->ready = session_mark(u->s);
}

// The thoughts u->r of the next prompts, from `first` on; what this returns are the first prompts that are left. With `record`
// the thoughts can go back, and the slots behind the prompts (where the network trains, theirs too) have gradients.
static int thoughts_next(Rollout *u, int first, int record) {
    Session *s = u->s;
    const int thoughts = s->llm->config.thoughts;
    u->first = first;
    if (!llm_network_trains(s->llm)) {
        u->end = u->n;
        session_reset(s, u->ready);
        think_thoughts(s, &u->think, record ? THINK_RECORD_THOUGHTS : THINK_FORWARD,
                       (thoughts - 1) * u->n + most_answer_rows(u, 0, u->n));
    } else {
        int rows = 0;
        for (u->end = first; u->end < u->n; u->end++) {
            rows += example_of(u, u->end)->prompt_len;
            if (rows > u->micro_rows && u->end > first) break;
        }
        session_reset(s, u->start);
        const int n = u->end - first;
        ThinkPrompt *prompt = prompts_of(u, first, u->end);
        think_forward(s, &u->think, -1, &u->e->common.ids, prompt, n, NULL, NULL, record ? THINK_RECORD_ALL : THINK_FORWARD,
                      think_slots(prompt, n, (int)u->e->common.ids.len, thoughts) + most_answer_rows(u, first, u->end));
    }
    const size_t D = (size_t)u->D;
    ops_download(s->ops, u->r + (size_t)first * D, u->think.r, (size_t)(u->end - first) * D * sizeof(float));
    return u->end;
}

// u->dr of the open prompts back through all that was recorded.
static void thoughts_back(Rollout *u) {
    Session *s = u->s;
    const size_t D = (size_t)u->D, n = (size_t)(u->end - u->first) * D;
    float *dr = ARENA_NEW(&s->device, float, n);
    ops_upload(s->ops, dr, u->dr + (size_t)u->first * D, n * sizeof(float));
    s->last = u->end == u->n;
    think_backward(s, &u->think, dr);
}

// u->dr of prompt b, from the gradients at its samples; weighted where those were taken for an advantage of 1. A sample without
// a finite reward has no part in it, unless all are so: then nothing is left to learn from and the update is refused.
static void add_samples(Rollout *u, int b, int weighted) {
    const size_t D = (size_t)u->D, K = (size_t)u->K;
    for (size_t i = (size_t)b * K; i < ((size_t)b + 1) * K; i++) {
        const float w = weighted ? (float)u->advantage[i] : 1.0f;
        if (!isfinite(u->reward[i]) && isfinite(u->advantage[i])) continue;
        for (size_t d = 0; d < D; d++) u->dr[(size_t)b * D + d] += w * u->dsample[i * D + d];
    }
}

// ---- answers --------------------------------------------------------------------------------------------------------

typedef struct Answers { // the K answers behind each of the prompts [first, end), which are open
    int first, end, tokens;
    Segment g;
    int32_t *slot, *target; // (tokens)
    float *r;               // (K (end - first), D) the noisy thoughts, device
    SessionMark mark;
} Answers;

// The noisy thoughts of the prompts [first, end), device.
static float *samples_upload(Rollout *u, int first, int end) {
    const size_t D = (size_t)u->D, K = (size_t)u->K, n = (size_t)(end - first) * K * D;
    float *host = ARENA_NEW(&u->s->host, float, n), *device = ARENA_NEW(&u->s->device, float, n);
    for (size_t i = 0; i < n; i++) {
        const size_t at = (size_t)first * K * D + i;
        host[i] = u->r[at / (K * D) * D + at % D] + u->noise[at];
    }
    ops_upload(u->s->ops, device, host, n * sizeof(float));
    return device;
}

static void answers_forward(Rollout *u, Answers *a, int first, int record) {
    Session *s = u->s;
    int rows = 0, at = 0, end = first;
    for (; end < u->end; end++) {
        if (rows + answer_rows(u, end) > u->micro_rows && end > first) break;
        rows += answer_rows(u, end);
    }
    *a = (Answers){.first = first, .end = end, .tokens = (int)(u->token[end] - u->token[first]), .mark = session_mark(s)};
    a->slot = ARENA_NEW(&s->host, int32_t, a->tokens);
    a->target = ARENA_NEW(&s->host, int32_t, a->tokens);
    int32_t *ids = ARENA_NEW(&s->host, int32_t, u->e->longest + 1);
    segment_begin(s, &a->g, (end - first) * u->K, rows);
    for (int b = first; b < end; b++) {
        const Example *x = example_of(u, b);
        ids[0] = -1; // the thought, then the answer but its last token: A rows that predict the A tokens
        memcpy(ids + 1, x->answer, (size_t)(x->answer_len - 1) * sizeof *ids);
        for (int k = 0; k < u->K; k++) {
            int node = think_follow(s, &u->think, b - u->first, &a->g, ids, x->answer_len);
            for (int i = 0; i < x->answer_len; i++, at++) a->slot[at] = session_slot(s, node, i), a->target[at] = x->answer[i];
        }
    }
    a->r = samples_upload(u, first, end);
    segment_forward(s, &a->g, a->r, record);
}

// Log-probabilities of the answers; with dlogprob (all tokens) back to the samples: u->dsample, and whatever else trains. Then
// both are there after the next ops_wait.
static void answers_score(Rollout *u, Answers *a, float *logprob, const float *dlogprob) {
    Session *s = u->s;
    const size_t at = u->token[a->first], first = (size_t)a->first * (size_t)u->K * (size_t)u->D;
    head_logprob(s, a->slot, a->target, a->tokens, logprob + at, dlogprob ? dlogprob + at : NULL);
    if (!dlogprob) return;
    segment_backward(s, &a->g, a->r);
    ops_fetch(s->ops, u->dsample + first, a->r, (size_t)(a->end - a->first) * (size_t)(u->K * u->D) * sizeof(float));
    session_zero_gradients(s, a->g.slot0); // the next micro-batch takes the same slots
}

static void answers_end(Rollout *u, const Answers *a) {
    session_reset(u->s, a->mark);
}

// ---- drawing --------------------------------------------------------------------------------------------------------

// u->sigma, u->noise and u->old of the open prompts.
static void draw_noise(Rollout *u, const float *unit) {
    const RolloutOptions *o = u->options;
    const size_t D = (size_t)u->D, K = (size_t)u->K;
    memcpy(u->old + (size_t)u->first * D, u->r + (size_t)u->first * D, (size_t)(u->end - u->first) * D * sizeof(float));
    for (size_t b = (size_t)u->first; b < (size_t)u->end; b++) {
        double squares = 0;
        for (size_t d = 0; d < D; d++) squares += (double)u->r[b * D + d] * (double)u->r[b * D + d];
        u->sigma[b] = (float)(o->sigma * (o->sigma_relative ? sqrt(squares / (double)D) : 1.0));
        for (size_t i = b * K * D; i < (b + 1) * K * D; i++) u->noise[i] = i < (b * K + 1) * D ? 0 : u->sigma[b] * unit[i];
    }
}

static void rewards_of_answers(Rollout *u) {
    for (int b = u->first; b < u->end; b++) {
        const size_t A = (size_t)example_of(u, b)->answer_len, K = (size_t)u->K;
        for (size_t k = 0; k < K; k++)
            u->reward[(size_t)b * K + k] = reward_of_answer(u->options->reward, u->old_logprob + u->token[b] + k * A, (int)A);
    }
}

// A search from each noisy thought, a prompt's at a time.
static void rewards_of_lists(Rollout *u) {
    const RolloutOptions *o = u->options;
    Session *s = u->s;
    const int32_t given = -1;
    for (int b = u->first; b < u->end; b++) {
        const SessionMark mark = session_mark(s);
        int *node = ARENA_NEW(&s->host, int, u->K), *rank = ARENA_NEW(&s->host, int, u->K);
        Segment g;
        segment_begin(s, &g, u->K, u->K);
        for (int k = 0; k < u->K; k++) node[k] = think_follow(s, &u->think, b - u->first, &g, &given, 1);
        segment_forward(s, &g, samples_upload(u, b, b + 1), 0);
        o->ranking->rank(o->ranking->context, s, u->index[b], node, u->K, rank);
        for (int k = 0; k < u->K; k++) u->reward[(size_t)b * (size_t)u->K + (size_t)k] = reward_of_rank(o->reward, rank[k]);
        session_reset(s, mark);
    }
}

// Whether the gradient of the first inner update is linear in the advantages, and one pass enough.
static int linear(const Rollout *u) {
    const Llm *m = u->s->llm;
    return u->o->kind == OBJECTIVE_TOKEN && u->o->beta == 0 && m->config.thoughts == 1 && !llm_network_trains(m);
}

// Each token's weight in the loss: the mean over prompts of the mean over the K A tokens.
static double token_share(const Rollout *u, int b) {
    return 1.0 / ((double)u->of * u->K * example_of(u, b)->answer_len);
}

void rollout_draw(Rollout *u, const float *unit) {
    const int lists = reward_of_lists(u->options->reward), answers = !lists || u->o->kind == OBJECTIVE_TOKEN, back = linear(u);
    if (!llm_network_trains(u->s->llm)) prompts_once(u);
    for (int b = 0; b < u->n; b++) // an advantage of 1, a ratio of 1
        for (size_t i = u->token[b]; i < u->token[b + 1]; i++) u->dlogprob[i] = (float)-token_share(u, b);
    for (int next = 0; next < u->n;) {
        next = thoughts_next(u, next, back);
        draw_noise(u, unit);
        Answers a;
        for (int b = u->first; b < u->end && answers; b = a.end) {
            answers_forward(u, &a, b, back);
            answers_score(u, &a, u->old_logprob, back ? u->dlogprob : NULL);
            answers_end(u, &a);
        }
        ops_wait(u->s->ops);
        if (lists)
            rewards_of_lists(u);
        else
            rewards_of_answers(u);
    }
}

// The groups' weights on the device and those in `host` change places.
static void swap_weights(Llm *m, float *host) {
    enum { STEP = 1 << 20 };
    size_t count, begin = llm_train_range(m, &count);
    float *part = mem_alloc(STEP, sizeof *part);
    for (size_t at = 0; at < count; at += STEP) {
        const size_t n = count - at < STEP ? count - at : STEP;
        ops_download(m->ops, part, m->w + begin + at, n * sizeof *part);
        ops_upload(m->ops, m->w + begin + at, host + at, n * sizeof *part);
        memcpy(host + at, part, n * sizeof *part);
    }
    free(part);
    for (int g = 0; g < PARAM_GROUPS; g++)
        if (m->train[g]) llm_changed(m, (ParamGroup)g);
}

// ---- passes ---------------------------------------------------------------------------------------------------------

void rollout_reference(Rollout *u, float *weights) {
    const int tokens = u->o->kind == OBJECTIVE_TOKEN;
    const size_t D = (size_t)u->D;
    swap_weights(u->s->llm, weights);
    for (int next = 0; next < u->n;) {
        next = thoughts_next(u, next, 0);
        Answers a;
        for (int b = u->first; b < u->end && tokens; b = a.end) {
            answers_forward(u, &a, b, 0);
            answers_score(u, &a, u->reference, NULL);
            answers_end(u, &a);
        }
        if (!tokens)
            memcpy(u->reference + (size_t)u->first * D, u->r + (size_t)u->first * D,
                   (size_t)(u->end - u->first) * D * sizeof(float));
    }
    swap_weights(u->s->llm, weights);
}

// u->dlogprob of the samples of the prompts [first, end).
static void token_terms(Rollout *u, int first, int end, const float *logprob, Surrogate *sum) {
    for (int b = first; b < end; b++) {
        const int A = example_of(u, b)->answer_len;
        for (int k = 0; k < u->K; k++) {
            const size_t at = u->token[b] + (size_t)k * (size_t)A;
            objective_tokens(u->o, token_share(u, b), u->advantage[(size_t)b * (size_t)u->K + (size_t)k], logprob + at,
                             u->old_logprob + at, u->reference ? u->reference + at : NULL, A, u->dlogprob + at, sum);
        }
    }
}

// Of the open prompts. In the first inner update the log-probabilities are those that were drawn: the ratio is 1, exactly.
static void token_gradient(Rollout *u, Surrogate *sum) {
    Answers a;
    for (int b = u->first; b < u->end; b = a.end) {
        answers_forward(u, &a, b, 1);
        if (u->inner) answers_score(u, &a, u->logprob, NULL);
        token_terms(u, a.first, a.end, u->inner ? u->logprob : u->old_logprob, sum);
        answers_score(u, &a, u->logprob, u->dlogprob);
        answers_end(u, &a);
    }
    ops_wait(u->s->ops);
    for (int b = u->first; b < u->end; b++) add_samples(u, b, 0);
}

// The un-noised sample is no draw: the mean is over the others. No pass through the answers.
static void thought_gradient(Rollout *u, Surrogate *sum) {
    const size_t D = (size_t)u->D, K = (size_t)u->K;
    for (size_t b = (size_t)u->first; b < (size_t)u->end; b++) {
        const float *r = u->r + b * D, *old = u->inner ? u->old + b * D : r;
        for (size_t i = b * K + 1; i < (b + 1) * K; i++)
            objective_thought(u->o, 1.0 / ((double)u->of * (double)(K - 1)), u->advantage[i], r, old, u->noise + i * D,
                              (double)u->sigma[b], u->D, u->dr + b * D, sum);
        if (u->reference)
            objective_thought_kl(u->o, 1.0 / u->of, r, u->reference + b * D, (double)u->sigma[b], u->D, u->dr + b * D, sum);
    }
}

Surrogate rollout_gradient(Rollout *u) {
    const int taken = u->inner == 0 && linear(u);
    Surrogate sum = objective_none();
    memset(u->dr, 0, (size_t)u->n * (size_t)u->D * sizeof(float));
    if (taken) {
        token_terms(u, 0, u->n, u->old_logprob, &sum); // for its figures
        for (int b = 0; b < u->n; b++) add_samples(u, b, 1);
        thoughts_back(u);
    }
    for (int next = 0; next < u->n && !taken;) {
        next = thoughts_next(u, next, 1);
        if (u->o->kind == OBJECTIVE_TOKEN)
            token_gradient(u, &sum);
        else
            thought_gradient(u, &sum);
        thoughts_back(u);
    }
    u->inner++;
    return sum;
}

int rollout_slots(const Examples *e, int thoughts, int batch, int samples, int micro_rows) {
    int most = samples * (e->longest + thoughts); // one group whatever its length
    return (int)e->common.ids.len + batch * (e->longest + thoughts) + (most > micro_rows ? most : micro_rows);
}
