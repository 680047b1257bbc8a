// The formats of a log: what each reader takes and refuses, how a file is recognised, filters of titles and time, and the
// published counts on real data.
#include "base/log.h"
#include "base/vec.h"
#include "data/dataset.h"
#include "data/filter.h"
#include "data/interactions.h"
#include "data/prepare.h"
#include "tests/guard.h"
#include "tests/shared_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "data/dates.h"
#include "tests/folder.h"
#include "tests/prepared.h"

static const char *const no_columns[RECORDS_NAMES];

static int read_text(Interactions *x, const char *format, const char *const column[RECORDS_NAMES], const char *log,
                     const char *item, InteractionsOptions o, Err *err) {
    const RecordsFormat *f = records_format(format);
    Guard l = guard_copy(log, strlen(log)), i = guard_copy(item ? item : "", item ? strlen(item) : 0);
    Records logs = {0}, items = {0};
    *x = (Interactions){0};
    int status = item ? records_open(&items, f, RECORDS_ITEMS, column, i.data, strlen(item), "the.item", err) : 0;
    if (status == 0) status = records_open(&logs, f, RECORDS_LOG, column, l.data, strlen(log), "the.log", err);
    if (status == 0) status = interactions_read(x, item ? &items : NULL, &logs, &o, err);
    records_close(&items), records_close(&logs);
    guard_close(&l), guard_close(&i);
    return status;
}

// What was read, one event a line: user item time rating title.
static void expect(const char *format, const char *const column[RECORDS_NAMES], const char *log, const char *item,
                   InteractionsOptions o, const char *events) {
    Interactions x;
    Err err = {0};
    Str text = {0};
    if (read_text(&x, format, column, log, item, o, &err)) fail_msg("%s", err.message);
    for (size_t i = 0; i < x.n; i++) {
        const Event *e = &x.event[i];
        str_printf(&text, "%s %s %.15g", x.users.text[e->user], x.items.text[e->item], (double)e->timestamp / EVENT_SECOND);
        if (x.has_rating) str_printf(&text, " %g", x.rating[e->rating]);
        str_printf(&text, " %s\n", x.titles.text[x.title[e->item]]);
    }
    assert_string_equal(text.data, events);
    str_free(&text);
    interactions_free(&x);
}

static void takes(const char *format, const char *log, const char *item, const char *events) {
    expect(format, no_columns, log, item, (InteractionsOptions){.strict = 1}, events);
}

// A bad line behind good ones: passed over, an error when strict.
static void bad_line(const char *format, const char *log, const char *item, const char *line, const char *why) {
    Interactions x;
    Err err = {0};
    Str all = {0}, part = {0};
    str_printf(&all, "%s%s\n", log, line);
    if (read_text(&x, format, no_columns, all.data, item, (InteractionsOptions){0}, &err)) fail_msg("%s", err.message);
    if (x.bad_lines != 1) fail_msg("%s: %lld bad lines", line, (long long)x.bad_lines);
    interactions_free(&x);
    assert_int_equal(read_text(&x, format, no_columns, all.data, item, (InteractionsOptions){.strict = 1}, &err), -1);
    int number = 1; // of the line
    for (const char *c = log; *c; c++) number += *c == '\n';
    str_printf(&part, "the.log: line %d: ", number);
    if (err.code != ERR_DATA || !strstr(err.message, why) || !strstr(err.message, part.data))
        fail_msg("\"%s\" should say \"%s\" and \"%s\"", err.message, part.data, why);
    interactions_free(&x);
    str_free(&all), str_free(&part);
}

static void refuses(const char *format, const char *const column[RECORDS_NAMES], const char *log, const char *item,
                    const char *why) {
    Interactions x;
    Err err = {0};
    assert_int_equal(read_text(&x, format, column, log, item, (InteractionsOptions){0}, &err), -1);
    if (err.code != ERR_DATA || !strstr(err.message, why)) fail_msg("\"%s\" should say \"%s\"", err.message, why);
    interactions_free(&x);
}

// ---- Amazon ----

#define A18_ITEMS                                                                                                              \
    "{\"asin\": \"B1\", \"title\": \"One &amp; two\"}\n{\"title\": \"Three four\", \"asin\": \"B2\", \"price\": []}\n"
#define A18_LOG                                                                                                                \
    "{\"reviewerID\": \"U\", \"asin\": \"B1\", \"overall\": 5.0, \"reviewText\": \"a \\\"b\\\"\", \"unixReviewTime\": 100}\n"  \
    "{\"unixReviewTime\": 90, \"overall\": 3, \"asin\": \"B2\", \"reviewerID\": \"V\", \"image\": [\"x\"]}\n"

