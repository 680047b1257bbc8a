#include "model/adapter.h"

#include <stdlib.h>
#include <string.h>

// The part of a weight's adapter, "lora_A" or "lora_B"; NULL where it has none.
static const Param *adapter_part(const Llm *m, const Param *weight, const char *part) {
    char name[128];
    const size_t stem = strlen(weight->name) - strlen("weight");
    snprintf(name, sizeof name, "%.*s%s.weight", (int)stem, weight->name, part);
    return params_find(&m->params, name);
}

static float *download(const Llm *m, const Param *p, size_t first, size_t n) {
    float *host = mem_alloc(n, sizeof *host);
    ops_download(m->ops, host, m->w + p->offset + first, n * sizeof *host);
    return host;
}

void adapter_add(const Llm *m, const Param *weight, size_t row, size_t rows, float *values) {
    if (m->config.lora_rank == 0 || weight->group != PARAMS_BACKBONE || weight->n_dims != 2) return;
    const Param *down = adapter_part(m, weight, "lora_A"), *up = adapter_part(m, weight, "lora_B");
    if (!down) return;
    const size_t R = (size_t)m->config.lora_rank, I = (size_t)weight->dims[1];
    const float scale = m->config.lora_alpha / (float)m->config.lora_rank;
    float *a = download(m, down, 0, down->count), *b = download(m, up, row * R, rows * R);
    for (size_t o = 0; o < rows; o++)
        for (size_t k = 0; k < R; k++) {
            const float factor = scale * b[o * R + k];
            for (size_t i = 0; i < I; i++) values[o * I + i] += factor * a[k * I + i];
        }
    free(a), free(b);
}

int adapter_targets(unsigned *targets, const char *list, Err *err) {
    *targets = 0;
    for (const char *at = list; *at;) {
        const size_t n = strcspn(at, ",");
        int found = 0;
        for (int t = 0; t < PARAMS_TARGETS; t++) {
            const char *name = strchr(params_target[t], '.') + 1; // "q_proj"
            const size_t whole = strlen(name), stem = whole - strlen("_proj");
            if ((n != whole && n != stem) || memcmp(name, at, n)) continue;
            *targets |= 1u << t;
            found = 1;
        }
        if (!found) return err_set(err, ERR_USAGE, "'%.*s' is none of q, k, v, o, gate, up, down", n < 40 ? (int)n : 40, at);
        at += n + (at[n] == ',');
    }
    return *targets ? 0 : err_set(err, ERR_USAGE, "no layer is named: q, k, v, o, gate, up, down");
}
