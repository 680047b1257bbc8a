#include "train/sasrec.h"
#include "base/rng.h"
#include "model/think.h"

#include <math.h>
#include <stdlib.h>

typedef struct Micro { // one micro-batch, in the session's host arena
    const SasrecExample *example;
    const uint32_t *index;  // (n) of the examples
    int n, rows;            // rows: predictions
    ThinkChain *chain;      // (n) each example's items up to the last that is predicted
    int32_t *slot, *target; // (rows)
    float *loss, *weight;   // (rows); with cross-entropy loss is what is to be negated
} Micro;

static const SasrecExample *example_of(const Micro *m, int b) {
    return &m->example[m->index[b]];
}

static int predictions_of(const SasrecExample *x) {
    return x->place ? x->places : x->n - 1;
}

// The item that is predicted i-th.
static int place_of(const SasrecExample *x, int i) {
    return x->place ? x->place[i] : i + 1;
}

static Micro micro_new(Session *s, const SasrecExamples *e, const uint32_t *index, int n) {
    Micro m = {.example = e->example, .index = index, .n = n};
    for (int b = 0; b < n; b++) m.rows += predictions_of(example_of(&m, b));
    m.chain = ARENA_NEW(&s->host, ThinkChain, n);
    m.slot = ARENA_NEW(&s->host, int32_t, m.rows);
    m.target = ARENA_NEW(&s->host, int32_t, m.rows);
    m.loss = ARENA_NEW(&s->host, float, m.rows);
    m.weight = ARENA_NEW(&s->host, float, m.rows);
    for (int b = 0, row = 0; b < n; b++) {
        const SasrecExample *x = example_of(&m, b);
        m.chain[b] = (ThinkChain){x->item, (int)index[b], predictions_of(x), x->place};
        for (int i = 0; i < predictions_of(x); i++) m.target[row++] = x->item[place_of(x, i)];
    }
    return m;
}

// ---- the losses -----------------------------------------------------------------------------------------------------

static void cross_entropy(Session *s, Micro *m, double weight) {
    for (int i = 0; i < m->rows; i++) m->weight[i] = (float)-weight; // the loss is minus the log-probability
    head_logprob(s, m->slot, m->target, m->rows, m->loss, m->weight);
}

// An item that is not marked as seen; after a few draws any (a user may have met nearly all).
static int32_t draw_negative(const unsigned char *seen, int V, uint64_t seed, uint64_t stream, uint64_t index) {
    enum { DRAWS = 64 };
    int32_t item = 0;
    for (uint64_t draw = 0; draw < DRAWS; draw++) {
        item = (int32_t)rng_below(seed, stream, index * DRAWS + draw, (uint64_t)V);
        if (!seen[item]) break;
    }
    return item;
}

static void binary(Session *s, Micro *m, const SasrecMethod *method, int64_t step, double weight) {
    const int C = 1 + method->negatives, V = s->llm->config.V;
    const uint64_t stream = RNG_NEGATIVE + ((uint64_t)step << 8), positions = (uint64_t)s->llm->config.max_positions;
    int32_t *id = ARENA_NEW(&s->host, int32_t, (size_t)m->rows * (size_t)C);
    unsigned char *seen = mem_zalloc((size_t)V, 1);
    for (int b = 0, row = 0; b < m->n; b++) {
        const SasrecExample *x = example_of(m, b);
        for (int i = 0; i < x->seen_n; i++) seen[x->seen[i]] = 1;
        for (int i = 0; i < predictions_of(x); i++, row++) {
            const uint64_t place = (uint64_t)m->index[b] * positions + (uint64_t)place_of(x, i);
            id[(size_t)row * (size_t)C] = m->target[row];
            for (int c = 1; c < C; c++)
                id[(size_t)row * (size_t)C + (size_t)c] =
                    draw_negative(seen, V, method->seed, stream, place * (uint64_t)C + (uint64_t)c);
        }
        for (int i = 0; i < x->seen_n; i++) seen[x->seen[i]] = 0;
    }
    free(seen);
    head_binary(s, m->slot, id, m->rows, C, m->loss, (float)weight);
}

// ---- one update -----------------------------------------------------------------------------------------------------

