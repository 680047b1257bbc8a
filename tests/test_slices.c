// Rows apart by how often their target occurs in the train rows, and the files an evaluation leaves.
#include "fixture.h"
#include "rec/results.h"
#include "rec/slices.h"

enum { ITEMS = 12, ROWS = 7, EVENTS = 40 };

typedef struct Case {
    json_t *titles;
    Items items;
    Row train[EVENTS], row[ROWS];
    Rows train_rows, rows;
    char user[EVENTS][16];
} Case;

static Row target(const Case *c, const char *user, int item) {
    return (Row){.user = user, .target_title = c->items.title[item], .target_id = c->items.id[item]};
}

// Interactions: item 0 16 times, 1 8, 2 5, 3 and 4 3, 5 2, 6 to 8 once each, 9 to 11 never: 40 in all.
static void case_open(Case *c) {
    const int times[ITEMS] = {16, 8, 5, 3, 3, 2, 1, 1, 1}, of_row[ROWS] = {0, 1, 2, 3, 6, 9, 11};
    int n = 0;
    memset(c, 0, sizeof *c);
    c->titles = json_array();
    for (int i = 0; i < ITEMS; i++) json_array_append_new(c->titles, json_sprintf("title %d", i));
    fixture_items(&c->items, c->titles);
    for (int i = ITEMS - 1; i >= 0; i--)
        for (int k = 0; k < times[i]; k++, n++) {
            snprintf(c->user[n], sizeof c->user[n], "u%d", n);
            c->train[n] = target(c, c->user[n], i);
        }
    assert_int_equal(n, EVENTS);
    c->train_rows = (Rows){.n = n, .row = c->train, .name = "train"};
    for (int i = 0; i < ROWS; i++) c->row[i] = target(c, i < 2 ? "same" : c->user[i], of_row[i]);
    c->row[6].target_title = "a title that is not there";
    c->rows = (Rows){.n = ROWS, .row = c->row, .name = "test"};
}

static void case_close(Case *c) {
    items_free(&c->items);
    json_decref(c->titles);
}

static void test_slices(void **state) {
    (void)state;
    Case c;
    Baseline b;
    Slices s;
    case_open(&c);
    baseline_open(&b, &c.items, &c.train_rows, MATCH_TITLE);
    slices_open(&s, &b);
    // Popular: 2 of the 9 that occur. Buckets of 8: item 0 alone begins at 0 and takes two; 1 begins at 16 of 40, 2 at 24,
    // 3 at 29, 4 at 32.
    const int items[SLICES] = {12, 9, 3, 2, 10, 1, 0, 1, 2, 8};
    const int64_t interactions[SLICES] = {40, 40, 0, 24, 16, 16, 0, 8, 8, 8};
    for (int i = 0; i < SLICES; i++) {
        assert_int_equal(s.slice[i].items, items[i]);
        assert_int_equal(s.slice[i].interactions, interactions[i]);
    }
    const int rank[ROWS] = {1, 0, 2, 1, 0, 10, 0}, other[ROWS] = {1, 1, 0, 2, 0, 0, 0};
    int user[ROWS], in[ROWS];
    baseline_number_users(&c.rows, user);
    const SlicesRanks r = {rank, other, user, 10, 5, 50, 1};
    slices_measure(&s, &c.rows, &r, in);
    const int rows[SLICES] = {7, 5, 2, 2, 5, 1, 0, 1, 2, 3}, hits[SLICES] = {4, 3, 1, 1, 3, 1, 0, 0, 2, 1},
              gains[SLICES] = {0, 0, 0, -1, 1, 0, 0, -1, 1, 0};
    for (int i = 0; i < SLICES; i++) {
        assert_int_equal(s.slice[i].metrics.rows, rows[i]);
        assert_int_equal(s.slice[i].metrics.hits[3], hits[i]); // HR@10
        assert_int_equal(s.slice[i].gain.hits[2], gains[i]);   // HR@5: the other's lists are that long
        if (rows[i]) assert_int_equal(s.slice[i].gain.list, 5);
        assert_int_equal(s.slice[i].metrics.resamples, i == SLICE_ALL ? 50 : 0);
    }
    json_t *json = json_object(), *gain = slices_gain_to_json(s.slice);
    slices_to_json(json, s.slice);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "cold"), "rows")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "buckets")), SLICE_BUCKETS);
    golden_close(json_number_value(json_object_get(json_object_get(json, "popular"), "HR@10")), .5, 0, "HR", 10);
    golden_close(json_number_value(json_object_get(json_object_get(json_object_get(gain, "unpopular"), "HR@5"), "gain")), .2,
                 1e-15, "gain", 5);
    assert_null(json_object_get(json_object_get(gain, "unpopular"), "HR@10"));
    json_decref(json), json_decref(gain);
    slices_close(&s);
    baseline_close(&b);

    // No train rows: one slice of all.
    const Rows none = {0};
    baseline_open(&b, &c.items, &none, MATCH_TITLE);
    slices_open(&s, &b);
    slices_measure(&s, &c.rows, &r, in);
    assert_int_equal(s.slice[SLICE_ALL].metrics.rows, ROWS);
    json = json_object();
    slices_to_json(json, s.slice);
    assert_int_equal(json_object_size(json), 0);
    json_decref(json);
    slices_close(&s);
    baseline_close(&b);
    case_close(&c);
}

// ---- files ---------------------------------------------------------------------------------------------------------------

