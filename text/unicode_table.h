// Unicode changes from version to version, and a token id must not depend on the version a library was built with. So here
// stands what the `tokenizers` package (its regex engine: Unicode 16, its NFC: Unicode 9) sees otherwise than Debian's pcre2
// (Unicode 14) and utf8proc (Unicode 15).
#ifndef TEXT_UNICODE_TABLE_H
#define TEXT_UNICODE_TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct UnicodeRange {
    uint32_t first, last;
    char category[3]; // as in \p{...}
} UnicodeRange;

extern const UnicodeRange unicode_newer[]; // assigned after Unicode 14: patterns see these
extern const size_t unicode_newer_count;

extern const UnicodeRange unicode_numeric[]; // the pre-tokenizer "Digits" takes these for numbers too
extern const size_t unicode_numeric_count;

// NFC neither reorders nor decomposes these, nor composes them with what stands before. In ascending order.
extern const UnicodeRange unicode_inert[];
extern const size_t unicode_inert_count;

#endif
