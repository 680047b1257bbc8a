// The ops on rows and weights, and the optimizer: against ref_ops.h. The layers are in test_layers.c, attention in
// test_attention.c, memory and threads in test_device.c.
#include "ops_case.h"

// ---- linear ---------------------------------------------------------------------------------------------------------

// dims; LIN_F32: the output is float in bf16 mode too; LIN_SOURCE: flags of where the weight is and whether it is kept
enum { LIN_N, LIN_O, LIN_I, LIN_BIAS, LIN_F32, LIN_SOURCE };
enum { MASTER = 0, READ = 1, STREAM = 2 };

static Arg *product(Arg *a, double terms) {
    a->terms = terms, a->product = 1;
    return a;
}

// Rows of a weight that lies outside, here in the case's own memory.
static void read_rows(const void *context, void *out, Dtype type, int first, int rows) {
    const Case *c = context;
    const size_t I = (size_t)c->dim[LIN_I];
    for (size_t i = 0; i < (size_t)rows * I; i++) {
        const float f = (float)c->arg[2].x[(size_t)first * I + i];
        if (type == DTYPE_BF16)
            ((uint16_t *)out)[i] = f32_to_bf16(f);
        else
            ((float *)out)[i] = f;
    }
}

// The weight is the third argument.
static Matrix matrix_of(Ops *ops, const Case *c, const uint64_t *version) {
    static const float nothing[1] = {NAN};
    const int source = c->dim[LIN_SOURCE];
    Matrix m = {.w = source & READ ? nothing : (const float *)c->arg[2].dev,
                .version = version,
                .O = c->dim[LIN_O],
                .I = c->dim[LIN_I],
                .stream = source & STREAM,
                .read = source & READ ? read_rows : NULL,
                .context = c};
    if (c->dim[LIN_N] % 2) ops_matrix_prepare(ops, &m); // or with the first product
    return m;
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
    Matrix w = matrix_of(ops, c, &version);
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
    Matrix w = matrix_of(ops, c, &version);
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
        {&linear, {1, 64, 48, 1, 0}},
        {&linear, {1100, 2304, 8, 1, 0}}, // more rows than one strip
        {&linear_input, {0, 5, 3, 0, 1}},
        {&linear_input, {1, 1, 1, 0, 0}},
        {&linear_input, {1, 7, 5, 0, 1}},
        {&linear_input, {5, 33, 17, 0, 0}},
        {&linear_input, {31, 97, 89, 0, 1}},
        {&linear_input, {64, 128, 96, 0, 0}},
        {&linear_input, {130, 1501, 48, 0, 1}},
        {&linear_input, {257, 96, 160, 0, 1}},
        {&linear_input, {1, 64, 48, 0, 0}},
        {&linear_weight, {0, 5, 3, 1}},
        {&linear_weight, {1, 1, 1, 1}},
        {&linear_weight, {1, 7, 5, 0}},
        {&linear_weight, {5, 33, 17, 1}},
        {&linear_weight, {129, 31, 29, 1}},
        {&linear_weight, {300, 96, 64, 0}},
        {&linear_weight, {40, 1501, 48, 0}},
        {&linear_weight, {4099, 16, 16, 1}},
        {&linear_weight, {2048, 64, 48, 1}},
        {&linear_weight, {400, 96, 64, 1}},
        {&linear, {5, 33, 17, 1, 0, READ}},
        {&linear, {6, 1501, 48, 0, 1, STREAM}},
        {&linear, {3, 5003, 7, 0, 1, READ}}, // more rows than are read at a time
        {&linear, {3, 5003, 7, 1, 0, READ | STREAM}},
        {&linear, {31, 97, 89, 1, 1, READ | STREAM}},
        {&linear_input, {5, 33, 17, 0, 0, READ}},
        {&linear_input, {6, 1501, 48, 0, 1, STREAM}},
        {&linear_input, {3, 5003, 7, 0, 1, READ}},
        {&linear_input, {3, 5003, 7, 0, 0, READ | STREAM}},
        {&linear_input, {31, 97, 89, 0, 1, READ | STREAM}},
    };
    CASES_RUN(shapes);
}

