// The floor lines: counted by hand, item-kNN against all pairs, lists from scores, chance.
#include "base/rng.h"
#include "fixture.h"
#include "rec/baseline.h"
#include "rec/metrics.h"

static Row row(const char *user, const char *const *title, const char *const *id, int n, const char *target,
               const char *target_id) {
    return (Row){.user = user, .target_title = target, .target_id = target_id, .n = n, .title = title, .item_id = id};
}

static int best(const float *score, int n, int k, Recommendation *out) {
    Err err = {0};
    int found;
    OK(ranker_best(score, n, k, out, &found, &err));
    return found;
}

static void test_best(void **state) {
    (void)state;
    Err err = {0};
    Recommendation out[4];
    const float score[] = {1, 3, -INFINITY, 3, -2, 1}, bad[] = {1, NAN, 2}, endless[] = {1, INFINITY};
    int found;
    assert_int_equal(best(score, 6, 4, out), 4);
    assert_true(out[0].item == 1 && out[1].item == 3 && out[2].item == 0 && out[3].item == 5);
    assert_int_equal(best(score + 2, 3, 4, out), 2);
    assert_true(out[0].item == 1 && out[1].item == 2);
    assert_int_equal(ranker_best(bad, 3, 2, out, &found, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    assert_int_equal(ranker_best(endless, 2, 1, out, &found, &err), -1);
}

// Every length of a list of many scores, of which few are different: the places counted one by one.
static void test_best_of_many(void **state) {
    (void)state;
    enum { MANY = 60 };
    float score[MANY];
    Recommendation out[MANY + 1];
    for (int turn = 0; turn < 20; turn++) {
        int listed = 0;
        for (uint64_t i = 0; i < MANY; i++) {
            score[i] = (float)rng_below(1, RNG_SAMPLE, (uint64_t)turn * MANY + i, 20);
            if (score[i] == 0) score[i] = -INFINITY;
            listed += isfinite(score[i]);
        }
        for (int k = 1; k <= MANY + 1; k++) {
            const int found = best(score, MANY, k, out);
            assert_int_equal(found, listed < k ? listed : k);
            for (int i = 0; i < found; i++) {
                int before = 0;
                for (int j = 0; j < MANY; j++)
                    before += score[j] > out[i].score || (score[j] == out[i].score && j < out[i].item);
                assert_int_equal(before, i);
                assert_true(out[i].score == score[out[i].item]);
            }
        }
    }
}

// The list of one kind for one row, as item numbers behind each other ("1 0 3").
static const char *list(const Baseline *b, BaselineKind kind, const Row *r, int exclude_seen) {
    static char text[64];
    Err err = {0};
    Recommendation out[8];
    int found, at = 0;
    BaselineRanker self = {.b = b, .kind = kind, .users = 1, .k = 8, .exclude_seen = exclude_seen};
    const Ranker ranker = baseline_ranker(&self);
    const History h = ranker_history(r, 0);
    OK(ranker.rank(ranker.self, &h, 1, out, &found, &err));
    text[0] = 0;
    for (int i = 0; i < found; i++) at += snprintf(text + at, sizeof text - (size_t)at, i ? " %d" : "%d", out[i].item);
    baseline_ranker_free(&self);
    return text;
}

static void test_by_hand(void **state) {
    (void)state;
    json_t *titles = json_pack("[s, s, s, s, s]", "a", "b", "a", "c", "d"); // ids 100..104
    Items items;
    fixture_items(&items, titles);
    const char *t_ab[] = {"a", "b"}, *i_ab[] = {"100", "101"}, *t_c[] = {"c"}, *i_c[] = {"103"};
    Row all[] = {row("u1", t_ab, i_ab, 1, "b", "101"), row("u2", t_c, i_c, 1, "b", "101"),
                 row("u1", t_ab, i_ab, 2, "a", "102")};
    Rows train = {.n = 3, .row = all, .name = "train"};
    int user[3];
    assert_int_equal(baseline_number_users(&train, user), 2);
    assert_true(user[0] == 0 && user[1] == 1 && user[2] == 0);

    Baseline title, item;
    baseline_open(&title, &items, &train, MATCH_TITLE);
    baseline_open(&item, &items, &train, MATCH_ITEM);
    assert_int_equal(item.events, 5); // three targets, and the first history of each user
    const int item_count[] = {1, 2, 1, 1, 0}, title_count[] = {2, 2, 0, 1, 0}; // item 2 counts under item 0's title
    assert_memory_equal(item.count, item_count, sizeof item_count);
    assert_memory_equal(title.count, title_count, sizeof title_count);
    assert_true(title.candidates == 4 && item.candidates == 5);

    const char *t_aca[] = {"a", "c", "a"}, *i_aca[] = {"100", "103", "102"};
    Row r = row("u", t_aca, i_aca, 3, "d", "104");
    assert_string_equal(list(&title, BASELINE_POPULARITY, &r, 0), "0 1 3 4"); // ties: the lower number first
    assert_string_equal(list(&item, BASELINE_POPULARITY, &r, 0), "1 0 2 3 4");
    assert_string_equal(list(&title, BASELINE_POPULARITY, &r, 1), "1 4"); // a and c are taken out
    assert_string_equal(list(&item, BASELINE_POPULARITY, &r, 1), "1 4");
    assert_string_equal(list(&title, BASELINE_REPEAT_LAST, &r, 0), "0 3"); // newest first, each once
    assert_string_equal(list(&item, BASELINE_REPEAT_LAST, &r, 0), "2 3 0");
    assert_string_equal(list(&item, BASELINE_REPEAT_LAST, &r, 1), "");
    // Users {a, b} and {c, b}: b is near a and c by 1 / sqrt(2).
    assert_string_equal(list(&title, BASELINE_ITEM_KNN, &r, 0), "1 0 3 4");
    assert_string_equal(list(&title, BASELINE_ITEM_KNN, &r, 1), "1 4");
    const char *t_none[] = {"no such title"}, *i_none[] = {"7"};
    Row nobody = row("u", t_none, i_none, 1, "d", "104"); // of whom nothing is known
    assert_string_equal(list(&title, BASELINE_ITEM_KNN, &nobody, 0), "");
    assert_string_equal(list(&title, BASELINE_POPULARITY, &nobody, 0), "0 1 3 4");
    baseline_close(&title), baseline_close(&item);

    // Removed items are counted, and stand in no list; title a goes under item 102 now.
    const char *removed[] = {"100", "101"}, *t_cb[] = {"c", "b"}, *i_cb[] = {"103", "101"};
    const int title_count_left[] = {0, 2, 2, 1, 0};
    Row gone = row("u", t_cb, i_cb, 2, "b", "101");
    Err err = {0};
    int changed;
    OK(items_remove(&items, removed, 2, &changed, &err));
    baseline_open(&title, &items, &train, MATCH_TITLE);
    baseline_open(&item, &items, &train, MATCH_ITEM);
    assert_memory_equal(item.count, item_count, sizeof item_count);
    assert_memory_equal(title.count, title_count_left, sizeof title_count_left);
    assert_true(title.candidates == 3 && item.candidates == 3);
    assert_string_equal(list(&title, BASELINE_POPULARITY, &r, 0), "2 3 4");
    assert_string_equal(list(&item, BASELINE_POPULARITY, &r, 0), "2 3 4");
    assert_string_equal(list(&title, BASELINE_POPULARITY, &r, 1), "4");
    assert_string_equal(list(&title, BASELINE_REPEAT_LAST, &gone, 0), "3");
    assert_string_equal(list(&title, BASELINE_REPEAT_LAST, &r, 0), "2 3");
    assert_string_equal(list(&item, BASELINE_REPEAT_LAST, &r, 0), "2 3");
    assert_string_equal(list(&title, BASELINE_ITEM_KNN, &gone, 0), "2 3 4");
    baseline_close(&title), baseline_close(&item);
    items_free(&items);
    json_decref(titles);
}

// ---- item-kNN against all pairs ------------------------------------------------------------------------------------------

enum { PEOPLE = 300, THINGS = 120, EVENTS = 25 };

typedef struct World {
    json_t *titles;
    Items items;
    Row row[PEOPLE];
    Rows rows;
    const char *title[PEOPLE][EVENTS], *id[PEOPLE][EVENTS];
    char name[PEOPLE][8];
    int has[PEOPLE][THINGS];
} World;

// Each user one row of EVENTS interactions, low items more often, some of them twice.
static void world_open(World *w) {
    memset(w, 0, sizeof *w);
    w->titles = json_array();
    for (int i = 0; i < THINGS; i++) json_array_append_new(w->titles, json_sprintf("thing %d", i));
    fixture_items(&w->items, w->titles);
    for (int u = 0; u < PEOPLE; u++) {
        int item[EVENTS];
        for (int e = 0; e < EVENTS; e++) {
            double x = rng_uniform(5, RNG_SYNTHETIC, (uint64_t)(u * EVENTS + e));
            item[e] = (int)(x * x * (THINGS - 1)); // the last one never
            w->title[u][e] = w->items.title[item[e]], w->id[u][e] = w->items.id[item[e]];
            w->has[u][item[e]] = 1;
        }
        snprintf(w->name[u], sizeof w->name[u], "u%d", u);
        w->row[u] = row(w->name[u], w->title[u], w->id[u], EVENTS - 1, w->title[u][EVENTS - 1], w->id[u][EVENTS - 1]);
    }
    w->rows = (Rows){.n = PEOPLE, .row = w->row, .name = "train"};
}

static void world_close(World *w) {
    items_free(&w->items);
    json_decref(w->titles);
}

static double cosine(const World *w, int a, int b) {
    double both = 0, of_a = 0, of_b = 0;
    for (int u = 0; u < PEOPLE; u++) both += w->has[u][a] && w->has[u][b], of_a += w->has[u][a], of_b += w->has[u][b];
    return both > 0 ? both / sqrt(of_a * of_b) : 0;
}

static void test_item_knn(void **state) {
    (void)state;
    Err err = {0};
    static World w;
    world_open(&w);
    Baseline b;
    baseline_open(&b, &w.items, &w.rows, MATCH_ITEM);
    assert_int_equal(b.events, PEOPLE * EVENTS);
    assert_null(b.near->first); // nobody has asked for them
    BaselineRanker self = {.b = &b, .kind = BASELINE_ITEM_KNN, .users = 2, .k = 10};
    const Ranker r = baseline_ranker(&self);
    // The neighbours: those with the largest cosines, and those cosines.
    static double all[THINGS][THINGS];
    static float near[THINGS][THINGS];
    for (int h = 0; h < THINGS; h++) {
        size_t from = b.near->first[h], n = b.near->first[h + 1] - from;
        double least = 2;
        assert_true(n <= BASELINE_NEAREST);
        for (size_t i = 0; i < n; i++) {
            int item = b.near->item[from + i];
            assert_true(item != h && near[h][item] == 0);
            near[h][item] = b.near->cosine[from + i];
            least = fmin(least, near[h][item]);
        }
        for (int i = 0; i < THINGS; i++) {
            all[h][i] = i == h ? 0 : cosine(&w, h, i);
            if (near[h][i] > 0) golden_close(near[h][i], all[h][i], 1e-6, "cosine", i);
            if (near[h][i] == 0 && n == BASELINE_NEAREST) assert_true(all[h][i] <= least + 1e-6);
            if (near[h][i] == 0 && n < BASELINE_NEAREST) assert_true(all[h][i] == 0);
        }
    }
    // The score: their sum over the history, each item once.
    const History h[2] = {ranker_history(&w.row[3], 0), {.title = w.title[7], .n = 5, .number = 1}}; // without ids
    static float score[2][THINGS];
    OK(r.score(r.self, h, 2, score[0], &err));
    for (int u = 0; u < 2; u++)
        for (int i = 0; i < THINGS; i++) {
            double want = 0;
            int met[THINGS] = {0};
            for (int e = 0; e < h[u].n; e++) {
                int item = items_by_title(&w.items, h[u].title[e]);
                if (!met[item]++) want += near[item][i];
            }
            golden_close(score[u][i], want, 1e-5, "item-kNN", i);
        }
    baseline_ranker_free(&self);
    baseline_close(&b);
    world_close(&w);
}

// What is found by title serves by item where no title repeats; where one does, all is counted anew.
static void test_match_by(void **state) {
    (void)state;
    static World w;
    world_open(&w);
    for (int repeats = 0; repeats < 2; repeats++) {
        if (repeats) {
            Err err = {0};
            int changed;
            OK(items_set_title(&w.items, w.items.id[7], w.items.title[3], &changed, &err));
            assert_int_equal(changed, 1);
        }
        Baseline b, item;
        baseline_open(&b, &w.items, &w.rows, MATCH_TITLE);
        assert_int_equal(b.candidates, THINGS - repeats);
        list(&b, BASELINE_POPULARITY, &w.row[0], 0);
        list(&b, BASELINE_REPEAT_LAST, &w.row[0], 0);
        list(&b, BASELINE_RANDOM, &w.row[0], 0);
        assert_null(b.near->first);
        list(&b, BASELINE_ITEM_KNN, &w.row[0], 0);
        const size_t *first = b.near->first;
        assert_non_null(first);
        baseline_match_by(&b, MATCH_ITEM);
        assert_true(b.near->first == (repeats ? NULL : first));
        baseline_open(&item, &w.items, &w.rows, MATCH_ITEM);
        assert_true(b.by == item.by && b.candidates == item.candidates && b.events == item.events);
        assert_memory_equal(b.count, item.count, THINGS * sizeof *b.count);
        for (int kind = 0; kind < BASELINES; kind++)
            for (int u = 0; u < PEOPLE; u++) {
                char want[64];
                snprintf(want, sizeof want, "%s", list(&item, (BaselineKind)kind, &w.row[u], u & 1));
                assert_string_equal(list(&b, (BaselineKind)kind, &w.row[u], u & 1), want);
            }
        baseline_close(&b), baseline_close(&item);
    }
    world_close(&w);
}

// Each list is what all scores give, of every length, with ties, repeated titles and items that were removed.
static void test_lists(void **state) {
    (void)state;
    Err err = {0};
    static World w;
    int changed;
    world_open(&w);
    OK(items_set_title(&w.items, w.items.id[7], w.items.title[3], &changed, &err));
    OK(items_set_title(&w.items, w.items.id[90], w.items.title[60], &changed, &err));
    OK(items_remove(&w.items, (const char *[]){w.items.id[0], w.items.id[60], w.items.id[5]}, 3, &changed, &err));
    for (int turn = 0; turn < MATCHES * BASELINES * 4; turn++) {
        Baseline b;
        baseline_open(&b, &w.items, &w.rows, (MatchBy)(turn % MATCHES));
        BaselineRanker self = {.b = &b, .kind = (BaselineKind)(turn / MATCHES % BASELINES), .users = 1, .seed = 3};
        self.exclude_seen = turn / (MATCHES * BASELINES) & 1, self.every_item = turn / (MATCHES * BASELINES) >> 1;
        for (int k = 1; k <= THINGS + 1; k += k < 12 ? 1 : 37) {
            self.k = k;
            const Ranker r = baseline_ranker(&self);
            for (int u = 0; u < 40; u++) {
                static float score[THINGS];
                Recommendation want[THINGS + 1], out[THINGS + 1];
                int wanted, found;
                History h = ranker_history(&w.row[u], u);
                if (u % 4 == 0) h.n = u / 4; // a few items, and none
                OK(r.score(r.self, &h, 1, score, &err));
                OK(ranker_best(score, THINGS, k, want, &wanted, &err));
                OK(r.rank(r.self, &h, 1, out, &found, &err));
                if (!baseline_ranker_knows(&self, &h)) wanted = 0;
                assert_int_equal(found, wanted);
                assert_memory_equal(out, want, (size_t)found * sizeof *out);
            }
            baseline_ranker_free(&self);
        }
        baseline_close(&b);
    }
    world_close(&w);
}

// Lists in random order hit as often as chance says, wherever the target stands; and so do lists where all items tie.
static void test_chance(void **state) {
    (void)state;
    Err err = {0};
    enum { DRAWS = 20000, K = 10 };
    static World w;
    static int rank[DRAWS], choices[DRAWS];
    const Rows none = {0};
    world_open(&w);
    Baseline b;
    baseline_open(&b, &w.items, &none, MATCH_ITEM);
    for (int tie = 0; tie < 2; tie++) {
        BaselineRanker self = {
            .b = &b, .kind = tie ? BASELINE_POPULARITY : BASELINE_RANDOM, .users = 1, .k = K, .seed = 1}; // nobody is popular
        const Ranker r = baseline_ranker(&self);
        int first = 0;
        for (int i = 0; i < DRAWS; i++) {
            Recommendation out[K];
            int found, target = tie ? (int)rng_below(9, RNG_SYNTHETIC, (uint64_t)i, THINGS) : i % 2; // the first or second item
            const History h = {.number = i};
            OK(r.rank(r.self, &h, 1, out, &found, &err));
            assert_int_equal(found, K);
            rank[i] = 0;
            for (int j = 0; j < K; j++)
                if (out[j].item == target) rank[i] = j + 1;
            first += out[0].item == 0;
        }
        Metrics m, want;
        metrics_from_ranks(&m, rank, NULL, DRAWS, K, 0, 1);
        for (int i = 0; i < DRAWS; i++) choices[i] = b.candidates;
        metrics_of_chance(&want, choices, DRAWS, K);
        for (int k = 0; k < METRIC_KS && metric_k[k] <= K; k++) {
            double p = want.hit[k].value;
            golden_close(m.hit[k].value, p, 3 * sqrt(p * (1 - p) / DRAWS), "HR by chance", metric_k[k]);
        }
        if (!tie) assert_true(first < DRAWS / 50);
        baseline_ranker_free(&self);
    }
    baseline_close(&b);
    world_close(&w);
}

// What the history leaves of the candidates: each once, and none where the target goes with them.
static void test_choices(void **state) {
    (void)state;
    static World w;
    const Rows none = {0};
    world_open(&w);
    Baseline b;
    baseline_open(&b, &w.items, &none, MATCH_ITEM);
    const char *const title[] = {w.items.title[1], w.items.title[2], w.items.title[1], "no such title"}, *const id[] = {
                                                                                                             w.items.id[1],
                                                                                                             w.items.id[2],
                                                                                                             w.items.id[1],
                                                                                                             "no such id"};
    Row row = {.title = title, .item_id = id, .n = 4, .target_title = w.items.title[3], .target_id = w.items.id[3]};
    assert_int_equal(baseline_choices(&b, &row, 0), b.candidates);
    assert_int_equal(baseline_choices(&b, &row, 1), b.candidates - 2);
    row.target_title = title[1], row.target_id = id[1];
    assert_int_equal(baseline_choices(&b, &row, 0), b.candidates);
    assert_int_equal(baseline_choices(&b, &row, 1), 0);
    row.target_title = "no such title", row.target_id = "no such id";
    assert_int_equal(baseline_choices(&b, &row, 0), 0);
    baseline_close(&b);
    Err err = {0};
    int changed;
    OK(items_remove(&w.items, (const char *[]){w.items.id[3]}, 1, &changed, &err));
    baseline_open(&b, &w.items, &none, MATCH_ITEM);
    row.target_title = w.items.title[3], row.target_id = w.items.id[3];
    assert_int_equal(baseline_choices(&b, &row, 0), 0); // it was removed
    row.target_title = w.items.title[4], row.target_id = w.items.id[4];
    assert_int_equal(baseline_choices(&b, &row, 0), THINGS - 1);
    baseline_close(&b);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_best),     cmocka_unit_test(test_best_of_many),
                                       cmocka_unit_test(test_by_hand),  cmocka_unit_test(test_item_knn),
                                       cmocka_unit_test(test_chance),   cmocka_unit_test(test_choices),
                                       cmocka_unit_test(test_match_by), cmocka_unit_test(test_lists)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