static char *text_of(const char *path) {
    Err err = {0};
    MapFile f;
    OK(mapfile_open(&f, path, 0, &err));
    char *text = strndup(f.data, f.bytes);
    mapfile_close(&f);
    return text;
}

static void refuse(const char *text, const Rows *rows, const ResultsAmong *among, const char *what) {
    Err err = {0};
    int rank[ROWS], list;
    assert_int_equal(results_parse(text, strlen(text), "other.jsonl", rows, among, rank, &list, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, what)) fail_msg("\"%s\" does not say \"%s\"", err.message, what);
}

static void test_results(void **state) {
    (void)state;
    Err err = {0};
    Case c;
    Results r;
    case_open(&c);
    char folder[] = "/tmp/latentr3-results-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path[3] = {file_join(folder, "lines"), file_join(folder, "run"), file_join(folder, "qrels")};
    const ResultsPaths paths = {path[0], path[1], path[2], NULL};
    const int rank[ROWS][MATCHES] = {{1, 1}, {0, 0}, {2, 0}, {2, 3}};
    const Recommendation list[3] = {{0, 3}, {2, 2.5f}, {3, -1}};
    ResultsAmong among;
    results_among(&among, &c.items, 0);
    OK(results_open(&r, &c.items, &c.rows, &among, 2, &paths, &err));
    for (int i = 0; i < ROWS; i++)
        results_row(&r, &c.row[i], i, rank[i], items_by_id(&c.items, c.row[i].target_id), list, i == 1 ? 1 : 3, NULL);
    OK(results_commit(&r, &err));

    char *lines = text_of(path[0]), *run = text_of(path[1]), *qrels = text_of(path[2]);
    int again[ROWS], most;
    OK(results_read(path[0], &c.rows, &among, again, &most, &err));
    assert_int_equal(most, 2); // not 3, the items
    for (int i = 0; i < ROWS; i++) assert_int_equal(again[i], rank[i][MATCH_TITLE]);
    assert_true(strstr(run, "0 Q0 100 1 3 latentr3\n0 Q0 102 2 2 latentr3\n0 Q0 103 3 1 latentr3\n1 Q0 100 1 1 latentr3\n") ==
                run);
    assert_true(strstr(qrels, "0 0 100 1\n1 0 101 1\n") == qrels);

    // Other items took part: some were removed, or those of the history left out. Lines that do not say are taken.
    ResultsAmong fewer_items, unseen = among;
    unsigned char *removed = c.items.removed;
    removed[4] = 1;
    results_among(&fewer_items, &c.items, 0);
    removed[4] = 0;
    unseen.exclude_seen = 1;
    refuse(lines, &c.rows, &fewer_items, "line 1: ranked among the items of another catalogue");
    refuse(lines, &c.rows, &unseen, "line 1: ranked among all items, and here without");
    const char *old = "{\"row\": 0, \"target\": \"title 0\", \"rank\": null, \"items\": [1]}";
    OK(results_parse(old, strlen(old), "old.jsonl", &(Rows){.n = 1, .row = c.row, .name = "test"}, &unseen, again, &most,
                     &err));

    // Other rows: one more, one less, another target, user, order; and what is no result.
    Rows fewer = c.rows;
    fewer.n--;
    refuse(lines, &fewer, &among, "more than the 6 rows");
    lines[strlen(lines) - 1] = 0;
    char *last = strrchr(lines, '\n');
    *last = 0;
    refuse(lines, &c.rows, &among, "6 rows, this evaluation has 7");
    Row kept = c.row[2];
    c.row[2].target_id = "7";
    refuse(lines, &c.rows, &among, "line 3");
    c.row[2] = kept;
    c.row[2].target_title = "title 7";
    refuse(lines, &c.rows, &among, "line 3");
    c.row[2] = kept;
    c.row[2].user = "somebody";
    refuse(lines, &c.rows, &among, "line 3");
    c.row[2] = kept;
    Rows one = {.n = 1, .row = c.row, .name = "test"};
    refuse("{\"row\": 0, \"target\": \"title 0\", \"rank\": 1, \"items\": []}", &one, &among,
           "line 1"); // a rank behind the list
    refuse("{\"row\": 0, \"target\": \"title 0\", \"rank\": 2, \"list\": 1, \"items\": [1, 2]}", &one, &among, "line 1");
    refuse("{\"row\": 0, \"target\": \"title 0\", \"rank\": null, \"list\": 0, \"items\": [1]}", &one, &among, "line 1");
    refuse("{\"row\": 0, \"target\": \"title 0\", \"rank\": null, \"list\": 1e9, \"items\": [1]}", &one, &among, "line 1");
    refuse("{\"row\": 0, \"target\": \"title 0\", \"rank\": null, \"items\": []}", &one, &among, "empty");
    refuse("{\"row\": 1, \"target\": \"title 0\", \"rank\": null, \"items\": [1]}", &one, &among, "line 1");
    refuse("{\"row\": 0, \"rank\": null, \"items\": [1]}", &one, &among, "line 1");
    refuse("{\"row\": 0, \"target\": \"title 0\", \"rank\": 0.5, \"items\": [1]}", &one, &among, "line 1");
    refuse("", &one, &among, "0 rows");
    refuse("nothing", &one, &among, "line 1");
    for (int i = 0; i < 3; i++) unlink(path[i]), free(path[i]);
    rmdir(folder);
    free(lines), free(run), free(qrels);
    case_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slices), cmocka_unit_test(test_results)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
