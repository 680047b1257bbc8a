// What one inner update of LR-GRPO descends, on plain numbers (method, sections 4 and 9).
//
// With rho = p / p_old a term is -min(rho A, clip(rho, 1 - low, 1 + high) A), plus beta times a KL to the policy before RL.
// Its gradient is that of -rho A log p, and none where the clip acts: rho > 1 + high and A > 0, or rho < 1 - low and A < 0.
#ifndef TRAIN_OBJECTIVE_H
#define TRAIN_OBJECTIVE_H

#include <stdint.h>

typedef enum ObjectiveKind {
    OBJECTIVE_TOKEN,  // p is that of each answer token behind the noisy thought (published)
    OBJECTIVE_LATENT, // p is the density of the noisy thought itself under N(r, sigma^2 I): the policy gradient over thoughts
} ObjectiveKind;

typedef struct Objective {
    ObjectiveKind kind;
    double epsilon_low, epsilon_high, beta;
} Objective;

typedef struct Surrogate { // of one inner update, as its terms are added
    double clipped_loss, kl;
    double ratio_sum, ratio_min, ratio_max;
    int64_t ratios, clipped; // terms with a ratio; those whose gradient the clip stopped
} Surrogate;

Surrogate objective_none(void); // no term yet
void objective_add(Surrogate *sum, const Surrogate *more);
double objective_loss(const Objective *o, const Surrogate *sum);

// The A tokens of one sample, each with weight `share`. dlogprob (A) (=). reference (A) or NULL, for the k3 estimate of the KL,
// exp(d) - d - 1 with d = log p_ref - log p. What has no finite log-probability adds nothing.
void objective_tokens(const Objective *o, double share, double advantage, const float *logprob, const float *old,
                      const float *reference, int A, float *dlogprob, Surrogate *sum);

// One sample of the thought r (D), which was `old` when noise (D) was added to it. dr (D) +=.
void objective_thought(const Objective *o, double share, double advantage, const float *r, const float *old, const float *noise,
                       double sigma, int D, float *dr, Surrogate *sum);
// beta |r - reference|^2 / (2 sigma^2), the KL of the two Gaussians. dr (D) +=.
void objective_thought_kl(const Objective *o, double share, const float *r, const float *reference, double sigma, int D,
                          float *dr, Surrogate *sum);

#endif
