// Matrix products by oneDNN. A weight is repacked once (f32 -> the layout and type the kernel asks for) and again when its
// version moves; primitives are kept by shape. bf16 products accumulate in f32.
#include "ops/cpu/cpu.h"
#include "ops/cpu/isa.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DNNL(call) dnnl_check((call), #call)
static void dnnl_check(dnnl_status_t status, const char *call) {
    if (status == dnnl_success) return;
    fprintf(stderr, "latentr3: oneDNN: %s: status %d\n", call, (int)status);
    CHECK(status != dnnl_out_of_memory || !"oneDNN is out of memory");
    CHECK(status == dnnl_success);
}

enum { FORWARD = 0, BACKWARD_INPUT = 1, BACKWARD_WEIGHT = 2 };
enum { ARG_SRC, ARG_WEIGHTS, ARG_DST, ARG_BIAS, ARG_SCRATCH, ARGS };

typedef struct Product { // a primitive for one shape: dst (M, N) = or += src (M, K) weights (K, N)
    int kind, M, N, K, bias, add;
    Dtype dst_type;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ARGS];
    size_t scratch_bytes;
    struct Product *next;
} Product;

enum { BUCKETS = 1024, PRODUCTS_LIMIT = 4096 };

typedef struct LinearState {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    Product *bucket[BUCKETS];
    int products;
    int blocked; // products are those of blocks.c
} LinearState;

typedef struct Packed { // a weight in the kernel's layout
    dnnl_memory_desc_t desc;
    int known, plain; // desc is there; it is that of the master
    int fresh;        // data is of `version`
    uint64_t version;
    void *data; // kept, or NULL
} Packed;

struct MatrixCache {
    Packed packed[2]; // FORWARD, BACKWARD_INPUT (layout alone: that copy is made for each product)
};

// How many threads oneDNN uses, when a product is made as when it is run, it asks of the thread that calls, whose setting
// belongs to whoever made that thread: it is ours for the length of a call.
typedef struct Team {
    int threads, dynamic;
} Team;

static Team team_begin(const Ops *ops) {
    const Team theirs = {omp_get_max_threads(), omp_get_dynamic()};
    omp_set_dynamic(0);
    omp_set_num_threads(ops->threads);
    return theirs;
}

static void team_end(Team theirs) {
    omp_set_num_threads(theirs.threads);
    omp_set_dynamic(theirs.dynamic);
}

int linear_open(Ops *ops, Err *err) {
    LinearState *s = ops->linear = mem_zalloc(1, sizeof *s);
    s->blocked = ops->dtype == DTYPE_F32 && !isa_has_f32_products();
    if (dnnl_engine_create(&s->engine, dnnl_cpu, 0) || dnnl_stream_create(&s->stream, s->engine, dnnl_stream_default_flags))
        return err_set(err, ERR_INTERNAL, "oneDNN does not start");
    return 0;
}

static void product_free(Product *p) {
    dnnl_primitive_destroy(p->primitive);
    for (int a = 0; a < ARGS; a++)
        if (p->memory[a]) dnnl_memory_destroy(p->memory[a]);
    free(p);
}

static void products_drop(LinearState *s) {
    for (int b = 0; b < BUCKETS; b++)
        while (s->bucket[b]) {
            Product *next = s->bucket[b]->next;
            product_free(s->bucket[b]);
            s->bucket[b] = next;
        }
    s->products = 0;
}

void linear_close(Ops *ops) {
    LinearState *s = ops->linear;
    if (!s) return;
    products_drop(s);
    if (s->stream) dnnl_stream_destroy(s->stream);
    if (s->engine) dnnl_engine_destroy(s->engine);
    free(s);
}

void ops_matrix_free(Ops *ops, Matrix *m) {
    if (m->lora) {
        ops_matrix_free(ops, &m->lora->down);
        ops_matrix_free(ops, &m->lora->up);
    }
    if (!m->cache) return;
    for (int i = 0; i < 2; i++) free(m->cache->packed[i].data);
    free(m->cache);
    m->cache = NULL;
}

