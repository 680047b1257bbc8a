#include "data/csv.h"
#include "base/arena.h"
#include "base/number.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// ---- records ----

// A byte among the first that no text has: a title may begin with the letters of a mark.
static int is_binary(const char *data, size_t bytes) {
    for (size_t i = 0; i < bytes && i < 512; i++) {
        char c = data[i];
        if ((utf8_is_control(c) && c != '\t' && c != '\n' && c != '\r') || (unsigned char)c >= 0xf8) return 1;
    }
    return 0;
}

int csv_begin(size_t *at, const char *data, size_t bytes, const char *name, Err *err) {
    if (bytes == 0) return err_set(err, ERR_DATA, "%s: empty file", name);
    static const struct {
        const char *begins, *what;
    } other[] = {{"\xff\xfe", "UTF-16; convert the file to UTF-8"},
                 {"\xfe\xff", "UTF-16; convert the file to UTF-8"},
                 {"\3757zXZ", "packed by xz; unpack it (gzip is read as it is)"},
                 {"BZh91AY&SY", "packed by bzip2; unpack it (gzip is read as it is)"},
                 {"\x28\xb5\x2f\xfd", "packed by zstd; unpack it (gzip is read as it is)"},
                 {"PK\3\4", "a zip archive, or a spreadsheet; what is read is text, as it is or by gzip"},
                 {"PAR1\25", "Parquet; what is read is text, CSV or JSON lines for one"}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        const size_t n = strlen(other[i].begins);
        if (bytes >= n && !memcmp(data, other[i].begins, n) && is_binary(data, bytes))
            return err_set(err, ERR_DATA, "%s: %s", name, other[i].what);
    }
    *at = bytes >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    return 0;
}

int csv_open(Csv *c, const char *data, size_t bytes, const char *name, Err *err) {
    c->data = data, c->bytes = bytes, c->name = name;
    c->n = 0, c->line = c->record_line = 1;
    c->unquoted = (Str){0};
    return csv_begin(&c->at, data, bytes, name, err);
}

void csv_close(Csv *c) {
    str_free(&c->unquoted);
}

const char *csv_field(const Csv *c, int i, size_t *len) {
    CHECK(i >= 0 && i < c->n);
    *len = c->field[i].len;
    return (c->field[i].copied ? c->unquoted.data : c->data) + c->field[i].at;
}

static int damaged(const Csv *c, const char *what, Err *err) {
    return err_set(err, ERR_DATA, "%s: line %lld, field %d (record of line %lld): %s", c->name, (long long)c->line, c->n + 1,
                   (long long)c->record_line, what);
}

// A field that begins with a quote; c->at stands behind the quote that ends it.
static int quoted_field(Csv *c, CsvField *f, Err *err) {
    size_t begin = ++c->at, most = c->bytes - begin < CSV_FIELD_LIMIT ? c->bytes : begin + CSV_FIELD_LIMIT;
    size_t copy_at = c->unquoted.len, copied = begin; // what lies before `copied` is in c->unquoted
    for (;;) {
        const char *quote = memchr(c->data + c->at, '"', most - c->at);
        size_t end = quote ? (size_t)(quote - c->data) : most;
        for (const char *s = c->data + c->at; (s = memchr(s, '\n', (size_t)(c->data + end - s))); s++) c->line++;
        if (!quote) {
            c->at = end;
            return damaged(c, most < c->bytes ? "more than 1 MiB" : "the quote is not closed", err);
        }
        c->at = end + 1;
        if (c->at == c->bytes || c->data[c->at] != '"') {
            f->copied = copied > begin;
            if (f->copied) str_append(&c->unquoted, c->data + copied, end - copied);
            f->at = f->copied ? copy_at : begin;
            f->len = f->copied ? c->unquoted.len - copy_at : end - begin;
            return 0;
        }
        str_append(&c->unquoted, c->data + copied, end + 1 - copied); // with one of the two quotes
        copied = ++c->at;
        if (c->at > most) most = c->at; // the second quote lay just behind the limit; the next turn refuses
    }
}

