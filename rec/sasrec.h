// SASRec as a recommender: scores of all items for users' histories.
#ifndef REC_SASREC_H
#define REC_SASREC_H

#include "model/session.h"
#include "rec/ranker.h"
#include "rec/thoughts.h"

typedef struct SasrecRanker {
    Session session;
    const Items *items;   // borrowed
    const int32_t *token; // (items->n) borrowed: the model's token of each item, -1: it does not know the item
    int users, k, exclude_seen;
    Thoughts thoughts;
} SasrecRanker;

int sasrec_ranker_open(SasrecRanker *r, Llm *llm, const Items *items, const int32_t *token, int users, int k, int exclude_seen,
                       Err *err);
void sasrec_ranker_close(SasrecRanker *r);

// score (users, items->n): natural logarithm of the model's probability of each item; -inf for items that it does not know
// and for removed ones. A history counts with its last items that the model knows, as many as it has positions; for a history
// without any all items it knows score 0. ERR_DATA where a score is no number. users: at most r->users.
int sasrec_ranker_scores(SasrecRanker *r, const History *h, int users, float *score, Err *err);

// Whether the model knows an item of the history.
int sasrec_ranker_knows(const SasrecRanker *r, const History *h);

// The same as a Ranker, but -INFINITY for what exclude_seen leaves out. Lists are by score, the lower item number first where
// it is equal; a history that the model knows nothing of has an empty one.
Ranker sasrec_ranker(SasrecRanker *r);

// For the thought test (ThoughtTestLosses): the loss of a row's target is minus its score; one token.
typedef struct SasrecLosses {
    SasrecRanker *ranker;
    const Rows *rows;
} SasrecLosses;
int sasrec_losses(void *losses, double *loss, double *tokens, Err *err);

// Where the item `token` stands among all items behind the last position of node[i]: rank (n), 1 the first, 0 not among the
// first k. Of equal scores the lower token is first. The session is left as it was.
void sasrec_ranks(Session *s, int32_t token, const int *node, int n, int k, int *rank);

#endif
