// CSV records, Python list literals and repr(): what is read, what is refused, and that writing and reading agree.
// The expected texts of lists and numbers are those of Python 3.11.
#include "base/arena.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "data/csv.h"
#include "data/intern.h"
#include "data/lines.h"
#include "tests/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

// ---- records ----

// All records as one text: fields between '|', records between ';', the line of each before it.
static int records(Str *out, const char *data, size_t bytes, Err *err) {
    Guard guard = guard_copy(data, bytes);
    Csv c;
    int status = csv_open(&c, guard.data, bytes, "x.csv", err);
    while (status == 0 && (status = csv_next(&c, err)) == 1) {
        str_printf(out, "%lld:", (long long)c.record_line);
        for (int i = 0; i < c.n; i++) {
            size_t len;
            const char *field = csv_field(&c, i, &len);
            if (i) str_puts(out, "|");
            str_append(out, field, len);
        }
        str_puts(out, ";");
        status = 0;
    }
    csv_close(&c);
    guard_close(&guard);
    return status;
}

static void reads(const char *text, const char *expected) {
    Str out = {0};
    Err err = {0};
    str_clear(&out);
    if (records(&out, text, strlen(text), &err)) fail_msg("%s", err.message);
    assert_string_equal(out.data, expected);
    str_free(&out);
}

static void refuses_bytes(const char *data, size_t bytes, const char *part) {
    Str out = {0};
    Err err = {0};
    assert_int_equal(records(&out, data, bytes, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, "x.csv") || !strstr(err.message, part) || strchr(err.message, '\n'))
        fail_msg("\"%s\" should name the file and \"%s\"", err.message, part);
    str_free(&out);
}

static void refuses(const char *text, const char *part) {
    refuses_bytes(text, strlen(text), part);
}

static void test_records(void **state) {
    (void)state;
    reads("a,b\n1,2\n", "1:a|b;2:1|2;");
    reads("\xef\xbb\xbf"
          "a,b\n",
          "1:a|b;");                                    // byte order mark
    reads("a,b\r\n1,2\n3,4\r\n", "1:a|b;2:1|2;3:3|4;"); // line ends mixed
    reads("a,b\n1,2", "1:a|b;2:1|2;");                  // no final newline
    reads("a,b,\n,,\n", "1:a|b|;2:||;");
    reads("\"a\"\"b\",\"\"\"\"\n\"\"\n", "1:a\"b|\";2:;");
    reads("\n\r\na\n\n\nb\n", "3:a;6:b;");                                    // empty lines are passed over
    reads("a,\"x\ny\r\n\rz\"\nb,c\n", "1:a|x\ny\r\n\rz;4:b|c;");              // line ends inside quotes count
    reads("=cmd|' /C calc'!A0,NaN,null\n", "1:=cmd|' /C calc'!A0|NaN|null;"); // text like any other
}

static void test_damaged(void **state) {
    (void)state;
    refuses("", "empty file");
    refuses_bytes("\xff\xfe"
                  "a\0,\0",
                  6, "UTF-16");
    refuses_bytes("\xfe\xff\0a", 4, "UTF-16");
    refuses_bytes("a\0,\0\n\0", 6, "line 1, byte 1 of the file: a NUL byte");
    refuses_bytes("a,b\nc,\"d\n\0\"\n", 12, "line 3, byte 9 of the file: a NUL byte");
    refuses("a,b\nc,\"x\n\xe9t\xe9\"\n", "line 3, byte 9 of the file: not UTF-8");
    refuses("a\n\xed\xa0\x80\n", "line 2, byte 2 of the file: not UTF-8"); // a surrogate
    refuses("a\rb\n", "line 1, field 1 (record of line 1): a carriage return without line feed");
    refuses("a\r", "a carriage return without line feed");
    refuses("a\nb,c\"d\n", "line 2, field 2 (record of line 2): a quote inside a field without quotes");
    refuses("a\n\"b\"c\n", "line 2, field 1 (record of line 2): text behind the closing quote");
    refuses("a\nb,\"c\nd", "line 3, field 2 (record of line 2): the quote is not closed");
    refuses("\"", "the quote is not closed");
    refuses("\"\"\"", "the quote is not closed");
}

