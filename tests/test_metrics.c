// Metrics: known values, an independent oracle over a million ranks, monotony and bounds, intervals that cover.
#include "base/arena.h"
#include "base/rng.h"
#include "rec/metrics.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static Metrics of_one(int rank, int list) {
    Metrics m;
    metrics_from_ranks(&m, &rank, NULL, 1, list, 0, 1);
    return m;
}

static void assert_near(double value, double want, double tolerance) {
    if (!(fabs(value - want) <= tolerance)) fail_msg("%.17g is not %.17g", value, want);
}

static void test_golden(void **state) {
    (void)state;
    const struct {
        int rank, k; // k: index of K
        double hit, ndcg;
    } row[] = {{1, 0, 1, 1},       {2, 0, 0, 0},       {2, 1, 1, .63093}, {3, 1, 1, .5}, {10, 3, 1, .28906}, {11, 3, 0, 0},
               {11, 4, 1, .27894}, {20, 4, 1, .22767}, {21, 4, 0, 0},     {0, 4, 0, 0},  {5, 2, 1, .38685},  {6, 2, 0, 0}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Metrics m = of_one(row[i].rank, 20);
        assert_near(m.hit[row[i].k].value, row[i].hit, 0);
        assert_near(m.ndcg[row[i].k].value, row[i].ndcg, 5e-6);
        assert_int_equal(m.hits[row[i].k], (int)row[i].hit);
    }
    assert_near(of_one(4, 10).mrr.value, .25, 0);
    assert_near(of_one(0, 10).mrr.value, 0, 0);
    assert_near(of_one(11, 10).mrr.value, 0, 0); // beyond the list
    assert_near(of_one(11, 10).hit[4].value, 0, 0);
}

// Written from the definitions, list by list, without sharing a line with rec/metrics.c.
static void oracle(const int *rank, int n, int k, double *hr, double *ndcg) {
    double hits = 0, gain = 0;
    for (int i = 0; i < n; i++)
        for (int place = 1; place <= k; place++)
            if (rank[i] == place) {
                hits++;
                gain += log(2) / log(1 + place);
            }
    *hr = hits / n;
    *ndcg = gain / n;
}

static void test_oracle(void **state) {
    (void)state;
    const int lists = 2000, per = 500;
    int rank[500];
    for (int l = 0; l < lists; l++) {
        for (int i = 0; i < per; i++) rank[i] = (int)rng_below((uint64_t)l, RNG_SYNTHETIC, (uint64_t)i, 2 + (uint64_t)l % 40);
        Metrics m;
        metrics_from_ranks(&m, rank, NULL, per, 20, 0, 1);
        for (int k = 0; k < METRIC_KS; k++) {
            double hr, ndcg;
            oracle(rank, per, metric_k[k], &hr, &ndcg);
            assert_near(m.hit[k].value, hr, 1e-15);
            assert_near(m.ndcg[k].value, ndcg, 1e-12);
            assert_int_equal(m.hits[k], (int64_t)llround(hr * per));
            assert_true(m.ndcg[k].value >= 0 && m.ndcg[k].value <= m.hit[k].value && m.hit[k].value <= 1);
            if (k > 0) assert_true(m.hit[k].value >= m.hit[k - 1].value && m.ndcg[k].value >= m.ndcg[k - 1].value);
        }
        assert_true(m.mrr.value <= m.hit[4].value && m.mrr.value >= m.hit[0].value);
    }
}

static void test_chance(void **state) {
    (void)state;
    Metrics m, drawn;
    const int n = 40000, candidates = 37;
    int *rank = mem_alloc((size_t)n, sizeof *rank);
    for (int i = 0; i < n; i++) rank[i] = 1 + (int)rng_below(3, RNG_SYNTHETIC, (uint64_t)i, (uint64_t)candidates);
    metrics_of_chance(&m, &candidates, 1, 10);
    metrics_from_ranks(&drawn, rank, NULL, n, 10, 0, 1);
    assert_near(m.hit[3].value, 10.0 / candidates, 1e-15);
    for (int k = 0; k < METRIC_KS - 1; k++) {
        assert_near(drawn.hit[k].value, m.hit[k].value, 0.01);
        assert_near(drawn.ndcg[k].value, m.ndcg[k].value, 0.01);
    }
    assert_near(drawn.mrr.value, m.mrr.value, 0.01);
    metrics_of_chance(&m, (const int[]){3}, 1, 10); // fewer candidates than places
    assert_near(m.hit[3].value, 1, 1e-15);
    assert_near(m.mrr.value, (1 + .5 + 1.0 / 3) / 3, 1e-15);
    metrics_of_chance(&m, (const int[]){20, 0}, 2, 10); // the second target is not among them
    assert_near(m.hit[3].value, 0.25, 1e-15);
    free(rank);
}

