// The surrogates on plain numbers: cases made by hand on both sides of the clip, differences, and what is no number.
#include "golden.h"
#include "train/objective.h"
#include "train/reward.h"

enum { A = 6, D = 3 };

static const Objective clip = {.epsilon_low = 0.2, .epsilon_high = 0.28};

// One token of ratio `ratio`; its derivative by log p over its share.
static double slope(double ratio, double advantage, int clipped, double loss) {
    const float old = -2, logprob = old + (float)log(ratio);
    float d;
    Surrogate sum = objective_none();
    objective_tokens(&clip, 0.25, advantage, &logprob, &old, NULL, 1, &d, &sum);
    golden_close(sum.ratio_min, ratio, 1e-6 * ratio, "ratio", 0);
    assert_int_equal(sum.ratios, 1);
    assert_int_equal(sum.clipped, clipped);
    golden_close(objective_loss(&clip, &sum), 0.25 * loss, 1e-6 * fabs(loss) + 1e-12, "loss", 0);
    return (double)d / 0.25;
}

// -min(rho A, clip(rho, .8, 1.28) A): the clip stops what would go on in the direction it has already gone.
static void clip_on_each_side(void **state) {
    (void)state;
    golden_close(slope(1, 2, 0, -2), -2, 0, "ratio of 1", 0);
    golden_close(slope(1.2, 2, 0, -2.4), -2.4, 1e-5, "inside", 0);
    golden_close(slope(1.5, 2, 1, -2.56), 0, 0, "better and already likelier", 0);
    golden_close(slope(1.5, -2, 0, 3), 3, 1e-5, "worse and likelier", 0);
    golden_close(slope(0.5, 2, 0, -1), -1, 1e-5, "better and less likely", 0);
    golden_close(slope(0.5, -2, 1, 1.6), 0, 0, "worse and already less likely", 0);
    golden_close(slope(3, 0, 0, 0), 0, 0, "no advantage", 0);
}

static const float logprob[A] = {-1, -2.5f, -0.1f, -3, -7, -0.7f}, old[A] = {-1.1f, -2, -0.1f, -3.6f, -6.7f, -0.5f},
                   reference[A] = {-1, -2.1f, -0.4f, -3.1f, -6, -2};

static double tokens_loss(const Objective *o, double advantage, const float *lp, float *d, Surrogate *out) {
    Surrogate sum = objective_none();
    objective_tokens(o, 1.0 / A, advantage, lp, old, reference, A, d, &sum);
    if (out) *out = sum;
    return objective_loss(o, &sum);
}

static void tokens_by_differences(void **state) {
    (void)state;
    const Objective o = {.epsilon_low = 0.2, .epsilon_high = 0.28, .beta = 0.3};
    for (double advantage = -1.5; advantage < 2; advantage += 3) {
        float d[A], none[A], moved[A];
        Surrogate sum;
        tokens_loss(&o, advantage, logprob, d, &sum);
        assert_int_equal(sum.clipped, advantage < 0 ? 2 : 1);
        golden_close(sum.ratio_max, exp(0.6), 1e-6, "largest ratio", 0);
        golden_close(sum.ratio_min, exp(-0.5), 1e-6, "least ratio", 0);
        assert_true(sum.kl > 0);
        for (int i = 0; i < A; i++) {
            const float step = 1.0f / 1024;
            memcpy(moved, logprob, sizeof moved);
            moved[i] = logprob[i] + step;
            double above = tokens_loss(&o, advantage, moved, none, NULL);
            moved[i] = logprob[i] - step;
            golden_close(d[i], (above - tokens_loss(&o, advantage, moved, none, NULL)) / (2 * (double)step), 1e-4, "slope", i);
        }
    }
}

// At the policy itself the KL and its gradient are zero, exactly.
static void no_divergence(void **state) {
    (void)state;
    const Objective o = {.epsilon_low = 0.2, .epsilon_high = 0.28, .beta = 5};
    float d[A], dr[D] = {0};
    Surrogate sum = objective_none();
    objective_tokens(&o, 1, 0, logprob, logprob, logprob, A, d, &sum);
    objective_thought_kl(&o, 1, logprob, logprob, 0.5, D, dr, &sum);
    golden_close(sum.kl, 0, 0, "kl", 0);
    for (int i = 0; i < A; i++) golden_close(d[i], 0, 0, "slope", i);
    for (int i = 0; i < D; i++) golden_close(dr[i], 0, 0, "dr", i);
}

static const float r_old[D] = {0.5f, -1, 2}, z[D] = {0.4f, 0.3f, -0.6f}, r_reference[D] = {0, -0.5f, 2.5f};