static void test_limits(void **state) {
    (void)state;
    size_t big = CSV_FIELD_LIMIT + 8;
    char *text = mem_alloc(big, 1);
    memset(text, 'x', big);
    refuses_bytes(text, big, "line 1, field 1 (record of line 1): more than 1 MiB");
    text[0] = '"';
    refuses_bytes(text, big, "more than 1 MiB");
    memset(text, '"', big);
    refuses_bytes(text, big, "more than 1 MiB");
    text[1] = 'x'; // now a doubled quote lies across the limit
    refuses_bytes(text, big, "more than 1 MiB");
    memset(text, '\n', big);
    text[0] = '"';
    refuses_bytes(text, big, "(record of line 1): more than 1 MiB");
    memset(text, ',', big);
    refuses_bytes(text, big, "field 257 (record of line 1): more than 256 fields");
    memset(text, 'x', big);
    Str out = {0}; // one byte less than too many is fine
    text[CSV_FIELD_LIMIT] = '\n';
    assert_int_equal(records(&out, text, CSV_FIELD_LIMIT + 1, NULL), 0);
    assert_int_equal(out.len, CSV_FIELD_LIMIT + 3);
    str_free(&out);
    free(text);

    Str record = {0}; // 17 fields of just under 1 MiB
    for (int i = 0; i < 17; i++) {
        for (int k = 0; k < (CSV_FIELD_LIMIT - 1) / 15; k++) str_puts(&record, "fifteen letters");
        str_puts(&record, ",");
    }
    refuses_bytes(record.data, record.len, "the record has more than 16 MiB");
    str_free(&record);
}

// Any fields, written and read again, are the same; and so are the line numbers.
static void test_round_trip(void **state) {
    (void)state;
    static const char *const piece[] = {"a", ",", "\"", "\n", "\r\n", "'", "\\", "\xc3\xa9", " ", "\xf0\x9f\x98\x80"};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        Str text = {0}, expected = {0}, got = {0};
        uint64_t at = 0, line = 1;
        str_clear(&expected);
        str_clear(&got);
        for (int r = 0; r < 3; r++) {
            str_printf(&expected, "%llu:", (unsigned long long)line);
            for (int f = 0; f < 3; f++) {
                Str field = {0};
                str_puts(&field, f == 0 ? "x" : ""); // no record is an empty line
                for (uint64_t n = rng_below(seed, RNG_SYNTHETIC, at++, 6); n; n--)
                    str_puts(&field, piece[rng_below(seed, RNG_SYNTHETIC, at++, sizeof piece / sizeof *piece)]);
                csv_put_field(&text, field.data, field.len);
                str_puts(&text, f < 2 ? "," : "\r\n");
                str_printf(&expected, "%s%s", f ? "|" : "", field.data);
                for (size_t i = 0; i < field.len; i++) line += field.data[i] == '\n';
                str_free(&field);
            }
            str_puts(&expected, ";");
            line++;
        }
        Err err = {0};
        if (records(&got, text.data, text.len, &err)) fail_msg("%s", err.message);
        assert_string_equal(got.data, expected.data);
        str_free(&text), str_free(&expected), str_free(&got);
    }
}

static void test_put_field(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"", ""},
                                           {"a b", "a b"},
                                           {"a,b", "\"a,b\""},
                                           {"a\"b", "\"a\"\"b\""},
                                           {"a\nb", "\"a\nb\""},
                                           {"a\rb", "\"a\rb\""},
                                           {"'a'", "'a'"},
                                           {"\xc3\xa9", "\xc3\xa9"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Str out = {0};
        csv_put_field(&out, cases[i][0], strlen(cases[i][0]));
        if (cases[i][1][0]) assert_string_equal(out.data, cases[i][1]);
        assert_int_equal(out.len, strlen(cases[i][1]));
        str_free(&out);
    }
}

// ---- lists ----

static int parse(CsvList *list, const char *text, Err *err) {
    Guard guard = guard_copy(text, strlen(text));
    int status = csv_list_parse(list, guard.data, strlen(text), err);
    guard_close(&guard);
    return status;
}

// A list of strings, joined by '|'.
static void strings(const char *text, int n, const char *joined) {
    CsvList list = {0};
    Err err = {0};
    Str got = {0};
    if (parse(&list, text, &err)) fail_msg("%s: %s", text, err.message);
    assert_int_equal(list.n, n);
    str_clear(&got);
    for (int i = 0; i < list.n; i++) {
        assert_int_equal(list.value[i].kind, CSV_STRING);
        assert_int_equal(strlen(list.text.data + list.value[i].text), list.value[i].len);
        str_printf(&got, "%s%s", i ? "|" : "", list.text.data + list.value[i].text);
    }
    assert_string_equal(got.data, joined);
    str_free(&got);
    csv_list_free(&list);
}

