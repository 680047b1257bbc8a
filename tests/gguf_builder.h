// GGUF files for tests, right and wrong ones.
#ifndef TESTS_GGUF_BUILDER_H
#define TESTS_GGUF_BUILDER_H

#include "base/vec.h"
#include "io/gguf.h"
#include <string.h>

typedef struct GgufBuilder {
    Str values, tensors, data;
    uint64_t n_values, n_tensors;
    uint32_t alignment; // of the data; the key is the caller's
} GgufBuilder;

static inline void put_u32(Str *s, uint32_t x) {
    str_append(s, &x, sizeof x);
}

static inline void put_u64(Str *s, uint64_t x) {
    str_append(s, &x, sizeof x);
}

static inline void put_string(Str *s, const char *text) {
    put_u64(s, strlen(text));
    str_puts(s, text);
}

static inline void gb_key(GgufBuilder *b, const char *key, GgufType type) {
    put_string(&b->values, key);
    put_u32(&b->values, (uint32_t)type);
    b->n_values++;
}

static inline void gb_u32(GgufBuilder *b, const char *key, uint32_t x) {
    gb_key(b, key, GGUF_U32);
    put_u32(&b->values, x);
}

static inline void gb_f32(GgufBuilder *b, const char *key, float x) {
    gb_key(b, key, GGUF_F32);
    str_append(&b->values, &x, sizeof x);
}

static inline void gb_bool(GgufBuilder *b, const char *key, int x) {
    char byte = (char)x;
    gb_key(b, key, GGUF_BOOL);
    str_append(&b->values, &byte, 1);
}

static inline void gb_string(GgufBuilder *b, const char *key, const char *text) {
    gb_key(b, key, GGUF_STRING);
    put_string(&b->values, text);
}

static inline void gb_array(GgufBuilder *b, const char *key, GgufType element, uint64_t count) { // elements follow
    gb_key(b, key, GGUF_ARRAY);
    put_u32(&b->values, (uint32_t)element);
    put_u64(&b->values, count);
}

static inline void gb_align(Str *s, uint32_t alignment) {
    while (s->len % alignment) str_append(s, "", 1);
}

// dims: outermost first; code: the format's number of the type; data may be NULL for zeros.
static inline void gb_tensor(GgufBuilder *b, const char *name, int n_dims, const int64_t *dims, uint32_t code, const void *data,
                             size_t bytes) {
    static const char zeros[256];
    gb_align(&b->data, b->alignment);
    put_string(&b->tensors, name);
    put_u32(&b->tensors, (uint32_t)n_dims);
    for (int i = n_dims - 1; i >= 0; i--) put_u64(&b->tensors, (uint64_t)dims[i]);
    put_u32(&b->tensors, code);
    put_u64(&b->tensors, b->data.len);
    b->n_tensors++;
    if (data) {
        str_append(&b->data, data, bytes);
        return;
    }
    for (size_t n; bytes; bytes -= n) {
        n = bytes < sizeof zeros ? bytes : sizeof zeros;
        str_append(&b->data, zeros, n);
    }
}

// The file's bytes; the builder is spent.
static inline Str gb_finish(GgufBuilder *b) {
    Str out = {0};
    str_puts(&out, "GGUF");
    put_u32(&out, 3);
    put_u64(&out, b->n_tensors);
    put_u64(&out, b->n_values);
    if (b->values.len) str_append(&out, b->values.data, b->values.len);
    if (b->tensors.len) str_append(&out, b->tensors.data, b->tensors.len);
    gb_align(&out, b->alignment);
    if (b->data.len) str_append(&out, b->data.data, b->data.len);
    gb_align(&out, b->alignment);
    str_free(&b->values), str_free(&b->tensors), str_free(&b->data);
    return out;
}

#endif
