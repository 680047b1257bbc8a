#include "io/safetensors.h"
#include "base/arena.h"
#include "base/checked.h"
#include "base/utf8.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_HEADER = 100000000, // the format's own limit
    MAX_TENSORS = 1 << 18,
    MAX_NAME = 1024,
    MAX_METADATA = 1 << 20,
    MAX_INDEX = 1 << 20,
    MAX_SHARDS = 1024
};

// ---- the header ---------------------------------------------------------------------------------------------------
//
// The header is JSON of one fixed form, and hostile. A scanner for that form needs no recursion and no memory but the
// tensors themselves, sees duplicate keys, and can name the byte where a header goes wrong.

typedef struct Scan {
    const char *name, *data; // the whole file
    size_t at, end;          // of the header
    size_t base, bytes;      // the tensors' bytes begin at `base`, and how many there are
    Safetensors *s;
    int cap, first; // room in s->tensor; the first tensor of this file
    Err *err;
} Scan;

static int scan_fail(Scan *z, const char *what) {
    return err_set(z->err, ERR_DATA, "%s: byte %zu: %s", z->name, z->at, what);
}

static void scan_space(Scan *z) {
    while (z->at < z->end && strchr(" \t\r\n", z->data[z->at]) && z->data[z->at]) z->at++;
}

static int scan_is(Scan *z, char c) {
    scan_space(z);
    if (z->at >= z->end || z->data[z->at] != c) return 0;
    z->at++;
    return 1;
}

static int scan_expect(Scan *z, char c) {
    if (scan_is(z, c)) return 0;
    char what[] = "expected 'x' in the header";
    what[10] = c;
    return scan_fail(z, what);
}

static int scan_hex4(Scan *z, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++, z->at++) {
        char c = z->at < z->end ? z->data[z->at] : 0;
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return scan_fail(z, "bad \\u escape");
        *out = *out << 4 | (uint32_t)digit;
    }
    return 0;
}

// Behind a backslash; appends the UTF-8 of what is escaped.
static int scan_escape(Scan *z, Str *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = z->at < z->end ? z->data[z->at] : 0;
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple) {
        z->at++;
        str_append(out, &to[simple - from], 1);
        return 0;
    }
    if (c != 'u') return scan_fail(z, "bad escape in a string");
    z->at++;
    uint32_t u, low;
    if (scan_hex4(z, &u)) return -1;
    if (u >= 0xd800 && u < 0xdc00 && z->end - z->at >= 2 && z->data[z->at] == '\\' && z->data[z->at + 1] == 'u') {
        z->at += 2;
        if (scan_hex4(z, &low)) return -1;
        if (low < 0xdc00 || low > 0xdfff) return scan_fail(z, "lone surrogate in a string");
        u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
    }
    if ((u >= 0xd800 && u < 0xe000) || u == 0) return scan_fail(z, "lone surrogate or NUL in a string");
    char utf8[4];
    str_append(out, utf8, utf8_put(utf8, u));
    return 0;
}

// A string of at most MAX_NAME bytes, unescaped into `out`.
static int scan_string(Scan *z, Str *out) {
    str_clear(out);
    if (scan_expect(z, '"')) return -1;
    while (z->at < z->end) {
        unsigned char c = (unsigned char)z->data[z->at];
        if (out->len > MAX_NAME) return scan_fail(z, "a string is longer than 1024 bytes");
        if (c < 0x20) return scan_fail(z, "control byte in a string");
        z->at++;
        if (c == '"') return 0;
        if (c != '\\')
            str_append(out, &c, 1);
        else if (scan_escape(z, out))
            return -1;
    }
    return scan_fail(z, "the header ends inside a string");
}

// Digits alone: no sign, fraction or exponent.
static int scan_size(Scan *z, size_t *out) {
    scan_space(z);
    size_t start = z->at;
    for (*out = 0; z->at < z->end && z->data[z->at] >= '0' && z->data[z->at] <= '9'; z->at++)
        if (checked_mul(out, *out, 10) || checked_add(out, *out, (size_t)(z->data[z->at] - '0')) || *out > INT64_MAX)
            return scan_fail(z, "a number beyond 2^63 - 1");
    size_t digits = z->at - start;
    if (digits == 0 || (digits > 1 && z->data[start] == '0')) return scan_fail(z, "expected a whole number in plain digits");
    return 0;
}