static int plain_field(Csv *c, CsvField *f, Err *err) {
    size_t begin = c->at;
    for (; c->at < c->bytes; c->at++) {
        char b = c->data[c->at];
        if (b == ',' || b == '\n' || b == '\r') break;
        if (b == '"') return damaged(c, "a quote inside a field without quotes", err);
        if (c->at - begin == CSV_FIELD_LIMIT) return damaged(c, "more than 1 MiB", err);
    }
    *f = (CsvField){.at = begin, .len = c->at - begin};
    return 0;
}

// Bytes before the first one that is not ASCII, or is NUL. Eight at a time: nearly all of a file is ASCII.
static size_t ascii_run(const char *s, size_t n) {
    const uint64_t high = 0x8080808080808080u, low = 0x0101010101010101u;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w;
        memcpy(&w, s + i, 8);
        if ((w | (w - low)) & high) break; // w - low sets a high bit where a byte is 0
    }
    while (i < n && (signed char)s[i] > 0) i++;
    return i;
}

static int check_encoding(const Csv *c, Err *err) {
    int64_t line = c->record_line;
    for (size_t i = c->record_at, end = i + c->record_bytes; i < end;) {
        size_t run = ascii_run(c->data + i, end - i), step;
        uint32_t code_point = 0;
        i += run;
        if (i == end) break;
        step = c->data[i] ? utf8_next(c->data + i, end - i, &code_point) : 0;
        if (step == 0) {
            for (size_t k = c->record_at; k < i; k++) line += c->data[k] == '\n';
            return err_set(err, ERR_DATA, "%s: line %lld, byte %zu of the file: %s", c->name, (long long)line, i,
                           c->data[i] ? "not UTF-8" : "a NUL byte");
        }
        i += step;
    }
    return 0;
}

int csv_next(Csv *c, Err *err) {
    for (;; c->line++) { // empty lines
        if (c->at < c->bytes && c->data[c->at] == '\n')
            c->at++;
        else if (c->at + 1 < c->bytes && c->data[c->at] == '\r' && c->data[c->at + 1] == '\n')
            c->at += 2;
        else
            break;
    }
    c->n = 0;
    if (c->at == c->bytes) return 0;
    c->record_line = c->line;
    c->record_at = c->at;
    str_clear(&c->unquoted);
    for (;;) {
        if (c->n == CSV_FIELDS_LIMIT) return damaged(c, "more than 256 fields", err);
        CsvField *f = &c->field[c->n];
        int quoted = c->at < c->bytes && c->data[c->at] == '"';
        if (quoted ? quoted_field(c, f, err) : plain_field(c, f, err)) return -1;
        if (c->at - c->record_at > CSV_RECORD_LIMIT) return damaged(c, "the record has more than 16 MiB", err);
        char b = c->at < c->bytes ? c->data[c->at] : '\n';
        if (b != ',' && b != '\n' && b != '\r') return damaged(c, "text behind the closing quote", err);
        if (b == '\r' && (c->at + 1 == c->bytes || c->data[c->at + 1] != '\n'))
            return damaged(c, "a carriage return without line feed", err);
        c->n++;
        if (b != ',') {
            c->record_bytes = c->at - c->record_at;
            if (c->at < c->bytes) c->at += b == '\r' ? 2 : 1, c->line++;
            return check_encoding(c, err) ? -1 : 1;
        }
        c->at++;
    }
}

// ---- list literals ----

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

static size_t digits(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && is_digit(s[i])) i++;
    return i;
}

size_t csv_number(CsvValue *value, const char *s, size_t n) {
    size_t i = n > 0 && s[0] == '-', whole = digits(s + i, n - i);
    if (whole == 0 || (whole > 1 && s[i] == '0')) return 0;
    i += whole;
    *value = (CsvValue){.kind = CSV_INT};
    if (i + 1 < n && s[i] == '.' && is_digit(s[i + 1])) {
        value->kind = CSV_FLOAT;
        i += 1 + digits(s + i + 1, n - i - 1);
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        size_t sign = i + 1 < n && (s[i + 1] == '-' || s[i + 1] == '+');
        size_t exponent = digits(s + i + 1 + sign, n - i - 1 - sign);
        if (exponent == 0) return 0;
        value->kind = CSV_FLOAT;
        i += 1 + sign + exponent;
    }
    char text[64];
    if (i >= sizeof text) return 0;
    memcpy(text, s, i);
    text[i] = 0;
    value->number = number_read(text);
    if (!isfinite(value->number)) return 0;
    if (value->kind == CSV_INT) {
        errno = 0;
        value->integer = strtoll(text, NULL, 10);
        if (errno == ERANGE || (value->integer == 0 && i > 1)) return 0; // -0 is no integer
    }
    return i;
}