static void test_amazon_2018(void **state) {
    (void)state;
    takes("amazon-2018", A18_LOG, A18_ITEMS, "U B1 100 5 One & two\nV B2 90 3 Three four\n");
    takes("amazon-2018", "{\"reviewerID\":\"U\",\"asin\":\"B1\",\"unixReviewTime\":100}", A18_ITEMS, "U B1 100 One & two\n");
    static const char *const bad[][2] = {
        {"{\"reviewerID\": \"U\", \"asin\": \"B1\"}", "\"unixReviewTime\" is missing"},
        {"{\"reviewerID\": \"U\", \"asin\": null, \"unixReviewTime\": 1}", "\"asin\" is missing"},
        {"{\"reviewerID\": [\"U\"], \"asin\": \"B1\", \"unixReviewTime\": 1}", "\"reviewerID\" is no text"},
        {"{\"reviewerID\": \"U\", \"asin\": \"B1\", \"unixReviewTime\": \"5\"}", "\"unixReviewTime\" is no number"},
        {"{\"reviewerID\": \"U\", \"asin\": \"B1\", \"overall\": 5, \"unixReviewTime\": -0.5}", "a timestamp before 1970"},
        {"{\"reviewerID\": \"U\", \"asin\": \"B1\", \"overall\": 5, \"unixReviewTime\": 1e400}", "not a plain number"},
        {"{\"reviewerID\": \"U\", \"asin\": \"B1\", \"overall\": 5, \"unixReviewTime\": 1419897600000}", "seconds since 1970"},
        {"{\"reviewerID\": \"U\", \"asin\": \"B1\", \"unixReviewTime\": 5}", "no rating, where others have one"},
        {"{\"reviewerID\": \"\", \"asin\": \"B1\", \"overall\": 5, \"unixReviewTime\": 5}", "an empty id"},
        {"{\"reviewerID\": \"U\\n\", \"asin\": \"B1\", \"overall\": 5, \"unixReviewTime\": 5}", "a control byte in an id"},
        {"{'reviewerID': 'U', 'asin': 'B1'}", "byte 2 of the line: a single quote: this is Python"},
        {"{\"reviewerID\": \"U\"", "the line ends inside the object"},
        {"[]", "an array: one object a line"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) bad_line("amazon-2018", A18_LOG, A18_ITEMS, bad[i][0], bad[i][1]);
    refuses("amazon-2018", no_columns, A18_LOG, "{\"asin\": \"B7\"}\n", "no interaction that can be used among 2");
}

static void test_amazon_2023(void **state) {
    (void)state;
    static const char items[] = "{\"main_category\": \"Games\", \"title\": \"One two\", \"parent_asin\": \"P1\"}\n";
    // The title of a review is no item's; milliseconds order what lies in one second.
    takes(
        "amazon-2023",
        "{\"rating\": 5.0, \"title\": \"Nice\", \"asin\": \"B1\", \"parent_asin\": \"P1\", \"user_id\": \"U\", \"timestamp\": "
        "1588687728923}\n",
        items, "U P1 1588687728.923 5 One two\n");
}

static void test_titles(void **state) {
    (void)state;
    static const char items[] =
        "{\"asin\": \"none\"}\n{\"asin\": \"empty\", \"title\": \" \\\"\\\" \"}\n"
        "{\"asin\": \"span\", \"title\": \"A <span id=\\\"x\\\"> b\"}\n{\"asin\": \"short\", \"title\": \"\\u00e9\"}\n"
        "{\"asin\": \"long\", \"title\": \"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21\"}\n"
        "{\"asin\": \"blanks\", \"title\": \"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19  20\"}\n"
        "{\"asin\": \"twenty\", \"title\": \" &quot;1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20&quot; \"}\n";
    static const char *const ids[] = {"none", "empty", "span", "short", "long", "blanks", "twenty"};
    Str log = {0};
    for (int i = 0; i < 7; i++)
        str_printf(&log, "{\"reviewerID\": \"U\", \"asin\": \"%s\", \"unixReviewTime\": %d}\n", ids[i], i + 1);
    Interactions x;
    Err err = {0};
    InteractionsOptions o = {.strict = 1, .published_titles = 1};
    if (read_text(&x, "amazon-2018", no_columns, log.data, items, o, &err)) fail_msg("%s", err.message);
    assert_int_equal(x.n, 1);
    assert_string_equal(x.titles.text[x.title[x.event[0].item]], "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20");
    assert_true(x.untitled[TITLE_NONE] == 2 && x.untitled[TITLE_MARKUP] == 1 && x.untitled[TITLE_SHORT] == 1);
    assert_true(x.untitled[TITLE_LONG] == 2 && x.items_untitled[TITLE_LONG] == 2 && x.users.n == 1);
    interactions_free(&x);
    o.published_titles = 0;
    assert_int_equal(read_text(&x, "amazon-2018", no_columns, log.data, items, o, &err), 0);
    assert_int_equal(x.n, 5);
    interactions_free(&x);
    str_free(&log);
}

// ---- MovieLens ----

static void test_movielens(void **state) {
    (void)state;
    static const char movies[] = "1::Toy Story (1995)::Animation\r\n2::A::B :: C (1990)::Drama|War\n3::Mis\xe9rables::\n";
    takes("ml-1m", "7::2::5::100\n7::3::3.5::90\r\n", movies, "7 2 100 5 A::B :: C (1990)\n7 3 90 3.5 Mis\xc3\xa9rables\n");
    static const char *const bad[][2] = {{"7::2::5", "too few fields"},
                                         {"7::2::5::100::", "too many fields"},
                                         {"7|2|5|100", "fields between '|' as in MovieLens-100K"},
                                         {"7::2::5.5::100", "a rating that is not 0.5, 1, 1.5, ... 5"},
                                         {"7::2::0.3::100", "a rating that is not"},
                                         {"0::2::5::100", "an id that is not a whole number"},
                                         {"7::2::5::100.5", "not a whole number"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) bad_line("ml-1m", "7::2::5::100\n", movies, bad[i][0], bad[i][1]);

    static const char csv[] = "movieId,title,genres\r\n1,\"Say \"\"x\"\", now (1995)\",A|B\r\n2,Two,C\r\n";
    takes("ml-csv", "userId,movieId,rating,timestamp\r\n7,1,0.5,100\r\n7,2,5.0,90\r\n", csv,
          "7 1 100 0.5 Say \"x\", now (1995)\n7 2 90 5 Two\n");
    bad_line("ml-csv", "userId,movieId,rating,timestamp\n7,1,5,100\n", csv, "7,1,5", "3 fields where there should be 4");
    refuses("ml-csv", no_columns, "userId,rating,timestamp\n7,5,100\n", csv,
            "line 1: no column of the item's id among userId, rating, timestamp");
    refuses("ml-csv", no_columns, "userId,movieId,rating,timestamp\n7,\"1,5,100\n", csv, "the quote is not closed");
}

// ---- columns ----

static void test_columns(void **state) {
    (void)state;
    takes("tsv", "x\tuser\ttime\titem\n-\tu\t100\ta\n\tv\t90\tb\n", "name\titem\nOne\ta\nTwo\tb\n",
          "u a 100 One\nv b 90 Two\n");
    takes("csv", "user_id,item_id,rating,timestamp\nu,a,4.5,100000000000\n", "item_id,title\na,\"One\"\n",
          "u a 100000000 4.5 One\n"); // milliseconds by their size
    takes("jsonl", "{\"user_id\": 7, \"item_id\": 5, \"timestamp\": 100}\n", "{\"item_id\": 5, \"title\": \"One\"}\n",
          "7 5 100 One\n");
    takes("csv", "user,item,title\nu,a,\"One, more\"\nv,b,Two\nu,b,Two\n", NULL, "u a 1 One, more\nv b 2 Two\nu b 3 Two\n");
    takes("csv", "user,item\nu,a\nv,b\n", NULL, "u a 1 a\nv b 2 b\n"); // ids for titles, the order of the log for times
    static const char *const named[RECORDS_NAMES] = {"who", "what", "when", "stars", "label"};
    InteractionsOptions strict = {.strict = 1};
    expect("tsv", named, "user\twho\twhat\twhen\tstars\nx\tu\ta\t100\t2\n", "what\tlabel\ttitle\na\tOne\tNo\n", strict,
           "u a 100 2 One\n");
    expect("jsonl", named, "{\"who\": \"u\", \"what\": \"a\", \"when\": 100, \"stars\": 2}\n",
           "{\"what\": \"a\", \"label\": \"One\"}\n", strict, "u a 100 2 One\n");
    refuses("tsv", named, "user\twho\twhat\tstars\nx\tu\ta\t2\n", "what\tlabel\na\tOne\n", "the.log: line 1: no column when");
    refuses("csv", named, "who,what,when,stars\nu,a,5,2\n", "what,title\na,One\n", "the.item: line 1: no column label");
    // The name of the log's column need not be that of the items'.
    static const char *const log_only[RECORDS_NAMES] = {[RECORD_ITEM] = "product_code"};
    expect("csv", log_only, "user,product_code\nu,a\n", "item_id,title\na,One\n", strict, "u a 1 One\n");
    expect("csv", log_only, "user,product_code\nu,a\n", "item_id,product_code,title\nb,a,One\n", strict, "u a 1 One\n");
    expect("tsv", log_only, "user\tproduct_code\nu\ta\n", "title\titem\nOne\ta\n", strict, "u a 1 One\n");
    expect("jsonl", log_only, "{\"user\": \"u\", \"product_code\": \"a\"}\n", "{\"asin\": \"a\", \"title\": \"One\"}\n", strict,
           "u a 1 One\n");
    expect("jsonl", log_only, "{\"user\": \"u\", \"product_code\": \"a\"}\n",
           "{\"asin\": \"b\", \"product_code\": \"a\", \"title\": \"One\"}\n", strict, "u a 1 One\n");
    refuses("csv", log_only, "user,product_code\nu,a\n", "code,title\na,One\n", "the.item: line 1: no column product_code");
    refuses("csv", log_only, "user,item\nu,a\n", "item,title\na,One\n", "the.log: line 1: no column product_code");
    refuses("tsv", no_columns, "user\tuser\titem\nu\tv\ta\n", NULL, "a field of the header stands twice");
    refuses("csv", no_columns, "user,item,item\nu,v,a\n", NULL, "a field of the header stands twice");
    refuses(
        "tsv", no_columns, "nobody\tnothing\nu\ta\n", NULL,
        "line 1: no column of the user or of the item's id among nobody, nothing; --user-column and --item-column name them");
    refuses("csv", no_columns, "a_name_of_more_than_forty_bytes_is_cut_\xc3\xa4s,user\nx,u\n", NULL,
            "no column of the item's id among a_name_of_more_than_forty_bytes_is_cut_..., user; --item-column names it");
    refuses("jsonl", no_columns, "{\"user\":\"u\",\"product\":\"a\"}\n", NULL,
            "the.log: no member of the item's id among user, product; --item-column names it");
    refuses("jsonl", no_columns, "{\"user\":\"u\",\"item\":\"a\"}\n", "{\"item\":\"a\"}\n",
            "the.item: no member of the item's title among item; --title-column names it");
    static const char *const rated[RECORDS_NAMES] = {[RECORD_RATING] = "points"};
    refuses("jsonl", rated, "{\"user\":\"u\",\"item\":\"a\",\"stars\":3}\n", NULL, "no member points among user, item, stars");
}

// The names that are known are so in any case; one as it is written goes before.
static void test_letter_case(void **state) {
    (void)state;
    takes("csv", "User,ITEM,Timestamp,Rating,Title\nu,a,100,3,One\n", NULL, "u a 100 3 One\n");
    takes("csv", "User,user,Item_ID,Date\nv,u,a,2018-10-01\n", "Title,item\nOne,a\n", "u a 1538352000 One\n");
    takes("tsv", "USER_ID\titemid\tDateTime\nu\ta\t100\n", NULL, "u a 100 a\n");
    takes("jsonl", "{\"User\":\"u\",\"Item\":\"a\",\"TS\":100,\"ts\":90}\n", "{\"ITEM\":\"a\",\"Name\":\"One\"}\n",
          "u a 90 One\n");
    refuses("ml-csv", no_columns, "UserId,MovieId\n7,5\n", NULL, "no column of the user or of the item's id");
    static const char *const named[RECORDS_NAMES] = {[RECORD_USER] = "who"};
    refuses("csv", named, "Who,item\nu,a\n", NULL, "no column who among Who, item"); // a given name is meant as it is
}

static void test_quoted_fields(void **state) {
    (void)state;
    takes("tsv", "\"user\"\titem\ttime\n\"u\"\ta\t\"100\"\nu\t\"b \"\"1\"\"\"\t90\n\"\t\"b\"1\"\t80\nu\tc\t70\n",
          "item\tname\na\t\"7\"\" single\"\n\"b \"\"1\"\"\"\t\"24\"\", \"\"black\"\" one\"\n\"b\"1\"\t5\"\" disk\nc\t\"A\" and "
          "\"B\"\n",
          "u a 100 7\" single\nu b \"1\" 90 24\", \"black\" one\n\" \"b\"1\" 80 5\"\" disk\nu c 70 A\" and \"B\n");
    bad_line("tsv", "user\titem\nu\ta\n", NULL, "\"\"\ta", "an empty id");
}

// The title of a review is not its item's; that of an item may change now and then.
static void test_several_titles(void **state) {
    (void)state;
    refuses("csv", no_columns, "user,item,title\nu,a,Nice\nv,a,Five Stars\nu,b,Bad\n", NULL,
            "the.log: of 1 items that come more than once, 1 come with several titles");
    for (int others = 1; others <= 2; others++) {
        Str log = {0};
        Err err = {0};
        Interactions x;
        str_puts(&log, "user,item,title\nw,once,One\nw,none,\n");
        for (int line = 0; line < 40; line++)
            str_printf(&log, "u,%d,%s %d \n", line % 10, line >= 10 && line % 10 < others ? "Other" : "Item", line % 10);
        for (int user = 0; user < 2; user++) str_puts(&log, "w,0,\n"); // no title is no other title
        int status = read_text(&x, "csv", no_columns, log.data, NULL, (InteractionsOptions){.strict = 1}, &err);
        assert_true(x.titled_again == 10 && x.retitled == others);
        assert_int_equal(status, others == 1 ? 0 : -1);
        if (status == 0) assert_string_equal(x.titles.text[x.title[x.event[1].item]], "Item 0"); // the first counts
        interactions_free(&x);
        str_free(&log);
    }
}

// Why nothing is left.
static void test_nothing_left(void **state) {
    (void)state;
    static const char items[] = "item,title\nb,Two\nc,\n";
    refuses("csv", no_columns, "user,item\nu,a\nv,a\nu,c\n", items, "among 3: 2 with items that the file of items has not");
    refuses("csv", no_columns, "user,item\nu,c\nv,c\nu,a\n", items, "among 3: 2 with items whose title cannot be used");
}

// A title that comes late counts for all; users of items whose title never comes leave nothing.
static void test_late_titles(void **state) {
    (void)state;
    static const char log[] = "user,item,title\nv,b,\nu,a,\nw,a,\" \"\nu,a,One\nw,c,Two\nu,b,\n";
    takes("csv", log, NULL, "u a 2 One\nw a 3 One\nu a 4 One\nw c 5 Two\n");
    Interactions x;
    Err err = {0};
    assert_int_equal(read_text(&x, "csv", no_columns, log, NULL, (InteractionsOptions){.strict = 1}, &err), 0);
    assert_true(x.users.n == 2 && x.untitled[TITLE_NONE] == 2 && x.items_untitled[TITLE_NONE] == 1 && x.lines == 6);
    interactions_free(&x);
}

static void test_dates(void **state) {
    (void)state;
    static const struct {
        const char *text;
        long long seconds; // 0: no date
    } date[] = {{"2018-10-01", 1538352000},
                {"1970-01-02", 86400},
                {"2018-10-01T12:34", 1538397240},
                {"2018-10-01T12:34:56Z", 1538397296},
                {"2018-10-01 12:34:56.789", 1538397296},
                {"2018-10-01T12:34:56+02:00", 1538390096},
                {"2018-10-01T00:00:00-0130", 1538357400},
                {"2018-10-01 12:34:56+02", 1538390096}, // PostgreSQL's
                {"2018-10-01 12:34:56+02:", 0},
                {"2018-10-01 12:34:56+2", 0},
                {"2018-10-01 12:34:56 UTC", 1538397296},
                {"2018-10-01 12:34:56.5 GMT", 1538397296},
                {"2018-10-01 12:34 +0200", 1538390040},
                {"2018-10-01 12:34:56 Z", 1538397296},
                {"2018-10-01T12:34:56UTC", 1538397296},
                {"2016-02-29", 1456704000},
                {"2016-12-31T23:59:60Z", 1483228800},
                {"2018-02-29", 0},
                {"2018-06-31", 0},
                {"2018-13-01", 0},
                {"2018-00-10", 0},
                {"2018-1-10", 0},
                {"2018-10-01T", 0},
                {"2018-10-01T25:00", 0},
                {"2018-10-01T12", 0},
                {"2018-10-01T12:34:56.", 0},
                {"2018-10-01T12:34:56x", 0},
                {"2018-10-01T12:34+2", 0},
                {"2018-10-01Z", 0},
                {"2018-10-01 12:34:56 ", 0},
                {"2018-10-01 12:34:56  UTC", 0},
                {"2018-10-01 12:34:56 UT", 0},
                {"2018-10-01 12:34:56 UTC+1", 0},
                {"2018-10-01 12:34:56 CET", 0},
                {"20181001", 0},
                {"", 0}};
    for (size_t i = 0; i < sizeof date / sizeof *date; i++) {
        int64_t milliseconds = 0;
        assert_int_equal(dates_parse(&milliseconds, date[i].text, strlen(date[i].text)), date[i].seconds != 0);
        if (date[i].seconds) assert_int_equal(milliseconds / 1000, date[i].seconds);
    }
    static const struct {
        const char *text;
        int milliseconds;
    } fraction[] = {{".7", 700}, {".78", 780}, {".789Z", 789}, {".0789 UTC", 78}, {".7899999999999+00", 789}, {"", 0}};
    for (size_t i = 0; i < sizeof fraction / sizeof *fraction; i++) {
        char text[64];
        int64_t milliseconds;
        const int n = snprintf(text, sizeof text, "2018-10-01 12:34:56%s", fraction[i].text);
        assert_true(dates_parse(&milliseconds, text, (size_t)n) && milliseconds == 1538397296000 + fraction[i].milliseconds);
    }
    takes("csv", "user,item,time\nu,a,2018-10-01\nu,b,2018-10-01T00:00:07Z\nu,c,1538352009\n", NULL,
          "u a 1538352000 a\nu b 1538352007 b\nu c 1538352009 c\n");
    takes("jsonl", "{\"user_id\": 7, \"item_id\": 5, \"time\": \"2018-10-01\"}\n", "{\"item_id\": 5, \"title\": \"One\"}\n",
          "7 5 1538352000 One\n");
    takes("csv", "user,item,time\nu,a,1593878903.438\nu,b,1593878904\n", NULL, "u a 1593878903.438 a\nu b 1593878904 b\n");
    takes("recbole", "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1588687728923\nu\ta\t1588687729000.0\n",
          "item_id:token\ttitle:token\na\tOne\n", "u a 1588687728.923 One\nu a 1588687729 One\n");
    takes("csv", "user,item,time\nu,a,1970-01-01T00:00:00\nu,b,0\nu,c,0.5\nu,d,7\n", NULL,
          "u a 0 a\nu b 0 b\nu c 0.5 c\nu d 7 d\n");
    takes("csv", "user,item,time\nu,a,0\nu,b,1538352007000\n", NULL, "u a 0 a\nu b 1538352007 b\n"); // no seconds, yet
    bad_line("csv", "user,item,time\nu,a,2018-10-01\n", NULL, "u,b,1969-12-31", "a timestamp before 1970");
    bad_line("csv", "user,item,time\nu,a,1538352000000\n", NULL, "u,b,0", "seconds, where milliseconds are expected");
    bad_line("csv", "user,item,time\nu,a,2018-10-01\n", NULL, "u,b,2018-02-30", "neither a plain number nor a date");
    bad_line("csv", "user,item,time\nu,a,1538352000000\n", NULL, "u,b,2018-10-01", "a date, where others are milliseconds");
    bad_line("csv", "user,item,time\nu,a,100\n", NULL, "u,b,2918-10-01", "later than tomorrow");
}

static void test_index_texts(void **state) {
    (void)state;
    static const char *const named[RECORDS_NAMES] = {[RECORD_TEXT] = "sid"};
    static const struct {
        const char *format, *log, *item;
    } one[] = {{"csv", "user,item,time\nu,a,100\nu,b,101\nu,c,102\n",
                "item_id,title,sid\na,One,<a_1><b_2>\nb,Two,\nc,Three,<a_1><b_2>\n"},
               {"tsv", "user\titem\ttime\nu\ta\t100\nu\tb\t101\nu\tc\t102\n",
                "item_id\tsid\ttitle\na\t<a_1><b_2>\tOne\nb\t\tTwo\nc\t<a_1><b_2>\tThree\n"},
               {"recbole", "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t100\nu\tb\t101\nu\tc\t102\n",
                "item_id:token\ttitle:token_seq\tsid:token\na\tOne\t<a_1><b_2>\nb\tTwo\t\nc\tThree\t<a_1><b_2>\n"},
               {"jsonl",
                "{\"user\":\"u\",\"item\":\"a\",\"time\":100}\n{\"user\":\"u\",\"item\":\"b\",\"time\":101}\n{\"user\":\"u\","
                "\"item\":\"c\",\"time\":102}\n",
                "{\"item\":\"a\",\"title\":\"One\",\"sid\":\"<a_1><b_2>\"}\n{\"item\":\"b\",\"title\":\"Two\"}\n{\"item\":"
                "\"c\",\"title\":\"Three\",\"sid\":\"<a_1><b_2>\"}\n"}};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        Err err = {0};
        Interactions x;
        if (read_text(&x, one[i].format, named, one[i].log, one[i].item, (InteractionsOptions){.strict = 1}, &err))
            fail_msg("%s", err.message);
        assert_int_equal(x.items.n, 3);
        assert_true(x.text[1] == -1 && x.text[0] >= 0 && x.text[2] == x.text[0]);
        assert_string_equal(x.texts.text[x.text[0]], "<a_1><b_2>");
        interactions_free(&x);
    }
    refuses("csv", named, "user,item\nu,a\n", "item,title\na,One\n", "the.item: line 1: no column sid");
    refuses("ml-1m", named, "1::2::5::978300760\n", "2::One::Drama\n", "no column sid");
}

static void test_positions(void **state) {
    (void)state;
    static const char *const named[RECORDS_NAMES] = {[RECORDS_ORDER] = "user,item,rating,time"};
    static const char *const passed[RECORDS_NAMES] = {[RECORDS_ORDER] = "-,item,user,-,title"};
    const InteractionsOptions strict = {.strict = 1};
    expect("csv", named, "u,a,4.5,100\n\"v\",\"b, c\",2,2018-10-01\n", NULL, strict,
           "u a 100 4.5 a\nv b, c 1538352000 2 b, c\n");
    expect("tsv", named, "u\ta\t4.5\t100\nv\tb\t2\t90\n", "item\ttitle\na\tOne\nb\tTwo\n", strict,
           "u a 100 4.5 One\nv b 90 2 Two\n");
    expect("tsv", named, "u a 4.5 100\nv b 2 90\n", "item\ttitle\na\tOne\nb\tTwo\n", strict, "u a 100 4.5 One\nv b 90 2 Two\n");
    expect("csv", passed, "x,a,u,,One\n,b,v,9,Two\n", NULL, strict, "u a 1 One\nv b 2 Two\n");
    static const char *const wrong[][2] = {{"user,item,user", "\"user\" stands twice"},
                                           {"user,items", "\"items\" is none of"},
                                           {"user,time", "--columns \"user,time\": both user and item are needed"},
                                           {"user,,item", "\"\" is none of"}};
    Interactions x;
    Err err = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *const column[RECORDS_NAMES] = {[RECORDS_ORDER] = wrong[i][0]};
        assert_int_equal(read_text(&x, "csv", column, "u,a,b\n", NULL, strict, &err), -1);
        if (!strstr(err.message, wrong[i][1])) fail_msg("\"%s\" should say \"%s\"", err.message, wrong[i][1]);
        interactions_free(&x);
    }
    assert_int_equal(read_text(&x, "csv", named, "u,a,1,100\nu,b,1\n", NULL, strict, &err), -1);
    assert_non_null(strstr(err.message, "line 2: 3 fields where there should be 4"));
    interactions_free(&x);
}

