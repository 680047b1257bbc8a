// What a text becomes before it is cut and merged, in the words of tokenizer.json: a chain of steps.
#ifndef TEXT_NORMALIZE_H
#define TEXT_NORMALIZE_H

#include "base/err.h"
#include "base/vec.h"

typedef enum NormalizeKind {
    NORMALIZE_NFC,     // Unicode normalization form C; the tables of the `tokenizers` package are those of Unicode 9
    NORMALIZE_PREPEND, // `to` stands in front, but of nothing
    NORMALIZE_REPLACE, // `to` stands where `from` stood
} NormalizeKind;

// Steps are few and their texts short, and none grows by much: a hostile file cannot make a long text out of a short one.
enum { NORMALIZE_STEPS_LIMIT = 4, NORMALIZE_BYTES_LIMIT = 16, NORMALIZE_GROWTH = 4 };

typedef struct NormalizeStep {
    NormalizeKind kind;
    char from[NORMALIZE_BYTES_LIMIT + 1], to[NORMALIZE_BYTES_LIMIT + 1];
} NormalizeStep;

typedef struct Normalizer {
    NormalizeStep step[NORMALIZE_STEPS_LIMIT];
    int n;
} Normalizer;

// Append the text, which must be UTF-8, as the steps make it. Linear in its length. ERR_DATA where it grows beyond the limit.
enum { NORMALIZE_TEXT_LIMIT = INT32_MAX / 4 };
int normalize_run(const Normalizer *z, Str *out, const char *text, size_t n, Err *err);

#endif
