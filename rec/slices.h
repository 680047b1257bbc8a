// Which rows an evaluation looks at apart: by whether, and how often, their target occurs in the train rows. By title.
#ifndef REC_SLICES_H
#define REC_SLICES_H

#include "rec/baseline.h"
#include "rec/metrics.h"

// popular: the fifth of the items that occur in the train rows with the most interactions; unpopular: all others.
// The buckets: items from the most popular down, cut so that each holds a fifth of the interactions; an item lies where the
// interactions before it end. Items that do not occur lie in the last. Ties: the lower item number first.
enum { SLICE_ALL, SLICE_WARM, SLICE_COLD, SLICE_POPULAR, SLICE_UNPOPULAR, SLICE_BUCKET, SLICE_BUCKETS = 5 };
enum { SLICES = SLICE_BUCKET + SLICE_BUCKETS };

typedef struct Slice {
    int items;            // titles of the catalogue
    int64_t interactions; // of them, in the train rows
    Metrics metrics;      // of the rows whose target lies here; rows 0: there are none
    Metrics other, gain;  // of another evaluation of the same rows, and by how much it is beaten; rows 0: there is none
} Slice;

typedef struct Slices {
    Slice slice[SLICES];
    uint16_t *in; // (items->n): bit s: slice s has the item; of keys of the baseline
    const Items *items;
} Slices;

// b: by title. Without train rows all is one slice.
void slices_open(Slices *s, const Baseline *b);
void slices_close(Slices *s);

// Bit s: the row's target lies in slice s.
int slices_of(const Slices *s, const Row *row);

typedef struct SlicesRanks { // (rows) each
    const int *rank, *other; // other: NULL, or of the other evaluation
    const int *user;
    int list, other_list;
    int resamples;
    uint64_t seed;
} SlicesRanks;
// Fills metrics, other and gain of every slice. Intervals: of the gains, and of the metrics of SLICE_ALL.
void slices_measure(Slices *s, const Rows *rows, const SlicesRanks *ranks);

// {"warm": {"rows", "items", "interactions", metrics}, "cold", "popular", "unpopular", "buckets": [...]} into `json`.
void slices_to_json(json_t *json, const Slice slice[SLICES]);
// {"rows", gains..., "warm": {...}, ..., "buckets": [...]}
json_t *slices_gain_to_json(const Slice slice[SLICES]);

#endif