static dnnl_data_type_t dnnl_type(Dtype t) {
    return t == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

// A (rows, cols) matrix with the given strides.
static dnnl_memory_desc_t plain(dnnl_data_type_t type, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride) {
    dnnl_memory_desc_t d;
    dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};
    DNNL(dnnl_memory_desc_init_by_strides(&d, 2, dims, type, strides));
    return d;
}

static dnnl_primitive_desc_t product_desc(LinearState *s, const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *weights,
                                          const dnnl_memory_desc_t *bias, const dnnl_memory_desc_t *dst, int add) {
    dnnl_matmul_desc_t op;
    DNNL(dnnl_matmul_desc_init(&op, src, weights, bias, dst));
    dnnl_primitive_attr_t attr;
    DNNL(dnnl_primitive_attr_create(&attr));
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (add) {
        dnnl_post_ops_t post;
        DNNL(dnnl_post_ops_create(&post));
        DNNL(dnnl_post_ops_append_sum(post, 1.0f));
        DNNL(dnnl_primitive_attr_set_post_ops(attr, post));
        dnnl_post_ops_destroy(post);
    }
    dnnl_primitive_desc_t pd;
    DNNL(dnnl_primitive_desc_create(&pd, &op, attr, s->engine, NULL));
    dnnl_primitive_attr_destroy(attr);
    return pd;
}

static dnnl_memory_t memory_for(LinearState *s, const dnnl_memory_desc_t *d) {
    dnnl_memory_t m;
    DNNL(dnnl_memory_create(&m, d, s->engine, DNNL_MEMORY_NONE));
    return m;
}

// A weight's rows [.., .. + rows) as oneDNN sees them, (K, N) of the product: W^T going forward, W going back.
static dnnl_memory_desc_t rows_desc(int kind, dnnl_data_type_t type, int64_t rows, int64_t I) {
    return kind == FORWARD ? plain(type, I, rows, 1, I) : plain(type, rows, I, I, 1);
}

static dnnl_data_type_t master_type(const Matrix *w) {
    return w->half ? dnnl_bf16 : dnnl_f32;
}

static const void *master(const Matrix *w) {
    return w->half ? (const void *)w->half : (const void *)w->w;
}

// The layout the kernel asks for is taken from a product of typical height and then used for all heights.
static dnnl_memory_desc_t asked_layout(Ops *ops, const Matrix *w, int kind) {
    const int64_t typical = 256, K = kind == FORWARD ? w->I : w->O, N = kind == FORWARD ? w->O : w->I;
    dnnl_data_type_t type = dnnl_type(ops->dtype);
    dnnl_memory_desc_t src = plain(type, typical, K, K, 1), dst = plain(dnnl_f32, typical, N, N, 1), any;
    dnnl_dims_t dims = {K, N};
    DNNL(dnnl_memory_desc_init_by_tag(&any, 2, dims, type, dnnl_format_tag_any));
    dnnl_primitive_desc_t pd = product_desc(ops->linear, &src, &any, NULL, &dst, 0);
    const dnnl_memory_desc_t layout = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(pd);
    return layout;
}

static Packed *packed_learn(Ops *ops, Matrix *w, int kind) {
    if (!w->cache) w->cache = mem_zalloc(1, sizeof *w->cache);
    Packed *p = &w->cache->packed[kind];
    if (p->known) return p;
    p->desc = ops->linear->blocked ? rows_desc(kind, dnnl_type(ops->dtype), w->O, w->I) : asked_layout(ops, w, kind);
    dnnl_memory_desc_t as_kept = rows_desc(kind, master_type(w), w->O, w->I);
    p->plain = !w->read && dnnl_memory_desc_equal(&p->desc, &as_kept);
    p->known = 1;
    return p;
}

static void reorder(Ops *ops, const dnnl_memory_desc_t *from_desc, const void *from, const dnnl_memory_desc_t *to_desc,
                    void *to) {
    LinearState *s = ops->linear;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    DNNL(dnnl_reorder_primitive_desc_create(&pd, from_desc, s->engine, to_desc, s->engine, NULL));
    DNNL(dnnl_primitive_create(&primitive, pd)); // compiled once a shape: oneDNN keeps its own cache
    dnnl_primitive_desc_destroy(pd);
    dnnl_memory_t source = memory_for(s, from_desc), target = memory_for(s, to_desc);
    DNNL(dnnl_memory_set_data_handle(source, (void *)from));
    DNNL(dnnl_memory_set_data_handle(target, to));
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}};
    DNNL(dnnl_primitive_execute(primitive, s->stream, 2, args));
    DNNL(dnnl_stream_wait(s->stream));
    dnnl_memory_destroy(source), dnnl_memory_destroy(target);
    dnnl_primitive_destroy(primitive);
}

