// Unicode normalization form C, as the `tokenizers` package does it: its tables are those of Unicode 9.
#ifndef TEXT_NORMALIZE_H
#define TEXT_NORMALIZE_H

#include "base/vec.h"

// Append the text, which must be UTF-8, in NFC. Linear in its length.
void normalize_nfc(Str *out, const char *text, size_t n);

#endif