// Draws without any weight have no mean; the interval is of the others.
static void test_ratio(void **state) {
    (void)state;
    const double sum[3] = {2, 0, 0}, weight[3] = {1, 0, 0};
    Metric m;
    metrics_of_ratio(&m, sum, weight, NULL, 3, 200, 1);
    assert_true(m.value == 2 && m.low == 2 && m.high == 2);
}

static void test_interval(void **state) {
    (void)state;
    // Hits with probability 0.3: the interval of 500 rows must cover 0.3 in about 95 of 100 draws.
    int covered = 0, rank[500], user[500];
    for (uint64_t round = 0; round < 100; round++) {
        for (int i = 0; i < 500; i++) rank[i] = rng_uniform(round, RNG_SYNTHETIC, (uint64_t)i) < 0.3;
        Metrics m, again;
        metrics_from_ranks(&m, rank, NULL, 500, 10, 200, 1);
        metrics_from_ranks(&again, rank, NULL, 500, 10, 200, 1);
        assert_memory_equal(m.hit, again.hit, sizeof m.hit);
        assert_memory_equal(m.ndcg, again.ndcg, sizeof m.ndcg);
        assert_true(m.hit[0].low < m.hit[0].value && m.hit[0].value < m.hit[0].high);
        covered += m.hit[0].low <= 0.3 && 0.3 <= m.hit[0].high;
    }
    assert_in_range(covered, 87, 100);
    // Ten rows of the same fate for each user carry a tenth of the evidence: the interval is about sqrt(10) wider.
    for (int i = 0; i < 500; i++) {
        user[i] = i / 10;
        rank[i] = rng_uniform(77, RNG_SYNTHETIC, (uint64_t)user[i]) < 0.3;
    }
    Metrics rows, users;
    metrics_from_ranks(&rows, rank, NULL, 500, 10, 1000, 1);
    metrics_from_ranks(&users, rank, user, 500, 10, 1000, 1);
    assert_near(rows.hit[0].value, users.hit[0].value, 0);
    double wider = (users.hit[0].high - users.hit[0].low) / (rows.hit[0].high - rows.hit[0].low);
    assert_true(wider > 2.5 && wider < 4);
    // One user's rows are no evidence of others': there is no interval.
    for (int i = 0; i < 500; i++) user[i] = 3;
    Metrics one;
    metrics_from_ranks(&one, rank, user, 500, 20, 1000, 1);
    assert_int_equal(one.resamples, 0);
}

// However many threads share the draws, the bits are those of one that adds up every user's gains, zeros too.
static void test_threads(void **state) {
    (void)state;
    enum { N = 300, DRAWS = 50, ROWS = 2 * N };
    int rank[ROWS], other[ROWS], user[ROWS];
    double sum[ROWS], weight[ROWS], hit[DRAWS], mrr[DRAWS];
    for (int i = 0; i < ROWS; i++) {
        rank[i] = (int)rng_below(5, RNG_SYNTHETIC, (uint64_t)i, 40),
        other[i] = (int)rng_below(6, RNG_SYNTHETIC, (uint64_t)i, 40);
        user[i] = (int)rng_below(7, RNG_SYNTHETIC, (uint64_t)i, N);
        sum[i] = rng_uniform(8, RNG_SYNTHETIC, (uint64_t)i), weight[i] = 1 + i % 3;
    }
    user[0] = N - 1;
    double of[N][3] = {{0}}; // rows, hits at 10, reciprocal ranks
    for (int i = 0; i < ROWS; i++) {
        of[user[i]][0]++;
        if (rank[i] >= 1 && rank[i] <= 10) of[user[i]][1]++, of[user[i]][2] += 1.0 / rank[i];
        if (other[i] >= 1 && other[i] <= 10) of[user[i]][1]--, of[user[i]][2] -= 1.0 / other[i];
    }
    for (uint64_t b = 0; b < DRAWS; b++) {
        double all[3] = {0};
        for (uint64_t i = 0; i < N; i++)
            for (int j = 0; j < 3; j++) all[j] += of[rng_below(1, RNG_BOOTSTRAP, b * N + i, N)][j];
        hit[b] = all[1] / all[0], mrr[b] = all[2] / all[0];
    }
    Metric want[2], ratio[2];
    metrics_interval(&want[0], hit, DRAWS), metrics_interval(&want[1], mrr, DRAWS);
    for (int threads = 1; threads <= 5; threads += 2) {
        Metrics m;
        omp_set_num_threads(threads);
        metrics_of_gain(&m, rank, other, user, ROWS, 10, DRAWS, 1);
        assert_true(m.hit[3].low == want[0].low && m.hit[3].high == want[0].high);
        assert_true(m.mrr.low == want[1].low && m.mrr.high == want[1].high);
        metrics_of_ratio(&ratio[threads > 1], sum, weight, user, ROWS, DRAWS, 1);
        assert_memory_equal(&ratio[0], &ratio[threads > 1], sizeof *ratio);
    }
}

