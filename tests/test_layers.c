// The ops that make a layer, but attention: norm, feed-forward, rotary embedding, log-probabilities. And the references
// against finite differences.
#include "ops_case.h"

// ---- norm and feed-forward ------------------------------------------------------------------------------------------

enum { NORM_N, NORM_D, NORM_MODE, NORM_SCALE };                    // dims
enum { NORM_PLAIN, NORM_DELTA, NORM_IN_PLACE };                    // forward's mode; backward: whether dweight is wanted
enum { RMS_OUT, RMS_RSTD, RMS_SUM, RMS_X, RMS_WEIGHT, RMS_DELTA }; // forward's arguments; in place sum is x

static double norm_scale(const Case *c) {
    return c->dim[NORM_SCALE] ? c->dim[NORM_SCALE] : 1;
}

static void norm_setup(Case *c) {
    const size_t N = (size_t)c->dim[NORM_N], D = (size_t)c->dim[NORM_D];
    const int mode = c->dim[NORM_MODE];
    case_arg(c, "out", ACT, OUT, N * D, 1);
    case_arg(c, "rstd", F32, OUT, N, 1);
    case_arg(c, "sum", F32, mode == NORM_IN_PLACE ? INOUT : OUT, mode == NORM_PLAIN ? 0 : N * D, norm_scale(c));
    case_arg(c, "x", F32, IN, mode == NORM_IN_PLACE ? 0 : N * D, norm_scale(c));
    case_arg(c, "weight", F32, IN, D, 1);
    if (mode != NORM_PLAIN) case_arg(c, "delta", F32, IN, N * D, norm_scale(c));
}

static void norm_run(Ops *ops, Case *c) {
    const int mode = c->dim[NORM_MODE];
    float *sum = mode == NORM_PLAIN ? NULL : (float *)c->arg[RMS_SUM].dev;
    op_rmsnorm_forward(ops, c->arg[RMS_OUT].dev, (float *)c->arg[RMS_RSTD].dev, sum,
                       mode == NORM_IN_PLACE ? sum : (const float *)c->arg[RMS_X].dev,
                       mode == NORM_PLAIN ? NULL : (const float *)c->arg[RMS_DELTA].dev, (const float *)c->arg[RMS_WEIGHT].dev,
                       c->dim[NORM_N], c->dim[NORM_D], 1e-5f);
}

static void norm_reference(Case *c) {
    const int mode = c->dim[NORM_MODE];
    double *own = mode == NORM_PLAIN ? mem_alloc(c->arg[RMS_X].n + 1, sizeof(double)) : NULL,
           *sum = own ? own : c->arg[RMS_SUM].want;
    ref_rmsnorm_forward(c->arg[RMS_OUT].want, c->arg[RMS_RSTD].want, sum, mode == NORM_IN_PLACE ? sum : c->arg[RMS_X].x,
                        mode == NORM_PLAIN ? NULL : c->arg[RMS_DELTA].x, c->arg[RMS_WEIGHT].x, c->dim[NORM_N], c->dim[NORM_D],
                        (double)1e-5f);
    free(own);
}

static void norm_backward_setup(Case *c) {
    const size_t N = (size_t)c->dim[NORM_N], D = (size_t)c->dim[NORM_D];
    case_arg(c, "dx", F32, INOUT, N * D, 1)->terms = (double)D + 2;
    case_arg(c, "dout", F32, IN, N * D, 1);
    case_arg(c, "x", F32, IN, N * D, norm_scale(c));
    Arg *rstd = case_arg(c, "rstd", F32, IN, N, 1);
    for (size_t n = 0; n < N; n++) {
        double squares = 0;
        for (size_t d = 0; d < D; d++) squares += c->arg[2].x[n * D + d] * c->arg[2].x[n * D + d];
        rstd->x[n] = (float)(1 / sqrt(squares / (double)D + 1e-5));
    }
    case_arg(c, "weight", F32, IN, D, 1);
    if (c->dim[NORM_MODE]) case_arg(c, "dweight", F32, INOUT, D, 1)->terms = (double)N + 2;
}

