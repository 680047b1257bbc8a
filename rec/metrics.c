#include "rec/metrics.h"
#include "base/arena.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const int metric_k[METRIC_KS] = {1, 3, 5, 10, 20};

// One row's share of every metric; sums of these divided by the rows are the means.
enum { GAINS = 2 * METRIC_KS + 1 };
typedef struct Gains {
    double rows, of[GAINS]; // HR@K, NDCG@K, MRR
} Gains;

static Metric *metric_at(Metrics *m, int i) {
    return i < METRIC_KS ? &m->hit[i] : i < 2 * METRIC_KS ? &m->ndcg[i - METRIC_KS] : &m->mrr;
}

MetricKind metrics_kind(const char *name, int list) {
    const char *at = strchr(name, '@');
    return !at ? (MetricKind){METRIC_RECIPROCAL, list} : (MetricKind){*name == 'N' ? METRIC_NDCG : METRIC_HIT, atoi(at + 1)};
}

double metrics_worth(MetricKind kind, int rank) {
    if (rank < 1 || rank > kind.k) return 0;
    return kind.of == METRIC_HIT ? 1 : kind.of == METRIC_NDCG ? 1 / log2(rank + 1.0) : 1.0 / rank;
}

// weight -1: taken away.
static void gains_add_rank(Gains *g, int rank, int list, double weight) {
    if (rank > list) return;
    for (int k = 0; k < METRIC_KS; k++) {
        g->of[k] += weight * metrics_worth((MetricKind){METRIC_HIT, metric_k[k]}, rank);
        g->of[METRIC_KS + k] += weight * metrics_worth((MetricKind){METRIC_NDCG, metric_k[k]}, rank);
    }
    g->of[GAINS - 1] += weight * metrics_worth((MetricKind){METRIC_RECIPROCAL, list}, rank);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

// User i of draw b.
static size_t drawn_user(uint64_t seed, size_t b, size_t i, size_t users) {
    return (size_t)rng_below(seed, RNG_BOOTSTRAP, b * users + i, users);
}

void metrics_interval(Metric *m, double *value, int n) {
    qsort(value, (size_t)n, sizeof *value, by_value);
    m->low = quantile(value, n, 0.025);
    m->high = quantile(value, n, 0.975);
}

static int count_users(const int *user, int rows) {
    int users = user ? 0 : rows;
    for (int i = 0; user && i < rows; i++) users = user[i] >= users ? user[i] + 1 : users;
    return users;
}

// What most draws need of a user: few have gains to add.
typedef struct Drawn {
    int rows, gains; // gains 0: all are zero
} Drawn;

static Drawn *look_at_users(const Gains *user, int users) {
    Drawn *drawn = mem_alloc((size_t)users, sizeof *drawn);
    for (int i = 0; i < users; i++) {
        drawn[i] = (Drawn){(int)user[i].rows, 0};
        for (int j = 0; j < GAINS; j++) drawn[i].gains |= user[i].of[j] != 0;
    }
    return drawn;
}

static Gains resample(const Gains *user, const Drawn *drawn, size_t users, size_t b, uint64_t seed) {
    Gains sum = {0};
    int64_t rows = 0;
    for (size_t i = 0; i < users; i++) {
        const size_t u = drawn_user(seed, b, i, users);
        rows += drawn[u].rows;
        if (!drawn[u].gains) continue;
        for (int j = 0; j < GAINS; j++) sum.of[j] += user[u].of[j];
    }
    sum.rows = (double)rows;
    return sum;
}

// Rows of one user are not independent, so users are drawn, not rows. Each resample is one thread's, whichever that is.
static void bootstrap(Metrics *m, const Gains *user, int users, uint64_t seed) {
    const size_t resamples = (size_t)m->resamples;
    double *mean = mem_alloc(GAINS * resamples, sizeof *mean); // (GAINS, resamples)
    Drawn *drawn = look_at_users(user, users);
#pragma omp parallel for schedule(dynamic, 8)
    for (size_t b = 0; b < resamples; b++) {
        const Gains sum = resample(user, drawn, (size_t)users, b, seed);
        for (size_t j = 0; j < GAINS; j++) mean[j * resamples + b] = sum.of[j] / sum.rows;
    }
    for (size_t j = 0; j < GAINS; j++) metrics_interval(metric_at(m, (int)j), mean + j * resamples, m->resamples);
    free(mean), free(drawn);
}

// other may be NULL.
static void from_ranks(Metrics *m, const int *rank, const int *other, const int *user, int rows, int list, int resamples,
                       uint64_t seed) {
    CHECK(rows > 0 && list > 0 && resamples >= 0);
    *m = (Metrics){.rows = rows, .list = list, .resamples = resamples};
    const int users = count_users(user, rows);
    Gains total = {0}, *each = mem_zalloc((size_t)users, sizeof *each);
    for (int i = 0; i < rows; i++) {
        Gains *of[2] = {&total, &each[user ? user[i] : i]};
        for (int j = 0; j < 2; j++) {
            of[j]->rows += 1;
            gains_add_rank(of[j], rank[i], list, 1);
            if (other) gains_add_rank(of[j], other[i], list, -1);
        }
    }
    for (int k = 0; k < METRIC_KS; k++) m->hits[k] = (int64_t)total.of[k];
    for (int j = 0; j < GAINS; j++) {
        Metric *x = metric_at(m, j);
        x->value = x->low = x->high = total.of[j] / total.rows;
    }
    int measured = 0;
    for (int i = 0; i < users; i++) measured += each[i].rows > 0;
    if (measured < 2) m->resamples = 0;
    if (m->resamples > 0) bootstrap(m, each, users, seed);
    free(each);
}

void metrics_from_ranks(Metrics *m, const int *rank, const int *user, int rows, int list, int resamples, uint64_t seed) {
    from_ranks(m, rank, NULL, user, rows, list, resamples, seed);
}

void metrics_of_gain(Metrics *m, const int *rank, const int *other, const int *user, int rows, int list, int resamples,
                     uint64_t seed) {
    from_ranks(m, rank, other, user, rows, list, resamples, seed);
}

void metrics_of_ratio(Metric *m, const double *sum, const double *weight, const int *user, int rows, int resamples,
                      uint64_t seed) {
    const size_t users = (size_t)count_users(user, rows), draws = (size_t)resamples;
    double *each = mem_zalloc(2 * users, sizeof *each), *value = mem_alloc(draws + 1, sizeof *value),
           *of = mem_zalloc(2 * draws + 1, sizeof *of); // each, of: sum, weight
    double all[2] = {0, 0};
    for (int i = 0; i < rows; i++) {
        double *mine = each + 2 * (size_t)(user ? user[i] : i);
        mine[0] += sum[i], mine[1] += weight[i];
        all[0] += sum[i], all[1] += weight[i];
    }
    CHECK(all[1] > 0);
    m->value = m->low = m->high = all[0] / all[1];
    int n = 0;
#pragma omp parallel for schedule(dynamic, 8)
    for (size_t b = 0; b < draws; b++) {
        double drawn[2] = {0, 0};
        for (size_t i = 0; i < users; i++) {
            const double *mine = each + 2 * drawn_user(seed, b, i, users);
            drawn[0] += mine[0], drawn[1] += mine[1];
        }
        of[2 * b] = drawn[0], of[2 * b + 1] = drawn[1];
    }
    for (size_t b = 0; b < draws; b++)
        if (of[2 * b + 1] > 0) value[n++] = of[2 * b] / of[2 * b + 1];
    if (n > 0) metrics_interval(m, value, n);
    free(each), free(value), free(of);
}

void metrics_of_chance(Metrics *m, const int *candidates, int rows, int list) {
    CHECK(rows > 0 && list > 0);
    *m = (Metrics){.rows = rows, .list = list};
    Gains sum = {0}, *upto = mem_zalloc((size_t)list + 1, sizeof *upto); // of the first places of a list, one hit in each
    for (int rank = 1; rank <= list; rank++) {
        upto[rank] = upto[rank - 1];
        gains_add_rank(&upto[rank], rank, list, 1);
    }
    for (int i = 0; i < rows; i++) {
        const Gains *places = &upto[candidates[i] < list ? candidates[i] : list];
        for (int j = 0; j < GAINS && candidates[i] > 0; j++) sum.of[j] += places->of[j] / candidates[i];
    }
    for (int j = 0; j < GAINS; j++) {
        Metric *x = metric_at(m, j);
        x->value = x->low = x->high = sum.of[j] / rows;
    }
    free(upto);
}

// The name of metric j, or NULL where K is above the list's length.
static const char *metric_name(const Metrics *m, int j, char name[16]) {
    if (j == GAINS - 1) return "MRR";
    if (metric_k[j % METRIC_KS] > m->list) return NULL;
    snprintf(name, 16, "%s@%d", j < METRIC_KS ? "HR" : "NDCG", metric_k[j % METRIC_KS]);
    return name;
}

const Metric *metrics_find(const Metrics *m, const char *name) {
    char text[16];
    for (int j = 0; j < GAINS; j++) {
        const char *mine = metric_name(m, j, text);
        if (mine && !strcmp(mine, name)) return metric_at((Metrics *)m, j);
    }
    return NULL;
}

json_t *metrics_to_json(const Metrics *m) {
    json_t *json = json_object(), *interval = json_object();
    char text[16];
    for (int j = 0; j < GAINS; j++) {
        const Metric *x = metric_at((Metrics *)m, j);
        const char *name = metric_name(m, j, text);
        if (!name) continue;
        json_object_set_new(json, name, json_real(x->value));
        json_object_set_new(interval, name, json_pack("[f, f]", x->low, x->high));
    }
    if (m->resamples > 0) json_object_set(json, "interval", interval);
    json_decref(interval);
    return json;
}

json_t *metrics_gain_to_json(const Metrics *gain, const Metrics *other) {
    json_t *json = json_object();
    char text[16];
    for (int j = 0; j < GAINS; j++) {
        const Metric *x = metric_at((Metrics *)gain, j), *before = metric_at((Metrics *)other, j);
        const char *name = metric_name(gain, j, text);
        if (!name) continue;
        json_t *one = json_pack("{s:f, s:f}", "other", before->value, "gain", x->value);
        json_object_set_new(one, "relative", before->value > 0 ? json_real(x->value / before->value) : json_null());
        if (gain->resamples > 0) json_object_set_new(one, "interval", json_pack("[f, f]", x->low, x->high));
        json_object_set_new(json, name, one);
    }
    return json;
}
