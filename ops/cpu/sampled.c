// Binary cross-entropy against a few rows of the table: the true item and negatives (Kang & McAuley 2018).
#include "ops/cpu/cpu.h"

#include <math.h>

void op_sampled_forward(Ops *ops, float *logits, const act *h, const float *table, const int32_t *id, int M, int C, int D) {
    const size_t width = (size_t)D;
    PARALLEL_FOR((size_t)M * (size_t)C * width)
    for (int m = 0; m < M; m++) {
        const act *row = act_row(ops, h, (size_t)m, width);
        for (size_t i = (size_t)m * (size_t)C; i < (size_t)(m + 1) * (size_t)C; i++)
            logits[i] = ops->k->dot_act(table + (size_t)id[i] * width, row, width, ops->dtype);
    }
}

// Ids repeat: a row of the table belongs to one part, which walks all ids in their order. The parts only share the work.
static void table_part(Ops *ops, float *dtable, const float *dlogits, const act *h, const int32_t *id, size_t n, int C, int D,
                       int part, int parts) {
    const size_t width = (size_t)D;
    for (size_t i = 0; i < n; i++)
        if (id[i] % parts == part)
            ops->k->axpy_act(dtable + (size_t)id[i] * width, dlogits[i], act_row(ops, h, i / (size_t)C, width), width,
                             ops->dtype);
}

void op_sampled_backward(Ops *ops, float *dh, float *dtable, const float *dlogits, const act *h, const float *table,
                         const int32_t *id, int M, int C, int D) {
    const size_t width = (size_t)D, n = (size_t)M * (size_t)C;
    PARALLEL_FOR(n * width)
    for (int m = 0; m < M; m++) {
        float *to = dh + (size_t)m * width;
        for (size_t d = 0; d < width; d++) to[d] = 0;
        for (size_t i = (size_t)m * (size_t)C; i < (size_t)(m + 1) * (size_t)C; i++)
            ops->k->axpy(to, dlogits[i], table + (size_t)id[i] * width, width);
    }
    const int parts = cpu_team(ops, n * width);
    PARALLEL_FOR(dtable ? n * width : 0)
    for (int part = 0; part < parts; part++)
        if (dtable) table_part(ops, dtable, dlogits, h, id, n, C, D, part, parts);
}

void op_binary(Ops *ops, float *loss, float *dlogits, const float *logits, int M, int C, float weight) {
    PARALLEL_FOR((size_t)M * (size_t)C * 16)
    for (int m = 0; m < M; m++) {
        loss[m] = 0;
        for (int c = 0; c < C; c++) {
            const size_t i = (size_t)m * (size_t)C + (size_t)c;
            const float x = c ? logits[i] : -logits[i]; // the loss is log(1 + e^x)
            const float e = expf(-fabsf(x)), p = x > 0 ? 1.0f / (1.0f + e) : e / (1.0f + e);
            loss[m] += (x > 0 ? x : 0) + log1pf(e);
            if (dlogits) dlogits[i] = weight * (c ? p : -p);
        }
    }
}
