// Layout: "GGUF", u32 version, u64 tensors, u64 values; the values (key, type, bytes); the tensors (name, dims, type,
// offset); padding; the tensors' bytes, each padded to the alignment. A string is a u64 length and its bytes.
// Where the data begins can be known only after all keys are read: the alignment is one of them.
#include "io/gguf.h"
#include "base/arena.h"
#include "base/checked.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    MAX_VALUES = 1 << 20,
    MAX_TENSORS = 1 << 18,
    MAX_KEY = 65535,
    MAX_TENSOR_NAME = 63,
    MAX_DIMS = 4,
    MAX_ALIGNMENT = 1 << 16,
    VALUE_BYTES = 8 + 1 + 4 + 1, // the least a value takes, and a tensor: what a count can be held against
    TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8
};

// Open addressing over the keys; an entry is the index of a value plus 1.
struct GgufIndex {
    uint32_t *entry;
    size_t mask;
    uint64_t seed;
};

typedef struct Cursor {
    const char *name, *data;
    size_t at, bytes;
    Err *err;
} Cursor;

static int fail_at(const Cursor *c, size_t at, const char *what) {
    return err_set(c->err, ERR_DATA, "%s: byte %zu: %s", c->name, at, what);
}

static int take(Cursor *c, void *out, size_t bytes, const char *what) {
    if (checked_range(c->at, bytes, c->bytes))
        return err_set(c->err, ERR_DATA, "%s: byte %zu: the file ends before %s", c->name, c->at, what);
    memcpy(out, c->data + c->at, bytes);
    c->at += bytes;
    return 0;
}

static int take_string(Cursor *c, GgufString *out, const char *what) {
    uint64_t len = 0;
    size_t start = c->at;
    *out = (GgufString){0};
    if (take(c, &len, 8, what)) return -1;
    if (checked_range(c->at, len, c->bytes))
        return err_set(c->err, ERR_DATA, "%s: byte %zu: %s of %llu bytes, the file has %zu left", c->name, start, what,
                       (unsigned long long)len, c->bytes - c->at);
    *out = (GgufString){c->data + c->at, (size_t)len};
    c->at += (size_t)len;
    return 0;
}

// ---- values -------------------------------------------------------------------------------------------------------

static size_t value_bytes(GgufType t) { // 0 for those of no fixed size
    static const uint8_t bytes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
    return bytes[t];
}

static int take_type(Cursor *c, GgufType *out) {
    uint32_t t = 0;
    size_t start = c->at;
    if (take(c, &t, 4, "a value's type")) return -1;
    if (t > GGUF_F64) return err_set(c->err, ERR_DATA, "%s: byte %zu: unknown value type %u", c->name, start, t);
    *out = (GgufType)t;
    return 0;
}

static int take_elements(Cursor *c, GgufValue *v) {
    size_t bytes, start = c->at;
    v->data = c->data + start;
    if (v->element == GGUF_STRING) {
        // Each string is at least its length, so the offsets cost no more than the file itself.
        if (checked_mul(&bytes, v->count, 8) || checked_range(start, bytes, c->bytes))
            return fail_at(c, start, "an array has more strings than the file has room for");
        size_t *offset = v->count ? mem_alloc(v->count, sizeof *offset) : NULL;
        v->offset = offset;
        for (size_t i = 0; i < v->count; i++) {
            GgufString s;
            offset[i] = c->at - start;
            if (take_string(c, &s, "a string")) return -1;
        }
        return 0;
    }
    if (checked_mul(&bytes, v->count, value_bytes(v->element)) || checked_range(start, bytes, c->bytes))
        return fail_at(c, start, "a value is longer than the file");
    if (v->element == GGUF_BOOL)
        for (size_t i = 0; i < v->count; i++)
            if ((unsigned char)v->data[i] > 1) return fail_at(c, start + i, "a truth value is neither 0 nor 1");
    c->at += bytes;
    return 0;
}

