// One row of an experiment over its seeds: mean and spread of each metric, and what is gained over another row.
#ifndef REPORT_SPREAD_H
#define REPORT_SPREAD_H

#include "report/record.h"

typedef struct SpreadValue {
    int n;               // runs behind it; 0: none has the metric
    double mean, sd;     // sd: sample standard deviation over the runs; NAN for one run
    int pairs;           // runs held against one of the other row each; 0: the rest is not set
    double other, gain;  // the other row's mean over the pairs, and the mean difference
    double low, high, p; // 95 % interval of the gain, and two-sided p of no gain
} SpreadValue;

void spread_mean(SpreadValue *v, const double *x, int n); // NANs among x are passed over

typedef struct SpreadPair {
    const Record *mine, *other;
} SpreadPair;

// metric: "HR@K", "NDCG@K" or "MRR", by title. The interval is a percentile bootstrap that draws the pairs (seeds) and, the
// same ones for all pairs, the users with all their rows; p twice the smaller share of the draws at or beyond no gain, at least
// 2 / (resamples + 1); all three are NaN where all rows are of one user. Same records and seed: the same numbers. No pairs
// where K is above a list, or for MRR, which counts all places of a list, where lists are not of one length. ERR_DATA where the
// pairs are not comparable.
int spread_gain(SpreadValue *v, const SpreadPair *pair, int pairs, const char *metric, int resamples, uint64_t seed, Err *err);

#endif
