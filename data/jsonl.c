// A JSON reader without a tree: containers are counted in a bit set, strings are searched for the next byte that matters.
#include "data/jsonl.h"
#include "base/arena.h"
#include "base/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t jsonl_byte(const Jsonl *j) {
    return (size_t)(j->s - j->begin) + 1;
}

void jsonl_free(Jsonl *j) {
    str_free(&j->text);
    str_free(&j->key);
}

static void blanks(Jsonl *j) {
    while (j->s < j->end && (*j->s == ' ' || *j->s == '\t' || *j->s == '\r' || *j->s == '\n')) j->s++;
}

static char peek(const Jsonl *j) {
    return j->s < j->end ? *j->s : 0;
}

// ---- strings ----

// Whether a byte ends a run of plain characters in a string: a quote, a backslash, a control byte.
static int is_special(unsigned char c) {
    return c == '"' || c == '\\' || c < 0x20;
}

// Eight bytes at a time; a false alarm (in bytes over 0x80) only costs a closer look.
static const char *skip_plain(const char *s, const char *end) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    for (uint64_t w; end - s >= 8; s += 8) {
        memcpy(&w, s, 8);
        uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
        uint64_t found = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ones * 0x20) & ~w);
        if (found & high) break;
    }
    while (s < end && !is_special((unsigned char)*s)) s++;
    return s;
}

static int hex4(const char *s, const char *end, uint32_t *out) {
    if (end - s < 4) return -1;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        *out = *out << 4 | (uint32_t)digit;
    }
    return 0;
}

// \uXXXX, with the second half of a pair; j->s stands behind "\u". Halves and NUL are faults only where they are `wanted`.
static const char *unicode_escape(Jsonl *j, Str *out, int wanted) {
    uint32_t c, low;
    char utf8[4];
    if (hex4(j->s, j->end, &c)) return "\\u without four hexadecimal digits";
    j->s += 4;
    int first = c >= 0xd800 && c < 0xdc00;
    if (first && j->end - j->s >= 6 && memcmp(j->s, "\\u", 2) == 0 && hex4(j->s + 2, j->end, &low) == 0 && low >= 0xdc00 &&
        low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        j->s += 6;
    } else if (c >= 0xd800 && c < 0xe000) {
        return wanted ? "half a surrogate pair" : NULL;
    }
    if (c == 0) return wanted ? "a NUL in a text" : NULL;
    if (wanted) str_append(out, utf8, utf8_put(utf8, c));
    return NULL;
}

static const char *escape(Jsonl *j, Str *out, int wanted) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = j->s < j->end && *j->s ? strchr(from, *j->s) : NULL;
    if (j->s < j->end && *j->s == 'u') {
        j->s++;
        return unicode_escape(j, out, wanted);
    }
    if (!at) return "an unknown escape";
    if (wanted) str_append(out, to + (at - from), 1);
    j->s++;
    return NULL;
}

// A string; j->s stands at its first quote. Where `value` is wanted it points into the line, or into `out` where the string
// had escapes.
static const char *string(Jsonl *j, Str *out, JsonlValue *value) {
    const char *begin = ++j->s;
    size_t out_at = out->len, copied = 0;
    for (;;) {
        const char *run = j->s;
        j->s = skip_plain(j->s, j->end);
        if (j->s == j->end) return "a string that does not end";
        char c = *j->s;
        if (value && (c == '\\' || copied)) str_append(out, run, (size_t)(j->s - run));
        if (c == '"') break;
        if (c != '\\') return "a control byte in a string";
        copied = 1;
        j->s++;
        const char *fault = escape(j, out, value != NULL);
        if (fault) return fault;
    }
    if (value)
        *value = (JsonlValue){.kind = JSONL_STRING,
                              .text = copied ? out->data + out_at : begin,
                              .len = copied ? out->len - out_at : (size_t)(j->s - begin)};
    j->s++;
    return NULL;
}

// ---- values ----

static int digits(Jsonl *j) {
    const char *begin = j->s;
    while (j->s < j->end && *j->s >= '0' && *j->s <= '9') j->s++;
    return j->s > begin;
}

static const char *number(Jsonl *j) {
    static const char fault[] = "not a JSON number";
    if (peek(j) == '-') j->s++;
    if (peek(j) == '0')
        j->s++;
    else if (!digits(j))
        return fault;
    if (peek(j) == '.') {
        j->s++;
        if (!digits(j)) return fault;
    }
    if (peek(j) == 'e' || peek(j) == 'E') {
        j->s++;
        if (peek(j) == '+' || peek(j) == '-') j->s++;
        if (!digits(j)) return fault;
    }
    return NULL;
}

static int literal(Jsonl *j, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(j->end - j->s) < n || memcmp(j->s, word, n) != 0) return 0;
    j->s += n;
    return 1;
}

