// Hit rate, NDCG and reciprocal rank from the rank of one target, with bootstrap intervals.
#ifndef REC_METRICS_H
#define REC_METRICS_H

#include "base/json.h"
#include <stdint.h>

enum { METRIC_KS = 5 };
extern const int metric_k[METRIC_KS]; // 1, 3, 5, 10, 20

typedef struct Metric {
    double value, low, high; // mean and 95 % interval
} Metric;

typedef struct Metrics {
    int rows, list; // rows measured; length of the lists: a K above it is not given
    int resamples;  // behind the intervals; 0: there are none, as where all rows are of one user
    Metric hit[METRIC_KS], ndcg[METRIC_KS], mrr;
    int64_t hits[METRIC_KS]; // exact counts
} Metrics;

// What a rank is worth: HR@K 1 and NDCG@K 1 / log2(rank + 1) within K places, MRR 1 / rank within the `k` places of the list.
typedef struct MetricKind {
    enum { METRIC_HIT, METRIC_NDCG, METRIC_RECIPROCAL } of;
    int k;
} MetricKind;
MetricKind metrics_kind(const char *name, int list); // of "HR@K", "NDCG@K" or "MRR"
double metrics_worth(MetricKind kind, int rank);     // 0 for a miss

// rank (rows): 1 is best, 0 (or beyond the list) a miss; each metric is the mean worth. Intervals: percentiles over `resamples`
// draws of users with all their rows; user (rows) numbers them from 0, NULL: every row is a user of its own. The same ranks and
// seed give the same intervals, whatever number of threads OpenMP gives the caller. rows >= 1.
void metrics_from_ranks(Metrics *m, const int *rank, const int *user, int rows, int list, int resamples, uint64_t seed);
// The same of the difference between two rankings of the same rows, `rank` minus `other`: both see the same draws of users, so
// what is hard for both cancels (a paired bootstrap).
void metrics_of_gain(Metrics *m, const int *rank, const int *other, const int *user, int rows, int list, int resamples,
                     uint64_t seed);
// The mean of `sum` for each unit of `weight` over all rows (a loss a token, where rows have several), with the interval of the
// same draws of users, but for those without weight. The rows' weights sum to more than 0.
void metrics_of_ratio(Metric *m, const double *sum, const double *weight, const int *user, int rows, int resamples,
                      uint64_t seed);
// The 95 % interval of n drawn values, which are sorted.
void metrics_interval(Metric *m, double *value, int n);
// By its name; NULL where K is none of metric_k or above the list's length.
const Metric *metrics_find(const Metrics *m, const char *name);
// What lists in random order score on average, the target of row i among candidates[i] equally likely ones; 0: never. No
// intervals.
void metrics_of_chance(Metrics *m, const int *candidates, int rows, int list);
// {"HR@1": .., "NDCG@10": .., "MRR": .., "interval": {"HR@10": [low, high], ...}}, K up to the list's length.
json_t *metrics_to_json(const Metrics *m);
// {"HR@10": {"other": x, "gain": x, "relative": gain / other or null, "interval": of the gain}, ...}
json_t *metrics_gain_to_json(const Metrics *gain, const Metrics *other);

#endif
