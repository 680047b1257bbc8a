// Every op but attention (test_attention.c): against ref_ops.h, and the references against finite differences.
#include "ops_case.h"

// ---- linear ---------------------------------------------------------------------------------------------------------

enum { LIN_N, LIN_O, LIN_I, LIN_BIAS, LIN_F32 }; // dims; LIN_F32: the output is float in bf16 mode too

static Arg *product(Arg *a, double terms) {
    a->terms = terms, a->product = 1;
    return a;
}

static Matrix matrix_of(const Case *c, int arg, const uint64_t *version) {
    return (Matrix){.w = (const float *)c->arg[arg].dev, .version = version, .O = c->dim[LIN_O], .I = c->dim[LIN_I]};
}

static Dtype output_type(const Case *c) {
    return c->dim[LIN_F32] ? DTYPE_F32 : c->dtype;
}

static void linear_setup(Case *c) {
    const size_t N = (size_t)c->dim[LIN_N], O = (size_t)c->dim[LIN_O], I = (size_t)c->dim[LIN_I];
    product(case_arg(c, "y", c->dim[LIN_F32] ? F32 : ACT, OUT, N * O, 1), (double)I + 1);
    case_arg(c, "x", ACT, IN, N * I, 1);
    case_arg(c, "w", ACT_IN_F32, IN, O * I, 1);
    if (c->dim[LIN_BIAS]) case_arg(c, "bias", F32, IN, O, 1);
}

static void linear_run(Ops *ops, Case *c) {
    uint64_t version = 1;
    Matrix w = matrix_of(c, 2, &version);
    op_linear_forward(ops, c->arg[0].dev, output_type(c), c->arg[1].dev, &w,
                      c->dim[LIN_BIAS] ? (const float *)c->arg[3].dev : NULL, c->dim[LIN_N]);
    ops_matrix_free(ops, &w);
}

static void linear_reference(Case *c) {
    ref_linear_forward(c->arg[0].want, c->arg[0].mag, c->arg[1].x, c->arg[2].x, c->dim[LIN_BIAS] ? c->arg[3].x : NULL,
                       c->dim[LIN_N], c->dim[LIN_O], c->dim[LIN_I]);
}

static void linear_input_setup(Case *c) {
    const size_t N = (size_t)c->dim[LIN_N], O = (size_t)c->dim[LIN_O], I = (size_t)c->dim[LIN_I];
    product(case_arg(c, "dx", c->dim[LIN_F32] ? F32 : ACT, OUT, N * I, 1), (double)O);
    case_arg(c, "dy", ACT, IN, N * O, 1);
    case_arg(c, "w", ACT_IN_F32, IN, O * I, 1);
}

static void linear_input_run(Ops *ops, Case *c) {
    uint64_t version = 1;
    Matrix w = matrix_of(c, 2, &version);
    op_linear_backward_input(ops, c->arg[0].dev, output_type(c), c->arg[1].dev, &w, c->dim[LIN_N]);
    ops_matrix_free(ops, &w);
}

static void linear_input_reference(Case *c) {
    ref_linear_backward_input(c->arg[0].want, c->arg[0].mag, c->arg[1].x, c->arg[2].x, c->dim[LIN_N], c->dim[LIN_O],
                              c->dim[LIN_I]);
}

static void linear_weight_setup(Case *c) {
    const size_t N = (size_t)c->dim[LIN_N], O = (size_t)c->dim[LIN_O], I = (size_t)c->dim[LIN_I];
    product(case_arg(c, "dw", F32, INOUT, O * I, 1), (double)N + 1);
    case_arg(c, "dy", ACT, IN, N * O, 1);
    case_arg(c, "x", ACT, IN, N * I, 1);
    if (c->dim[LIN_BIAS]) product(case_arg(c, "dbias", F32, INOUT, O, 1), (double)N + 1);
}

static void linear_weight_run(Ops *ops, Case *c) {
    op_linear_backward_weight(ops, (float *)c->arg[0].dev, c->dim[LIN_BIAS] ? (float *)c->arg[3].dev : NULL, c->arg[1].dev,
                              c->arg[2].dev, c->dim[LIN_N], c->dim[LIN_O], c->dim[LIN_I]);
}

