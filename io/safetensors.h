// safetensors: an 8-byte little-endian header length, a JSON header, then the bytes of all tensors without gaps.
#ifndef IO_SAFETENSORS_H
#define IO_SAFETENSORS_H

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "io/tensor.h"

typedef struct Safetensors {
    int n;
    Tensor *tensor; // sorted by name
    int files;      // one, or the shards of an index
    MapFile *file;
    json_t *metadata; // "__metadata__" of the first file, or NULL
} Safetensors;

// One .safetensors file; or a model.safetensors.index.json with the shards it names beside it. Checked whole before use:
// see docs/formats.md for what is refused.
int safetensors_open(Safetensors *s, const char *path, Err *err);
// The same over bytes in memory (for fuzzing and tests); `name` stands in messages. The bytes must outlive `s`.
int safetensors_parse(Safetensors *s, const char *data, size_t bytes, const char *name, Err *err);
void safetensors_close(Safetensors *s);
const Tensor *safetensors_find(const Safetensors *s, const char *name);
const char *safetensors_path(const Safetensors *s, const Tensor *t); // of the file that holds its bytes

// Writing: declare all tensors, then give their bytes in the same order. The file appears at commit.
typedef struct SafetensorsWriter {
    OutFile file;
    size_t declared_bytes;
} SafetensorsWriter;

// `tensor[i].data` is not read here. metadata may be NULL; {"format": "pt"} is what transformers expects.
int safetensors_write_begin(SafetensorsWriter *w, const char *path, const Tensor *tensor, int n, const json_t *metadata,
                            Err *err);
void safetensors_write_data(SafetensorsWriter *w, const void *data, size_t bytes);
int safetensors_write_end(SafetensorsWriter *w, Err *err); // fails when the bytes given are not those declared

#endif