static double thought_loss(const Objective *o, double advantage, const float *r, float *dr, Surrogate *out) {
    Surrogate sum = objective_none();
    objective_thought(o, 0.5, advantage, r, r_old, z, 0.7, D, dr, &sum);
    objective_thought_kl(o, 0.25, r, r_reference, 0.7, D, dr, &sum);
    if (out) *out = sum;
    return objective_loss(o, &sum);
}

// Where the thought has not moved the gradient is -A z / sigma^2; elsewhere that of the densities, written out.
static void thought_by_hand(void **state) {
    (void)state;
    float dr[D] = {0};
    Surrogate sum;
    thought_loss(&clip, 3, r_old, dr, &sum);
    golden_close(sum.ratio_sum, 1, 0, "ratio", 0);
    for (int i = 0; i < D; i++) golden_close(dr[i], -0.5 * 3 * (double)z[i] / 0.49, 1e-5, "score", i);
    const float r[D] = {0.55f, -0.9f, 1.9f};
    double density = 0, before = 0;
    for (int i = 0; i < D; i++) {
        double a = (double)r_old[i] + (double)z[i];
        density -= (a - (double)r[i]) * (a - (double)r[i]) / (2 * 0.49), before -= (double)z[i] * (double)z[i] / (2 * 0.49);
    }
    thought_loss(&clip, -3, r, dr, &sum);
    golden_close(sum.ratio_min, exp(density - before), 1e-6, "ratio", 1);
}

static void thought_by_differences(void **state) {
    (void)state;
    const Objective o = {.epsilon_low = 0.2, .epsilon_high = 0.28, .beta = 0.3};
    const float from[2][D] = {{0.5f, -1, 2}, {0.6f, -0.8f, 1.7f}}; // the second: a ratio above 1.28
    for (int at = 0; at < 2; at++)
        for (double advantage = -1.5; advantage < 2; advantage += 3) {
            float dr[D] = {0}, none[D], moved[D];
            Surrogate sum;
            thought_loss(&o, advantage, from[at], dr, &sum);
            assert_int_equal(sum.clipped, at == 1 && advantage > 0);
            for (int i = 0; i < D; i++) {
                const float step = 1.0f / 1024;
                memcpy(moved, from[at], sizeof moved);
                moved[i] = from[at][i] + step;
                double above = thought_loss(&o, advantage, moved, none, NULL);
                moved[i] = from[at][i] - step;
                golden_close(dr[i], (above - thought_loss(&o, advantage, moved, none, NULL)) / (2 * (double)step), 1e-4, "dr",
                             i);
            }
        }
}

// A token without a finite log-probability has no part; without any finite reward (advantages NaN) the gradient is no number.
static void no_number(void **state) {
    (void)state;
    float d[A], broken[A];
    memcpy(broken, logprob, sizeof broken);
    broken[2] = NAN;
    Surrogate sum = objective_none();
    objective_tokens(&clip, 1, 1, broken, old, NULL, A, d, &sum);
    assert_int_equal(sum.ratios, A - 1);
    assert_true(isfinite(objective_loss(&clip, &sum)));
    golden_close(d[2], 0, 0, "slope", 2);
    objective_tokens(&clip, 1, (double)NAN, broken, old, NULL, A, d, &sum);
    for (int i = 0; i < A; i++) assert_true(isnan(d[i]));
}

static void rewards(void **state) {
    (void)state;
    const float lp[] = {-1, -2, -6};
    golden_close(reward_of_answer(REWARD_PERPLEXITY, lp, 3), -exp(3), 1e-12 * exp(3), "perplexity", 0);
    golden_close(reward_of_answer(REWARD_LOGPROB, lp, 3), -3, 1e-12, "mean log-probability", 0);
    golden_close(reward_of_rank(REWARD_HIT, 7), 1, 0, "hit", 0);
    golden_close(reward_of_rank(REWARD_HIT, 0), 0, 0, "miss", 0);
    golden_close(reward_of_rank(REWARD_RANK, 1), 1, 0, "first", 0);
    golden_close(reward_of_rank(REWARD_RANK, 3), 0.5, 1e-15, "third", 0);
    golden_close(reward_of_rank(REWARD_RANK, 0), 0, 0, "miss", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(clip_on_each_side),
                                       cmocka_unit_test(tokens_by_differences),
                                       cmocka_unit_test(no_divergence),
                                       cmocka_unit_test(thought_by_hand),
                                       cmocka_unit_test(thought_by_differences),
                                       cmocka_unit_test(no_number),
                                       cmocka_unit_test(rewards)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