static void linear_weight_reference(Case *c) {
    ref_linear_backward_weight(c->arg[0].want, c->arg[0].mag, c->arg[1].x, c->arg[2].x, c->dim[LIN_N], c->dim[LIN_O],
                               c->dim[LIN_I]);
    if (c->dim[LIN_BIAS]) ref_linear_backward_bias(c->arg[3].want, c->arg[3].mag, c->arg[1].x, c->dim[LIN_N], c->dim[LIN_O]);
}

static const Op linear = {"linear_forward", linear_setup, linear_run, linear_reference},
                linear_input = {"linear_backward_input", linear_input_setup, linear_input_run, linear_input_reference},
                linear_weight = {"linear_backward_weight", linear_weight_setup, linear_weight_run, linear_weight_reference};

static void linear_cases(void **state) {
    (void)state;
    const Shape shapes[] = {
        {&linear, {0, 5, 3, 1, 1}},
        {&linear, {1, 1, 1, 0, 0}},
        {&linear, {1, 7, 5, 1, 1}},
        {&linear, {3, 1, 1, 1, 0}},
        {&linear, {5, 33, 17, 1, 0}},
        {&linear, {7, 64, 64, 0, 1}},
        {&linear, {31, 97, 89, 1, 1}},
        {&linear, {64, 128, 96, 1, 0}},
        {&linear, {130, 1501, 48, 0, 1}},
        {&linear, {2, 8, 2048, 0, 1}},
        {&linear, {257, 160, 96, 0, 0}},
        {&linear_input, {0, 5, 3, 0, 1}},
        {&linear_input, {1, 1, 1, 0, 0}},
        {&linear_input, {1, 7, 5, 0, 1}},
        {&linear_input, {5, 33, 17, 0, 0}},
        {&linear_input, {31, 97, 89, 0, 1}},
        {&linear_input, {64, 128, 96, 0, 0}},
        {&linear_input, {130, 1501, 48, 0, 1}},
        {&linear_input, {257, 96, 160, 0, 1}},
        {&linear_weight, {0, 5, 3, 1}},
        {&linear_weight, {1, 1, 1, 1}},
        {&linear_weight, {1, 7, 5, 0}},
        {&linear_weight, {5, 33, 17, 1}},
        {&linear_weight, {129, 31, 29, 1}},
        {&linear_weight, {300, 96, 64, 0}},
        {&linear_weight, {40, 1501, 48, 0}},
        {&linear_weight, {4099, 16, 16, 1}},
        {&linear_weight, {2048, 64, 48, 1}},
    };
    CASES_RUN(shapes);
}

// The kernels' copies of a weight follow its version, and only that.
static void weight_versions(void **state) {
    (void)state;
    enum { O = 37, I = 41, N = 5 };
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, 2, DTYPE_F32, &err)) fail_msg("%s", err.message);
    float w[O * I], x[N * I], dy[N * O], y[N * O], dx[N * I];
    double y64[N * O], dx64[N * I], w64[O * I], x64[N * I], dy64[N * O];
    uint64_t version = 7;
    Matrix m = {.w = w, .version = &version, .O = O, .I = I};
    rng_normal(x, N * I, 1, 1, 0), rng_normal(dy, N * O, 1, 2, 0);
    for (int i = 0; i < N * I; i++) x64[i] = (double)x[i];
    for (int i = 0; i < N * O; i++) dy64[i] = (double)dy[i];
    for (uint64_t round = 0; round < 3; round++) {
        rng_normal(w, O * I, 2, round, 0);
        version++;
        for (int i = 0; i < O * I; i++) w64[i] = (double)w[i];
        op_linear_forward(ops, y, DTYPE_F32, x, &m, NULL, N);
        op_linear_backward_input(ops, dx, DTYPE_F32, dy, &m, N);
        ref_linear_forward(y64, NULL, x64, w64, NULL, N, O, I);
        ref_linear_backward_input(dx64, NULL, dy64, w64, N, O, I);
        for (int i = 0; i < N * O; i++) assert_true(fabs((double)y[i] - y64[i]) <= 1e-5);
        for (int i = 0; i < N * I; i++) assert_true(fabs((double)dx[i] - dx64[i]) <= 1e-5);
    }
    ops_matrix_free(ops, &m);
    assert_null(m.cache);
    ops_close(ops);
}