static void norm_backward_run(Ops *ops, Case *c) {
    op_rmsnorm_backward(ops, (float *)c->arg[0].dev, c->dim[NORM_MODE] ? (float *)c->arg[5].dev : NULL,
                        (const float *)c->arg[1].dev, (const float *)c->arg[2].dev, (const float *)c->arg[3].dev,
                        (const float *)c->arg[4].dev, c->dim[NORM_N], c->dim[NORM_D]);
}

static void norm_backward_reference(Case *c) {
    const int wanted = c->dim[NORM_MODE];
    ref_rmsnorm_backward(c->arg[0].want, c->arg[0].mag, wanted ? c->arg[5].want : NULL, wanted ? c->arg[5].mag : NULL,
                         c->arg[1].x, c->arg[2].x, c->arg[3].x, c->arg[4].x, c->dim[NORM_N], c->dim[NORM_D]);
}

static void norm_again_setup(Case *c) {
    const size_t N = (size_t)c->dim[NORM_N], D = (size_t)c->dim[NORM_D];
    case_arg(c, "out", ACT, OUT, N * D, 1);
    case_arg(c, "x", F32, IN, N * D, norm_scale(c));
    case_arg(c, "rstd", F32, IN, N, 1);
    case_arg(c, "weight", F32, IN, D, 1);
}

static void norm_again_run(Ops *ops, Case *c) {
    op_rmsnorm_again(ops, c->arg[0].dev, (const float *)c->arg[1].dev, (const float *)c->arg[2].dev,
                     (const float *)c->arg[3].dev, c->dim[NORM_N], c->dim[NORM_D]);
}

static void norm_again_reference(Case *c) {
    ref_rmsnorm_apply(c->arg[0].want, c->arg[1].x, c->arg[2].x, c->arg[3].x, c->dim[NORM_N], c->dim[NORM_D]);
}

static void swiglu_setup(Case *c) { // dims: N, F, -, scale of the gates
    const size_t N = (size_t)c->dim[NORM_N], F = (size_t)c->dim[NORM_D];
    case_arg(c, "out", ACT, OUT, N * F, 1);
    case_arg(c, "gu", ACT, IN, N * 2 * F, norm_scale(c));
}

static void swiglu_run(Ops *ops, Case *c) {
    op_swiglu_forward(ops, c->arg[0].dev, c->arg[1].dev, c->dim[NORM_N], c->dim[NORM_D]);
}

static void swiglu_reference(Case *c) {
    ref_swiglu_forward(c->arg[0].want, c->arg[1].x, c->dim[NORM_N], c->dim[NORM_D]);
}

static void swiglu_backward_setup(Case *c) {
    const size_t N = (size_t)c->dim[NORM_N], F = (size_t)c->dim[NORM_D];
    case_arg(c, "dgu", ACT, OUT, N * 2 * F, 1);
    case_arg(c, "dout", ACT, IN, N * F, 1);
    case_arg(c, "gu", ACT, IN, N * 2 * F, norm_scale(c));
}

static void swiglu_backward_run(Ops *ops, Case *c) {
    op_swiglu_backward(ops, c->arg[0].dev, c->arg[1].dev, c->arg[2].dev, c->dim[NORM_N], c->dim[NORM_D]);
}

static void swiglu_backward_reference(Case *c) {
    ref_swiglu_backward(c->arg[0].want, c->arg[1].x, c->arg[2].x, c->dim[NORM_N], c->dim[NORM_D]);
}

