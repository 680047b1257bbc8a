// A table of cases (op, shape) run against the double-precision references of ref_ops.h.
//
// Every case runs in f32 and, where the machine multiplies it, in bf16; with 1, 2 and 3 threads, on the CPU with every
// instruction set of the leaf kernels that the machine has, and at odd addresses. Each run is held to
//   the reference   elementwise 1e-5 + 1.3e-6 |want|; sums of products 2 sqrt(n) u sum|terms| for 99.9 % of the entries and
//                   n u sum|terms| for all (u = 2^-24); values stored in bf16 1.6e-2 |want|. Inputs are rounded to their
//                   type first, so in bf16 the float results are held to the float bounds: sums are not taken in bf16.
//                   Where a factor of each term is rounded to bf16 on the way (`narrowed`), 2^-9 sum|terms| more.
//   guards          words around every tensor, and inputs, stay as they were; what an op leaves alone keeps its bits
//   =               outputs start as NaN; +=: outputs start with numbers; scratch memory starts as NaN
//   bits            the same with any number of threads, and in 20 runs of 20 (2 where emulated)
//   NaN             an input that is NaN is seen wherever the reference sees it
#ifndef TESTS_OPS_CASE_H
#define TESTS_OPS_CASE_H

#include "base/arena.h"
#include "base/rng.h"
#include "io/tensor.h"
#include "ops/ops.h"
#include "ref_ops.h"
#ifndef OPS_OPAQUE // the backend is this build's one and only: its threads, scratch and instruction sets are tested too
#include "ops/cpu/cpu.h"
#endif
#ifdef OPS_EMULATED // one thread, slow, and the same each time
enum { CASE_RUNS = 2 };
#else
enum { CASE_RUNS = 20 }; // less by the environment's CASE_RUNS, for a tool that takes its time
#endif

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { CASE_ARGS = 14, CASE_DIMS = 12, CASE_GUARD = 256, CASE_NAN_LIMIT = 8000 };

typedef enum Kind { F32, ACT, I32, ACT_IN_F32 } Kind; // ACT_IN_F32: float memory whose values are rounded to the compute type
typedef enum Role { IN, OUT, INOUT } Role;            // INOUT: what is there matters (+=, in place, or partly written)

typedef struct Arg {
    const char *name;
    Kind kind;
    Role role;
    size_t n;
    double *x;          // (n) before
    double *want, *mag; // (n) after; mag: sum of |terms|, where `terms` is set
    int32_t *ids;       // (n) I32
    double terms;       // most terms of a sum; 0: elementwise
    int product;        // a matrix product: the bound of sums alone holds
    int narrowed;       // one factor of each term is rounded to the compute type on the way
    char *dev, *host;   // where it lies on the device, and what came back from there
    char *packed;       // x or ids as the device holds them
    char *first;        // bytes of the first run
} Arg;

typedef struct Case Case;
typedef struct Op {
    const char *name;
    void (*setup)(Case *);
    void (*run)(Ops *, Case *);
    void (*reference)(Case *);
} Op;

typedef struct Shape { // a line of a table
    const Op *op;
    int dim[CASE_DIMS];
} Shape;

struct Case {
    const Op *op;
    const int *dim; // (CASE_DIMS)
    Dtype dtype;
    int number, args;
    Arg arg[CASE_ARGS];
    AttnPlan plan;
};

typedef struct Config {
    const char *name;
    int threads;
    const struct Kernels *level; // NULL: the best
    int skew;                    // tensors begin at odd addresses of their type
    int same_bits;               // as the first configuration
} Config;

// ---- building a case ------------------------------------------------------------------------------------------------

static inline double case_round(double x, Kind kind, Dtype dtype) {
    if ((kind != ACT && kind != ACT_IN_F32) || dtype == DTYPE_F32) return (float)x;
    return (double)bf16_to_f32(f32_to_bf16((float)x));
}

// A tensor of n normal values times `scale`.
static inline Arg *case_arg(Case *c, const char *name, Kind kind, Role role, size_t n, double scale) {
    CHECK(c->args < CASE_ARGS);
    Arg *a = &c->arg[c->args++];
    *a = (Arg){.name = name, .kind = kind, .role = role, .n = n};
    float *normal = mem_alloc(n + 1, sizeof(float));
    rng_normal(normal, n, (uint64_t)c->number, 100 + (uint64_t)c->args, 0);
    a->x = mem_alloc(n + 1, sizeof(double));
    for (size_t i = 0; i < n; i++) a->x[i] = case_round(scale * (double)normal[i], kind, c->dtype);
    free(normal);
    if (role != IN) {
        a->want = mem_alloc(n + 1, sizeof(double));
        a->mag = mem_zalloc(n + 1, sizeof(double));
    }
    return a;
}

