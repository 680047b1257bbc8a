#include "train/objective.h"

#include <math.h>
#include <stddef.h>

Surrogate objective_none(void) {
    return (Surrogate){.ratio_min = INFINITY, .ratio_max = -INFINITY};
}

void objective_add(Surrogate *sum, const Surrogate *more) {
    sum->clipped_loss += more->clipped_loss;
    sum->kl += more->kl;
    sum->ratio_sum += more->ratio_sum;
    sum->ratio_min = fmin(sum->ratio_min, more->ratio_min);
    sum->ratio_max = fmax(sum->ratio_max, more->ratio_max);
    sum->ratios += more->ratios;
    sum->clipped += more->clipped;
}

double objective_loss(const Objective *o, const Surrogate *sum) {
    return sum->clipped_loss + o->beta * sum->kl;
}

// The term's part in the sums; returns its derivative by log p, before `share`.
static double clipped_term(const Objective *o, double share, double advantage, double log_ratio, Surrogate *sum) {
    const double ratio = exp(log_ratio), low = 1 - o->epsilon_low, high = 1 + o->epsilon_high;
    const int stopped = advantage > 0 ? ratio > high : advantage < 0 && ratio < low;
    const double bounded = stopped ? (advantage > 0 ? high : low) : ratio;
    sum->clipped_loss -= share * bounded * advantage;
    sum->ratio_sum += ratio;
    sum->ratio_min = fmin(sum->ratio_min, ratio);
    sum->ratio_max = fmax(sum->ratio_max, ratio);
    sum->ratios++;
    sum->clipped += stopped;
    return stopped ? 0 : -ratio * advantage;
}

void objective_tokens(const Objective *o, double share, double advantage, const float *logprob, const float *old,
                      const float *reference, int A, float *dlogprob, Surrogate *sum) {
    for (int i = 0; i < A; i++) {
        const double lp = (double)logprob[i], log_ratio = lp - (double)old[i];
        dlogprob[i] = isfinite(advantage) ? 0 : NAN; // of a batch without any finite reward: the update is refused
        if (!isfinite(log_ratio)) continue;
        double slope = clipped_term(o, share, advantage, log_ratio, sum);
        const double d = reference ? (double)reference[i] - lp : 0;
        if (isfinite(d)) {
            sum->kl += share * (exp(d) - d - 1);
            slope += o->beta * (1 - exp(d));
        }
        dlogprob[i] = (float)(share * slope);
    }
}

// log p - log p_old of old + z is -sum (d + 2 z) d / (2 sigma^2) with d = old - r; its derivative by r is (z + d) / sigma^2.
void objective_thought(const Objective *o, double share, double advantage, const float *r, const float *old, const float *noise,
                       double sigma, int D, float *dr, Surrogate *sum) {
    const double precision = 1 / (sigma * sigma);
    double log_ratio = 0;
    for (int i = 0; i < D; i++) {
        const double d = (double)old[i] - (double)r[i];
        log_ratio -= 0.5 * precision * d * (d + 2 * (double)noise[i]);
    }
    const double slope = share * precision * clipped_term(o, share, advantage, log_ratio, sum);
    for (int i = 0; i < D; i++) dr[i] += (float)(slope * ((double)noise[i] + (double)old[i] - (double)r[i]));
}

void objective_thought_kl(const Objective *o, double share, const float *r, const float *reference, double sigma, int D,
                          float *dr, Surrogate *sum) {
    const double precision = 1 / (sigma * sigma);
    double squares = 0;
    for (int i = 0; i < D; i++) {
        const double d = (double)r[i] - (double)reference[i];
        squares += d * d;
        dr[i] += (float)(share * o->beta * precision * d);
    }
    sum->kl += share * 0.5 * precision * squares;
}
