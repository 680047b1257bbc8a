#include "train/rl.h"
#include "base/arena.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Update { // one of all ranks
    const Examples *e;
    const uint32_t *index; // (n) of the examples
    int n;
    const RlMethod *m;
    Shares *shares;
    Session *const *session;    // (rounds) of this rank's shares
    Rollout *rollout;           // (rounds)
    double *reward, *advantage; // (n, K) of all
    double *norm;               // (n) of the thoughts
} Update;

// ---- figures --------------------------------------------------------------------------------------------------------

// Pearson's, of two columns of n values; NaN where one of them does not vary.
static double correlation(const double *x, const double *y, int n) {
    const double mean_x = advantage_mean(x, n, 1), mean_y = advantage_mean(y, n, 1);
    double xy = 0, xx = 0, yy = 0;
    for (int i = 0; i < n; i++) {
        xy += (x[i] - mean_x) * (y[i] - mean_y);
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        yy += (y[i] - mean_y) * (y[i] - mean_y);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

static int all_equal(const double *x, int n) {
    for (int i = 1; i < n; i++)
        if (!(x[i] == x[0])) return 0;
    return 1;
}

// As advantage_mean; of no number, none.
static double mean_of(const double *x, int n, int stride) {
    for (int i = 0; i < n; i++)
        if (isfinite(x[(size_t)i * (size_t)stride])) return advantage_mean(x, n, stride);
    return (double)NAN;
}

static RlFigures figures_of(const Update *u) {
    const int n = u->n, K = u->m->rollout.samples;
    RlFigures f = {.reward_mean = mean_of(u->reward, n * K, 1),
                   .reward_clean = mean_of(u->reward, n, K),
                   .reward_std = advantage_std(u->reward, n * K),
                   .advantage_norm = advantage_norm(u->advantage, n * K)};
    double *mean = mem_alloc((size_t)n, sizeof *mean), *length = mem_alloc((size_t)n, sizeof *length), all = 0, between = 0,
           norms = 0, center = advantage_mean(u->advantage, n * K, 1);
    for (int b = 0; b < n; b++) {
        const double *R = u->reward + (size_t)b * (size_t)K, *A = u->advantage + (size_t)b * (size_t)K;
        mean[b] = advantage_mean(R, K, 1);
        length[b] = u->e->example[u->index[b]].answer_len;
        f.spread_within += advantage_std(R, K) / n;
        f.zero_variance += all_equal(R, K) / (double)n;
        double group = advantage_mean(A, K, 1) - center;
        between += K * group * group;
        for (int k = 0; k < K; k++) all += (A[k] - center) * (A[k] - center);
        norms += u->norm[b];
    }
    f.spread_between = advantage_std(mean, n);
    f.length_correlation = correlation(mean, length, n);
    f.advantage_between = all > 0 ? between / all : 0;
    f.thought_norm = norms / n;
    free(mean), free(length);
    return f;
}

static void figures_add(RlFigures *f, const Objective *o, const Surrogate *sum) {
    const double ratios = (double)sum->ratios;
    f->loss = objective_loss(o, sum);
    f->kl = sum->kl;
    f->ratio_mean = sum->ratio_sum / ratios;
    f->ratio_min = sum->ratio_min;
    f->ratio_max = sum->ratio_max;
    f->clip_fraction = (double)sum->clipped / ratios;
}

// ---- one update -----------------------------------------------------------------------------------------------------

static void update_init(Update *u, Session *const *session, const Examples *e, const uint32_t *index, int n, const RlMethod *m,
                        int micro_rows, Shares *shares) {
    const size_t all = (size_t)n, K = (size_t)m->rollout.samples;
    *u = (Update){.e = e, .index = index, .n = n, .m = m, .shares = shares, .session = session};
    int *rows = mem_alloc(all, sizeof *rows);
    for (int b = 0; b < n; b++)
        rows[b] = e->example[index[b]].prompt_len + m->rollout.samples * e->example[index[b]].answer_len;
    shares_cut(shares, rows, n);
    free(rows);
    u->rollout = mem_zalloc((size_t)shares->rounds, sizeof *u->rollout);
    u->reward = mem_zalloc(all * K, sizeof *u->reward);
    u->advantage = mem_zalloc(all * K, sizeof *u->advantage);
    u->norm = mem_zalloc(all, sizeof *u->norm);
    for (int round = 0; round < shares->rounds; round++) {
        const Share x = shares_own(shares, round);
        if (x.first == x.end) continue;
        rollout_init(&u->rollout[round], session[round], e, index + x.first, x.end - x.first, &m->rollout, &m->objective,
                     micro_rows);
        u->rollout[round].of = n;
    }
}

static void update_free(Update *u) {
    free(u->rollout), free(u->reward), free(u->advantage), free(u->norm);
}

static double norm_of(const float *x, int n) {
    double squares = 0;
    for (int i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    return sqrt(squares);
}

// Rollouts with their rewards, and advantages over the whole update.
static RlFigures draw(Update *u, const float *noise, float *reference) {
    const size_t K = (size_t)u->m->rollout.samples;
    for (int round = 0; round < u->shares->rounds; round++) {
        Rollout *x = &u->rollout[round];
        const size_t first = (size_t)shares_own(u->shares, round).first;
        if (x->n == 0) continue;
        rollout_draw(x, noise + first * K * (size_t)x->D);
        if (x->o->beta > 0) rollout_reference(x, reference);
        memcpy(u->reward + first * K, x->reward, (size_t)x->n * K * sizeof *x->reward);
        for (int b = 0; b < x->n; b++) u->norm[first + (size_t)b] = norm_of(x->old + (size_t)b * (size_t)x->D, x->D);
    }
    shares_collect(u->shares, u->reward, K * sizeof *u->reward);
    shares_collect(u->shares, u->norm, sizeof *u->norm);
    advantage_of(u->m->scope, u->m->window, u->reward, u->n, (int)K, u->advantage);
    for (int round = 0; round < u->shares->rounds; round++) {
        const Rollout *x = &u->rollout[round];
        const size_t first = (size_t)shares_own(u->shares, round).first;
        if (x->n) memcpy(x->advantage, u->advantage + first * K, (size_t)x->n * K * sizeof *x->advantage);
    }
    return figures_of(u);
}

// Those of the next inner update, of all shares.
static Surrogate gradient(Update *u) {
    Surrogate sum = objective_none(), *mine = mem_alloc((size_t)u->shares->rounds, sizeof *mine),
              *all = mem_alloc((size_t)u->shares->n, sizeof *all);
    for (int round = 0; round < u->shares->rounds; round++) {
        shares_begin(u->shares, u->session[round], round);
        mine[round] = u->rollout[round].n ? rollout_gradient(&u->rollout[round]) : objective_none();
        shares_add(u->shares);
    }
    shares_gather(u->shares, mine, all, sizeof *all);
    for (int i = 0; i < u->shares->n; i++) objective_add(&sum, &all[i]);
    free(mine), free(all);
    return sum;
}

RlFigures rl_examples(Session *s, const Examples *e, const uint32_t *index, int n, const RlMethod *m, const float *noise,
                      float *reference, int micro_rows, double *reward, double *advantage) {
    const SessionMark mark = session_mark(s);
    Update u;
    Shares alone;
    shares_init(&alone, NULL, s->llm, 0, 0);
    update_init(&u, &s, e, index, n, m, micro_rows, &alone);
    RlFigures f = draw(&u, noise, reference);
    Surrogate sum = gradient(&u);
    figures_add(&f, &m->objective, &sum);
    const size_t bytes = (size_t)n * (size_t)m->rollout.samples * sizeof(double);
    if (reward) memcpy(reward, u.reward, bytes);
    if (advantage) memcpy(advantage, u.advantage, bytes);
    update_free(&u);
    shares_free(&alone);
    session_reset(s, mark);
    return f;
}

// One training step reads from here.
RlFigures rl_update(Session *const *session, const Examples *e, const uint32_t *index, int n, const RlMethod *m,
                    const float *noise, float *reference, int micro_rows, Shares *shares, Optimizer *optimizer,
                    OptimizerStep *step) {
    SessionMark mark[SHARES_FIXED];
    int inner = 0;
    Update u;
    for (int round = 0; round < shares->rounds; round++) mark[round] = session_mark(session[round]);
    update_init(&u, session, e, index, n, m, micro_rows, shares);
    RlFigures f = draw(&u, noise, reference);
    do {
        Surrogate sum = gradient(&u);
        *step = optimizer_update_for(optimizer, objective_loss(&m->objective, &sum));
        figures_add(&f, &m->objective, &sum);
    } while (++inner < m->inner && !step->refused);
    update_free(&u);
    for (int round = 0; round < shares->rounds; round++) session_reset(session[round], mark[round]);
    return f;
}

// ---- the run --------------------------------------------------------------------------------------------------------

typedef struct Rl {
    Session *s;
    Session *session[SHARES_FIXED], own[SHARES_FIXED]; // one for each of this rank's shares: the first is s
    const Examples *train, *valid;
    const RlOptions *o;
    Optimizer optimizer;
    Shares shares;
    float *noise, *reference; // (batch, K, D); the weights that train as they were, or NULL
    double embedding_norm;
} Rl;

// What another session has done counts for this one.
static void take_work(Session *s, Session *other) {
    s->tokens_run += other->tokens_run, s->tokens_back += other->tokens_back;
    other->tokens_run = other->tokens_back = 0;
}

static int rl_step(void *stage, int64_t number, const uint32_t *index, int n, json_t *event) {
    Rl *t = stage;
    const size_t group = (size_t)t->o->method.rollout.samples * (size_t)t->s->llm->config.D;
    // Noise belongs to (update, place in it), so it is the same after a resume and for any micro-batch.
    rng_normal(t->noise, (size_t)n * group, t->o->loop.seed, RNG_NOISE + ((uint64_t)number << 8), 0);
    OptimizerStep step;
    if (t->o->groups & TRAIN_BACKBONE) t->embedding_norm = llm_embedding_norm(t->s->llm);
    RlFigures f = rl_update(t->session, t->train, index, n, &t->o->method, t->noise, t->reference, t->o->loop.micro_rows,
                            &t->shares, &t->optimizer, &step);
    for (int round = 1; round < t->shares.rounds; round++) take_work(t->s, t->session[round]);
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
                   {"zero_variance_groups", f.zero_variance},
                   {"reward_length_correlation", f.length_correlation},
                   {"advantage_norm", f.advantage_norm},
                   {"advantage_share_between_prompts", f.advantage_between},
                   {"ratio_mean", f.ratio_mean},
                   {"ratio_min", f.ratio_min},
                   {"ratio_max", f.ratio_max},
                   {"clip_fraction", f.clip_fraction},
                   {"thought_norm", f.thought_norm},
                   {"embedding_norm", t->embedding_norm},
                   {"learning_rate", step.rate},
                   {"gradient_norm", step.norm}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        json_object_set_new(event, figures[i].name, json_finite(figures[i].value));
    optimizer_tell(&step, event);
    shares_tell(&t->shares, event);
    return step.refused;
}

static double rl_validate(void *stage, LoopValidation *v) {
    Rl *t = stage;
    return sft_measure(t->s, t->valid, t->o->loop.micro_rows, t->o->loop.ranks, v);
}

static int rl_number(const void *stage, uint32_t example) {
    return ((const Rl *)stage)->train->example[example].number;
}

int rl_check(const Llm *m, const RlOptions *o, Err *err) {
    const RlMethod *method = &o->method;
    if (m->config.thoughts == 0)
        return err_set(err, ERR_USAGE, "rl needs a model with a thought: %s",
                       m->config.family == FAMILY_SASREC ? "sasrec --thoughts 1 trains one"
                                                         : "sft makes one, and convert --add-thought");
    if (o->groups == TRAIN_LATENT && !llm_has_latent(m))
        return err_set(err, ERR_USAGE, "rl --train latent trains LatentRATT, and this model has none (--thought hidden)");
    if ((method->scope != ADVANTAGE_BATCH || method->objective.kind == OBJECTIVE_LATENT) && method->rollout.samples < 2)
        return err_set(err, ERR_USAGE, "--advantage group and --objective latent need --samples of at least 2");
    return 0;
}

static int open_shares(Rl *t, Err *err) {
    shares_init(&t->shares, t->o->loop.ranks, t->s->llm, t->o->loop.deterministic, t->o->loop.bucket);
    t->session[0] = t->s;
    for (int round = 1; round < t->shares.rounds; round++) {
        t->session[round] = &t->own[round];
        if (session_init(&t->own[round], t->s->llm, t->s->slots, err)) return -1;
        t->own[round].recompute = t->s->recompute;
    }
    return 0;
}

static void close_shares(Rl *t) {
    for (int round = 1; round < SHARES_FIXED; round++)
        if (t->own[round].llm) session_free(&t->own[round]);
    shares_free(&t->shares);
}

int rl_train(Session *s, const Examples *train, const Examples *valid, const RlOptions *o, LoopReport *report, Err *err) {
    static const LoopStage stage = {
        .name = "rl", .shown = "reward_mean", .update = rl_step, .validate = rl_validate, .number = rl_number, .keep_first = 1};
    Llm *m = s->llm;
    if (rl_check(m, o, err)) return -1;
    Rl t = {.s = s, .train = train, .valid = valid, .o = o};
    OptimizerOptions optimizer = o->optimizer;
    optimizer.steps = loop_steps(&o->loop, train->n) * (o->method.inner > 1 ? o->method.inner : 1);
    if (llm_train(m, o->groups, err) || optimizer_init(&t.optimizer, m, &optimizer, err)) return -1;
    t.noise = mem_alloc((size_t)(o->loop.batch < train->n ? o->loop.batch : train->n) * (size_t)o->method.rollout.samples *
                            (size_t)m->config.D,
                        sizeof(float));
    if (o->method.objective.beta > 0) {
        size_t count, begin = llm_train_range(m, &count);
        t.reference = mem_alloc(count, sizeof(float));
        ops_download(s->ops, t.reference, m->w + begin, count * sizeof(float));
    }
    t.embedding_norm = llm_embedding_norm(m);
    int status = open_shares(&t, err);
    if (status == 0) status = loop_run(&o->loop, &stage, &t, &t.optimizer, s, train->n, report, err);
    close_shares(&t);
    free(t.noise), free(t.reference);
    optimizer_free(&t.optimizer);
    return status;
}
