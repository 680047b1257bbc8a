// From a log to a data folder: what the readers take and refuse, what filters and splits promise, what stands in the files.
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/dataset.h"
#include "data/filter.h"
#include "data/interactions.h"
#include "data/prepare.h"
#include "data/split.h"
#include "tests/guard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "tests/folder.h"
#include "tests/prepared.h"

static int read_bytes(Interactions *x, const char *format, const char *log, size_t log_bytes, const char *item,
                      size_t item_bytes, int strict, Err *err) {
    Guard l = guard_copy(log, log_bytes), i = guard_copy(item, item_bytes);
    const RecordsFormat *f = records_format(format);
    Records logs = {0}, items;
    *x = (Interactions){0};
    int status = records_open(&items, f, RECORDS_ITEMS, NULL, i.data, item_bytes, "the.item", err);
    if (status == 0) status = records_open(&logs, f, RECORDS_LOG, NULL, l.data, log_bytes, "the.log", err);
    if (status == 0) status = interactions_read(x, &items, &logs, &(InteractionsOptions){.strict = strict}, err);
    records_close(&items), records_close(&logs);
    guard_close(&l), guard_close(&i);
    return status;
}

static void takes(Interactions *x, const char *format, const char *log, const char *item, int strict) {
    Err err = {0};
    if (read_bytes(x, format, log, strlen(log), item, strlen(item), strict, &err)) fail_msg("%s", err.message);
}

static void refuses_bytes(const char *format, const char *log, size_t log_bytes, const char *item, size_t item_bytes,
                          int strict, const char *part) {
    Interactions x;
    Err err = {0};
    assert_int_equal(read_bytes(&x, format, log, log_bytes, item, item_bytes, strict, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, part) || !strstr(err.message, "the.") || strchr(err.message, '\n'))
        fail_msg("\"%s\" should name the file and \"%s\"", err.message, part);
    interactions_free(&x);
}

// Refused in either case: the file is damaged.
static void refuses(const char *format, const char *log, const char *item, const char *part) {
    for (int strict = 0; strict < 2; strict++) refuses_bytes(format, log, strlen(log), item, strlen(item), strict, part);
}

// ---- MovieLens-100K ----

#define GENRES "|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
#define ITEM   "1|Toy Story (1995)" GENRES "2|GoldenEye (1995)" GENRES
#define LOG    "7\t1\t5\t100\n7\t2\t3\t90\n"

// A bad line of the log between good ones: passed over and counted, an error when strict.
static void bad_log_line(const char *line, const char *part) {
    Str log = {0};
    Interactions x;
    str_printf(&log, LOG "%s\n" LOG, line);
    takes(&x, "ml-100k", log.data, ITEM, 0);
    if (x.n != 4 || x.bad_lines != 1 || x.lines != 5) fail_msg("%s: %zu events", line, x.n);
    interactions_free(&x);
    refuses_bytes("ml-100k", log.data, log.len, ITEM, strlen(ITEM), 1, part);
    refuses_bytes("ml-100k", log.data, log.len, ITEM, strlen(ITEM), 1, "the.log: line 3: ");
    str_free(&log);
}

static void bad_item_line(const char *line, const char *part) {
    Str item = {0};
    Interactions x;
    str_printf(&item, ITEM "%s\n3|Last" GENRES, line);
    takes(&x, "ml-100k", LOG, item.data, 0);
    if (x.items.n != 3 || x.bad_item_lines != 1) fail_msg("%s: %d items", line, x.items.n);
    interactions_free(&x);
    refuses_bytes("ml-100k", LOG, strlen(LOG), item.data, item.len, 1, part);
    refuses_bytes("ml-100k", LOG, strlen(LOG), item.data, item.len, 1, "the.item: line 3: ");
    str_free(&item);
}

static const char *title_of(const Interactions *x, const char *id) {
    int item = intern_find(&x->items, id, strlen(id));
    assert_true(item >= 0);
    return x->title[item] < 0 ? NULL : x->titles.text[x->title[item]];
}

static double rating_of(const Interactions *x, size_t event) {
    return x->rating[x->event[event].rating];
}

static void test_movielens(void **state) {
    (void)state;
    Interactions x;
    takes(&x, "ml-100k", "7\t2\t5\t100\r\n3\t1\t1\t90\n7\t1\t4\t100\n7\t2\t5\t101", ITEM,
          1); // CRLF, no last newline
    assert_true(x.n == 4 && x.lines == 4 && x.has_rating && x.users.n == 2 && x.items.n == 2);
    assert_string_equal(x.users.text[0], "7"); // in the order of the log
    assert_string_equal(x.items.text[0], "1"); // in the order of the item file
    assert_true(x.event[0].user == 0 && x.event[0].item == 1 && x.event[0].timestamp == 100000 && rating_of(&x, 0) == 5);
    assert_true(x.event[3].item == 1); // met again: kept
    assert_string_equal(title_of(&x, "1"), "Toy Story (1995)");
    interactions_free(&x);

    takes(&x, "ml-100k", LOG "7\t9\t3\t90\n", ITEM "4|" GENRES "5|  \"Both\" &amp; &quot;" GENRES, 1);
    assert_true(x.unknown_item == 1 && x.n == 2 && x.lines == 3);
    assert_true(x.items_untitled[TITLE_NONE] == 1 && title_of(&x, "4") == NULL); // item 5 was never rated: fine
    assert_string_equal(title_of(&x, "5"), "Both\" & ");
    interactions_free(&x);

    // Titles stay as they are: no year, two years, articles behind, quotes inside, one title for two items, an empty date.
    takes(&x, "ml-100k", LOG,
          ITEM "3|unknown||||0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n4|Matrix, The (1999) (2000)" GENRES "5|Say \"x\" now" GENRES
               "6|A: B :: C" GENRES "7|Toy Story (1995)" GENRES "7|Toy Story (1995)" GENRES,
          1);
    assert_string_equal(title_of(&x, "3"), "unknown");
    assert_string_equal(title_of(&x, "4"), "Matrix, The (1999) (2000)");
    assert_string_equal(title_of(&x, "5"), "Say \"x\" now");
    assert_string_equal(title_of(&x, "6"), "A: B :: C");
    assert_ptr_equal(title_of(&x, "7"), title_of(&x, "1"));
    assert_int_equal(x.items.n, 7); // the same line twice is the same item
    interactions_free(&x);
}