static const Op norm = {"rmsnorm_forward", norm_setup, norm_run, norm_reference},
                norm_backward = {"rmsnorm_backward", norm_backward_setup, norm_backward_run, norm_backward_reference},
                norm_again = {"rmsnorm_again", norm_again_setup, norm_again_run, norm_again_reference},
                swiglu = {"swiglu_forward", swiglu_setup, swiglu_run, swiglu_reference},
                swiglu_backward = {"swiglu_backward", swiglu_backward_setup, swiglu_backward_run, swiglu_backward_reference};

static void norm_cases(void **state) {
    (void)state;
    const Shape shapes[] = {
        {&norm, {0, 3, NORM_DELTA}},
        {&norm, {1, 1, NORM_PLAIN}},
        {&norm, {3, 5, NORM_DELTA}},
        {&norm, {7, 64, NORM_IN_PLACE}},
        {&norm, {61, 97, NORM_PLAIN}},
        {&norm, {129, 576, NORM_DELTA}},
        {&norm, {5, 576, NORM_IN_PLACE, 100}},
        {&norm_backward, {0, 3, 1}},
        {&norm_backward, {1, 1, 1}},
        {&norm_backward, {3, 5, 0}},
        {&norm_backward, {7, 64, 1}},
        {&norm_backward, {61, 97, 0}},
        {&norm_backward, {300, 130, 1}},
        {&norm_backward, {5, 576, 1, 100}},
        {&norm_again, {0, 3}},
        {&norm_again, {1, 1}},
        {&norm_again, {7, 65}},
        {&norm_again, {401, 97}},
        {&swiglu, {0, 3}},
        {&swiglu, {1, 1}},
        {&swiglu, {7, 31}},
        {&swiglu, {200, 176}},
        {&swiglu, {3, 97, 0, 40}},
        {&swiglu_backward, {0, 3}},
        {&swiglu_backward, {1, 1}},
        {&swiglu_backward, {7, 31}},
        {&swiglu_backward, {200, 176}},
        {&swiglu_backward, {3, 97, 0, 40}},
    };
    CASES_RUN(shapes);
}

// ---- rotary embedding -----------------------------------------------------------------------------------------------

enum { QKV_N, QKV_H, QKV_G, QKV_K, QKV_SLOT0, QKV_INVERSE }; // dims
enum { ROPE_POSITIONS = 83 };

// position, cos, sin: the next three arguments. A few positions repeat, one is the last.
static void rope_args(Case *c, int N, int K) {
    int32_t *position = case_ints(c, "position", (size_t)N);
    for (int i = 0; i < N; i++) position[i] = case_below(c, 5, (size_t)i, ROPE_POSITIONS);
    if (N) position[0] = ROPE_POSITIONS - 1;
    Arg *cos_table = case_arg(c, "cos", F32, IN, (size_t)ROPE_POSITIONS * (size_t)(K / 2), 1),
        *sin_table = case_arg(c, "sin", F32, IN, (size_t)ROPE_POSITIONS * (size_t)(K / 2), 1);
    for (int p = 0; p < ROPE_POSITIONS; p++)
        for (int i = 0; i < K / 2; i++) {
            double angle = p * pow(1000, -2.0 * i / K);
            cos_table->x[p * (K / 2) + i] = (float)cos(angle), sin_table->x[p * (K / 2) + i] = (float)sin(angle);
        }
}

static Rope rope_of(const Case *c, int first, int K) {
    return (Rope){(const float *)c->arg[first + 1].dev, (const float *)c->arg[first + 2].dev, ROPE_POSITIONS, K};
}

static void qkv_setup(Case *c) {
    const size_t N = (size_t)c->dim[QKV_N], H = (size_t)c->dim[QKV_H], G = (size_t)c->dim[QKV_G], K = (size_t)c->dim[QKV_K],
                 S = (size_t)c->dim[QKV_SLOT0] + N + 2;
    case_arg(c, "q", ACT, OUT, N * H * K, 1);
    case_arg(c, "k_cache", ACT, INOUT, S * G * K, 1);
    case_arg(c, "v_cache", ACT, INOUT, S * G * K, 1);
    case_arg(c, "qkv", ACT, IN, N * (H + 2 * G) * K, 1);
    rope_args(c, (int)N, (int)K);
}

