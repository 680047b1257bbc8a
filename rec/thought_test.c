#include "rec/thought_test.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const thought_source_name[THOUGHT_SOURCES] = {"own", "other", "zero", "noise"};

// ---- which thought -----------------------------------------------------------------------------------------------------

// Rows in random order, but each user's together; then everyone takes from the row that lies as many places further as the
// largest user has rows. Rows of one user lie closer together than that, unless they are over half of all.
int thought_test_others(const int *user, int rows, uint64_t seed, int *other) {
    CHECK(rows >= 2);
    const size_t n = (size_t)rows;
    uint32_t *shuffled = mem_alloc(n, sizeof *shuffled);
    int *count = mem_zalloc(n, sizeof *count), *begin = mem_alloc(n, sizeof *begin), *order = mem_alloc(n, sizeof *order);
    int most = 0, same = 0, next = 0;
    rng_permutation(shuffled, n, seed, RNG_SHUFFLE);
    for (int i = 0; i < rows; i++)
        if (++count[user[i]] > most) most = count[user[i]];
    memset(begin, 0xff, n * sizeof *begin);
    for (size_t i = 0; i < n; i++) { // users in the order of their first row
        const int row = (int)shuffled[i], u = user[row];
        if (begin[u] < 0) begin[u] = next, next += count[u];
        order[begin[u]++] = row;
    }
    const int shift = most < rows ? most : 1;
    for (int i = 0; i < rows; i++) {
        const int from = order[(int)(((int64_t)i + shift) % rows)];
        other[order[i]] = from;
        same += user[from] == user[order[i]];
    }
    free(shuffled), free(count), free(begin), free(order);
    return same;
}

static void add_noise(float *x, int D, uint64_t seed, uint64_t number) {
    float *noise = mem_alloc((size_t)D, sizeof *noise);
    double squares = 0;
    for (int d = 0; d < D; d++) squares += (double)x[d] * (double)x[d];
    const float rms = (float)sqrt(squares / D);
    rng_normal(noise, (size_t)D, seed, RNG_NOISE, number * (uint64_t)D);
    for (int d = 0; d < D; d++) x[d] += rms * noise[d];
    free(noise);
}

void thought_test_table(ThoughtSource source, const float *own, const int *other, int rows, int thoughts, int D, uint64_t seed,
                        float *out) {
    const size_t row = (size_t)thoughts * (size_t)D;
    for (int i = 0; i < rows; i++) {
        float *mine = out + (size_t)i * row;
        memcpy(mine, own + (size_t)(source == THOUGHT_OTHER ? other[i] : i) * row, row * sizeof *mine);
        if (source == THOUGHT_ZERO) memset(mine, 0, row * sizeof *mine);
        for (int n = 0; n < thoughts && source == THOUGHT_NOISE; n++)
            add_noise(mine + (size_t)n * (size_t)D, D, seed, (uint64_t)i * (uint64_t)thoughts + (uint64_t)n);
    }
}

// ---- measuring ---------------------------------------------------------------------------------------------------------

typedef struct Test {
    ThoughtTest *t;
    const ThoughtTestRun *run;
    int *user, *other;                   // (rows)
    int *rank[MATCHES];                  // (rows) with the thoughts of one source
    double *tokens, *loss, *own, *minus; // (rows) of the answers: tokens, loss with that source, with the own, the difference
    float *scored, *table;               // (rows, thoughts, D): own thoughts as scoring makes them; of the source
} Test;

static void make_table(Test *x, ThoughtSource source, const float *own) {
    const ModelConfig *c = x->run->config;
    thought_test_table(source, own, x->other, x->run->rows->n, c->thoughts, c->D, x->run->seed, x->table);
}

int thought_test_losses(void *scorer, double *loss, double *tokens, Err *err) {
    const ThoughtTestScorer *x = scorer;
    const int n = x->examples->n, users = x->reader->users;
    RowScore *score = mem_alloc((size_t)users, sizeof *score);
    int status = 0;
    for (int i = 0; i < n && status == 0; i += users) {
        const int rows = n - i < users ? n - i : users;
        score_examples(x->reader, x->examples, i, rows, score);
        for (int j = 0; j < rows && status == 0; j++) {
            tokens[i + j] = score[j].tokens;
            loss[i + j] = -score[j].logprob;
            if (!isfinite(loss[i + j])) status = err_set(err, ERR_DATA, "%s row %d: the loss is not finite", x->name, i + j);
        }
    }
    free(score);
    return status;
}