// One training step reads from here: items, thoughts and predictions forward, the loss, and back.
static double micro_run(Session *s, const SasrecExamples *e, const uint32_t *index, int n, const SasrecMethod *method,
                        int64_t step, double weight) {
    const SessionMark mark = session_mark(s);
    const int thoughts = s->llm->config.thoughts;
    Micro m = micro_new(s, e, index, n);
    Think t;
    Segment last;
    s->dropout = (Dropout){.rate = method->dropout, .seed = method->seed};
    s->dropout_step = (uint64_t)step;
    think_chains(s, &t, m.chain, m.n, THINK_RECORD_ALL, m.rows * (1 + thoughts));
    think_predict(s, &t, &last, m.slot, 1);
    if (method->loss == SASREC_BINARY)
        binary(s, &m, method, step, weight);
    else
        cross_entropy(s, &m, weight);
    float *dr = thoughts ? ARENA_NEW(&s->device, float, (size_t)m.rows *(size_t)s->llm->config.D) : NULL; // (rows, D)
    if (thoughts) segment_backward(s, &last, dr);
    think_backward(s, &t, dr);
    s->dropout = (Dropout){0};
    double loss = 0;
    ops_wait(s->ops);
    for (int i = 0; i < m.rows; i++) loss += (double)m.loss[i];
    session_reset(s, mark);
    return method->loss == SASREC_BINARY ? loss : -loss;
}

// How many of index[0 .. n) make a micro-batch.
static int micro_size(const SasrecExamples *e, const uint32_t *index, int n, int micro_rows) {
    int size = 0;
    for (int rows = 0; size < n; size++) {
        rows += e->example[index[size]].n;
        if (rows > micro_rows && size > 0) break;
    }
    return size;
}

static int64_t all_predictions(const SasrecExamples *e, const uint32_t *index, int n) {
    int64_t all = 0;
    for (int i = 0; i < n; i++) all += predictions_of(&e->example[index[i]]);
    return all;
}

// Examples [first, end) of index, in micro-batches.
static double micro_batches(Session *s, const SasrecExamples *e, const uint32_t *index, int first, int end,
                            const SasrecMethod *m, int64_t step, int micro_rows, double weight) {
    double loss = 0;
    for (int size; first < end; first += size) {
        size = micro_size(e, index + first, end - first, micro_rows);
        s->last = first + size == end;
        loss += micro_run(s, e, index + first, size, m, step, weight);
    }
    return loss;
}

double sasrec_update(Session *s, const SasrecExamples *e, const uint32_t *index, int n, const SasrecMethod *m, int64_t step,
                     int micro_rows, int64_t *predictions) {
    const int64_t all = all_predictions(e, index, n);
    if (predictions) *predictions = all;
    return micro_batches(s, e, index, 0, n, m, step, micro_rows, 1.0 / (double)all);
}

// ---- validation -----------------------------------------------------------------------------------------------------

static double ndcg_of(const float *score, int V, int target) {
    int above = 0, equal = 0;
    for (int v = 0; v < V; v++) above += score[v] > score[target], equal += score[v] == score[target];
    const double rank = 1 + above + 0.5 * (equal - 1);
    return equal && rank <= 10 ? 1 / log2(rank + 1) : 0; // a score that is no number equals nothing
}

enum { NDCG_ROWS = 128 }; // whose scores of all items are there at once

// NDCG@10 of each prediction of a few examples, in their order.
static void ndcg_micro(Session *s, const SasrecExamples *e, const uint32_t *index, int n, double *ndcg) {
    const int V = s->llm->config.V;
    const SessionMark mark = session_mark(s);
    const Micro m = micro_new(s, e, index, n);
    Think t;
    Segment last;
    think_chains(s, &t, m.chain, n, THINK_FORWARD, 0);
    think_predict(s, &t, &last, m.slot, 0);
    float *score = ARENA_NEW(&s->host, float, (size_t)(m.rows < NDCG_ROWS ? m.rows : NDCG_ROWS) * (size_t)V);
    for (int first = 0; first < m.rows; first += NDCG_ROWS) {
        const int some = m.rows - first < NDCG_ROWS ? m.rows - first : NDCG_ROWS;
        const SessionMark before = session_mark(s);
        HeadRows rows;
        head_rows(s, &rows, m.slot + first, some);
        ops_download(s->ops, score, rows.logits, (size_t)some * (size_t)V * sizeof(float));
        for (int i = 0; i < some; i++) ndcg[first + i] = ndcg_of(score + (size_t)i * (size_t)V, V, m.target[first + i]);
        session_reset(s, before);
    }
    session_reset(s, mark);
}

