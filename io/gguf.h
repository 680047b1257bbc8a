// GGUF (versions 2 and 3, little-endian): key/value metadata and tensors in blocks. Checked whole before use.
#ifndef IO_GGUF_H
#define IO_GGUF_H

#include "base/err.h"
#include "base/file.h"
#include "io/tensor.h"

typedef enum GgufType {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
} GgufType; // the values of the file format

typedef struct GgufString {
    const char *data; // not terminated
    size_t len;
} GgufString;

typedef struct GgufValue {
    GgufString key;
    GgufType type, element; // element: for arrays (never an array)
    size_t count;           // elements of an array, 1 else
    const char *data;       // encoded, little-endian, may be misaligned
    const size_t *offset;   // for an array of strings: where each begins in `data` (its 8-byte length first)
} GgufValue;

typedef struct Gguf {
    MapFile file;
    uint32_t version;
    size_t alignment;
    int n_values, n_tensors;
    GgufValue *value; // file order
    Tensor *tensor;   // sorted by name; names are terminated copies
    struct GgufIndex *index;
} Gguf;

int gguf_open(Gguf *g, const char *path, Err *err);
int gguf_parse(Gguf *g, const char *data, size_t bytes, const char *name, Err *err); // the bytes must outlive `g`
void gguf_close(Gguf *g);

const GgufValue *gguf_find(const Gguf *g, const char *key); // NULL where absent
const Tensor *gguf_tensor(const Gguf *g, const char *name);

// Typed access; each returns -1 with `err` naming the key where it is absent or of another type. Integers of any width
// and sign are taken where the value fits.
int gguf_int(const Gguf *g, const char *key, int64_t *out, Err *err);
int gguf_float(const Gguf *g, const char *key, double *out, Err *err);
int gguf_bool(const Gguf *g, const char *key, int *out, Err *err);
int gguf_string(const Gguf *g, const char *key, GgufString *out, Err *err);
GgufString gguf_array_string(const GgufValue *v, size_t i); // of an array of strings
int64_t gguf_array_int(const GgufValue *v, size_t i);       // of an array of integers
float gguf_array_f32(const GgufValue *v, size_t i);

#endif