static inline int32_t *case_ints(Case *c, const char *name, size_t n) {
    CHECK(c->args < CASE_ARGS);
    Arg *a = &c->arg[c->args++];
    *a = (Arg){.name = name, .kind = I32, .role = IN, .n = n};
    return a->ids = mem_zalloc(n + 1, sizeof(int32_t));
}

static inline int32_t case_below(const Case *c, int stream, size_t i, int n) {
    return (int32_t)rng_below((uint64_t)c->number, (uint64_t)stream, i, (uint64_t)n);
}

static inline void case_free(Case *c) {
    for (int i = 0; i < c->args; i++) {
        Arg *a = &c->arg[i];
        free(a->x), free(a->want), free(a->mag), free(a->ids), free(a->packed), free(a->first);
    }
    free((void *)c->plan.block), free((void *)c->plan.span);
    c->plan = (AttnPlan){0};
    c->args = 0;
}

static inline void case_reference(Case *c) {
    for (int i = 0; i < c->args; i++) {
        Arg *a = &c->arg[i];
        if (a->role == IN) continue;
        for (size_t j = 0; j < a->n; j++) {
            a->want[j] = a->role == OUT ? 0 : a->x[j];
            a->mag[j] = fabs(a->want[j]);
        }
    }
    c->op->reference(c);
}

// ---- device memory --------------------------------------------------------------------------------------------------

// For what is no table: n values of a type on the device, from `host` or (NULL) zeros; given back by ops_release.
static inline void *device_new(Ops *ops, const void *host, size_t n, size_t size) {
    Err err = {0};
    void *device = ops_reserve(ops, n * size + 1, &err);
    if (!device) fail_msg("%s", err.message);
    if (host)
        ops_upload(ops, device, host, n * size);
    else
        ops_zero(ops, device, n * size);
    return device;
}

typedef struct Range {
    char *device, *host;
    size_t bytes;
} Range;

static inline size_t arg_bytes(const Case *c, const Arg *a) {
    return a->n * (a->kind == ACT ? dtype_bytes(c->dtype) : 4);
}

static inline void guard_fill(char *p, size_t bytes) {
    static const unsigned char nan_words[4] = {0xad, 0xde, 0xc0, 0x7f}; // a NaN in f32 and in bf16
    for (size_t i = 0; i < bytes; i++) p[i] = (char)nan_words[i % 4];
}

static inline int guard_intact(const char *p, size_t bytes) {
    char want[CASE_GUARD];
    guard_fill(want, bytes);
    return memcmp(p, want, bytes) == 0;
}

// Make the bytes that the device is given, from x or ids.
static inline void arg_pack(const Case *c, Arg *a) {
    if (!a->packed) a->packed = mem_alloc(arg_bytes(c, a) + 1, 1);
    for (size_t i = 0; i < a->n; i++) {
        float f = a->kind == I32 ? 0 : (float)a->x[i];
        const uint16_t half = f32_to_bf16(f);
        if (a->kind == I32)
            memcpy(a->packed + 4 * i, &a->ids[i], 4);
        else if (a->kind == ACT && c->dtype == DTYPE_BF16)
            memcpy(a->packed + 2 * i, &half, 2);
        else
            memcpy(a->packed + 4 * i, &f, 4);
    }
}

static inline float arg_got(const Case *c, const Arg *a, const char *bytes, size_t i) {
    float f;
    uint16_t half;
    if (a->kind != ACT || c->dtype != DTYPE_BF16) return *(float *)memcpy(&f, bytes + 4 * i, 4);
    return bf16_to_f32(*(uint16_t *)memcpy(&half, bytes + 2 * i, 2));
}

// Returns how much of the range is used.
static inline size_t case_upload(Ops *ops, const Range *range, Case *c, int skew) {
    size_t at = 0;
    for (int i = 0; i < c->args; i++) {
        Arg *a = &c->arg[i];
        size_t bytes = arg_bytes(c, a), odd = skew ? 4 : 0;
        CHECK(at + bytes + 2 * CASE_GUARD + 128 <= range->bytes);
        guard_fill(range->host + at, CASE_GUARD + odd);
        a->dev = range->device + at + CASE_GUARD + odd;
        a->host = range->host + at + CASE_GUARD + odd;
        if (a->role == OUT)
            guard_fill(a->host, bytes);
        else
            memcpy(a->host, a->packed, bytes);
        guard_fill(a->host + bytes, CASE_GUARD);
        at = (at + bytes + 2 * CASE_GUARD + odd + 63) / 64 * 64;
    }
    ops_upload(ops, range->device, range->host, at);
    return at;
}

#ifndef OPS_OPAQUE
static inline void case_poison_arena(Arena *a) {
    const size_t bytes = 1 << 20, mark = arena_mark(a);
    memset(arena_get(a, bytes, 1), 0xff, bytes);
    arena_reset(a, mark);
}
#endif