// At most `cap` numbers.
static int scan_sizes(Scan *z, size_t *out, int cap, int *n) {
    *n = 0;
    if (scan_expect(z, '[')) return -1;
    if (scan_is(z, ']')) return 0;
    do {
        if (*n == cap) return scan_fail(z, "too many numbers in a list");
        if (scan_size(z, &out[(*n)++])) return -1;
    } while (scan_is(z, ','));
    return scan_expect(z, ']');
}

static int type_of(const char *text, TensorType *out) {
    static const TensorType known[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_I32, TENSOR_I64, TENSOR_U8};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        *out = known[i];
        if (strcmp(text, tensor_type_name(known[i])) == 0) return 0;
    }
    return -1;
}

// Shape, type and bytes must say the same.
static int scan_extent(Scan *z, Tensor *t, const size_t *shape, const size_t offset[2]) {
    t->count = 1;
    for (int i = 0; i < t->n_dims; i++) {
        t->dims[i] = (int64_t)shape[i];
        if (checked_mul(&t->count, t->count, shape[i]) || t->count > INT64_MAX)
            return scan_fail(z, "the sizes of a shape multiply beyond 2^63 - 1");
    }
    if (checked_mul(&t->bytes, t->count, tensor_block_bytes(t->type))) return scan_fail(z, "a tensor's bytes overflow");
    if (offset[1] < offset[0] || offset[1] > z->bytes)
        return err_set(z->err, ERR_DATA,
                       "%s: tensor \"%.200s\": data_offsets [%zu, %zu] are not inside the file's %zu bytes of data", z->name,
                       t->name, offset[0], offset[1], z->bytes);
    if (offset[1] - offset[0] != t->bytes)
        return err_set(z->err, ERR_DATA, "%s: tensor \"%.200s\": its shape wants %zu bytes, data_offsets say %zu", z->name,
                       t->name, t->bytes, offset[1] - offset[0]);
    t->data = z->data + z->base + offset[0];
    return 0;
}

// {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} in any order.
static int scan_tensor(Scan *z, Tensor *t, Str *text) {
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    size_t shape[TENSOR_DIMS] = {0}, offset[2] = {0};
    int seen = 0, n = 0;
    if (scan_expect(z, '{')) return -1;
    do {
        if (scan_string(z, text)) return -1;
        int key = strcmp(text->data, "dtype") == 0          ? DTYPE
                  : strcmp(text->data, "shape") == 0        ? SHAPE
                  : strcmp(text->data, "data_offsets") == 0 ? OFFSETS
                                                            : 0;
        if (key == 0 || seen & key)
            return err_set(z->err, ERR_DATA, "%s: tensor \"%.200s\": %s key \"%.64s\"", z->name, t->name,
                           key ? "duplicate" : "unknown", text->data);
        seen |= key;
        if (scan_expect(z, ':')) return -1;
        if (key == DTYPE) {
            if (scan_string(z, text)) return -1;
            if (type_of(text->data, &t->type))
                return err_set(z->err, ERR_DATA, "%s: tensor \"%.200s\": dtype \"%.64s\" is not supported", z->name, t->name,
                               text->data);
        } else if (key == SHAPE) {
            if (scan_sizes(z, shape, TENSOR_DIMS, &t->n_dims)) return -1;
        } else {
            if (scan_sizes(z, offset, 2, &n)) return -1;
            if (n != 2) return scan_fail(z, "data_offsets are not two numbers");
        }
    } while (scan_is(z, ','));
    if (scan_expect(z, '}')) return -1;
    if (seen != (DTYPE | SHAPE | OFFSETS))
        return err_set(z->err, ERR_DATA, "%s: tensor \"%.200s\": dtype, shape or data_offsets is missing", z->name, t->name);
    return scan_extent(z, t, shape, offset);
}

// Strings to strings. Its end is found first: then jansson reads a range whose size and depth are known.
static int scan_metadata(Scan *z, json_t **metadata) {
    scan_space(z);
    size_t start = z->at;
    int quoted = 0;
    if (scan_expect(z, '{')) return -1;
    for (; z->at < z->end; z->at++) {
        char c = z->data[z->at];
        if (quoted && c == '\\')
            z->at++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '}' || c == '{' || c == '['))
            break;
    }
    if (scan_expect(z, '}')) return -1;
    if (z->at - start > MAX_METADATA) return scan_fail(z, "__metadata__ is longer than 1 MiB");
    *metadata = json_parse(z->data + start, z->at - start, "__metadata__", z->err);
    if (!*metadata) return err_prefix(z->err, "%s", z->name);
    const char *key;
    json_t *value;
    json_object_foreach(*metadata, key, value) {
        if (!json_is_string(value)) return err_set(z->err, ERR_DATA, "%s: __metadata__: \"%.64s\" is no string", z->name, key);
    }
    return 0;
}