static void test_sequences(void **state) {
    (void)state;
    takes("sequences", "u a b  a\nv\tb c\nu c\n", NULL, "u a 1 a\nu b 2 b\nu a 3 a\nv b 4 b\nv c 5 c\nu c 6 c\n");
    bad_line("sequences", "1 5\n1 7\n", NULL, "2", "no item behind the user");
}

static void test_window(void **state) {
    (void)state;
    expect("csv", no_columns, "user,item,time\nu,a,100\nu,b,199\nu,c,200\nv,d,99\n", NULL,
           (InteractionsOptions){.strict = 1, .from = 100, .until = 200}, "u a 100 a\nu b 199 b\n");
    static const struct {
        int64_t from, to;
    } back[] = {{1506816000, 1498867200},  // 2017-10-01 to 2017-07-01
                {1483228800, 1475280000},  // 2017-01-01 to 2016-10-01
                {1590969599, 1583020799},  // 2020-05-31T23:59:59 to 2020-02-29T23:59:59
                {1559260800, 1551312000}}; // 2019-05-31 to 2019-02-28
    for (size_t i = 0; i < sizeof back / sizeof *back; i++) assert_true(filter_months_back(back[i].from, 3) == back[i].to);
}

// The window moves back until the core has enough items, and no further; where there are never enough, to the beginning.
static void test_min_items(void **state) {
    (void)state;
    const int64_t month = 1498867200; // 2017-07-01; items 0..9 are met twice a month, from January 2015 (one new a month) on
    for (int least = 1; least <= 12; least++) {
        Interactions x = {.has_time = 1};
        for (int u = 0; u < 2; u++) intern_put(&x.users, &"uv"[u], 1);
        for (int i = 0; i < 10; i++) intern_put(&x.items, &"0123456789"[i], 1);
        x.event = mem_alloc(20, sizeof *x.event);
        for (int i = 0; i < 10; i++)
            for (int u = 0; u < 2; u++)
                x.event[x.n++] =
                    (Event){.user = u, .item = i, .timestamp = (filter_months_back(month, i) + 1000) * EVENT_SECOND};
        FilterCounts c;
        filter_apply(&c, &x, &(FilterOptions){1, 2, month, least});
        int steps = least <= 1 ? 0 : (least + 1) / 3; // i months back lie in the window where i <= 3 steps
        if (least > 10) steps = 3;
        assert_true(c.from == filter_months_back(month, 3 * steps));
        assert_int_equal(c.items, 3 * steps + 1);
        assert_int_equal(x.n, 2 * c.items);
        assert_int_equal(c.outside_window, 20 - 2 * c.items);
        interactions_free(&x);
    }
}

