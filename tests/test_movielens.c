// MovieLens-100K from its own files to a data folder, and the same from RecBole's atomic files.
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "data/dataset.h"
#include "data/split.h"
#include "tests/shared_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/folder.h"
#include "tests/prepared.h"

// What an independent script (Python: csv, repr, sorted) made of the same files, down to the hash of each file.
typedef struct Expected {
    const char *split;
    long long rows[SPLITS], cold_rows[2], tied[SPLITS], late;
    const char *hash[4]; // train, valid, test, info
} Expected;

static void check_prepared(const char *in, const Expected *e) {
    static const char *const split[] = {"train", "valid", "test"};
    static const char *const name[] = {"train.csv", "valid.csv", "test.csv", "info.txt"};
    char *out = folder_new();
    json_t *report;
    prepared_run(&(PrepareOptions){.input = in, .out = out, .k_core = 5, .history = 10, .split = e->split, .strict = 1},
                 &report);
    assert_string_equal(json_string_value(json_object_get(report, "category")), "movie");
    assert_int_equal(prepared_count(report, "read", "interactions", NULL), 100000);
    assert_int_equal(prepared_count(report, "counts", "users", NULL), 943);
    assert_int_equal(prepared_count(report, "counts", "items", NULL), 1349);
    assert_int_equal(prepared_count(report, "counts", "interactions", NULL), 99287);
    assert_int_equal(prepared_count(report, "dropped", "interactions", "too_few"), 713);
    for (int s = 0; s < SPLITS; s++) {
        assert_int_equal(prepared_count(report, "counts", "rows", split[s]), e->rows[s]);
        assert_int_equal(prepared_count(report, "ties", "rows", split[s]), e->tied[s]);
        if (s > 0) assert_int_equal(prepared_count(report, "cold", "rows", split[s]), e->cold_rows[s - 1]);
    }
    assert_int_equal(prepared_count(report, "leakage", "train_rows_after_first_test", NULL), e->late);
    for (int i = 0; i < 4; i++) {
        const char *hash = json_string_value(json_object_get(json_object_get(report, "files"), name[i]));
        assert_string_equal(hash, e->hash[i]);
    }
    int by_time = strcmp(e->split, "time") == 0; // both cuts lie inside one second
    const json_t *ties = json_object_get(report, "ties");
    assert_int_equal(json_is_true(json_object_get(ties, "valid_begins_inside")), by_time);
    assert_int_equal(json_is_true(json_object_get(ties, "test_begins_inside")), by_time);
    json_decref(report);
    Dataset d;
    Err err = {0};
    assert_int_equal(dataset_open(&d, out, NULL, &err), 0);
    d.strict = 1;
    for (int s = 0; s < SPLITS; s++) {
        Rows rows;
        if (dataset_rows(&d, &rows, split[s], 0, &err)) fail_msg("%s", err.message);
        assert_int_equal(rows.n, e->rows[s]);
        rows_free(&rows);
    }
    dataset_close(&d);
    folder_remove(out);
}

static void put_latin1(Str *out, const char *s, const char *end) {
    for (; s < end; s++) {
        char utf8[4];
        str_append(out, utf8, utf8_put(utf8, (unsigned char)*s));
    }
}

// The same log and titles as RecBole's atomic files.
static char *as_recbole(const char *movielens) {
    char *data_path = file_join(movielens, "u.data"), *item_path = file_join(movielens, "u.item");
    MapFile data, item;
    Err err = {0};
    Str inter = {0}, titles = {0};
    assert_int_equal(mapfile_open(&data, data_path, 0, &err), 0);
    assert_int_equal(mapfile_open(&item, item_path, 0, &err), 0);
    str_puts(&inter, "user_id:token\titem_id:token\trating:float\ttimestamp:float\n");
    str_append(&inter, data.data, data.bytes);
    str_puts(&titles, "item_id:token\tmovie_title:token_seq\n");
    for (const char *s = item.data, *end = s + item.bytes, *next; s < end; s = next) {
        next = (const char *)memchr(s, '\n', (size_t)(end - s)) + 1;
        const char *title = (const char *)memchr(s, '|', (size_t)(end - s)) + 1;
        str_append(&titles, s, (size_t)(title - 1 - s));
        str_puts(&titles, "\t");
        put_latin1(&titles, title, memchr(title, '|', (size_t)(end - title)));
        str_puts(&titles, "\n");
    }
    char *parent = folder_new(), *folder = file_join(parent, "ml-as-recbole"); // "ml-": the category is "movie"
    assert_int_equal(file_make_folder(folder, &err), 0);
    free(parent);
    folder_put(folder, "m.inter", inter.data, inter.len);
    folder_put(folder, "m.item", titles.data, titles.len);
    mapfile_close(&data), mapfile_close(&item);
    str_free(&inter), str_free(&titles);
    free(data_path), free(item_path);
    return folder;
}

static void test_movielens_100k(void **state) {
    (void)state;
    static const Expected expected[] = {
        {"time",
         {78675, 9834, 9835},
         {30, 96},
         {39934, 4982, 5096},
         0,
         {"495ad402a8a18405c0f8fa568b431918", "fd3bd7e68811903e1322cafeca01305e", "257e038f217c5b45d3ae919e52015711",
          "75c8c759ce7188ebb1fb5aca74a00dac"}},
        {"leave-one-out",
         {96458, 943, 943},
         {0, 0},
         {49175, 421, 416},
         95603,
         {"595235c7d90b917369d87ab89cc40a26", "9ec481e3282d0a1f72b49f2ab00d9008", "39a9e0675160b794f44ca72cc4699924",
          "75c8c759ce7188ebb1fb5aca74a00dac"}},
    };
    char *folder = shared_data("ml-100k");
    if (!folder) skip();
    char *recbole = as_recbole(folder);
    for (int i = 0; i < 2; i++) {
        check_prepared(folder, &expected[i]);
        check_prepared(recbole, &expected[i]);
    }
    char *parent = mem_strndup(recbole, strlen(recbole) - strlen("/ml-as-recbole"));
    folder_remove(recbole), folder_remove(parent);
    free(folder);
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_movielens_100k)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