// ---- rows -----------------------------------------------------------------------------------------------------------

enum { ROWS_M, ROWS_V, ROWS_D, ROWS_ACT }; // dims; V: rows of the larger tensor

static void embed_setup(Case *c) {
    const size_t N = (size_t)c->dim[ROWS_M], V = (size_t)c->dim[ROWS_V], D = (size_t)c->dim[ROWS_D];
    case_arg(c, "x", F32, INOUT, N * D, 1);
    case_arg(c, "table", F32, IN, V * D, 1);
    int32_t *ids = case_ints(c, "ids", N);
    for (size_t i = 0; i < N; i++) ids[i] = case_below(c, 5, i, (int)V + 1) - 1;
}

static void embed_run(Ops *ops, Case *c) {
    op_embed_forward(ops, (float *)c->arg[0].dev, (const float *)c->arg[1].dev, (const int32_t *)c->arg[2].dev, c->dim[ROWS_M],
                     c->dim[ROWS_D]);
}

static void embed_reference(Case *c) {
    ref_embed_forward(c->arg[0].want, c->arg[1].x, c->arg[2].ids, c->dim[ROWS_M], c->dim[ROWS_D]);
}

static void embed_backward_setup(Case *c) {
    const size_t N = (size_t)c->dim[ROWS_M], V = (size_t)c->dim[ROWS_V], D = (size_t)c->dim[ROWS_D];
    product(case_arg(c, "dtable", F32, INOUT, V * D, 1), (double)N + 1);
    case_arg(c, "dx", F32, IN, N * D, 1);
    int32_t *ids = case_ints(c, "ids", N);
    for (size_t i = 0; i < N; i++) ids[i] = case_below(c, 5, i, (int)V + 1) - 1;
}

static void embed_backward_run(Ops *ops, Case *c) {
    op_embed_backward(ops, (float *)c->arg[0].dev, (const float *)c->arg[1].dev, (const int32_t *)c->arg[2].dev, c->dim[ROWS_M],
                      c->dim[ROWS_D]);
}

static void embed_backward_reference(Case *c) {
    ref_embed_backward(c->arg[0].want, c->arg[0].mag, c->arg[1].x, c->arg[2].ids, c->dim[ROWS_M], c->dim[ROWS_D]);
}

static Kind rows_kind(const Case *c) {
    return c->dim[ROWS_ACT] ? ACT : F32;
}
static size_t rows_element(const Case *c) {
    return c->dim[ROWS_ACT] ? dtype_bytes(c->dtype) : 4;
}

static void gather_setup(Case *c) {
    const size_t M = (size_t)c->dim[ROWS_M], V = (size_t)c->dim[ROWS_V], D = (size_t)c->dim[ROWS_D];
    case_arg(c, "out", rows_kind(c), OUT, M * D, 1);
    case_arg(c, "x", rows_kind(c), IN, V * D, 1);
    int32_t *index = case_ints(c, "index", M);
    for (size_t i = 0; i < M; i++) index[i] = case_below(c, 5, i, (int)V);
}

static void gather_run(Ops *ops, Case *c) {
    op_rows_gather(ops, c->arg[0].dev, c->arg[1].dev, (const int32_t *)c->arg[2].dev, c->dim[ROWS_M], c->dim[ROWS_D],
                   rows_element(c));
}

static void gather_reference(Case *c) {
    ref_rows_gather(c->arg[0].want, c->arg[1].x, c->arg[2].ids, c->dim[ROWS_M], c->dim[ROWS_D]);
}

static void scatter_setup(Case *c) { // to rows of their own: M <= V
    const size_t M = (size_t)c->dim[ROWS_M], V = (size_t)c->dim[ROWS_V], D = (size_t)c->dim[ROWS_D];
    case_arg(c, "x", rows_kind(c), INOUT, V * D, 1);
    case_arg(c, "in", rows_kind(c), IN, M * D, 1);
    int32_t *index = case_ints(c, "index", M);
    uint32_t *order = mem_alloc(V, sizeof *order);
    rng_permutation(order, V, (uint64_t)c->number, 6);
    for (size_t i = 0; i < M; i++) index[i] = (int32_t)order[i];
    free(order);
}