// The micro-batches are dealt out to the ranks; what they find is added in the order of one process.
double sasrec_ndcg(Session *s, const SasrecExamples *e, int micro_rows, const Ranks *ranks, LoopValidation *v) {
    uint32_t *all = mem_alloc((size_t)e->n, sizeof *all);
    for (int i = 0; i < e->n; i++) all[i] = (uint32_t)i;
    const int n = (int)all_predictions(e, all, e->n);
    double *ndcg = mem_zalloc((size_t)n, sizeof *ndcg), sum = 0;
    int *owner = mem_alloc((size_t)n, sizeof *owner), stopped = 0, done = 0;
    for (int first = 0, size, part = 0; first < e->n; first += size, part++) {
        stopped = stopped || loop_validation_stops(v, done, n); // the other ranks may not have stopped: all are owned
        size = micro_size(e, all + first, e->n - first, micro_rows);
        if (!stopped && ranks_mine(ranks, part)) ndcg_micro(s, e, all + first, size, ndcg + done);
        for (const int end = done + (int)all_predictions(e, all + first, size); done < end; done++)
            owner[done] = part % ranks_size(ranks);
    }
    ranks_collect(ranks, ndcg, owner, n, sizeof *ndcg);
    for (int i = 0; i < n; i++) sum += ndcg[i];
    free(all), free(ndcg), free(owner);
    return sum / n;
}

// ---- training -------------------------------------------------------------------------------------------------------

typedef struct Sasrec {
    Session *s;
    const SasrecExamples *train, *valid;
    const SasrecOptions *o;
    Optimizer optimizer;
    Shares shares;
    int64_t step; // of the update under way
} Sasrec;

static double sasrec_share(void *stage, const uint32_t *index, int first, int end, double weight) {
    const Sasrec *t = stage;
    return micro_batches(t->s, t->train, index, first, end, &t->o->method, t->step, t->o->loop.micro_rows, weight);
}

static int sasrec_step(void *stage, int64_t step, const uint32_t *index, int n, json_t *event) {
    Sasrec *t = stage;
    t->step = step;
    int *rows = mem_alloc((size_t)n, sizeof *rows);
    for (int i = 0; i < n; i++) rows[i] = t->train->example[index[i]].n;
    const SharesUpdate u = {.index = index,
                            .rows = rows,
                            .n = n,
                            .terms = all_predictions(t->train, index, n),
                            .terms_name = "predictions",
                            .work = sasrec_share,
                            .context = t};
    const int refused = shares_update(&t->shares, t->s, &t->optimizer, &u, event);
    free(rows);
    return refused;
}

static double sasrec_validate(void *stage, LoopValidation *v) {
    Sasrec *t = stage;
    return 1 - sasrec_ndcg(t->s, t->valid, t->o->loop.micro_rows, t->o->loop.ranks, v);
}

int sasrec_train(Session *s, const SasrecExamples *train, const SasrecExamples *valid, const SasrecOptions *o,
                 LoopReport *report, Err *err) {
    static const LoopStage stage = {
        .name = "sasrec", .figure = "1 - NDCG@10", .update = sasrec_step, .validate = sasrec_validate};
    Sasrec t = {.s = s, .train = train, .valid = valid, .o = o};
    OptimizerOptions optimizer = o->optimizer;
    optimizer.steps = loop_steps(&o->loop, train->n);
    if (llm_train(s->llm, TRAIN_BACKBONE | TRAIN_LATENT, err) || optimizer_init(&t.optimizer, s->llm, &optimizer, err))
        return -1;
    shares_init(&t.shares, o->loop.ranks, s->llm, o->loop.deterministic, o->loop.bucket);
    int status = loop_run(&o->loop, &stage, &t, &t.optimizer, s, train->n, report, err);
    shares_free(&t.shares);
    optimizer_free(&t.optimizer);
    return status;
}

int sasrec_slots(const SasrecExamples *e, int thoughts, int micro_rows) {
    return (e->longest > micro_rows ? e->longest : micro_rows) * (1 + thoughts);
}