static void test_movielens_encoding(void **state) {
    (void)state;
    Interactions x;
    takes(&x, "ml-100k", LOG, ITEM "3|Mis\xe9rables, Les \xff" GENRES, 1);
    assert_string_equal(title_of(&x, "3"), "Mis\xc3\xa9rables, Les \xc3\xbf");
    interactions_free(&x);
    takes(&x, "ml-100k", LOG, ITEM "3|Mis\xc3\xa9rables, Les" GENRES, 1); // UTF-8 already
    assert_string_equal(title_of(&x, "3"), "Mis\xc3\xa9rables, Les");
    assert_int_equal(x.replacement_titles, 0);
    interactions_free(&x);
    takes(&x, "ml-100k", LOG, ITEM "3|Mis\xef\xbf\xbdrables, Les" GENRES, 1); // lost before us
    assert_int_equal(x.replacement_titles, 1);
    interactions_free(&x);
    refuses("ml-100k", LOG "7\t\xff\t3\t90\n", ITEM, "the.log: line 3, byte 21 of the file: not UTF-8");
    refuses_bytes("ml-100k", LOG "\0\n", strlen(LOG) + 2, ITEM, strlen(ITEM), 0, "a NUL byte");
    refuses_bytes("ml-100k", LOG, strlen(LOG),
                  "\xff\xfe"
                  "1\0|\0",
                  6, 0, "the.item: line 1, byte");
}

static void test_movielens_refusals(void **state) {
    (void)state;
    refuses("ml-100k", "", ITEM, "the.log: empty file");
    refuses("ml-100k", LOG, "", "the.item: empty file");
    refuses("ml-100k", LOG, "\n", "the.item: no items");
    refuses("ml-100k", LOG "\r7", ITEM, "a carriage return without line feed");
    bad_log_line("user\titem\trating\ttimestamp", "not a whole number from 1"); // a header
    bad_log_line("7\t1\t5", "too few fields");
    bad_log_line("7\t1\t5\t100\t", "too many fields");
    bad_log_line("7::1::5::100", "fields between '::' as in MovieLens-1M");
    bad_log_line("7|1|5|100", "too few fields");
    static const char *const id[] = {"0", "-1", "4294967296", "07", "1.0", "x", " 1"};
    for (size_t i = 0; i < sizeof id / sizeof *id; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s\t1\t5\t100", id[i]);
        bad_log_line(line, "an id that is not a whole number from 1 to 2147483647");
        snprintf(line, sizeof line, "7\t%s\t5\t100", id[i]);
        bad_log_line(line, "an id that is not a whole number from 1 to 2147483647");
    }
    bad_log_line("\t1\t5\t100", "an empty id");
    bad_log_line("7\t1\t0\t100", "a rating that is not 1, 2, 3, 4 or 5");
    bad_log_line("7\t1\t6\t100", "a rating that is not 1, 2, 3, 4 or 5");
    bad_log_line("7\t1\t3.5\t100", "not a whole number");
    bad_log_line("7\t1\tNaN\t100", "not a plain number");
    bad_log_line("7\t1\tfive\t100", "not a plain number");
    bad_log_line("7\t1\t5\t", "not a plain number");
    bad_log_line("7\t1\t5\t-3", "a timestamp before 1970");
    bad_log_line("7\t1\t5\t-1", "a timestamp before 1970");
    bad_log_line("7\t1\t5\t881250949000", "a timestamp later than tomorrow");
    char line[64];
    snprintf(line, sizeof line, "7\t1\t5\t%lld", (long long)time(NULL) + 2 * 24 * 3600);
    bad_log_line(line, "a timestamp later than tomorrow");
    bad_log_line("7\t1\t5\t100.0", "not a whole number");
    bad_item_line("1|Other Story (1995)"
                  "|||||||||||||||||||||"
                  "|",
                  "an item for the second time, with another title");
    bad_item_line("4|Cut (1995)|01-Jan", "too few fields");
    bad_item_line("4|More (1995)"
                  "|||||||||||||||||||||"
                  "||",
                  "too many fields");
    bad_item_line("4::Toy Story (1995)::Comedy", "fields between '::'");
    bad_item_line("0|Zero"
                  "|||||||||||||||||||||"
                  "|",
                  "an id that is not a whole number");
    bad_item_line("4|Con\x1btrol"
                  "|||||||||||||||||||||"
                  "|",
                  "a control byte in the title");
    refuses("ml-100k", "7\t9\t5\t100\n", ITEM, "no interaction that can be used among 1");
}

// ---- RecBole ----

#define R_ITEM                                                                                                                 \
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"                                              \
    "i1\tToy Story\t1995\tAnimation\ni2\tGoldenEye\t1995\t\n"
#define R_HEAD "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
#define R_LOG  R_HEAD "u\ti1\t4.5\t100.0\nu\ti2\t-1\t90\n"