// ---- what a file is ----

static void sniffs(const char *head, const char *format, RecordsRole role) {
    const RecordsFormat *f = NULL;
    RecordsRole r;
    int known = records_sniff(&f, &r, no_columns, head, strlen(head));
    if (known != (format != NULL) || (known && (strcmp(f->name, format) != 0 || r != role)))
        fail_msg("%.60s: %s %d", head, known ? f->name : "unknown", known ? (int)r : 0);
}

static void test_sniff(void **state) {
    (void)state;
    sniffs(A18_LOG, "amazon-2018", RECORDS_LOG);
    sniffs("broken\n" A18_LOG, "amazon-2018", RECORDS_LOG);
    sniffs(A18_ITEMS, "amazon-2018", RECORDS_ITEMS);
    sniffs("{\"rating\": 5.0, \"asin\": \"B\", \"parent_asin\": \"P\", \"user_id\": \"U\", \"timestamp\": 1588687728923}\n",
           "amazon-2023", RECORDS_LOG);
    sniffs("{\"title\": \"One\", \"parent_asin\": \"P1\"}\n", "amazon-2023", RECORDS_ITEMS);
    sniffs("{\"user\": 1, \"item\": 2}\n", "jsonl", RECORDS_LOG);
    sniffs("{\"item\": 2, \"name\": \"x\"}\n", "jsonl", RECORDS_ITEMS);
    sniffs("{\"item\": 2, \"reason\": \"broken\"}\n", NULL, RECORDS_LOG);
    sniffs("{\"asin\": \"2\", \"reason\": \"broken\"}\n", NULL, RECORDS_LOG);
    sniffs("{\"asin\": \"2\"}\n{\"asin\": \"3\", \"title\": \"Three\"}\n", "amazon-2018", RECORDS_ITEMS);
    sniffs("item,title\na,One", "csv", RECORDS_ITEMS); // a last line without an end
    sniffs("user\titem\nu\ta", "tsv", RECORDS_LOG);
    sniffs("movieId,title,genres\n1,One,A", "ml-csv", RECORDS_ITEMS);
    sniffs("item_id:token\ttitle:token_seq\ni\tOne", "recbole", RECORDS_ITEMS);
    // What has an empty field says nothing; the next line does.
    sniffs("{\"user\": \"\", \"item\": 2}\n{\"user\": 1, \"item\": 2}\n", "jsonl", RECORDS_LOG);
    sniffs("{\"reviewerID\": \"\", \"asin\": \"B\", \"unixReviewTime\": 1}\n" A18_LOG, "amazon-2018", RECORDS_LOG);
    sniffs("{\"asin\": \"\", \"title\": \"None\"}\n" A18_ITEMS, "amazon-2018", RECORDS_ITEMS);
    sniffs("1::::Drama\n2::Toy Story (1995)::Animation\n", "ml-1m", RECORDS_ITEMS);
    sniffs("::1193::5::978300760\n1::1193::5::978300760\n", "ml-1m", RECORDS_LOG);
    sniffs(
        "1||01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n2|One|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0"
        "|0|0|0|0|0|0\n",
        "ml-100k", RECORDS_ITEMS);
    sniffs("1::F::1::10::48067\n2::M::1::10::48067-1234\n", NULL, RECORDS_LOG); // users.dat
    sniffs("1::1193::5::978300760\n", "ml-1m", RECORDS_LOG);
    sniffs("1::Toy Story (1995)::Animation\n", "ml-1m", RECORDS_ITEMS);
    sniffs("1::F::1::10::48067\n", NULL, RECORDS_LOG); // users.dat
    sniffs("196\t242\t3\t881250949\n", "ml-100k", RECORDS_LOG);
    sniffs("1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n", "ml-100k", RECORDS_ITEMS);
    sniffs("1|24|M|technician|85711\n", NULL, RECORDS_LOG); // u.user
    sniffs("userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n", "ml-csv", RECORDS_LOG);
    sniffs("movieId,title,genres\n1,Toy Story (1995),A\n", "ml-csv", RECORDS_ITEMS);
    sniffs("rating,timestamp,userId,movieId\nx,1,u,1\n0.5,1112486027,1,2\n", "ml-csv", RECORDS_LOG);
    sniffs("userId,movieId,rating,date\n1,2,3.5,2018-10-01\n", "csv", RECORDS_LOG); // what MovieLens has not
    sniffs("userId,movieId,timestamp\n1,2,1112486027\n", "csv", RECORDS_LOG);
    sniffs("userId,movieId,rating,timestamp,title\n1,2,3.5,1112486027,One\n", "csv", RECORDS_LOG);
    sniffs("userId,movieId,title,date\n1,2,One,2018-10-01\n", "csv", RECORDS_LOG);
    sniffs("userId,movieId,rating,timestamp\n1,tt2,3.5,1112486027\nu,3,3.5,1112486027\n", "csv", RECORDS_LOG);
    sniffs("userId,movieId,rating,timestamp\n1,2,3.5,2018-10-01\n", "csv", RECORDS_LOG);
    sniffs("userId,movieId,rating,timestamp\n1,2,10,1112486027\n", "csv", RECORDS_LOG);
    sniffs("user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ti\t4\t5\n", "recbole", RECORDS_LOG);
    sniffs("item_id:token\ttitle:token_seq\ni\tOne\n", "recbole", RECORDS_ITEMS);
    sniffs("user_id\titem_id\ttimestamp\n100\t2857\t978300019\n", "tsv", RECORDS_LOG);
    sniffs("item_id\ttitle\n100\tToy Story\n", "tsv", RECORDS_ITEMS);
    sniffs("user,item\nu,a\n", "csv", RECORDS_LOG);
    sniffs("item,title\na,One\n", "csv", RECORDS_ITEMS);
    sniffs("1 2 3\n4 5\n", "sequences", RECORDS_LOG);
    sniffs("user_id,item_asins,history_item_title,item_title\n", "latentr3", RECORDS_LOG);
    sniffs("1 2 3 4\n5 6 7 8\n", "sequences", RECORDS_LOG);
    sniffs("1 881250949 881250950\n5 6\n", "sequences", RECORDS_LOG);
    sniffs("196 242 3 881250949\n186 302 3 891717742\n", NULL, RECORDS_LOG); // a user, an item, its rating and the time
    sniffs("196 242 881250949\n186 302 891717742\n", NULL, RECORDS_LOG);
    sniffs("196 242 3.5\n186 302 5\n", NULL, RECORDS_LOG);
    sniffs("", NULL, RECORDS_LOG);
    sniffs("This is a text.\n", NULL, RECORDS_LOG);
    sniffs("1\t2\t3\n", NULL, RECORDS_LOG); // numbers between tabs may be anything
    static const char *const named[RECORDS_NAMES] = {"who", "what", NULL, NULL, NULL};
    const RecordsFormat *f;
    RecordsRole r;
    static const char head[] = "who,what\nu,a\n";
    assert_true(records_sniff(&f, &r, named, head, sizeof head - 1) && !strcmp(f->name, "csv") && r == RECORDS_LOG);
    sniffs(head, NULL, RECORDS_LOG);
    static const char items[] = "item_id,title\na,One\n"; // beside a log that calls the item so
    assert_true(records_sniff(&f, &r, named, items, sizeof items - 1) && !strcmp(f->name, "csv") && r == RECORDS_ITEMS);
}

