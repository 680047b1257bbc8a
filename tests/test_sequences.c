// Whole sequences out of rows that hold the last few items each: written by hand, and cut from made-up sequences in every way.
#include "base/rng.h"
#include "base/vec.h"
#include "data/sequences.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ITEMS = 9, MOST = 24 };

static void items_make(Items *items) {
    Err err = {0};
    Str text = {0};
    for (int i = 0; i < ITEMS; i++) str_printf(&text, "Title %d\t%d\n", i, 100 + i);
    if (items_parse(items, text.data, text.len, "info.txt", &err)) fail_msg("%s", err.message);
    str_free(&text);
}

// A row of item numbers; what it points to lives until rows_drop.
static Row row_of(const Items *items, const char *user, const int *item, int n, int target) {
    const char **title = malloc(sizeof *title * (size_t)(n + 1)), **id = malloc(sizeof *id * (size_t)(n + 1));
    for (int i = 0; i < n; i++) title[i] = items->title[item[i]], id[i] = items->id[item[i]];
    return (Row){.user = user,
                 .target_title = items->title[target],
                 .target_id = items->id[target],
                 .n = n,
                 .title = title,
                 .item_id = id};
}

static void rows_drop(Row *row, int n) {
    for (int i = 0; i < n; i++) free((void *)row[i].title), free((void *)row[i].item_id);
}

static void assert_sequence(const Sequences *s, int sequence, const int *want, int n) {
    assert_int_equal(s->item[sequence].len, n);
    for (int i = 0; i < n; i++) assert_int_equal(s->item[sequence].data[i], want[i]);
}

static void rows_go_on(void **state) {
    (void)state;
    Items items;
    items_make(&items);
    Row row[] = {row_of(&items, "anna", (int[]){0}, 1, 1), row_of(&items, "bert", (int[]){8, 7}, 2, 8),
                 row_of(&items, "anna", (int[]){0, 1}, 2, 2), row_of(&items, "anna", (int[]){1, 2}, 2, 3),
                 row_of(&items, "bert", (int[]){7, 8}, 2, 7)};
    Rows train = {.n = 4, .row = row}, valid = {.n = 1, .row = row + 4};
    SequencePlace place[4], later;
    Sequences s = {0};
    sequences_add(&s, &items, &train, place);
    sequences_add(&s, &items, &valid, &later);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.broken, 0);
    assert_sequence(&s, 0, (int[]){0, 1, 2, 3}, 4);
    assert_sequence(&s, 1, (int[]){8, 7, 8, 7}, 4);
    const int want[4][2] = {{0, 1}, {1, 2}, {0, 2}, {0, 3}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(place[i].sequence, want[i][0]);
        assert_int_equal(place[i].n, want[i][1]);
    }
    assert_int_equal(later.sequence, 1);
    assert_int_equal(later.n, 3);

    const char *const stale[] = {"text", NULL};
    row[3].text = stale;
    const Row before[4] = {row[0], row[1], row[2], row[3]};
    sequences_into_rows(&s, &items, &train, place);
    assert_int_equal(row[3].n, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(row[3].title[i], items.title[i]);
        assert_string_equal(row[3].item_id[i], items.id[i]);
    }
    assert_null(row[3].text);
    assert_string_equal(row[3].target_id, items.id[3]);
    memcpy(row, before, sizeof before);
    rows_drop(row, 5);
    sequences_free(&s);
    items_free(&items);
}

// A row that does not follow stands for itself, and what comes behind it goes on from there.
static void rows_that_break_off(void **state) {
    (void)state;
    Items items;
    items_make(&items);
    Row row[] = {row_of(&items, "anna", (int[]){0}, 1, 1),    row_of(&items, "anna", (int[]){5, 6}, 2, 7),
                 row_of(&items, "anna", (int[]){6, 7}, 2, 8), row_of(&items, "anna", (int[]){0, 5, 6, 7, 8}, 5, 2),
                 row_of(&items, "cleo", NULL, 0, 4),          row_of(&items, "cleo", NULL, 0, 5)};
    Rows rows = {.n = 6, .row = row};
    SequencePlace place[6];
    Sequences s = {0};
    sequences_add(&s, &items, &rows, place);
    assert_int_equal(s.n, 4);
    assert_int_equal(s.broken, 2);
    assert_sequence(&s, 0, (int[]){0, 1}, 2);
    assert_sequence(&s, 1, (int[]){5, 6, 7, 8}, 4);
    assert_sequence(&s, 2, (int[]){0, 5, 6, 7, 8, 2}, 6); // longer than all that is known: a beginning of its own
    assert_sequence(&s, 3, (int[]){4, 5}, 2);             // an empty history is the end of any
    assert_int_equal(place[3].n, 5);
    assert_int_equal(place[4].n, 0);
    rows_drop(row, 6);
    sequences_free(&s);
    items_free(&items);
}

