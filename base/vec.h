// Growing arrays: `Ints` of token ids, `Str` of bytes (always followed by a NUL that is not counted).
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <stddef.h>
#include <stdint.h>

typedef struct Ints {
    int32_t *data;
    size_t len, cap;
} Ints;

void ints_push(Ints *v, int32_t x);
void ints_append(Ints *v, const int32_t *x, size_t n);
void ints_free(Ints *v);

typedef struct Str {
    char *data;
    size_t len, cap;
} Str;

void str_append(Str *s, const void *bytes, size_t n);
void str_puts(Str *s, const char *text);
void str_printf(Str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_clear(Str *s);
void str_free(Str *s);

// Append `text` as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD.
void str_json(Str *s, const char *text, size_t n);
// Append `text` as one argument of a shell's line; control bytes become blanks.
void str_shell(Str *s, const char *text);

#endif