// ---- folders ----

static const char *source_format(const json_t *report) {
    return json_string_value(json_object_get(json_object_get(report, "source"), "format"));
}

// Which of several files is taken, and a log through a pipe.
static void test_choice(void **state) {
    (void)state;
    static const char ratings[] = "userId,movieId,rating,timestamp\n1,1,5,10\n1,2,5,20\n1,1,5,30\n",
                      tags[] = "userId,movieId,tag,timestamp\n1,1,fun,10\n",
                      movies[] = "movieId,title,genres\n1,One,A\n2,Two,B\n";
    char *in = folder_new(), *out = folder_new();
    folder_put(in, "ratings.csv", ratings, sizeof ratings - 1);
    folder_put(in, "tags.csv", tags, sizeof tags - 1); // a log by its columns
    folder_put(in, "movies.csv", movies, sizeof movies - 1);
    folder_put(in, "README.txt", "Nothing\n", 8);
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time", .strict = 1};
    json_t *report;
    prepared_run(&o, &report);
    assert_string_equal(source_format(report), "ml-csv");
    assert_string_equal(json_string_value(json_object_get(report, "category")), "movie");
    assert_true(prepared_count(report, "counts", "interactions", NULL) == 3 &&
                prepared_count(report, "counts", "rows", "train") == 1);
    char *before = json_dumps(json_object_get(report, "files"), JSON_COMPACT);
    json_decref(report);

    char *items = file_join(in, "movies.csv"), *pipe = file_join(out, "pipe"), *elsewhere = folder_new(), command[512];
    assert_int_equal(mkfifo(pipe, 0600), 0);
    snprintf(command, sizeof command, "cat '%s/ratings.csv' >'%s' &", in, pipe);
    assert_int_equal(system(command), 0);
    o.input = pipe, o.items = items, o.out = elsewhere;
    prepared_run(&o, &report);
    char *piped = json_dumps(json_object_get(report, "files"), JSON_COMPACT);
    assert_string_equal(piped, before);
    json_decref(report);
    Err err = {0};
    o.input = items, o.out = elsewhere;
    assert_int_equal(prepare_run(&o, NULL, &err), -1);
    assert_non_null(
        strstr(err.message, "a file of items (ml-csv), not a log: line 1: no column of the user among movieId, title, genres"));
    free(before), free(piped), free(items), free(pipe);
    folder_remove(in), folder_remove(out), folder_remove(elsewhere);
}

