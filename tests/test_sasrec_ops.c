// The ops that SASRec has beside those of a language model: LayerNorm, ReLU and GELU, dropout, rows added from a table, scores
// of chosen items and the binary loss. And their references against finite differences.
#include "ops_case.h"

// ---- references in double precision -----------------------------------------------------------------------------------

static void ref_layernorm(double *out, double *rstd, double *sum, const double *x, const double *delta, const double *w,
                          const double *b, int N, int D) {
    for (int n = 0; n < N; n++) {
        double mean = 0, squares = 0;
        for (int d = 0; d < D; d++) {
            sum[n * D + d] = x[n * D + d] + (delta ? delta[n * D + d] : 0);
            mean += sum[n * D + d] / D;
        }
        for (int d = 0; d < D; d++) squares += (sum[n * D + d] - mean) * (sum[n * D + d] - mean);
        rstd[n] = 1 / sqrt(squares / D + (double)1e-5f);
        for (int d = 0; d < D; d++) out[n * D + d] = (sum[n * D + d] - mean) * rstd[n] * w[d] + b[d];
    }
}

// Through the Jacobian, entry by entry: d out_i / d x_j = w_i rstd (delta_ij - 1/D - c_i c_j rstd^2 / D).
static void ref_layernorm_backward(double *dx, double *dx_mag, double *dw, double *dw_mag, double *db, double *db_mag,
                                   const double *dout, const double *x, const double *rstd, const double *w, int N, int D) {
    for (int n = 0; n < N; n++) {
        const double *row = x + n * D, *d = dout + n * D, r = rstd[n];
        double mean = 0;
        for (int i = 0; i < D; i++) mean += row[i] / D;
        for (int i = 0; i < D; i++) {
            for (int j = 0; j < D; j++) {
                const double term = d[i] * w[i] * r * ((i == j) - 1.0 / D - (row[i] - mean) * (row[j] - mean) * r * r / D);
                dx[n * D + j] += term, dx_mag[n * D + j] += fabs(term);
            }
            const double term = d[i] * (row[i] - mean) * r;
            if (dw) dw[i] += term, dw_mag[i] += fabs(term), db[i] += d[i], db_mag[i] += fabs(d[i]);
        }
    }
}

