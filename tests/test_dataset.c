// Rows of the published layout, items, the data folder: what is read, what is passed over, what is refused.
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/columns.h"
#include "data/dataset.h"
#include "tests/guard.h"
#include "tests/shared_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/folder.h"

#define HEADER                                                                                                                 \
    "user_id,item_asins,item_asin,history_item_id,item_id,history_item_title,item_title,history_rating,rating,"                \
    "history_timestamp,timestamp\n"
#define GOOD "u1,\"['A', 'B']\",C,\"[0, 1]\",2,\"['One', \"\"it's\"\"]\",Three,\"[5.0, 4.0]\",5.0,\"[10, 20]\",30\n"

static int parse(Rows *rows, const char *data, size_t bytes, int max_rows, int strict, Err *err) {
    Guard guard = guard_copy(data, bytes);
    int status = rows_parse(rows, guard.data, bytes, "dir/x.csv", "x", max_rows, strict, err);
    guard_close(&guard);
    return status;
}

static void open_rows(Rows *rows, const char *text, int strict) {
    Err err = {0};
    if (parse(rows, text, strlen(text), 0, strict, &err)) fail_msg("%s", err.message);
}

// Refused in either case: the file is damaged.
static void refuses(const char *text, const char *part) {
    for (int strict = 0; strict < 2; strict++) {
        Rows rows;
        Err err = {0};
        assert_int_equal(parse(&rows, text, strlen(text), 0, strict, &err), -1);
        assert_int_equal(err.code, ERR_DATA);
        if (!strstr(err.message, "dir/x.csv") || !strstr(err.message, part) || strchr(err.message, '\n'))
            fail_msg("\"%s\" should name the file and \"%s\"", err.message, part);
        assert_null(rows.row);
    }
}

// A row that is passed over between two good ones, and an error when strict.
static void bad_row(const char *row, const char *part) {
    Str text = {0};
    Rows rows;
    Err err = {0};
    str_printf(&text, HEADER GOOD "%s" GOOD, row);
    open_rows(&rows, text.data, 0);
    if (rows.n != 2 || rows.bad != 1) fail_msg("%d rows, %d bad: %s", rows.n, (int)rows.bad, row);
    rows_free(&rows);
    assert_int_equal(parse(&rows, text.data, text.len, 0, 1, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, "dir/x.csv: line 3") || !strstr(err.message, part) || strchr(err.message, '\n'))
        fail_msg("\"%s\" should name the file, line 3 and \"%s\"", err.message, part);
    str_free(&text);
}

// The good row with one column's text replaced (written as csv needs it).
static void bad_column(const char *column, const char *value, const char *part) {
    static const char *const name[] = {"user_id", "item_asins",         "item_asin",  "history_item_id",
                                       "item_id", "history_item_title", "item_title", "history_rating",
                                       "rating",  "history_timestamp",  "timestamp"};
    static const char *const good[] = {"u1",    "['A', 'B']", "C",   "[0, 1]",   "2", "['One', \"it's\"]",
                                       "Three", "[5.0, 4.0]", "5.0", "[10, 20]", "30"};
    Str row = {0};
    int found = 0;
    for (int c = 0; c < COLUMNS; c++) {
        const char *text = strcmp(name[c], column) == 0 ? value : good[c];
        found += text == value;
        csv_put_field(&row, text, strlen(text));
        str_puts(&row, c + 1 < COLUMNS ? "," : "\n");
    }
    assert_int_equal(found, 1);
    bad_row(row.data, part);
    char expected[64];
    snprintf(expected, sizeof expected, "column %s", column);
    if (!strstr(part, "elements where")) bad_row(row.data, expected); // two columns are to blame for that
    str_free(&row);
}