static void test_recbole(void **state) {
    (void)state;
    Interactions x;
    takes(&x, "recbole", R_LOG "v\ti9\t1\t5", R_ITEM, 1);
    assert_true(x.n == 2 && x.lines == 3 && x.unknown_item == 1 && x.has_rating);
    assert_true(rating_of(&x, 0) == 4.5 && x.event[0].timestamp == 100000 && rating_of(&x, 1) == -1);
    assert_string_equal(title_of(&x, "i2"), "GoldenEye"); // the year's column is passed over
    interactions_free(&x);
    // Any order of the columns, no ratings, other columns in between, other names of the title.
    static const char *const title[] = {"title:token", "name:token_seq", "book_title:token_seq", "item_name:token"};
    for (size_t i = 0; i < sizeof title / sizeof *title; i++) {
        Str item = {0};
        str_printf(&item, "x:float_seq\t%s\titem_id:token\n1 2\tOne\ta\n\tTwo\tb\n", title[i]);
        takes(&x, "recbole", "timestamp:float\tx:token\titem_id:token\tuser_id:token\n5\t\tb\tu\n", item.data, 1);
        assert_true(x.n == 1 && !x.has_rating && x.event[0].item == 1 && x.event[0].timestamp == 5000);
        assert_string_equal(title_of(&x, "b"), "Two");
        interactions_free(&x);
        str_free(&item);
    }
    takes(&x, "recbole", R_LOG, "item_id:token\tbook_title:token\ttitle:token\ni1\tA\tB\ni2\tA\tC\n", 1);
    assert_string_equal(title_of(&x, "i1"), "B"); // the plain name comes before the ending
    interactions_free(&x);
}