static int scan_entries(Scan *z, json_t **metadata, Str *text) {
    Safetensors *s = z->s;
    if (scan_expect(z, '{')) return -1;
    if (!scan_is(z, '}')) {
        do {
            if (scan_string(z, text) || scan_expect(z, ':')) return -1;
            if (strcmp(text->data, "__metadata__") == 0) {
                if (*metadata) return scan_fail(z, "duplicate __metadata__");
                if (scan_metadata(z, metadata)) return -1;
                continue;
            }
            if (s->n == MAX_TENSORS) return scan_fail(z, "more than 262144 tensors");
            if (s->n == z->cap) {
                z->cap = z->cap ? z->cap * 2 : 64;
                s->tensor = mem_realloc(s->tensor, (size_t)z->cap, sizeof *s->tensor);
            }
            s->tensor[s->n] = (Tensor){.name = mem_strndup(text->data, text->len)};
            if (scan_tensor(z, &s->tensor[s->n++], text)) return -1;
        } while (scan_is(z, ','));
        if (scan_expect(z, '}')) return -1;
    }
    while (z->at < z->end && z->data[z->at] == ' ') z->at++;
    return z->at == z->end ? 0 : scan_fail(z, "bytes behind the header's JSON object");
}

// ---- layout -------------------------------------------------------------------------------------------------------