static int take_value(Cursor *c, GgufValue *v) {
    size_t start = c->at;
    if (take_string(c, &v->key, "a key")) return -1;
    if (v->key.len == 0 || v->key.len > MAX_KEY)
        return err_set(c->err, ERR_DATA, "%s: byte %zu: a key of %zu bytes, not in 1..%d", c->name, start, v->key.len, MAX_KEY);
    if (memchr(v->key.data, 0, v->key.len)) return fail_at(c, start, "a key holds a NUL");
    if (take_type(c, &v->type)) return -1;
    v->element = v->type;
    v->count = 1;
    if (v->type == GGUF_ARRAY) {
        uint64_t count = 0;
        if (take_type(c, &v->element)) return -1;
        if (v->element == GGUF_ARRAY) return fail_at(c, c->at - 4, "an array of arrays");
        if (take(c, &count, 8, "an array's length")) return -1;
        v->count = (size_t)count;
    } else if (v->type == GGUF_STRING) {
        GgufString s;
        v->data = c->data + c->at;
        return take_string(c, &s, "a string");
    }
    return take_elements(c, v);
}

static int same_string(GgufString a, GgufString b) {
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

// Where the key stands, or the empty entry where it would.
static uint32_t *index_entry(const Gguf *g, GgufString key) {
    const struct GgufIndex *x = g->index;
    size_t i = XXH3_64bits_withSeed(key.data, key.len, x->seed) & x->mask;
    while (x->entry[i] && !same_string(g->value[x->entry[i] - 1].key, key)) i = (i + 1) & x->mask;
    return &x->entry[i];
}

static int take_values(Gguf *g, Cursor *c, size_t n) {
    size_t entries = 16;
    while (entries < 2 * n) entries *= 2;
    g->index = mem_alloc(1, sizeof *g->index);
    // The address is a seed that the writer of a file cannot know, so none can be made whose keys all collide.
    *g->index = (struct GgufIndex){mem_zalloc(entries, sizeof(uint32_t)), entries - 1, (uint64_t)(uintptr_t)g->index};
    g->value = mem_zalloc(n, sizeof *g->value);
    for (size_t i = 0; i < n; i++) {
        GgufValue *v = &g->value[g->n_values++];
        size_t start = c->at;
        if (take_value(c, v)) return -1;
        uint32_t *entry = index_entry(g, v->key);
        if (*entry)
            return err_set(c->err, ERR_DATA, "%s: byte %zu: duplicate key \"%.*s\"", c->name, start,
                           v->key.len < 200 ? (int)v->key.len : 200, v->key.data);
        *entry = (uint32_t)i + 1;
    }
    return 0;
}

// ---- tensors ------------------------------------------------------------------------------------------------------

// The format's numbers; -1: a type that was removed or is not read here.
static const struct TypeCode {
    const char *name;
    int type;
} type_code[] = {
    {"F32", TENSOR_F32},   {"F16", TENSOR_F16},   {"Q4_0", TENSOR_Q4_0}, {"Q4_1", TENSOR_Q4_1}, {"Q4_2", -1},
    {"Q4_3", -1},          {"Q5_0", TENSOR_Q5_0}, {"Q5_1", TENSOR_Q5_1}, {"Q8_0", TENSOR_Q8_0}, {"Q8_1", -1},
    {"Q2_K", -1},          {"Q3_K", -1},          {"Q4_K", TENSOR_Q4_K}, {"Q5_K", TENSOR_Q5_K}, {"Q6_K", TENSOR_Q6_K},
    {"Q8_K", -1},          {"IQ2_XXS", -1},       {"IQ2_XS", -1},        {"IQ3_XXS", -1},       {"IQ1_S", -1},
    {"IQ4_NL", -1},        {"IQ3_S", -1},         {"IQ2_S", -1},         {"IQ4_XS", -1},        {"I8", -1},
    {"I16", -1},           {"I32", TENSOR_I32},   {"I64", TENSOR_I64},   {"F64", -1},           {"IQ1_M", -1},
    {"BF16", TENSOR_BF16},
};

static int take_name(Cursor *c, Tensor *t) {
    GgufString s;
    size_t start = c->at;
    if (take_string(c, &s, "a tensor's name")) return -1;
    if (s.len == 0 || s.len > MAX_TENSOR_NAME)
        return err_set(c->err, ERR_DATA, "%s: byte %zu: a tensor's name of %zu bytes, not in 1..%d", c->name, start, s.len,
                       MAX_TENSOR_NAME);
    if (memchr(s.data, 0, s.len)) return fail_at(c, start, "a tensor's name holds a NUL");
    t->name = mem_strndup(s.data, s.len);
    return 0;
}

static int take_shape(Cursor *c, Tensor *t) {
    uint32_t n = 0, code = 0;
    size_t start = c->at;
    if (take(c, &n, 4, "a tensor's dimensions")) return -1;
    if (n < 1 || n > MAX_DIMS)
        return err_set(c->err, ERR_DATA, "%s: byte %zu: tensor \"%s\" has %u dimensions, not in 1..%d", c->name, start, t->name,
                       n, MAX_DIMS);
    t->n_dims = (int)n;
    t->count = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) { // the innermost comes first in the file
        start = c->at;
        if (take(c, &t->dims[i], 8, "a tensor's dimensions")) return -1;
        if (t->dims[i] < 1 || checked_mul(&t->count, t->count, (size_t)t->dims[i]) || t->count > INT64_MAX)
            return err_set(c->err, ERR_DATA,
                           "%s: byte %zu: a size of tensor \"%s\" is %lld; all must be positive, their product below 2^63",
                           c->name, start, t->name, (long long)t->dims[i]);
    }
    start = c->at;
    if (take(c, &code, 4, "a tensor's type")) return -1;
    if (code >= sizeof type_code / sizeof *type_code || type_code[code].type < 0)
        return err_set(c->err, ERR_DATA, "%s: byte %zu: tensor \"%s\" has type %u (%s), which is not supported", c->name, start,
                       t->name, code, code < sizeof type_code / sizeof *type_code ? type_code[code].name : "unknown");
    t->type = (TensorType)type_code[code].type;
    size_t values = (size_t)tensor_block_values(t->type);
    if ((size_t)t->dims[t->n_dims - 1] % values)
        return err_set(c->err, ERR_DATA,
                       "%s: byte %zu: rows of tensor \"%s\" have %lld values, no multiple of the %zu of a %s block", c->name,
                       start, t->name, (long long)t->dims[t->n_dims - 1], values, tensor_type_name(t->type));
    if (checked_mul(&t->bytes, t->count / values, tensor_block_bytes(t->type)))
        return fail_at(c, start, "the bytes of a tensor overflow");
    return 0;
}

