// The patterns of pre-tokenizers: written for Oniguruma, run by pcre2. What the two read differently is rewritten; what might
// take exponential time, or is not known to mean the same in both, is refused when the file is read.
#ifndef TEXT_PATTERN_H
#define TEXT_PATTERN_H

#include "base/err.h"
#include "base/vec.h"

typedef struct Pattern Pattern;       // read-only: safe from several threads
typedef struct PatternRun PatternRun; // of one thread

// `source` is UTF-8. With `literal` it is not a pattern but a text to find.
int pattern_compile(Pattern **p, const char *source, size_t len, int literal, Err *err);
int pattern_digits(Pattern **p, Err *err);    // one number character, as the pre-tokenizer "Digits" sees it
int pattern_word_char(Pattern **p, Err *err); // one character of \w, as added tokens with "single_word" see it
void pattern_close(Pattern *p);

// The memory of matching a text of at most `len` bytes.
PatternRun *pattern_run_open(size_t len);
void pattern_run_close(PatternRun *run);

// The next match at or after `from`: returns 1 with its place, 0 where there is none, or -1 with `err` (a limit was met).
// The text must be UTF-8. A match is never empty.
int pattern_next(const Pattern *p, PatternRun *run, const char *text, size_t len, size_t from, size_t *begin, size_t *end,
                 Err *err);

// Unicode's White_Space.
int pattern_is_space(uint32_t code_point);

#endif
