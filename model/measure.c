#include "model/measure.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { VALUES = 1 << 16 }; // from which all rows are made

double measure_row_macs(const ModelConfig *c) {
    return (double)c->L * c->D * ((double)(c->H + 2 * c->G) * c->K + (double)c->H * c->K + 3.0 * c->F);
}

double measure_head_macs(const ModelConfig *c) {
    return (double)c->V * c->D;
}

// What is multiplied are normal values, as in a network: a GPU that is held to its power multiplies zeros faster. Made behind
// their f32 at `memory`, which is large enough for both.
static act *normal_values(Ops *ops, float *memory) {
    float *host = mem_alloc(VALUES, sizeof *host);
    rng_normal(host, VALUES, 1, RNG_SYNTHETIC, 0);
    ops_upload(ops, memory, host, VALUES * sizeof *host);
    op_to_act(ops, memory + VALUES, memory, VALUES);
    free(host);
    return memory + VALUES;
}

// The best of several products of `N` rows with one matrix, in seconds; short ones are timed by the millisecond, so that what
// it takes to wait for a device is not counted.
static double product_seconds(Ops *ops, Matrix *w, int N, void *memory, const act *values) {
    const size_t in = (size_t)N * (size_t)w->I * dtype_bytes(ops_dtype(ops)), block = VALUES * dtype_bytes(ops_dtype(ops));
    act *x = memory, *y = (char *)memory + (in + 63) / 64 * 64;
    const double least = 1e-3;
    double best = INFINITY;
    for (size_t at = 0; at < in; at += block) ops_copy(ops, (char *)x + at, values, in - at < block ? in - at : block);
    ops_wait(ops);
    for (int i = 0, times = 1; i < 8; i++) {
        const double start = log_seconds();
        for (int j = 0; j < times; j++) op_linear_forward(ops, y, ops_dtype(ops), x, w, NULL, N);
        ops_wait(ops);
        const double seconds = (log_seconds() - start) / times;
        best = fmin(best, seconds);
        times = seconds < least ? (int)(least / fmax(seconds, 1e-6)) + 1 : 1;
    }
    return best;
}

int measure_products(Llm *m, double *rate, Err *err) {
    const int N = 16 * ops_rows_at_once(m->ops); // rows that fill the device
    const ModelConfig *c = &m->config;
    LlmBlock *b = &m->block[0];
    Matrix *matrix[] = {&b->qkv, &b->out, &b->gate_up, &b->down};
    const size_t widest = (size_t)(2 * c->F > c->D ? 2 * c->F : c->D) + (size_t)(c->H + 2 * c->G) * (size_t)c->K + (size_t)c->D,
                 bytes = (2 * VALUES + (size_t)N * 2 * widest) * sizeof(float);
    float *memory = ops_reserve(m->ops, bytes, err);
    if (!memory) return -1;
    const act *values = normal_values(m->ops, memory);
    double macs = 0, seconds = 0;
    for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++) {
        macs += (double)N * matrix[i]->O * matrix[i]->I;
        seconds += product_seconds(m->ops, matrix[i], N, memory + 2 * VALUES, values);
    }
    ops_release(m->ops, memory, bytes);
    *rate = macs / seconds;
    return 0;
}
