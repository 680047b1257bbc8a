#include "train/optimizer.h"

#include <math.h>

int optimizer_init(Optimizer *o, Llm *m, const OptimizerOptions *options, Err *err) {
    *o = (Optimizer){.options = *options, .llm = m};
    int first = 0, end = PARAM_GROUPS;
    while (first < PARAM_GROUPS && !m->train[first]) first++;
    while (end > first && !m->train[end - 1]) end--;
    o->begin = m->params.begin[first];
    o->count = m->params.begin[end] - o->begin;
    for (int g = first; g < end; g++) CHECK(m->train[g] || m->params.begin[g] == m->params.begin[g + 1]);
    size_t bytes = 2 * (o->count * sizeof(float) + 64);
    void *range = ops_reserve(m->ops, bytes, err);
    if (!range) return -1;
    arena_init(&o->arena, range, bytes, "the optimizer's arena");
    o->m = ARENA_NEW(&o->arena, float, o->count);
    o->v = ARENA_NEW(&o->arena, float, o->count);
    ops_zero(m->ops, o->m, o->count * sizeof(float));
    ops_zero(m->ops, o->v, o->count * sizeof(float));
    return 0;
}

void optimizer_free(Optimizer *o) {
    if (o->arena.base) ops_release(o->llm->ops, o->arena.base, o->arena.capacity_bytes);
    *o = (Optimizer){0};
}

// As transformers' schedules: the first update of a warm-up has rate 0.
double optimizer_rate(const OptimizerOptions *o, int64_t step) {
    const double pi = 3.14159265358979323846;
    if (step < o->warmup) return o->lr * (double)step / (double)o->warmup;
    if (o->schedule == SCHEDULE_CONSTANT) return o->lr;
    double rest = o->steps > o->warmup ? (double)(o->steps - step) / (double)(o->steps - o->warmup) : 1;
    if (rest < 0) rest = 0;
    return o->schedule == SCHEDULE_LINEAR ? o->lr * rest : o->lr * 0.5 * (1.0 + cos(pi * (1.0 - rest)));
}

OptimizerStep optimizer_update(Optimizer *o) {
    const OptimizerOptions *p = &o->options;
    Llm *m = o->llm;
    float *g = m->dw + o->begin;
    OptimizerStep s = {.rate = optimizer_rate(p, o->step), .norm = sqrt(op_sum_squares(m->ops, g, o->count))};
    s.refused = !isfinite(s.norm);
    if (!s.refused) {
        double scale = p->clip > 0 && s.norm > p->clip ? p->clip / (s.norm + 1e-6) : 1.0; // as torch.nn.utils.clip_grad_norm_
        o->step++;
        op_adamw(m->ops, m->w + o->begin, o->m, o->v, g, o->count, (float)s.rate, (float)p->beta1, (float)p->beta2,
                 (float)p->eps, (float)p->decay, o->step, (float)scale);
        for (int group = 0; group < PARAM_GROUPS; group++)
            if (m->train[group]) llm_changed(m, group);
    }
    llm_zero_gradients(m);
    return s;
}
