// The syntax taken:
//   alternatives  a|b   (a|b)  (?:a|b)  (?i:'s|'t)  (?=a)  (?!a)
//   characters    a  .  \n \r \t \f \v \a \e  \x41 \x{41} \u0041  \s \S \d \D  \p{L} \P{L} \p{^L}  [a-z\s[x]]  [^...]
//   repeats       * + ? {n} {n,} {n,m} after a character, lazy or possessive for the first three; ? alone after a group
// A group cannot be repeated: that is what makes backtracking exponential, and no pre-tokenizer does it.
// Characters are written as \x{...}, classes as ranges or as \p{...} with what Unicode has gained since.
#include "text/pattern_translate.h"
#include "base/utf8.h"
#include "text/pattern.h"
#include "text/unicode_table.h"

#include <stdlib.h>
#include <string.h>

enum { PATTERN_BYTES_LIMIT = 16384, PATTERN_DEPTH_LIMIT = 32, PATTERN_REPEAT_LIMIT = 1000 };

typedef struct Parser {
    const char *source;
    size_t at, len;
    int depth, caseless;
    Str *out;
    Err *err;
} Parser;

static const uint32_t space_ranges[][2] = {{0x09, 0x0d},     {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},
                                           {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                                           {0x205f, 0x205f}, {0x3000, 0x3000}};
enum { SPACE_RANGES = sizeof space_ranges / sizeof *space_ranges };

int pattern_is_space(uint32_t c) {
    for (int i = 0; i < SPACE_RANGES; i++)
        if (c <= space_ranges[i][1]) return c >= space_ranges[i][0];
    return 0;
}

static int bad(Parser *p, const char *what) {
    return err_set(p->err, ERR_DATA, "pattern \"%.120s\", byte %zu: %s", p->source, p->at, what);
}

static int peek(const Parser *p, const char *text) {
    size_t n = strlen(text);
    return n <= p->len - p->at && memcmp(p->source + p->at, text, n) == 0;
}

static int take(Parser *p, const char *text) {
    if (!peek(p, text)) return 0;
    p->at += strlen(text);
    return 1;
}

static void put_range(Str *out, uint32_t first, uint32_t last) {
    str_printf(out, first == last ? "\\x{%x}" : "\\x{%x}-\\x{%x}", first, last);
}

// Inside brackets: white space, or all else.
static void put_space(Str *out, int inverted) {
    uint32_t from = 0;
    for (int i = 0; i < SPACE_RANGES; i++) {
        if (!inverted)
            put_range(out, space_ranges[i][0], space_ranges[i][1]);
        else if (from < space_ranges[i][0])
            put_range(out, from, space_ranges[i][0] - 1);
        from = space_ranges[i][1] + 1;
    }
    if (inverted) put_range(out, from, 0x10ffff);
}

// Inside brackets: a general category such as "L" or "Lu".
static void put_category(Str *out, const char *name) {
    str_printf(out, "\\p{%s}", name);
    for (size_t i = 0; i < unicode_newer_count; i++)
        if (strncmp(unicode_newer[i].category, name, strlen(name)) == 0)
            put_range(out, unicode_newer[i].first, unicode_newer[i].last);
}

static int is_category(const char *s, size_t n) {
    // Mn, Mc and Me are missing on purpose: characters have moved between them.
    static const char *const names[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "N",  "Nd", "Nl", "No", "M", "P",  "Pc", "Pd",
                                        "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == n && memcmp(names[i], s, n) == 0) return 1;
    return 0;
}

// What stands behind a backslash: a character (its code point), or a set, put inside brackets that are open already.
typedef struct Escape {
    int is_set, inverted;
    uint32_t c;
    char set[4]; // "s", or a category
} Escape;

static int hex_digits(Parser *p, int most, uint32_t *value) {
    int n = 0;
    for (*value = 0; n < most && p->at < p->len; n++, p->at++) {
        char c = p->source[p->at];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) break;
        *value = *value * 16 + (uint32_t)digit;
    }
    return n;
}

static int parse_property(Parser *p, Escape *e) {
    if (!take(p, "{")) return bad(p, "\\p without a name in braces");
    if (take(p, "^")) e->inverted = !e->inverted;
    size_t begin = p->at;
    while (p->at < p->len && p->source[p->at] != '}') p->at++;
    size_t n = p->at - begin;
    if (!is_category(p->source + begin, n) || !take(p, "}")) return bad(p, "a property other than a general category");
    e->is_set = 1;
    memcpy(e->set, p->source + begin, n);
    return 0;
}

static int parse_escape(Parser *p, Escape *e) {
    *e = (Escape){0};
    if (p->at == p->len) return bad(p, "nothing behind the backslash");
    char c = p->source[p->at];
    static const char letters[] = "nrtfvae", values[] = "\n\r\t\f\v\a\x1b";
    const char *letter = c ? strchr(letters, c) : NULL;
    if ((unsigned char)c >= 0x80 || c < 0x20) return bad(p, "a backslash before this character");
    p->at++;
    if (letter) {
        e->c = (unsigned char)values[letter - letters];
    } else if (c == 's' || c == 'S' || c == 'd' || c == 'D') {
        e->is_set = 1;
        e->inverted = c == 'S' || c == 'D';
        strcpy(e->set, c == 's' || c == 'S' ? "s" : "Nd");
    } else if (c == 'p' || c == 'P') {
        e->inverted = c == 'P';
        return parse_property(p, e);
    } else if (c == 'x' || c == 'u') {
        int braces = c == 'x' && take(p, "{"), n = hex_digits(p, braces ? 6 : c == 'x' ? 2 : 4, &e->c);
        if (n == 0 || (c == 'u' && n < 4) || (braces && !take(p, "}"))) return bad(p, "a bad hexadecimal escape");
        if (e->c > 0x10ffff || (e->c >= 0xd800 && e->c < 0xe000) || (c == 'x' && !braces && e->c >= 0x80))
            return bad(p, "a hexadecimal escape that is no character");
    } else if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
        p->at--;
        return bad(p, "an escape that is not known here");
    } else {
        e->c = (unsigned char)c;
    }
    return 0;
}

