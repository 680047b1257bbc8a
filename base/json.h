// JSON by jansson, with the limits of a hostile file: at most 64 deep, no duplicate keys, nothing behind the value.
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/err.h"
#include <jansson.h>
#include <stdint.h>

enum { JSON_DEPTH_LIMIT = 64 };

// jansson's allocations stop the program with exit code 5 where they fail, as all others do. Called once, before any other.
void json_use_mem(void);

// Parse `bytes` bytes; `name` stands in messages. Returns NULL with `err` filled. The caller owns the value (json_decref).
// An integer beyond 64 bits becomes a real number.
json_t *json_parse(const char *data, size_t bytes, const char *name, Err *err);
json_t *json_parse_line(const char *data, size_t bytes, const char *name, int64_t line, Err *err); // of a file: where it begins
json_t *json_read(const char *path, size_t limit_bytes, Err *err);
// 0 with *value (the caller owns it), or with NULL where there is no file; -1, and NULL, where it cannot be read.
int json_read_optional(json_t **value, const char *path, size_t limit_bytes, Err *err);
json_t *json_read_in(const char *folder, const char *name, size_t limit_bytes); // NULL where there is none, or it is no JSON
json_t *json_finite(double x);                                  // or null: JSON has no infinity, and nothing that is no number
json_t *json_text(const char *s);                               // a string, with U+FFFD for what is no UTF-8 in it
int json_save(const char *path, const json_t *value, Err *err); // indented, keys in the order of insertion

#endif
