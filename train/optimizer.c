#include "train/optimizer.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// The values [begin, end) of the block, all kept in bf16 or all in f32.
typedef void RunDo(Optimizer *o, size_t begin, size_t end, int half, void *context);

// Group by group where all is f32; else parameter by parameter: of those in bf16 the f32 moments are never touched.
static void each_run(Optimizer *o, RunDo *run, void *context) {
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

static void run_zero(Optimizer *o, size_t begin, size_t end, int half, void *context) {
    (void)context;
    const size_t at = begin - o->begin, n = end - begin;
    ops_zero(o->llm->ops, half ? (void *)(o->half_m + at) : (void *)(o->m + at), n * (half ? 2 : 4));
    ops_zero(o->llm->ops, half ? (void *)(o->half_v + at) : (void *)(o->v + at), n * (half ? 2 : 4));
}

typedef struct Update {
    float rate, latent_rate, scale;
} Update;

// As published, and as PyTorch has them by default but for the decay, which transformers sets to none.
static const float BETA1 = 0.9f, BETA2 = 0.999f, EPSILON = 1e-8f, DECAY = 0;

static void run_adamw(Optimizer *o, size_t begin, size_t end, int half, void *context) {
    const OptimizerOptions *p = &o->options;
    const Update *u = context;
    const Llm *m = o->llm;
    const size_t at = begin - o->begin, n = end - begin, *group = m->params.begin;
    const float rate = begin >= group[PARAMS_LATENT] && begin < group[PARAMS_LATENT + 1] ? u->latent_rate : u->rate;
    if (half)
        op_adamw_half(m->ops, m->half + begin, o->half_m + at, o->half_v + at, m->dw + begin, n, rate, BETA1, BETA2, EPSILON,
                      DECAY, o->step, u->scale, p->seed, RNG_ROUND | (uint64_t)o->step << 16, begin);
    else
        op_adamw(m->ops, m->w + begin, o->m + at, o->v + at, m->dw + begin, n, rate, BETA1, BETA2, EPSILON, DECAY, o->step,
                 u->scale);
}

int optimizer_init(Optimizer *o, Llm *m, const OptimizerOptions *options, Err *err) {
    if (options->steps > 0 && options->steps <= options->warmup)
        log_warn("%lld steps, all within the warm-up of %lld, hardly teach: --warmup N", (long long)options->steps,
                 (long long)options->warmup);
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

// The first parameter whose gradient is not finite, or NULL.
static const char *bad_gradient(const Optimizer *o) {
    const Params *p = &o->llm->params;
    for (int i = 0; i < p->n; i++) {
        const Param *x = &p->param[i];
        if (x->offset < o->begin || x->offset >= o->begin + o->count) continue;
        if (!isfinite(op_sum_squares(o->llm->ops, o->llm->dw + x->offset, x->count))) return x->name;
    }
    return NULL;
}

OptimizerStep optimizer_update_for(Optimizer *o, double loss) {
    const OptimizerOptions *p = &o->options;
    Llm *m = o->llm;
    float *g = m->dw + o->begin;
    OptimizerStep s = {.rate = optimizer_rate(p, o->step), .norm = sqrt(op_sum_squares(m->ops, g, o->count))};
    s.latent_rate = p->latent_lr > 0 && o->llm->train[PARAMS_LATENT] ? s.rate * (p->latent_lr / p->lr) : s.rate;
    s.why = guard_refuses(&o->guard, loss, s.norm, p->spike);
    s.refused = s.why != NULL;
    if (!isfinite(s.norm)) s.where = bad_gradient(o);
    if (!s.refused) {
        double scale = p->clip > 0 && s.norm > p->clip ? p->clip / (s.norm + 1e-6) : 1.0; // as torch.nn.utils.clip_grad_norm_
        o->step++;
        each_run(o, run_adamw, &(Update){(float)s.rate, (float)s.latent_rate, (float)scale});
        for (int group = 0; group < PARAM_GROUPS; group++)
            if (m->train[group]) llm_changed(m, group);
    }
    llm_zero_gradients(m);
    return o->last = s;
}

OptimizerStep optimizer_update(Optimizer *o) {
    return optimizer_update_for(o, 0);
}

void optimizer_tell(const OptimizerStep *s, json_t *event) {
    if (s->latent_rate != s->rate) json_object_set_new(event, "latent_learning_rate", json_real(s->latent_rate));
    json_object_set_new(event, "refused", json_boolean(s->refused));
    if (s->why) json_object_set_new(event, "why", json_string(s->why));
    if (s->where) json_object_set_new(event, "where", json_string(s->where));
}

// ---- hash -----------------------------------------------------------------------------------------------------------

// Weights and moments from `begin` on, in the type they are kept in.
static void arrays_of(const Optimizer *o, size_t begin, int half, void *array[3]) {
    const size_t at = begin - o->begin;
    array[0] = half ? (void *)(o->llm->half + begin) : (void *)(o->llm->w + begin);
    array[1] = half ? (void *)(o->half_m + at) : (void *)(o->m + at);
    array[2] = half ? (void *)(o->half_v + at) : (void *)(o->v + at);
}

static void run_hash(Optimizer *o, size_t begin, size_t end, int half, void *context) {
    enum { PIECE = 4 << 20 };
    Str *hashes = context;
    const size_t bytes = (end - begin) * (half ? 2 : 4);
    void *array[3];
    char *piece = mem_alloc(PIECE, 1), hex[33];
    arrays_of(o, begin, half, array);
    for (int i = 0; i < 3; i++)
        for (size_t at = 0; at < bytes; at += PIECE) {
            const size_t n = bytes - at < PIECE ? bytes - at : PIECE;
            ops_download(o->llm->ops, piece, (char *)array[i] + at, n);
            hash_bytes(hex, piece, n);
            str_puts(hashes, hex);
        }
    free(piece);
}

void optimizer_hash(Optimizer *o, char hex[33]) {
    Str hashes = {0};
    str_printf(&hashes, "%lld ", (long long)o->step);
    each_run(o, run_hash, &hashes);
    hash_bytes(hex, hashes.data, hashes.len);
    str_free(&hashes);
}

// ---- checkpoints ----------------------------------------------------------------------------------------------------

typedef struct Stored { // then of each run the weights, first and second moments
    int64_t step;
    uint64_t bytes;  // in all
    char layout[48]; // hash of the names and places of what trains
    Guard guard;
} Stored;
_Static_assert(sizeof(Stored) == 64 + sizeof(Guard), "the head has no padding");

typedef struct Cursor {
    char *at;
    size_t bytes; // passed
    int bad;      // a value that no training has
} Cursor;

static void layout_hash(const Optimizer *o, char hex[33]) {
    const Params *p = &o->llm->params;
    Str s = {0};
    for (int i = 0; i < p->n; i++) {
        const Param *x = &p->param[i];
        if (x->offset >= o->begin && x->offset < o->begin + o->count)
            str_printf(&s, "%s %zu %d %d %d\n", x->name, x->offset - o->begin, x->dims[0], x->dims[1], llm_is_half(o->llm, x));
    }
    hash_bytes(hex, s.data, s.len);
    str_free(&s);
}

static void run_measure(Optimizer *o, size_t begin, size_t end, int half, void *context) {
    (void)o;
    ((Cursor *)context)->bytes += 3 * (end - begin) * (half ? 2 : 4);
}

static void run_store(Optimizer *o, size_t begin, size_t end, int half, void *context) {
    Cursor *c = context;
    const size_t bytes = (end - begin) * (half ? 2 : 4);
    void *array[3];
    arrays_of(o, begin, half, array);
    for (int i = 0; i < 3; i++, c->at += bytes) ops_download(o->llm->ops, c->at, array[i], bytes);
}

static void run_load(Optimizer *o, size_t begin, size_t end, int half, void *context) {
    Cursor *c = context;
    const size_t bytes = (end - begin) * (half ? 2 : 4);
    void *array[3];
    arrays_of(o, begin, half, array);
    for (int i = 0; i < 3; i++, c->at += bytes) ops_upload(o->llm->ops, array[i], c->at, bytes);
}

// Everything is finite, and second moments are not negative.
static void run_check(Optimizer *o, size_t begin, size_t end, int half, void *context) {
    (void)o;
    Cursor *c = context;
    const size_t n = end - begin, size = half ? 2 : 4;
    for (size_t i = 0; i < 3 * n; i++, c->at += size) {
        uint32_t bits = 0; // a bf16 is the upper half of an f32
        memcpy((char *)&bits + 4 - size, c->at, size);
        c->bad |= (bits & 0x7f800000) == 0x7f800000 || (i >= 2 * n && bits > 0x80000000);
    }
}

size_t optimizer_bytes(Optimizer *o) {
    Cursor c = {.bytes = sizeof(Stored)};
    each_run(o, run_measure, &c);
    return c.bytes;
}

void optimizer_store(Optimizer *o, void *out) {
    Stored head = {.step = o->step, .bytes = optimizer_bytes(o), .guard = o->guard};
    layout_hash(o, head.layout);
    memcpy(out, &head, sizeof head);
    each_run(o, run_store, &(Cursor){.at = (char *)out + sizeof head});
}

int optimizer_load(Optimizer *o, const void *in, size_t bytes, Err *err) {
    Stored head;
    char layout[33], *values = (char *)in + sizeof head;
    layout_hash(o, layout);
    if (bytes != optimizer_bytes(o))
        return err_set(err, ERR_DATA, "it holds %zu bytes, this model wants %zu", bytes, optimizer_bytes(o));
    memcpy(&head, in, sizeof head);
    if (head.bytes != bytes || strncmp(head.layout, layout, sizeof head.layout))
        return err_set(err, ERR_DATA, "it holds other weights than this model trains");
    Cursor check = {.at = values};
    each_run(o, run_check, &check);
    if (head.step < 0 || head.guard.seen < 0 || check.bad)
        return err_set(err, ERR_DATA, "it holds a weight or a moment that is no number of a training");
    each_run(o, run_load, &(Cursor){.at = values});
    for (int g = 0; g < PARAM_GROUPS; g++)
        if (o->llm->train[g]) llm_changed(o->llm, g);
    o->step = head.step;
    o->guard = head.guard;
    return 0;
}
