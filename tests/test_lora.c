// Adapters outside of one training step: what a saved model holds, bf16, and the list of layers.
#include "base/rng.h"
#include "golden.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "train/sft.h"

static const char folder[] = "tests/golden/tiny-qwen2";

static void fill(Llm *m, double scale) {
    const size_t begin = m->params.begin[PARAMS_LORA], count = m->params.begin[PARAMS_LORA + 1] - begin;
    float *host = malloc(count * sizeof(float));
    rng_normal(host, count, 5, 1, 0);
    for (size_t i = 0; i < count; i++) host[i] *= (float)scale;
    ops_upload(m->ops, m->w + begin, host, count * sizeof(float));
    llm_changed(m, PARAMS_LORA);
    free(host);
}

static double loss_of(Golden *g) {
    Err err = {0};
    Session s;
    OK(session_init(&s, &g->llm, 8192, &err));
    double loss = sft_measure(&s, &g->examples, 1 << 20, NULL, NULL);
    session_free(&s);
    return loss;
}

// The folder that weights_save writes, as a model of its own without adapters.
static double saved_loss(Golden *g) {
    Err err = {0};
    char path[] = "/tmp/latentr3-lora-XXXXXX", command[64];
    assert_non_null(mkdtemp(path));
    OK(weights_save(&g->llm, path, TENSOR_F32, NULL, &err));
    Golden plain;
    WeightsSource source;
    golden_open(&plain, folder, DTYPE_F32, 1, 1);
    OK(weights_open(&source, path, &err));
    OK(weights_load(&plain.llm, &source, &err));
    char have[33], want[33];
    weights_hash(&plain.llm, have), weights_hash(&g->llm, want);
    assert_string_equal(have, want);
    double loss = loss_of(&plain);
    weights_close(&source);
    golden_close_all(&plain);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
    return loss;
}

static void saved_merged(void **state) {
    (void)state;
    Golden plain, g;
    golden_open(&plain, folder, DTYPE_F32, 1, 1);
    golden_open_lora(&g, folder, DTYPE_F32, 1, 1, 2, 4, 8);
    const double base = loss_of(&plain);
    assert_true(loss_of(&g) == base); // B is zero
    fill(&g.llm, 0.1);
    const double with = loss_of(&g);
    assert_true(fabs(with - base) > 0.01);
    golden_close(saved_loss(&g), with, 1e-5 * with, "merged", 0);
    golden_close_all(&plain), golden_close_all(&g);
}

// Odd and even ranks in bf16: the gradients are those of f32 but for rounding.
static void bf16_gradients(void **state) {
    (void)state;
    if (!ops_has_bf16(NULL)) skip();
    for (int rank = 1; rank <= 8; rank += 7) {
        Golden g[2];
        float *grad[2];
        size_t begin = 0, count = 0;
        for (int i = 0; i < 2; i++) {
            Err err = {0};
            Session s;
            golden_open_lora(&g[i], folder, i ? DTYPE_BF16 : DTYPE_F32, 1, 1, 2, rank, 2 * rank);
            fill(&g[i].llm, 0.05);
            OK(session_init(&s, &g[i].llm, 8192, &err));
            OK(llm_train(&g[i].llm, TRAIN_LORA, &err));
            sft_update(&s, &g[i].examples, g[i].index, g[i].examples.n, 1 << 20, 1, NULL);
            begin = g[i].llm.params.begin[PARAMS_LORA], count = g[i].llm.params.total - begin;
            grad[i] = malloc(count * sizeof(float));
            ops_download(g[i].ops, grad[i], g[i].llm.dw + begin, count * sizeof(float));
            session_free(&s);
            golden_close_all(&g[i]);
        }
        double difference = 0, norm = 0;
        for (size_t i = 0; i < count; i++) {
            const double d = (double)grad[1][i] - (double)grad[0][i];
            difference += d * d, norm += (double)grad[0][i] * (double)grad[0][i];
        }
        golden_close(sqrt(difference), 0, 2e-2 * sqrt(norm), "gradient", rank);
        free(grad[0]), free(grad[1]);
    }
}

static void target_lists(void **state) {
    (void)state;
    Err err = {0};
    unsigned t;
    OK(adapter_targets(&t, "q,k,v,o,gate,up,down", &err));
    assert_int_equal(t, 127);
    OK(adapter_targets(&t, "down_proj,q_proj", &err));
    assert_int_equal(t, 64 | 1);
    const char *const bad[] = {"", "qq", "q,,v", "q_", "head", ",q"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(adapter_targets(&t, bad[i], &err), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(saved_merged), cmocka_unit_test(bf16_gradients),
                                       cmocka_unit_test(target_lists)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
