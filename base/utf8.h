// UTF-8, strictly: no overlong forms, no surrogates, nothing past U+10FFFF.
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/vec.h"
#include <stddef.h>
#include <stdint.h>

// Decode one code point; returns its length in bytes, or 0 where the bytes are no UTF-8 or `n` is 0.
size_t utf8_next(const char *s, size_t n, uint32_t *code_point);

// Encode; returns the length in bytes (1 to 4).
size_t utf8_put(char out[4], uint32_t code_point);

// Of ASCII's: what shows as nothing, or moves a terminal.
static inline int utf8_is_control(char c) {
    return (unsigned char)c < 0x20 || c == 0x7f;
}

// Offset of the first byte that is no UTF-8, or `n` where all of it is.
size_t utf8_check(const char *s, size_t n);

// Characters of a text that is UTF-8.
size_t utf8_count(const char *s, size_t n);

// Append the text with U+FFFD for whatever is no UTF-8, one for each longest piece that could have begun a character:
// as Unicode recommends and as Python's errors="replace" does.
void utf8_replace(Str *out, const char *s, size_t n);

#endif
