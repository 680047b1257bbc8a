// Pitfalls of evaluating recommenders that a careful reader asks about; docs/evaluation.md says which test shows which.
#include "base/log.h"
#include "base/rng.h"
#include "data/examples.h"
#include "fixture.h"
#include "rec/evaluate.h"
#include "shared_data.h"

enum { ITEMS = 300, K = 20 };

// ---- scores ------------------------------------------------------------------------------------------------------------

// A recommender by formula: score of the item with id `id` for a row.
typedef double ScoreOf(int row, int id);

typedef struct Scored {
    const Items *items;
    ScoreOf *of;
} Scored;

static int rank_scored(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    const Scored *s = self;
    float score[ITEMS];
    for (int u = 0; u < users; u++) {
        for (int i = 0; i < ITEMS; i++) score[i] = (float)s->of(h[u].number, atoi(s->items->id[i]));
        if (ranker_best(score, ITEMS, K, out + u * K, &found[u], err)) return -1;
    }
    return 0;
}

// info.txt in the order of `order`: ids keep their titles.
static void items_in_order(Items *items, const uint32_t order[ITEMS]) {
    Err err = {0};
    Str text = {0};
    for (int i = 0; i < ITEMS; i++) str_printf(&text, "title %u\t%u\n", order[i], order[i]);
    OK(items_parse(items, text.data, text.len, "items", &err));
    str_free(&text);
}

// Rows whose target is drawn uniformly.
typedef struct Targets {
    Rows rows;
    char (*title)[24];
} Targets;

static Targets targets(int n, uint64_t seed) {
    Targets t = {.rows = {.n = n, .row = calloc((size_t)n, sizeof(Row)), .name = "test"}, .title = calloc((size_t)n, 24)};
    for (int i = 0; i < n; i++) {
        snprintf(t.title[i], 24, "title %d", (int)rng_below(seed, 94, (uint64_t)i, ITEMS));
        t.rows.row[i] = (Row){.user = t.title[i], .target_title = t.title[i], .target_id = t.title[i] + strlen("title ")};
    }
    return t;
}

static void targets_free(Targets *t) {
    free(t->rows.row), free(t->title);
}

static int evaluate(Evaluation *e, const Items *items, ScoreOf *of, const Rows *rows, Err *err) {
    Scored s = {items, of};
    const Ranker r = {.self = &s, .items = items, .users = 64, .k = K, .rank = rank_scored};
    return evaluate_rows(e, &r, rows, NULL, &(EvaluateOptions){.alone = 1}, err);
}

static double all_equal(int row, int id) {
    return 0 * (row + id);
}
static double not_a_number(int row, int id) {
    return row == 7 && id == 250 ? (double)NAN : id;
}
static double drawn(int row, int id) { // distinct
    return rng_uniform(5, 95, (uint64_t)row * ITEMS + (uint64_t)id) + 1e-9 * id;
}

// Row 5: who says the same of all items hits as often as chance does, wherever the target stands; NaN is an error.
static void test_equal_scores(void **state) {
    (void)state;
    enum { N = 4000 };
    Err err = {0};
    Items items;
    uint32_t order[ITEMS];
    Targets t = targets(N, 1);
    for (uint64_t seed = 0; seed < 5; seed++) {
        Evaluation e;
        rng_permutation(order, ITEMS, seed, 96);
        items_in_order(&items, order);
        OK(evaluate(&e, &items, all_equal, &t.rows, &err));
        const double p = 10.0 / ITEMS;
        golden_close(e.match[MATCH_TITLE].hit[3].value, p, 3 * sqrt(p * (1 - p) / N), "HR@10 of equal scores", (int)seed);
        assert_int_equal(evaluate(&e, &items, not_a_number, &t.rows, &err), -1);
        assert_int_equal(err.code, ERR_DATA);
        items_free(&items);
    }
    targets_free(&t);
}

// Row 5: a hundred orders of the catalogue, the same metrics.
static void test_order_of_items(void **state) {
    (void)state;
    Err err = {0};
    Evaluation first, e;
    uint32_t order[ITEMS];
    Targets t = targets(200, 2);
    for (uint64_t seed = 0; seed < 100; seed++) {
        Items items;
        rng_permutation(order, ITEMS, seed, 96);
        items_in_order(&items, order);
        OK(evaluate(seed ? &e : &first, &items, drawn, &t.rows, &err));
        for (int k = 0; k < METRIC_KS && seed; k++) {
            assert_int_equal(e.match[MATCH_ITEM].hits[k], first.match[MATCH_ITEM].hits[k]);
            golden_close(e.match[MATCH_TITLE].ndcg[k].value, first.match[MATCH_TITLE].ndcg[k].value, 1e-12, "NDCG", (int)seed);
        }
        items_free(&items);
    }
    assert_true(first.match[MATCH_TITLE].hits[METRIC_KS - 1] > 5);
    targets_free(&t);
}