static void test_rows(void **state) {
    (void)state;
    Rows rows;
    open_rows(&rows, HEADER GOOD "u2,['B'],A,[1],0,['=cmd|x'],NaN,[5],5.0,[30],31", 1); // no final newline
    assert_int_equal(rows.n, 2);
    assert_string_equal(rows.name, "x");
    const Row *r = rows.row;
    assert_string_equal(r->user, "u1");
    assert_string_equal(r->target_title, "Three");
    assert_string_equal(r->target_id, "2");
    assert_true(r->timestamp == 30 && r->n == 2);
    assert_string_equal(r->title[0], "One");
    assert_string_equal(r->title[1], "it's");
    assert_string_equal(r->item_id[0], "0");
    assert_string_equal(r->item_id[1], "1");
    assert_string_equal(r[1].target_title, "NaN"); // text, not a missing value
    assert_string_equal(r[1].title[0], "=cmd|x");
    assert_ptr_equal(r[1].item_id[0], r->item_id[1]); // each string once
    rows_free(&rows);

    // Columns are found by name; those that are not needed may be missing, others may be there.
    open_rows(&rows,
              "extra,timestamp,item_title,history_item_title,item_id,history_item_id,user_id\r\n"
              "x,30,\"Three\nlines, all\",['One'],2,[0],u\r\n",
              1);
    assert_int_equal(rows.n, 1);
    assert_string_equal(rows.row->target_title, "Three\nlines, all");
    rows_free(&rows);

    open_rows(&rows, "\xef\xbb\xbf" HEADER, 1); // header only
    assert_int_equal(rows.n, 0);
    rows_free(&rows);

    Err err = {0};
    assert_int_equal(parse(&rows, HEADER GOOD GOOD GOOD, strlen(HEADER GOOD GOOD GOOD), 2, 1, &err), 0);
    assert_int_equal(rows.n, 2); // the first two
    assert_int_equal(rows.repeated, 1);
    rows_free(&rows);
    open_rows(&rows, HEADER GOOD GOOD GOOD, 1); // exact repeats are kept, and counted
    assert_int_equal(rows.n, 3);
    assert_int_equal(rows.repeated, 2);
    rows_free(&rows);
}

static void test_damaged(void **state) {
    (void)state;
    refuses("", "empty file");
    refuses("\n\n", "no header");
    refuses("u\n", "no column user_id");
    refuses("user_id,item_id,user_id\n", "the column user_id stands twice");
    refuses("user_id,history_item_id,item_id,history_item_title,item_title,time\n", "no column timestamp");
    refuses(HEADER GOOD "u,\"x\n", "(record of line 3): the quote is not closed");
    refuses(HEADER GOOD "u,x\"x\n", "line 3, field 2 (record of line 3): a quote inside");
    refuses(HEADER GOOD "u\xff\n", "line 3, byte");
    refuses(HEADER GOOD "\r", "a carriage return without line feed");
    refuses(HEADER "a,b\nc,d\n", "2 fields where the header has 11"); // rows, but no good one
}

static void test_bad_rows(void **state) {
    (void)state;
    bad_row("u1,x\n", "2 fields where the header has 11");
    bad_row("u1,['A'],C,[0],2,['One'],Three,[5.0],5.0,[10],30,more\n", "12 fields where the header has 11");
    bad_column("item_asins", "__import__('os').system('x')", "no list");
    bad_column("history_item_title", "['One', open('x')]", "byte 8 of the list");
    bad_column("history_item_title", "['One']", "column history_item_title: 1 elements where item_asins has 2");
    bad_column("history_item_title", "['One', 2]", "text in quotes expected");
    bad_column("history_item_title", "['One', '']", "an empty text");
    bad_column("history_item_title", "[]", "an empty list");
    bad_column("history_item_title", "['One', '\\N{DASH}']", "an escape that is none of");
    bad_column("item_asins", "[None, 'B']", "neither a string nor a plain number");
    bad_column("item_asins", "['A', 'B', 'C']", "column history_item_id: 2 elements where item_asins has 3");
    static const char *const id[] = {"007", "1.0", " 7", "7 ", "+7", "-7", "18446744073709551616", "", "x", "1e3", "None"};
    for (size_t i = 0; i < sizeof id / sizeof *id; i++) bad_column("item_id", id[i], "an item number");
    bad_column("history_item_id", "[0, nan]", "neither");
    bad_column("history_item_id", "[0, -1]", "an item number");
    bad_column("history_item_id", "[0, 1.0]", "an item number");
    bad_column("history_item_id", "['0', '1']", "an item number");
    bad_column("history_item_id", "[0, True]", "neither");
    bad_column("history_item_id", "[0, 1, 2]", "3 elements where item_asins has 2");
    static const char *const when[] = {"-1", "-5", "1000000000000000000", "1517616000000", "4102444800"};
    for (size_t i = 0; i < sizeof when / sizeof *when; i++) bad_column("timestamp", when[i], "a time outside of 1970 to 2099");
    bad_column("timestamp", "1517616000.5", "a whole number");
    bad_column("timestamp", "", "a whole number");
    bad_column("history_timestamp", "[10, 1517616000000]", "a time outside of 1970 to 2099");
    bad_column("history_timestamp", "[10]", "1 elements where item_asins has 2");
    bad_column("rating", "five", "a number expected");
    bad_column("rating", "nan", "a number expected");
    bad_column("history_rating", "[5.0, '4.0']", "a number expected");
    bad_column("user_id", "", "an empty text");
    bad_column("item_title", "", "an empty text");
    bad_column("item_asin", "", "an empty text");
}