static int by_data(const void *a, const void *b) {
    const Tensor *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; // an empty tensor before the one that begins where it lies
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

// The tensors of a file cover its data exactly: nothing is shared and nothing hidden.
static int check_cover(Scan *z) {
    const char *start = z->data + z->base, *at = start;
    int n = z->s->n - z->first;
    Tensor *t = n ? z->s->tensor + z->first : NULL;
    if (n) qsort(t, (size_t)n, sizeof *t, by_data);
    for (int i = 0; i < n; i++) {
        if ((const char *)t[i].data != at)
            return err_set(z->err, ERR_DATA, "%s: tensor \"%.200s\" begins at %zu of the data, the one before it ends at %zu",
                           z->name, t[i].name, (size_t)((const char *)t[i].data - start), (size_t)(at - start));
        at += t[i].bytes;
    }
    if ((size_t)(at - start) == z->bytes) return 0;
    return err_set(z->err, ERR_DATA, "%s: the tensors end at %zu of the data, the file has %zu bytes", z->name,
                   (size_t)(at - start), z->bytes);
}

static int sort_by_name(Safetensors *s, const char *name, Err *err) {
    if (s->n) qsort(s->tensor, (size_t)s->n, sizeof *s->tensor, by_name);
    for (int i = 1; i < s->n; i++)
        if (strcmp(s->tensor[i - 1].name, s->tensor[i].name) == 0)
            return err_set(err, ERR_DATA, "%s: duplicate tensor \"%.200s\"", name, s->tensor[i].name);
    return 0;
}

// Append the tensors of one file's bytes.
static int add_file(Safetensors *s, const char *data, size_t bytes, const char *name, Err *err) {
    uint64_t header;
    static const char pointer[] = "version https://git-lfs";
    if (bytes > sizeof pointer && !memcmp(data, pointer, sizeof pointer - 1))
        return err_set(err, ERR_DATA, "%s: a pointer of git-lfs, not the file itself: git lfs pull fetches it", name);
    if (bytes < 8) return err_set(err, ERR_DATA, "%s: %zu bytes, a safetensors file has at least 8", name, bytes);
    memcpy(&header, data, 8);
    if (header == 0 || header > MAX_HEADER)
        return err_set(err, ERR_DATA, "%s: byte 0: a header of %llu bytes, not in 1..%d", name, (unsigned long long)header,
                       MAX_HEADER);
    if (checked_range(8, (size_t)header, bytes))
        return err_set(err, ERR_DATA, "%s: byte 0: a header of %llu bytes in a file of %zu", name, (unsigned long long)header,
                       bytes);
    Scan z = {.name = name, .data = data, .at = 8, .end = 8 + (size_t)header, .s = s, .cap = s->n, .first = s->n, .err = err};
    z.base = z.end;
    z.bytes = bytes - z.base;
    if (data[8] != '{') return scan_fail(&z, "the header does not begin with '{'");
    size_t good = utf8_check(data + 8, (size_t)header);
    if (good < header) {
        z.at += good;
        return scan_fail(&z, "the header is no UTF-8");
    }
    Str text = {0};
    json_t *metadata = NULL;
    int status = scan_entries(&z, &metadata, &text);
    if (status == 0) status = check_cover(&z);
    str_free(&text);
    if (s->metadata)
        json_decref(metadata);
    else
        s->metadata = metadata;
    return status;
}

// ---- one file, or shards ------------------------------------------------------------------------------------------

int safetensors_parse(Safetensors *s, const char *data, size_t bytes, const char *name, Err *err) {
    *s = (Safetensors){0};
    if (add_file(s, data, bytes, name, err) == 0 && sort_by_name(s, name, err) == 0) return 0;
    safetensors_close(s);
    return -1;
}

// A shard lies beside its index: a plain name. It may be a link to the file, as in the cache of huggingface_hub.
static int open_shard(Safetensors *s, const char *index, const char *shard, Err *err) {
    size_t n = strlen(shard);
    const char *slash = strrchr(index, '/');
    if (n == 0 || n > 255 || shard[0] == '.' || strchr(shard, '/'))
        return err_set(err, ERR_DATA, "%s: shard \"%.255s\" is no plain file name", index, shard);
    char *folder = slash ? mem_strndup(index, (size_t)(slash - index)) : mem_strndup(".", 1);
    char *path = file_join(folder, shard);
    MapFile *f = &s->file[s->files];
    int status = mapfile_open(f, path, 0, err);
    if (status == 0) {
        s->files++;
        status = add_file(s, f->data, f->bytes, f->path, err);
    }
    free(folder), free(path);
    return status;
}

static int is_in(const Tensor *t, const MapFile *f) {
    const char *p = t->data;
    return p >= f->data && p <= f->data + f->bytes;
}

// Every tensor the index names is in the shard it names, and the shards hold no others.
static int check_index(const Safetensors *s, const char *path, const json_t *map, const json_t *shard_of, Err *err) {
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard) {
        const Tensor *t = safetensors_find(s, name);
        json_int_t i = json_integer_value(json_object_get(shard_of, json_string_value(shard)));
        if (!t || !is_in(t, &s->file[i]))
            return err_set(err, ERR_DATA, "%s: tensor \"%.200s\" is not in shard \"%.200s\"", path, name,
                           json_string_value(shard));
    }
    for (int i = 0; i < s->n; i++)
        if (!json_object_get(map, s->tensor[i].name))
            return err_set(err, ERR_DATA, "%s: tensor \"%.200s\" of a shard is not in the index", path, s->tensor[i].name);
    return 0;
}

static int open_shards(Safetensors *s, const char *path, const json_t *index, Err *err) {
    const json_t *map = json_object_get(index, "weight_map");
    json_t *shard_of = json_object(), *shard;
    const char *name;
    int status = 0;
    if (!json_is_object(map)) status = err_set(err, ERR_DATA, "%s: \"weight_map\" is missing or no object", path);
    json_object_foreach((json_t *)map, name, shard) {
        const char *file = json_string_value(shard);
        if (!file || strlen(file) != json_string_length(shard))
            status = err_set(err, ERR_DATA, "%s: the shard of \"%.200s\" is no file name", path, name);
        else if (json_object_get(shard_of, file))
            continue;
        else if (s->files == MAX_SHARDS)
            status = err_set(err, ERR_DATA, "%s: more than %d shards", path, MAX_SHARDS);
        else
            status = open_shard(s, path, file, err);
        if (status) break;
        json_object_set_new(shard_of, file, json_integer(s->files - 1));
    }
    if (status == 0) status = sort_by_name(s, path, err);
    if (status == 0) status = check_index(s, path, map, shard_of, err);
    json_decref(shard_of);
    return status;
}

