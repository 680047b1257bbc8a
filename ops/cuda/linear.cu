// Matrix products by cuBLASLt, which takes weights as they lie: only where the master is not of the compute type is there a
// copy of it, made again when its version moves. Sums are f32. What cuBLASLt chose is kept by shape.
#include "ops/cuda/cuda.cuh"

extern "C" {
#include "base/log.h"
}

#include <array>
#include <cublasLt.h>
#include <map>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LT(call) lt_check((call), #call)
static void lt_check(cublasStatus_t status, const char *what) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    fprintf(stderr, "latentr3: cuBLASLt: %s: status %d\n", what, (int)status);
    _exit(status == CUBLAS_STATUS_ALLOC_FAILED ? ERR_MEMORY : ERR_INTERNAL);
}

// c (m, n) = or += a (m, k) b (k, n), all by columns as BLAS has them; a_turned: a lies as (k, m), b_turned: b as (n, k).
typedef struct Product {
    int m, n, k, a_turned, b_turned, add;
    Dtype c_type;
    const void *a, *b;
    void *c;
    size_t a_stride = 0, b_stride = 0, c_stride = 0; // values from column to column, set by product_run
} Product;

typedef struct Choice {
    int found; // 0: cuBLASLt has nothing for this shape
    cublasLtMatmulAlgo_t algo;
} Choice;

enum { WORKSPACE_BYTES = 32 << 20, CHOICES_LIMIT = 4096, KEY = 13 };

struct LinearState {
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    void *workspace;
    std::map<std::array<int, KEY>, Choice> choice;
    int said; // that a large product is plain
};

struct MatrixCache { // a weight in the compute type
    int fresh;       // data is of `version`
    uint64_t version;
    void *data; // kept, or NULL
};

int linear_open(Ops *ops, Err *err) {
    LinearState *s = ops->linear = new LinearState();
    if (cublasLtCreate(&s->handle) != CUBLAS_STATUS_SUCCESS) return err_set(err, ERR_INTERNAL, "cuBLASLt does not start");
    if (cudaMalloc(&s->workspace, WORKSPACE_BYTES) != cudaSuccess)
        return err_set(err, ERR_MEMORY, "the GPU has no %d MiB left for products", WORKSPACE_BYTES >> 20);
    LT(cublasLtMatmulPreferenceCreate(&s->preference));
    const size_t most = WORKSPACE_BYTES;
    LT(cublasLtMatmulPreferenceSetAttribute(s->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most));
    // Where a sum is split, its parts are f32 and added in their order.
    const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    LT(cublasLtMatmulPreferenceSetAttribute(s->preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction,
                                            sizeof reduction));
    return 0;
}

static void lt_close(LinearState *s) {
    if (s->preference) cublasLtMatmulPreferenceDestroy(s->preference);
    if (s->workspace) cudaFree(s->workspace);
    if (s->handle) cublasLtDestroy(s->handle);
}

void linear_close(Ops *ops) {
    LinearState *s = ops->linear;
    if (!s) return;
    if (gpu_is_here(ops)) lt_close(s);
    delete s;
}