static void test_time_order(void **state) {
    (void)state;
    static const char *const text[] = {
        HEADER GOOD "u1,\"['A', 'B']\",C,\"[0, 1]\",2,\"['One', 'Two']\",Three,\"[5.0, 4.0]\",5.0,\"[20, 10]\",30\n",
        HEADER GOOD "u1,['A'],C,[0],2,['One'],Three,[5.0],5.0,[31],30\n"};
    for (int i = 0; i < 2; i++) {
        Rows rows;
        Err err = {0};
        open_rows(&rows, text[i], 0);
        assert_int_equal(rows.n, 2);
        assert_int_equal(rows.unordered, 1);
        rows_free(&rows);
        assert_int_equal(parse(&rows, text[i], strlen(text[i]), 0, 1, &err), -1);
        assert_non_null(strstr(err.message, "line 3, column history_timestamp: later than what follows"));
    }
    Rows rows;
    open_rows(&rows, HEADER "u1,['A'],C,[0],2,['One'],Three,[5.0],5.0,[30],30\n", 1); // the same second is no disorder
    assert_int_equal(rows.unordered, 0);
    rows_free(&rows);
}

// A cut at any byte is either a shorter file or refused, and never read past its end (guard_copy).
static void test_cuts(void **state) {
    (void)state;
    const char *text = HEADER GOOD GOOD;
    for (size_t n = 0; n < strlen(text); n++) {
        Rows rows;
        Err err = {0};
        if (parse(&rows, text, n, 0, 0, &err) == 0) {
            assert_true(rows.n <= 2);
            rows_free(&rows);
        } else {
            assert_int_equal(err.code, ERR_DATA);
        }
    }
}

static void test_control_bytes_in_messages(void **state) {
    (void)state;
    Rows rows;
    Err err = {0};
    const char *text = HEADER "\x1b[31m,\x1b]0;x\a\n";
    assert_int_equal(parse(&rows, text, strlen(text), 0, 1, &err), -1);
    for (const char *s = err.message; *s; s++) assert_true((unsigned char)*s >= 0x20 && *s != 0x7f);
}

// Many rows: each title and id is kept once, and the histories are what was written.
static void test_many_rows(void **state) {
    (void)state;
    enum { ROWS = 20000, TITLES = 300 };
    Str text = {0};
    str_puts(&text, HEADER);
    for (int i = 0; i < ROWS; i++) {
        char names[10][24];
        const char *title[10], *asin[10];
        int64_t item[10], timestamp[10];
        double rating[10];
        int n = 1 + i % 10;
        for (int k = 0; k < n; k++) {
            item[k] = (i * 7 + k) % TITLES;
            snprintf(names[k], sizeof names[k], "it's \"%d\"", (int)item[k]);
            title[k] = asin[k] = names[k];
            timestamp[k] = i + k + 1;
            rating[k] = k;
        }
        ColumnsRow row = {.user = "u",
                          .asin = "a",
                          .title = names[0],
                          .item = item[0],
                          .timestamp = i + n + 1,
                          .rating = 1,
                          .n = n,
                          .history_asin = asin,
                          .history_title = title,
                          .history_item = item,
                          .history_timestamp = timestamp,
                          .history_rating = rating};
        columns_put_row(&text, &row, COLUMNS_ALL);
    }
    Rows rows;
    open_rows(&rows, text.data, 1);
    assert_int_equal(rows.n, ROWS);
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(rows.row[i].n, 1 + i % 10);
        for (int k = 0; k < rows.row[i].n; k++) {
            assert_int_equal(atoi(rows.row[i].item_id[k]), (i * 7 + k) % TITLES);
            assert_int_equal(atoi(rows.row[i].title[k] + 6), (i * 7 + k) % TITLES);
        }
        assert_ptr_equal(rows.row[i].target_title, rows.row[i].title[0]);
    }
    rows_free(&rows);
    str_free(&text);
}

// ---- items and folders ----