static void put_text(const char *folder, const char *name, const char *text) {
    folder_put(folder, name, text, strlen(text));
}

// A damaged file is refused where it would be taken, and passed over where a name decides against it.
static void test_damaged_files(void **state) {
    (void)state;
    static const char log[] = "user,item,time\nu,1,10\nu,2,20\nu,1,30\n", titled[] =
                                                                              "user,item,time,title\nu,1,10,A\nu,2,20,B\n"
                                                                              "u,1,30,A\n";
    static const char *const items[] = {"item\ttitle\n1\tCaf\xe9\n2\tTwo\n", "", "\xff\xfei", "item\ttitle\r1\tOne\r2\tTwo\r"},
                             *const fault[] = {"titles.tsv: line 2, byte 16 of the file: not UTF-8", "titles.tsv: empty file",
                                               "titles.tsv: UTF-16", "titles.tsv: line 1: a carriage return"};
    char *in = folder_new(), *out = folder_new(), *file = file_join(in, "log.csv");
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time", .strict = 1}, named = o;
    named.input = file;
    for (int i = 0; i < 4; i++) {
        put_text(in, "log.csv", log), put_text(in, "titles.tsv", items[i]);
        prepared_refuses(o, ERR_DATA, fault[i]), prepared_refuses(named, ERR_DATA, fault[i]);
        put_text(in, "log.csv", titled); // these stand in the log
        prepared_run(&named, NULL);
        PrepareOptions bad = named;
        char *path = file_join(in, "titles.tsv");
        bad.items = path, prepared_refuses(bad, ERR_DATA, fault[i]);
        bad = o, bad.input = path, prepared_refuses(bad, ERR_DATA, fault[i]);
        free(path);
    }
    folder_remove(in);
    o.input = in = folder_new();
    put_text(in, "ratings.csv.gz", "\x1f\x8b\x08"), put_text(in, "log.csv", titled);
    prepared_refuses(o, ERR_DATA, "ratings.csv.gz: ");
    put_text(in, "u.data", "1\t1\t5\t881250949\n1\t2\t5\t881250950\n1\t1\t5\t881250951\n"), put_text(in, "u.item", "");
    prepared_refuses(o, ERR_DATA, "u.item: empty file");
    put_text(in, "u.item",
             "1|One|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n2|Two|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|"
             "0|0|0|0|0|0|0|0|0|0|0\n");
    prepared_run(&o, NULL);
    free(file);
    folder_remove(in), folder_remove(out);
}

