// The single pass against PyTorch's two: losses, hidden states, thoughts, log-probabilities and every gradient.
#include "golden.h"
#include "train/sft.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

static Session new_session(Golden *g, int slots) {
    Err err = {0};
    Session s;
    OK(session_init(&s, &g->llm, slots, &err));
    return s;
}

static void check_forward(const char *folder) {
    Golden g;
    golden_open(&g, folder, DTYPE_F32, 1, 0);
    Session s = new_session(&g, 2048);
    const int D = g.llm.config.D;
    json_t *rows = json_object_get(g.json, "rows");
    for (int i = 0; i < g.examples.n; i++) {
        const Example *x = &g.examples.example[i];
        SessionMark mark = session_mark(&s);
        ThinkPrompt prompt = {x->prompt, x->prompt_len, 0, 0};
        Think t;
        think_forward(&s, &t, -1, &g.examples.instruction, &prompt, 1, NULL, NULL, THINK_FORWARD, 0);
        float *h = malloc(sizeof(float) * (size_t)D), *r = malloc(sizeof(float) * (size_t)D);
        ops_download(g.ops, h, (float *)s.h + (size_t)session_last(&s, t.node[0]) * (size_t)D, sizeof(float) * (size_t)D);
        ops_download(g.ops, r, t.r, sizeof(float) * (size_t)D);
        json_t *row = json_array_get(rows, (size_t)i);
        for (int d = 0; d < D; d++) {
            double want = json_number_value(json_array_get(json_object_get(row, "last_hidden"), (size_t)d));
            golden_close(h[d], want, 1e-4 * fmax(1, fabs(want)), "last_hidden", d);
            want = json_number_value(json_array_get(json_object_get(row, "thought"), (size_t)d));
            golden_close(r[d], want, 1e-4 * fmax(1, fabs(want)), "thought", d);
        }
        free(h), free(r);
        session_reset(&s, mark);
    }
    session_free(&s);
    golden_close_all(&g);
}

static void forward_matches(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) check_forward(folders[i]);
}

static void check_gradients(const char *folder, int thoughts, int share, int micro_rows) {
    Err err = {0};
    Golden g;
    const char *section = thoughts ? "sft" : "sft_without_thought";
    golden_open(&g, folder, DTYPE_F32, thoughts, share);
    Session s = new_session(&g, 4096);
    OK(llm_train(&g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    int64_t tokens;
    double loss = sft_update(&s, &g.examples, g.index, g.examples.n, micro_rows, 1, &tokens) / (double)tokens;
    golden_close(loss, golden_number(&g, section, "loss"), 1e-4 * loss, section, 0);
    int compared = golden_gradients(&g, section, 1e-3);
    assert_int_equal(compared, g.llm.params.n);
    session_free(&s);
    golden_close_all(&g);
}

static void gradients_match(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        for (int thoughts = 0; thoughts < 2; thoughts++)
            for (int share = 0; share < 2; share++)
                for (int micro = 0; micro < 3; micro++)
                    check_gradients(folders[i], thoughts, share, micro == 0 ? 1 : micro == 1 ? 700 : 1 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forward_matches), cmocka_unit_test(gradients_match)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
