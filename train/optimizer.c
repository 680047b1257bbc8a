#include "train/optimizer.h"
#include "base/rng.h"

#include <math.h>

// The values [begin, end) of the block, all kept in bf16 or all in f32.
typedef void RunDo(Optimizer *o, size_t begin, size_t end, int half, const void *context);

// Group by group where all is f32; else parameter by parameter: of those in bf16 the f32 moments are never touched.
static void each_run(Optimizer *o, RunDo *run, const void *context) {
    const Params *p = &o->llm->params;
    for (int g = 0; g < PARAM_GROUPS && !o->llm->half; g++)
        if (o->llm->train[g]) run(o, p->begin[g], p->begin[g + 1], 0, context);
    if (!o->llm->half) return;
    for (int i = 0; i < p->n; i++) {
        const Param *x = &p->param[i];
        if (x->offset >= o->begin && x->offset < o->begin + o->count)
            run(o, x->offset, x->offset + x->count, llm_is_half(o->llm, x), context);
    }
}

static void run_zero(Optimizer *o, size_t begin, size_t end, int half, const void *context) {
    (void)context;
    const size_t at = begin - o->begin, n = end - begin;
    ops_zero(o->llm->ops, half ? (void *)(o->half_m + at) : (void *)(o->m + at), n * (half ? 2 : 4));
    ops_zero(o->llm->ops, half ? (void *)(o->half_v + at) : (void *)(o->v + at), n * (half ? 2 : 4));
}

typedef struct Update {
    float rate, latent_rate, scale;
} Update;

static void run_adamw(Optimizer *o, size_t begin, size_t end, int half, const void *context) {
    const OptimizerOptions *p = &o->options;
    const Update *u = context;
    const Llm *m = o->llm;
    const size_t at = begin - o->begin, n = end - begin, *group = m->params.begin;
    const float rate = begin >= group[PARAMS_LATENT] && begin < group[PARAMS_LATENT + 1] ? u->latent_rate : u->rate;
    const float beta1 = (float)p->beta1, beta2 = (float)p->beta2, eps = (float)p->eps, decay = (float)p->decay;
    if (half)
        op_adamw_half(m->ops, m->half + begin, o->half_m + at, o->half_v + at, m->dw + begin, n, rate, beta1, beta2, eps, decay,
                      o->step, u->scale, p->seed, RNG_ROUND | (uint64_t)o->step << 16, begin);
    else
        op_adamw(m->ops, m->w + begin, o->m + at, o->v + at, m->dw + begin, n, rate, beta1, beta2, eps, decay, o->step,
                 u->scale);
}

int optimizer_init(Optimizer *o, Llm *m, const OptimizerOptions *options, Err *err) {
    *o = (Optimizer){.options = *options, .llm = m};
    o->begin = llm_train_range(m, &o->count);
    size_t bytes = 2 * (o->count * (sizeof(float) + sizeof(uint16_t)) + 128);
    void *range = ops_reserve(m->ops, bytes, err);
    if (!range) return -1;
    arena_init(&o->arena, range, bytes, "the optimizer's arena");
    o->m = ARENA_NEW(&o->arena, float, o->count);
    o->v = ARENA_NEW(&o->arena, float, o->count);
    if (m->half) {
        o->half_m = ARENA_NEW(&o->arena, uint16_t, o->count);
        o->half_v = ARENA_NEW(&o->arena, uint16_t, o->count);
    }
    each_run(o, run_zero, NULL);
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
        const double latent = p->latent_lr > 0 ? s.rate * (p->latent_lr / p->lr) : s.rate;
        each_run(o, run_adamw, &(Update){(float)s.rate, (float)latent, (float)scale});
        for (int group = 0; group < PARAM_GROUPS; group++)
            if (m->train[group]) llm_changed(m, group);
    }
    llm_zero_gradients(m);
    return s;
}
