// Stage 2: LR-GRPO, the modified GRPO (method, section 4). Backbone and head are frozen; LatentRATT trains.
//
// For each prompt r_k = r + z_k, z_0 = 0, z_k ~ N(0, sigma^2); reward R_k = -perplexity of the true answer behind r_k;
// advantage against the mean reward of the un-noised samples, over the whole update; gradient of -A_k log p.
#ifndef TRAIN_RL_H
#define TRAIN_RL_H

#include "train/advantage.h"
#include "train/sft.h"

typedef struct RlMethod {
    int samples;        // K, the un-noised one included
    double sigma;       // standard deviation of the noise
    int sigma_relative; // in units of the thought's root mean square, taken for each prompt
    AdvantageScope scope;
    int window;                       // prompts that share a baseline and a norm; 0: the whole update
    double epsilon_low, epsilon_high; // clip of the policy ratio; with one update a batch the ratio is 1 and it never acts
    double beta;                      // weight of the KL to the policy before RL; 0: none
} RlMethod;

typedef struct RlFigures { // of one update
    double loss, kl;
    double reward_mean, reward_clean;                 // over all samples; over the un-noised ones
    double reward_std, spread_within, spread_between; // over all; mean of the groups' stds; std of the groups' means
    double advantage_norm, advantage_between;         // 2-norm; share of the advantage's variance that lies between prompts
    double thought_norm;                              // mean 2-norm of r
} RlFigures;

// One update's gradients, added to the model's. noise (n, K, D) host, of unit variance, [.][0][.] ignored; reward and
// advantage (n, K) receive what was computed; either may be NULL. reference: LatentRATT's weights before RL (host), for beta.
// train 0: rewards and figures alone.
RlFigures rl_examples(Session *s, const Examples *e, const uint32_t *index, int n, const RlMethod *m, const float *noise,
                      const float *reference, int micro_rows, int train, double *reward, double *advantage);

typedef struct RlOptions {
    LoopOptions loop;
    OptimizerOptions optimizer;
    RlMethod method;
} RlOptions;

int rl_train(Session *s, const Examples *train, const Examples *valid, const RlOptions *o, LoopReport *report, Err *err);

// Positions a session needs.
int rl_slots(const Examples *e, int thoughts, int batch, int samples, int micro_rows);

#endif
