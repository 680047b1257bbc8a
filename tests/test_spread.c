// Mean, spread and paired gain over seeds: by hand, and against the paired bootstrap of rec/metrics.h.
#include "base/rng.h"
#include "rec/metrics.h"
#include "report/spread.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 240, USERS = 80, SEEDS = 3, DRAWS = 1000 };

static char user_name[USERS][8];
static Row row[ROWS];
static int rank[SEEDS][ROWS];

static Record record_with(int seed) {
    return (Record){.name = (char *)"r", .n = ROWS, .list = 10, .row = row, .rank = rank[seed]};
}

// Three rows a user; ranks 0 to 10 at random, seed 1 better than seed 0 for a fifth of the rows, seed 2 like seed 1.
static int setup(void **state) {
    (void)state;
    for (int u = 0; u < USERS; u++) snprintf(user_name[u], sizeof user_name[u], "u%d", u);
    for (int i = 0; i < ROWS; i++) {
        row[i] = (Row){.user = user_name[i % USERS], .target_title = "t", .target_id = "1"};
        rank[0][i] = (int)rng_below(1, RNG_SYNTHETIC, (uint64_t)i, 11);
        rank[1][i] = rng_below(2, RNG_SYNTHETIC, (uint64_t)i, 5) ? rank[0][i] : 1;
        rank[2][i] = rng_below(3, RNG_SYNTHETIC, (uint64_t)i, 5) ? rank[0][i] : 1;
    }
    return 0;
}

static void near(double a, double b, double tolerance) {
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.17g is not %.17g", a, b);
}

static void test_mean(void **state) {
    (void)state;
    SpreadValue v;
    spread_mean(&v, (const double[]){1, NAN, 2, 6}, 4);
    assert_int_equal(v.n, 3);
    near(v.mean, 3, 1e-15), near(v.sd, sqrt(7), 1e-15);
    spread_mean(&v, (const double[]){5}, 1);
    assert_true(v.n == 1 && v.mean == 5 && isnan(v.sd));
    spread_mean(&v, (const double[]){NAN}, 1);
    assert_true(v.n == 0 && isnan(v.mean));
}

// One pair: nothing but users is drawn, as metrics_of_gain does it with draws of its own.
static void test_one_pair(void **state) {
    (void)state;
    const Record mine = record_with(1), other = record_with(0);
    static const char *const name[] = {"HR@1", "HR@10", "NDCG@5", "MRR"};
    int user[ROWS];
    Metrics gain, before;
    Err err = {0};
    for (int i = 0; i < ROWS; i++) user[i] = i % USERS;
    metrics_of_gain(&gain, rank[1], rank[0], user, ROWS, 10, DRAWS, 1);
    metrics_from_ranks(&before, rank[0], user, ROWS, 10, 0, 1);
    const Metric *expected[] = {&gain.hit[0], &gain.hit[3], &gain.ndcg[2], &gain.mrr},
                 *base[] = {&before.hit[0], &before.hit[3], &before.ndcg[2], &before.mrr};
    for (size_t j = 0; j < 4; j++) {
        SpreadValue v = {0};
        assert_int_equal(spread_gain(&v, &(SpreadPair){&mine, &other}, 1, name[j], DRAWS, 1, &err), 0);
        assert_int_equal(v.pairs, 1);
        near(v.gain, expected[j]->value, 1e-12), near(v.other, base[j]->value, 1e-12);
        const double width = expected[j]->high - expected[j]->low;
        assert_true(width > 0);
        near(v.low, expected[j]->low, .15 * width), near(v.high, expected[j]->high, .15 * width);
        assert_true(v.p > 0 && v.p < .05);
    }
}

// The mean of two pairs; their spread makes the interval wider than that of the mean alone could be.
static void test_pairs(void **state) {
    (void)state;
    const Record a = record_with(1), b = record_with(2), other = record_with(0);
    const SpreadPair one[] = {{&a, &other}}, two[] = {{&a, &other}, {&b, &other}}, none[] = {{&a, &other}, {&other, &other}};
    SpreadValue v = {0}, first = {0}, second = {0}, mixed = {0};
    Err err = {0};
    assert_int_equal(spread_gain(&v, two, 2, "HR@1", DRAWS, 1, &err), 0);
    assert_int_equal(spread_gain(&first, one, 1, "HR@1", DRAWS, 1, &err), 0);
    assert_int_equal(spread_gain(&second, two + 1, 1, "HR@1", DRAWS, 1, &err), 0);
    near(v.gain, (first.gain + second.gain) / 2, 1e-12);
    assert_true(v.low < v.gain && v.gain < v.high);
    // One pair that gains and one that does not: whether seeds gain is not known from these.
    assert_int_equal(spread_gain(&mixed, none, 2, "HR@1", DRAWS, 1, &err), 0);
    near(mixed.gain, first.gain / 2, 1e-12);
    assert_true(mixed.low <= 0 && mixed.p > .2 && mixed.high > first.gain * .8);
    SpreadValue again = {0};
    assert_int_equal(spread_gain(&again, two, 2, "HR@1", DRAWS, 1, &err), 0);
    assert_true(again.low == v.low && again.high == v.high && again.p == v.p);
}