static cudaDataType_t lt_type(Dtype t) {
    return t == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

// The largest power of two that an address is a multiple of, up to what every block of an arena is: the choice for a tensor
// must not depend on where in the arena it lies.
static uint32_t alignment(const void *p) {
    const uintptr_t at = (uintptr_t)p | 64;
    return (uint32_t)(at & -at);
}

typedef struct Layouts {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
} Layouts;

static Layouts layouts_make(const Ops *ops, const Product *p) {
    Layouts l;
    const cublasOperation_t turned = CUBLAS_OP_T;
    const cudaDataType_t type = lt_type(ops->dtype);
    LT(cublasLtMatmulDescCreate(&l.op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    if (p->a_turned) LT(cublasLtMatmulDescSetAttribute(l.op, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned));
    if (p->b_turned) LT(cublasLtMatmulDescSetAttribute(l.op, CUBLASLT_MATMUL_DESC_TRANSB, &turned, sizeof turned));
    const uint64_t m = (uint64_t)p->m, n = (uint64_t)p->n, k = (uint64_t)p->k, a_rows = p->a_turned ? k : m,
                   b_rows = p->b_turned ? n : k;
    LT(cublasLtMatrixLayoutCreate(&l.a, type, a_rows, p->a_turned ? m : k, (int64_t)p->a_stride));
    LT(cublasLtMatrixLayoutCreate(&l.b, type, b_rows, p->b_turned ? k : n, (int64_t)p->b_stride));
    LT(cublasLtMatrixLayoutCreate(&l.c, lt_type(p->c_type), m, n, (int64_t)p->c_stride));
    return l;
}

static void layouts_free(Layouts *l) {
    LT(cublasLtMatrixLayoutDestroy(l->a));
    LT(cublasLtMatrixLayoutDestroy(l->b));
    LT(cublasLtMatrixLayoutDestroy(l->c));
    LT(cublasLtMatmulDescDestroy(l->op));
}

static Choice *choose(Ops *ops, const Product *p, const Layouts *l) {
    LinearState *s = ops->linear;
    const uint32_t align[3] = {alignment(p->a), alignment(p->b), alignment(p->c)};
    const std::array<int, KEY> key = {
        p->m,          p->n,          p->k,          p->a_turned,      p->b_turned,      p->add,          (int)p->c_type,
        (int)align[0], (int)align[1], (int)align[2], (int)p->a_stride, (int)p->b_stride, (int)p->c_stride};
    const auto have = s->choice.find(key);
    if (have != s->choice.end()) return &have->second;
    if (s->choice.size() >= CHOICES_LIMIT) s->choice.clear();
    const cublasLtMatmulPreferenceAttributes_t name[3] = {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                                          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES};
    for (int i = 0; i < 3; i++) LT(cublasLtMatmulPreferenceSetAttribute(s->preference, name[i], &align[i], sizeof align[i]));
    LT(cublasLtMatmulPreferenceSetAttribute(s->preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align[2],
                                            sizeof align[2]));
    cublasLtMatmulHeuristicResult_t result;
    int n = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(s->handle, l->op, l->a, l->b, l->c, l->c, s->preference, 1, &result, &n);
    Choice c = {};
    if (status == CUBLAS_STATUS_SUCCESS && n > 0 && result.state == CUBLAS_STATUS_SUCCESS) c.found = 1, c.algo = result.algo;
    return &(s->choice[key] = c);
}

// For shapes that cuBLASLt does not take: a thread an entry.
template <typename T, typename C> static void plain_product(Ops *ops, const Product *p) {
    const T *a = (const T *)p->a, *b = (const T *)p->b;
    C *c = (C *)p->c;
    const size_t m = (size_t)p->m, n = (size_t)p->n, k = (size_t)p->k;
    const size_t a_row = p->a_turned ? p->a_stride : 1, a_step = p->a_turned ? 1 : p->a_stride,
                 b_column = p->b_turned ? 1 : p->b_stride, b_step = p->b_turned ? p->b_stride : 1, c_stride = p->c_stride;
    const int add = p->add;
    each(ops, m * n, [=] __device__(size_t i) {
        const T *x = a + i % m * a_row, *y = b + i / m * b_column;
        C *to = c + i / m * c_stride + i % m;
        float sum = add ? load(to) : 0;
        for (size_t j = 0; j < k; j++) sum += load(x + j * a_step) * load(y + j * b_step);
        store(to, sum);
    });
}

// Once: the shapes change with the number of rows.
static void say_plain(LinearState *s, const Product *p) {
    const double many = 1e9;
    if (s->said || (double)p->m * p->n * p->k < many) return;
    s->said = 1;
    log_warn(
        "cuBLASLt has no product of (%d, %d) and (%d, %d): this one, and others that it lacks, run far below the GPU's rate",
        p->m, p->k, p->k, p->n);
}

// Whether cuBLASLt does it.
static int lt_run(Ops *ops, const Product *p) {
    LinearState *s = ops->linear;
    Layouts l = layouts_make(ops, p);
    Choice *choice = choose(ops, p, &l);
    const float one = 1, beta = p->add ? 1 : 0;
    if (choice->found) {
        const cublasStatus_t status = cublasLtMatmul(s->handle, l.op, &one, p->a, l.a, p->b, l.b, &beta, p->c, l.c, p->c, l.c,
                                                     &choice->algo, s->workspace, WORKSPACE_BYTES, ops->stream);
        choice->found = status != CUBLAS_STATUS_NOT_SUPPORTED; // offered and refused: nothing was launched
        if (choice->found) lt_check(status, "cublasLtMatmul");
    }
    const int done = choice->found;
    layouts_free(&l);
    return done;
}

// Columns of `rows` values that begin at multiples of 16 bytes.
static size_t wide_stride(size_t rows, Dtype type) {
    const size_t step = 16 / dtype_bytes(type);
    return (rows + step - 1) / step * step;
}

template <typename T>
static void columns_copy(Ops *ops, T *to, size_t to_stride, const T *from, size_t from_stride, size_t rows, size_t columns) {
    each_place(ops, (int)columns, (int)rows, [=] __device__(int column, int row) {
        to[(size_t)column * to_stride + (size_t)row] = from[(size_t)column * from_stride + (size_t)row];
    });
}

// An operand as cuBLASLt's fast products take it: where its columns begin elsewhere than at multiples of 16 bytes (a vocabulary
// of an odd size), a copy in the scratch arena, whose columns do.
static const void *operand_of(Ops *ops, const void *x, size_t rows, size_t columns, size_t *stride) {
    *stride = wide_stride(rows, ops->dtype);
    if (*stride == rows && (uintptr_t)x % 16 == 0) return x;
    char *copy = scratch_get<char>(ops, *stride * columns * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, columns_copy<T>(ops, (T *)copy, *stride, (const T *)x, rows, rows, columns));
    return copy;
}

// The same for the result, by way of the scratch arena: where cuBLASLt has nothing that writes it as it lies.
template <typename C> static int wide_run(Ops *ops, const Product *p) {
    const size_t m = (size_t)p->m, n = (size_t)p->n;
    Product wide = *p;
    wide.c_stride = wide_stride(m, p->c_type);
    if (wide.c_stride == m && (uintptr_t)p->c % 16 == 0) return 0;
    C *c = scratch_get<C>(ops, wide.c_stride * n);
    wide.c = c;
    if (p->add) columns_copy<C>(ops, c, wide.c_stride, (const C *)p->c, m, m, n);
    if (!lt_run(ops, &wide)) return 0;
    columns_copy<C>(ops, (C *)p->c, m, c, wide.c_stride, m, n);
    return 1;
}

static void product_run(Ops *ops, const Product *product) {
    Product p = *product;
    const size_t mark = arena_mark(&ops->scratch), m = (size_t)p.m, n = (size_t)p.n, k = (size_t)p.k;
    memory_written(ops, p.c, m * n * dtype_bytes(p.c_type));
    p.a = operand_of(ops, p.a, p.a_turned ? k : m, p.a_turned ? m : k, &p.a_stride);
    p.b = operand_of(ops, p.b, p.b_turned ? n : k, p.b_turned ? k : n, &p.b_stride);
    p.c_stride = m;
    int done = lt_run(ops, &p);
    if (!done) BY_TYPE(p.c_type, C, done = wide_run<C>(ops, &p));
    if (!done) {
        say_plain(ops->linear, &p);
        BY_TYPE(ops->dtype, T, BY_TYPE(p.c_type, C, plain_product<T, C>(ops, &p)));
    }
    arena_reset(&ops->scratch, mark);
}

// ---- weights --------------------------------------------------------------------------------------------------------------

void ops_matrix_free(Ops *ops, Matrix *m) {
    if (m->lora) {
        ops_matrix_free(ops, &m->lora->down);
        ops_matrix_free(ops, &m->lora->up);
    }
    if (!m->cache) return;
    if (gpu_is_here(ops)) {
        gpu_enter(ops);
        CUDA(cudaStreamSynchronize(ops->stream)); // products may be reading it
        if (m->cache->data) CUDA(cudaFree(m->cache->data));
    }
    free(m->cache);
    m->cache = NULL;
}

static int weight_is_plain(const Ops *ops, const Matrix *w) {
    return !w->read && (w->half != NULL) == (ops->dtype == DTYPE_BF16);
}

// From the file through pinned memory: read in the compute type by several threads, then one copy.
static void weight_read(Ops *ops, char *to, const Matrix *w) {
    const size_t row_bytes = (size_t)w->I * dtype_bytes(ops->dtype);
    const int at_once = (int)(STAGE_BYTES / row_bytes);
    CHECK(at_once > 0);
    for (int first = 0; first < w->O; first += at_once) {
        const int rows = w->O - first < at_once ? w->O - first : at_once, part = (rows + ops->threads - 1) / ops->threads;
        char *stage = (char *)stage_get(ops, (size_t)rows * row_bytes);
#pragma omp parallel for num_threads(ops->threads)
        for (int r = 0; r < rows; r += part)
            w->read(w->context, stage + (size_t)r * row_bytes, ops->dtype, first + r, rows - r < part ? rows - r : part);
        stage_send(ops, to + (size_t)first * row_bytes, stage, (size_t)rows * row_bytes);
    }
}

static void weight_fill(Ops *ops, void *to, const Matrix *w) {
    const size_t n = (size_t)w->O * (size_t)w->I;
    if (lora_is_up(w)) {
        lora_up(ops, to, w);
    } else if (w->read) {
        weight_read(ops, (char *)to, w);
    } else if (w->half) {
        const bf16 *from = (const bf16 *)w->half;
        float *out = (float *)to;
        each(ops, n, [=] __device__(size_t i) { out[i] = load(from + i); });
    } else {
        op_to_act(ops, to, w->w, n);
    }
}

// The weight in the compute type: the master, a copy that is kept, or, where it streams, one in the scratch arena until the
// caller resets that.
static const void *weight_of(Ops *ops, Matrix *w) {
    if (weight_is_plain(ops, w)) return w->half ? (const void *)w->half : (const void *)w->w;
    const size_t bytes = (size_t)w->O * (size_t)w->I * dtype_bytes(ops->dtype);
    if (w->stream) {
        char *to = scratch_get<char>(ops, bytes);
        weight_fill(ops, to, w);
        return to;
    }
    if (!w->cache) w->cache = (MatrixCache *)mem_zalloc(1, sizeof *w->cache);
    MatrixCache *c = w->cache;
    gpu_enter(ops);
    if (!c->data) CUDA(cudaMalloc(&c->data, bytes));
    if (!c->fresh || c->version != *w->version) weight_fill(ops, c->data, w);
    c->version = *w->version;
    c->fresh = 1;
    return c->data;
}

void ops_matrix_prepare(Ops *ops, Matrix *m) {
    if (!m->stream) weight_of(ops, m);
}

// ---- the products -----------------------------------------------------------------------------------------------------------

// y (N, O) by rows is (O, N) by columns: W lies as (I, O) and x as (I, N).
static void forward_rows(Ops *ops, void *y, Dtype y_type, int add, const void *x, const void *w, int N, int O, int I) {
    const Product p = {O, N, I, 1, 0, add, y_type, w, x, y};
    product_run(ops, &p);
}

static void add_bias(Ops *ops, float *y, const float *bias, int N, int O) {
    each_place(ops, N, O, [=] __device__(int n, int o) { y[(size_t)n * (size_t)O + (size_t)o] += bias[o]; });
}

// The bias is added before the result is rounded, a few rows at a time, which stay in the cache; whole tiles of a product.
static void forward_biased(Ops *ops, bf16 *y, const bf16 *x, const void *w, const float *bias, int N, int O, int I) {
    const int strip = ((32 << 20) / 4 / O / 128 + 1) * 128; // enough of them to fill the device
    const size_t mark = arena_mark(&ops->scratch);
    float *sum = scratch_get<float>(ops, (size_t)(N < strip ? N : strip) * (size_t)O);
    for (int n = 0; n < N; n += strip) {
        const int rows = N - n < strip ? N - n : strip;
        bf16 *to = y + (size_t)n * (size_t)O;
        forward_rows(ops, sum, DTYPE_F32, 0, x + (size_t)n * (size_t)I, w, rows, O, I);
        each_place(ops, rows, O, [=] __device__(int r, int o) {
            const size_t i = (size_t)r * (size_t)O + (size_t)o;
            store(to + i, sum[i] + bias[o]);
        });
    }
    arena_reset(&ops->scratch, mark);
}

void linear_forward(Ops *ops, void *y, Dtype y_type, int add, const act *x, Matrix *w, const float *bias, int N) {
    const size_t mark = arena_mark(&ops->scratch);
    const void *weight = weight_of(ops, w);
    memory_written(ops, y, (size_t)N * (size_t)w->O * dtype_bytes(y_type));
    if (bias && y_type == DTYPE_BF16) {
        CHECK(!add && ops->dtype == DTYPE_BF16);
        forward_biased(ops, (bf16 *)y, (const bf16 *)x, weight, bias, N, w->O, w->I);
    } else {
        forward_rows(ops, y, y_type, add, x, weight, N, w->O, w->I);
        if (bias) add_bias(ops, (float *)y, bias, N, w->O);
    }
    arena_reset(&ops->scratch, mark);
}

void op_linear_forward(Ops *ops, void *y, Dtype y_type, const act *x, Matrix *w, const float *bias, int N) {
    if (N == 0) return;
    linear_forward(ops, y, y_type, 0, x, w, bias, N);
    if (w->lora) lora_forward(ops, y, y_type, x, w->lora, N);
}

// dx (I, N) by columns = W (I, O) dy (O, N).
void linear_backward_input(Ops *ops, void *dx, Dtype dx_type, int add, const act *dy, Matrix *w, int N) {
    const size_t mark = arena_mark(&ops->scratch);
    const Product p = {w->I, N, w->O, 0, 0, add, dx_type, weight_of(ops, w), dy, dx};
    product_run(ops, &p);
    arena_reset(&ops->scratch, mark);
}

void op_linear_backward_input(Ops *ops, void *dx, Dtype dx_type, const act *dy, Matrix *w, int N) {
    if (N == 0) return;
    linear_backward_input(ops, dx, dx_type, 0, dy, w, N);
    if (w->lora) lora_backward_input(ops, dx, dx_type, dy, w->lora, N);
}

template <typename T> static void bias_backward(Ops *ops, float *dbias, const T *dy, int N, int O) {
    column_sums(ops, dbias, N, O, [=] __device__(int n, int o) { return load(dy + (size_t)n * (size_t)O + (size_t)o); });
}

// dw (I, O) by columns += x (I, N) times dy (O, N) turned.
void op_linear_backward_weight(Ops *ops, float *dw, float *dbias, const act *dy, const act *x, int N, int O, int I) {
    if (N == 0) return;
    const Product p = {I, O, N, 0, 1, 1, DTYPE_F32, x, dy, dw};
    product_run(ops, &p);
    if (dbias) BY_TYPE(ops->dtype, T, bias_backward<T>(ops, dbias, (const T *)dy, N, O));
}