int safetensors_open(Safetensors *s, const char *path, Err *err) {
    *s = (Safetensors){0};
    int status;
    if (file_ends_with(path, ".json")) {
        json_t *index = json_read(path, MAX_INDEX, err);
        s->file = mem_zalloc(MAX_SHARDS, sizeof *s->file);
        status = index ? open_shards(s, path, index, err) : -1;
        json_decref(index);
    } else {
        s->file = mem_zalloc(1, sizeof *s->file);
        status = mapfile_open(&s->file[0], path, 0, err);
        if (status == 0) {
            s->files = 1;
            status = add_file(s, s->file->data, s->file->bytes, path, err);
        }
        if (status == 0) status = sort_by_name(s, path, err);
    }
    if (status) safetensors_close(s);
    return status;
}

void safetensors_close(Safetensors *s) {
    for (int i = 0; i < s->n; i++) free((char *)s->tensor[i].name);
    for (int i = 0; i < s->files; i++) mapfile_close(&s->file[i]);
    free(s->tensor), free(s->file);
    json_decref(s->metadata);
    *s = (Safetensors){0};
}

const Tensor *safetensors_find(const Safetensors *s, const char *name) {
    Tensor key = {.name = name};
    return s->n ? bsearch(&key, s->tensor, (size_t)s->n, sizeof *s->tensor, by_name) : NULL;
}

const char *safetensors_path(const Safetensors *s, const Tensor *t) {
    const uintptr_t at = (uintptr_t)t->data;
    int i = 0;
    while (i + 1 < s->files && at - (uintptr_t)s->file[i].data >= s->file[i].bytes) i++;
    return s->file[i].path;
}

// ---- writing ------------------------------------------------------------------------------------------------------

static void put_header(Str *header, const Tensor *tensor, int n, const json_t *metadata, size_t *bytes) {
    const char *key;
    json_t *value;
    str_puts(header, "{");
    if (metadata) {
        const char *comma = "";
        str_puts(header, "\"__metadata__\":{");
        json_object_foreach((json_t *)metadata, key, value) {
            CHECK(json_is_string(value));
            str_puts(header, comma);
            str_json(header, key, strlen(key));
            str_puts(header, ":");
            str_json(header, json_string_value(value), json_string_length(value));
            comma = ",";
        }
        str_puts(header, n ? "}," : "}");
    }
    *bytes = 0;
    for (int i = 0; i < n; i++) {
        const Tensor *t = &tensor[i];
        CHECK(tensor_block_values(t->type) == 1);
        size_t count = 1, end;
        str_json(header, t->name, strlen(t->name));
        str_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", tensor_type_name(t->type));
        for (int d = 0; d < t->n_dims; d++) {
            CHECK(t->dims[d] >= 0 && checked_mul(&count, count, (size_t)t->dims[d]) == 0);
            str_printf(header, "%s%lld", d ? "," : "", (long long)t->dims[d]);
        }
        CHECK(checked_mul(&count, count, tensor_block_bytes(t->type)) == 0 && checked_add(&end, *bytes, count) == 0);
        str_printf(header, "],\"data_offsets\":[%zu,%zu]}%s", *bytes, end, i + 1 < n ? "," : "");
        *bytes = end;
    }
    str_puts(header, "}");
    while (header->len % 8) str_puts(header, " "); // so that the data is aligned in a map
}

int safetensors_write_begin(SafetensorsWriter *w, const char *path, const Tensor *tensor, int n, const json_t *metadata,
                            Err *err) {
    Str header = {0};
    put_header(&header, tensor, n, metadata, &w->declared_bytes);
    CHECK(header.len <= MAX_HEADER);
    int status = outfile_open(&w->file, path, err);
    if (status == 0) {
        uint64_t length = header.len;
        outfile_write(&w->file, &length, 8);
        outfile_write(&w->file, header.data, header.len);
        w->declared_bytes += 8 + header.len;
    }
    str_free(&header);
    return status;
}

void safetensors_write_data(SafetensorsWriter *w, const void *data, size_t bytes) {
    outfile_write(&w->file, data, bytes);
}

int safetensors_write_end(SafetensorsWriter *w, Err *err) {
    if (w->file.bytes == w->declared_bytes) return outfile_commit(&w->file, err);
    err_set(err, ERR_INTERNAL, "%s: %llu bytes written where %zu were declared", w->file.path,
            (unsigned long long)w->file.bytes, w->declared_bytes);
    outfile_abandon(&w->file);
    return -1;
}