// A user's histories that begin with those before; others' rows between them do not matter.
static void test_chains(void **state) {
    (void)state;
    static const struct {
        const char *user, *history;
        int next;                                                                                    // row, or -1
    } row[] = {{"u", "0", 2},           {"v", "0", 4},       {"u", "0, 1", 3},     {"u", "0, 1", 6}, // the same once more
               {"v", "0, 5, 6", -1},    {"v", "5, 6", 7},    {"u", "0, 1, 2", -1}, {"v", "5, 6, 7, 8", -1},
               {"w", "0, 1, 2, 3", -1}, {"u", "1, 2, 3", -1}};
    enum { ROWS = sizeof row / sizeof *row };
    Str text = {0};
    str_puts(&text, HEADER);
    for (int i = 0; i < ROWS; i++) {
        str_printf(&text, "%s,\"[", row[i].user);
        const int n = 1 + (int)(strlen(row[i].history) / 3);
        for (int h = 0; h < n; h++) str_printf(&text, "%s'A'", h ? ", " : "");
        str_printf(&text, "]\",C,\"[%s]\",9,\"[", row[i].history);
        for (int h = 0; h < n; h++) str_printf(&text, "%s'One'", h ? ", " : "");
        str_puts(&text, "]\",Nine,\"[");
        for (int h = 0; h < n; h++) str_printf(&text, "%s5.0", h ? ", " : "");
        str_puts(&text, "]\",5.0,\"[");
        for (int h = 0; h < n; h++) str_printf(&text, "%s10", h ? ", " : "");
        str_printf(&text, "]\",%d\n", 30 + i);
    }
    Rows rows, some;
    open_rows(&rows, text.data, 1);
    assert_int_equal(rows.n, ROWS);
    int32_t *next = rows_next(&rows);
    for (int i = 0; i < ROWS; i++) assert_int_equal(next[i], row[i].next);
    uint32_t order[ROWS], other[ROWS];
    for (uint64_t seed = 0; seed < 50; seed++) { // a permutation in which each row's next one stands behind it
        unsigned seen = 0;
        rng_chains(order, ROWS, next, seed, RNG_SHUFFLE);
        for (int i = 0; i < ROWS; i++) {
            seen |= 1u << order[i];
            if (next[order[i]] >= 0) assert_true(i + 1 < ROWS && order[i + 1] == (uint32_t)next[order[i]]);
        }
        assert_int_equal(seen, (1u << ROWS) - 1);
        rows_copy(&some, &rows);
        rows_sample_chains(&some, 5, seed); // whole chains, but for the last one's end
        int32_t *left = rows_next(&some);
        int chains = 0, whole = 0;
        for (int i = 0; i < some.n; i++) {
            if (i) assert_true(some.row[i].number > some.row[i - 1].number);
            if (left[i] >= 0) continue;
            chains++, whole += next[some.row[i].number] < 0;
        }
        assert_int_equal(some.n, 5);
        assert_true(chains - whole <= 1);
        free(left);
        rows_free(&some);
    }
    rng_chains(order, ROWS, NULL, 3, RNG_SHUFFLE), rng_permutation(other, ROWS, 3, RNG_SHUFFLE);
    assert_memory_equal(order, other, sizeof order);
    free(next);
    rows_free(&rows);
    str_free(&text);
}