static void test_recbole_refusals(void **state) {
    (void)state;
    refuses("recbole", "", R_ITEM, "the.log: empty file");
    refuses("recbole", "\n", R_ITEM, "the.log: no header");
    refuses("recbole", R_LOG, "item_id\ttitle\n", "the.item: line 1: the header is not name:type");
    refuses("recbole", R_LOG, "item_id:token\ttitle:text\n", "the header is not name:type");
    refuses("recbole", R_LOG, "item_id:token\t:token\n", "the header is not name:type");
    refuses("recbole", R_LOG, "item_id:token\titem_id:float\n", "a field of the header stands twice");
    refuses("recbole", R_LOG, "item_id:token\tyear:float\n", "no column of the item's title among item_id, year");
    refuses("recbole", R_LOG, "id:token\ttitle:token\n", "no column of the item's id among id, title");
    refuses("recbole", R_LOG, "item_id:token\ttitle:token\n", "the.item: no items");
    refuses("recbole", "user_id:token\titem_id:token\n", R_ITEM, "no timestamp");
    refuses("recbole", R_HEAD, R_ITEM, "no interaction that can be used among 0");
    refuses("recbole", R_LOG "u\ti1\xff\n", R_ITEM, "line 4, byte");
    refuses("recbole", R_LOG, R_ITEM "i3\tMis\xe9rables\t\t\n", "the.item: line 4, byte");
    Str header = {0};
    for (int i = 0; i < 64; i++) str_printf(&header, "%sf%d:token", i ? "\t" : "", i);
    str_puts(&header, "\n");
    refuses("recbole", R_LOG, header.data, "more than 63 fields");
    str_free(&header);
    static const char *const bad[][2] = {{"u\ti1\t4", "too few fields"},
                                         {"u\ti1\t4\t5\t6", "too many fields"},
                                         {"\ti1\t4\t5", "an empty id"},
                                         {"u\ti1\t\t5", "no rating, where others have one"},
                                         {"u\ti1\tnan\t5", "not a plain number"},
                                         {"u\ti1\t4\tsoon", "not a plain number"},
                                         {"u\ti1\t4\t-0.5", "a timestamp before 1970"},
                                         {"u\ti1\t4\t1e300", "a timestamp later than tomorrow"},
                                         {"u\x07\ti1\t4\t5", "a control byte in an id"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Str log = {0};
        Interactions x;
        str_printf(&log, R_LOG "%s\n", bad[i][0]);
        takes(&x, "recbole", log.data, R_ITEM, 0);
        assert_true(x.n == 2 && x.bad_lines == 1);
        interactions_free(&x);
        refuses_bytes("recbole", log.data, log.len, R_ITEM, strlen(R_ITEM), 1, bad[i][1]);
        str_free(&log);
    }
}

// ---- filters and splits ----

// A random log over few users and items; the rating is the place in the log.
static void random_log(Interactions *x, uint64_t seed) {
    uint64_t at = 0;
    char text[16];
    int users = 1 + (int)rng_below(seed, RNG_SYNTHETIC, at++, 12), items = 1 + (int)rng_below(seed, RNG_SYNTHETIC, at++, 12);
    int times = 1 + (int)rng_below(seed, RNG_SYNTHETIC, at++, 40);
    *x = (Interactions){.has_rating = 1, .has_time = 1};
    for (int u = 0; u < users; u++) intern_put(&x->users, text, (size_t)snprintf(text, sizeof text, "u%d", u));
    x->title = mem_alloc((size_t)items, sizeof *x->title);
    for (int i = 0; i < items; i++) {
        intern_put(&x->items, text, (size_t)snprintf(text, sizeof text, "i%d", i));
        x->title[i] = intern_put(&x->titles, text, 2); // the first letters: titles repeat
    }
    x->n = x->cap = 1 + rng_below(seed, RNG_SYNTHETIC, at++, 150);
    x->event = mem_alloc(x->n, sizeof *x->event);
    for (size_t i = 0; i < x->n; i++) {
        Event *e = &x->event[i];
        e->user = (int32_t)rng_below(seed, RNG_SYNTHETIC, at++, (uint64_t)users);
        e->item = (int32_t)rng_below(seed, RNG_SYNTHETIC, at++, (uint64_t)items);
        e->timestamp = EVENT_SECOND * (1 + (int64_t)rng_below(seed, RNG_SYNTHETIC, at++, (uint64_t)times));
        e->rating = (uint16_t)i;
    }
}

// The largest set of events in which all users and items have enough, by the book: remove, count anew, repeat.
static size_t naive_core(const Interactions *x, const FilterOptions *o, char *left) {
    size_t n = 0;
    for (size_t i = 0; i < x->n; i++) n += (size_t)(left[i] = x->event[i].timestamp >= o->from * EVENT_SECOND);
    for (int changed = 1; changed;) {
        int users[16] = {0}, items[16] = {0};
        changed = 0;
        for (size_t i = 0; i < x->n; i++)
            if (left[i]) users[x->event[i].user]++, items[x->event[i].item]++;
        for (size_t i = 0; i < x->n; i++)
            if (left[i] && (users[x->event[i].user] < o->user_core || items[x->event[i].item] < o->item_core))
                left[i] = 0, n--, changed = 1;
    }
    return n;
}

static void check_order(const Split *s) {
    int users = 0;
    for (size_t i = 0; i < s->events; i++) {
        const Event *e = &s->event[i], *before = e - 1;
        int same = i > 0 && before->user == e->user;
        users += !same;
        if (same && !(before->timestamp < e->timestamp || (before->timestamp == e->timestamp && before->rating < e->rating)))
            fail_msg("event %zu is out of order", i);
        if (!same)
            for (size_t k = 0; k < i; k++) assert_true(s->event[k].user != e->user);
    }
    assert_int_equal(users, s->users);
}

static int position(const Split *s, size_t event) {
    int p = 0;
    while (event > 0 && s->event[event - 1].user == s->event[event].user) event--, p++;
    return p;
}

static void check_rows(const Split *s, int leave_one_out, int history) {
    char *used = mem_zalloc(s->events, 1);
    size_t rows = s->begin[SPLITS];
    assert_true(s->begin[0] == 0 && s->begin[1] <= s->begin[2] && s->begin[2] <= rows);
    assert_int_equal(rows, s->events - (size_t)s->users); // one for every position after a user's first
    for (size_t r = 0; r < rows; r++) {
        int p = position(s, s->row[r]);
        assert_true(p > 0 && !used[s->row[r]]);
        used[s->row[r]] = 1;
        assert_int_equal(split_history(s, s->row[r]), p < history ? p : history);
        size_t last = s->row[r]; // last event of the user
        while (last + 1 < s->events && s->event[last + 1].user == s->event[last].user) last++;
        if (leave_one_out) {
            size_t behind = last - s->row[r];
            int split = r < s->begin[1] ? SPLIT_TRAIN : r < s->begin[2] ? SPLIT_VALID : SPLIT_TEST;
            assert_int_equal(split, behind == 0 ? SPLIT_TEST : behind == 1 ? SPLIT_VALID : SPLIT_TRAIN);
        } else if (r > 0) {
            assert_true(s->event[s->row[r - 1]].timestamp <= s->event[s->row[r]].timestamp);
        }
    }
    if (!leave_one_out) {
        assert_int_equal(s->begin[SPLIT_VALID], rows * 8 / 10);
        assert_int_equal(s->begin[SPLIT_TEST], rows * 9 / 10);
    }
    free(used);
}

static void test_splits(void **state) {
    (void)state;
    size_t kept = 0;
    for (uint64_t seed = 0; seed < 1500; seed++) {
        Interactions x;
        Split s;
        random_log(&x, seed);
        int leave_one_out = seed % 2 == 0, history = 1 + (int)(seed % 11), core = (int)(seed % 6);
        FilterOptions o = {leave_one_out && core < 3 ? 3 : core, core, seed % 5 == 0 ? 20 : 0, 0};
        FilterCounts counts;
        size_t before = x.n;
        char *left = mem_zalloc(x.n, 1);
        size_t expected = naive_core(&x, &o, left);
        filter_apply(&counts, &x, &o);
        split_make(&s, &x, leave_one_out, history, 0);
        assert_int_equal(s.events, expected);
        for (size_t i = 0; i < s.events; i++) assert_true(left[(size_t)s.event[i].rating]);
        assert_int_equal(before, s.events + (size_t)(counts.outside_window + counts.too_few));
        assert_int_equal(counts.items, s.items);
        int items = 0;
        for (int i = 0; i < x.items.n; i++)
            if (s.number[i] >= 0) assert_int_equal(s.number[i], items++); // in the order of the item file
        assert_int_equal(items, s.items);
        for (size_t i = 0; i < s.events; i++) assert_true(s.number[s.event[i].item] >= 0);
        check_order(&s);
        check_rows(&s, leave_one_out, history);
        kept += expected > 0;
        split_free(&s);
        interactions_free(&x);
        free(left);
    }
    assert_true(kept > 500); // most of the random logs leave something to check
}

static void add_event(Interactions *x, int user, int item, int64_t timestamp) {
    x->event = mem_realloc(x->event, x->n + 1, sizeof *x->event);
    x->event[x->n++] = (Event){.user = user, .item = item, .timestamp = timestamp};
}

// Three users, numbers counted by hand.
// Another order of ties moves events among those of the same user and time, and no others; the same seed moves them alike.
static void test_tie_order(void **state) {
    (void)state;
    int moved = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        Interactions x[3];
        Split s[3];
        const uint64_t order[] = {0, 1 + seed, 1 + seed};
        for (int i = 0; i < 3; i++) {
            random_log(&x[i], seed);
            split_make(&s[i], &x[i], 0, 10, order[i]);
        }
        assert_true(s[1].events == s[0].events && s[2].events == s[0].events);
        for (size_t begin = 0, end; begin < s[0].events; begin = end) {
            int64_t sum[2] = {0, 0};
            const Event *e = &s[0].event[begin];
            for (end = begin; end < s[0].events && s[0].event[end].user == e->user && s[0].event[end].timestamp == e->timestamp;
                 end++) {
                const Event *other = &s[1].event[end];
                assert_true(other->user == e->user && other->timestamp == e->timestamp);
                assert_memory_equal(other, &s[2].event[end], sizeof *other);
                moved += other->item != s[0].event[end].item;
                sum[0] += (int64_t)s[0].event[end].item * s[0].event[end].item, sum[1] += (int64_t)other->item * other->item;
            }
            assert_int_equal(sum[0], sum[1]);
        }
        for (int i = 0; i < 3; i++) split_free(&s[i]), interactions_free(&x[i]);
    }
    assert_true(moved > 100);
}

