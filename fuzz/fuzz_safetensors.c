// Any bytes as a safetensors file: refused with a line, or every tensor can be found and read to its last byte.
#include "base/arena.h"
#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Safetensors s;
    Err err = {0};
    if (safetensors_parse(&s, (const char *)data, bytes, "fuzz", &err)) {
        EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    size_t total = 0;
    for (int i = 0; i < s.n; i++) {
        const Tensor *t = &s.tensor[i];
        EXPECT(safetensors_find(&s, t->name) == t && t->n_dims <= TENSOR_DIMS);
        total += t->bytes;
        if (t->type < TENSOR_I32) {
            float *x = mem_alloc(t->count, sizeof *x);
            tensor_to_f32(x, t, 0, t->count);
            free(x);
        } else if (t->bytes) {
            char *x = mem_alloc(t->bytes, 1);
            memcpy(x, t->data, t->bytes);
            free(x);
        }
    }
    EXPECT(total < bytes);
    safetensors_close(&s);
    return 0;
}
