#include "train/reward.h"

#include <math.h>

double reward_of_answer(RewardKind kind, const float *logprob, int A) {
    double sum = 0;
    for (int i = 0; i < A; i++) sum += (double)logprob[i];
    return kind == REWARD_PERPLEXITY ? -exp(-sum / A) : sum / A;
}

double reward_of_rank(RewardKind kind, int rank) {
    if (rank == 0) return 0;
    return kind == REWARD_HIT ? 1 : 1 / log2(1 + rank);
}