static void test_lists(void **state) {
    (void)state;
    strings("[]", 0, "");
    strings("['a', \"it's\"]", 2, "a|it's");
    strings("['say \"x\"', 'it\\'s \"x\"']", 2, "say \"x\"|it's \"x\"");
    strings("[ 'a' ,\n\t'b' , ]", 2, "a|b"); // blanks, trailing comma
    strings("['\\\\', '\\n\\t\\r', '\\x41\\xe9', '\\u00e9', '\\U0001f600']", 5,
            "\\|\n\t\r|A\xc3\xa9|\xc3\xa9|\xf0\x9f\x98\x80");
    strings("['\\a\\b\\f\\v']", 1, "\a\b\f\v");
    strings("['', '\xc3\xa9[,]']", 2, "|\xc3\xa9[,]");
    strings("['NaN', 'None', '=cmd']", 3, "NaN|None|=cmd");

    CsvList list = {0};
    assert_int_equal(parse(&list, "[0, -3, 9223372036854775807, 5.0, -0.5, 1e-05, 2E+3]", NULL), 0);
    static const double number[] = {0, -3, 9223372036854775807.0, 5, -0.5, 1e-05, 2000};
    assert_int_equal(list.n, 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(list.value[i].kind, i < 3 ? CSV_INT : CSV_FLOAT);
        assert_true(list.value[i].number == number[i]);
    }
    assert_true(list.value[2].integer == INT64_MAX);
    csv_list_free(&list);
}

static void test_list_refusals(void **state) {
    (void)state;
    static const char *const hostile[][2] = {
        {"__import__('os').system('x')", "byte 0 of the list: no list"},
        {"", "no list"},
        {"'a'", "no list"},
        {"('a',)", "no list"},
        {"{'a'}", "no list"},
        {" ['a']", "no list"},
        {"[__import__('os').system('x')]", "byte 1 of the list: neither a string nor a plain number"},
        {"[['a']]", "neither"},
        {"[{'a': 1}]", "neither"},
        {"[('a',)]", "neither"},
        {"[f'a']", "neither"},
        {"[b'a']", "neither"},
        {"[r'a']", "neither"},
        {"[u'a']", "neither"},
        {"['a' 'b']", "',' or ']' expected"},
        {"['a'\"b\"]", "',' or ']' expected"},
        {"['a'.upper()]", "',' or ']' expected"},
        {"['a'] + ['b']", "text behind the list"},
        {"[1]\n", "text behind the list"},
        {"['a'", "the bracket is not closed"},
        {"['a',", "the bracket is not closed"},
        {"[", "the bracket is not closed"},
        {"['a", "byte 1 of the list: the string is not closed"},
        {"['a\\", "the string is not closed"},
        {"['a\nb']", "the string is not closed"},
        {"['a\rb']", "the string is not closed"},
        {"['a',,'b']", "neither"},
        {"[,]", "neither"},
        {"[nan]", "neither"},
        {"[None]", "neither"},
        {"[True]", "neither"},
        {"[inf]", "neither"},
        {"[1e999]", "neither"},
        {"[007]", "neither"},
        {"[+7]", "neither"},
        {"[-0]", "neither"},
        {"[--1]", "neither"},
        {"[1_000]", "',' or ']' expected"},
        {"[0x10]", "',' or ']' expected"},
        {"[1.]", "',' or ']' expected"},
        {"[.5]", "neither"},
        {"[1e]", "neither"},
        {"[1j]", "',' or ']' expected"},
        {"[18446744073709551616]", "neither"},
        {"[9223372036854775808]", "neither"},
        {"[1 # one\n]", "',' or ']' expected"},
        {"['\\N{DASH}']", "byte 2 of the list: an escape that is none of"},
        {"['\\d']", "an escape that is none of"},
        {"['\\0']", "an escape that is none of"},
        {"['\\x4']", "hexadecimal digits are missing"},
        {"['\\u00g0']", "hexadecimal digits are missing"},
        {"['\\U0001f60", "hexadecimal digits are missing"},
        {"['\\ud800']", "a surrogate"},
        {"['\\x00']", "an escape for NUL"},
        {"['\\U00110000']", "past U+10FFFF"},
    };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        CsvList list = {0};
        Err err = {0};
        if (parse(&list, hostile[i][0], &err) != -1) fail_msg("taken: %s", hostile[i][0]);
        assert_int_equal(err.code, ERR_DATA);
        if (!strstr(err.message, hostile[i][1]))
            fail_msg("%s: \"%s\" is not \"%s\"", hostile[i][0], err.message, hostile[i][1]);
        csv_list_free(&list);
    }
    Str many = {0};
    CsvList list = {0};
    Err err = {0};
    str_puts(&many, "[");
    for (int i = 0; i <= CSV_LIST_LIMIT; i++) str_puts(&many, "1,");
    str_puts(&many, "]");
    assert_int_equal(parse(&list, many.data, &err), -1);
    assert_non_null(strstr(err.message, "more than 65536 elements"));
    str_free(&many);
    csv_list_free(&list);
}