// The title rules of Amazon's metadata, whatever the format of the log beside it.
static void test_title_rules(void **state) {
    (void)state;
    static const char log[] = "user_id,parent_asin,rating,timestamp\nu,a,5,100000000000\nu,b,5,100000001000\nu,c,5,"
                              "100000002000\nu,a,5,100000003000\n",
                      meta[] = "{\"parent_asin\": \"a\", \"title\": \"One\"}\n{\"parent_asin\": \"b\", \"title\": \"Two\"}\n"
                               "{\"parent_asin\": \"c\", \"title\": \"3\"}\n";
    char *in = folder_new(), *out = folder_new();
    folder_put(in, "Games.csv", log, sizeof log - 1);
    folder_put(in, "meta_Games.jsonl", meta, sizeof meta - 1);
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time", .strict = 1};
    for (int rules = 0; rules < 2; rules++) {
        json_t *report;
        o.title_rules = rules ? "auto" : "none";
        prepared_run(&o, &report);
        assert_string_equal(source_format(report), "csv");
        assert_int_equal(prepared_count(report, "dropped", "interactions", "title_rules"), rules);
        assert_true(json_is_true(json_object_get(json_object_get(report, "options"), "published_titles")) == rules);
        json_decref(report);
    }
    folder_remove(in), folder_remove(out);
}

