#include "data/titles.h"
#include "base/utf8.h"
#include "data/dataset.h"

#include <string.h>

enum { WORDS_LIMIT = 20 };

const char *const titles_fault_name[TITLE_FAULTS] = {"good",       "untitled",      "markup",
                                                     "one_letter", "over_20_words", "control_bytes"};

static void strip(Str *s, char c) {
    size_t begin = 0;
    while (begin < s->len && s->data[begin] == c) begin++;
    while (s->len > begin && s->data[s->len - 1] == c) s->len--;
    memmove(s->data, s->data + begin, s->len -= begin);
    s->data[s->len] = 0;
}

static void unescape(Str *out, const char *s, size_t n) {
    str_clear(out);
    for (size_t i = 0; i < n; i++) {
        int quot = n - i >= 6 && memcmp(s + i, "&quot;", 6) == 0, amp = n - i >= 5 && memcmp(s + i, "&amp;", 5) == 0;
        str_append(out, quot ? "\"" : amp ? "&" : s + i, 1);
        i += quot ? 5 : amp ? 4 : 0;
    }
}

// Two blanks side by side have an empty word between them, as in Python's split(" ").
static int words(const Str *s) {
    int n = 1;
    for (size_t i = 0; i < s->len; i++) n += s->data[i] == ' ';
    return n;
}

TitleFault titles_clean(Str *out, const char *s, size_t n, int published, int drop_year) {
    uint32_t letter;
    unescape(out, s, n);
    strip(out, ' ');
    const int dropped = drop_year && titles_drop_year(out);
    strip(out, '"');
    if (drop_year && !dropped) titles_drop_year(out); // it stood inside the quotes
    if (drop_year) strip(out, ' ');
    if (items_is_blank(out->data, out->len)) return TITLE_NONE;
    if (published && memmem(s, n, "<span id", 8)) return TITLE_MARKUP;
    if (published && utf8_next(out->data, out->len, &letter) == out->len) return TITLE_SHORT;
    if (published && words(out) > WORDS_LIMIT) return TITLE_LONG;
    return items_title_fault(out->data, out->len) ? TITLE_CONTROL : TITLE_GOOD;
}

int titles_drop_year(Str *title) {
    enum { YEAR = 7 }; // " (1995)"
    if (title->len <= YEAR) return 0;
    const char *end = title->data + title->len - YEAR;
    if (end[0] != ' ' || end[1] != '(' || end[YEAR - 1] != ')') return 0;
    for (int i = 2; i < YEAR - 1; i++)
        if (end[i] < '0' || end[i] > '9') return 0;
    title->len -= YEAR;
    title->data[title->len] = 0;
    return 1;
}