// ---- writing as Python does ----

static void test_repr(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "''"},
        {"abc", "'abc'"},
        {"it's", "\"it's\""},
        {"say \"x\"", "'say \"x\"'"},
        {"it's \"x\"", "'it\\'s \"x\"'"},
        {"a\\b", "'a\\\\b'"},
        {"\t\n\r\x01\x1f\x7f", "'\\t\\n\\r\\x01\\x1f\\x7f'"},
        {"\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80", "'\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80'"},
        {"\xc2\x85\xc2\xa0\xc2\xad", "'\\x85\\xa0\\xad'"},                   // control, no-break space, soft hyphen
        {"\xe2\x80\x8b\xe2\x80\xa8\xe3\x80\x80", "'\\u200b\\u2028\\u3000'"}, // format, line separator, wide space
        {"\xee\x80\x80\xef\xbf\xbf", "'\\ue000\\uffff'"},                    // private, unassigned
        {"\xf3\xa0\x80\x81", "'\\U000e0001'"},
        {"e\xcc\x81", "'e\xcc\x81'"}, // a combining mark is printable
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Str out = {0};
        csv_put_repr(&out, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(out.data, cases[i][1]);
        str_free(&out);
    }
}

static void test_float(void **state) {
    (void)state;
    static const struct {
        double x;
        const char *text;
    } cases[] = {{5, "5.0"},
                 {0, "0.0"},
                 {-0.0, "-0.0"},
                 {3.5, "3.5"},
                 {0.1, "0.1"},
                 {1.0 / 3, "0.3333333333333333"},
                 {1e-4, "0.0001"},
                 {1e-5, "1e-05"},
                 {1.5e-7, "1.5e-07"},
                 {123456789012345680.0, "1.2345678901234568e+17"},
                 {1e16, "1e+16"},
                 {9999999999999998.0, "9999999999999998.0"},
                 {1e15, "1000000000000000.0"},
                 {1e22, "1e+22"},
                 {1e100, "1e+100"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {-2.5, "-2.5"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Str out = {0};
        csv_put_float(&out, cases[i].x);
        assert_string_equal(out.data, cases[i].text);
        str_free(&out);
    }
}

static void test_int(void **state) {
    (void)state;
    static const int64_t cases[] = {0, 1, -1, 9, 10, -10, 1517616000, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Str out = {0}, expected = {0};
        csv_put_int(&out, cases[i]);
        str_printf(&expected, "%lld", (long long)cases[i]);
        assert_string_equal(out.data, expected.data);
        str_free(&out), str_free(&expected);
    }
}

// What is written as a list is read as the same list: strings of any code points, and floats of any bits.
static void test_list_round_trip(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        Str text = {0}, repr = {0};
        uint64_t at = 0;
        str_clear(&text);
        for (uint64_t n = rng_below(seed, RNG_SYNTHETIC, at++, 8); n; n--) {
            uint32_t c = 1 + (uint32_t)rng_below(seed, RNG_SYNTHETIC, at++, n % 2 ? 0x7f : 0x10ffff);
            char utf8[4];
            if (c >= 0xd800 && c < 0xe000) c = '\'';
            str_append(&text, utf8, utf8_put(utf8, c));
        }
        union {
            uint64_t bits;
            double x;
        } f = {.bits = rng_u64(seed, RNG_SYNTHETIC, at)};
        if ((f.bits >> 52 & 0x7ff) == 0x7ff) f.bits = 0; // not finite
        str_puts(&repr, "[");
        csv_put_repr(&repr, text.data, text.len);
        str_puts(&repr, ", ");
        csv_put_float(&repr, f.x);
        str_puts(&repr, "]");
        CsvList list = {0};
        Err err = {0};
        if (parse(&list, repr.data, &err)) fail_msg("%s: %s", repr.data, err.message);
        assert_int_equal(list.n, 2);
        assert_int_equal(list.value[0].len, text.len);
        assert_memory_equal(list.text.data + list.value[0].text, text.data, text.len);
        assert_memory_equal(&list.value[1].number, &f.x, sizeof f.x);
        csv_list_free(&list);
        str_free(&text), str_free(&repr);
    }
}

// ---- lines, strings ----

static void test_lines(void **state) {
    (void)state;
    const char text[] = "\xef\xbb\xbf"
                        "a\tb\r\n\n\t\nlast";
    Guard guard = guard_copy(text, sizeof text - 1);
    Lines l;
    assert_int_equal(lines_open(&l, guard.data, sizeof text - 1, "x.tsv", NULL), 0);
    assert_int_equal(lines_next(&l, '\t', NULL), 1);
    assert_true(l.line == 1 && l.n == 2 && l.field_len[0] == 1 && l.field[1][0] == 'b' && l.field_len[1] == 1);
    assert_int_equal(lines_next(&l, '\t', NULL), 1);
    assert_true(l.line == 3 && l.n == 2 && l.field_len[0] == 0 && l.field_len[1] == 0);
    assert_int_equal(lines_next(&l, '\t', NULL), 1);
    assert_true(l.line == 4 && l.n == 1 && l.field_len[0] == 4);
    assert_int_equal(lines_next(&l, '\t', NULL), 0);
    guard_close(&guard);

    static const struct {
        const char *text;
        size_t bytes;
        const char *part;
    } bad[] = {{"a\rb\n", 4, "line 1: a carriage return"},
               {"a\n\0\n", 4, "line 2, byte 2 of the file: a NUL byte"},
               {"a\nx\xff\n", 5, "line 2, byte 3 of the file: not UTF-8"},
               {"", 0, "empty file"},
               {"\xff\xfe"
                "a\0",
                4, "UTF-16"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Err err = {0};
        int status = lines_open(&l, bad[i].text, bad[i].bytes, "x.tsv", &err);
        while (status == 0 && (status = lines_next(&l, '\t', &err)) == 1) status = 0;
        assert_int_equal(err.code, ERR_DATA);
        if (!strstr(err.message, bad[i].part)) fail_msg("\"%s\" is not \"%s\"", err.message, bad[i].part);
    }
    char *longest = mem_alloc(LINES_LIMIT + 2, 1);
    Err err = {0};
    memset(longest, 'x', LINES_LIMIT + 2);
    assert_int_equal(lines_open(&l, longest, LINES_LIMIT + 2, "x.tsv", NULL), 0);
    assert_int_equal(lines_next(&l, '\t', &err), -1);
    assert_non_null(strstr(err.message, "line 1: more than 1 MiB"));
    memset(longest, '\t', 100);
    assert_int_equal(lines_open(&l, longest, 100, "x.tsv", NULL), 0);
    assert_int_equal(lines_next(&l, '\t', NULL), 1);
    assert_int_equal(l.n, LINES_FIELDS);
    assert_int_equal(l.field_len[LINES_FIELDS - 1], 100 - (LINES_FIELDS - 1));
    free(longest);
}

static void test_intern(void **state) {
    (void)state;
    Intern in = {0};
    char text[64];
    assert_int_equal(intern_find(&in, "a", 1), -1);
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < 5000; i++) {
            int n = snprintf(text, sizeof text, "string %d", i);
            assert_int_equal(intern_put(&in, text, (size_t)n), i);
        }
    const char *first = in.text[0];
    char *large = mem_alloc(1 << 20, 1);
    memset(large, 'x', 1 << 20);
    assert_int_equal(intern_put(&in, large, 1 << 20), 5000);
    assert_int_equal(intern_put(&in, large, (1 << 20) - 1), 5001);
    assert_int_equal(intern_put(&in, "", 0), 5002);
    assert_int_equal(intern_find(&in, "string 4999x", 11), 4999);
    assert_ptr_equal(in.text[0], first);
    assert_string_equal(in.text[17], "string 17");
    assert_int_equal(in.n, 5003);
    free(large);
    intern_free(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),         cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_put_field),       cmocka_unit_test(test_lists),
        cmocka_unit_test(test_list_refusals),   cmocka_unit_test(test_repr),
        cmocka_unit_test(test_float),           cmocka_unit_test(test_int),
        cmocka_unit_test(test_list_round_trip), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_intern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
