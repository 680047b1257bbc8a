#include "train/sft.h"
#include "base/arena.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

// What follows a timeline: [thought,] a1 .. a(A-1). Its rows predict a1 .. aA, but for the first of them where there is no
// thought: then the prompt's last position predicts a1.
static ThinkPrompt answer_input(Session *s, const Example *x, int thoughts) {
    int lead = thoughts > 0;
    int32_t *ids = ARENA_NEW(&s->host, int32_t, x->answer_len + lead);
    if (lead) ids[0] = -1;
    for (int i = 0; i + 1 < x->answer_len; i++) ids[lead + i] = x->answer[i];
    return (ThinkPrompt){.ids = ids, .len = x->answer_len - 1 + lead, .shared = 1};
}

// The slots whose hidden states predict the answer tokens of one example, and the tokens.
static int answer_targets(const Session *s, const Example *x, int before, int node, int thoughts, int32_t *slot,
                          int32_t *target) {
    for (int i = 0; i < x->answer_len; i++) {
        int at = thoughts > 0 ? i : i - 1;
        slot[i] = at < 0 ? session_last(s, before) : session_slot(s, node, at);
        target[i] = x->answer[i];
    }
    return x->answer_len;
}

typedef struct Micro {            // one micro-batch, in the session's host arena
    ThinkPrompt *prompt, *answer; // (n)
    int *answer_node;             // (n)
    int32_t *slot, *target;       // (tokens)
    float *logprob, *dlogprob;    // (tokens)
    int tokens;
} Micro;

static Micro micro_new(Session *s, const Examples *e, const uint32_t *index, int n, int thoughts) {
    Micro m = {.prompt = ARENA_NEW(&s->host, ThinkPrompt, n),
               .answer = ARENA_NEW(&s->host, ThinkPrompt, n),
               .answer_node = ARENA_NEW(&s->host, int, n)};
    for (int b = 0; b < n; b++) {
        const Example *x = &e->example[index[b]];
        m.prompt[b] = (ThinkPrompt){.ids = x->prompt,
                                    .len = x->prompt_len,
                                    .shared = x->shared,
                                    .joins = b ? examples_join(&e->example[index[b - 1]], x) : 0};
        m.answer[b] = answer_input(s, x, thoughts);
        m.tokens += x->answer_len;
    }
    m.slot = ARENA_NEW(&s->host, int32_t, m.tokens);
    m.target = ARENA_NEW(&s->host, int32_t, m.tokens);
    m.logprob = ARENA_NEW(&s->host, float, m.tokens);
    m.dlogprob = ARENA_NEW(&s->host, float, m.tokens);
    return m;
}

// One training step reads from here: forward through prompts, thoughts and answers, the loss, and back.
double sft_examples(Session *s, const Examples *e, const uint32_t *index, int n, double weight, int train) {
    const int thoughts = s->llm->config.thoughts, D = s->llm->config.D;
    const SessionMark mark = session_mark(s);
    Micro m = micro_new(s, e, index, n, thoughts);
    const int network = llm_network_trains(s->llm); // else the prompts have no gradient
    int answer_rows = 0, rows = network ? think_slots(m.prompt, n, (int)e->common.ids.len, thoughts) : (thoughts - 1) * n;
    for (int b = 0; b < n; b++) answer_rows += m.answer[b].len;
    rows += answer_rows;

    Think t;
    Segment answers = {0};
    think_forward(s, &t, -1, &e->common.ids, m.prompt, n, thoughts ? NULL : m.answer, m.answer_node,
                  !train    ? THINK_FORWARD
                  : network ? THINK_RECORD_ALL
                            : THINK_RECORD_THOUGHTS,
                  rows);
    if (thoughts) {
        segment_begin(s, &answers, n, answer_rows);
        for (int b = 0; b < n; b++) m.answer_node[b] = think_follow(s, &t, b, &answers, m.answer[b].ids, m.answer[b].len);
        segment_forward(s, &answers, t.r, train);
    }
    for (int b = 0, at = 0; b < n; b++)
        at += answer_targets(s, &e->example[index[b]], t.node[b], m.answer_node[b], thoughts, m.slot + at, m.target + at);
    for (int i = 0; i < m.tokens; i++) m.dlogprob[i] = (float)-weight; // the loss is minus the log-probability
    head_logprob(s, m.slot, m.target, m.tokens, m.logprob, train ? m.dlogprob : NULL);

    if (train) {
        float *dr = thoughts ? ARENA_NEW(&s->device, float, (size_t)n *(size_t)D) : NULL; // (n, D)
        if (thoughts) segment_backward(s, &answers, dr);
        think_backward(s, &t, dr);
    }
    double loss = 0;
    ops_wait(s->ops); // the one time in a micro-batch
    for (int i = 0; i < m.tokens; i++) loss -= (double)m.logprob[i];
    session_reset(s, mark);
    return loss;
}

