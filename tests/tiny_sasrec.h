// The tiny SASRec of tests/golden/tiny-sasrec, whose file holds LatentRATT and the tables for two thoughts.
#ifndef TESTS_TINY_SASREC_H
#define TESTS_TINY_SASREC_H

#include "golden.h"

#define TINY_SASREC "tests/golden/tiny-sasrec"

// g->json, values, ops and llm; no Examples.
static inline void tiny_sasrec_open(Golden *g, int thoughts, int hidden, Activation activation, int threads) {
    Err err = {0};
    memset(g, 0, sizeof *g);
    g->folder = TINY_SASREC;
    json_t *config_json = json_read(TINY_SASREC "/config.json", 0, &err);
    ModelConfig c;
    OK(config_from_json(&c, config_json, TINY_SASREC "/config.json", &err));
    json_decref(config_json);
    if (!(g->json = json_read(TINY_SASREC "/golden.json", 0, &err))) fail_msg("%s", err.message);
    OK(safetensors_open(&g->values, TINY_SASREC "/golden.safetensors", &err));
    const int trained = c.thoughts;
    c.thoughts = thoughts, c.thought_hidden = hidden, c.activation = activation;
    OK(ops_open(&g->ops, NULL, threads, DTYPE_F32, &err));
    OK(llm_init(&g->llm, g->ops, &c, c.max_positions + trained, &err));
    Safetensors f;
    OK(safetensors_open(&f, TINY_SASREC "/model.safetensors", &err));
    for (int i = 0; i < g->llm.params.n; i++) { // with fewer thoughts the first rows of their table
        const Param *p = &g->llm.params.param[i];
        const Tensor *tensor = safetensors_find(&f, p->name);
        assert_non_null(tensor);
        assert_true(tensor->count >= p->count);
        float *host = malloc(p->count * sizeof(float));
        tensor_to_f32(host, tensor, 0, p->count);
        ops_upload(g->ops, g->llm.w + p->offset, host, p->count * sizeof(float));
        free(host);
    }
    safetensors_close(&f);
}

static inline void tiny_sasrec_close(Golden *g) {
    llm_free(&g->llm);
    ops_close(g->ops);
    safetensors_close(&g->values);
    json_decref(g->json);
}

#endif