// The kernels' copies of a weight follow its version, and only that.
static void weight_versions(void **state) {
    (void)state;
    enum { O = 37, I = 41, N = 5 };
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, NULL, 2, DTYPE_F32, &err)) fail_msg("%s", err.message);
    float w[O * I], x[N * I], dy[N * O], y[N * O], dx[N * I];
    double y64[N * O], dx64[N * I], w64[O * I], x64[N * I], dy64[N * O];
    uint64_t version = 7;
    float *w_device = device_new(ops, NULL, O * I, sizeof *w), *y_device = device_new(ops, NULL, N * O, sizeof *y),
          *dx_device = device_new(ops, NULL, N * I, sizeof *dx), *x_device, *dy_device;
    Matrix m = {.w = w_device, .version = &version, .O = O, .I = I};
    rng_normal(x, N * I, 1, 1, 0), rng_normal(dy, N * O, 1, 2, 0);
    for (int i = 0; i < N * I; i++) x64[i] = (double)x[i];
    for (int i = 0; i < N * O; i++) dy64[i] = (double)dy[i];
    x_device = device_new(ops, x, N * I, sizeof *x), dy_device = device_new(ops, dy, N * O, sizeof *dy);
    for (uint64_t round = 0; round < 3; round++) {
        rng_normal(w, O * I, 2, round, 0);
        ops_upload(ops, w_device, w, sizeof w);
        version++;
        for (int i = 0; i < O * I; i++) w64[i] = (double)w[i];
        op_linear_forward(ops, y_device, DTYPE_F32, x_device, &m, NULL, N);
        op_linear_backward_input(ops, dx_device, DTYPE_F32, dy_device, &m, N);
        ops_download(ops, y, y_device, sizeof y);
        ops_download(ops, dx, dx_device, sizeof dx);
        ref_linear_forward(y64, NULL, x64, w64, NULL, N, O, I);
        ref_linear_backward_input(dx64, NULL, dy64, w64, N, O, I);
        for (int i = 0; i < N * O; i++) assert_true(fabs((double)y[i] - y64[i]) <= 1e-5);
        for (int i = 0; i < N * I; i++) assert_true(fabs((double)dx[i] - dx64[i]) <= 1e-5);
    }
    ops_matrix_free(ops, &m);
    assert_null(m.cache);
    float *const all[] = {w_device, y_device, dx_device, x_device, dy_device};
    const size_t bytes[] = {sizeof w, sizeof y, sizeof dx, sizeof x, sizeof dy};
    for (int i = 0; i < 5; i++) ops_release(ops, all[i], bytes[i] + 1);
    ops_close(ops);
}

// ---- rows -----------------------------------------------------------------------------------------------------------

enum { ROWS_M, ROWS_V, ROWS_D, ROWS_ACT }; // dims; V: rows of the larger tensor

static Kind rows_kind(const Case *c) {
    return c->dim[ROWS_ACT] ? ACT : F32;
}

static void embed_setup(Case *c) {
    const size_t N = (size_t)c->dim[ROWS_M], V = (size_t)c->dim[ROWS_V], D = (size_t)c->dim[ROWS_D];
    case_arg(c, "x", F32, INOUT, N * D, 1);
    case_arg(c, "table", rows_kind(c), IN, V * D, 1);
    int32_t *ids = case_ints(c, "ids", N);
    for (size_t i = 0; i < N; i++) ids[i] = case_below(c, 5, i, (int)V + 1) - 1;
}

static void embed_run(Ops *ops, Case *c) {
    op_embed_forward(ops, (float *)c->arg[0].dev, c->arg[1].dev, c->dim[ROWS_ACT] ? c->dtype : DTYPE_F32,
                     (const int32_t *)c->arg[2].dev, c->dim[ROWS_M], c->dim[ROWS_D]);
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
        {&embed, {700, 31, 127, 1}},
        {&embed_backward, {700, 31, 127}},
        {&gather, {1100, 31, 64, 1}},
        {&scatter, {600, 700, 64, 1}},
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
        {&to_act, {3 * 16384 + 5}},
        {&from_act, {0}},
        {&from_act, {1}},
        {&from_act, {37}},
        {&from_act, {3 * 16384 + 5}},
        {&add, {0}},
        {&add, {1}},
        {&add, {37}},
        {&add, {3 * 16384 + 5}},
        {&adamw, {0, 1}},
        {&adamw, {1, 1}},
        {&adamw, {37, 2}},
        {&adamw, {997, 100}},
        {&adamw, {65536 + 7, 100000}},
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
            if (ops_open(&ops, NULL, threads, DTYPE_F32, &err)) fail_msg("%s", err.message);
            float *device = device_new(ops, x, sizes[i], sizeof *x);
            double got = op_sum_squares(ops, device, sizes[i]);
            assert_true(fabs(got - want) <= 1e-13 * want);
            if (threads == 1) first = got;
            assert_memory_equal(&got, &first, sizeof got);
            double *sum = device_new(ops, &(double){0.5}, 1, sizeof *sum), twice;
            op_add_squares(ops, sum, device, sizes[i]), op_add_squares(ops, sum, device, sizes[i]);
            ops_download(ops, &twice, sum, sizeof twice);
            assert_true(fabs(twice - (0.5 + 2 * want)) <= 1e-13 * (1 + 2 * want));
            ops_release(ops, sum, sizeof *sum + 1);
            if (sizes[i]) {
                const float nan = NAN;
                ops_upload(ops, device + sizes[i] / 2, &nan, sizeof nan);
                assert_true(isnan(op_sum_squares(ops, device, sizes[i])));
            }
            ops_release(ops, device, sizes[i] * sizeof *x + 1);
            ops_close(ops);
        }
    }
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_cases),      cmocka_unit_test(weight_versions), cmocka_unit_test(rows_cases),
        cmocka_unit_test(elementwise_cases), cmocka_unit_test(sum_of_squares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
