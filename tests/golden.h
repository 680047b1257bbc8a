// The tiny models under tests/golden and the values PyTorch computed for them.
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "data/examples.h"
#include "io/safetensors.h"
#include "model/llm.h"
#include "model/session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                                                                               \
    do {                                                                                                                       \
        if (call) fail_msg("%s: %s", #call, err.message);                                                                      \
    } while (0)

typedef struct Golden {
    const char *folder;
    json_t *json;
    Safetensors values; // golden.safetensors
    Ops *ops;
    Llm llm;
    Examples examples; // rows of golden.json, nothing shared: each prompt is a root
    uint32_t index[64];
} Golden;

// A comparison that fails on NaN; `what` and the place are reported.
static inline void golden_close(double got, double want, double tolerance, const char *what, int at) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s[%d]: got %.9g, want %.9g (tolerance %.3g)", what, at, got, want, tolerance);
}

static inline void golden_fill(Llm *m, const Safetensors *f) {
    for (int i = 0; i < m->params.n; i++) {
        const Param *p = &m->params.param[i];
        const Tensor *t = safetensors_find(f, p->name);
        if (!t) continue;
        assert_int_equal(t->count, p->count);
        float *host = malloc(p->count * sizeof(float));
        tensor_to_f32(host, t, 0, t->count);
        llm_set(m, p, 0, p->count, host);
        free(host);
    }
    for (int g = 0; g < PARAM_GROUPS; g++) llm_changed(m, g);
}

static inline void golden_load_file(Llm *m, const char *folder, const char *name) {
    Err err = {0};
    Safetensors f;
    char *path = file_join(folder, name);
    OK(safetensors_open(&f, path, &err));
    golden_fill(m, &f);
    safetensors_close(&f);
    free(path);
}

// Examples over ids that the caller has. The ids that all prompts begin with are shared where `share`.
static inline void golden_examples(Golden *g, int share) {
    json_t *rows = json_object_get(g->json, "rows");
    Examples *e = &g->examples;
    *e = (Examples){.n = (int)json_array_size(rows), .example = calloc(json_array_size(rows), sizeof(Example))};
    int common = 0;
    json_t *first = json_object_get(json_array_get(rows, 0), "prompt_ids");
    for (int same = 1; same && share; common += same)
        for (int i = 0; i < e->n; i++)
            same &=
                json_integer_value(json_array_get(json_object_get(json_array_get(rows, (size_t)i), "prompt_ids"),
                                                  (size_t)common)) == json_integer_value(json_array_get(first, (size_t)common));
    for (int i = 0; i < common; i++) ints_push(&e->common.ids, (int32_t)json_integer_value(json_array_get(first, (size_t)i)));
    for (int i = 0; i < e->n; i++) {
        json_t *row = json_array_get(rows, (size_t)i), *p = json_object_get(row, "prompt_ids"),
               *a = json_object_get(row, "answer_ids");
        Example *x = &e->example[i];
        x->prompt_len = (int)json_array_size(p) - common;
        x->answer_len = (int)json_array_size(a);
        x->shared = common > 0;
        int32_t *prompt = malloc(sizeof(int32_t) * (size_t)x->prompt_len),
                *answer = malloc(sizeof(int32_t) * (size_t)x->answer_len);
        for (int j = 0; j < x->prompt_len; j++)
            prompt[j] = (int32_t)json_integer_value(json_array_get(p, (size_t)(j + common)));
        for (int j = 0; j < x->answer_len; j++) answer[j] = (int32_t)json_integer_value(json_array_get(a, (size_t)j));
        x->prompt = prompt, x->answer = answer;
        if (x->prompt_len + common + x->answer_len > e->longest) e->longest = x->prompt_len + common + x->answer_len;
        e->answer_tokens += x->answer_len;
        g->index[i] = (uint32_t)i;
    }
}

static inline void golden_free_examples(Golden *g) {
    for (int i = 0; i < g->examples.n; i++)
        free((void *)g->examples.example[i].prompt), free((void *)g->examples.example[i].answer);
    examples_free(&g->examples);
}

// lora_rank > 0: with adapters on all layers, which add nothing yet.
static inline void golden_open_lora(Golden *g, const char *folder, Dtype dtype, int thoughts, int share, int threads,
                                    int lora_rank, double lora_alpha) {
    Err err = {0};
    memset(g, 0, sizeof *g);
    g->folder = folder;
    char *path = file_join(folder, "golden.json"), *config_path = file_join(folder, "config.json"),
         *values = file_join(folder, "golden.safetensors");
    g->json = json_read(path, 0, &err);
    if (!g->json) fail_msg("%s", err.message);
    OK(safetensors_open(&g->values, values, &err));
    json_t *config_json = json_read(config_path, 0, &err);
    ModelConfig config;
    OK(config_from_json(&config, config_json, config_path, &err));
    json_decref(config_json);
    config.thoughts = thoughts;
    config.lora_rank = lora_rank, config.lora_alpha = (float)lora_alpha, config.lora_targets = (1 << PARAMS_TARGETS) - 1;
    OK(ops_open(&g->ops, NULL, threads, dtype, &err));
    OK(llm_init(&g->llm, g->ops, &config, 1024, &err));
    golden_load_file(&g->llm, folder, "model.safetensors");
    golden_load_file(&g->llm, folder, "latentratt.safetensors");
    llm_init_lora(&g->llm, 1);
    golden_examples(g, share);
    free(path), free(config_path), free(values);
}

static inline void golden_open_threads(Golden *g, const char *folder, Dtype dtype, int thoughts, int share, int threads) {
    golden_open_lora(g, folder, dtype, thoughts, share, threads, 0, 0);
}

static inline void golden_open(Golden *g, const char *folder, Dtype dtype, int thoughts, int share) {
    golden_open_threads(g, folder, dtype, thoughts, share, 2);
}

static inline void golden_close_all(Golden *g) {
    golden_free_examples(g);
    llm_free(&g->llm);
    ops_close(g->ops);
    safetensors_close(&g->values);
    json_decref(g->json);
}

static inline double golden_number(const Golden *g, const char *section, const char *key) {
    return json_number_value(json_object_get(json_object_get(g->json, section), key));
}

// Every gradient tensor of the section against the file, within `tolerance` of its largest entry. Returns how many.
static inline int golden_gradients(const Golden *g, const char *section, double tolerance) {
    int compared = 0;
    for (int i = 0; i < g->values.n; i++) {
        const Tensor *t = &g->values.tensor[i];
        size_t skip = strlen(section);
        if (strncmp(t->name, section, skip) || t->name[skip] != '.') continue;
        const Param *p = params_find(&g->llm.params, t->name + skip + 1);
        if (!p) fail_msg("%s: no such parameter", t->name);
        float *want = malloc(t->bytes), *got = malloc(t->bytes);
        tensor_to_f32(want, t, 0, t->count);
        ops_download(g->ops, got, g->llm.dw + p->offset, t->count * sizeof(float));
        double largest = 0;
        for (size_t j = 0; j < t->count; j++) largest = fmax(largest, fabs((double)want[j]));
        for (size_t j = 0; j < t->count; j++) golden_close(got[j], want[j], tolerance * largest + 1e-12, t->name, (int)j);
        free(want), free(got);
        compared++;
    }
    return compared;
}

#endif