static int list_error(size_t at, const char *what, Err *err) {
    return err_set(err, ERR_DATA, "byte %zu of the list: %s", at, what);
}

// Hexadecimal digits of \xHH, \uHHHH, \UHHHHHHHH as one code point.
static int hex_escape(const char *s, size_t n, size_t count, uint32_t *code_point) {
    if (n < count) return -1;
    *code_point = 0;
    for (size_t i = 0; i < count; i++) {
        char c = s[i];
        uint32_t digit = is_digit(c) ? (uint32_t)(c - '0') : (uint32_t)((c | 0x20) - 'a' + 10);
        if (!is_digit(c) && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f')) return -1;
        *code_point = *code_point << 4 | digit;
    }
    return 0;
}

// s[*at] is the byte behind a backslash.
static int put_escape(Str *text, const char *s, size_t n, size_t *at, Err *err) {
    static const char letters[] = "\\'\"abfnrtv", bytes[] = "\\'\"\a\b\f\n\r\t\v";
    size_t i = *at;
    if (i == n) return list_error(i, "the string is not closed", err);
    const char *known = s[i] ? strchr(letters, s[i]) : NULL;
    *at = i + 1;
    if (known) {
        str_append(text, bytes + (known - letters), 1);
        return 0;
    }
    size_t count = s[i] == 'x' ? 2 : s[i] == 'u' ? 4 : s[i] == 'U' ? 8 : 0;
    uint32_t code_point;
    if (count == 0) return list_error(i - 1, "an escape that is none of \\\\ \\' \\\" \\abfnrtv \\x \\u \\U", err);
    if (hex_escape(s + *at, n - *at, count, &code_point)) return list_error(i - 1, "hexadecimal digits are missing", err);
    if (code_point == 0 || code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000))
        return list_error(i - 1, "an escape for NUL, for a surrogate or past U+10FFFF", err);
    char utf8[4];
    str_append(text, utf8, utf8_put(utf8, code_point));
    *at += count;
    return 0;
}

// s[*at] is the opening quote.
static int parse_string(CsvList *list, CsvValue *value, const char *s, size_t n, size_t *at, Err *err) {
    char quote = s[*at];
    size_t i = *at + 1, begin = list->text.len;
    for (;;) {
        size_t run = i;
        while (i < n && s[i] != quote && s[i] != '\\' && s[i] != '\n' && s[i] != '\r' && s[i]) i++;
        str_append(&list->text, s + run, i - run);
        if (i == n || s[i] == '\n' || s[i] == '\r' || s[i] == 0) return list_error(*at, "the string is not closed", err);
        if (s[i++] == quote) break;
        if (put_escape(&list->text, s, n, &i, err)) return -1;
    }
    *value = (CsvValue){.kind = CSV_STRING, .text = begin, .len = list->text.len - begin};
    str_append(&list->text, "", 1); // the NUL that ends the string
    *at = i;
    return 0;
}

static void skip_blanks(const char *s, size_t n, size_t *at) {
    while (*at < n && (s[*at] == ' ' || s[*at] == '\t' || s[*at] == '\n' || s[*at] == '\r')) ++*at;
}

static int parse_value(CsvList *list, const char *s, size_t n, size_t *at, Err *err) {
    if (list->n == CSV_LIST_LIMIT) return list_error(*at, "more than 65536 elements", err);
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 16;
        list->value = mem_realloc(list->value, (size_t)list->cap, sizeof *list->value);
    }
    CsvValue *value = &list->value[list->n++];
    if (s[*at] == '\'' || s[*at] == '"') return parse_string(list, value, s, n, at, err);
    size_t used = csv_number(value, s + *at, n - *at);
    *at += used;
    return used ? 0 : list_error(*at, "neither a string nor a plain number", err);
}