static void test_statistics(void **state) {
    (void)state;
    Interactions x = {0};
    for (int u = 0; u < 4; u++) intern_put(&x.users, &"abcd"[u], 1);
    for (int i = 0; i < 6; i++) intern_put(&x.items, &"pqrstu"[i], 1);
    x.title = mem_alloc(6, sizeof *x.title);
    for (int i = 0; i < 6; i++) x.title[i] = intern_put(&x.titles, i == 4 ? "P" : &"PQRSTU"[i], 1);     // t has p's title
    add_event(&x, 0, 0, 10), add_event(&x, 0, 1, 20), add_event(&x, 0, 0, 20), add_event(&x, 0, 2, 30); // meets p twice
    add_event(&x, 1, 1, 5), add_event(&x, 1, 2, 15), add_event(&x, 1, 4, 25), add_event(&x, 1, 3, 25);
    add_event(&x, 2, 0, 40), add_event(&x, 2, 1, 50), add_event(&x, 2, 3, 60);
    add_event(&x, 3, 5, 1), add_event(&x, 3, 5, 2); // too few for leave-one-out
    Split s;
    SplitStatistics t;
    FilterCounts counts;
    filter_apply(&counts, &x, &(FilterOptions){.user_core = 3});
    split_make(&s, &x, 1, 10, 0);
    split_statistics(&t, &s, &x);
    assert_true(s.users == 3 && s.items == 5 && counts.too_few == 2 && s.number[5] == -1);
    // a: p q p r; b: q r t s; c: p q s. train: q, r (of a, b); valid: p, t, q; test: r, s, s
    assert_true(s.begin[1] == 2 && s.begin[2] == 5 && s.begin[3] == 8);
    assert_true(t.repeated_titles == 1 && t.repeated_title_items == 2);
    assert_int_equal(t.repeated_pairs, 1);
    assert_int_equal(t.last_two_tied, 1); // b
    assert_true(t.tied_rows[SPLIT_TRAIN] == 0 && t.tied_rows[SPLIT_VALID] == 1 && t.tied_rows[SPLIT_TEST] == 1);
    // train's rows hold p, q (a) and q, r (b): cold are t in valid and s, twice, in test
    assert_true(t.cold_rows[SPLIT_VALID] == 1 && t.cold_items[SPLIT_VALID] == 1);
    assert_true(t.cold_rows[SPLIT_TEST] == 2 && t.cold_items[SPLIT_TEST] == 1);
    assert_int_equal(t.late_train_rows, 0); // train at 20 and 15, the first test target at 25
    split_free(&s);
    split_make(&s, &x, 0, 2, 0);
    split_statistics(&t, &s, &x);
    // eight targets: 15 20 20 25 25 30, 50, 60
    assert_true(s.begin[1] == 6 && s.begin[2] == 7 && s.begin[3] == 8);
    assert_true(t.late_train_rows == 0 && !t.cut_tied[SPLIT_VALID] && !t.cut_tied[SPLIT_TEST]);
    split_free(&s);
    interactions_free(&x);
}

// One user with a million interactions, backwards in time.
static void test_one_large_user(void **state) {
    (void)state;
    enum { N = 1000000 };
    Interactions x = {0};
    intern_put(&x.users, "u", 1);
    intern_put(&x.items, "i", 1);
    intern_put(&x.titles, "T", 1);
    x.title = mem_zalloc(1, sizeof *x.title);
    x.event = mem_alloc(N, sizeof *x.event);
    for (x.n = 0; x.n < N; x.n++) x.event[x.n] = (Event){.timestamp = 1 + (int64_t)(N - x.n) / 2};
    Split s;
    split_make(&s, &x, 0, 10, 0);
    assert_int_equal(s.begin[SPLITS], N - 1);
    for (size_t i = 1; i < s.events; i++) assert_true(s.event[i - 1].timestamp <= s.event[i].timestamp);
    split_free(&s);
    interactions_free(&x);
}

// ---- folders ----

static void expect_file(const char *folder, const char *name, const char *text) {
    char *path = file_join(folder, name);
    MapFile f;
    Err err = {0};
    if (mapfile_open(&f, path, 0, &err)) fail_msg("%s", err.message);
    if (f.bytes != strlen(text) || memcmp(f.data, text, f.bytes) != 0) fail_msg("%s:\n%.*s", name, (int)f.bytes, f.data);
    mapfile_close(&f);
    free(path);
}

static const char tiny_log[] = R_HEAD "u\ti2\t4.5\t30\nv\ti1\t1\t5\nu\ti1\t3\t10\nu\ti3\t5\t10\nv\ti3\t2\t7\n";
static const char tiny_item[] =
    "item_id:token\ttitle:token_seq\ni1\tIt's \"1\", \\\ni2\tTwo\ni3\tDr\xc3\xa9\xe2\x80\x8b\ni4\tFour\n";