static const char *no_value(const Jsonl *j) {
    if (peek(j) == '\'') return "a single quote: this is Python, not JSON";
    if (j->s == j->end) return "the line ends inside the object";
    return "no JSON value";
}

// A string, number or literal.
static const char *scalar(Jsonl *j, JsonlValue *value) {
    char c = peek(j);
    const char *begin = j->s;
    if (c == '"') return string(j, &j->text, value);
    JsonlKind kind = JSONL_OTHER;
    if (c == '-' || (c >= '0' && c <= '9')) {
        const char *fault = number(j);
        if (fault) return fault;
        kind = JSONL_NUMBER;
    } else if (literal(j, "null")) {
        kind = JSONL_NULL;
    } else if (!literal(j, "true") && !literal(j, "false")) {
        return no_value(j);
    }
    if (value) *value = (JsonlValue){.kind = kind, .text = begin, .len = (size_t)(j->s - begin)};
    return NULL;
}

static const char *key(Jsonl *j, JsonlValue *name) {
    blanks(j);
    if (peek(j) != '"') return peek(j) == '\'' ? no_value(j) : "a member's name in double quotes is expected";
    j->key.len = 0;
    const char *fault = string(j, &j->key, name);
    if (fault) return fault;
    blanks(j);
    if (peek(j) != ':') return "no colon behind a member's name";
    j->s++;
    return NULL;
}

// An array or object inside of the line's: checked, and passed over. Bit d of `objects` says what stands at depth d.
static const char *skip_container(Jsonl *j) {
    uint64_t objects = 0;
    int depth = 0, opened = 0; // opened: just behind a bracket, where no value must stand
    const char *fault = NULL;
    do {
        blanks(j);
        char c = peek(j);
        if (c == '{' || c == '[') {
            if (depth == JSONL_DEPTH - 1) return "more than 64 levels deep";
            objects = (objects & ~(1ull << depth)) | (uint64_t)(c == '{') << depth;
            depth++;
            j->s++;
            blanks(j);
            opened = 1;
        } else {
            if ((fault = scalar(j, NULL))) return fault;
            opened = 0;
        }
        for (; depth; opened = 0) { // close what ends here
            int object = objects >> (depth - 1) & 1;
            blanks(j);
            if (peek(j) == (object ? '}' : ']')) {
                j->s++;
                depth--;
                continue;
            }
            if (!opened) {
                if (peek(j) != ',') return "a comma or a closing bracket is expected";
                j->s++;
            }
            if (object && (fault = key(j, NULL))) return fault;
            break;
        }
    } while (depth);
    return NULL;
}

static const char *member_value(Jsonl *j, JsonlValue *value) {
    blanks(j);
    if (peek(j) != '{' && peek(j) != '[') return scalar(j, value);
    if (value) value->kind = JSONL_OTHER;
    return skip_container(j);
}

static const char *member(Jsonl *j, const char *const *name, int names, JsonlValue *value) {
    JsonlValue found;
    const char *fault = key(j, &found);
    if (fault) return fault;
    int first = -1; // of those who ask for it
    for (int i = 0; i < names; i++) {
        if (!name[i] || strlen(name[i]) != found.len || memcmp(name[i], found.text, found.len) != 0) continue;
        if (first < 0 && value[i].kind != JSONL_ABSENT) return "a member stands twice";
        if (first < 0 && (fault = member_value(j, &value[i]))) return fault;
        if (first >= 0) value[i] = value[first];
        if (first < 0) first = i;
    }
    return first < 0 ? member_value(j, NULL) : NULL;
}

const char *jsonl_read(Jsonl *j, const char *line, size_t len, const char *const *name, int names, JsonlValue *value) {
    j->s = j->begin = line;
    j->end = line + len;
    j->text.len = 0;
    if (j->text.cap < len + 1) { // decoded text is never longer than the line, so it never moves
        j->text.cap = len + 1;
        j->text.data = mem_realloc(j->text.data, j->text.cap, 1);
    }
    for (int i = 0; i < names; i++) value[i] = (JsonlValue){0};
    blanks(j);
    if (peek(j) == '[') return "an array: one object a line is expected";
    if (peek(j) != '{') return "no JSON object";
    j->s++;
    blanks(j);
    if (peek(j) != '}') {
        for (;;) {
            const char *fault = member(j, name, names, value);
            if (fault) return fault;
            blanks(j);
            if (peek(j) != ',') break;
            j->s++;
        }
        if (peek(j) != '}') return j->s == j->end ? no_value(j) : "a comma or a closing bracket is expected";
    }
    j->s++;
    blanks(j);
    if (j->s < j->end) return "something behind the object";
    return NULL;
}
