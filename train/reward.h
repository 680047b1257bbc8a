// What a noisy thought earns.
#ifndef TRAIN_REWARD_H
#define TRAIN_REWARD_H

#include "model/session.h"

typedef enum RewardKind {
    REWARD_PERPLEXITY, // minus the perplexity of the true answer (method, section 4)
    REWARD_LOGPROB,    // its log-probability, the mean over its tokens
    REWARD_HIT,        // 1 where the beams find the true item, else 0
    REWARD_RANK,       // 1 / log2(1 + rank) in the beams, 0 where they miss it: the sample's own NDCG
} RewardKind;

// The rank of the true item in the lists that come of noisy thoughts: who calls rl knows the catalogue and searches it.
typedef struct Ranking {
    void *context;
    // rank (samples): 1 is the first of the list that begins behind node[k]'s last position, 0: not in it. The session is left
    // as it was.
    void (*rank)(void *context, Session *s, uint32_t example, const int *node, int samples, int *rank);
} Ranking;

static inline int reward_of_lists(RewardKind kind) {
    return kind == REWARD_HIT || kind == REWARD_RANK;
}
double reward_of_answer(RewardKind kind, const float *logprob, int A); // from the log-probabilities of the A tokens
double reward_of_rank(RewardKind kind, int rank);

#endif
