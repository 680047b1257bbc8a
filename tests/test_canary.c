// Nothing of test reaches training: every test target carries a token that stands nowhere else, and that token is searched for
// in all that a model is trained on.
#include "base/log.h"
#include "data/examples.h"
#include "data/prepare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/folder.h"

enum { USERS = 30, EVENTS = 11, COMMON = 20 }; // ten rows a user, the last of which is in test whatever the split

// Braille letters: three bytes, the last of which stands in no other text.
static void canary(char out[4], int user, int other) {
    memcpy(out, "\xe2\xa0\x80", 4);
    out[2] = (char)((unsigned char)out[2] + user);
    if (other) out[1] = (char)0xa2;
}

// u: its first events at common items, one day apart; the last, later than all of those, is the user's canary.
static void put_log(const char *folder, int other) {
    Str log = {0}, items = {0};
    char title[4];
    str_puts(&log, "user_id\titem_id\ttimestamp\n");
    str_puts(&items, "item_id\ttitle\n");
    for (int i = 0; i < COMMON; i++) str_printf(&items, "i%d\tFilm %d\n", i, i);
    for (int u = 0; u < USERS; u++) {
        for (int e = 0; e < EVENTS - 1; e++)
            str_printf(&log, "u%d\ti%d\t%d\n", u, (u * 7 + e * 3) % COMMON, 1000000 + u + e * 86400);
        canary(title, u, other);
        str_printf(&log, "u%d\tc%d\t%d\n", u, u, 9000000 + u);
        str_printf(&items, "c%d\tFilm %s\n", u, title);
    }
    folder_put(folder, "interactions.tsv", log.data, log.len);
    folder_put(folder, "items.tsv", items.data, items.len);
    str_free(&log), str_free(&items);
}

static char *prepare(const char *split, int other) {
    char *in = folder_new(), *out = folder_new();
    Err err = {0};
    put_log(in, other);
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = split, .strict = 1};
    if (prepare_run(&o, NULL, &err)) fail_msg("%s", err.message);
    folder_remove(in);
    return out;
}

static Tokenizer *tokenizer;
static const PromptStyle style = {.category = "movie", .bos_id = -1};

static Examples read_split(const char *folder, const char *split) {
    Dataset d;
    Rows rows;
    Examples e = {0};
    Err err = {0};
    if (dataset_open(&d, folder, NULL, &err) || dataset_rows(&d, &rows, split, 0, &err) ||
        examples_make(&e, &rows, tokenizer, &style, 1, PROMPT_TRAIN_TOKENS, 1, &err))
        fail_msg("%s", err.message);
    rows_free(&rows);
    dataset_close(&d);
    return e;
}

static int count(const int32_t *ids, size_t n, int32_t id) {
    int found = 0;
    for (size_t i = 0; i < n; i++) found += ids[i] == id;
    return found;
}

// How often the token stands in what a batch is made of.
static int count_token(const Examples *e, int32_t id) {
    int found = count(e->common.ids.data, e->common.ids.len, id);
    for (int i = 0; i < e->n; i++) {
        found += count(e->example[i].prompt, (size_t)e->example[i].prompt_len, id);
        found += count(e->example[i].answer, (size_t)e->example[i].answer_len, id);
    }
    return found;
}

static int32_t canary_token(int user) {
    char text[4];
    Ints ids = {0};
    canary(text, user, 0);
    assert_int_equal(tokenizer_encode(tokenizer, &ids, text, 3, 0, NULL), 0);
    int32_t id = ids.data[ids.len - 1];
    ints_free(&ids);
    return id;
}

static void same_examples(const Examples *a, const Examples *b) {
    assert_true(a->n == b->n && a->ids.len == b->ids.len && a->common.ids.len == b->common.ids.len);
    assert_memory_equal(a->ids.data, b->ids.data, a->ids.len * sizeof *a->ids.data);
    for (int i = 0; i < a->n; i++) {
        assert_true(a->example[i].prompt - a->ids.data == b->example[i].prompt - b->ids.data);
        assert_true(a->example[i].answer - a->ids.data == b->example[i].answer - b->ids.data);
        assert_true(a->example[i].prompt_len == b->example[i].prompt_len &&
                    a->example[i].answer_len == b->example[i].answer_len);
    }
}

static void check_split(const char *split) {
    char *folder = prepare(split, 0);
    Examples train = read_split(folder, "train"), valid = read_split(folder, "valid"), test = read_split(folder, "test");
    assert_int_equal(test.n, USERS);
    for (int u = 0; u < USERS; u++) {
        int32_t id = canary_token(u);
        assert_int_equal(count_token(&test, id), 1); // the search finds it where it is
        assert_int_equal(count_token(&train, id), 0);
        assert_int_equal(count_token(&valid, id), 0);
    }
    char *path = file_join(folder, "test.csv");
    assert_int_equal(unlink(path), 0);
    Examples without = read_split(folder, "train");
    same_examples(&train, &without);
    char *other_folder = prepare(split, 1); // other labels in test
    Examples other = read_split(other_folder, "train");
    same_examples(&train, &other);
    examples_free(&train), examples_free(&valid), examples_free(&test), examples_free(&without), examples_free(&other);
    free(path);
    folder_remove(folder), folder_remove(other_folder);
}

static void test_time(void **state) {
    (void)state;
    check_split("time");
}

static void test_leave_one_out(void **state) {
    (void)state;
    check_split("leave-one-out");
}

static int open_tokenizer(void **state) {
    (void)state;
    return tokenizer_open(&tokenizer, "tests/golden/tiny-llama/tokenizer.json", NULL);
}

static int close_tokenizer(void **state) {
    (void)state;
    tokenizer_close(tokenizer);
    return 0;
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_time), cmocka_unit_test(test_leave_one_out)};
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