// `end` grows by each tensor; a tensor begins where the one before it ends, so nothing is shared and nothing hidden.
static int take_tensor(Cursor *c, Tensor *t, size_t *offset, size_t *end, size_t alignment) {
    uint64_t given = 0;
    if (take_name(c, t) || take_shape(c, t)) return -1;
    size_t start = c->at;
    if (take(c, &given, 8, "a tensor's offset")) return -1;
    if (checked_align_up(offset, *end, alignment) || given != *offset || checked_add(end, *offset, t->bytes))
        return err_set(c->err, ERR_DATA,
                       "%s: byte %zu: tensor \"%s\" of %zu bytes has offset %llu, it follows %zu bytes aligned to %zu", c->name,
                       start, t->name, t->bytes, (unsigned long long)given, *end, alignment);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

static int take_tensors(Gguf *g, Cursor *c, size_t n) {
    size_t end = 0, base = 0, padded = 0, last = 0;
    size_t *offset = mem_alloc(n, sizeof *offset);
    int status = 0;
    g->tensor = mem_zalloc(n, sizeof *g->tensor);
    for (size_t i = 0; i < n && status == 0; i++) {
        g->n_tensors++;
        status = take_tensor(c, &g->tensor[i], &offset[i], &end, g->alignment);
    }
    // The data may end with the last tensor or with its padding; a file without tensors may end with its values.
    if (status == 0 && (checked_align_up(&base, c->at, g->alignment) || checked_add(&last, base, end) ||
                        checked_align_up(&padded, last, g->alignment)))
        status = fail_at(c, c->at, "the sizes of all tensors overflow");
    if (status == 0 && c->bytes != last && c->bytes != padded && !(n == 0 && c->bytes == c->at))
        status =
            err_set(c->err, ERR_DATA, "%s: the tensors begin at byte %zu and end at %zu (padded %zu), the file has %zu bytes",
                    c->name, base, last, padded, c->bytes);
    for (size_t i = 0; i < n && status == 0; i++) g->tensor[i].data = c->data + base + offset[i];
    free(offset);
    if (status || n == 0) return status;
    qsort(g->tensor, n, sizeof *g->tensor, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(g->tensor[i - 1].name, g->tensor[i].name) == 0)
            return err_set(c->err, ERR_DATA, "%s: duplicate tensor \"%s\"", c->name, g->tensor[i].name);
    return 0;
}

// ---- the file -----------------------------------------------------------------------------------------------------

static int take_version(Gguf *g, Cursor *c) {
    char magic[4] = {0};
    if (take(c, magic, 4, "its magic")) return -1;
    if (memcmp(magic, "GGUF", 4)) return fail_at(c, 0, "no GGUF file: the magic is missing");
    if (take(c, &g->version, 4, "its version")) return -1;
    if (g->version == __builtin_bswap32(2) || g->version == __builtin_bswap32(3))
        return fail_at(c, 4, "the version's bytes are swapped: a big-endian file, only little-endian ones are read");
    if (g->version != 2 && g->version != 3)
        return err_set(c->err, ERR_DATA, "%s: byte 4: version %u is not supported (2 and 3 are)", c->name, g->version);
    return 0;
}

static int take_count(Cursor *c, size_t *out, size_t limit, size_t least_bytes, const char *what) {
    uint64_t n = 0;
    size_t start = c->at;
    if (take(c, &n, 8, what)) return -1;
    if (n > limit || n > (c->bytes - c->at) / least_bytes)
        return err_set(c->err, ERR_DATA, "%s: byte %zu: %llu %s, more than the limit of %zu or than the file has room for",
                       c->name, start, (unsigned long long)n, what, limit);
    *out = (size_t)n;
    return 0;
}

static int find_alignment(Gguf *g, const Cursor *c) {
    const GgufValue *v = gguf_find(g, "general.alignment");
    uint32_t alignment = 32;
    if (v && v->type != GGUF_U32) return fail_at(c, (size_t)(v->data - c->data), "general.alignment is no u32");
    if (v) memcpy(&alignment, v->data, 4);
    if (alignment < 8 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)))
        return err_set(c->err, ERR_DATA, "%s: general.alignment is %u, no power of two in 8..%d", c->name, alignment,
                       MAX_ALIGNMENT);
    g->alignment = alignment;
    return 0;
}