#define COLUMN_NAMES(ratings)                                                                                                  \
    "user_id,item_asins,item_asin,history_item_id,item_id,history_item_title,item_title," ratings                              \
    "history_timestamp,timestamp\r\n"
#define ALL_COLUMNS COLUMN_NAMES("history_rating,rating,")

// Every byte of a small folder; lists and quotes are what Python's csv module and repr() make of the same rows.
static void test_files(void **state) {
    (void)state;
    char *in = folder_new(), *out = folder_new();
    folder_put(in, "tiny.inter", tiny_log, sizeof tiny_log - 1);
    folder_put(in, "tiny.item", tiny_item, sizeof tiny_item - 1);
    json_t *report;
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time", .category = "book"};
    prepared_run(&o, &report);
    expect_file(out, "info.txt", "It's \"1\", \\\t0\nTwo\t1\nDr\xc3\xa9\xe2\x80\x8b\t2\n");
    expect_file(out, "train.csv",
                ALL_COLUMNS "v,['i1'],i3,[0],2,\"['It\\'s \"\"1\"\", \\\\']\",Dr\xc3\xa9\xe2\x80\x8b,[1.0],2.0,[5],7\r\n"
                            "u,['i1'],i3,[0],2,\"['It\\'s \"\"1\"\", \\\\']\",Dr\xc3\xa9\xe2\x80\x8b,[3.0],5.0,[10],10\r\n");
    expect_file(out, "valid.csv", ALL_COLUMNS);
    expect_file(out, "test.csv",
                ALL_COLUMNS "u,\"['i1', 'i3']\",i2,\"[0, 2]\",1,\"['It\\'s \"\"1\"\", \\\\', 'Dr\xc3\xa9\\u200b']\",Two,"
                            "\"[3.0, 5.0]\",4.5,\"[10, 10]\",30\r\n");
    assert_int_equal(prepared_count(report, "counts", "rows", "train"), 2);
    assert_int_equal(prepared_count(report, "cold", "rows", "test"), 1);
    assert_int_equal(prepared_count(report, "dropped", "items", "not_left"), 1); // i4 was never met
    json_decref(report);

    Dataset d; // and our own readers read it back
    Rows rows;
    Err err = {0};
    assert_int_equal(dataset_open(&d, out, NULL, &err), 0);
    assert_string_equal(d.category, "book");
    d.strict = 1;
    assert_int_equal(dataset_rows(&d, &rows, "test", 0, &err), 0);
    assert_string_equal(rows.row[0].title[0], "It's \"1\", \\");
    assert_string_equal(rows.row[0].title[1], "Dr\xc3\xa9\xe2\x80\x8b");
    rows_free(&rows);
    dataset_close(&d);

    // Again into the same folder: it is ours. Without ratings the log has two columns less.
    static const char unrated[] = "user_id:token\titem_id:token\ttimestamp:float\nu\ti1\t1\nu\ti2\t2\nu\ti1\t3\n";
    folder_put(in, "tiny.inter", unrated, sizeof unrated - 1);
    o.category = NULL;
    prepared_run(&o, &report);
    expect_file(out, "train.csv", COLUMN_NAMES("") "u,['i1'],i2,[0],1,\"['It\\'s \"\"1\"\", \\\\']\",Two,[1],2\r\n");
    assert_string_equal(json_string_value(json_object_get(report, "category")), strrchr(in, '/') + 1);
    json_decref(report);
    o.min_rating = 3;
    prepared_refuses(o, ERR_USAGE, "no ratings");
    folder_remove(in), folder_remove(out);
}

static void test_refusals(void **state) {
    (void)state;
    char *in = folder_new(), *out = folder_new(), *file = file_join(in, "tiny.inter"), *none = file_join(in, "none");
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time"};
    prepared_refuses(o, ERR_DATA, "no interaction log was found");
    folder_put(in, "tiny.inter", tiny_log, sizeof tiny_log - 1);
    prepared_refuses(o, ERR_IO, "the items' titles");
    folder_put(in, "tiny.item", tiny_item, sizeof tiny_item - 1);
    PrepareOptions bad = o;
    bad.k_core = -1, prepared_refuses(bad, ERR_USAGE, "--k-core -1");
    bad = o, bad.history = 0, prepared_refuses(bad, ERR_USAGE, "--max-history 0");
    bad = o, bad.history = 1001, prepared_refuses(bad, ERR_USAGE, "history 1001");
    bad = o, bad.min_rating = -1, prepared_refuses(bad, ERR_USAGE, "--min-rating -1");
    bad = o, bad.min_rating = NAN, prepared_refuses(bad, ERR_USAGE, "--min-rating nan");
    bad = o, bad.split = "random", prepared_refuses(bad, ERR_USAGE, "--split \"random\"");
    bad = o, bad.category = "", prepared_refuses(bad, ERR_USAGE, "category phrase");
    bad = o, bad.input = none, prepared_refuses(bad, ERR_IO, "no such file or folder");
    bad = o, bad.format = "ml-100k", prepared_refuses(bad, ERR_DATA, "no interaction log of the format ml-100k");
    bad = o, bad.input = file, bad.format = "ml-1m", prepared_refuses(bad, ERR_DATA, "among 6: 6 bad lines, the first: ");
    bad = o, bad.out = in, prepared_refuses(bad, ERR_USAGE, "the folder is not empty");
    bad = o, bad.out = file, prepared_refuses(bad, ERR_IO, "tiny.inter");
    bad = o, bad.k_core = 5,
    prepared_refuses(bad, ERR_DATA, "no row is left to train on (--k-core 5 leaves 0 of 5 interactions");
    bad = o, bad.split = "leave-one-out", prepared_refuses(bad, ERR_DATA, "no row is left to train on");
    folder_put(out, "train.csv", "x", 1); // somebody's
    prepared_refuses(o, ERR_USAGE, "the folder is not empty and holds no dataset.json");
    folder_put(out, "dataset.json", "{}", 2);
    prepared_refuses(o, ERR_USAGE, "the folder is not empty and holds no dataset.json");
    expect_file(out, "train.csv", "x");
    o.out = none;
    folder_put(in, "other.inter", tiny_log, sizeof tiny_log - 1);
    prepared_refuses(o, ERR_DATA, "several logs (other.inter, tiny.inter); name one with --data");
    assert_false(file_exists(none));
    o.input = file; // named, it is found
    prepared_run(&o, NULL);
    o.strict = 1;
    folder_put(in, "tiny.inter", R_LOG "u\n", strlen(R_LOG) + 2);
    prepared_refuses(o, ERR_DATA, "tiny.inter: line 4: too few fields");
    free(file);
    folder_remove(none), folder_remove(in), folder_remove(out);
}

