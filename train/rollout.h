// The rollouts of one update: behind each prompt K noisy copies of its thought, r_k = r + z_k with z_0 = 0, and behind each of
// those the true answer. Draw once; then gradients of the objective as often as there are inner updates.
//
// Where the network is frozen the prompts run once for the whole update. Where it trains they run again with the weights of
// each pass, as many at a time as a micro-batch holds. Answers always run in micro-batches.
#ifndef TRAIN_ROLLOUT_H
#define TRAIN_ROLLOUT_H

#include "data/examples.h"
#include "model/think.h"
#include "train/objective.h"
#include "train/reward.h"

typedef struct RolloutOptions {
    int samples;        // K, the un-noised one included
    double sigma;       // standard deviation of the noise
    int sigma_relative; // in units of the thought's root mean square, taken for each prompt
    RewardKind reward;
    const Ranking *ranking; // for rewards that come of lists
} RolloutOptions;

typedef struct Rollout { // memory in the session's host arena
    Session *s;
    const Examples *e;
    const uint32_t *index;         // (n) of the examples
    const RolloutOptions *options; // borrowed, as the next one
    const Objective *o;
    int n, K, D, micro_rows;  // K is options->samples; micro_rows: positions that run together
    int of;                   // prompts of the update: n, or, where these are a share of it, to be set by the caller
    size_t *token;            // (n + 1) where the samples of example b begin in logprob: K times its answer tokens
    float *noise;             // (n, K, D) z_k, as it is added
    float *sigma;             // (n) of each prompt's noise
    float *old;               // (n, D) thoughts of the policy that drew
    float *old_logprob;       // (all tokens of all samples) the same policy's
    float *r, *logprob;       // (n, D), (tokens) of the last pass
    float *reference;         // (n, D) or (tokens), whatever the objective compares, of the policy before RL; NULL: beta is 0
    float *dlogprob;          // (tokens)
    float *dsample, *dr;      // (n, K, D), (n, D) gradients at the noisy thoughts, and at the thoughts
    double *reward;           // (n, K)
    double *advantage;        // (n, K) to be set by the caller
    int inner;                // gradients so far
    Think think;              // of the prompts that are open
    int first, end;           // which prompts those are
    SessionMark start, ready; // before any prompt; where the network is frozen, behind the prompts
} Rollout;

void rollout_init(Rollout *u, Session *s, const Examples *e, const uint32_t *index, int n, const RolloutOptions *options,
                  const Objective *o, int micro_rows);

// Thoughts, samples and rewards. unit (n, K, D): noise of unit variance, [.][0][.] ignored. Where the gradient of the first
// inner update is linear in the advantages (a ratio of 1, no KL, and nothing but the last thoughts to send it to) each sample's
// is taken here already, for an advantage of 1.
void rollout_draw(Rollout *u, const float *unit);

// What the policy before RL says of the samples. weights: of the groups that train, as they were (host); on return as given.
void rollout_reference(Rollout *u, float *weights);

// Gradients of the objective at the present weights, added to the model's: those of the next inner update.
Surrogate rollout_gradient(Rollout *u);

// Positions a session needs.
int rollout_slots(const Examples *e, int thoughts, int batch, int samples, int micro_rows);

#endif