static void scatter_run(Ops *ops, Case *c) {
    op_rows_scatter(ops, c->arg[0].dev, c->arg[1].dev, (const int32_t *)c->arg[2].dev, c->dim[ROWS_M], c->dim[ROWS_D],
                    rows_element(c));
}

static void scatter_reference(Case *c) {
    ref_rows_scatter(c->arg[0].want, c->arg[1].x, c->arg[2].ids, c->dim[ROWS_M], c->dim[ROWS_D]);
}

static void scatter_add_setup(Case *c) {
    const size_t M = (size_t)c->dim[ROWS_M], V = (size_t)c->dim[ROWS_V], D = (size_t)c->dim[ROWS_D];
    product(case_arg(c, "x", F32, INOUT, V * D, 1), (double)M + 1);
    case_arg(c, "in", F32, IN, M * D, 1);
    int32_t *index = case_ints(c, "index", M);
    for (size_t i = 0; i < M; i++) index[i] = case_below(c, 5, i, (int)V);
}

static void scatter_add_run(Ops *ops, Case *c) {
    op_rows_scatter_add(ops, (float *)c->arg[0].dev, (const float *)c->arg[1].dev, (const int32_t *)c->arg[2].dev,
                        c->dim[ROWS_M], c->dim[ROWS_D]);
}

static void scatter_add_reference(Case *c) { // as the embedding's backward, with rows for ids
    ref_embed_backward(c->arg[0].want, c->arg[0].mag, c->arg[1].x, c->arg[2].ids, c->dim[ROWS_M], c->dim[ROWS_D]);
}

static const Op embed = {"embed_forward", embed_setup, embed_run, embed_reference},
                embed_backward = {"embed_backward", embed_backward_setup, embed_backward_run, embed_backward_reference},
                gather = {"rows_gather", gather_setup, gather_run, gather_reference},
                scatter = {"rows_scatter", scatter_setup, scatter_run, scatter_reference},
                scatter_add = {"rows_scatter_add", scatter_add_setup, scatter_add_run, scatter_add_reference};

static void rows_cases(void **state) {
    (void)state;
    const Shape shapes[] = {
        {&embed, {0, 3, 5}},
        {&embed, {1, 1, 1}},
        {&embed, {7, 5, 3}},
        {&embed, {61, 1501, 48}},
        {&embed, {257, 31, 127}},
        {&embed_backward, {0, 3, 5}},
        {&embed_backward, {1, 1, 1}},
        {&embed_backward, {7, 5, 3}},
        {&embed_backward, {61, 1501, 48}},
        {&embed_backward, {257, 31, 127}},
        {&embed_backward, {1000, 1, 65}},
        {&gather, {0, 3, 5, 0}},
        {&gather, {1, 1, 1, 1}},
        {&gather, {67, 31, 17, 1}},
        {&gather, {67, 31, 64, 0}},
        {&scatter, {0, 3, 5, 0}},
        {&scatter, {1, 1, 1, 1}},
        {&scatter, {19, 31, 17, 1}},
        {&scatter, {31, 31, 64, 0}},
        {&scatter_add, {0, 3, 5}},
        {&scatter_add, {1, 1, 1}},
        {&scatter_add, {67, 3, 17}},
        {&scatter_add, {300, 7, 130}},
    };
    CASES_RUN(shapes);
}

// ---- elementwise ----------------------------------------------------------------------------------------------------

static void to_act_setup(Case *c) {
    case_arg(c, "out", ACT, OUT, (size_t)c->dim[0], 1);
    case_arg(c, "x", F32, IN, (size_t)c->dim[0], 3);
}
static void to_act_run(Ops *ops, Case *c) {
    op_to_act(ops, c->arg[0].dev, (const float *)c->arg[1].dev, (size_t)c->dim[0]);
}
static void from_act_setup(Case *c) {
    case_arg(c, "out", F32, OUT, (size_t)c->dim[0], 1);
    case_arg(c, "x", ACT, IN, (size_t)c->dim[0], 3);
}
static void from_act_run(Ops *ops, Case *c) {
    op_from_act(ops, (float *)c->arg[0].dev, c->arg[1].dev, (size_t)c->dim[0]);
}
static void same_reference(Case *c) {
    memcpy(c->arg[0].want, c->arg[1].x, (size_t)c->dim[0] * sizeof(double));
}

