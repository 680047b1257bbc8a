// One line that holds a JSON object: some of its members, found without building the rest. The whole line is checked, but
// only the members asked for are decoded.
#ifndef DATA_JSONL_H
#define DATA_JSONL_H

#include "base/vec.h"
#include <stddef.h>

enum { JSONL_DEPTH = 64, JSONL_LINE_LIMIT = 16 << 20 };

typedef enum JsonlKind { JSONL_ABSENT, JSONL_NULL, JSONL_STRING, JSONL_NUMBER, JSONL_OTHER } JsonlKind;

typedef struct JsonlValue {
    JsonlKind kind;
    const char *text; // a string's, without quotes and escapes; a number's as it stands. Not terminated
    size_t len;
} JsonlValue;

typedef struct Jsonl {
    const char *s, *begin, *end; // the line; s: the byte that is read next, and where a fault is
    Str text, key;               // strings that had escapes
} Jsonl;

// value[i] becomes that of the member name[i] of the object itself (not of objects inside of it), JSONL_ABSENT where there is
// none; a NULL name is passed over. Returns NULL, or why the line cannot be taken: it is no JSON object (byte jsonl_byte),
// holds one of the members twice, or one with half a surrogate pair or a NUL. The values are valid while line and `j` are.
const char *jsonl_read(Jsonl *j, const char *line, size_t len, const char *const *name, int names, JsonlValue *value);
size_t jsonl_byte(const Jsonl *j); // of the line, from 1
void jsonl_free(Jsonl *j);

#endif
