#include "report/spread.h"
#include "base/arena.h"
#include "base/rng.h"
#include "rec/baseline.h"
#include "rec/metrics.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void spread_mean(SpreadValue *v, const double *x, int n) {
    double sum = 0, squares = 0;
    *v = (SpreadValue){.mean = NAN, .sd = NAN};
    for (int i = 0; i < n; i++)
        if (isfinite(x[i])) sum += x[i], v->n++;
    if (v->n == 0) return;
    v->mean = sum / v->n;
    for (int i = 0; i < n; i++)
        if (isfinite(x[i])) squares += (x[i] - v->mean) * (x[i] - v->mean);
    if (v->n > 1) v->sd = sqrt(squares / (v->n - 1));
}

// ---- the draws -------------------------------------------------------------------------------------------------------------

typedef struct Draws {
    int pairs, users;
    const double *gain; // (pairs, users) summed over the rows of a user
    const int *rows;    // (users)
    double *sum;        // (pairs) scratch
} Draws;

// RNG_BOOTSTRAP is shared with metrics.c: the seeds of its draws lie elsewhere.
enum { DRAW_PAIRS = 0x7350, DRAW_USERS = 0x7355 };

static double draw(const Draws *d, uint64_t seed, int b) {
    double total = 0, rows = 0;
    memset(d->sum, 0, (size_t)d->pairs * sizeof *d->sum);
    for (int i = 0; i < d->users; i++) {
        const uint64_t at = (uint64_t)b * (uint64_t)d->users + (uint64_t)i;
        const size_t u = (size_t)rng_below(seed ^ DRAW_USERS, RNG_BOOTSTRAP, at, (uint64_t)d->users);
        rows += d->rows[u];
        for (int s = 0; s < d->pairs; s++) d->sum[s] += d->gain[(size_t)s * (size_t)d->users + u];
    }
    for (int s = 0; s < d->pairs; s++) {
        const uint64_t at = (uint64_t)b * (uint64_t)d->pairs + (uint64_t)s;
        total += d->sum[rng_below(seed ^ DRAW_PAIRS, RNG_BOOTSTRAP, at, (uint64_t)d->pairs)];
    }
    return total / (rows * d->pairs);
}

static void bootstrap(SpreadValue *v, const Draws *d, int resamples, uint64_t seed) {
    v->low = v->high = v->p = (double)NAN;
    if (d->users < 2) return; // nothing can be drawn
    double *value = mem_alloc((size_t)resamples, sizeof *value);
    int below = 1, above = 1;
    for (int b = 0; b < resamples; b++) {
        value[b] = draw(d, seed, b);
        if (fabs(value[b]) < 1e-12) value[b] = 0; // gains that cancel leave a rest of rounding
        below += value[b] <= 0, above += value[b] >= 0;
    }
    Metric interval;
    metrics_interval(&interval, value, resamples);
    v->low = interval.low, v->high = interval.high;
    v->p = fmin(1, 2.0 * (below < above ? below : above) / (resamples + 1));
    free(value);
}

static void lists_of(const SpreadPair *pair, int pairs, int *shortest, int *longest) {
    *shortest = INT_MAX, *longest = 0;
    for (int s = 0; s < pairs; s++)
        for (int i = 0; i < 2; i++) {
            const int list = i ? pair[s].other->list : pair[s].mine->list;
            if (list < *shortest) *shortest = list;
            if (list > *longest) *longest = list;
        }
}

static int check_pairs(const SpreadPair *pair, int pairs, Err *err) {
    for (int s = 0; s < pairs; s++)
        if (record_comparable(pair[0].mine, pair[s].mine, err) || record_comparable(pair[0].mine, pair[s].other, err))
            return -1;
    return 0;
}

int spread_gain(SpreadValue *v, const SpreadPair *pair, int pairs, const char *metric, int resamples, uint64_t seed, Err *err) {
    int shortest, longest;
    lists_of(pair, pairs, &shortest, &longest);
    const MetricKind kind = metrics_kind(metric, longest);
    v->pairs = 0;
    if (!pairs || kind.k > shortest) return 0;
    if (check_pairs(pair, pairs, err)) return -1;
    const Record *first = pair[0].mine;
    int *user = mem_alloc((size_t)first->n, sizeof *user);
    const int users = baseline_number_users(&(Rows){.n = first->n, .row = first->row}, user);
    int *rows = mem_zalloc((size_t)users, sizeof *rows);
    double *gain = mem_zalloc((size_t)pairs * (size_t)users, sizeof *gain), *sum = mem_alloc((size_t)pairs, sizeof *sum);
    double other = 0, total = 0;
    for (int i = 0; i < first->n; i++) rows[user[i]]++;
    for (int s = 0; s < pairs; s++)
        for (int i = 0; i < first->n; i++) {
            const double theirs = metrics_worth(kind, pair[s].other->rank[i]),
                         more = metrics_worth(kind, pair[s].mine->rank[i]) - theirs;
            gain[(size_t)s * (size_t)users + (size_t)user[i]] += more;
            other += theirs, total += more;
        }
    v->pairs = pairs;
    v->other = other / ((double)first->n * pairs);
    v->gain = total / ((double)first->n * pairs);
    bootstrap(v, &(Draws){pairs, users, gain, rows, sum}, resamples, seed);
    free(user), free(rows), free(gain), free(sum);
    return 0;
}