// A run of rows at a time through a stage: whole blocks of the kernel's layout, so that each run is a part of it.
enum { STAGE_ROWS = 512, READ_ROWS = 64 };

static void pack_read(Ops *ops, const Matrix *w, int kind, const dnnl_memory_desc_t *desc, void *to) {
    size_t mark = arena_mark(&ops->shared), row_bytes = (size_t)w->I * dtype_bytes(ops->dtype);
    char *stage = arena_get(&ops->shared, STAGE_ROWS, row_bytes);
    for (int first = 0; first < w->O; first += STAGE_ROWS) {
        const int rows = w->O - first < STAGE_ROWS ? w->O - first : STAGE_ROWS;
        PARALLEL_TASKS
        for (int r = 0; r < rows; r += READ_ROWS)
            w->read(w->context, stage + (size_t)r * row_bytes, ops->dtype, first + r,
                    rows - r < READ_ROWS ? rows - r : READ_ROWS);
        dnnl_memory_desc_t from = rows_desc(kind, dnnl_type(ops->dtype), rows, w->I), part;
        dnnl_dims_t size = {kind == FORWARD ? w->I : rows, kind == FORWARD ? rows : w->I},
                    offset = {kind == FORWARD ? 0 : first, kind == FORWARD ? first : 0};
        DNNL(dnnl_memory_desc_init_submemory(&part, desc, size, offset));
        reorder(ops, &from, stage, &part, to);
    }
    arena_reset(&ops->shared, mark);
}

static void pack(Ops *ops, const Matrix *w, int kind, const dnnl_memory_desc_t *desc, void *to) {
    if (w->read) {
        pack_read(ops, w, kind, desc, to);
        return;
    }
    dnnl_memory_desc_t from = rows_desc(kind, master_type(w), w->O, w->I);
    reorder(ops, &from, master(w), desc, to);
}

// The copy for forward products: kept, unless the weight streams (then in `ops->shared`, until the caller resets it).
static const void *packed_forward(Ops *ops, Matrix *w) {
    Packed *p = packed_learn(ops, w, FORWARD);
    if (p->plain) return master(w);
    const size_t bytes = (dnnl_memory_desc_get_size(&p->desc) + 63) / 64 * 64;
    if (w->stream) {
        void *to = arena_get(&ops->shared, bytes, 1);
        pack(ops, w, FORWARD, &p->desc, to);
        return to;
    }
    if (!p->data) p->data = mem_need(aligned_alloc(64, bytes), "a copy of packed weights");
    if (!p->fresh || p->version != *w->version) pack(ops, w, FORWARD, &p->desc, p->data);
    p->version = *w->version;
    p->fresh = 1;
    return p->data;
}

// The copy for products with W itself, from the forward copy: in `ops->shared`. It is small beside the product it serves
// and mostly still in the cache when that reads it, so a second kept copy would cost memory and win no time.
static const void *packed_backward(Ops *ops, Matrix *w) {
    if (ops->linear->blocked) return packed_forward(ops, w); // one layout, read either way
    Packed *p = packed_learn(ops, w, BACKWARD_INPUT), *forward = packed_learn(ops, w, FORWARD);
    if (p->plain) return master(w);
    void *to = arena_get(&ops->shared, (dnnl_memory_desc_get_size(&p->desc) + 63) / 64 * 64, 1);
    if (w->stream || forward->plain) {
        pack(ops, w, BACKWARD_INPUT, &p->desc, to);
        return to;
    }
    const int turned[] = {1, 0};
    dnnl_memory_desc_t from;
    DNNL(dnnl_memory_desc_permute_axes(&from, &forward->desc, turned));
    reorder(ops, &from, packed_forward(ops, w), &p->desc, to);
    return to;
}