static int put_set(Parser *p, const Escape *e) {
    if (e->set[0] == 's') {
        put_space(p->out, e->inverted);
        return 0;
    }
    if (e->inverted) return bad(p, "an inverted property inside brackets");
    put_category(p->out, e->set);
    return 0;
}

// One character, plain or escaped, for a range or by itself.
static int parse_class_item(Parser *p, Escape *e) {
    if (take(p, "\\")) return parse_escape(p, e);
    *e = (Escape){0};
    size_t n = utf8_next(p->source + p->at, p->len - p->at, &e->c);
    p->at += n;
    return n ? 0 : bad(p, "the brackets are not closed");
}

// Behind '['; a set inside the set adds to it.
static int parse_class_items(Parser *p) {
    if (++p->depth > PATTERN_DEPTH_LIMIT) return bad(p, "too many brackets in each other");
    if (peek(p, "]")) return bad(p, "empty brackets");
    for (size_t first = p->at; !take(p, "]");) {
        Escape e, last;
        if (peek(p, "[:") || peek(p, "&&") || peek(p, "[^")) return bad(p, "this kind of set inside brackets");
        if (take(p, "[")) {
            if (parse_class_items(p)) return -1;
            continue;
        }
        if (peek(p, "-") && p->at != first && !peek(p, "-]")) return bad(p, "a '-' that is neither first nor last");
        if (parse_class_item(p, &e)) return -1;
        if (e.is_set) {
            if (put_set(p, &e)) return -1;
            continue;
        }
        last = e;
        if (peek(p, "-") && !peek(p, "-]")) {
            p->at++;
            if (peek(p, "[")) return bad(p, "a bad range");
            if (parse_class_item(p, &last)) return -1;
            if (last.is_set || last.c < e.c) return bad(p, "a bad range");
        }
        put_range(p->out, e.c, last.c);
    }
    p->depth--;
    return 0;
}

// Where case does not count, brackets, sets and characters beyond ASCII fold in ways in which the two engines differ.
static int parse_class(Parser *p) {
    if (p->caseless) return bad(p, "brackets inside (?i:...)");
    str_puts(p->out, take(p, "^") ? "[^" : "[");
    if (parse_class_items(p)) return -1;
    str_puts(p->out, "]");
    return 0;
}

// Oniguruma lets these pairs match one character (such as U+FB06) where case does not count.
static int folds_to_one(const char *s) {
    static const char pairs[][3] = {"ss", "ff", "fi", "fl", "st"};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if ((s[0] | 32) == pairs[i][0] && (s[1] | 32) == pairs[i][1]) return 1;
    return 0;
}

static int parse_character(Parser *p) {
    Escape e;
    int escaped = take(p, "\\");
    if (escaped) {
        if (parse_escape(p, &e)) return -1;
        if (e.is_set) {
            if (p->caseless) return bad(p, "a set inside (?i:...)");
            str_puts(p->out, e.inverted ? "[^" : "[");
            e.inverted = 0;
            if (put_set(p, &e)) return -1;
            str_puts(p->out, "]");
            return 0;
        }
    } else {
        e = (Escape){0};
        if (strchr("^$*+?{}]", p->source[p->at])) return bad(p, "this character must be escaped here");
        size_t n = utf8_next(p->source + p->at, p->len - p->at, &e.c);
        if (n == 0) return bad(p, "no UTF-8");
        if (p->caseless && p->at + 1 < p->len && folds_to_one(p->source + p->at)) return bad(p, "a pair that folds to one");
        p->at += n;
        if (e.c == '.' && !p->caseless) {
            str_puts(p->out, ".");
            return 0;
        }
    }
    if (p->caseless && (e.c >= 0x80 || escaped || e.c == '.')) return bad(p, "this character inside (?i:...)");
    put_range(p->out, e.c, e.c);
    return 0;
}