int csv_list_parse(CsvList *list, const char *s, size_t n, Err *err) {
    list->n = 0;
    str_clear(&list->text);
    if (n == 0 || s[0] != '[') return list_error(0, "no list: '[' expected", err);
    size_t at = 1;
    for (;;) {
        skip_blanks(s, n, &at);
        if (at == n) return list_error(at, "the bracket is not closed", err);
        if (s[at] == ']') break;
        if (parse_value(list, s, n, &at, err)) return -1;
        skip_blanks(s, n, &at);
        if (at < n && s[at] == ',')
            at++;
        else if (at < n && s[at] != ']')
            return list_error(at, "',' or ']' expected", err);
    }
    return at + 1 == n ? 0 : list_error(at + 1, "text behind the list", err);
}

void csv_list_free(CsvList *list) {
    free(list->value);
    str_free(&list->text);
    *list = (CsvList){0};
}

// ---- writing ----

void csv_put_field(Str *out, const char *s, size_t n) {
    if (!memchr(s, ',', n) && !memchr(s, '"', n) && !memchr(s, '\n', n) && !memchr(s, '\r', n)) {
        str_append(out, s, n);
        return;
    }
    str_append(out, "\"", 1);
    for (const char *end = s + n, *quote; (quote = memchr(s, '"', (size_t)(end - s))); s = quote + 1, n = (size_t)(end - s)) {
        str_append(out, s, (size_t)(quote + 1 - s));
        str_append(out, "\"", 1);
    }
    str_append(out, s, n);
    str_append(out, "\"", 1);
}

// What str.isprintable() says of a code point above ASCII.
static int printable(uint32_t code_point) {
    switch (utf8proc_category((utf8proc_int32_t)code_point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return 0;
    default: return 1;
    }
}

// Whether repr() writes the code point as it is.
static int stands_for_itself(uint32_t c, char quote) {
    return c < 0x7f ? c >= 0x20 && c != (uint32_t)quote && c != '\\' : c > 0x7f && printable(c);
}

static void put_repr_escape(Str *out, uint32_t c) {
    if (c == '\t' || c == '\n' || c == '\r')
        str_puts(out, c == '\t' ? "\\t" : c == '\n' ? "\\n" : "\\r");
    else if (c == '\\' || c == '\'' || c == '"')
        str_printf(out, "\\%c", (char)c);
    else
        str_printf(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

void csv_put_repr(Str *out, const char *s, size_t n) {
    char quote = memchr(s, '\'', n) && !memchr(s, '"', n) ? '"' : '\'';
    size_t run = 0, step; // s[run, i) stands for itself
    str_append(out, &quote, 1);
    for (size_t i = 0; i < n; i += step) {
        uint32_t c;
        step = utf8_next(s + i, n - i, &c);
        CHECK(step > 0);
        if (stands_for_itself(c, quote)) continue;
        str_append(out, s + run, i - run);
        put_repr_escape(out, c);
        run = i + step;
    }
    str_append(out, s + run, n - run);
    str_append(out, &quote, 1);
}

void csv_put_int(Str *out, int64_t x) {
    char text[24];
    char *at = text + sizeof text;
    uint64_t left = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    do *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (x < 0) *--at = '-';
    str_append(out, at, (size_t)(text + sizeof text - at));
}

// The fewest digits that read back as the same value; Python changes to exponents below 1e-4 and from 1e16 on. Only programs
// write, and they stay in the C locale.
void csv_put_float(Str *out, double x) {
    CHECK(isfinite(x));
    if (x > 0 && x < 1e15 && x == (double)(int64_t)x) { // ratings
        csv_put_int(out, (int64_t)x);
        str_append(out, ".0", 2);
        return;
    }
    char text[64], number[64];
    int precision = 0;
    do snprintf(text, sizeof text, "%.*e", precision, x);
    while (precision++ < 17 && strtod(text, NULL) != x);
    precision--; // digits behind the first one
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        str_puts(out, text); // C writes two digits of the exponent at least, as Python does
        return;
    }
    snprintf(number, sizeof number, "%.*f", precision > exponent ? precision - exponent : 0, x);
    str_puts(out, number);
    if (!strchr(number, '.')) str_puts(out, ".0");
}