// Scratch arenas hold NaN, so that an op which reads what it has not written is found out.
static inline void case_poison(Ops *ops) {
#ifdef OPS_OPAQUE
    (void)ops;
#else
    case_poison_arena(&ops->shared);
    for (int t = 0; t < ops->threads; t++) case_poison_arena(&ops->own[t]);
#endif
}

// ---- comparing ------------------------------------------------------------------------------------------------------

__attribute__((format(printf, 4, 5))) static inline void case_fail(const Case *c, const Config *config, const Arg *a,
                                                                   const char *format, ...) {
    char dims[128] = "", text[256];
    for (int i = 0, at = 0; i < CASE_DIMS; i++) at += snprintf(dims + at, sizeof dims - (size_t)at, " %d", c->dim[i]);
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fail_msg("%s (%s), %s, %s: %s: %s", c->op->name, dims, c->dtype == DTYPE_BF16 ? "bf16" : "f32", config->name,
             a ? a->name : "", text);
}

static inline void arg_check(const Case *c, const Config *config, const Arg *a) {
    const double u = 0x1p-24,
                 rounded = a->kind == ACT && c->dtype == DTYPE_BF16 ? 1.6e-2
                           : a->product                             ? u
                                                                    : 1.3e-6,
                 least = a->product && rounded == u ? 0 : 1e-5, gamma = a->terms * u / (1 - a->terms * u);
    size_t over = 0;
    for (size_t i = 0; i < a->n; i++) {
        double got = (double)arg_got(c, a, a->host, i), want = a->want[i], difference = fabs(got - want),
               half = a->narrowed && c->dtype == DTYPE_BF16 ? 0x1p-9 * a->mag[i] : 0,
               bound = least + rounded * fabs(want) + half, likely = bound + 2 * sqrt(a->terms) * u * a->mag[i],
               worst = bound + (gamma > 2 * sqrt(a->terms) * u ? gamma : 2 * sqrt(a->terms) * u) * a->mag[i];
        if (a->role == INOUT && want == a->x[i] && got != want)
            case_fail(c, config, a, "[%zu]: changed from %.9g to %.9g", i, want, got);
        if (isnan(want) && isnan(got)) continue;
        if (!(difference <= worst))
            case_fail(c, config, a, "[%zu]: got %.9g, want %.9g (difference %.3g, allowed %.3g)", i, got, want, difference,
                      worst);
        over += !(difference <= likely);
    }
    if (over > a->n / 1000) case_fail(c, config, a, "%zu of %zu entries beyond 2 sqrt(n) u sum|terms|", over, a->n);
}

static inline void case_check_untouched(const Case *c, const Config *config) {
    for (int i = 0; i < c->args; i++) {
        const Arg *a = &c->arg[i];
        size_t bytes = arg_bytes(c, a);
        if (!guard_intact(a->host - CASE_GUARD, CASE_GUARD) || !guard_intact(a->host + bytes, CASE_GUARD))
            case_fail(c, config, a, "written outside of it");
        if (a->role == IN && memcmp(a->packed, a->host, bytes) != 0) case_fail(c, config, a, "an input was changed");
    }
}

// Keep the bytes of the first run; compare with them later.
static inline void case_bits(Case *c, const Config *config, const char *when) {
    for (int i = 0; i < c->args; i++) {
        Arg *a = &c->arg[i];
        size_t bytes = arg_bytes(c, a);
        if (a->role == IN) continue;
        if (!a->first)
            a->first = memcpy(mem_alloc(bytes + 1, 1), a->host, bytes);
        else if (memcmp(a->first, a->host, bytes) != 0)
            case_fail(c, config, a, "bits differ %s", when);
    }
}

// ---- running --------------------------------------------------------------------------------------------------------

static inline void case_run(Ops *ops, const Range *range, Case *c, const Config *config) {
    const size_t used = case_upload(ops, range, c, config->skew);
    case_poison(ops);
    c->op->run(ops, c);
    ops_download(ops, range->host, range->device, used);
    case_check_untouched(c, config);
}

// One entry of each input becomes NaN in turn.
static inline void case_nan(Ops *ops, const Range *range, Case *c, const Config *config) {
    size_t all = 0;
    for (int i = 0; i < c->args; i++) all += c->arg[i].n;
    if (all > CASE_NAN_LIMIT) return;
    for (int i = 0; i < c->args; i++) {
        Arg *a = &c->arg[i];
        if (a->kind == I32 || a->role == OUT || a->n == 0) continue;
        double *entry = &a->x[a->n / 2], was = *entry;
        *entry = NAN;
        arg_pack(c, a);
        case_reference(c);
        case_run(ops, range, c, config);
        for (int j = 0; j < c->args; j++) {
            const Arg *out = &c->arg[j];
            for (size_t k = 0; k < out->n && out->role != IN; k++)
                if (isnan(out->want[k]) && !isnan(arg_got(c, out, out->host, k)))
                    case_fail(c, config, out, "[%zu]: NaN in %s is lost", k, a->name);
        }
        *entry = was;
        arg_pack(c, a);
    }
    case_reference(c);
}