static void test_edges(void **state) {
    (void)state;
    Record mine = record_with(1), other = record_with(0);
    SpreadValue v = {.pairs = 7};
    Err err = {0};
    assert_int_equal(spread_gain(&v, &(SpreadPair){&other, &other}, 1, "NDCG@10", DRAWS, 1, &err), 0);
    assert_true(v.gain == 0 && v.low == 0 && v.high == 0 && v.p == 1);
    // Every row better: no draw is at or below 0.
    int all[ROWS], miss[ROWS] = {0};
    for (int i = 0; i < ROWS; i++) all[i] = 1;
    mine.rank = all, other.rank = miss;
    assert_int_equal(spread_gain(&v, &(SpreadPair){&mine, &other}, 1, "HR@10", DRAWS, 1, &err), 0);
    near(v.p, 2. / (DRAWS + 1), 1e-15);
    assert_true(v.gain == 1 && v.low == 1 && v.high == 1 && v.other == 0);
    // Of one user nothing can be drawn.
    Row alone[ROWS];
    for (int i = 0; i < ROWS; i++) alone[i] = row[i], alone[i].user = user_name[0];
    const Record theirs = {.name = other.name, .n = ROWS, .list = 10, .row = alone, .rank = miss},
                 ours = {.name = mine.name, .n = ROWS, .list = 10, .row = alone, .rank = all};
    assert_int_equal(spread_gain(&v, &(SpreadPair){&ours, &theirs}, 1, "HR@10", DRAWS, 1, &err), 0);
    assert_true(v.pairs == 1 && v.gain == 1 && isnan(v.low) && isnan(v.high) && isnan(v.p));
    // A K above the lists is not given; other rows are refused.
    assert_int_equal(spread_gain(&v, &(SpreadPair){&mine, &other}, 1, "HR@20", DRAWS, 1, &err), 0);
    assert_int_equal(v.pairs, 0);
    other.n--;
    assert_int_equal(spread_gain(&v, &(SpreadPair){&mine, &other}, 1, "HR@10", DRAWS, 1, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    // MRR counts all places of a list: where these are of different lengths there is none to be gained.
    other.n++, mine.list = 20;
    assert_int_equal(spread_gain(&v, &(SpreadPair){&mine, &other}, 1, "MRR", DRAWS, 1, &err), 0);
    assert_int_equal(v.pairs, 0);
    assert_int_equal(spread_gain(&v, &(SpreadPair){&mine, &other}, 1, "HR@10", DRAWS, 1, &err), 0);
    assert_int_equal(v.pairs, 1);
}

// What was ranked among other items is another measure.
static void test_ways(void **state) {
    (void)state;
    static const char *const way[] = {"{\"protocol\": \"full\"}", "{\"protocol\": \"uniform-100\"}",
                                      "{\"protocol\": \"full\", \"configuration\": {\"exclude-seen\": true}}"};
    enum { WAYS = 4 }; // the last: in full, among items of another catalogue
    Record r[WAYS];
    SpreadValue v;
    Err err;
    for (int i = 0; i < WAYS; i++) {
        r[i] = record_with(0);
        r[i].evaluation = json_loads(way[i % 3], 0, NULL);
        r[i].results = json_pack("[{s:s}]", "catalogue", i < 3 ? "00" : "01");
    }
    for (int i = 0; i < WAYS; i++)
        for (int j = 0; j < WAYS; j++)
            assert_int_equal(spread_gain(&v, &(SpreadPair){&r[i], &r[j]}, 1, "HR@10", DRAWS, 1, &err), i == j ? 0 : -1);
    json_array_clear(r[3].results); // of an older version, which did not say
    assert_int_equal(spread_gain(&v, &(SpreadPair){&r[0], &r[3]}, 1, "HR@10", DRAWS, 1, &err), 0);
    for (int i = 0; i < WAYS; i++) json_decref(r[i].evaluation), json_decref(r[i].results);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mean), cmocka_unit_test(test_one_pair),
                                       cmocka_unit_test(test_pairs), cmocka_unit_test(test_edges), cmocka_unit_test(test_ways)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
