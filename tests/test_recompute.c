// Session.recompute: activations made again going back give the same bits as those that were kept, in less memory.
#include "golden.h"
#include "train/sft.h"

typedef struct Way {
    const char *folder;
    Dtype dtype;
    int thoughts;
    float dropout;
    int thought_layer;
} Way;

// One SFT update; the gradients of the whole block (n floats, caller frees), the loss and the most that the step's arena held.
static float *gradients(const Way *w, int recompute, double *loss, size_t *n, size_t *most) {
    Err err = {0};
    Golden g;
    Session s;
    int64_t tokens;
    golden_open(&g, w->folder, w->dtype, w->thoughts, 0);
    g.llm.config.thought_layer = w->thought_layer;
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    OK(session_init(&s, &g.llm, sft_slots(&g.examples, w->thoughts, 64), &err));
    s.recompute = recompute;
    s.dropout = (Dropout){.rate = w->dropout, .seed = 5};
    *loss = sft_update(&s, &g.examples, g.index, g.examples.n, 64, 1, &tokens);
    *most = s.device.peak_bytes;
    *n = g.llm.params.total;
    float *out = malloc(*n * sizeof(float));
    ops_download(g.ops, out, g.llm.dw, *n * sizeof(float));
    session_free(&s);
    golden_close_all(&g);
    return out;
}

static void same_bits(void **state) {
    (void)state;
    const char *const qwen = "tests/golden/tiny-qwen2", *const llama = "tests/golden/tiny-llama";
    const Way way[] = {{qwen, DTYPE_F32, 0, 0, 0},     {llama, DTYPE_F32, 1, 0, 0}, {qwen, DTYPE_F32, 2, 0.25f, 0},
                       {llama, DTYPE_F32, 3, 0.5f, 0}, {qwen, DTYPE_F32, 2, 0, 1},  {llama, DTYPE_BF16, 1, 0, 0}};
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        if (way[i].dtype == DTYPE_BF16 && !ops_has_bf16(NULL)) continue;
        double loss[2];
        size_t n, most[2];
        float *kept = gradients(&way[i], 0, &loss[0], &n, &most[0]), *again = gradients(&way[i], 1, &loss[1], &n, &most[1]);
        assert_memory_equal(again, kept, n * sizeof(float));
        assert_true(loss[0] == loss[1] && loss[0] > 0);
        if (!(most[1] < most[0])) fail_msg("way %zu: %zu bytes with recompute, %zu without", i, most[1], most[0]);
        free(kept), free(again);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