static inline int case_runs(void) {
    const char *runs = getenv("CASE_RUNS");
    return runs ? atoi(runs) : CASE_RUNS;
}

static inline void case_config(Case *cases, int n, Dtype dtype, const Config *config, int first) {
    Range memory = {.bytes = (size_t)64 << 20}, *range = &memory;
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, NULL, config->threads, dtype, &err)) fail_msg("%s", err.message);
#ifndef OPS_OPAQUE
    if (config->level) ops->k = config->level;
#endif
    range->device = ops_reserve(ops, range->bytes, &err);
    if (!range->device) fail_msg("%s", err.message);
    range->host = mem_alloc(range->bytes, 1);
    for (int i = 0; i < n; i++) {
        Case *c = &cases[i];
        case_run(ops, range, c, config);
        for (int j = 0; j < c->args; j++)
            if (c->arg[j].role != IN) arg_check(c, config, &c->arg[j]);
        if (first || config->same_bits) case_bits(c, config, "from those with 2 threads");
        for (int run = 1; first && run < case_runs(); run++) {
            case_run(ops, range, c, config);
            case_bits(c, config, "from run to run");
        }
        if (first) case_nan(ops, range, c, config);
    }
    free(range->host);
    ops_release(ops, range->device, range->bytes);
    ops_close(ops);
}

static inline void cases_run_dtype(Case *cases, int n, Dtype dtype) {
#ifdef OPS_OPAQUE
    const struct Kernels *const level[3] = {0};
#else
    const Kernels *const level[] = {kernels_level(0), kernels_level(1), kernels_level(2)};
#endif
    const Config config[] = {
        {"2 threads", 2, NULL, 0, 1},
        {"1 thread", 1, NULL, 0, 1},
        {"3 threads", 3, NULL, 0, 1},
        {"odd addresses", 2, NULL, 1, 0},
        {"plainest kernels", 2, level[0], 0, 0},
        {"kernels of level 1", 2, level[1], 0, 0},
        {"kernels of level 2", 2, level[2], 0, 0},
    };
    for (int i = 0; i < n; i++) {
        cases[i].number = i + 1;
        cases[i].dtype = dtype;
        cases[i].op->setup(&cases[i]);
        for (int j = 0; j < cases[i].args; j++) arg_pack(&cases[i], &cases[i].arg[j]);
        case_reference(&cases[i]);
    }
    for (size_t i = 0; i < sizeof config / sizeof *config; i++)
        if (config[i].level || i == 3 || i < (CASE_RUNS > 2 ? 3 : 1)) case_config(cases, n, dtype, &config[i], i == 0);
    for (int i = 0; i < n; i++) case_free(&cases[i]);
}

static inline void cases_run(const Shape *shape, int n) {
    Case *cases = mem_zalloc((size_t)n, sizeof *cases);
    for (int i = 0; i < n; i++) cases[i].op = shape[i].op, cases[i].dim = shape[i].dim;
    cases_run_dtype(cases, n, DTYPE_F32);
    if (ops_has_bf16(NULL))
        cases_run_dtype(cases, n, DTYPE_BF16);
    else
        print_message("bf16 is skipped: this machine does not multiply it\n");
    free(cases);
}
#define CASES_RUN(shapes) cases_run((shapes), (int)(sizeof(shapes) / sizeof *(shapes)))

// ---- the references themselves --------------------------------------------------------------------------------------

// gradient (n) of `loss` at x (n) by central differences: every entry, step 1e-6, as torch.autograd.gradcheck.
static inline void check_differences(const char *what, double (*loss)(void *), void *context, double *x, const double *gradient,
                                     size_t n) {
    const double step = 1e-6;
    for (size_t i = 0; i < n; i++) {
        double was = x[i], above, below;
        x[i] = was + step, above = loss(context);
        x[i] = was - step, below = loss(context);
        x[i] = was;
        double want = (above - below) / (2 * step);
        if (!(fabs(gradient[i] - want) <= 1e-5 + 1e-3 * fabs(want)))
            fail_msg("%s[%zu]: gradient %.9g, by differences %.9g", what, i, gradient[i], want);
    }
}

static inline double *random_doubles(size_t n, uint64_t seed) {
    float *normal = mem_alloc(n + 1, sizeof(float));
    double *x = mem_alloc(n + 1, sizeof(double));
    rng_normal(normal, n, seed, 7, 0);
    for (size_t i = 0; i < n; i++) x[i] = (double)normal[i];
    free(normal);
    return x;
}

#endif
