// From Oniguruma's pattern syntax to pcre2's; see pattern.h. All append to `out`; all but the first ignore what they do not
// need.
#ifndef TEXT_PATTERN_TRANSLATE_H
#define TEXT_PATTERN_TRANSLATE_H

#include "base/err.h"
#include "base/vec.h"

int pattern_translate(Str *out, const char *source, size_t len, Err *err);
int pattern_translate_literal(Str *out, const char *source, size_t len, Err *err);
int pattern_translate_digits(Str *out, const char *source, size_t len, Err *err);
int pattern_translate_word_char(Str *out, const char *source, size_t len, Err *err);

#endif