// Row 6: of equal scores the lower item number comes first; over all places of the target that is the average rank.
static void test_ties(void **state) {
    (void)state;
    Err err = {0};
    for (int ties = 2; ties <= 5; ties++) {
        double sum = 0;
        for (int target = 0; target < ties; target++) {
            float score[8] = {9, 0, 1, 1, 1, 1, 1, 8}; // two are better, `ties` are equal
            Recommendation list[8];
            int found;
            for (int i = 2 + ties; i < 7; i++) score[i] = -1;
            OK(ranker_best(score, 8, 8, list, &found, &err));
            assert_int_equal(found, 8);
            assert_true(list[0].item == 0 && list[1].item == 7);
            assert_int_equal(list[2 + target].item, 2 + target);
            sum += 3 + target;
        }
        golden_close(sum / ties, 3 + (ties - 1) / 2.0, 1e-12, "average rank", ties);
    }
}

// ---- lists -------------------------------------------------------------------------------------------------------------

// Lists that name items, and titles, more than once. (A recommender of ours does not; a metric must bear it.)
static int rank_repeating(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    (void)err;
    const uint64_t seed = *(const uint64_t *)self;
    for (int u = 0; u < users; u++) {
        found[u] = (int)rng_below(seed, 97, (uint64_t)h[u].number, K + 1);
        for (int i = 0; i < found[u]; i++)
            out[u * K + i] = (Recommendation){(int)rng_below(seed, 98, (uint64_t)(h[u].number * K + i), 30), (float)-i};
    }
    return 0;
}

// Rows 10 and 13: a million lists. No metric above 1, none falls as K grows, short lists are counted.
static void test_random_lists(void **state) {
    (void)state;
    enum { N = 20000, ROUNDS = 50 };
    Err err = {0};
    Items items;
    Str text = {0};
    for (int i = 0; i < 30; i++) str_printf(&text, "title %d\t%d\n", i % 20, i); // ten titles twice
    OK(items_parse(&items, text.data, text.len, "items", &err));
    str_free(&text);
    Targets t = targets(N, 3);
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        Evaluation e;
        for (int i = 0; i < N; i++) {
            const int item = (int)rng_below(seed, 99, (uint64_t)i, 30);
            t.rows.row[i].target_title = items.title[item];
            t.rows.row[i].target_id = items.id[item];
        }
        const Ranker r = {.self = &seed, .items = &items, .users = 100, .k = K, .rank = rank_repeating};
        OK(evaluate_rows(&e, &r, &t.rows, NULL, &(EvaluateOptions){.alone = 1}, &err));
        assert_true(e.short_lists > N / 2 && e.short_lists < N);
        for (int by = 0; by < MATCHES; by++)
            for (int k = 0; k < METRIC_KS; k++) {
                const Metrics *m = &e.match[by];
                assert_true(m->ndcg[k].value >= 0 && m->ndcg[k].value <= m->hit[k].value && m->hit[k].value <= 1);
                if (k > 0) assert_true(m->hit[k].value >= m->hit[k - 1].value && m->ndcg[k].value >= m->ndcg[k - 1].value);
                assert_true(e.match[MATCH_TITLE].hits[k] >= e.match[MATCH_ITEM].hits[k]);
            }
    }
    targets_free(&t);
    items_free(&items);
}

// ---- texts -------------------------------------------------------------------------------------------------------------