static double ref_activation(double x, Activation kind) {
    if (kind == ACTIVATION_RELU) return x > 0 ? x : 0 * x;
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static double ref_activation_slope(double x, Activation kind) {
    if (kind == ACTIVATION_RELU) return x > 0 ? 1 : 0 * x;
    const double c = sqrt(2 / 3.14159265358979323846), t = tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

static double ref_binary(double *dlogits, const double *logits, int C, double weight) {
    double loss = 0;
    for (int c = 0; c < C; c++) {
        const double x = c ? logits[c] : -logits[c], p = 1 / (1 + exp(-x));
        loss += x > 30 ? x : log1p(exp(x));
        if (dlogits) dlogits[c] = weight * (c ? p : -p);
    }
    return loss;
}

// ---- LayerNorm --------------------------------------------------------------------------------------------------------

enum { N_ROWS, N_WIDTH, N_MODE }; // dims; mode: 1 with a delta, or (backward) with weight gradients

static float *F(const Case *c, int i) {
    return (float *)c->arg[i].dev;
}

static void layernorm_setup(Case *c) {
    const size_t N = (size_t)c->dim[N_ROWS], D = (size_t)c->dim[N_WIDTH];
    case_arg(c, "out", ACT, OUT, N * D, 1);
    case_arg(c, "rstd", F32, OUT, N, 1);
    case_arg(c, "sum", F32, OUT, c->dim[N_MODE] ? N * D : 0, 1);
    case_arg(c, "x", F32, IN, N * D, 1);
    case_arg(c, "weight", F32, IN, D, 1);
    case_arg(c, "bias", F32, IN, D, 1);
    if (c->dim[N_MODE]) case_arg(c, "delta", F32, IN, N * D, 1);
}

static void layernorm_run(Ops *ops, Case *c) {
    op_layernorm_forward(ops, c->arg[0].dev, F(c, 1), c->dim[N_MODE] ? F(c, 2) : NULL, F(c, 3), c->dim[N_MODE] ? F(c, 6) : NULL,
                         F(c, 4), F(c, 5), c->dim[N_ROWS], c->dim[N_WIDTH], 1e-5f);
}

static void layernorm_reference(Case *c) {
    double *own = mem_alloc(c->arg[3].n + 1, sizeof(double));
    ref_layernorm(c->arg[0].want, c->arg[1].want, c->dim[N_MODE] ? c->arg[2].want : own, c->arg[3].x,
                  c->dim[N_MODE] ? c->arg[6].x : NULL, c->arg[4].x, c->arg[5].x, c->dim[N_ROWS], c->dim[N_WIDTH]);
    free(own);
}

// rstd as the forward has it, rounded.
static void set_rstd(double *rstd, const double *x, int N, int D) {
    double *out = mem_alloc((size_t)(N * D) + 1, sizeof(double)), *sum = mem_alloc((size_t)(N * D) + 1, sizeof(double)),
           *ones = mem_alloc((size_t)D + 1, sizeof(double));
    for (int d = 0; d < D; d++) ones[d] = 1;
    ref_layernorm(out, rstd, sum, x, NULL, ones, ones, N, D);
    for (int n = 0; n < N; n++) rstd[n] = (double)(float)rstd[n];
    free(out), free(sum), free(ones);
}

static void layernorm_again_setup(Case *c) {
    const size_t N = (size_t)c->dim[N_ROWS], D = (size_t)c->dim[N_WIDTH];
    case_arg(c, "out", ACT, OUT, N * D, 1);
    Arg *x = case_arg(c, "x", F32, IN, N * D, 1);
    set_rstd(case_arg(c, "rstd", F32, IN, N, 1)->x, x->x, c->dim[N_ROWS], c->dim[N_WIDTH]);
    case_arg(c, "weight", F32, IN, D, 1);
    case_arg(c, "bias", F32, IN, D, 1);
}

static void layernorm_again_run(Ops *ops, Case *c) {
    op_layernorm_again(ops, c->arg[0].dev, F(c, 1), F(c, 2), F(c, 3), F(c, 4), c->dim[N_ROWS], c->dim[N_WIDTH]);
}

static void layernorm_again_reference(Case *c) {
    const int D = c->dim[N_WIDTH];
    for (int n = 0; n < c->dim[N_ROWS]; n++) {
        double mean = 0;
        for (int d = 0; d < D; d++) mean += c->arg[1].x[n * D + d] / D;
        for (int d = 0; d < D; d++)
            c->arg[0].want[n * D + d] = (c->arg[1].x[n * D + d] - mean) * c->arg[2].x[n] * c->arg[3].x[d] + c->arg[4].x[d];
    }
}

static void layernorm_backward_setup(Case *c) {
    const size_t N = (size_t)c->dim[N_ROWS], D = (size_t)c->dim[N_WIDTH];
    case_arg(c, "dx", F32, INOUT, N * D, 1)->terms = 4 * (double)D + 4;
    case_arg(c, "dout", F32, IN, N * D, 1);
    Arg *x = case_arg(c, "x", F32, IN, N * D, 1);
    set_rstd(case_arg(c, "rstd", F32, IN, N, 1)->x, x->x, c->dim[N_ROWS], c->dim[N_WIDTH]);
    case_arg(c, "weight", F32, IN, D, 1);
    if (!c->dim[N_MODE]) return;
    case_arg(c, "dweight", F32, INOUT, D, 1)->terms = (double)N + 4;
    case_arg(c, "dbias", F32, INOUT, D, 1)->terms = (double)N + 2;
}

static void layernorm_backward_run(Ops *ops, Case *c) {
    const int wanted = c->dim[N_MODE];
    op_layernorm_backward(ops, F(c, 0), wanted ? F(c, 5) : NULL, wanted ? F(c, 6) : NULL, F(c, 1), F(c, 2), F(c, 3), F(c, 4),
                          c->dim[N_ROWS], c->dim[N_WIDTH]);
}

static void layernorm_backward_reference(Case *c) {
    Arg *a = c->arg;
    const int wanted = c->dim[N_MODE];
    ref_layernorm_backward(a[0].want, a[0].mag, wanted ? a[5].want : NULL, wanted ? a[5].mag : NULL, wanted ? a[6].want : NULL,
                           wanted ? a[6].mag : NULL, a[1].x, a[2].x, a[3].x, a[4].x, c->dim[N_ROWS], c->dim[N_WIDTH]);
}

// ---- activation, dropout ----------------------------------------------------------------------------------------------

enum { A_ROWS, A_WIDTH, A_KIND, A_SCALE };

static void activation_setup(Case *c) {
    const size_t n = (size_t)c->dim[A_ROWS] * (size_t)c->dim[A_WIDTH];
    case_arg(c, "out", ACT, OUT, n, 1);
    case_arg(c, "x", ACT, IN, n, c->dim[A_SCALE]);
}

static void activation_run(Ops *ops, Case *c) {
    op_activation_forward(ops, c->arg[0].dev, c->arg[1].dev, (Activation)c->dim[A_KIND], c->dim[A_ROWS], c->dim[A_WIDTH]);
}

static void activation_reference(Case *c) {
    for (size_t i = 0; i < c->arg[0].n; i++) c->arg[0].want[i] = ref_activation(c->arg[1].x[i], (Activation)c->dim[A_KIND]);
}

static void activation_backward_setup(Case *c) {
    const size_t n = (size_t)c->dim[A_ROWS] * (size_t)c->dim[A_WIDTH];
    case_arg(c, "dx", ACT, OUT, n, 1);
    case_arg(c, "dout", ACT, IN, n, 1);
    case_arg(c, "x", ACT, IN, n, c->dim[A_SCALE]);
}

static void activation_backward_run(Ops *ops, Case *c) {
    op_activation_backward(ops, c->arg[0].dev, c->arg[1].dev, c->arg[2].dev, (Activation)c->dim[A_KIND], c->dim[A_ROWS],
                           c->dim[A_WIDTH]);
}

static void activation_backward_reference(Case *c) {
    for (size_t i = 0; i < c->arg[0].n; i++)
        c->arg[0].want[i] = c->arg[1].x[i] * ref_activation_slope(c->arg[2].x[i], (Activation)c->dim[A_KIND]);
}

enum { DROP_SEED = 77, DROP_STREAM = 7 | 3 << 8 };
static const float drop_rate = 0.3f;

static void dropout_setup(Case *c) {
    const size_t N = (size_t)c->dim[A_ROWS], D = (size_t)c->dim[A_WIDTH];
    case_arg(c, "x", ACT, INOUT, N * D, 1);
    int32_t *key = case_ints(c, "key", 2 * N + 2); // 64-bit numbers, aligned by hand at odd addresses
    for (size_t n = 0; n < N; n++) key[2 * n] = case_below(c, 8, n, 1 << 30), key[2 * n + 1] = case_below(c, 9, n, 5);
}

static void dropout_run(Ops *ops, Case *c) {
    const int N = c->dim[A_ROWS];
    uint64_t *key = device_new(ops, NULL, (size_t)N, sizeof *key);
    ops_copy(ops, key, c->arg[1].dev, (size_t)N * sizeof *key);
    const Dropout d = {drop_rate, DROP_SEED, key};
    op_dropout(ops, c->arg[0].dev, c->dtype, &d, DROP_STREAM, N, c->dim[A_WIDTH]);
    ops_release(ops, key, (size_t)N * sizeof *key + 1);
}

static void dropout_reference(Case *c) {
    const int D = c->dim[A_WIDTH];
    const uint32_t least = (uint32_t)(drop_rate * 65536.0f + 0.5f);
    for (int n = 0; n < c->dim[A_ROWS]; n++)
        for (int d = 0; d < D; d++) {
            uint64_t key;
            uint32_t r[4];
            memcpy(&key, c->arg[1].ids + 2 * n, sizeof key);
            rng_block(r, DROP_SEED, DROP_STREAM, key * (uint64_t)((D + 63) / 64 * 8) + (uint64_t)(d / 64 * 8 + d % 8));
            const int half = d % 64 / 8;
            const uint32_t bits = r[half / 2] >> 16 * (half % 2) & 0xffff;
            c->arg[0].want[n * D + d] = bits < least ? 0 : c->arg[0].x[n * D + d] * 65536 / (65536 - least);
        }
}

// ---- rows of a table --------------------------------------------------------------------------------------------------

enum { T_ROWS, T_COLUMNS, T_WIDTH, T_ITEMS, T_WANTED };

static void add_setup(Case *c) {
    const int N = c->dim[T_ROWS], V = c->dim[T_ITEMS];
    case_arg(c, "x", F32, INOUT, (size_t)N * (size_t)c->dim[T_WIDTH], 1);
    case_arg(c, "table", F32, IN, (size_t)V * (size_t)c->dim[T_WIDTH], 1);
    int32_t *ids = case_ints(c, "ids", (size_t)N);
    for (int n = 0; n < N; n++) ids[n] = case_below(c, 8, (size_t)n, V + 1) - 1;
}

static void add_run(Ops *ops, Case *c) {
    op_embed_add(ops, F(c, 0), F(c, 1), (int32_t *)c->arg[2].dev, c->dim[T_ROWS], c->dim[T_WIDTH]);
}

static void add_reference(Case *c) {
    const int D = c->dim[T_WIDTH];
    for (int n = 0; n < c->dim[T_ROWS]; n++)
        for (int d = 0; d < D && c->arg[2].ids[n] >= 0; d++) c->arg[0].want[n * D + d] += c->arg[1].x[c->arg[2].ids[n] * D + d];
}

static void sampled_args(Case *c) {
    const int M = c->dim[T_ROWS], C = c->dim[T_COLUMNS], D = c->dim[T_WIDTH];
    case_arg(c, "h", ACT, IN, (size_t)M * (size_t)D, 1);
    case_arg(c, "table", F32, IN, (size_t)c->dim[T_ITEMS] * (size_t)D, 1);
    int32_t *id = case_ints(c, "id", (size_t)M * (size_t)C);
    for (int i = 0; i < M * C; i++) id[i] = case_below(c, 8, (size_t)i, c->dim[T_ITEMS]);
}

static void sampled_setup(Case *c) {
    case_arg(c, "logits", F32, OUT, (size_t)c->dim[T_ROWS] * (size_t)c->dim[T_COLUMNS], 1)->terms = c->dim[T_WIDTH];
    sampled_args(c);
}

static void sampled_run(Ops *ops, Case *c) {
    op_sampled_forward(ops, F(c, 0), c->arg[1].dev, F(c, 2), (int32_t *)c->arg[3].dev, c->dim[T_ROWS], c->dim[T_COLUMNS],
                       c->dim[T_WIDTH]);
}

static void sampled_reference(Case *c) {
    const int C = c->dim[T_COLUMNS], D = c->dim[T_WIDTH];
    for (int i = 0; i < c->dim[T_ROWS] * C; i++)
        for (int d = 0; d < D; d++) {
            const double term = c->arg[1].x[i / C * D + d] * c->arg[2].x[c->arg[3].ids[i] * D + d];
            c->arg[0].want[i] += term, c->arg[0].mag[i] += fabs(term);
        }
}

static void sampled_backward_setup(Case *c) {
    const int M = c->dim[T_ROWS], C = c->dim[T_COLUMNS], D = c->dim[T_WIDTH];
    case_arg(c, "dh", F32, OUT, (size_t)M * (size_t)D, 1)->terms = C;
    sampled_args(c);
    case_arg(c, "dlogits", F32, IN, (size_t)M * (size_t)C, 1);
    if (c->dim[T_WANTED]) case_arg(c, "dtable", F32, INOUT, (size_t)c->dim[T_ITEMS] * (size_t)D, 1)->terms = (double)M * C + 1;
}

static void sampled_backward_run(Ops *ops, Case *c) {
    op_sampled_backward(ops, F(c, 0), c->dim[T_WANTED] ? F(c, 5) : NULL, F(c, 4), c->arg[1].dev, F(c, 2),
                        (int32_t *)c->arg[3].dev, c->dim[T_ROWS], c->dim[T_COLUMNS], c->dim[T_WIDTH]);
}

static void sampled_backward_reference(Case *c) {
    const int C = c->dim[T_COLUMNS], D = c->dim[T_WIDTH];
    Arg *a = c->arg;
    for (int i = 0; i < c->dim[T_ROWS] * C; i++)
        for (int d = 0; d < D; d++) {
            const int h = i / C * D + d, t = a[3].ids[i] * D + d;
            a[0].want[h] += a[4].x[i] * a[2].x[t], a[0].mag[h] += fabs(a[4].x[i] * a[2].x[t]);
            if (c->dim[T_WANTED]) a[5].want[t] += a[4].x[i] * a[1].x[h], a[5].mag[t] += fabs(a[4].x[i] * a[1].x[h]);
        }
}

static void binary_setup(Case *c) { // T_WIDTH: scale of the logits
    const size_t M = (size_t)c->dim[T_ROWS], n = M * (size_t)c->dim[T_COLUMNS];
    case_arg(c, "loss", F32, OUT, M, 1)->terms = c->dim[T_COLUMNS];
    case_arg(c, "logits", F32, IN, n, c->dim[T_WIDTH]);
    if (c->dim[T_WANTED]) case_arg(c, "dlogits", F32, OUT, n, 1);
}

static void binary_run(Ops *ops, Case *c) {
    op_binary(ops, F(c, 0), c->dim[T_WANTED] ? F(c, 2) : NULL, F(c, 1), c->dim[T_ROWS], c->dim[T_COLUMNS], 0.7f);
}

static void binary_reference(Case *c) {
    const int C = c->dim[T_COLUMNS];
    for (int m = 0; m < c->dim[T_ROWS]; m++)
        c->arg[0].mag[m] = c->arg[0].want[m] =
            ref_binary(c->dim[T_WANTED] ? c->arg[2].want + m * C : NULL, c->arg[1].x + m * C, C, (double)0.7f);
}

// ---- the tables -------------------------------------------------------------------------------------------------------

static const Op layernorm = {"layernorm_forward", layernorm_setup, layernorm_run, layernorm_reference},
                layernorm_again = {"layernorm_again", layernorm_again_setup, layernorm_again_run, layernorm_again_reference},
                layernorm_backward = {"layernorm_backward", layernorm_backward_setup, layernorm_backward_run,
                                      layernorm_backward_reference},
                activation = {"activation_forward", activation_setup, activation_run, activation_reference},
                activation_backward = {"activation_backward", activation_backward_setup, activation_backward_run,
                                       activation_backward_reference},
                dropout = {"dropout", dropout_setup, dropout_run, dropout_reference},
                add = {"embed_add", add_setup, add_run, add_reference},
                sampled = {"sampled_forward", sampled_setup, sampled_run, sampled_reference},
                sampled_backward = {"sampled_backward", sampled_backward_setup, sampled_backward_run,
                                    sampled_backward_reference},
                binary = {"binary", binary_setup, binary_run, binary_reference};

static void all_cases(void **state) {
    (void)state;
    const Shape shapes[] = {
        {&layernorm, {0, 3, 1}},
        {&layernorm, {3, 5, 0}},
        {&layernorm, {7, 64, 1}},
        {&layernorm, {401, 97, 1}},
        {&layernorm_again, {3, 5}},
        {&layernorm_again, {401, 97}},
        {&layernorm_backward, {0, 3, 1}},
        {&layernorm_backward, {3, 5, 0}},
        {&layernorm_backward, {7, 64, 1}},
        {&layernorm_backward, {300, 130, 1}},
        {&activation, {0, 3, ACTIVATION_RELU, 1}},
        {&activation, {7, 31, ACTIVATION_RELU, 1}},
        {&activation, {7, 31, ACTIVATION_GELU, 3}},
        {&activation, {200, 176, ACTIVATION_GELU, 1}},
        {&activation_backward, {7, 31, ACTIVATION_RELU, 1}},
        {&activation_backward, {7, 31, ACTIVATION_GELU, 3}},
        {&activation_backward, {200, 176, ACTIVATION_GELU, 1}},
        {&dropout, {0, 3}},
        {&dropout, {3, 5}},
        {&dropout, {7, 64}},
        {&dropout, {301, 131}},
        {&add, {7, 0, 5, 3}},
        {&add, {401, 0, 97, 11}},
        {&sampled, {3, 2, 5, 7}},
        {&sampled, {301, 5, 64, 97}},
        {&sampled_backward, {3, 2, 5, 7, 1}},
        {&sampled_backward, {3, 2, 5, 7, 0}},
        {&sampled_backward, {301, 5, 64, 97, 1}},
        {&binary, {3, 2, 1, 0, 0}},
        {&binary, {5, 4, 30, 0, 1}},
        {&binary, {900, 3, 2, 0, 1}},
    };
    CASES_RUN(shapes);
}

// ---- the references against finite differences ------------------------------------------------------------------------

typedef struct Check {
    int op, N, D;
    double *x, *w, *b, *dout;
} Check;
enum { CHECK_NORM, CHECK_RELU, CHECK_GELU, CHECK_BINARY };

static double check_loss(void *context) {
    const Check *k = context;
    double out[64], rstd[8], sum[64], loss = 0;
    if (k->op == CHECK_BINARY) return ref_binary(NULL, k->x, k->D, 0);
    if (k->op == CHECK_NORM) ref_layernorm(out, rstd, sum, k->x, NULL, k->w, k->b, k->N, k->D);
    for (int i = 0; i < k->N * k->D; i++) {
        if (k->op != CHECK_NORM) out[i] = ref_activation(k->x[i], k->op == CHECK_RELU ? ACTIVATION_RELU : ACTIVATION_GELU);
        loss += k->dout[i] * out[i];
    }
    return loss;
}

static void references_by_differences(void **state) {
    (void)state;
    enum { N = 3, D = 5 };
    double *x = random_doubles(64, 1), *w = random_doubles(64, 2), *b = random_doubles(64, 3), *dout = random_doubles(64, 4);
    double dx[64] = {0}, dw[64] = {0}, db[64] = {0}, mag[64] = {0}, rstd[N], out[64], sum[64];
    Check k = {CHECK_NORM, N, D, x, w, b, dout};
    ref_layernorm(out, rstd, sum, x, NULL, w, b, N, D);
    ref_layernorm_backward(dx, mag, dw, mag, db, mag, dout, x, rstd, w, N, D);
    check_differences("layernorm dx", check_loss, &k, x, dx, N * D);
    check_differences("layernorm dweight", check_loss, &k, w, dw, D);
    check_differences("layernorm dbias", check_loss, &k, b, db, D);
    for (k.op = CHECK_RELU; k.op <= CHECK_GELU; k.op++) {
        for (int i = 0; i < N * D; i++)
            dx[i] = dout[i] * ref_activation_slope(x[i], k.op == CHECK_RELU ? ACTIVATION_RELU : ACTIVATION_GELU);
        check_differences("activation dx", check_loss, &k, x, dx, N * D);
    }
    k.op = CHECK_BINARY;
    ref_binary(dx, x, D, 1);
    check_differences("binary dlogits", check_loss, &k, x, dx, D);
    free(x), free(w), free(b), free(dout);
}

// Of many values a share that is the rate falls out, and the mean stays.
static void dropout_rate(void **state) {
    (void)state;
    enum { N = 256, D = 64 };
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, NULL, 2, DTYPE_F32, &err)) fail_msg("%s", err.message);
    const size_t n = (size_t)N * D;
    static float x[N * D];
    uint64_t key[N];
    for (int i = 0; i < N; i++) key[i] = (uint64_t)i;
    for (size_t i = 0; i < n; i++) x[i] = 1;
    float *x_device = device_new(ops, x, n, sizeof *x);
    const Dropout d = {0.2f, 1, device_new(ops, key, N, sizeof *key)};
    op_dropout(ops, x_device, DTYPE_F32, &d, 9, N, D);
    ops_download(ops, x, x_device, sizeof x);
    double mean = 0, zeros = 0;
    for (size_t i = 0; i < n; i++) mean += (double)x[i] / (double)n, zeros += x[i] == 0 ? 1.0 / (double)n : 0;
    assert_true(fabs(zeros - 0.2) < 0.0125 && fabs(mean - 1) < 0.0157); // four standard deviations
    ops_release(ops, x_device, n * sizeof *x + 1);
    ops_release(ops, (void *)d.key, N * sizeof *key + 1);
    ops_close(ops);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_by_differences),
        cmocka_unit_test(all_cases),
        cmocka_unit_test(dropout_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
