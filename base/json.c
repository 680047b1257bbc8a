#include "base/json.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// jansson counts depth too late for us (2048, by recursion), so brackets are counted first.
static int depth_of(const char *s, size_t n) {
    int depth = 0, most = 0, quoted = 0;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = 0;
        } else if (c == '"') {
            quoted = 1;
        } else if (c == '{' || c == '[') {
            if (++depth > most) most = depth;
            if (most > JSON_DEPTH_LIMIT) break;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return most;
}

static void *json_alloc(size_t bytes) {
    return mem_alloc(bytes, 1);
}

void json_use_mem(void) {
    json_set_alloc_funcs(json_alloc, free);
}

static json_t *narrowed(const json_t *v) { // a whole number that a real holds exactly, as an integer; else NULL
    const double x = json_real_value(v);
    return json_is_real(v) && fabs(x) < 0x1p53 && x == trunc(x) ? json_integer((json_int_t)x) : NULL;
}

static void narrow_members(json_t *value) {
    const char *key;
    size_t i;
    json_t *v, *integer;
    json_object_foreach(value, key, v) {
        narrow_members(v);
        if ((integer = narrowed(v))) json_object_set_new(value, key, integer);
    }
    json_array_foreach(value, i, v) {
        narrow_members(v);
        if ((integer = narrowed(v))) json_array_set_new(value, i, integer);
    }
}

json_t *json_parse_line(const char *data, size_t bytes, const char *name, int64_t line, Err *err) {
    if (depth_of(data, bytes) > JSON_DEPTH_LIMIT) {
        err_set(err, ERR_DATA, "%s: line %lld: JSON nested more than %d deep", name, (long long)line, JSON_DEPTH_LIMIT);
        return NULL;
    }
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_error_t e;
    json_t *value = json_loadb(data, bytes, flags, &e);
    // transformers writes "no limit" as the integer 1e30 (model_max_length). Such a one becomes a real number; jansson can read
    // all integers so or none, so the others are turned back.
    if (!value && json_error_code(&e) == json_error_numeric_overflow) {
        value = json_loadb(data, bytes, flags | JSON_DECODE_INT_AS_REAL, &e);
        narrow_members(value);
    }
    if (!value) err_set(err, ERR_DATA, "%s: line %lld, byte %d: %s", name, (long long)(line - 1 + e.line), e.position, e.text);
    return value;
}

json_t *json_parse(const char *data, size_t bytes, const char *name, Err *err) {
    return json_parse_line(data, bytes, name, 1, err);
}

json_t *json_read(const char *path, size_t limit_bytes, Err *err) {
    MapFile f;
    if (mapfile_open(&f, path, limit_bytes, err)) return NULL;
    json_t *value = json_parse(f.data, f.bytes, path, err);
    mapfile_close(&f);
    return value;
}

int json_read_optional(json_t **value, const char *path, size_t limit_bytes, Err *err) {
    *value = NULL;
    if (!file_exists(path)) return 0;
    *value = json_read(path, limit_bytes, err);
    return *value ? 0 : -1;
}

json_t *json_read_in(const char *folder, const char *name, size_t limit_bytes) {
    char *path = file_join(folder, name);
    json_t *value;
    json_read_optional(&value, path, limit_bytes, NULL);
    free(path);
    return value;
}

json_t *json_finite(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *json_text(const char *s) {
    Str text = {0};
    utf8_replace(&text, s, strlen(s));
    json_t *value = json_stringn(text.len ? text.data : "", text.len);
    str_free(&text);
    return value;
}

int json_save(const char *path, const json_t *value, Err *err) {
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(9) | JSON_ENCODE_ANY);
    CHECK(text);
    OutFile f;
    int status = outfile_open(&f, path, err);
    if (status == 0) {
        outfile_write(&f, text, strlen(text));
        outfile_write(&f, "\n", 1);
        status = outfile_commit(&f, err);
    }
    free(text);
    return status;
}
