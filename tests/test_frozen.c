// A frozen backbone gives the same bits whether its matrices are kept, stream from the file, or some of each; a file with a
// value that is not finite is refused either way.
#include "golden.h"
#include "model/frozen.h"
#include "model/weights.h"

#include "folder.h"

enum { ROWS = 12 };

// Hidden states and log-probabilities of one row (ROWS - 1 of them).
typedef struct Outcome {
    float logprob[ROWS - 1];
    size_t hidden_bytes;
    char *hidden;
} Outcome;

static Outcome outcome(const char *folder, Dtype dtype, size_t memory_bytes, int *streams) {
    Err err = {0};
    WeightsSource source;
    Ops *ops;
    Llm llm;
    Session s;
    OK(weights_open(&source, folder, &err));
    OK(ops_open(&ops, NULL, 2, dtype, &err));
    OK(llm_init(&llm, ops, &source.config, 64, &err));
    OK(frozen_attach(&llm, &source, memory_bytes, &err));
    *streams = llm.head.stream;
    for (int l = 0; l < llm.config.L; l++) *streams += llm.block[l].qkv.stream + llm.block[l].down.stream;
    OK(session_init(&s, &llm, 64, &err));
    int32_t ids[ROWS], slot[ROWS];
    for (int i = 0; i < ROWS; i++) ids[i] = (i * 37 + 5) % llm.config.V, slot[i] = i;
    Segment g;
    segment_begin(&s, &g, 1, ROWS);
    segment_add(&s, &g, -1, ids, ROWS);
    segment_forward(&s, &g, NULL, 0);
    Outcome o = {.hidden_bytes = (size_t)ROWS * (size_t)llm.config.D * dtype_bytes(dtype)};
    o.hidden = malloc(o.hidden_bytes);
    ops_download(ops, o.hidden, s.h, o.hidden_bytes);
    head_logprob(&s, slot, ids + 1, ROWS - 1, o.logprob, NULL);
    session_free(&s);
    llm_free(&llm);
    ops_close(ops);
    weights_close(&source);
    return o;
}

static void same_bits(void **state) {
    (void)state;
    static const char *const folder[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};
    for (int f = 0; f < 2; f++)
        for (int d = 0; d <= ops_has_bf16(NULL); d++) {
            const Dtype dtype = d ? DTYPE_BF16 : DTYPE_F32;
            int all, none, some;
            Outcome kept = outcome(folder[f], dtype, (size_t)1 << 40, &none), streamed = outcome(folder[f], dtype, 1, &all),
                    mixed = outcome(folder[f], dtype, (size_t)60000 * dtype_bytes(dtype), &some);
            assert_true(none == 0 && some > 0 && some < all);
            assert_memory_equal(streamed.hidden, kept.hidden, kept.hidden_bytes);
            assert_memory_equal(mixed.hidden, kept.hidden, kept.hidden_bytes);
            assert_memory_equal(streamed.logprob, kept.logprob, sizeof kept.logprob);
            assert_memory_equal(mixed.logprob, kept.logprob, sizeof kept.logprob);
            for (int i = 0; i < ROWS - 1; i++) assert_true(kept.logprob[i] < 0);
            free(kept.hidden), free(streamed.hidden), free(mixed.hidden);
        }
}

#ifdef FOREIGN
extern size_t foreign_memory_bytes, foreign_free_bytes;

// The device's memory decides what is kept and how large the step's arena is, not the host's.
static void by_device(void **state) {
    (void)state;
    Err err = {0};
    WeightsSource source;
    Ops *ops;
    Llm llm;
    Session s;
    OK(weights_open(&source, "tests/golden/tiny-qwen2", &err));
    OK(ops_open(&ops, NULL, 2, DTYPE_F32, &err));
    for (int small = 0; small < 2; small++) {
        foreign_memory_bytes = small ? (size_t)64 << 10 : 0;
        OK(llm_init(&llm, ops, &source.config, 64, &err));
        OK(frozen_attach(&llm, &source, 0, &err));
        assert_int_equal(llm.head.stream || llm.block[llm.config.L - 1].down.stream, small);
        foreign_memory_bytes = (size_t)16 << 20;
        OK(session_init(&s, &llm, 64, &err));
        assert_int_equal(s.device.capacity_bytes, foreign_memory_bytes);
        session_free(&s);
        llm_free(&llm);
    }
    foreign_memory_bytes = 0, foreign_free_bytes = (size_t)64 << 10; // as beside another model
    OK(llm_init(&llm, ops, &source.config, 64, &err));
    assert_int_equal(frozen_attach(&llm, &source, 0, &err), -1);
    assert_int_equal(err.code, ERR_MEMORY);
    assert_non_null(strstr(err.message, "the device has 0 MiB free"));
    llm_free(&llm);
    foreign_free_bytes = 0;
    ops_close(ops);
    weights_close(&source);
}
#endif

// The golden model with a NaN in one matrix.
static void not_finite(void **state) {
    (void)state;
    Err err = {0};
    char *folder = folder_new(), *path = file_join(folder, "model.safetensors");
    static const char *const copied[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        char *from = file_join("tests/golden/tiny-llama", copied[i]);
        MapFile map;
        OK(mapfile_open(&map, from, 0, &err));
        folder_put(folder, copied[i], map.data, map.bytes);
        mapfile_close(&map);
        free(from);
    }
    Safetensors f;
    OK(safetensors_open(&f, path, &err));
    const Tensor *t = safetensors_find(&f, "model.layers.1.mlp.down_proj.weight"), *first = &f.tensor[0];
    for (int i = 0; i < f.n; i++)
        if (f.tensor[i].data < first->data) first = &f.tensor[i];
    const long size = (long)(t->bytes / 2) / 4 * 4, inside = (long)((const char *)t->data - (const char *)first->data) + size;
    size_t payload = 0;
    for (int i = 0; i < f.n; i++) payload += f.tensor[i].bytes;
    safetensors_close(&f);
    FILE *file = fopen(path, "r+b");
    const float nan = NAN;
    fseek(file, 0, SEEK_END);
    fseek(file, ftell(file) - (long)payload + inside, SEEK_SET);
    assert_int_equal(fwrite(&nan, sizeof nan, 1, file), 1);
    fclose(file);
    for (int way = 0; way < 2; way++) {
        WeightsSource source;
        Ops *ops;
        Llm llm;
        OK(weights_open(&source, folder, &err));
        OK(ops_open(&ops, NULL, 1, DTYPE_F32, &err));
        OK(llm_init(&llm, ops, &source.config, 64, &err));
        assert_int_not_equal(frozen_attach(&llm, &source, way ? 1 : (size_t)1 << 40, &err), 0);
        assert_int_equal(err.code, ERR_DATA);
        assert_non_null(strstr(err.message, "model.layers.1.mlp.down_proj.weight\": a value in row "));
        err = (Err){0};
        llm_free(&llm);
        ops_close(ops);
        weights_close(&source);
    }
    free(path);
    folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
#ifdef FOREIGN
        cmocka_unit_test(by_device),
#endif
        cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
