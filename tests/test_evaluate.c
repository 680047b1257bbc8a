// Evaluation on rows whose ranks are known, the results file, and what is refused.
#include "base/log.h"
#include "fixture.h"
#include "rec/evaluate.h"
#include "rec/recommend.h"

static const char *const folder = "tests/golden/tiny-qwen2";

static Row row(const char *user, const char *const *title, const char *const *id, int n, const char *target,
               const char *target_id) {
    return (Row){.user = user, .target_title = target, .target_id = target_id, .n = n, .title = title, .item_id = id};
}

// ---- evaluation --------------------------------------------------------------------------------------------------------

enum { ROWS = 6, W = 10 };

typedef struct Case {
    Fixture f;
    Row row[ROWS];
    Rows rows;
    char path[64]; // of the results
} Case;

// Targets are put where the model finds them: ranks 1, 3, 10, a miss, outside the catalogue, and rank 2 under another item id.
static const int rank_by_title[ROWS] = {1, 3, 10, 0, 0, 2}, rank_by_item[ROWS] = {1, 3, 10, 0, 0, 0};

static Recommender recommender(Case *c, int users, int k) {
    Err err = {0};
    Recommender r;
    RecommendOptions o = {.beams = W, .k = k, .users = users, .length_penalty = 1};
    OK(recommend_open(&r, &c->f.g.llm, c->f.tokenizer, &c->f.style, &c->f.catalogue, &o, &err));
    return r;
}

static int evaluate(Evaluation *e, Recommender *r, const Rows *rows, const Rows *train, const EvaluateOptions *o, Err *err) {
    const Ranker ranker = recommend_ranker(r);
    return evaluate_rows(e, &ranker, rows, train, o, err);
}

static void case_open(Case *c) {
    Err err = {0};
    memset(c, 0, sizeof *c);
    fixture_open(&c->f, folder, 1);
    json_t *titles = json_copy(json_object_get(c->f.g.json, "catalogue")); // every title a second time, under other ids
    size_t n = json_array_size(titles);
    for (size_t i = 0; i < n; i++) json_array_append(titles, json_array_get(titles, i));
    catalogue_free(&c->f.catalogue);
    items_free(&c->f.items);
    fixture_items(&c->f.items, titles);
    json_decref(titles);
    OK(catalogue_build(&c->f.catalogue, &c->f.items, c->f.tokenizer, &c->f.style, &err));
    assert_int_equal(c->f.catalogue.trie.leaves, n);

    Recommendation list[ROWS * W];
    int found[ROWS];
    Recommender r = recommender(c, ROWS, W);
    OK(recommend_users(&r, c->f.history, ROWS, list, found, &err));
    recommend_close(&r);
    for (int i = 0; i < ROWS; i++) {
        int item = rank_by_title[i] ? list[i * W + rank_by_title[i] - 1].item : 0;
        for (int j = 0; rank_by_title[i] == 0 && j < W; j++)
            if (list[i * W + j].item == item) item++, j = -1; // one that is not in the list
        if (i == 5) item += (int)n;
        const History *h = &c->f.history[i];
        c->row[i] =
            row(i < 2 ? "same" : &"abcdef"[i], h -> title, h -> title, h -> n, c -> f.items.title[item], c->f.items.id[item]);
    }
    c->row[4].target_title = "not in the catalogue";
    c->row[4].target_id = "999999";
    c->rows = (Rows){.n = ROWS, .row = c->row, .name = "test"};
    snprintf(c->path, sizeof c->path, "/tmp/latentr3-results-%d.jsonl", (int)getpid());
}

static void check_results(const Case *c) {
    Err err = {0};
    MapFile f;
    OK(mapfile_open(&f, c->path, 0, &err));
    size_t at = 0;
    for (int i = 0; i < ROWS; i++) {
        const char *end = memchr(f.data + at, '\n', f.bytes - at);
        assert_non_null(end);
        json_t *line = json_parse(f.data + at, (size_t)(end - f.data) - at, c->path, &err);
        if (!line) fail_msg("%s", err.message);
        json_t *items = json_object_get(line, "items"), *rank = json_object_get(line, "rank");
        assert_int_equal(json_integer_value(json_object_get(line, "row")), i);
        assert_string_equal(json_string_value(json_object_get(line, "target")), c->row[i].target_title);
        assert_int_equal(json_array_size(items), W);
        if (rank_by_title[i]) {
            json_t *hit = json_array_get(items, (size_t)rank_by_title[i] - 1);
            assert_int_equal(json_integer_value(rank), rank_by_title[i]);
            assert_string_equal(json_string_value(json_object_get(hit, "title")), c->row[i].target_title);
            if (rank_by_item[i]) assert_string_equal(json_string_value(json_object_get(hit, "id")), c->row[i].target_id);
        } else {
            assert_true(json_is_null(rank));
        }
        for (size_t j = 1; j < W; j++)
            assert_true(json_number_value(json_object_get(json_array_get(items, j - 1), "score")) >=
                        json_number_value(json_object_get(json_array_get(items, j), "score")));
        json_decref(line);
        at = (size_t)(end - f.data) + 1;
    }
    assert_int_equal(at, f.bytes);
    mapfile_close(&f);
    unlink(c->path);
}