static int parse(Gguf *g, const char *data, size_t bytes, const char *name, Err *err) {
    Cursor c = {.name = name, .data = data, .bytes = bytes, .err = err};
    size_t n_tensors = 0, n_values = 0;
    return take_version(g, &c) || take_count(&c, &n_tensors, MAX_TENSORS, TENSOR_BYTES, "tensors") ||
                   take_count(&c, &n_values, MAX_VALUES, VALUE_BYTES, "values") || take_values(g, &c, n_values) ||
                   find_alignment(g, &c) || take_tensors(g, &c, n_tensors)
               ? -1
               : 0;
}

int gguf_open(Gguf *g, const char *path, Err *err) {
    *g = (Gguf){0};
    int status = mapfile_open(&g->file, path, 0, err);
    if (status == 0) status = parse(g, g->file.data, g->file.bytes, path, err);
    if (status) gguf_close(g);
    return status;
}

int gguf_parse(Gguf *g, const char *data, size_t bytes, const char *name, Err *err) {
    *g = (Gguf){.file.path = mem_strndup(name, strlen(name))}; // for messages; there is no map to close
    int status = parse(g, data, bytes, name, err);
    if (status) gguf_close(g);
    return status;
}

void gguf_close(Gguf *g) {
    for (int i = 0; i < g->n_values; i++) free((size_t *)g->value[i].offset);
    for (int i = 0; i < g->n_tensors; i++) free((char *)g->tensor[i].name);
    if (g->index) free(g->index->entry);
    free(g->index), free(g->value), free(g->tensor);
    mapfile_close(&g->file);
    *g = (Gguf){0};
}

// ---- access -------------------------------------------------------------------------------------------------------

