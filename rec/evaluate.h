// How good the ranked items are: every row of a split, by title and by item id, beside what has to be beaten.
#ifndef REC_EVALUATE_H
#define REC_EVALUATE_H

#include "rec/results.h"
#include "rec/slices.h"

typedef struct EvaluateOptions {
    int resamples; // of the intervals; 0: none
    uint64_t seed;
    ResultsPaths results; // files to write
    const char *against;  // lines that another evaluation of the same rows wrote; or NULL
    int alone;            // no baselines and slices: they rank among all items
    const Rows *own;      // the same rows as the file has them, for the baselines; NULL: `rows`
    int exclude_seen;     // what the ranker was told: the baselines do the same
    int *rank;            // (rows) receives the targets' ranks by title, 0 for a miss; or NULL
    int *slices;          // (rows) receives slices_of each, unless `alone`; or NULL
} EvaluateOptions;

typedef struct Evaluation {
    int rows, users;
    int list;                             // evaluate_list: no K above it is given
    Metrics match[MATCHES];               // of the model
    Slice slice[SLICES];                  // of the model, by title
    Metrics baseline[BASELINES][MATCHES]; // rows 0: needs train rows, and there are none. Random: what is expected
    int outside;                          // targets that are not in the catalogue, or removed from it: always a miss
    int short_lists;                      // rows with fewer than `list` items
    double seconds;                       // of recommending
} Evaluation;

// train may be NULL or empty. All rows count; ERR_DATA where there are none. An item counts under the first with its title.
int evaluate_rows(Evaluation *e, const Ranker *r, const Rows *rows, const Rows *train, const EvaluateOptions *o, Err *err);

// How many titles of its lists count: the places of a rank by title, and of one by item.
int evaluate_list(const Ranker *r);

// The targets' ranks alone, rank[by] (rows->n); 0: a miss.
int evaluate_ranks(const Ranker *r, const Rows *rows, int *const rank[MATCHES], Err *err);

// {"rows": N, "title": {...}, "item": {...}, "baselines": {"popularity": {by title..., "item": {...}}, ...}, "warm": .., ...,
// "against": {...}}
json_t *evaluate_to_json(const Evaluation *e);

#endif
