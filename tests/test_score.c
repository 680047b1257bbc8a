// Log-probabilities of the true answers against PyTorch, in groups of any size.
#include "fixture.h"
#include "rec/score.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

static void score(Fixture *f, int users, RowScore *out) {
    Err err = {0};
    Reader r;
    OK(score_open(&r, &f->g.llm, f->tokenizer, &f->style, users, PROMPT_TRAIN_TOKENS, &err));
    // golden.h shares what all prompts begin with, which may be more than the instruction
    Examples e = {.n = f->rows, .example = calloc((size_t)f->rows, sizeof(Example))};
    Ints prompt[8] = {0};
    for (int i = 0; i < f->rows; i++) {
        const Example *x = &f->g.examples.example[i];
        ints_append(&prompt[i], f->g.examples.common.ids.data, f->g.examples.common.ids.len);
        ints_append(&prompt[i], x->prompt, (size_t)x->prompt_len);
        size_t shared = i % 2 ? r.common.ids.len : 0; // behind the shared node, or alone
        e.example[i] =
            (Example){prompt[i].data + shared, x->answer, (int)(prompt[i].len - shared), x->answer_len, shared > 0, i};
    }
    for (int i = 0; i < f->rows; i += users) score_examples(&r, &e, i, f->rows - i < users ? f->rows - i : users, out + i);
    for (int i = 0; i < f->rows; i++) ints_free(&prompt[i]);
    free(e.example);
    reader_close(&r);
}

static void check_golden(const char *folder, int thoughts) {
    Fixture f;
    fixture_open(&f, folder, thoughts);
    RowScore got[8];
    for (int users = 1; users <= f.rows; users += 2) {
        score(&f, users, got);
        for (int i = 0; i < f.rows; i++) {
            json_t *want = json_object_get(fixture_row(&f, i), thoughts ? "answer_logps" : "answer_logps_without_thought");
            double sum = 0;
            for (size_t t = 0; t < json_array_size(want); t++) sum += json_number_value(json_array_get(want, t));
            assert_int_equal(got[i].tokens, json_array_size(want));
            golden_close(got[i].logprob, sum, 2e-4 * fabs(sum) / 100, "logprob", i);
            golden_close(score_perplexity(got[i]), exp(-sum / got[i].tokens), 1e-5 * exp(-sum / got[i].tokens), "perplexity",
                         i);
        }
    }
    fixture_close(&f);
}

static void test_golden(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++)
        for (int thoughts = 0; thoughts < 2; thoughts++) check_golden(folders[m], thoughts);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