static void test_items(void **state) {
    (void)state;
    char *folder = folder_new(), *path = file_join(folder, "info.txt");
    const char text[] = "One\t7\nIt's 12\" \xc3\xa9\t0\r\nOne\t9223372036854775807";
    folder_put(folder, "info.txt", text, sizeof text - 1);
    Items items;
    Err err = {0};
    if (items_open(&items, path, &err)) fail_msg("%s", err.message);
    assert_int_equal(items.n, 3);
    assert_string_equal(items.title[1], "It's 12\" \xc3\xa9");
    assert_string_equal(items.id[2], "9223372036854775807");
    assert_int_equal(items_by_id(&items, "0"), 1);
    assert_int_equal(items_by_id(&items, "00"), -1);
    assert_int_equal(items_by_title(&items, "One"), 0);
    assert_int_equal(items_by_title(&items, "Two"), -1);
    assert_int_equal(items_title_group(&items, 2), 0);
    assert_int_equal(items_title_group(&items, 1), 1);
    items_free(&items);

    static const struct {
        const char *text, *part;
        size_t bytes;
    } bad[] = {
        {"", "empty file", 0},
        {"\n\n", "no items", 2},
        {"One\n", "line 1: not 2 to 5 fields", 4},
        {"One\t1\ta\tremoved\tx\t\n", "line 1: not 2 to 5 fields", 19},
        {"One\t1\ta\tremoved\t\n", "line 1: no id", 17},
        {"One\t1\t\t\tB\x1b\n", "line 1: a control byte in the id", 11},
        {"One\t1\t\tgone\tB\n", "line 1: the fourth field is not \"removed\"", 14},
        {"One\t1\t\t\tB\nTwo\t2\t\t\tB\n", "line 2: an item id stands twice", 20},
        {"One\t1\t\t\t2\nTwo\t2\n", "line 2: an item id stands twice", 16},
        {"One\t1\t\t\tA\nTwo\t1\t\t\tB\n", "line 2: a row id stands twice", 20},
        {"One\t1\ta\tRemoved\n", "line 1: the fourth field is not \"removed\"", 16},
        {"One\t1\ta\t\n", "line 1: the fourth field is not \"removed\"", 9},
        {"One\t1\ta\x7f\n", "line 1: an index text that", 9},
        {"One\tTwo\t3\n", "line 1: the row id is no number", 10},
        {"One\t1\n\t2\n", "line 2: no title", 9},
        {"One\t1\nTwo\t1\n", "line 2: an item id stands twice", 12},
        {"One\t01\n", "line 1: the row id is no number", 7},
        {"One\t\n", "the row id is no number", 5},
        {"One\t1.0\n", "the row id is no number", 8},
        {"One\t-1\n", "the row id is no number", 7},
        {"One\tx\n", "the row id is no number", 6},
        {"O\x1bne\t1\n", "line 1: a control byte in the title", 7},
        {"O\0ne\t1\n", "line 1, byte 1 of the file: a NUL byte", 7},
        {"One\t1\nTw\xe9\t2\n", "line 2, byte 8 of the file: not UTF-8", 12},
        {"One\t1\rTwo\t2\n", "a carriage return without line feed", 12},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        folder_put(folder, "info.txt", bad[i].text, bad[i].bytes);
        assert_int_equal(items_open(&items, path, &err), -1);
        assert_int_equal(err.code, ERR_DATA);
        if (!strstr(err.message, "info.txt") || !strstr(err.message, bad[i].part))
            fail_msg("\"%s\" should name the file and \"%s\"", err.message, bad[i].part);
    }
    char *large = mem_alloc(100 << 10, 1); // a title of 100 KB
    memset(large, 'x', 100 << 10);
    memcpy(large + (100 << 10) - 3, "\t1\n", 3);
    folder_put(folder, "info.txt", large, 100 << 10);
    assert_int_equal(items_open(&items, path, &err), -1);
    assert_non_null(strstr(err.message, "a title of more than 64 KiB"));
    free(large);
    unlink(path);
    assert_int_equal(items_open(&items, path, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    free(path);
    folder_remove(folder);
}

static void expect_items(const Items *items, const char *lines) {
    Str text = {0};
    for (int i = 0; i < items->n; i++) items_put_line(&text, items, i);
    assert_string_equal(text.data, lines);
    str_free(&text);
}

static void parse_items(Items *items, const char *text) {
    Err err = {0};
    if (items_parse(items, text, strlen(text), "info", &err)) fail_msg("%s", err.message);
}

// Lines never move, and a title stands for the first item with it that is not removed.
static void test_items_change(void **state) {
    (void)state;
    Items items, more;
    Err err = {0};
    int changed;
    parse_items(&items, "A\t5\nB\t3\t<1>\nA\t4\t\tremoved\nA\t0\t\n");
    expect_items(&items, "A\t5\nB\t3\t<1>\nA\t4\t\tremoved\nA\t0\n");
    assert_true(items.n == 4 && items.live == 3 && items.texts == 1);
    assert_int_equal(items_by_title(&items, "A"), 0);
    const char *first[] = {"5", "4"}, *others[] = {"0", "3"};
    assert_int_equal(items_remove(&items, first, 2, &changed, &err), 0);
    assert_true(changed == 1 && items.live == 2);
    assert_int_equal(items_by_title(&items, "A"), 3);
    assert_int_equal(items_title_group(&items, 0), 3);
    assert_int_equal(items_title_group(&items, 3), 3);

    parse_items(&more, "C\t5\nB\t3\nD\t9\t<2>\nE\t7\t\tremoved\n");
    assert_int_equal(items_add(&items, &more, &changed, &err), 0);
    items_free(&more);
    assert_int_equal(changed, 2);
    expect_items(&items, "C\t5\nB\t3\t<1>\nA\t4\t\tremoved\nA\t0\nD\t9\t<2>\n");
    assert_int_equal(items_by_id(&items, "9"), 4);
    assert_int_equal(items_by_title(&items, "C"), 0);
    parse_items(&more, "B!\t3\n");
    assert_int_equal(items_add(&items, &more, &changed, &err), -1);
    assert_non_null(strstr(err.message, "item 3 is there already, as \"B\""));
    items_free(&more);

    const char *texts[] = {"<2>", ""};
    assert_int_equal(items_set_texts(&items, others, texts, 2, &changed, &err), 0);
    assert_true(changed == 2 && items.texts == 2);
    assert_ptr_equal(items.text[3], items.text[4]);
    assert_null(items.text[1]);
    assert_int_equal(items_set_texts(&items, others, texts, 2, &changed, &err), 0);
    assert_int_equal(changed, 0);
    const char *all[] = {"5", "3", "0", "9"};
    assert_int_equal(items_remove(&items, all, 4, &changed, &err), -1);
    assert_non_null(strstr(err.message, "no item would be left"));
    items_free(&items);
}

// Ids of the shop's own: what people say, while the files of the splits have numbers.
static void test_items_named(void **state) {
    (void)state;
    Items items, more;
    Err err = {0};
    int changed;
    parse_items(&items, "A\t0\t\t\tB00A\nB\t1\t<1>\tremoved\tx/y z\nC\t2\nD\t3\t\t\t0\n");
    expect_items(&items, "A\t0\t\t\tB00A\nB\t1\t<1>\tremoved\tx/y z\nC\t2\nD\t3\t\t\t0\n");
    assert_int_equal(items.named, 3);
    assert_int_equal(items_by_id(&items, "B00A"), 0);
    assert_int_equal(items_by_id(&items, "x/y z"), 1);
    assert_int_equal(items_by_id(&items, "1"), -1); // it has a name
    assert_int_equal(items_by_id(&items, "2"), 2);
    assert_int_equal(items_by_id(&items, "0"), 3); // not the item of that row id
    assert_int_equal(items_by_row_id(&items, "0"), 0);
    assert_int_equal(items_by_row_id(&items, "B00A"), -1);
    // A new item keeps its row id where it is free; else, or where it has none, it gets one that is.
    const char *lines = "E\tB00E\nF\t1\nG\t7\nH\t2\t\t\tB00H\nA\tB00A\n";
    assert_int_equal(items_parse(&more, lines, strlen(lines), "more", &err), -1);
    assert_int_equal(items_parse_added(&more, lines, strlen(lines), "more", &err), 0);
    assert_int_equal(items_add(&items, &more, &changed, &err), 0);
    items_free(&more);
    assert_int_equal(changed, 4);
    expect_items(&items, "A\t0\t\t\tB00A\nB\t1\t<1>\tremoved\tx/y z\nC\t2\nD\t3\t\t\t0\n"
                         "E\t4\t\t\tB00E\nF\t5\t\t\t1\nG\t7\nH\t8\t\t\tB00H\n");
    items_free(&items);
    assert_int_equal(items_parse_added(&more, "A\tB00A\t\t\tB\n", 14, "more", &err), -1);
    assert_non_null(strstr(err.message, "line 1: the row id is no number"));
}

static void items_verdict(const char *path, int is_good) {
    Items items;
    Err err = {0};
    int status = items_open(&items, path, &err);
    if (is_good ? status != 0 : status != -1 || err.code != ERR_DATA || !strstr(err.message, path))
        fail_msg("%s: %s", path, status ? err.message : "read");
    if (status == 0) items_free(&items);
}

static void test_items_corpus(void **state) {
    (void)state;
    folder_verdicts("fuzz/corpus/items", items_verdict, 10);
}

static void refuses_open(const char *folder, const char *category, int code, const char *part) {
    Dataset d;
    Err err = {0};
    assert_int_equal(dataset_open(&d, folder, category, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part)) fail_msg("\"%s\" is not \"%s\"", err.message, part);
}

static void refuses_rows(const Dataset *d, const char *split, int code, const char *part) {
    Rows rows;
    Err err = {0};
    assert_int_equal(dataset_rows(d, &rows, split, 0, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part)) fail_msg("\"%s\" is not \"%s\"", err.message, part);
}

static void test_folder(void **state) {
    (void)state;
    char *folder = folder_new();
    Dataset d;
    Rows rows;
    Err err = {0};
    refuses_open(folder, NULL, ERR_IO, "info.txt");
    folder_put(folder, "info.txt", "One\t0\nit's\t1\nThree\t2\n", 21);
    folder_put(folder, "test.csv", HEADER GOOD, strlen(HEADER GOOD));
    folder_put(folder, "valid.csv", HEADER GOOD "u\n", strlen(HEADER GOOD) + 2);
    assert_int_equal(dataset_open(&d, folder, NULL, &err), 0);
    assert_string_equal(d.category, "item");
    assert_null(d.json);
    assert_int_equal(dataset_rows(&d, &rows, "test", 0, &err), 0);
    assert_int_equal(rows.n, 1);
    rows_free(&rows);
    assert_int_equal(dataset_rows(&d, &rows, "valid", 0, &err), 0);
    assert_int_equal(rows.bad, 1);
    rows_free(&rows);
    d.strict = 1;
    refuses_rows(&d, "valid", ERR_DATA, "valid.csv: line 3: 1 fields");
    d.strict = 0;
    refuses_rows(&d, "train", ERR_IO, "train.csv");
    refuses_rows(&d, "../x", ERR_USAGE, "split \"../x\"");
    json_t *hashes = dataset_hashes(&d, 1, &err);
    assert_non_null(hashes);
    assert_int_equal(json_object_size(hashes), 4); // folder, two splits, info.txt
    assert_string_equal(json_string_value(json_object_get(hashes, "folder")), strrchr(folder, '/') + 1);
    assert_int_equal(strlen(json_string_value(json_object_get(hashes, "test.csv"))), 32);
    json_decref(hashes);
    dataset_close(&d);

    // Rows in memory have the items' own ids.
    const char *named = "One\t0\t\t\tB0\nit's\t1\nThree\t2\t\t\tx y\n";
    folder_put(folder, "info.txt", named, strlen(named));
    assert_int_equal(dataset_open(&d, folder, NULL, &err), 0);
    assert_int_equal(dataset_rows(&d, &rows, "test", 0, &err), 0);
    assert_string_equal(rows.row[0].item_id[0], "B0");
    assert_string_equal(rows.row[0].item_id[1], "1");
    assert_string_equal(rows.row[0].target_id, "x y");
    rows_free(&rows);
    dataset_close(&d);

    // Rows of items that info.txt has not.
    folder_put(folder, "info.txt", "One\t0\nit's\t1\n", 13);
    assert_int_equal(dataset_open(&d, folder, "movie", &err), 0);
    assert_string_equal(d.category, "movie");
    refuses_rows(&d, "test", ERR_DATA, "test.csv: row 1 of user u1: item 2 is not in info.txt");
    dataset_close(&d);
    folder_put(folder, "info.txt", "One\t0\nThree\t2\n", 14);
    assert_int_equal(dataset_open(&d, folder, "movie", &err), 0);
    refuses_rows(&d, "test", ERR_DATA, "item 1 is not in info.txt");
    dataset_close(&d);
    refuses_open(folder, "", ERR_USAGE, "category phrase");
    refuses_open(folder, "a\nb", ERR_USAGE, "category phrase");
    refuses_open(folder, "\xff", ERR_USAGE, "category phrase");
    folder_remove(folder);
}

static void put_json(const char *folder, const char *json) {
    folder_put(folder, "dataset.json", json, strlen(json));
}

static void test_dataset_json(void **state) {
    (void)state;
    char *folder = folder_new(), *info = file_join(folder, "info.txt"), hex[33];
    Dataset d;
    Rows rows;
    Err err = {0};
    Str json = {0};
    folder_put(folder, "info.txt", "One\t0\nit's\t1\nThree\t2\n", 21);
    folder_put(folder, "test.csv", HEADER GOOD, strlen(HEADER GOOD));
    put_json(folder, "{");
    refuses_open(folder, NULL, ERR_DATA, "dataset.json");
    put_json(folder, "[]");
    refuses_open(folder, NULL, ERR_DATA, "\"format\" is not");
    put_json(folder, "{\"format\": \"other\"}");
    refuses_open(folder, NULL, ERR_DATA, "\"format\" is not");
    put_json(folder, "{\"format\": \"latentr3-dataset\", \"version\": 2}");
    refuses_open(folder, NULL, ERR_DATA, "\"version\" is not 1");
    put_json(folder, "{\"format\": \"latentr3-dataset\", \"version\": 1, \"category\": \"a\\tb\"}");
    refuses_open(folder, NULL, ERR_DATA, "category phrase");

    // The hash of a file that dataset.json names must be its own.
    assert_int_equal(file_hash(hex, info, &err), 0);
    str_printf(&json,
               "{\"format\": \"latentr3-dataset\", \"version\": 1, \"category\": \"book\", \"files\": {\"info.txt\": \"%s\"}}",
               hex);
    put_json(folder, json.data);
    assert_int_equal(dataset_open(&d, folder, NULL, &err), 0);
    assert_string_equal(d.category, "book");
    assert_int_equal(dataset_rows(&d, &rows, "test", 0, &err), 0);
    rows_free(&rows);
    dataset_close(&d);
    assert_int_equal(dataset_open(&d, folder, "movie", &err), 0);
    assert_string_equal(d.category, "movie");
    dataset_close(&d);
    folder_put(folder, "info.txt", "One\t0\nit's\t1\nFour!\t2\n", 21);
    refuses_open(folder, NULL, ERR_DATA, "info.txt: not the file that dataset.json describes");
    folder_put(folder, "info.txt", "One\t0\nit's\t1\nThree\t2\n", 21);
    str_clear(&json);
    str_printf(&json, "{\"format\": \"latentr3-dataset\", \"version\": 1, \"files\": {\"test.csv\": \"%s\"}}", hex);
    put_json(folder, json.data);
    assert_int_equal(dataset_open(&d, folder, "x", &err), 0);
    refuses_rows(&d, "test", ERR_DATA, "test.csv: not the file that dataset.json describes");
    dataset_close(&d);
    str_free(&json);
    free(info);
    folder_remove(folder);
}

// ---- the published files ----

// Read with all columns and written again, a split has the same bytes.
static void check_round_trip(const char *path) {
    MapFile f;
    ColumnsReader r;
    ColumnsRow row;
    Err err = {0};
    Str again = {0};
    int status, rows = 0;
    assert_int_equal(mapfile_open(&f, path, 0, &err), 0);
    if (columns_open(&r, f.data, f.bytes, path, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.present, COLUMNS_ALL);
    columns_put_header(&again, r.present);
    for (; (status = columns_next(&r, &row, &err)) == 1; rows++) columns_put_row(&again, &row, r.present);
    if (status) fail_msg("%s", err.message);
    assert_int_equal(rows, 4866);
    assert_int_equal(again.len, f.bytes);
    assert_memory_equal(again.data, f.data, f.bytes);
    columns_close(&r);
    mapfile_close(&f);
    str_free(&again);
}

static void test_office(void **state) {
    (void)state;
    char *folder = shared_data("d3-office");
    if (!folder) skip();
    Dataset d;
    Err err = {0};
    if (dataset_open(&d, folder, "office products", &err)) fail_msg("%s", err.message);
    assert_int_equal(d.items.n, 3459);
    int groups = 0;
    for (int i = 0; i < d.items.n; i++) groups += items_title_group(&d.items, i) == i;
    assert_int_equal(d.items.n - groups, 16); // 16 titles with two items each
    static const char *const split[] = {"valid", "test"};
    static const int64_t first[] = {1517616000, 1522627200}, last[] = {1522627200, 1538438400};
    for (int s = 0; s < 2; s++) {
        Rows rows;
        d.strict = 1;
        if (dataset_rows(&d, &rows, split[s], 0, &err)) fail_msg("%s", err.message);
        assert_int_equal(rows.n, 4866);
        assert_true(rows.bad == 0 && rows.unordered == 0 && rows.repeated == 0);
        assert_true(rows.row[0].timestamp == first[s] && rows.row[rows.n - 1].timestamp == last[s]);
        rows_free(&rows);
        char name[16], *path;
        snprintf(name, sizeof name, "%s.csv", split[s]);
        path = file_join(folder, name);
        check_round_trip(path);
        free(path);
    }
    dataset_close(&d);
    free(folder);
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_bad_rows),    cmocka_unit_test(test_time_order),
        cmocka_unit_test(test_cuts),        cmocka_unit_test(test_control_bytes_in_messages),
        cmocka_unit_test(test_many_rows),   cmocka_unit_test(test_chains),
        cmocka_unit_test(test_items),       cmocka_unit_test(test_items_change),
        cmocka_unit_test(test_items_named), cmocka_unit_test(test_items_corpus),
        cmocka_unit_test(test_folder),      cmocka_unit_test(test_dataset_json),
        cmocka_unit_test(test_office),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