static void qkv_run(Ops *ops, Case *c) {
    Rope rope = rope_of(c, 4, c->dim[QKV_K]);
    op_qkv_forward(ops, c->arg[0].dev, c->arg[1].dev, c->arg[2].dev, c->arg[3].dev, (const int32_t *)c->arg[4].dev,
                   c->dim[QKV_SLOT0], &rope, c->dim[QKV_N], c->dim[QKV_H], c->dim[QKV_G], c->dim[QKV_K]);
}

static void qkv_reference(Case *c) {
    const size_t own = (size_t)(c->dim[QKV_SLOT0] * c->dim[QKV_G] * c->dim[QKV_K]);
    ref_qkv_forward(c->arg[0].want, c->arg[1].want + own, c->arg[2].want + own, c->arg[3].x, c->arg[4].ids, c->arg[5].x,
                    c->arg[6].x, c->dim[QKV_N], c->dim[QKV_H], c->dim[QKV_G], c->dim[QKV_K]);
}

static void qkv_backward_setup(Case *c) {
    const size_t N = (size_t)c->dim[QKV_N], H = (size_t)c->dim[QKV_H], G = (size_t)c->dim[QKV_G], K = (size_t)c->dim[QKV_K];
    case_arg(c, "dqkv", ACT, OUT, N * (H + 2 * G) * K, 1);
    case_arg(c, "dq", F32, IN, N * H * K, 1);
    case_arg(c, "dk", F32, IN, N * G * K, 1);
    case_arg(c, "dv", F32, IN, N * G * K, 1);
    rope_args(c, (int)N, (int)K);
}

static void qkv_backward_run(Ops *ops, Case *c) {
    Rope rope = rope_of(c, 4, c->dim[QKV_K]);
    op_qkv_backward(ops, c->arg[0].dev, (const float *)c->arg[1].dev, (const float *)c->arg[2].dev,
                    (const float *)c->arg[3].dev, (const int32_t *)c->arg[4].dev, &rope, c->dim[QKV_N], c->dim[QKV_H],
                    c->dim[QKV_G], c->dim[QKV_K]);
}

static void qkv_backward_reference(Case *c) {
    ref_qkv_backward(c->arg[0].want, c->arg[1].x, c->arg[2].x, c->arg[3].x, c->arg[4].ids, c->arg[5].x, c->arg[6].x,
                     c->dim[QKV_N], c->dim[QKV_H], c->dim[QKV_G], c->dim[QKV_K]);
}

static void rope_setup_as(Case *c, Kind kind) {
    case_arg(c, "x", kind, INOUT, (size_t)(c->dim[QKV_N] * c->dim[QKV_K]), 1);
    rope_args(c, c->dim[QKV_N], c->dim[QKV_K]);
}
static void rope_setup(Case *c) {
    rope_setup_as(c, ACT);
}
static void rope_f32_setup(Case *c) {
    rope_setup_as(c, F32);
}

static void rope_run(Ops *ops, Case *c) {
    Rope rope = rope_of(c, 1, c->dim[QKV_K]);
    op_rope(ops, c->arg[0].dev, (const int32_t *)c->arg[1].dev, &rope, c->dim[QKV_N], c->dim[QKV_INVERSE]);
}
static void rope_f32_run(Ops *ops, Case *c) {
    Rope rope = rope_of(c, 1, c->dim[QKV_K]);
    op_rope_f32(ops, (float *)c->arg[0].dev, (const int32_t *)c->arg[1].dev, &rope, c->dim[QKV_N], c->dim[QKV_INVERSE]);
}