static void test_ranks(void **state) {
    (void)state;
    Err err = {0};
    Case c;
    case_open(&c);
    Metrics want[MATCHES];
    metrics_from_ranks(&want[MATCH_TITLE], rank_by_title, NULL, ROWS, W, 0, 1);
    metrics_from_ranks(&want[MATCH_ITEM], rank_by_item, NULL, ROWS, W, 0, 1);
    for (int users = 1; users <= ROWS + 3; users++) { // a last group that is not full loses nobody
        Recommender r = recommender(&c, users, W);
        Evaluation e;
        OK(evaluate(&e, &r, &c.rows, NULL, &(EvaluateOptions){.resamples = 100, .seed = 1, .results = {.lines = c.path}},
                    &err));
        check_results(&c);
        for (int by = 0; by < MATCHES; by++) {
            assert_memory_equal(e.match[by].hits, want[by].hits, sizeof want[by].hits);
            for (int k = 0; k < METRIC_KS; k++)
                golden_close(e.match[by].ndcg[k].value, want[by].ndcg[k].value, 1e-12, "NDCG", k);
            golden_close(e.match[by].mrr.value, want[by].mrr.value, 1e-12, "MRR", by);
        }
        assert_true(e.rows == ROWS && e.users == ROWS - 1 && e.outside == 1 && e.short_lists == 0 && r.stats.illegal == 0);
        assert_true(e.seconds > 0);
        recommend_close(&r);
    }
    fixture_close(&c.f);
}

static void test_report(void **state) {
    (void)state;
    Err err = {0};
    Case c;
    case_open(&c);
    Row seen[] = {c.row[0], c.row[3]};
    seen[0].n = seen[1].n = 0; // their targets alone
    Rows train = {.n = 2, .row = seen, .name = "train"};
    Recommender r = recommender(&c, 4, 5);
    Evaluation e;
    OK(evaluate(&e, &r, &c.rows, &train, &(EvaluateOptions){.resamples = 10, .seed = 1}, &err));
    json_t *json = evaluate_to_json(&e), *title = json_object_get(json, "title"),
           *baselines = json_object_get(json, "baselines");
    assert_int_equal(json_integer_value(json_object_get(json, "rows")), ROWS);
    golden_close(json_number_value(json_object_get(title, "HR@5")), 3.0 / ROWS, 1e-12, "HR", 5);
    assert_null(json_object_get(title, "HR@10")); // lists hold 5
    golden_close(json_number_value(json_object_get(json_object_get(json, "item"), "HR@5")), 2.0 / ROWS, 1e-12, "item HR", 5);
    assert_non_null(json_object_get(json_object_get(title, "interval"), "NDCG@3"));
    const char *const name[] = {"popularity", "item_knn", "repeat_last", "random"};
    for (int i = 0; i < BASELINES; i++) {
        json_t *one = json_object_get(baselines, name[i]);
        assert_true(json_is_real(json_object_get(one, "HR@5")));
        assert_true(json_is_real(json_object_get(json_object_get(one, "item"), "HR@5")));
    }
    golden_close(json_number_value(json_object_get(json_object_get(baselines, "random"), "HR@5")),
                 5.0 / c.f.catalogue.trie.leaves * (ROWS - 1) / ROWS, 1e-12, "random", 5); // one target is not to be had
    // Two targets occur in the train rows: rank 1 and a miss.
    golden_close(json_number_value(json_object_get(json_object_get(json, "warm"), "HR@5")), .5, 1e-12, "warm", 5);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "cold"), "rows")), ROWS - 2);
    json_decref(json);
    recommend_close(&r);
    fixture_close(&c.f);
}

// The same list for everyone: items 2, 0.
static int rank_fixed(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    (void)self, (void)h, (void)err;
    for (int u = 0; u < users; u++) {
        out[2 * u] = (Recommendation){2, 0};
        out[2 * u + 1] = (Recommendation){0, -1};
        found[u] = 2;
    }
    return 0;
}