// Positions that the example index[i] takes behind those of the one before it.
static int rows_behind(const Examples *e, const uint32_t *index, int i, int first, int thoughts) {
    const Example *x = &e->example[index[i]];
    return example_rows(x, thoughts) - (i > first ? examples_join(&e->example[index[i - 1]], x) : 0);
}

// The examples index[first..) that one micro-batch holds end before this one.
static int micro_end(const Examples *e, const uint32_t *index, int first, int n, int thoughts, int micro_rows) {
    int rows = (int)e->common.ids.len, end = first;
    for (; end < n; end++) {
        rows += rows_behind(e, index, end, first, thoughts);
        if (rows > micro_rows && end > first) break;
    }
    return end;
}

static int64_t answer_tokens_of(const Examples *e, const uint32_t *index, int n) {
    int64_t tokens = 0;
    for (int i = 0; i < n; i++) tokens += e->example[index[i]].answer_len;
    return tokens;
}

// Examples [first, end) of index, in micro-batches.
static double micro_batches(Session *s, const Examples *e, const uint32_t *index, int first, int end, int micro_rows,
                            double weight, int train) {
    double loss = 0;
    for (int next; first < end; first = next) {
        next = micro_end(e, index, first, end, s->llm->config.thoughts, micro_rows);
        s->last = next == end;
        loss += sft_examples(s, e, index + first, next - first, weight, train);
    }
    return loss;
}

double sft_update(Session *s, const Examples *e, const uint32_t *index, int n, int micro_rows, int train,
                  int64_t *answer_tokens) {
    const int64_t tokens = answer_tokens_of(e, index, n);
    if (answer_tokens) *answer_tokens = tokens;
    return micro_batches(s, e, index, 0, n, micro_rows, 1.0 / (double)tokens, train);
}

int64_t sft_epoch_tokens(const Examples *e, const int32_t *next, int thoughts, int batch, int micro_rows, int shares,
                         unsigned groups) {
    uint32_t *order = mem_alloc((size_t)e->n, sizeof *order);
    int *rows = mem_alloc((size_t)e->n, sizeof *rows);
    Shares s = {.n = shares, .begin = mem_zalloc((size_t)shares + 1, sizeof *s.begin)};
    int64_t forward = 0, answers = 0;
    rng_chains(order, (size_t)e->n, next, 0, RNG_SHUFFLE);
    for (int i = 0; i < e->n; i++) {
        rows[i] = rows_behind(e, order, i, i / batch * batch, thoughts);
        answers += e->example[i].answer_len + thoughts - 1;
    }
    for (int update = 0; update < e->n; update += batch) {
        shares_cut(&s, rows + update, e->n - update < batch ? e->n - update : batch);
        for (int share = 0; share < shares; share++)
            for (int first = update + s.begin[share], end = update + s.begin[share + 1]; first < end;) {
                const int begin = first;
                first = micro_end(e, order, first, end, thoughts, micro_rows);
                forward += (int64_t)e->common.ids.len;
                for (int i = begin; i < first; i++) forward += rows_behind(e, order, i, begin, thoughts);
            }
    }
    free(order), free(rows), free(s.begin);
    return forward + (groups == TRAIN_LATENT ? answers : forward);
}

