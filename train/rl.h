// Stage 2: LR-GRPO, the modified GRPO (method, section 4). By default backbone and head are frozen and LatentRATT trains.
//
// For each prompt r_k = r + z_k, z_0 = 0, z_k ~ N(0, sigma^2); reward R_k = -perplexity of the true answer behind r_k;
// advantage against the mean reward of the un-noised samples, over the whole update; gradient of -A_k log p.
#ifndef TRAIN_RL_H
#define TRAIN_RL_H

#include "train/advantage.h"
#include "train/rollout.h"
#include "train/sft.h"

typedef struct RlMethod {
    RolloutOptions rollout;
    Objective objective;
    AdvantageScope scope;
    int window; // prompts that share a baseline and a norm; 0: the whole update
    int inner;  // updates on one set of rollouts (0 as 1); from the second on ratios move, and the clip acts
} RlMethod;

typedef struct RlFigures {                            // of one update
    double reward_mean, reward_clean;                 // over all samples; over the un-noised ones
    double reward_std, spread_within, spread_between; // over all; mean of the groups' stds; std of the groups' means
    double zero_variance;                             // share of the groups whose rewards are all the same
    double length_correlation;                        // of the groups' mean rewards and the answers' lengths; NaN: not defined
    double advantage_norm, advantage_between;         // 2-norm; share of the advantage's variance that lies between prompts
    double thought_norm;                              // mean 2-norm of r
    // Of the last inner update; the ratios' and the clip's share count tokens, or thoughts, as the objective says.
    double loss, kl, ratio_mean, ratio_min, ratio_max, clip_fraction;
} RlFigures;

// The gradients of one update's first inner update, added to the model's. noise (n, K, D) host, of unit variance, [.][0][.]
// ignored; reward and advantage (n, K) receive what was computed; either may be NULL. reference: the weights that train, as
// they were before RL (host), for beta; on return as given.
RlFigures rl_examples(Session *s, const Examples *e, const uint32_t *index, int n, const RlMethod *m, const float *noise,
                      float *reference, int micro_rows, double *reward, double *advantage);

// One update: rollouts, then each inner update's gradient and step of the optimizer; *step is the last one's. A step that is
// refused ends it.
// session (rounds): one for each share of this rank, for what is kept between drawing and going back.
RlFigures rl_update(Session *const *session, const Examples *e, const uint32_t *index, int n, const RlMethod *m,
                    const float *noise, float *reference, int micro_rows, Shares *shares, Optimizer *optimizer,
                    OptimizerStep *step);

typedef struct RlOptions {
    LoopOptions loop;
    OptimizerOptions optimizer;
    RlMethod method;
    unsigned groups; // TRAIN_*: which weights train
} RlOptions;

// Whether the model can be trained so: ERR_USAGE before anything is written.
int rl_check(const Llm *m, const RlOptions *o, Err *err);
int rl_train(Session *s, const Examples *train, const Examples *valid, const RlOptions *o, LoopReport *report, Err *err);

#endif