static void rope_reference(Case *c) {
    ref_rope(c->arg[0].want, c->arg[1].ids, c->arg[2].x, c->arg[3].x, c->dim[QKV_N], 1, c->dim[QKV_K], c->dim[QKV_INVERSE]);
}

static const Op qkv = {"qkv_forward", qkv_setup, qkv_run, qkv_reference},
                qkv_backward = {"qkv_backward", qkv_backward_setup, qkv_backward_run, qkv_backward_reference},
                rope_act = {"rope", rope_setup, rope_run, rope_reference},
                rope_f32 = {"rope_f32", rope_f32_setup, rope_f32_run, rope_reference};

static void rope_cases(void **state) {
    (void)state;
    const Shape shapes[] = {
        {&qkv, {0, 2, 1, 4, 3}},         {&qkv, {1, 1, 1, 2, 0}},           {&qkv, {5, 4, 2, 16, 3}},
        {&qkv, {37, 3, 1, 16, 0}},       {&qkv, {61, 9, 3, 64, 11}},        {&qkv, {3, 2, 2, 80, 1}},
        {&qkv_backward, {0, 2, 1, 4}},   {&qkv_backward, {1, 1, 1, 2}},     {&qkv_backward, {5, 4, 2, 16}},
        {&qkv_backward, {61, 9, 3, 64}}, {&qkv_backward, {3, 2, 2, 80}},    {&rope_act, {0, 0, 0, 4}},
        {&rope_act, {1, 0, 0, 2}},       {&rope_act, {37, 0, 0, 96, 0, 0}}, {&rope_act, {401, 0, 0, 96, 0, 1}},
        {&rope_f32, {1, 0, 0, 2}},       {&rope_f32, {37, 0, 0, 96, 0, 0}}, {&rope_f32, {67, 0, 0, 576, 0, 1}},
    };
    CASES_RUN(shapes);
}

// ---- output ---------------------------------------------------------------------------------------------------------

enum { OUT_M, OUT_V, OUT_TARGET, OUT_SCALE }; // dims

static void targets_of(Case *c) {
    int32_t *target = case_ints(c, "target", (size_t)c->dim[OUT_M]);
    for (int m = 0; m < c->dim[OUT_M]; m++) target[m] = case_below(c, 5, (size_t)m, c->dim[OUT_V]);
}

static void logprob_setup(Case *c) {
    const size_t M = (size_t)c->dim[OUT_M], V = (size_t)c->dim[OUT_V];
    case_arg(c, "logprob", F32, OUT, c->dim[OUT_TARGET] ? M : 0, 1);
    case_arg(c, "lse", F32, OUT, M, 1);
    case_arg(c, "logits", F32, IN, M * V, c->dim[OUT_SCALE]);
    targets_of(c);
}

static void logprob_run(Ops *ops, Case *c) {
    const int wanted = c->dim[OUT_TARGET];
    op_logprob(ops, wanted ? (float *)c->arg[0].dev : NULL, (float *)c->arg[1].dev, (const float *)c->arg[2].dev,
               wanted ? (const int32_t *)c->arg[3].dev : NULL, c->dim[OUT_M], c->dim[OUT_V]);
}

static void logprob_reference(Case *c) {
    ref_logprob(c->arg[0].want, c->arg[1].want, c->arg[2].x, c->dim[OUT_TARGET] ? c->arg[3].ids : NULL, c->dim[OUT_M],
                c->dim[OUT_V]);
}

// logits and their lse: the next two arguments.
static void logits_args(Case *c) {
    const size_t M = (size_t)c->dim[OUT_M], V = (size_t)c->dim[OUT_V];
    Arg *logits = case_arg(c, "logits", F32, IN, M * V, c->dim[OUT_SCALE]), *lse = case_arg(c, "lse", F32, IN, M, 1);
    ref_logprob(NULL, lse->x, logits->x, NULL, c->dim[OUT_M], c->dim[OUT_V]);
    for (size_t m = 0; m < M; m++) lse->x[m] = (float)lse->x[m];
}

