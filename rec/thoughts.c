#include "rec/thoughts.h"

#include <string.h>

// Think wants them as (thoughts, B, D).
void thoughts_give(const Thoughts *x, Session *s, Think *t, const int *number) {
    if (!x->given) return;
    const size_t D = (size_t)s->llm->config.D, N = (size_t)s->llm->config.thoughts, B = (size_t)t->B;
    float *host = ARENA_NEW(&s->host, float, N *B *D), *device = ARENA_NEW(&s->device, float, N *B *D);
    for (size_t b = 0; b < B; b++)
        for (size_t n = 0; n < N; n++)
            memcpy(host + (n * B + b) * D, x->given + ((size_t)number[b] * N + n) * D, D * sizeof(float));
    ops_upload(s->ops, device, host, N * B * D * sizeof(float));
    t->given = device;
}

void thoughts_take(const Thoughts *x, Session *s, const Think *t, const int *number) {
    if (!x->keep || x->given) return;
    const size_t D = (size_t)s->llm->config.D, N = (size_t)t->thoughts;
    float *host = ARENA_NEW(&s->host, float, (size_t)t->B *D);
    for (size_t n = 0; n < N; n++) {
        ops_download(s->ops, host, t->pass[n].r, (size_t)t->B * D * sizeof(float));
        for (size_t b = 0; b < (size_t)t->B; b++)
            memcpy(x->keep + ((size_t)number[b] * N + n) * D, host + b * D, D * sizeof(float));
    }
}