const GgufValue *gguf_find(const Gguf *g, const char *key) {
    uint32_t entry = *index_entry(g, (GgufString){key, strlen(key)});
    return entry ? &g->value[entry - 1] : NULL;
}

const Tensor *gguf_tensor(const Gguf *g, const char *name) {
    Tensor key = {.name = name};
    return g->n_tensors ? bsearch(&key, g->tensor, (size_t)g->n_tensors, sizeof *g->tensor, by_name) : NULL;
}

// -1 for a type that is no integer, or a value beyond int64.
static int read_int(GgufType type, const char *p, int64_t *out) {
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } x = {0};
    if (type != GGUF_STRING && type != GGUF_ARRAY) memcpy(&x, p, value_bytes(type));
    switch (type) {
    case GGUF_U8: *out = x.u8; return 0;
    case GGUF_I8: *out = x.i8; return 0;
    case GGUF_U16: *out = x.u16; return 0;
    case GGUF_I16: *out = x.i16; return 0;
    case GGUF_U32: *out = x.u32; return 0;
    case GGUF_I32: *out = x.i32; return 0;
    case GGUF_I64: *out = x.i64; return 0;
    case GGUF_U64:
        if (x.u64 > INT64_MAX) return -1;
        *out = (int64_t)x.u64;
        return 0;
    default: return -1;
    }
}

static const GgufValue *need(const Gguf *g, const char *key, Err *err) {
    const GgufValue *v = gguf_find(g, key);
    if (!v) err_set(err, ERR_DATA, "%s: key \"%s\" is missing", g->file.path, key);
    return v;
}

int gguf_int(const Gguf *g, const char *key, int64_t *out, Err *err) {
    const GgufValue *v = need(g, key, err);
    if (!v) return -1;
    if (v->type != GGUF_ARRAY && read_int(v->type, v->data, out) == 0) return 0;
    return err_set(err, ERR_DATA, "%s: key \"%s\" is no integer below 2^63", g->file.path, key);
}

int gguf_float(const Gguf *g, const char *key, double *out, Err *err) {
    const GgufValue *v = need(g, key, err);
    float x;
    if (!v) return -1;
    if (v->type == GGUF_F32) {
        memcpy(&x, v->data, sizeof x);
        *out = (double)x;
    } else if (v->type == GGUF_F64) {
        memcpy(out, v->data, sizeof *out);
    } else {
        return err_set(err, ERR_DATA, "%s: key \"%s\" is no real number", g->file.path, key);
    }
    return 0;
}

int gguf_bool(const Gguf *g, const char *key, int *out, Err *err) {
    const GgufValue *v = need(g, key, err);
    if (!v) return -1;
    if (v->type != GGUF_BOOL) return err_set(err, ERR_DATA, "%s: key \"%s\" is no truth value", g->file.path, key);
    *out = *v->data;
    return 0;
}

static GgufString string_at(const char *p) {
    uint64_t len;
    memcpy(&len, p, 8);
    return (GgufString){p + 8, (size_t)len};
}

int gguf_string(const Gguf *g, const char *key, GgufString *out, Err *err) {
    const GgufValue *v = need(g, key, err);
    if (!v) return -1;
    if (v->type != GGUF_STRING) return err_set(err, ERR_DATA, "%s: key \"%s\" is no string", g->file.path, key);
    *out = string_at(v->data);
    return 0;
}

GgufString gguf_array_string(const GgufValue *v, size_t i) {
    CHECK(v->type == GGUF_ARRAY && v->element == GGUF_STRING && i < v->count);
    return string_at(v->data + v->offset[i]);
}

int64_t gguf_array_int(const GgufValue *v, size_t i) {
    int64_t x = 0;
    CHECK(v->type == GGUF_ARRAY && i < v->count);
    CHECK(read_int(v->element, v->data + i * value_bytes(v->element), &x) == 0);
    return x;
}

float gguf_array_f32(const GgufValue *v, size_t i) {
    float x;
    CHECK(v->type == GGUF_ARRAY && v->element == GGUF_F32 && i < v->count);
    memcpy(&x, v->data + i * sizeof x, sizeof x);
    return x;
}