static void summarize(Test *x, ThoughtSource source, const int *rank, const double *loss) {
    const ThoughtTestRun *run = x->run;
    ThoughtTest *t = x->t;
    const int rows = run->rows->n, list = evaluate_list(run->ranker), draws = run->resamples;
    for (int i = 0; i < rows; i++) x->minus[i] = loss[i] - x->own[i];
    metrics_of_ratio(&t->loss[source], loss, x->tokens, x->user, rows, draws, run->seed);
    metrics_of_ratio(&t->loss_gain[source], x->minus, x->tokens, x->user, rows, draws, run->seed);
    metrics_from_ranks(&t->metrics[source], rank, x->user, rows, list, draws, run->seed);
    metrics_of_gain(&t->gain[source], rank, run->rank, x->user, rows, list, draws, run->seed);
}

static int measure_source(Test *x, ThoughtSource source, Err *err) {
    const ThoughtTestRun *run = x->run;
    log_info("thought test: %s", thought_source_name[source]);
    make_table(x, source, run->own);
    run->ranked->given = x->table;
    int status = evaluate_ranks(run->ranker, run->rows, x->rank, err);
    run->ranked->given = NULL;
    if (status) return -1;
    make_table(x, source, x->scored);
    run->scored->given = x->table;
    status = run->losses(run->scorer, x->loss, x->tokens, err);
    run->scored->given = NULL;
    if (status == 0) summarize(x, source, x->rank[MATCH_TITLE], x->loss);
    return status;
}

static int measure_all(Test *x, Err *err) {
    const ThoughtTestRun *run = x->run;
    run->scored->keep = x->scored;
    int status = run->losses(run->scorer, x->own, x->tokens, err);
    run->scored->keep = NULL;
    double tokens = 0;
    for (int i = 0; i < run->rows->n && status == 0; i++) tokens += x->tokens[i];
    if (status == 0 && !(tokens > 0))
        status =
            err_set(err, ERR_DATA, "%s: the model knows the target and history of no row: there is no loss", run->rows->name);
    if (status == 0) summarize(x, THOUGHT_OWN, run->rank, x->own);
    for (int source = THOUGHT_OTHER; source < THOUGHT_SOURCES && status == 0; source++)
        status = measure_source(x, (ThoughtSource)source, err);
    return status;
}

int thought_test_check(int rows, Err *err) {
    if (rows > 1) return 0;
    return err_set(err, ERR_USAGE, "the thought test exchanges thoughts between rows: one row is not enough");
}

int thought_test_run(ThoughtTest *t, const ThoughtTestRun *run, Err *err) {
    const ModelConfig *c = run->config;
    const size_t n = (size_t)run->rows->n, values = n * (size_t)c->thoughts * (size_t)c->D;
    CHECK(c->thoughts > 0);
    if (thought_test_check(run->rows->n, err)) return -1;
    *t = (ThoughtTest){0};
    int *whole = mem_alloc(4 * n, sizeof *whole);
    double *real = mem_alloc(4 * n, sizeof *real);
    float *thoughts = mem_zalloc(2 * values, sizeof *thoughts); // a history without known items has none
    Test x = {.t = t,
              .run = run,
              .user = whole,
              .other = whole + n,
              .rank = {whole + 2 * n, whole + 3 * n},
              .tokens = real,
              .loss = real + n,
              .own = real + 2 * n,
              .minus = real + 3 * n,
              .scored = thoughts,
              .table = thoughts + values};
    baseline_number_users(run->rows, x.user);
    t->same_user = thought_test_others(x.user, run->rows->n, run->seed, x.other);
    const int status = measure_all(&x, err);
    free(whole), free(real), free(thoughts);
    return status;
}

// ---- report ------------------------------------------------------------------------------------------------------------

static json_t *source_to_json(const ThoughtTest *t, ThoughtSource source) {
    const Metric *loss = &t->loss[source], *gain = &t->loss_gain[source];
    json_t *json = metrics_to_json(&t->metrics[source]), *interval = json_object_get(json, "interval");
    json_object_set_new(json, "loss", json_real(loss->value));
    if (interval) json_object_set_new(interval, "loss", json_pack("[f, f]", loss->low, loss->high));
    if (source == THOUGHT_OWN) return json;
    json_t *against = metrics_gain_to_json(&t->gain[source], &t->metrics[THOUGHT_OWN]);
    const double own = t->loss[THOUGHT_OWN].value;
    json_t *one = json_pack("{s:f, s:f, s:o}", "other", own, "gain", gain->value, "relative", json_finite(gain->value / own));
    if (interval) json_object_set_new(one, "interval", json_pack("[f, f]", gain->low, gain->high));
    json_object_set_new(against, "loss", one);
    json_object_set_new(json, "against_own", against);
    return json;
}

json_t *thought_test_to_json(const ThoughtTest *t) {
    json_t *json = json_pack("{s:i}", "same_user", t->same_user);
    for (int i = 0; i < THOUGHT_SOURCES; i++)
        json_object_set_new(json, thought_source_name[i], source_to_json(t, (ThoughtSource)i));
    return json;
}