// Items of one index text count as one where the ranker writes index texts, as those of one title do everywhere.
static void test_index_texts(void **state) {
    (void)state;
    Err err = {0};
    static const char info[] = "A\t1\t<x>\nB\t2\t<x>\nC\t3\nB\t4\t<y>\n";
    const char *t_c[] = {"C"}, *i_c[] = {"3"};
    Items items;
    OK(items_parse(&items, info, strlen(info), "info", &err));
    Row all[] = {row("u", t_c, i_c, 1, "B", "2"), row("v", t_c, i_c, 1, "A", "1"), row("w", t_c, i_c, 1, "B", "4")};
    Rows rows = {.n = 3, .row = all, .name = "test"};
    for (int by_text = 0; by_text < 2; by_text++) {
        Ranker r = {.items = &items, .users = 2, .k = 2, .by_text = by_text, .rank = rank_fixed};
        Evaluation e;
        OK(evaluate_rows(&e, &r, &rows, NULL, &(EvaluateOptions){0}, &err));
        assert_int_equal(e.match[MATCH_TITLE].hits[1], by_text ? 2 : 1); // of three
        assert_int_equal(e.match[MATCH_ITEM].hits[1], 1);
        assert_int_equal(e.match[MATCH_TITLE].hits[0], 0);
        // trec_eval finds the same hits: B as A, whose text it has.
        char path[64];
        MapFile qrels;
        snprintf(path, sizeof path, "/tmp/latentr3-qrels-%d", (int)getpid());
        OK(evaluate_rows(&e, &r, &rows, NULL, &(EvaluateOptions){.results.trec_qrels = path}, &err));
        OK(mapfile_open(&qrels, path, 0, &err));
        const char *want = by_text ? "0 0 1 1\n1 0 1 1\n2 0 2 1\n" : "0 0 2 1\n1 0 1 1\n2 0 2 1\n";
        assert_int_equal(qrels.bytes, strlen(want));
        assert_memory_equal(qrels.data, want, strlen(want));
        mapfile_close(&qrels);
        unlink(path);
    }
    // A target that was removed is a miss, whatever has its text.
    const Ranker r = {.items = &items, .users = 2, .k = 2, .by_text = 1, .rank = rank_fixed};
    const Rows one = {.n = 1, .row = all, .name = "test"};
    int changed;
    Evaluation e;
    OK(items_remove(&items, (const char *[]){"2", "4"}, 2, &changed, &err));
    OK(evaluate_rows(&e, &r, &one, NULL, &(EvaluateOptions){0}, &err));
    assert_true(e.outside == 1 && e.match[MATCH_TITLE].hits[1] == 0);
    items_free(&items);
}

// Items 0 and 2 have one title. Without what was seen item 0 is left out, its twin is not.
static int rank_apart(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    static const int order[] = {0, 2, 1, 3};
    const int *seen = self;
    (void)h, (void)err;
    for (int u = 0; u < users; u++) {
        found[u] = 0;
        for (int i = *seen; i < 4; i++) out[4 * u + found[u]++] = (Recommendation){order[i], (float)-i};
    }
    return 0;
}

// Lists of items are long enough for so many titles: a place by title is a distinct one that was not seen, one by item is an
// item.
static void test_items_apart(void **state) {
    (void)state;
    Err err = {0};
    static const char info[] = "A\t1\nB\t2\nA\t3\nC\t4\n";
    const char *title[] = {"A"}, *id[] = {"1"};
    Items items;
    OK(items_parse(&items, info, strlen(info), "info", &err));
    Row all[] = {row("u", title, id, 1, "B", "2"), row("v", title, id, 1, "A", "3"), row("w", title, id, 1, "C", "4")};
    Rows rows = {.n = 3, .row = all, .name = "test"};
    assert_int_equal(ranker_places(&items, 1, NULL), 2);
    assert_int_equal(ranker_places(&items, 1, &rows), 3);
    assert_int_equal(ranker_places(&items, 3, &rows), 4);
    assert_int_equal(ranker_places(&items, 5, &rows), 5);
    static const int by_title[2][3] = {{2, 1, 0}, {1, 0, 2}}, by_item[2][3] = {{0, 2, 0}, {2, 1, 0}};
    for (int seen = 0; seen < 2; seen++) {
        const Ranker r = {
            .self = &seen, .items = &items, .users = 2, .k = 4, .titles = 2, .seen_by_item = seen, .rank = rank_apart};
        int rank[MATCHES][3];
        int *const of[MATCHES] = {rank[MATCH_TITLE], rank[MATCH_ITEM]};
        OK(evaluate_ranks(&r, &rows, of, &err));
        for (int i = 0; i < 3; i++) {
            assert_int_equal(rank[MATCH_TITLE][i], by_title[seen][i]);
            assert_int_equal(rank[MATCH_ITEM][i], by_item[seen][i]);
        }
        // The file for trec_eval holds the places by title: the first is that of B, or of A where it was not left out.
        char path[64];
        Evaluation e;
        MapFile run;
        snprintf(path, sizeof path, "/tmp/latentr3-run-%d", (int)getpid());
        OK(evaluate_rows(&e, &r, &rows, NULL, &(EvaluateOptions){.results.trec_run = path}, &err));
        OK(mapfile_open(&run, path, 0, &err));
        const char *first =
            seen ? "0 Q0 2 1 3 latentr3\n0 Q0 4 2 2 latentr3\n1 " : "0 Q0 1 1 3 latentr3\n0 Q0 2 2 2 latentr3\n1 ";
        assert_memory_equal(run.data, first, strlen(first));
        mapfile_close(&run);
        unlink(path);
    }
    items_free(&items);
}

