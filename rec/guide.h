// Collaborative guidance as in D3: a recommender that scores every item has a say in each token of an answer.
#ifndef REC_GUIDE_H
#define REC_GUIDE_H

#include "rec/catalogue.h"
#include "rec/ranker.h"

typedef struct Guide {
    const Ranker *ranker; // borrowed; has `score`
    const Catalogue *catalogue;
    int users;
    float *score; // (users, items)
    double *leaf; // (leaves) scratch
    double *mass; // (users, trie.nodes)
} Guide;

void guide_open(Guide *g, const Ranker *ranker, const Catalogue *catalogue, int users);
void guide_close(Guide *g);

// Where the probability (softmax over the items that may be recommended) of each user lies. With `exclude_seen` the leaves of
// the history have none, as an item with a score of -INFINITY has. ERR_DATA for NaN, and where no item has a score.
int guide_users(Guide *g, const History *h, int users, int exclude_seen, Err *err);
// Of user u, for BeamStart.mass: mass[n] is the sum over the items below node n of the branching part (in a tail it is that of
// its stub). So log(mass[child] / mass[node]) is the log of the child's share among the legal children.
static inline const double *guide_mass(const Guide *g, int u) {
    return g->mass + (size_t)u * (size_t)g->catalogue->trie.nodes;
}

#endif
