// Advantages against tables made by hand.
#include "golden.h"
#include "train/advantage.h"

enum { B = 2, K = 4 };

// Rewards 0..3 and 100..103: no order of prompts and samples but the right one gives these.
static const double reward[B * K] = {0, 1, 2, 3, 100, 101, 102, 103};

static void check(AdvantageScope scope, int window, const double *r, const double want[B * K], const char *what) {
    double got[B * K];
    advantage_of(scope, window, r, B, K, got);
    for (int i = 0; i < B * K; i++) golden_close(got[i], want[i], 1e-12, what, i);
}

static void by_hand(void **state) {
    (void)state;
    // The mean of the two un-noised rewards is 50; 50^2 + 49^2 + 48^2 + 47^2 + 50^2 + 51^2 + 52^2 + 53^2 = 20028.
    double want[B * K];
    for (int i = 0; i < B * K; i++) want[i] = (reward[i] - 50) / (sqrt(20028) + 1e-6);
    check(ADVANTAGE_BATCH, 0, reward, want, "batch");
    check(ADVANTAGE_BATCH, 2, reward, want, "window of both");
    for (int i = 0; i < B * K; i++) want[i] = (i % K) / (sqrt(14) + 1e-6); // each against its own un-noised sample
    check(ADVANTAGE_BATCH, 1, reward, want, "window of one");
    for (int i = 0; i < B * K; i++) want[i] = (i % K - 1.5) / (sqrt(5.0 / 3) + 1e-4);
    check(ADVANTAGE_GROUP, 0, reward, want, "group");
    for (int i = 0; i < B * K; i++) want[i] = i % K - 1.5;
    check(ADVANTAGE_GROUP_MEAN, 0, reward, want, "group mean");
}

// Rewards whose squares no double holds have the advantages of small ones.
static void large_rewards_teach_as_small_ones(void **state) {
    (void)state;
    double large[B * K], want[B * K];
    for (int i = 0; i < B * K; i++) large[i] = 1e290 * reward[i];
    for (int i = 0; i < B * K; i++) want[i] = (reward[i] - 50) / sqrt(20028);
    check(ADVANTAGE_BATCH, 0, large, want, "batch");
    for (int i = 0; i < B * K; i++) want[i] = (i % K - 1.5) / sqrt(5.0 / 3);
    check(ADVANTAGE_GROUP, 0, large, want, "group");
}

static void equal_rewards_teach_nothing(void **state) {
    (void)state;
    const double equal[B * K] = {-2, -2, -2, -2, -3, -3, -3, -3}, zero[B * K] = {0};
    check(ADVANTAGE_GROUP, 0, equal, zero, "group");
    check(ADVANTAGE_GROUP_MEAN, 0, equal, zero, "group mean");
    check(ADVANTAGE_BATCH, 1, equal, zero, "window of one");
    // Nor to the last bit, whatever the value: AdamW would make a whole step of what rounding leaves.
    enum { GROUPS = 7, SAMPLES = 7 };
    double same[GROUPS * SAMPLES], got[GROUPS * SAMPLES];
    for (int i = 1; i < 1000; i++)
        for (int scope = ADVANTAGE_BATCH; scope <= ADVANTAGE_GROUP_MEAN; scope++) {
            for (int j = 0; j < GROUPS * SAMPLES; j++) same[j] = 1 / log2(1 + i);
            advantage_of((AdvantageScope)scope, 0, same, GROUPS, SAMPLES, got);
            for (int j = 0; j < GROUPS * SAMPLES; j++) assert_true(got[j] == 0);
        }
}

// Rewards a thousand times as large: the same advantages only where something divides by their size.
static void scale(void **state) {
    (void)state;
    double large[B * K], one[B * K], thousand[B * K];
    for (int i = 0; i < B * K; i++) large[i] = 1000 * reward[i];
    for (int scope = ADVANTAGE_BATCH; scope <= ADVANTAGE_GROUP_MEAN; scope++) {
        advantage_of((AdvantageScope)scope, 0, reward, B, K, one);
        advantage_of((AdvantageScope)scope, 0, large, B, K, thousand);
        for (int i = 0; i < B * K; i++)
            golden_close(thousand[i], scope == ADVANTAGE_GROUP_MEAN ? 1000 * one[i] : one[i], 2e-4, "scaled", i);
    }
}

// Nothing is different when the groups come in another order.
static void order_of_groups(void **state) {
    (void)state;
    double swapped[B * K], one[B * K], other[B * K];
    for (int i = 0; i < B * K; i++) swapped[i] = reward[(i + K) % (B * K)];
    for (int scope = ADVANTAGE_BATCH; scope <= ADVANTAGE_GROUP_MEAN; scope++) {
        advantage_of((AdvantageScope)scope, 0, reward, B, K, one);
        advantage_of((AdvantageScope)scope, 0, swapped, B, K, other);
        for (int i = 0; i < B * K; i++) golden_close(other[i], one[(i + K) % (B * K)], 1e-15, "swapped", i);
    }
}

// A reward that is no number: that sample gets 0, the others of its group are as if it were not there.
static void no_number(void **state) {
    (void)state;
    const double bad[] = {NAN, -INFINITY};
    for (int i = 0; i < 2; i++) {
        double r[B * K], want[B * K];
        memcpy(r, reward, sizeof r);
        r[2] = bad[i];
        const double mean = 4.0 / 3, std = sqrt((mean * mean + (1 - mean) * (1 - mean) + (3 - mean) * (3 - mean)) / 2);
        for (int j = 0; j < B * K; j++)
            want[j] = j >= K ? (j % K - 1.5) / (sqrt(5.0 / 3) + 1e-4) : (r[j] - mean) / (std + 1e-4);
        want[2] = 0;
        check(ADVANTAGE_GROUP, 0, r, want, "beside no number");
        double got[B * K];
        for (int j = 0; j < B * K; j++) r[j] = bad[i];
        advantage_of(ADVANTAGE_BATCH, 0, r, B, K, got);
        for (int j = 0; j < B * K; j++) assert_true(isnan(got[j]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand),
                                       cmocka_unit_test(large_rewards_teach_as_small_ones),
                                       cmocka_unit_test(equal_rewards_teach_nothing),
                                       cmocka_unit_test(scale),
                                       cmocka_unit_test(order_of_groups),
                                       cmocka_unit_test(no_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