static void add_setup(Case *c) {
    case_arg(c, "x", F32, INOUT, (size_t)c->dim[0], 1);
    case_arg(c, "y", F32, IN, (size_t)c->dim[0], 1);
}
static void add_run(Ops *ops, Case *c) {
    op_add(ops, (float *)c->arg[0].dev, (const float *)c->arg[1].dev, -0.75f, (size_t)c->dim[0]);
}
static void add_reference(Case *c) {
    for (int i = 0; i < c->dim[0]; i++) c->arg[0].want[i] += -0.75 * c->arg[1].x[i];
}

// dims: values, step. Relative errors alone: the second moments are small numbers.
static void adamw_setup(Case *c) {
    for (int i = 0; i < 3; i++)
        product(case_arg(c, i == 0 ? "p" : i == 1 ? "m" : "v", F32, INOUT, (size_t)c->dim[0], i ? 1e-2 : 1), 8);
    case_arg(c, "g", F32, IN, (size_t)c->dim[0], 1e-1);
    for (int i = 0; i < c->dim[0]; i++) c->arg[2].x[i] = fabs(c->arg[2].x[i]);
}
static void adamw_run(Ops *ops, Case *c) {
    op_adamw(ops, (float *)c->arg[0].dev, (float *)c->arg[1].dev, (float *)c->arg[2].dev, (const float *)c->arg[3].dev,
             (size_t)c->dim[0], 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, c->dim[1], 0.625f);
}
static void adamw_reference(Case *c) {
    ref_adamw(c->arg[0].want, c->arg[1].want, c->arg[2].want, c->arg[3].x, (size_t)c->dim[0], (double)1e-2f, (double)0.9f,
              (double)0.999f, (double)1e-8f, (double)0.1f, c->dim[1], 0.625);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < c->dim[0]; j++) c->arg[i].mag[j] += fabs(c->arg[i].want[j]);
}

static const Op to_act = {"to_act", to_act_setup, to_act_run, same_reference},
                from_act = {"from_act", from_act_setup, from_act_run, same_reference},
                add = {"add", add_setup, add_run, add_reference}, adamw = {"adamw", adamw_setup, adamw_run, adamw_reference};

static void elementwise_cases(void **state) {
    (void)state;
    const Shape shapes[] = {
        {&to_act, {0}},
        {&to_act, {1}},
        {&to_act, {37}},
        {&to_act, {16384 + 5}},
        {&from_act, {0}},
        {&from_act, {1}},
        {&from_act, {37}},
        {&from_act, {16384 + 5}},
        {&add, {0}},
        {&add, {1}},
        {&add, {37}},
        {&add, {16384 + 5}},
        {&adamw, {0, 1}},
        {&adamw, {1, 1}},
        {&adamw, {37, 2}},
        {&adamw, {997, 100}},
        {&adamw, {65536 + 7, 100000}},
    };
    CASES_RUN(shapes);
}

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
        {&norm, {129, 48, NORM_DELTA}},
        {&norm, {5, 576, NORM_IN_PLACE, 100}},
        {&norm_backward, {0, 3, 1}},
        {&norm_backward, {1, 1, 1}},
        {&norm_backward, {3, 5, 0}},
        {&norm_backward, {7, 64, 1}},
        {&norm_backward, {61, 97, 0}},
        {&norm_backward, {300, 48, 1}},
        {&norm_backward, {5, 576, 1, 100}},
        {&norm_again, {0, 3}},
        {&norm_again, {1, 1}},
        {&norm_again, {7, 65}},
        {&norm_again, {61, 97}},
        {&swiglu, {0, 3}},
        {&swiglu, {1, 1}},
        {&swiglu, {7, 31}},
        {&swiglu, {61, 176}},
        {&swiglu, {3, 97, 0, 40}},
        {&swiglu_backward, {0, 3}},
        {&swiglu_backward, {1, 1}},
        {&swiglu_backward, {7, 31}},
        {&swiglu_backward, {61, 176}},
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
        {&rope_act, {1, 0, 0, 2}},       {&rope_act, {37, 0, 0, 96, 0, 0}}, {&rope_act, {37, 0, 0, 96, 0, 1}},
        {&rope_f32, {1, 0, 0, 2}},       {&rope_f32, {37, 0, 0, 96, 0, 0}}, {&rope_f32, {37, 0, 0, 576, 0, 1}},
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
        {&logprob_backward, {0, 5, 1, 1}},
        {&logprob_backward, {1, 1, 1, 1}},
        {&logprob_backward, {3, 7, 1, 5}},
        {&logprob_backward, {5, 1501, 1, 3}},
        {&logprob_backward, {1, 49153, 1, 4}},
        {&logprob_backward, {67, 31, 1, 30}},
        {&pick, {0, 5, 1, 1}},
        {&pick, {1, 1, 1, 1}},
        {&pick, {13, 1501, 1, 3}},
    };
    CASES_RUN(shapes);
}