// A history that no command could read again is refused before anything is written.
static void test_large_history(void **state) {
    (void)state;
    enum { TITLE = 60000, ITEMS = 20 };
    char *in = folder_new(), *out = folder_new(), *file = file_join(in, "log.csv"), *title = mem_alloc(TITLE + 1, 1);
    Str log = {0};
    memset(title, 't', TITLE), title[TITLE] = 0;
    str_puts(&log, "user,item,time,title\n");
    for (int i = 0; i < ITEMS; i++) str_printf(&log, "u7,%d,%d,%d", i, i + 1, i), str_puts(&log, title), str_puts(&log, "\n");
    folder_put(in, "log.csv", log.data, log.len);
    PrepareOptions o = {.input = file, .out = out, .history = 18, .split = "leave-one-out"};
    prepared_refuses(o, ERR_DATA, "valid.csv: line 2, user u7: a history of 18 items");
    char *none = file_join(out, "train.csv");
    assert_false(file_exists(none));
    o.history = 17;
    prepared_run(&o, NULL);
    str_free(&log);
    free(none), free(file), free(title);
    folder_remove(in), folder_remove(out);
}

// A run that was killed leaves temporary files; they do not make a folder somebody's.
static void test_leftovers(void **state) {
    (void)state;
    char *in = folder_new(), *out = folder_new();
    folder_put(in, "tiny.inter", tiny_log, sizeof tiny_log - 1);
    folder_put(in, "tiny.item", tiny_item, sizeof tiny_item - 1);
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time"};
    static const char *const no[] = {"a.tmp-1x", "a.tmp-", "a.tmp-1-", "a.tmp-1-2x", "a.tmp-1.csv", "tmp-1"},
                             *const yes[] = {"a.tmp-1", "a.tmp-1-2", "a.tmp-1.tmp-2-3"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_false(file_is_temporary(no[i]));
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) assert_true(file_is_temporary(yes[i]));
    char *name = file_temporary("a"), *other = file_temporary("a");
    assert_true(file_is_temporary(name) && file_is_temporary(other) && strcmp(name, other) != 0);
    free(name), free(other);
    folder_put(out, "a.tmp-1x", "x", 1);
    prepared_refuses(o, ERR_USAGE, "the folder is not empty");
    folder_remove(out);
    o.out = out = folder_new();
    // What a dead process left goes, and what bears a living one's number without its lock; not what is being written.
    char ours[64], living[64];
    snprintf(ours, sizeof ours, "info.txt.tmp-%ld-99999", (long)getpid());
    snprintf(living, sizeof living, "info.txt.tmp-%ld-7", (long)getppid());
    static const char dead[] = "train.csv.tmp-2147483647-0";
    folder_put(out, dead, "x", 1), folder_put(out, ours, "x", 1), folder_put(out, living, "x", 1);
    char *info = file_join(out, "info.txt"), *at;
    OutFile held;
    Err err = {0};
    assert_int_equal(outfile_open(&held, info, &err), 0);
    prepared_run(&o, NULL);
    for (int i = 0; i < 4; i++) {
        at = i == 3 ? mem_strndup(held.temporary, strlen(held.temporary))
                    : file_join(out, i == 0   ? dead
                                     : i == 1 ? ours
                                              : living);
        assert_int_equal(file_exists(at), i == 3);
        free(at);
    }
    outfile_abandon(&held);
    free(info);
    folder_remove(in), folder_remove(out);
}

// ---- which format a file is read in ----

static void put_text(const char *folder, const char *name, const char *text) {
    folder_put(folder, name, text, strlen(text));
}

static void assert_format(const json_t *report, const char *format) {
    assert_string_equal(json_string_value(json_object_get(json_object_get(report, "source"), "format")), format);
}

#define A23_LOG                                                                                                                \
    "{\"user_id\":\"u\",\"parent_asin\":\"a\",\"rating\":5,\"timestamp\":1700000003000,\"when\":1700000001000}\n"              \
    "{\"user_id\":\"u\",\"parent_asin\":\"b\",\"rating\":5,\"timestamp\":1700000002000,\"when\":1700000002000}\n"              \
    "{\"user_id\":\"u\",\"parent_asin\":\"a\",\"rating\":5,\"timestamp\":1700000001000,\"when\":1700000003000}\n"

