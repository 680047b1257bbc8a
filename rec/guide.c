#include "rec/guide.h"
#include "base/arena.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void guide_open(Guide *g, const Ranker *ranker, const Catalogue *catalogue, int users) {
    CHECK(ranker->score && users > 0);
    *g = (Guide){.ranker = ranker, .catalogue = catalogue, .users = users};
    g->score = mem_alloc((size_t)users * (size_t)catalogue->items->n, sizeof *g->score);
    g->leaf = mem_alloc((size_t)catalogue->trie.leaves, sizeof *g->leaf);
    g->mass = mem_alloc((size_t)users * (size_t)catalogue->trie.nodes, sizeof *g->mass);
}

void guide_close(Guide *g) {
    free(g->score), free(g->leaf), free(g->mass);
    *g = (Guide){0};
}

// Probabilities of the leaves, up to a factor.
static int leaf_masses(Guide *g, const History *h, const float *score, int exclude_seen, Err *err) {
    const Catalogue *c = g->catalogue;
    const Items *items = c->items;
    float highest = -INFINITY;
    memset(g->leaf, 0, (size_t)c->trie.leaves * sizeof *g->leaf);
    for (int i = 0; i < items->n; i++) {
        if (!(score[i] < INFINITY)) return err_set(err, ERR_DATA, "the guide's score of item %s is not finite", items->id[i]);
        if (!items->removed[i] && score[i] > highest) highest = score[i];
    }
    if (highest == -INFINITY) return err_set(err, ERR_DATA, "the guide lists no item for a history of %d", h->n);
    for (int i = 0; i < items->n; i++)
        if (!items->removed[i]) g->leaf[c->leaf[i]] += exp((double)score[i] - (double)highest);
    for (int i = 0; i < h->n && exclude_seen; i++) {
        int leaf = catalogue_history_leaf(c, h, i);
        if (leaf >= 0) g->leaf[leaf] = 0;
    }
    return 0;
}

// Children have greater numbers than their parents, and stubs stand in the order of their leaves.
static void node_masses(const Guide *g, double *mass) {
    const Trie *t = &g->catalogue->trie;
    for (int n = t->nodes - 1, leaf = t->leaves; n >= 0; n--) {
        const int first = t->first_child[n], end = t->first_child[n + 1];
        mass[n] = first == end ? g->leaf[--leaf] : 0;
        for (int child = first; child < end; child++) mass[n] += mass[child];
    }
}

int guide_users(Guide *g, const History *h, int users, int exclude_seen, Err *err) {
    CHECK(users <= g->users);
    const size_t items = (size_t)g->catalogue->items->n;
    for (int u = 0, end; u < users; u = end) {
        end = u + g->ranker->users < users ? u + g->ranker->users : users;
        if (g->ranker->score(g->ranker->self, h + u, end - u, g->score + (size_t)u * items, err)) return -1;
    }
    for (int u = 0; u < users; u++) {
        if (leaf_masses(g, &h[u], g->score + (size_t)u * items, exclude_seen, err)) return -1;
        node_masses(g, g->mass + (size_t)u * (size_t)g->catalogue->trie.nodes);
    }
    return 0;
}