// ---- what is no table -----------------------------------------------------------------------------------------------

static void sum_of_squares(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 37, 65536, 3 * 65536 + 11};
    float *x = mem_alloc(sizes[4], sizeof(float));
    rng_normal(x, sizes[4], 3, 3, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double first = 0, want = 0;
        for (size_t j = 0; j < sizes[i]; j++) want += (double)x[j] * (double)x[j];
        for (int threads = 1; threads <= 3; threads++) {
            Err err = {0};
            Ops *ops;
            if (ops_open(&ops, threads, DTYPE_F32, &err)) fail_msg("%s", err.message);
            double got = op_sum_squares(ops, x, sizes[i]);
            assert_true(fabs(got - want) <= 1e-13 * want);
            if (threads == 1) first = got;
            assert_memory_equal(&got, &first, sizeof got);
            if (sizes[i]) {
                float was = x[sizes[i] / 2];
                x[sizes[i] / 2] = NAN;
                assert_true(isnan(op_sum_squares(ops, x, sizes[i])));
                x[sizes[i] / 2] = was;
            }
            ops_close(ops);
        }
    }
    free(x);
}

static void memory_moves(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 1 << 20, ((size_t)3 << 20) + 5}; // whole and broken pieces
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, 2, DTYPE_F32, &err)) fail_msg("%s", err.message);
    size_t room = sizes[3] + 2 * CASE_GUARD;
    char *device = ops_reserve(ops, room, &err), *host = mem_alloc(sizes[3], 1), *back = mem_alloc(sizes[3], 1);
    assert_non_null(device);
    for (size_t i = 0; i < sizes[3]; i++) host[i] = (char)(i * 2654435761u >> 13);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t at = 0; at < room; at++) device[at] = 0x55;
        ops_upload(ops, device + CASE_GUARD, host, sizes[i]);
        ops_download(ops, back, device + CASE_GUARD, sizes[i]);
        assert_int_equal(memcmp(host, back, sizes[i]), 0);
        ops_zero(ops, device + CASE_GUARD, sizes[i]);
        for (size_t at = 0; at < room; at++)
            if (device[at] != (at < CASE_GUARD || at >= CASE_GUARD + sizes[i] ? 0x55 : 0)) fail_msg("ops_zero at %zu", at);
    }
    ops_release(ops, device, room);
    free(host), free(back);
    ops_close(ops);
}

static void options_are_checked(void **state) {
    (void)state;
    Err err = {0};
    Ops *ops;
    assert_int_equal(ops_open(&ops, -1, DTYPE_F32, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(ops_open(&ops, 257, DTYPE_F32, &err), -1);
    if (!ops_has_bf16()) assert_int_equal(ops_open(&ops, 1, DTYPE_BF16, &err), -1);
    assert_int_equal(ops_open(&ops, 0, DTYPE_F32, &err), 0);
    assert_true(ops_threads(ops) >= 1 && ops_dtype(ops) == DTYPE_F32 && *ops_description(ops));
    ops_close(ops);
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
        cmocka_unit_test(linear_cases),
        cmocka_unit_test(weight_versions),
        cmocka_unit_test(rows_cases),
        cmocka_unit_test(elementwise_cases),
        cmocka_unit_test(norm_cases),
        cmocka_unit_test(rope_cases),
        cmocka_unit_test(output_cases),
        cmocka_unit_test(sum_of_squares),
        cmocka_unit_test(memory_moves),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