// Two rankings that share what is hard: the paired interval of their difference is narrow, and covers it.
static void test_gain(void **state) {
    (void)state;
    enum { N = 500 };
    int covered = 0, rank[N], other[N];
    double paired = 0, alone = 0; // widths of the intervals: .56 to 1 in expectation
    for (uint64_t round = 0; round < 100; round++) {
        for (int i = 0; i < N; i++) {
            double hard = rng_uniform(round, RNG_SYNTHETIC, (uint64_t)i),
                   luck = rng_uniform(round, RNG_SYNTHETIC, N + (uint64_t)i);
            other[i] = hard < .4;
            rank[i] = hard < .4 ? luck < .95 : luck < .1; // .38 + .06 against .4
        }
        Metrics a, b, gain;
        metrics_from_ranks(&a, rank, NULL, N, 10, 200, 1);
        metrics_from_ranks(&b, other, NULL, N, 10, 200, 1);
        metrics_of_gain(&gain, rank, other, NULL, N, 10, 200, 1);
        for (int k = 0; k < METRIC_KS; k++) assert_near(gain.ndcg[k].value, a.ndcg[k].value - b.ndcg[k].value, 1e-15);
        assert_near(gain.mrr.value, a.mrr.value - b.mrr.value, 1e-15);
        assert_int_equal(gain.hits[0], a.hits[0] - b.hits[0]);
        paired += gain.hit[0].high - gain.hit[0].low;
        alone += a.hit[0].high - a.hit[0].low;
        covered += gain.hit[0].low <= .04 && .04 <= gain.hit[0].high;
    }
    assert_in_range(covered, 87, 100);
    assert_true(paired < .7 * alone);
    Metrics none, same;
    metrics_of_gain(&none, rank, rank, NULL, N, 10, 100, 1);
    assert_true(none.hit[0].value == 0 && none.hit[0].low == 0 && none.hit[0].high == 0 && none.mrr.high == 0);
    const int mine[] = {1, 2, 0, 0}, theirs[] = {1, 0, 0, 0};
    metrics_of_gain(&none, mine, theirs, NULL, 4, 10, 0, 1);
    metrics_from_ranks(&same, theirs, NULL, 4, 10, 0, 1);
    json_t *json = metrics_gain_to_json(&none, &same), *hit = json_object_get(json, "HR@3");
    assert_near(json_number_value(json_object_get(hit, "gain")), .25, 0);
    assert_near(json_number_value(json_object_get(hit, "other")), .25, 0);
    assert_near(json_number_value(json_object_get(hit, "relative")), 1, 0);
    assert_null(json_object_get(json, "HR@20"));
    json_decref(json);
}

static void test_json(void **state) {
    (void)state;
    int rank[4] = {1, 0, 7, 2};
    Metrics m;
    metrics_from_ranks(&m, rank, NULL, 4, 10, 50, 1);
    json_t *json = metrics_to_json(&m);
    assert_near(json_number_value(json_object_get(json, "HR@10")), .75, 0);
    assert_near(json_number_value(json_object_get(json, "HR@1")), .25, 0);
    assert_near(json_number_value(json_object_get(json, "NDCG@3")), (1 + 1 / log2(3)) / 4, 1e-15);
    assert_null(json_object_get(json, "HR@20")); // lists hold 10
    assert_null(json_object_get(json, "NDCG@20"));
    assert_int_equal(json_array_size(json_object_get(json_object_get(json, "interval"), "MRR")), 2);
    json_decref(json);
    metrics_from_ranks(&m, rank, NULL, 4, 20, 0, 1);
    json = metrics_to_json(&m);
    assert_non_null(json_object_get(json, "HR@20"));
    assert_null(json_object_get(json, "interval"));
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_oracle),
                                       cmocka_unit_test(test_chance), cmocka_unit_test(test_interval),
                                       cmocka_unit_test(test_ratio),  cmocka_unit_test(test_gain),
                                       cmocka_unit_test(test_json),   cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