enum { SMALL = 4, SMALL_TITLES = 3 }; // all catalogues of so many items

// How many items of all that are listed it takes for so many titles that were not seen, in the worst order from place `at` on.
static int items_needed(const Items *items, const unsigned char *seen, int titles, int *order, int n, int at) {
    int most = 0;
    for (int i = at; i < n; i++) {
        const int other = order[at];
        order[at] = order[i], order[i] = other;
        const int need = items_needed(items, seen, titles, order, n, at + 1);
        if (need > most) most = need;
        order[i] = order[at], order[at] = other;
    }
    if (at < n) return most;
    for (int i = 0, found = 0; i < n && found < titles; most = ++i) {
        int counts = !seen[items_title_group(items, order[i])];
        for (int j = 0; j < i; j++) counts &= items_title_group(items, order[j]) != items_title_group(items, order[i]);
        found += counts;
    }
    return most;
}

static void check_places(const Items *items, int history) {
    const char *id[SMALL];
    unsigned char seen[SMALL] = {0}; // titles, at their first item
    int order[SMALL], n = 0;
    Row user = {.item_id = id};
    for (int i = 0; i < SMALL; i++) {
        if (history >> i & 1)
            id[user.n++] = items->id[i], seen[items_title_group(items, i)] = 1;
        else if (!items->removed[i])
            order[n++] = i;
    }
    const Rows rows = {.n = 1, .row = &user};
    for (int titles = 1; titles <= SMALL_TITLES; titles++)
        assert_true(ranker_places(items, titles, &rows) >= items_needed(items, seen, titles, order, n, 0));
}

// Whatever stands first, and whatever was removed or seen, a list of ranker_places items has the titles that it is to have.
static void test_places(void **state) {
    (void)state;
    Err err = {0};
    for (int titles = 0; titles < 81; titles++)
        for (int removed = 0; removed < (1 << SMALL) - 1; removed++) {
            Str info = {0};
            Items items;
            for (int i = 0, t = titles; i < SMALL; i++, t /= SMALL_TITLES)
                str_printf(&info, "%c\t%d%s\n", 'A' + t % SMALL_TITLES, i, removed >> i & 1 ? "\t\tremoved" : "");
            OK(items_parse(&items, info.data, info.len, "info", &err));
            for (int history = 0; history < 1 << SMALL; history++) check_places(&items, history);
            items_free(&items), str_free(&info);
        }
}

static void test_refused(void **state) {
    (void)state;
    Err err = {0};
    Case c;
    case_open(&c);
    Evaluation e;
    Recommender r = recommender(&c, 1, W);
    Rows none = {.name = "test"};
    assert_int_equal(evaluate(&e, &r, &none, NULL, &(EvaluateOptions){0}, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    assert_int_equal(evaluate(&e, &r, &c.rows, NULL, &(EvaluateOptions){.results = {.lines = "/nowhere/at/all/x.jsonl"}}, &err),
                     -1);
    assert_int_equal(err.code, ERR_IO);
    recommend_close(&r);
    // A model that says nothing finite is an error, not a metric of zero; nothing is left of its results.
    const float nan = NAN;
    ops_upload(c.f.g.ops, (float *)c.f.g.llm.norm.weight, &nan, sizeof nan);
    r = recommender(&c, 2, W);
    assert_int_equal(evaluate(&e, &r, &c.rows, NULL, &(EvaluateOptions){.results = {.lines = c.path}}, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    assert_false(file_exists(c.path));
    recommend_close(&r);
    fixture_close(&c.f);
}

int main(void) {
    log_level = LOG_WARN;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranks),       cmocka_unit_test(test_report),
                                       cmocka_unit_test(test_refused),     cmocka_unit_test(test_index_texts),
                                       cmocka_unit_test(test_items_apart), cmocka_unit_test(test_places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
