// Any bytes as a GGUF file: refused with a line, or every value and tensor can be read, and the model's shape is either
// refused or sound.
#include "base/arena.h"
#include "model/config.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void read_value(const Gguf *g, const GgufValue *v) {
    char key[256];
    int64_t i, sum = 0;
    double f;
    int b;
    GgufString s;
    if (v->key.len < sizeof key) {
        memcpy(key, v->key.data, v->key.len);
        key[v->key.len] = 0;
        EXPECT(gguf_find(g, key) == v);
        if (gguf_int(g, key, &i, NULL) == 0) sum += i & 1;
        if (gguf_float(g, key, &f, NULL) == 0) sum += f > 0;
        if (gguf_bool(g, key, &b, NULL) == 0) EXPECT(b == 0 || b == 1);
        if (gguf_string(g, key, &s, NULL) == 0 && s.len) sum += s.data[s.len - 1];
    }
    for (size_t k = 0; v->type == GGUF_ARRAY && k < v->count; k++) {
        if (v->element == GGUF_STRING && (s = gguf_array_string(v, k)).len) sum += s.data[s.len - 1];
        if (v->element == GGUF_I32 || v->element == GGUF_U8) sum += gguf_array_int(v, k) & 1;
    }
    volatile int64_t sink = sum; // the reads must happen
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Gguf g;
    Err err = {0};
    ModelConfig c;
    if (gguf_parse(&g, (const char *)data, bytes, "fuzz", &err)) {
        EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    for (int i = 0; i < g.n_values; i++) read_value(&g, &g.value[i]);
    for (int i = 0; i < g.n_tensors; i++) {
        const Tensor *t = &g.tensor[i];
        EXPECT(gguf_tensor(&g, t->name) == t && t->bytes <= bytes);
        if (t->type >= TENSOR_I32) continue;
        float *x = mem_alloc(t->count, sizeof *x);
        tensor_to_f32(x, t, 0, t->count);
        free(x);
    }
    if (config_from_gguf(&c, &g, &err) == 0)
        EXPECT(config_check(&c, "fuzz", NULL) == 0);
    else
        EXPECT(err.code == ERR_DATA && err.message[0]);
    gguf_close(&g);
    return 0;
}