// Names that are given go before a format's own; where nothing can read them, they are refused and not passed over.
static void test_names(void **state) {
    (void)state;
    static const char meta[] = "{\"parent_asin\":\"a\",\"title\":\"One\",\"name\":\"First\"}\n"
                               "{\"parent_asin\":\"b\",\"title\":\"Two\",\"name\":\"Second\"}\n",
                      inter[] =
                          "user_id:token\titem_id:token\ttimestamp:float\twhen:float\nu\ta\t3\t1\nu\tb\t2\t2\nu\ta\t1\t3\n",
                      item[] = "item_id:token\ttitle:token_seq\tname:token_seq\na\tOne\tFirst\nb\tTwo\tSecond\n";
    char *in = folder_new(), *out = folder_new();
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time", .strict = 1}, bad;
    json_t *report;
    put_text(in, "log.jsonl", A23_LOG), put_text(in, "meta_log.jsonl", meta);
    prepared_run(&o, &report);
    assert_format(report, "amazon-2023");
    json_decref(report);
    o.column[RECORD_TIME] = "when", o.column[RECORD_TITLE] = "name";
    prepared_run(&o, &report);
    assert_format(report, "jsonl");
    json_decref(report);
    static const char row[] = "u,['a'],b,[0],1,['First'],Second,[5.0],5.0,[1700000001],1700000002";
    char *path = file_join(out, "train.csv");
    MapFile train;
    assert_int_equal(mapfile_open(&train, path, 0, NULL), 0);
    assert_non_null(memmem(train.data, train.bytes, row, sizeof row - 1));
    mapfile_close(&train), free(path);
    bad = o, bad.format = "amazon-2023";
    prepared_refuses(bad, ERR_USAGE, "--time-column needs --format tsv, csv or jsonl: the names of amazon-2023 are fixed");
    bad = o, bad.column[RECORD_TIME] = "whne";
    prepared_refuses(bad, ERR_USAGE, "log.jsonl: read as amazon-2023, whose names are fixed; --time-column \"whne\" needs tsv");
    bad = o, bad.column[RECORD_TITLE] = "label", bad.column[RECORD_TIME] = NULL;
    prepared_refuses(bad, ERR_USAGE, "meta_log.jsonl: read as amazon-2023, whose names are fixed; --title-column \"label\"");
    path = file_join(in, "log.jsonl");
    bad = o, bad.input = path, bad.column[RECORD_USER] = "who", prepared_refuses(bad, ERR_USAGE, "--user-column \"who\"");
    free(path);
    folder_remove(in);
    o.input = in = folder_new();
    put_text(in, "log.inter", inter), put_text(in, "log.item", item);
    prepared_refuses(o, ERR_USAGE, "log.inter: read as recbole, whose names are fixed; --time-column \"when\" needs tsv");
    o.column[RECORD_TIME] = "timestamp"; // as it is read
    prepared_refuses(o, ERR_USAGE, "log.item: read as recbole, whose names are fixed; --title-column \"name\" needs tsv");
    path = file_join(in, "log.item");
    bad = o, bad.items = path, prepared_refuses(bad, ERR_USAGE, "log.item: read as recbole");
    free(path);
    o.column[RECORD_TITLE] = "title", prepared_run(&o, NULL);
    put_text(in, "log.inter", ""), put_text(in, "u.data", "1 5 6 7 5\n"), put_text(in, "log.item", "");
    path = file_join(in, "u.data");
    bad = (PrepareOptions){.input = path, .out = out, .history = 10, .split = "leave-one-out", .strict = 1};
    bad.column[RECORD_TIME] = "when", prepared_refuses(bad, ERR_USAGE, "read as sequences, whose names are fixed");
    free(path);
    folder_remove(in), folder_remove(out);
}

// A log that is not MovieLens's, though it and its items have columns of its names.
static void test_own_movies(void **state) {
    (void)state;
    static const char *const log[] = {
        "userId,movieId,rating,date\nu,tt7,5,2018-10-03\nu,tt8,5,2018-10-02\nu,tt7,5,2018-10-01\n",
        "userId,movieId,rating,timestamp\nu,tt7,5,1538524800\nu,tt8,5,1538438400\nu,tt7,5,1538352000\n"};
    char *in = folder_new(), *out = folder_new();
    PrepareOptions o = {.input = in, .out = out, .history = 10, .split = "time", .strict = 1};
    json_t *report;
    for (int i = 0; i < 2; i++) {
        put_text(in, "log.csv", log[i]), put_text(in, "movies.csv", "movieId,title\ntt7,Seven\ntt8,Eight\n");
        prepared_run(&o, &report);
        assert_format(report, "csv");
        assert_string_equal(json_string_value(json_object_get(json_object_get(report, "window"), "first")), "2018-10-01");
        json_decref(report);
        char *items = file_join(in, "movies.csv");
        PrepareOptions named = o;
        named.items = items, prepared_run(&named, NULL);
        free(items);
    }
    folder_remove(in);
    o.input = in = folder_new();
    put_text(in, "log.csv", "userId,movieId,date,title\n1,7,2018-10-03,Seven\n1,8,2018-10-02,Eight\n1,7,2018-10-01,Seven\n");
    prepared_run(&o, &report);
    assert_string_equal(json_string_value(json_object_get(json_object_get(report, "window"), "first")), "2018-10-01");
    json_decref(report);
    folder_remove(in), folder_remove(out);
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_movielens),          cmocka_unit_test(test_movielens_encoding),
        cmocka_unit_test(test_movielens_refusals), cmocka_unit_test(test_recbole),
        cmocka_unit_test(test_recbole_refusals),   cmocka_unit_test(test_splits),
        cmocka_unit_test(test_statistics),         cmocka_unit_test(test_tie_order),
        cmocka_unit_test(test_one_large_user),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_refusals),           cmocka_unit_test(test_leftovers),
        cmocka_unit_test(test_large_history),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_own_movies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
