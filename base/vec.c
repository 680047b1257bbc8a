#include "base/vec.h"
#include "base/arena.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t vec_grown(size_t cap, size_t need) {
    size_t next = cap ? cap + cap / 2 : 16;
    return next < need ? need : next;
}

void ints_append(Ints *v, const int32_t *x, size_t n) {
    if (n > v->cap - v->len) {
        v->cap = vec_grown(v->cap, v->len + n);
        v->data = mem_realloc(v->data, v->cap, sizeof *v->data);
    }
    if (n) memcpy(v->data + v->len, x, n * sizeof *x);
    v->len += n;
}

void ints_push(Ints *v, int32_t x) {
    ints_append(v, &x, 1);
}

void ints_free(Ints *v) {
    free(v->data);
    *v = (Ints){0};
}

static void str_room(Str *s, size_t n) {
    if (s->len + n + 1 > s->cap) {
        s->cap = vec_grown(s->cap, s->len + n + 1);
        s->data = mem_realloc(s->data, s->cap, 1);
    }
}

void str_append(Str *s, const void *bytes, size_t n) {
    str_room(s, n);
    if (n) memcpy(s->data + s->len, bytes, n);
    s->len += n;
    s->data[s->len] = 0;
}

void str_puts(Str *s, const char *text) {
    str_append(s, text, strlen(text));
}

void str_printf(Str *s, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    CHECK(n >= 0);
    str_room(s, (size_t)n);
    vsnprintf(s->data + s->len, (size_t)n + 1, format, again);
    s->len += (size_t)n;
    va_end(again);
    va_end(args);
}

void str_clear(Str *s) {
    str_room(s, 0);
    s->len = 0;
    s->data[0] = 0;
}

void str_free(Str *s) {
    free(s->data);
    *s = (Str){0};
}

void str_json(Str *s, const char *text, size_t n) {
    str_puts(s, "\"");
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t step = utf8_next(text + i, n - i, &c);
        if (step == 0) {
            str_puts(s, "\\ufffd");
            i++;
            continue;
        }
        if (c == '"' || c == '\\')
            str_printf(s, "\\%c", (char)c);
        else if (c == '\n')
            str_puts(s, "\\n");
        else if (c == '\t')
            str_puts(s, "\\t");
        else if (c < 0x20 || c == 0x7f)
            str_printf(s, "\\u%04x", c);
        else
            str_append(s, text + i, step);
        i += step;
    }
    str_puts(s, "\"");
}

void str_shell(Str *s, const char *text) {
    if (*text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,=:+@%") == strlen(text)) {
        str_puts(s, text);
        return;
    }
    str_puts(s, "'");
    for (; *text; text++)
        if (*text == '\'')
            str_puts(s, "'\\''");
        else
            str_append(s, (unsigned char)*text < 0x20 ? " " : text, 1);
    str_puts(s, "'");
}