void ops_matrix_prepare(Ops *ops, Matrix *m) {
    const Team theirs = team_begin(ops);
    if (!m->stream) packed_forward(ops, m);
    team_end(theirs);
}

static Product *product_find(LinearState *s, const Product *key, unsigned *bucket) {
    uint64_t h = (uint64_t)key->kind;
    const int fields[] = {key->M, key->N, key->K, key->bias, key->add, (int)key->dst_type};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        h = (h ^ (uint64_t)fields[i]) * 0x9E3779B97F4A7C15ull, h ^= h >> 29;
    *bucket = (unsigned)(h % BUCKETS);
    for (Product *p = s->bucket[*bucket]; p; p = p->next)
        if (p->kind == key->kind && p->M == key->M && p->N == key->N && p->K == key->K && p->bias == key->bias &&
            p->add == key->add && p->dst_type == key->dst_type)
            return p;
    return NULL;
}

static Product *product_get(Ops *ops, const Product *key, const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *weights,
                            const dnnl_memory_desc_t *dst) {
    LinearState *s = ops->linear;
    unsigned bucket;
    Product *p = product_find(s, key, &bucket);
    if (p) return p;
    if (s->products >= PRODUCTS_LIMIT) products_drop(s);
    p = mem_alloc(1, sizeof *p);
    *p = *key;
    dnnl_memory_desc_t bias = plain(dnnl_f32, 1, key->N, key->N, 1);
    dnnl_primitive_desc_t pd = product_desc(s, src, weights, key->bias ? &bias : NULL, dst, key->add);
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    p->memory[ARG_SRC] = memory_for(s, src);
    p->memory[ARG_WEIGHTS] = memory_for(s, weights);
    p->memory[ARG_DST] = memory_for(s, dst);
    p->memory[ARG_SCRATCH] = memory_for(s, scratch);
    if (key->bias) p->memory[ARG_BIAS] = memory_for(s, &bias);
    DNNL(dnnl_primitive_create(&p->primitive, pd));
    dnnl_primitive_desc_destroy(pd);
    p->next = s->bucket[bucket];
    s->bucket[bucket] = p;
    s->products++;
    return p;
}

static void product_run(Ops *ops, Product *p, const void *src, const void *weights, void *dst, const float *bias) {
    static const int name[ARGS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS, DNNL_ARG_SCRATCHPAD};
    size_t mark = arena_mark(&ops->shared);
    void *data[ARGS] = {(void *)src, (void *)weights, dst, (void *)bias,
                        p->scratch_bytes ? arena_get(&ops->shared, p->scratch_bytes, 1) : NULL};
    dnnl_exec_arg_t args[ARGS];
    int n = 0;
    for (int a = 0; a < ARGS; a++) {
        if (!p->memory[a]) continue;
        DNNL(dnnl_memory_set_data_handle(p->memory[a], data[a]));
        args[n++] = (dnnl_exec_arg_t){name[a], p->memory[a]};
    }
    DNNL(dnnl_primitive_execute(p->primitive, ops->linear->stream, n, args));
    DNNL(dnnl_stream_wait(ops->linear->stream));
    arena_reset(&ops->shared, mark);
}

void linear_forward(Ops *ops, void *y, Dtype y_type, int add, const act *x, Matrix *w, const float *bias, int N) {
    const Team theirs = team_begin(ops);
    size_t mark = arena_mark(&ops->shared);
    const void *weights = packed_forward(ops, w);
    if (ops->linear->blocked) {
        blocks_product(ops, y, x, weights, 1, bias, N, w->O, w->I, add);
    } else {
        dnnl_memory_desc_t src = plain(dnnl_type(ops->dtype), N, w->I, w->I, 1),
                           dst = plain(dnnl_type(y_type), N, w->O, w->O, 1);
        Product key = {.kind = FORWARD, .M = N, .N = w->O, .K = w->I, .bias = bias != NULL, .add = add, .dst_type = y_type};
        Product *p = product_get(ops, &key, &src, &w->cache->packed[FORWARD].desc, &dst);
        product_run(ops, p, x, weights, y, bias);
    }
    arena_reset(&ops->shared, mark);
    team_end(theirs);
}