static void logprob_backward_setup(Case *c) {
    case_arg(c, "dlogits", ACT, OUT, (size_t)(c->dim[OUT_M] * c->dim[OUT_V]), 1);
    logits_args(c);
    case_arg(c, "dlogprob", F32, IN, (size_t)c->dim[OUT_M], 1);
    targets_of(c);
}

static void logprob_backward_run(Ops *ops, Case *c) {
    op_logprob_backward(ops, c->arg[0].dev, (const float *)c->arg[1].dev, (const float *)c->arg[2].dev,
                        (const int32_t *)c->arg[4].dev, (const float *)c->arg[3].dev, c->dim[OUT_M], c->dim[OUT_V]);
}

static void logprob_backward_reference(Case *c) {
    ref_logprob_backward(c->arg[0].want, c->arg[1].x, c->arg[2].x, c->arg[4].ids, c->arg[3].x, c->dim[OUT_M], c->dim[OUT_V]);
}

static size_t picks_of(const Case *c) {
    return (size_t)c->dim[OUT_M] * 5;
}

static void pick_setup(Case *c) {
    case_arg(c, "out", F32, OUT, picks_of(c), 1);
    logits_args(c);
    int32_t *row = case_ints(c, "row", picks_of(c)), *token = case_ints(c, "token", picks_of(c));
    for (size_t i = 0; i < picks_of(c); i++)
        row[i] = case_below(c, 5, i, c->dim[OUT_M]), token[i] = case_below(c, 6, i, c->dim[OUT_V]);
}

static void pick_run(Ops *ops, Case *c) {
    op_logprob_pick(ops, (float *)c->arg[0].dev, (const float *)c->arg[1].dev, (const float *)c->arg[2].dev,
                    (const int32_t *)c->arg[3].dev, (const int32_t *)c->arg[4].dev, picks_of(c), c->dim[OUT_V]);
}

static void pick_reference(Case *c) {
    for (size_t i = 0; i < picks_of(c); i++) {
        size_t row = (size_t)c->arg[3].ids[i];
        c->arg[0].want[i] = c->arg[1].x[row * (size_t)c->dim[OUT_V] + (size_t)c->arg[4].ids[i]] - c->arg[2].x[row];
    }
}

static const Op logprob = {"logprob", logprob_setup, logprob_run, logprob_reference},
                logprob_backward = {"logprob_backward", logprob_backward_setup, logprob_backward_run,
                                    logprob_backward_reference},
                pick = {"logprob_pick", pick_setup, pick_run, pick_reference};

static void output_cases(void **state) {
    (void)state;
    const Shape shapes[] = {
        {&logprob, {0, 5, 1, 1}},
        {&logprob, {1, 1, 1, 1}},
        {&logprob, {3, 7, 0, 5}},
        {&logprob, {5, 1501, 1, 3}},
        {&logprob, {2, 4096, 1, 1}},
        {&logprob, {2, 4097, 0, 1}},
        {&logprob, {1, 49153, 1, 4}},
        {&logprob, {67, 31, 1, 30}},
        {&logprob, {23, 1501, 1, 3}},
        {&logprob_backward, {0, 5, 1, 1}},
        {&logprob_backward, {1, 1, 1, 1}},
        {&logprob_backward, {3, 7, 1, 5}},
        {&logprob_backward, {5, 1501, 1, 3}},
        {&logprob_backward, {1, 49153, 1, 4}},
        {&logprob_backward, {67, 31, 1, 30}},
        {&logprob_backward, {23, 1501, 1, 3}},
        {&pick, {0, 5, 1, 1}},
        {&pick, {1, 1, 1, 1}},
        {&pick, {13, 1501, 1, 3}},
        {&pick, {6600, 5, 1, 3}},
    };
    CASES_RUN(shapes);
}

// ---- the references against finite differences ----------------------------------------------------------------------