int sft_slots(const Examples *e, int thoughts, int micro_rows) {
    int most = (int)e->common.ids.len + e->longest + thoughts;
    return most > micro_rows + (int)e->common.ids.len ? most : micro_rows + (int)e->common.ids.len;
}

typedef struct Sft {
    Session *s;
    const Examples *train, *valid;
    const SftOptions *o;
    Optimizer optimizer;
    Shares shares;
} Sft;

static double sft_share(void *stage, const uint32_t *index, int first, int end, double weight) {
    const Sft *t = stage;
    return micro_batches(t->s, t->train, index, first, end, t->o->loop.micro_rows, weight, 1);
}

static int sft_step(void *stage, int64_t step, const uint32_t *index, int n, json_t *event) {
    (void)step; // nothing is random
    Sft *t = stage;
    int *rows = mem_alloc((size_t)n, sizeof *rows);
    for (int i = 0; i < n; i++) rows[i] = rows_behind(t->train, index, i, 0, t->s->llm->config.thoughts);
    const SharesUpdate u = {.index = index,
                            .rows = rows,
                            .n = n,
                            .terms = answer_tokens_of(t->train, index, n),
                            .terms_name = "answer_tokens",
                            .work = sft_share,
                            .context = t};
    const int refused = shares_update(&t->shares, t->s, &t->optimizer, &u, event);
    free(rows);
    return refused;
}

// The micro-batches are dealt out to the ranks; their losses are added in the order of one process.
double sft_measure(Session *s, const Examples *e, int micro_rows, const Ranks *ranks, LoopValidation *v) {
    uint32_t *all = mem_alloc((size_t)e->n, sizeof *all);
    double *part = mem_zalloc((size_t)e->n, sizeof *part);
    int parts = 0, stopped = 0; // then there are as many parts all the same: the other ranks may not have stopped
    for (int i = 0; i < e->n; i++) all[i] = (uint32_t)i;
    for (int first = 0, end; first < e->n; first = end, parts++) {
        stopped = stopped || loop_validation_stops(v, first, e->n);
        end = micro_end(e, all, first, e->n, s->llm->config.thoughts, micro_rows);
        if (!stopped && ranks_mine(ranks, parts)) part[parts] = sft_examples(s, e, all + first, end - first, 0, 0);
    }
    const double loss = ranks_sum(ranks, part, parts);
    const int64_t tokens = answer_tokens_of(e, all, e->n);
    free(all), free(part);
    return loss / (double)tokens;
}

static double sft_validate(void *stage, LoopValidation *v) {
    Sft *t = stage;
    return sft_measure(t->s, t->valid, t->o->loop.micro_rows, t->o->loop.ranks, v);
}

static int sft_number(const void *stage, uint32_t example) {
    return ((const Sft *)stage)->train->example[example].number;
}

int sft_check(const Llm *m, unsigned groups, Err *err) {
    if (groups != TRAIN_LATENT || llm_has_latent(m)) return 0;
    return err_set(err, ERR_USAGE, "--train latent trains LatentRATT, and this model has none");
}

int sft_train(Session *s, const Examples *train, const Examples *valid, const SftOptions *o, LoopReport *report, Err *err) {
    const LoopStage stage = {.name = "sft",
                             .update = sft_step,
                             .validate = sft_validate,
                             .number = sft_number,
                             .keep_first = o->groups == TRAIN_LATENT};
    Sft t = {.s = s, .train = train, .valid = valid, .o = o};
    OptimizerOptions optimizer = o->optimizer;
    optimizer.steps = loop_steps(&o->loop, train->n);
    if (sft_check(s->llm, o->groups, err) || llm_train(s->llm, o->groups, err) ||
        optimizer_init(&t.optimizer, s->llm, &optimizer, err))
        return -1;
    shares_init(&t.shares, o->loop.ranks, s->llm, o->loop.deterministic, o->loop.bucket);
    int status = loop_run(&o->loop, &stage, &t, &t.optimizer, s, train->n, report, err);
    shares_free(&t.shares);
    optimizer_free(&t.optimizer);
    return status;
}
