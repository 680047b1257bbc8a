#include "model/frozen.h"
#include "base/arena.h"
#include "base/log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct Part { // rows [begin, begin + dims[0]) of a matrix are one parameter
    const Param *param;
    const Tensor *tensor;
    const float *mean; // (I) for the rows that the file does not have, or NULL
    int begin;
} Part;

enum { PARTS = 3, PIECE = 1024 }; // q, k, v; values at a time, a multiple of every block

typedef struct FrozenMatrix {
    Frozen *frozen;
    Matrix *matrix;
    Part part[PARTS];
    int parts;
} FrozenMatrix;

struct Frozen {
    const WeightsSource *s;
    const ModelConfig *config;
    FrozenMatrix *matrix; // (n)
    int n;
    size_t room;                        // bytes left for matrices that are kept
    size_t streamed;                    // bytes of those that are not
    float *mean[2];                     // of the embedding and of an untied head, or NULL
    _Atomic(const Tensor *) bad;        // one that holds a value that is not finite
    _Atomic(const FrozenMatrix *) last; // that was read
};

static void store(char *out, Dtype type, const float *x, size_t n) {
    if (type == DTYPE_F32) {
        memcpy(out, x, n * sizeof *x);
        return;
    }
    tensor_to_bf16((uint16_t *)out, x, n);
}

static void read_row(const FrozenMatrix *f, const Part *p, size_t row, char *out, Dtype type) {
    const size_t width = (size_t)f->matrix->I, bytes = dtype_bytes(type);
    if (row >= (size_t)p->tensor->dims[0]) {
        store(out, type, p->mean, width);
        return;
    }
    const size_t at = weights_source_row(f->frozen->s, f->frozen->config, p->param, row) * width;
    float piece[PIECE];
    for (size_t i = 0; i < width; i += PIECE) {
        const size_t n = width - i < PIECE ? width - i : PIECE;
        tensor_to_f32(piece, p->tensor, at + i, n);
        if (tensor_first_not_finite(piece, n) < n) atomic_store(&f->frozen->bad, p->tensor);
        store(out + i * bytes, type, piece, n);
    }
}

static void read_rows(const FrozenMatrix *f, void *out, Dtype type, int first, int rows) {
    const size_t row_bytes = (size_t)f->matrix->I * dtype_bytes(type);
    for (int r = first; r < first + rows; r++) {
        int part = f->parts - 1;
        while (r < f->part[part].begin) part--;
        read_row(f, &f->part[part], (size_t)(r - f->part[part].begin), (char *)out + (size_t)(r - first) * row_bytes, type);
    }
}

static void forget(const FrozenMatrix *f) {
    for (int k = 0; k < f->parts; k++) mapfile_forget(f->part[k].tensor->data, f->part[k].tensor->bytes);
}

// One matrix is read at a time, by several threads: when the next one begins, the pages of the last need not stay.
static void frozen_read(const void *context, void *out, Dtype type, int first, int rows) {
    const FrozenMatrix *f = context, *last = atomic_exchange(&f->frozen->last, f);
    if (last && last != f) forget(last);
    read_rows(f, out, type, first, rows);
}

// Bind a matrix to the parameters that follow each other from the one at its address.
static void bind(Frozen *f, Llm *m, Matrix *matrix, int parts, const float *mean) {
    FrozenMatrix *x = &f->matrix[f->n++];
    *x = (FrozenMatrix){.frozen = f, .matrix = matrix, .parts = parts};
    int i = 0, begin = 0;
    while (m->w + m->params.param[i].offset != matrix->w) i++;
    for (int k = 0; k < parts; k++) {
        const Param *p = &m->params.param[i + k];
        x->part[k] = (Part){.param = p, .tensor = weights_find(f->s, p->name), .mean = mean, .begin = begin};
        begin += p->dims[0];
    }
    CHECK(begin == matrix->O);
    const size_t bytes = (size_t)matrix->O * (size_t)matrix->I * dtype_bytes(ops_dtype(m->ops));
    matrix->read = frozen_read;
    matrix->context = x;
    matrix->stream = bytes > f->room;
    if (matrix->stream)
        f->streamed += bytes;
    else
        f->room -= bytes;
}

static void bind_all(Frozen *f, Llm *m) {
    const ModelConfig *c = &m->config;
    f->matrix = mem_alloc((size_t)c->L * 4 + 2, sizeof *f->matrix);
    bind(f, m, &m->head, 1, f->mean[!c->tied]);
    for (int l = 0; l < c->L; l++) {
        LlmBlock *b = &m->block[l];
        bind(f, m, &b->qkv, 3, NULL);
        bind(f, m, &b->out, 1, NULL);
        bind(f, m, &b->gate_up, 2, NULL);
        bind(f, m, &b->down, 1, NULL);
    }
}