// Row 16: what training sees of a row, what scoring sees, and what beams can write are the same ids, for every item.
static void check_ids(const Items *items, const Tokenizer *t, const PromptStyle *style) {
    Err err = {0};
    Catalogue c;
    OK(catalogue_build(&c, items, t, style, &err));
    Row *row = calloc((size_t)items->n, sizeof *row);
    for (int i = 0; i < items->n; i++) // the item behind the three before it
        row[i] = (Row){.user = "u",
                       .target_title = items->title[i],
                       .target_id = items->id[i],
                       .n = i < 3 ? i : 3,
                       .title = items->title + (i < 3 ? 0 : i - 3),
                       .item_id = items->id + (i < 3 ? 0 : i - 3)};
    Rows rows = {.n = items->n, .row = row, .name = "test"};
    Examples e;
    OK(examples_make(&e, &rows, t, style, 1, 1 << 20, 1, &err));
    for (int i = 0; i < items->n; i++) {
        const Example *x = &e.example[i];
        Ints whole = {0}, made = {0}, answer = {0};
        OK(prompt_instruction(&whole, t, style, &err));
        OK(prompt_input(&whole, t, style, row[i].title, NULL, row[i].n, &err));
        OK(prompt_answer(&answer, t, style, items->title[i], NULL, &err));
        assert_int_equal(x->shared, row[i].n > 0); // without a title other tokens come behind the instruction
        if (x->shared) ints_append(&made, e.common.ids.data, e.common.ids.len);
        ints_append(&made, x->prompt, (size_t)x->prompt_len);
        assert_int_equal(made.len, whole.len);
        assert_memory_equal(made.data, whole.data, whole.len * sizeof(int32_t));
        assert_int_equal(x->answer_len, answer.len);
        assert_memory_equal(x->answer, answer.data, answer.len * sizeof(int32_t));
        const int leaf = trie_find(&c.trie, x->answer, (size_t)x->answer_len);
        assert_true(leaf >= 0 && leaf == c.leaf[i]);
        assert_string_equal(items->title[c.trie.leaf_item[leaf]], items->title[i]);
        ints_free(&whole), ints_free(&made), ints_free(&answer);
    }
    assert_true(e.common.of_input > 10); // "### User Input: ..." is computed once for all
    examples_free(&e);
    free(row);
    catalogue_free(&c);
}

static void test_same_ids(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    fixture_open(&f, "tests/golden/tiny-qwen2", 0);
    check_ids(&f.items, f.tokenizer, &f.style);
    Items items;
    char *path = shared_data("d3-office/info.txt");
    if (path) {
        OK(items_open(&items, path, &err));
        check_ids(&items, f.tokenizer, &f.style);
        items_free(&items);
    }
    free(path);
    fixture_close(&f);
}

// ---- histories ---------------------------------------------------------------------------------------------------------

// Row 22: a shuffled history holds the same, titles beside their ids; it depends on the seed and the row alone.
static void test_shuffle(void **state) {
    (void)state;
    enum { N = 9, ROWS = 40 };
    static char name[ROWS][N][16];
    const char *title[ROWS][N], *id[ROWS][N], *text[ROWS][N], *shuffled[ROWS][N];
    int moved = 0, other = 0;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        Row row[ROWS];
        Rows rows = {.n = ROWS, .row = malloc(sizeof row)};
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < N; i++) {
                snprintf(name[r][i], sizeof name[r][i], "%d %d", r, i);
                title[r][i] = name[r][i];
                id[r][i] = name[r][i] + 1;
                text[r][i] = i % 2 ? name[r][i] + 2 : NULL;
            }
            rows.row[r] =
                (Row){.number = r, .n = r % 2 ? N : 1, .title = title[r], .item_id = id[r], .text = r % 3 ? text[r] : NULL};
        }
        Row last = rows.row[ROWS - 1]; // drawn alone, it is shuffled as among all
        Rows drawn = {.n = 1, .row = malloc(sizeof last)};
        drawn.row[0] = last;
        rows_shuffle_histories(&drawn, seed);
        rows_shuffle_histories(&rows, seed);
        assert_memory_equal(drawn.row[0].title, rows.row[ROWS - 1].title, N * sizeof(char *));
        rows_free(&drawn);
        for (int r = 0; r < ROWS; r++) {
            const Row *x = &rows.row[r];
            int seen[N] = {0};
            for (int i = 0; i < x->n; i++) {
                const int from = x->title[i][strlen(x->title[i]) - 1] - '0';
                assert_int_equal(seen[from]++, 0);
                assert_ptr_equal(x->title[i], title[r][from]);
                assert_ptr_equal(x->item_id[i], id[r][from]);
                if (r % 3) assert_ptr_equal(x->text[i], text[r][from]);
                moved += from != i;
                if (seed == 2) other += x->title[i] != shuffled[r][i];
                shuffled[r][i] = x->title[i];
            }
            assert_true(r % 3 || !x->text);
        }
        rows_free(&rows);
    }
    assert_true(moved > ROWS * N / 2 && other > ROWS * N / 4);
}

int main(void) {
    log_level = LOG_WARN;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal_scores), cmocka_unit_test(test_order_of_items),
                                       cmocka_unit_test(test_ties),         cmocka_unit_test(test_random_lists),
                                       cmocka_unit_test(test_same_ids),     cmocka_unit_test(test_shuffle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