// Rows are missing: each item counts once nevertheless, and all that was before is still known.
static void rows_with_gaps(void **state) {
    (void)state;
    Items items;
    items_make(&items);
    Row row[] = {row_of(&items, "anna", (int[]){0, 1, 2}, 3, 3), row_of(&items, "anna", (int[]){2, 3, 4}, 3, 5),
                 row_of(&items, "anna", (int[]){5, 6, 7}, 3, 8), row_of(&items, "anna", (int[]){1, 2, 3}, 3, 4)};
    Rows rows = {.n = 4, .row = row};
    SequencePlace place[4];
    Sequences s = {0};
    sequences_add(&s, &items, &rows, place);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.broken, 1);
    assert_sequence(&s, 0, (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8}, 9);
    assert_sequence(&s, 1, (int[]){1, 2, 3, 4}, 4); // no end of what was there
    const int want[4][2] = {{0, 3}, {0, 5}, {0, 8}, {1, 3}};
    for (int i = 0; i < 4; i++) assert_true(place[i].sequence == want[i][0] && place[i].n == want[i][1]);
    rows_drop(row, 4);
    sequences_free(&s);
    items_free(&items);
}

// Sequences of few items, so that pieces repeat, cut into rows with every length of history and into two splits, users
// interleaved: what was cut comes back.
static void what_was_cut_comes_back(void **state) {
    (void)state;
    enum { USERS = 7 };
    static const char *const name[USERS] = {"a", "b", "c", "d", "e", "f", "g"};
    Items items;
    items_make(&items);
    for (uint64_t round = 0; round < 200; round++) {
        int item[USERS][MOST], n[USERS], at[USERS], rows = 0;
        const int most = 1 + (int)rng_below(3, RNG_SYNTHETIC, round, 6);
        Row row[USERS * MOST];
        SequencePlace place[USERS * MOST];
        int owner[USERS * MOST], before[USERS * MOST];
        for (int u = 0; u < USERS; u++) {
            n[u] = 2 + (int)rng_below(4, RNG_SYNTHETIC, round * USERS + (uint64_t)u, MOST - 1);
            for (int i = 0; i < n[u]; i++)
                item[u][i] = (int)rng_below(5, RNG_SYNTHETIC, (round * USERS + (uint64_t)u) * MOST + (uint64_t)i, 3);
            at[u] = 1;
        }
        for (uint64_t draw = 0; rows < USERS * MOST; draw++) {
            int left = 0;
            for (int u = 0; u < USERS; u++) left += at[u] < n[u];
            if (!left) break;
            const int u = (int)rng_below(6, RNG_SYNTHETIC, round * 4096 + draw, USERS);
            if (at[u] >= n[u]) continue;
            const int history = at[u] < most ? at[u] : most;
            owner[rows] = u, before[rows] = at[u];
            row[rows++] = row_of(&items, name[u], item[u] + at[u] - history, history, item[u][at[u]]);
            at[u]++;
        }
        Rows first = {.n = rows / 2, .row = row}, second = {.n = rows - rows / 2, .row = row + rows / 2};
        Sequences s = {0};
        sequences_add(&s, &items, &first, place);
        sequences_add(&s, &items, &second, place + rows / 2);
        assert_int_equal(s.n, USERS);
        assert_int_equal(s.broken, 0);
        for (int i = 0; i < rows; i++) {
            assert_int_equal(place[i].n, before[i]);
            assert_sequence(&s, place[i].sequence, item[owner[i]], n[owner[i]]);
        }
        rows_drop(row, rows);
        sequences_free(&s);
    }
    items_free(&items);
}

// Prompts of the last items that have a token, answers of one.
static void examples_of_rows(void **state) {
    (void)state;
    Items items;
    items_make(&items);
    Row row[] = {row_of(&items, "anna", (int[]){0}, 1, 1),    row_of(&items, "anna", (int[]){0, 1}, 2, 2),
                 row_of(&items, "anna", (int[]){1, 2}, 2, 3), row_of(&items, "anna", (int[]){2, 3}, 2, 4),
                 row_of(&items, "anna", (int[]){3, 4}, 2, 5), row_of(&items, "bert", (int[]){2}, 1, 6)};
    const int32_t token[ITEMS] = {10, 11, -1, 13, 14, -1, 16, 17, 18};
    Rows rows = {.n = 6, .row = row};
    SequencePlace place[6];
    Sequences s = {0};
    Examples e;
    sequences_add(&s, &items, &rows, place);
    sequences_examples(&e, &s, place, 6, token, 3);
    sequences_free(&s); // they stand on their own
    const int32_t prompt[3][3] = {{10}, {10, 11}, {10, 11, 13}}, answer[3] = {11, 13, 14}, len[3] = {1, 2, 3};
    assert_int_equal(e.n, 3); // an answer without a token, twice; a history without any
    assert_int_equal(e.longest, 4);
    assert_int_equal(e.answer_tokens, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(e.example[i].prompt_len, len[i]);
        assert_memory_equal(e.example[i].prompt, prompt[i], sizeof(int32_t) * (size_t)len[i]);
        assert_int_equal(e.example[i].answer_len, 1);
        assert_int_equal(e.example[i].answer[0], answer[i]);
        assert_int_equal(e.example[i].shared, 0);
    }
    Example before[3];
    memcpy(before, e.example, sizeof before);
    examples_sample(&e, 2, 5);
    uint32_t *drawn = rows_draw(3, 2, 5);
    assert_int_equal(e.n, 2);
    assert_true(drawn[0] < drawn[1]);
    for (int i = 0; i < 2; i++) assert_memory_equal(&e.example[i], &before[drawn[i]], sizeof *before);
    free(drawn);
    examples_free(&e);
    rows_drop(row, 6);
    items_free(&items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_on),       cmocka_unit_test(rows_that_break_off),
        cmocka_unit_test(rows_with_gaps),   cmocka_unit_test(what_was_cut_comes_back),
        cmocka_unit_test(examples_of_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