// Rows of the embedding table in the compute type, into device memory.
static void load_embedding(Frozen *f, Llm *m) {
    enum { ROWS = 256 };
    const ModelConfig *c = &m->config;
    const Dtype type = ops_dtype(m->ops);
    const size_t row_bytes = (size_t)c->D * dtype_bytes(type);
    Matrix table = {.O = c->V, .I = c->D};
    const Param *p = params_find(&m->params, "model.embed_tokens.weight");
    FrozenMatrix x = {.frozen = f, .matrix = &table, .parts = 1};
    x.part[0] = (Part){.param = p, .tensor = weights_find(f->s, p->name), .mean = f->mean[0]};
    char *rows = mem_alloc(ROWS, row_bytes), *device = arena_get(&m->arena, (size_t)c->V, row_bytes);
    for (int first = 0; first < c->V; first += ROWS) {
        const int n = c->V - first < ROWS ? c->V - first : ROWS;
        read_rows(&x, rows, type, first, n);
        ops_upload(m->ops, device + (size_t)first * row_bytes, rows, (size_t)n * row_bytes);
    }
    free(rows);
    m->embed = device;
    m->embed_type = type;
}

static size_t matrix_bytes(const Llm *m) {
    size_t values = 0;
    for (int i = 0; i < m->params.n; i++)
        if (m->params.param[i].n_dims == 2) values += m->params.param[i].count;
    return values * dtype_bytes(ops_dtype(m->ops));
}

// Memory that a device refuses later ends the program; a server that loads a second model is to go on with the first.
static int check_fits(const Llm *m, const WeightsSource *s, size_t kept, Err *err) {
    const size_t need = kept + (size_t)m->config.V * (size_t)m->config.D * dtype_bytes(ops_dtype(m->ops)),
                 room = ops_free_bytes(m->ops);
    if (need <= room) return 0;
    return err_set(err, ERR_MEMORY, "%s: %zu MiB of weights are to be kept, the device has %zu MiB free", s->path, need >> 20,
                   room >> 20);
}

// What is not kept is read once all the same, so that a bad file is refused here.
static void check_streamed(FrozenMatrix *x) {
    float piece[PIECE];
    for (int k = 0; k < x->parts; k++) {
        const Tensor *t = x->part[k].tensor;
        for (size_t at = 0; at < t->count; at += PIECE) {
            const size_t n = t->count - at < PIECE ? t->count - at : PIECE;
            tensor_to_f32(piece, t, at, n);
            if (tensor_first_not_finite(piece, n) < n) atomic_store(&x->frozen->bad, t);
        }
    }
    forget(x);
}

int frozen_attach(Llm *m, const WeightsSource *s, size_t memory_bytes, Err *err) {
    if (weights_check(m, s, err)) return -1;
    const size_t device = ops_memory_bytes(m->ops), all = matrix_bytes(m);
    const int unused = memory_bytes == FROZEN_UNUSED;
    if (!memory_bytes) memory_bytes = all > device / 4 * 3 ? device / 2 : all;
    Frozen *f = m->frozen = mem_zalloc(1, sizeof *f);
    *f = (Frozen){.s = s, .config = &m->config, .room = unused ? 0 : memory_bytes};
    static const char *const table[] = {"model.embed_tokens.weight", "lm_head.weight"};
    for (int i = 0; i < 2; i++) {
        const Param *p = params_find(&m->params, table[i]);
        if (p) f->mean[i] = weights_mean_row(s, &m->config, p);
    }
    if (weights_load_small(m, s, err)) return -1;
    const size_t room = f->room;
    bind_all(f, m);
    if (check_fits(m, s, room - f->room, err)) return -1;
    load_embedding(f, m);
    for (int i = 0; i < f->n && !unused; i++) {
        if (f->matrix[i].matrix->stream)
            check_streamed(&f->matrix[i]);
        else
            ops_matrix_prepare(m->ops, f->matrix[i].matrix);
    }
    const Tensor *bad = atomic_load(&f->bad);
    if (bad) return weights_check_finite(s, bad, err);
    if (f->streamed && !unused)
        log_info("%zu of %zu MiB of weights do not fit beside the rest: they stream from the file", f->streamed >> 20,
                 all >> 20);
    return 0;
}

void frozen_free(Frozen *f) {
    if (!f) return;
    free(f->mean[0]), free(f->mean[1]);
    free(f->matrix);
    free(f);
}

// Row `row` of a parameter as f32, from wherever it is.
void frozen_param_row(const Llm *m, const Param *p, size_t row, float *out) {
    const Tensor *t = weights_find(m->frozen->s, p->name);
    const size_t width = (size_t)p->dims[1];
    if (row < (size_t)t->dims[0])
        tensor_to_f32(out, t, weights_source_row(m->frozen->s, &m->config, p, row) * width, width);
    else
        memcpy(out, m->frozen->mean[strcmp(p->name, "lm_head.weight") == 0], width * sizeof *out);
}

int frozen_check_param(const Llm *m, const Param *p, Err *err) {
    const Tensor *t = weights_find(m->frozen->s, p->name);
    return t ? weights_check_finite(m->frozen->s, t, err) : 0;
}
