// What becomes of a title that is given.
#include "data/titles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_years(void **state) {
    (void)state;
    static const char *const title[][2] = {{"Heat (1995)", "Heat"},      {"Heat (1995) ", "Heat (1995) "},
                                           {" (1995)", " (1995)"},       {"Heat (19x5)", "Heat (19x5)"},
                                           {"Heat(1995)", "Heat(1995)"}, {"2001 (1968)", "2001"},
                                           {"Heat (95)", "Heat (95)"},   {"", ""}};
    Str s = {0};
    for (size_t i = 0; i < sizeof title / sizeof *title; i++) {
        str_clear(&s);
        str_append(&s, title[i][0], strlen(title[i][0]));
        titles_drop_year(&s);
        assert_int_equal(s.len, strlen(title[i][1]));
        assert_memory_equal(s.data, title[i][1], s.len + 1);
    }
    str_free(&s);
}

// A year that goes leaves a title for the rules, without blanks and quotes at its ends.
static void test_years_and_rules(void **state) {
    (void)state;
    static const struct {
        const char *given, *title;
        TitleFault fault;
    } of[] = {{"M (1931)", "M", TITLE_SHORT},          {"Two words  (1999)", "Two words", TITLE_GOOD},
              {"\"Heat\" (1995)", "Heat", TITLE_GOOD}, {"\"Heat (1995)\"", "Heat", TITLE_GOOD},
              {" Heat (1995) ", "Heat", TITLE_GOOD},   {"1984 (1949) (1984)", "1984 (1949)", TITLE_GOOD}};
    Str s = {0};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        assert_int_equal(titles_clean(&s, of[i].given, strlen(of[i].given), 1, 1), of[i].fault);
        assert_string_equal(s.data, of[i].title);
        assert_int_equal(s.len, strlen(of[i].title));
    }
    str_free(&s);
}

// Blanks of any kind, in quotes too, are no title; beside letters they stay.
static void test_blanks(void **state) {
    (void)state;
    static const char *const blank[] = {"", "  ", "\" \"", "\xc2\xa0", "\xe3\x80\x80 \xe2\x80\x8b", "\" \xc2\xa0\""};
    Str s = {0};
    for (size_t i = 0; i < sizeof blank / sizeof *blank; i++)
        assert_int_equal(titles_clean(&s, blank[i], strlen(blank[i]), 0, 0), TITLE_NONE);
    assert_int_equal(titles_clean(&s, "\xc2\xa0X", 3, 0, 0), TITLE_GOOD);
    assert_string_equal(s.data, "\xc2\xa0X");
    str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_years), cmocka_unit_test(test_years_and_rules),
                                       cmocka_unit_test(test_blanks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