static void test_options(void **state) {
    (void)state;
    char *in = folder_new(), *out = folder_new(), *log = file_join(in, "log.txt");
    folder_put(in, "log.txt", "1 5 6 7 5\n2 5 6 7 5\n", 20);
    PrepareOptions o = {.input = log, .out = out, .history = 10, .split = "time"}, bad;
    prepared_refuses(o, ERR_USAGE, "no times to split by");
    o.split = "leave-one-out";
    bad = o, bad.from = "2017-10-01", prepared_refuses(bad, ERR_USAGE, "no times, and --from and --until ask for a window");
    bad = o, bad.min_items = 3, prepared_refuses(bad, ERR_USAGE, "say where it begins");
    bad = o, bad.from = "2017-10-01", bad.until = "2017-10-01", prepared_refuses(bad, ERR_USAGE, "is not before --until");
    bad = o, bad.until = "1970-01-01", prepared_refuses(bad, ERR_USAGE, "--until 1970-01-01: nothing is earlier");
    bad = o, bad.min_rating = 3, prepared_refuses(bad, ERR_USAGE, "no ratings, and --min-rating");
    static const char *const dates[] = {"2017-10",     "2017-13-01", "2017-02-29", "17-10-01",
                                        "2017-10-01x", " 2017-10-1", "1969-01-01", ""};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++)
        bad = o, bad.from = dates[i], prepared_refuses(bad, ERR_USAGE, "a date of the form 2017-10-01");
    json_t *report;
    prepared_run(&o, &report);
    assert_true(prepared_count(report, "counts", "rows", "test") == 2 && prepared_count(report, "counts", "items", NULL) == 3);
    assert_string_equal(source_format(report), "sequences");
    json_decref(report);
    folder_put(in, "log.txt", "nothing\n", 8);
    prepared_refuses(o, ERR_DATA, "no format that is known; --format says which (amazon-2018|");
    free(log);
    folder_remove(in), folder_remove(out);
}

// ---- real data ----

static void expect_rows(const json_t *report, long long train, long long valid, long long test) {
    assert_int_equal(prepared_count(report, "counts", "rows", "train"), train);
    assert_int_equal(prepared_count(report, "counts", "rows", "valid"), valid);
    assert_int_equal(prepared_count(report, "counts", "rows", "test"), test);
}

// The published rule; counts of an independent script.
static void test_games(void **state) {
    (void)state;
    char *in = shared_data("games"), *out;
    if (!in) skip();
    out = folder_new();
    json_t *report;
    prepared_run(&(PrepareOptions){.input = in,
                                   .out = out,
                                   .from = "2017-10-01",
                                   .until = "2018-11-01",
                                   .min_items = 5000,
                                   .k_core = 5,
                                   .history = 10,
                                   .split = "time",
                                   .strict = 1},
                 &report);
    assert_string_equal(source_format(report), "amazon-2018");
    assert_string_equal(json_string_value(json_object_get(json_object_get(report, "window"), "from")), "2015-04-01");
    assert_int_equal(prepared_count(report, "counts", "users", NULL), 12886);
    assert_int_equal(prepared_count(report, "counts", "items", NULL), 5146);
    assert_int_equal(prepared_count(report, "counts", "interactions", NULL), 101747);
    expect_rows(report, 71088, 8886, 8887);
    json_decref(report);
    folder_remove(out);
    free(in);
}

static void test_movielens_1m(void **state) {
    (void)state;
    char *in = shared_data("ml-1m"), *out;
    if (!in) skip();
    out = folder_new();
    json_t *report;
    prepared_run(&(PrepareOptions){.input = in, .out = out, .k_core = 5, .history = 1, .split = "leave-one-out", .strict = 1},
                 &report);
    assert_string_equal(source_format(report), "tsv");
    assert_int_equal(prepared_count(report, "counts", "users", NULL), 6040);
    assert_int_equal(prepared_count(report, "counts", "items", NULL), 3416);
    expect_rows(report, 999611 - 3 * 6040, 6040, 6040);
    assert_int_equal(prepared_count(report, "repeated", "titles", NULL), 36);
    assert_int_equal(prepared_count(report, "ties", "users_in_last_two", NULL), 2544); // 42.1 %
    json_decref(report);
    folder_remove(out);
    free(in);
}

// The published folder comes out as it went in, byte for byte; its train.csv is not there.
static void test_published(void **state) {
    (void)state;
    static const char *const name[] = {"valid.csv", "test.csv", "info.txt"};
    char *in = shared_data("d3-office"), *out;
    if (!in) skip();
    out = folder_new();
    json_t *report;
    prepared_run(&(PrepareOptions){.input = in, .out = out, .format = "latentr3", .history = 10, .split = "time", .strict = 1},
                 &report);
    expect_rows(report, 0, 4866, 4866);
    for (int i = 0; i < 3; i++) {
        char *path = file_join(in, name[i]), hex[33];
        assert_int_equal(file_hash(hex, path, NULL), 0);
        assert_string_equal(json_string_value(json_object_get(json_object_get(report, "files"), name[i])), hex);
        free(path);
    }
    char *train = file_join(out, "train.csv");
    assert_false(file_exists(train));
    json_decref(report);
    free(train), free(in);
    folder_remove(out);
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amazon_2018),   cmocka_unit_test(test_amazon_2023),    cmocka_unit_test(test_titles),
        cmocka_unit_test(test_movielens),     cmocka_unit_test(test_columns),        cmocka_unit_test(test_letter_case),
        cmocka_unit_test(test_quoted_fields), cmocka_unit_test(test_several_titles), cmocka_unit_test(test_dates),
        cmocka_unit_test(test_index_texts),   cmocka_unit_test(test_positions),      cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_window),        cmocka_unit_test(test_min_items),      cmocka_unit_test(test_sniff),
        cmocka_unit_test(test_title_rules),   cmocka_unit_test(test_damaged_files),  cmocka_unit_test(test_late_titles),
        cmocka_unit_test(test_nothing_left),  cmocka_unit_test(test_choice),         cmocka_unit_test(test_options),
        cmocka_unit_test(test_games),         cmocka_unit_test(test_movielens_1m),   cmocka_unit_test(test_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