typedef struct Check { // sum of dout times the op's outputs, as a function of `a` and `b`
    int op, N, D, E;
    double *a, *b, *c, *dout;
    int32_t *ids;
} Check;
enum { OP_LINEAR, OP_NORM, OP_SWIGLU, OP_LOGPROB, OP_ROPE };

static double weighted(const double *x, const double *w, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += w[i] * x[i];
    return s;
}

static double check_loss(void *context) {
    const Check *k = context;
    double out[512], more[512], rest[64];
    const size_t N = (size_t)k->N, D = (size_t)k->D;
    switch (k->op) {
    case OP_LINEAR:
        ref_linear_forward(out, NULL, k->a, k->b, k->c, k->N, k->E, k->D);
        return weighted(out, k->dout, N * (size_t)k->E);
    case OP_NORM:
        ref_rmsnorm_forward(out, rest, more, k->a, NULL, k->b, k->N, k->D, 1e-5);
        return weighted(out, k->dout, N * D);
    case OP_SWIGLU: ref_swiglu_forward(out, k->a, k->N, k->D); return weighted(out, k->dout, N * D);
    case OP_LOGPROB: ref_logprob(out, rest, k->a, k->ids, k->N, k->D); return weighted(out, k->dout, N);
    default:
        ref_qkv_forward(out, out + N * 8, out + N * 12, k->a, k->ids, k->b, k->c, k->N, 2, 1, 4);
        return weighted(out, k->dout, N * 16);
    }
}

static void references_by_differences(void **state) {
    (void)state;
    enum { N = 3, D = 5, E = 4 };
    double *a = random_doubles(64, 1), *b = random_doubles(64, 2), *c = random_doubles(64, 3), *dout = random_doubles(64, 4);
    double da[64] = {0}, db[64] = {0}, dc[64] = {0}, rstd[N], rest[64], mag[64] = {0};
    int32_t ids[N] = {4, 0, 2};
    Check k = {OP_LINEAR, N, D, E, a, b, c, dout, ids};
    ref_linear_backward_input(da, NULL, dout, b, N, E, D);
    ref_linear_backward_weight(db, NULL, dout, a, N, E, D);
    ref_linear_backward_bias(dc, NULL, dout, N, E);
    check_differences("linear dx", check_loss, &k, a, da, N * D);
    check_differences("linear dw", check_loss, &k, b, db, E * D);
    check_differences("linear dbias", check_loss, &k, c, dc, E);

    k.op = OP_NORM;
    memset(da, 0, sizeof da), memset(db, 0, sizeof db);
    ref_rmsnorm_forward(rest, rstd, dc, a, NULL, b, N, D, 1e-5);
    ref_rmsnorm_backward(da, mag, db, mag, dout, a, rstd, b, N, D);
    check_differences("rmsnorm dx", check_loss, &k, a, da, N * D);
    check_differences("rmsnorm dweight", check_loss, &k, b, db, D);

    k.op = OP_SWIGLU;
    ref_swiglu_backward(da, dout, a, N, D);
    check_differences("swiglu dgu", check_loss, &k, a, da, 2 * N * D);

    k.op = OP_LOGPROB;
    ref_logprob(rest, rstd, a, ids, N, D);
    ref_logprob_backward(da, a, rstd, ids, dout, N, D);
    check_differences("logprob dlogits", check_loss, &k, a, da, N * D);

    k.op = OP_ROPE; // H 2, G 1, K 4: rows of 16; the tables are any numbers
    ref_qkv_backward(da, dout, dout + N * 8, dout + N * 12, ids, b, c, N, 2, 1, 4);
    check_differences("qkv dqkv", check_loss, &k, a, da, N * 16);
    free(a), free(b), free(c), free(dout);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_by_differences),
        cmocka_unit_test(norm_cases),
        cmocka_unit_test(rope_cases),
        cmocka_unit_test(output_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
