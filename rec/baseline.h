// What a model has to beat: the most popular items, neighbours of the user's items, the user's own history again, and chance.
// Everything here comes from the train rows alone.
#ifndef REC_BASELINE_H
#define REC_BASELINE_H

#include "data/sequences.h"
#include "rec/ranker.h"

// By title, items that share a title count as one and go under the first of them; by item, each stands for itself.
typedef enum MatchBy { MATCH_TITLE, MATCH_ITEM } MatchBy;
enum { MATCHES = 2 };

// Number the users of the rows from 0 in order of appearance; user (rows->n). Returns how many there are.
int baseline_number_users(const Rows *rows, int *user);

// For each item its nearest others by the cosine of co-occurrence: of the users who have both, over the geometric mean of
// those who have either. Sarwar et al. 2001; Deshpande & Karypis 2004. At most NEAREST each: 8 bytes a pair.
typedef struct Neighbours {
    size_t *first; // (items->n + 1): those of item i are [first[i], first[i + 1]), nearest first
    int *item;
    float *cosine;
} Neighbours;
enum { BASELINE_NEAREST = 50 };

typedef struct Baseline {
    const Items *items;
    MatchBy by;
    int *key;         // (items->n): under which item each one counts
    int candidates;   // items that are their own key and not removed: those that can be listed
    Sequences train;  // item numbers; the users' interactions before the cut, each once
    int64_t events;   // interactions counted
    int *count;       // (items->n): interactions of each key
    Neighbours *near; // owned; empty until an item-kNN ranker is made, which is what they take so long for
} Baseline;

// train may be empty. Its ids must be in `items`.
void baseline_open(Baseline *b, const Items *items, const Rows *train, MatchBy by);
// As if it had been opened so; what is the same for both is kept. No ranker of it is in use.
void baseline_match_by(Baseline *b, MatchBy by);
void baseline_close(Baseline *b);

typedef enum BaselineKind { BASELINE_POPULARITY, BASELINE_ITEM_KNN, BASELINE_REPEAT_LAST, BASELINE_RANDOM } BaselineKind;
enum { BASELINES = 4 };
extern const char *const baseline_name[BASELINES]; // "popularity", "item-knn", "repeat-last", "random"
int baseline_kind(const char *name);               // or -1

// How many items random order chooses among for a row: the candidates; with exclude_seen less those of its history. 0 where its
// target is none of them.
int baseline_choices(const Baseline *b, const Row *row, int exclude_seen);

// As a recommender. Scores, of candidates alone (other items are never listed):
//   popularity   ln(1 + interactions), so that their softmax is the share of interactions, smoothed by one
//   item-knn     the sum over the user's items h of cosine(h, i), over the nearest of h; an item is no neighbour of its own
//   repeat-last  how late the item stands in the history; items outside are not listed
//   random       uniform, from the seed and History.number
typedef struct BaselineRanker {
    const Baseline *b;
    BaselineKind kind;
    int users, k;
    int exclude_seen;     // the history's items are not listed
    int every_item;       // every item scores what it counts under, for those who rank items and not titles
    uint64_t seed;        // of random
    float *score, *empty; // (items->n) of one user, and of one without history; made by baseline_ranker
    char *met;            // (items->n) scratch, zero between users; likewise
    Recommendation *best; // (bests) the popular ones; made by the first list of them
    int bests;
} BaselineRanker;

// Whether it says anything of a user: item-knn has no list where it knows nothing of the history. Its scores are 0 there.
int baseline_ranker_knows(const BaselineRanker *r, const History *h);

// Valid as long as `r`, which is given with all but the arrays set.
Ranker baseline_ranker(BaselineRanker *r);
void baseline_ranker_free(BaselineRanker *r);

#endif