void op_linear_forward(Ops *ops, void *y, Dtype y_type, const act *x, Matrix *w, const float *bias, int N) {
    if (N == 0) return;
    linear_forward(ops, y, y_type, 0, x, w, bias, N);
    if (w->lora) lora_forward(ops, y, y_type, x, w->lora, N);
}

void linear_backward_input(Ops *ops, void *dx, Dtype dx_type, int add, const act *dy, Matrix *w, int N) {
    const Team theirs = team_begin(ops);
    size_t mark = arena_mark(&ops->shared);
    const void *weights = packed_backward(ops, w);
    if (ops->linear->blocked) {
        blocks_product(ops, dx, dy, weights, 0, NULL, N, w->I, w->O, add);
    } else {
        dnnl_memory_desc_t src = plain(dnnl_type(ops->dtype), N, w->O, w->O, 1),
                           dst = plain(dnnl_type(dx_type), N, w->I, w->I, 1);
        Product key = {.kind = BACKWARD_INPUT, .M = N, .N = w->I, .K = w->O, .add = add, .dst_type = dx_type};
        Product *p = product_get(ops, &key, &src, &w->cache->packed[BACKWARD_INPUT].desc, &dst);
        product_run(ops, p, dy, weights, dx, NULL);
    }
    arena_reset(&ops->shared, mark);
    team_end(theirs);
}

void op_linear_backward_input(Ops *ops, void *dx, Dtype dx_type, const act *dy, Matrix *w, int N) {
    if (N == 0) return;
    linear_backward_input(ops, dx, dx_type, 0, dy, w, N);
    if (w->lora) lora_backward_input(ops, dx, dx_type, dy, w->lora, N);
}

// Sum of rows, chunk by chunk in a fixed order.
static void bias_backward(Ops *ops, float *dbias, const act *dy, int N, int O) {
    int chunks = (N + CPU_ROW_CHUNK - 1) / CPU_ROW_CHUNK;
    size_t mark = arena_mark(&ops->shared), width = (size_t)O;
    float *partial = ARENA_NEW(&ops->shared, float, (size_t)chunks *width); // (chunks, O)
    PARALLEL_FOR((size_t)N * width)
    for (int c = 0; c < chunks; c++) {
        memset(partial + (size_t)c * width, 0, width * 4);
        int end = (c + 1) * CPU_ROW_CHUNK < N ? (c + 1) * CPU_ROW_CHUNK : N;
        for (int n = c * CPU_ROW_CHUNK; n < end; n++)
            ops->k->axpy_act(partial + (size_t)c * width, 1.0f, act_row(ops, dy, (size_t)n, width), width, ops->dtype);
    }
    for (int c = 0; c < chunks; c++) ops->k->axpy(dbias, 1.0f, partial + (size_t)c * width, width);
    arena_reset(&ops->shared, mark);
}

// oneDNN deals a sum over more than about 2,000 rows to the threads, whose number then decides its order; shorter ones it
// leaves whole.
enum { SUM_ROWS = 1024 };

void op_linear_backward_weight(Ops *ops, float *dw, float *dbias, const act *dy, const act *x, int N, int O, int I) {
    const Team theirs = team_begin(ops);
    dnnl_data_type_t type = dnnl_type(ops->dtype);
    for (int n = 0; n < N; n += SUM_ROWS) {
        int rows = N - n < SUM_ROWS ? N - n : SUM_ROWS;
        if (ops->linear->blocked) {
            blocks_add_turned(ops, dw, act_row(ops, dy, (size_t)n, (size_t)O), act_row(ops, x, (size_t)n, (size_t)I), O, I,
                              rows);
            continue;
        }
        dnnl_memory_desc_t src = plain(type, O, rows, 1, O), weights = plain(type, rows, I, I, 1),
                           dst = plain(dnnl_f32, O, I, I, 1);
        Product key = {.kind = BACKWARD_WEIGHT, .M = O, .N = I, .K = rows, .add = 1, .dst_type = DTYPE_F32};
        Product *p = product_get(ops, &key, &src, &weights, &dst);
        product_run(ops, p, act_row(ops, dy, (size_t)n, (size_t)O), act_row(ops, x, (size_t)n, (size_t)I), dw, NULL);
    }
    team_end(theirs);
    if (dbias && N > 0) bias_backward(ops, dbias, dy, N, O);
}