static int parse_number(Parser *p, int *value) {
    size_t begin = p->at;
    for (*value = 0; p->at < p->len && p->source[p->at] >= '0' && p->source[p->at] <= '9'; p->at++) {
        *value = *value * 10 + (p->source[p->at] - '0');
        if (*value > PATTERN_REPEAT_LIMIT) return bad(p, "a repeat above the limit of 1000");
    }
    return p->at > begin ? 0 : bad(p, "a bad repeat");
}

static int parse_repeat(Parser *p) {
    if (take(p, "{")) {
        int least, most;
        if (parse_number(p, &least)) return -1;
        str_printf(p->out, "{%d", least);
        if (take(p, ",")) {
            str_puts(p->out, ",");
            if (!peek(p, "}")) {
                if (parse_number(p, &most)) return -1;
                if (most < least) return bad(p, "a bad repeat");
                str_printf(p->out, "%d", most);
            }
        }
        if (!take(p, "}")) return bad(p, "a bad repeat");
        str_puts(p->out, "}");
        if (peek(p, "?") || peek(p, "+") || peek(p, "*") || peek(p, "{")) return bad(p, "a repeat of a repeat");
        return 0;
    }
    if (p->at == p->len || !strchr("*+?", p->source[p->at])) return 0;
    str_append(p->out, p->source + p->at++, 1);
    if (peek(p, "?") || peek(p, "+")) str_append(p->out, p->source + p->at++, 1);
    if (peek(p, "?") || peek(p, "+") || peek(p, "*") || peek(p, "{")) return bad(p, "a repeat of a repeat");
    return 0;
}

static int parse_alternatives(Parser *p);

// Behind '('.
static int parse_group(Parser *p) {
    int was_caseless = p->caseless, is_look = peek(p, "?=") || peek(p, "?!");
    const char *open = "(?:";
    if (take(p, "?="))
        open = "(?=";
    else if (take(p, "?!"))
        open = "(?!";
    else if (take(p, "?i:"))
        open = "(?i:", p->caseless = 1;
    else if (!take(p, "?:") && peek(p, "?"))
        return bad(p, "this kind of group");
    if (++p->depth > PATTERN_DEPTH_LIMIT) return bad(p, "too many groups in each other");
    str_puts(p->out, open);
    if (parse_alternatives(p)) return -1;
    if (!take(p, ")")) return bad(p, "the group is not closed");
    str_puts(p->out, ")");
    p->caseless = was_caseless;
    p->depth--;
    if (!is_look && take(p, "?")) str_puts(p->out, "?");
    if (peek(p, "*") || peek(p, "+") || peek(p, "{") || peek(p, "?"))
        return bad(p, "a repeated group (it may take exponential time)");
    return 0;
}

static int parse_alternatives(Parser *p) {
    while (p->at < p->len && !peek(p, ")")) {
        int status;
        if (take(p, "|")) {
            str_puts(p->out, "|");
            continue;
        }
        if (take(p, "(")) {
            status = parse_group(p);
        } else {
            status = take(p, "[") ? parse_class(p) : parse_character(p);
            if (status == 0) status = parse_repeat(p);
        }
        if (status) return -1;
    }
    return 0;
}

int pattern_translate(Str *out, const char *source, size_t len, Err *err) {
    Parser p = {.source = source, .len = len, .out = out, .err = err};
    if (len > PATTERN_BYTES_LIMIT)
        return err_set(err, ERR_DATA, "a pattern of %zu bytes, more than the limit of %d", len, PATTERN_BYTES_LIMIT);
    if (memchr(source, 0, len)) return bad(&p, "a NUL");
    if (parse_alternatives(&p)) return -1;
    return p.at == len ? 0 : bad(&p, "an unmatched ')'");
}

int pattern_translate_literal(Str *out, const char *source, size_t len, Err *err) {
    if (len == 0 || len > PATTERN_BYTES_LIMIT)
        return err_set(err, ERR_DATA, "a pattern of %zu bytes; the limits are 1 and %d", len, PATTERN_BYTES_LIMIT);
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = utf8_next(source + i, len - i, &c);
        if (n == 0) return err_set(err, ERR_DATA, "the pattern is no UTF-8 at byte %zu", i);
        put_range(out, c, c);
        i += n;
    }
    return 0;
}

int pattern_translate_digits(Str *out, const char *source, size_t len, Err *err) {
    (void)source, (void)len, (void)err;
    str_puts(out, "[");
    put_category(out, "N");
    for (size_t i = 0; i < unicode_numeric_count; i++) put_range(out, unicode_numeric[i].first, unicode_numeric[i].last);
    str_puts(out, "]");
    return 0;
}

int pattern_translate_word_char(Str *out, const char *source, size_t len, Err *err) {
    (void)source, (void)len, (void)err;
    str_puts(out, "[\\p{Alphabetic}\\p{Join_Control}");
    static const char *const categories[] = {"L", "M", "Nd", "Pc"};
    for (int i = 0; i < 4; i++) put_category(out, categories[i]);
    str_puts(out, "]");
    return 0;
}
