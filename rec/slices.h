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
extern const char *const slice_label[SLICES]; // "all", "warm", "cold", ..., "1st fifth", ...

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

// The rows of one slice: their ranks, and their users numbered anew.
typedef struct SlicesPart {
    int n;
    int *rank, *other, *user; // (n)
    int *number;              // (rows) scratch
} SlicesPart;
void slices_part_open(SlicesPart *p, int rows); // room for any slice of so many rows
void slices_part_close(SlicesPart *p);
// in (rows): slices_of each. other may be NULL; user (rows) numbers the users from 0.
void slices_pick(SlicesPart *p, int slice, const int *in, const int *rank, const int *other, const int *user, int rows);

typedef struct SlicesRanks { // (rows) each
    const int *rank, *other; // other: NULL, or of the other evaluation
    const int *user;
    int list, other_list;
    int resamples;
    uint64_t seed;
} SlicesRanks;
// Fills metrics, other and gain of every slice; in (rows) receives slices_of each row. Intervals: of the gains, and of the
// metrics of SLICE_ALL.
void slices_measure(Slices *s, const Rows *rows, const SlicesRanks *ranks, int *in);

// {"warm": {"rows", "items", "interactions", metrics}, "cold", "popular", "unpopular", "buckets": [...]} into `json`.
void slices_to_json(json_t *json, const Slice slice[SLICES]);
// {"rows", gains..., "warm": {...}, ..., "buckets": [...]}
json_t *slices_gain_to_json(const Slice slice[SLICES]);

#endif
