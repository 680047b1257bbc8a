// What evaluation and the commands need of a recommender, whatever it is.
#ifndef REC_RANKER_H
#define REC_RANKER_H

#include "data/dataset.h"

// What is known of a user. Rankers read the titles or the ids, as suits them.
typedef struct History {
    const char *const *title;   // (n) oldest first
    const char *const *item_id; // (n), or NULL: the titles stand for the items
    const char *const *text;    // (n) index texts, NULL for an item without; or NULL: no item has one
    int n;
    int number; // of the row or request; what is random about it depends on this alone, whatever the group
} History;

typedef struct Recommendation {
    int item; // of items that share a title, and that the ranker does not tell apart, the first
    float score;
} Recommendation;

typedef struct Ranker {
    void *self;
    const Items *items; // borrowed
    int users;          // most at a time
    int k;              // items of a list
    int titles;         // for an evaluation of such as list items of one title apart: what it asks for, see ranker_places; 0: k
    int seen_by_item;   // items that were seen are left out, others with their titles are not
    int by_text;        // items with the same index text are not told apart
    // out (users, k) best first; found (users): how many of the k there are. ERR_DATA where a score is no finite number.
    int (*rank)(void *self, const History *h, int users, Recommendation *out, int *found, Err *err);
    // score (users, items->n) of every item, higher is better, -INFINITY: never listed, as what was seen where that is left
    // out; NULL where the recommender only writes lists
    int (*score)(void *self, const History *h, int users, float *score, Err *err);
} Ranker;

// The k best of n items: out (k), of equal scores the lower item number first. -INFINITY is not listed; ERR_DATA for NaN.
int ranker_best(const float *score, int n, int k, Recommendation *out, int *found, Err *err);

// How many items a list must have to hold so many titles, whatever they are. seen: with seen_by_item the rows that lists are
// made for, else NULL: other items of the titles of a history may be listed then, and do not count.
int ranker_places(const Items *items, int titles, const Rows *seen);

// The history of a row; borrowed from it.
static inline History ranker_history(const Row *row, int number) {
    return (History){row->title, row->item_id, row->text, row->n, number};
}

#endif
