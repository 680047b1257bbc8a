// What every op of ops/ops.h means, in double precision, one loop after the other: no oneDNN, no OpenMP, no tiles.
//
// Tensors are arrays of double with the shapes of ops.h. Where an op sums many products its reference also gives `mag`, the
// sum of the absolute values of the terms (NULL: not wanted): the rounding errors of a float sum are bounded by it.
// Gradients marked += there are added here too; so is their magnitude.
#ifndef TESTS_REF_OPS_H
#define TESTS_REF_OPS_H

#include "ops/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline void ref_term(double *sum, double *mag, size_t at, double term) {
    sum[at] += term;
    if (mag) mag[at] += fabs(term);
}

// ---- linear ---------------------------------------------------------------------------------------------------------

// y (N, O) = x (N, I) w (O, I)^T + bias (O)
static inline void ref_linear_forward(double *y, double *mag, const double *x, const double *w, const double *bias, int N,
                                      int O, int I) {
    for (int n = 0; n < N; n++)
        for (int o = 0; o < O; o++) {
            const double *a = x + (size_t)n * (size_t)I, *b = w + (size_t)o * (size_t)I;
            double sum = 0, terms = 0;
            for (int i = 0; i < I; i++) sum += a[i] * b[i];
            for (int i = 0; mag && i < I; i++) terms += fabs(a[i] * b[i]);
            y[(size_t)n * (size_t)O + o] = sum + (bias ? bias[o] : 0);
            if (mag) mag[(size_t)n * (size_t)O + o] = terms + (bias ? fabs(bias[o]) : 0);
        }
}

// dx (N, I) = dy (N, O) w
static inline void ref_linear_backward_input(double *dx, double *mag, const double *dy, const double *w, int N, int O, int I) {
    for (int n = 0; n < N; n++)
        for (int i = 0; i < I; i++) {
            size_t at = (size_t)n * (size_t)I + (size_t)i;
            dx[at] = 0;
            if (mag) mag[at] = 0;
            for (int o = 0; o < O; o++) ref_term(dx, mag, at, dy[(size_t)n * (size_t)O + o] * w[(size_t)o * (size_t)I + i]);
        }
}

// dw (O, I) += dy^T x
static inline void ref_linear_backward_weight(double *dw, double *mag, const double *dy, const double *x, int N, int O, int I) {
    for (int o = 0; o < O; o++)
        for (int i = 0; i < I; i++)
            for (int n = 0; n < N; n++)
                ref_term(dw, mag, (size_t)o * (size_t)I + (size_t)i,
                         dy[(size_t)n * (size_t)O + o] * x[(size_t)n * (size_t)I + i]);
}

static inline void ref_linear_backward_bias(double *dbias, double *mag, const double *dy, int N, int O) {
    for (int n = 0; n < N; n++)
        for (int o = 0; o < O; o++) ref_term(dbias, mag, (size_t)o, dy[(size_t)n * (size_t)O + o]);
}

// ---- rows -----------------------------------------------------------------------------------------------------------

static inline void ref_embed_forward(double *x, const double *table, const int32_t *ids, int N, int D) {
    for (int n = 0; n < N; n++)
        for (int d = 0; d < D && ids[n] >= 0; d++) x[(size_t)n * (size_t)D + d] = table[(size_t)ids[n] * (size_t)D + d];
}

static inline void ref_embed_backward(double *dtable, double *mag, const double *dx, const int32_t *ids, int N, int D) {
    for (int n = 0; n < N; n++)
        for (int d = 0; d < D && ids[n] >= 0; d++)
            ref_term(dtable, mag, (size_t)ids[n] * (size_t)D + (size_t)d, dx[(size_t)n * (size_t)D + d]);
}

static inline void ref_rows_gather(double *out, const double *x, const int32_t *index, int M, int D) {
    for (int m = 0; m < M; m++)
        for (int d = 0; d < D; d++) out[(size_t)m * (size_t)D + d] = x[(size_t)index[m] * (size_t)D + d];
}

static inline void ref_rows_scatter(double *x, const double *in, const int32_t *index, int M, int D) {
    for (int m = 0; m < M; m++)
        for (int d = 0; d < D; d++) x[(size_t)index[m] * (size_t)D + d] = in[(size_t)m * (size_t)D + d];
}

// ---- norm -----------------------------------------------------------------------------------------------------------

static inline void ref_rmsnorm_apply(double *out, const double *x, const double *rstd, const double *weight, int N, int D) {
    for (int n = 0; n < N; n++)
        for (int d = 0; d < D; d++) out[(size_t)n * (size_t)D + d] = x[(size_t)n * (size_t)D + d] * rstd[n] * weight[d];
}

// sum = x + delta (or x where delta is NULL); sum may be x.
static inline void ref_rmsnorm_forward(double *out, double *rstd, double *sum, const double *x, const double *delta,
                                       const double *weight, int N, int D, double eps) {
    for (int n = 0; n < N; n++) {
        double squares = 0;
        for (int d = 0; d < D; d++) {
            size_t at = (size_t)n * (size_t)D + (size_t)d;
            sum[at] = x[at] + (delta ? delta[at] : 0);
            squares += sum[at] * sum[at];
        }
        rstd[n] = 1 / sqrt(squares / D + eps);
    }
    ref_rmsnorm_apply(out, sum, rstd, weight, N, D);
}

// dx and dweight +=. With r = rstd: out = x r w and dr/dx = -x r^3 / D.
static inline void ref_rmsnorm_backward(double *dx, double *dx_mag, double *dweight, double *dweight_mag, const double *dout,
                                        const double *x, const double *rstd, const double *weight, int N, int D) {
    for (int n = 0; n < N; n++) {
        double inner = 0, inner_mag = 0, r = rstd[n];
        for (int d = 0; d < D; d++) {
            size_t at = (size_t)n * (size_t)D + (size_t)d;
            ref_term(&inner, &inner_mag, 0, dout[at] * weight[d] * x[at]);
            if (dweight) ref_term(dweight, dweight_mag, (size_t)d, dout[at] * x[at] * r);
        }
        for (int d = 0; d < D; d++) {
            size_t at = (size_t)n * (size_t)D + (size_t)d;
            dx[at] += dout[at] * weight[d] * r - x[at] * r * r * r * inner / D;
            if (dx_mag) dx_mag[at] += fabs(dout[at] * weight[d] * r) + fabs(x[at] * r * r * r) * inner_mag / D;
        }
    }
}

// ---- feed-forward ---------------------------------------------------------------------------------------------------

static inline void ref_swiglu_forward(double *out, const double *gu, int N, int F) {
    for (int n = 0; n < N; n++)
        for (int f = 0; f < F; f++) {
            double gate = gu[(size_t)n * 2 * (size_t)F + f], up = gu[(size_t)n * 2 * (size_t)F + F + f];
            out[(size_t)n * (size_t)F + f] = gate / (1 + exp(-gate)) * up;
        }
}

static inline void ref_swiglu_backward(double *dgu, const double *dout, const double *gu, int N, int F) {
    for (int n = 0; n < N; n++)
        for (int f = 0; f < F; f++) {
            size_t gate_at = (size_t)n * 2 * (size_t)F + (size_t)f, up_at = gate_at + (size_t)F;
            double gate = gu[gate_at], s = 1 / (1 + exp(-gate)), d = dout[(size_t)n * (size_t)F + f];
            dgu[up_at] = d * gate * s;
            dgu[gate_at] = d * gu[up_at] * (s + gate * s * (1 - s));
        }
}

// ---- rotary embedding -----------------------------------------------------------------------------------------------

// One head x (K) in place; cos, sin (K/2) of its position.
static inline void ref_rotate(double *x, const double *cos_row, const double *sin_row, int K, double sign) {
    for (int i = 0; i < K / 2; i++) {
        double a = x[i], b = x[i + K / 2], s = sign * sin_row[i];
        x[i] = a * cos_row[i] - b * s;
        x[i + K / 2] = b * cos_row[i] + a * s;
    }
}

// x (N, heads K) in place; cos, sin (positions, K/2)
static inline void ref_rope(double *x, const int32_t *position, const double *cos_table, const double *sin_table, int N,
                            int heads, int K, int inverse) {
    for (int n = 0; n < N; n++)
        for (int h = 0; h < heads; h++)
            ref_rotate(x + ((size_t)n * (size_t)heads + (size_t)h) * (size_t)K,
                       cos_table + (size_t)position[n] * (size_t)(K / 2), sin_table + (size_t)position[n] * (size_t)(K / 2), K,
                       inverse ? -1 : 1);
}

// Columns [from, from + width) of a (N, all) -> b (N, width), or back where `back`.
static inline void ref_columns(double *a, double *b, int N, int all, int from, int width, int back) {
    for (int n = 0; n < N; n++)
        for (int i = 0; i < width; i++) {
            double *x = &a[(size_t)n * (size_t)all + (size_t)(from + i)], *y = &b[(size_t)n * (size_t)width + (size_t)i];
            if (back)
                *x = *y;
            else
                *y = *x;
        }
}

// q (N, H K), k and v (N, G K): the rows' own, wherever their slots are.
static inline void ref_qkv_forward(double *q, double *k, double *v, const double *qkv, const int32_t *position,
                                   const double *cos_table, const double *sin_table, int N, int H, int G, int K) {
    const int all = (H + 2 * G) * K;
    ref_columns((double *)qkv, q, N, all, 0, H * K, 0);
    ref_columns((double *)qkv, k, N, all, H * K, G * K, 0);
    ref_columns((double *)qkv, v, N, all, (H + G) * K, G * K, 0);
    ref_rope(q, position, cos_table, sin_table, N, H, K, 0);
    ref_rope(k, position, cos_table, sin_table, N, G, K, 0);
}

static inline void ref_qkv_backward(double *dqkv, const double *dq, const double *dk, const double *dv, const int32_t *position,
                                    const double *cos_table, const double *sin_table, int N, int H, int G, int K) {
    const int all = (H + 2 * G) * K;
    ref_columns(dqkv, (double *)dq, N, all, 0, H * K, 1);
    ref_columns(dqkv, (double *)dk, N, all, H * K, G * K, 1);
    ref_columns(dqkv, (double *)dv, N, all, (H + G) * K, G * K, 1);
    for (int n = 0; n < N; n++) // q and k lie side by side
        for (int h = 0; h < H + G; h++)
            ref_rotate(dqkv + (size_t)n * (size_t)all + (size_t)h * (size_t)K,
                       cos_table + (size_t)position[n] * (size_t)(K / 2), sin_table + (size_t)position[n] * (size_t)(K / 2), K,
                       -1);
}

// ---- attention ------------------------------------------------------------------------------------------------------

// The slots that row i of a block sees, oldest first; returns how many.
static inline int ref_attention_seen(const AttnPlan *plan, const AttnBlock *b, int i, int *slot) {
    int n = 0;
    for (int s = 0; s < b->spans; s++)
        for (int j = 0; j < plan->span[b->span + s].len; j++) slot[n++] = plan->span[b->span + s].slot + j;
    for (int j = 0; b->own >= 0 && j <= i; j++) slot[n++] = b->own + j;
    return n;
}

typedef struct RefAttention {
    const AttnPlan *plan;
    int N, S, H, G, K;
    double scale;
} RefAttention;

// score (seen) of query row n, head h; returns the largest sum of |terms| of a score.
static inline double ref_attention_scores(const RefAttention *a, double *score, const double *q, const double *k,
                                          const int *slot, int seen, int n, int h) {
    const int g = h / (a->H / a->G);
    double worst = 0;
    for (int j = 0; j < seen; j++) {
        double mag = 0;
        score[j] = 0;
        for (int d = 0; d < a->K; d++)
            ref_term(&score[j], &mag, 0,
                     a->scale * q[((size_t)n * (size_t)a->H + (size_t)h) * (size_t)a->K + (size_t)d] *
                         k[((size_t)slot[j] * (size_t)a->G + (size_t)g) * (size_t)a->K + (size_t)d]);
        if (mag > worst) worst = mag;
    }
    return worst;
}

// An error of a score is a relative error of its weight: a row's magnitudes grow by this factor.
static inline double ref_attention_factor(double worst_score) {
    return 1 + 2 * worst_score;
}

// out (N, H K), lse (N, H); mags NULL or of the same shapes.
static inline void ref_attention_forward(const RefAttention *a, double *out, double *out_mag, double *lse, double *lse_mag,
                                         const double *q, const double *k, const double *v) {
    const size_t K = (size_t)a->K, H = (size_t)a->H, G = (size_t)a->G;
    int *slot = malloc(sizeof(int) * (size_t)a->S * 2);
    double *score = malloc(sizeof(double) * (size_t)a->S * 2);
    for (int b = 0; b < a->plan->blocks; b++) {
        const AttnBlock *block = &a->plan->block[b];
        for (int i = 0; i < block->rows; i++)
            for (size_t h = 0; h < H; h++) {
                size_t n = (size_t)(block->row + i), g = h / (H / G);
                int seen = ref_attention_seen(a->plan, block, i, slot);
                double worst = ref_attention_scores(a, score, q, k, slot, seen, (int)n, (int)h), top = score[0], sum = 0;
                for (int j = 1; j < seen; j++) top = score[j] > top ? score[j] : top;
                for (int j = 0; j < seen; j++) sum += exp(score[j] - top);
                lse[n * H + h] = top + log(sum);
                if (lse_mag) lse_mag[n * H + h] = ref_attention_factor(worst);
                for (int j = 0; j < seen; j++) score[j] = exp(score[j] - lse[n * H + h]);
                for (size_t d = 0; d < K; d++) {
                    size_t at = (n * H + h) * K + d;
                    out[at] = 0;
                    if (out_mag) out_mag[at] = 0;
                    for (int j = 0; j < seen; j++) ref_term(out, out_mag, at, score[j] * v[((size_t)slot[j] * G + g) * K + d]);
                    if (out_mag) out_mag[at] *= ref_attention_factor(worst);
                }
            }
    }
    free(slot), free(score);
}

typedef struct RefAttentionGradients {
    double *dq, *dq_mag; // (N, H K) =
    double *dk, *dk_mag; // (S, G K) +=
    double *dv, *dv_mag; // (S, G K) +=
} RefAttentionGradients;

// From out and lse as they are given, as the op does. All slots get gradients here.
static inline void ref_attention_backward(const RefAttention *a, RefAttentionGradients *d, const double *dout,
                                          const double *out, const double *lse, const double *q, const double *k,
                                          const double *v) {
    const size_t K = (size_t)a->K, H = (size_t)a->H, G = (size_t)a->G;
    int *slot = malloc(sizeof(int) * (size_t)a->S * 2);
    double *score = malloc(sizeof(double) * (size_t)a->S * 2);
    for (int b = 0; b < a->plan->blocks; b++) {
        const AttnBlock *block = &a->plan->block[b];
        for (int i = 0; i < block->rows; i++)
            for (size_t h = 0; h < H; h++) {
                size_t n = (size_t)(block->row + i), g = h / (H / G), row = (n * H + h) * K;
                int seen = ref_attention_seen(a->plan, block, i, slot);
                double factor = ref_attention_factor(ref_attention_scores(a, score, q, k, slot, seen, (int)n, (int)h));
                for (size_t x = 0; x < K; x++) d->dq[row + x] = d->dq_mag[row + x] = 0;
                for (int j = 0; j < seen; j++) {
                    size_t at = ((size_t)slot[j] * G + g) * K;
                    double p = exp(score[j] - lse[n * H + h]), inner = 0, inner_mag = 0;
                    for (size_t x = 0; x < K; x++) {
                        ref_term(&inner, &inner_mag, 0, dout[row + x] * v[at + x]);
                        ref_term(&inner, &inner_mag, 0, -dout[row + x] * out[row + x]);
                        d->dv[at + x] += p * dout[row + x];
                        d->dv_mag[at + x] += fabs(p * dout[row + x]) * factor;
                    }
                    for (size_t x = 0; x < K; x++) {
                        d->dq[row + x] += a->scale * p * inner * k[at + x];
                        d->dq_mag[row + x] += fabs(a->scale * p * inner_mag * k[at + x]) * factor;
                        d->dk[at + x] += a->scale * p * inner * q[row + x];
                        d->dk_mag[at + x] += fabs(a->scale * p * inner_mag * q[row + x]) * factor;
                    }
                }
            }
    }
    free(slot), free(score);
}

// ---- output ---------------------------------------------------------------------------------------------------------

// lse (M); logprob (M) where target.
static inline void ref_logprob(double *logprob, double *lse, const double *logits, const int32_t *target, int M, int V) {
    for (int m = 0; m < M; m++) {
        const double *row = logits + (size_t)m * (size_t)V;
        double top = row[0], sum = 0;
        for (int v = 1; v < V; v++) top = row[v] > top ? row[v] : top;
        for (int v = 0; v < V; v++) sum += exp(row[v] - top);
        lse[m] = top + log(sum);
        if (target) logprob[m] = row[target[m]] - lse[m];
    }
}

static inline void ref_logprob_backward(double *dlogits, const double *logits, const double *lse, const int32_t *target,
                                        const double *dlogprob, int M, int V) {
    for (int m = 0; m < M; m++)
        for (int v = 0; v < V; v++) {
            size_t at = (size_t)m * (size_t)V + (size_t)v;
            dlogits[at] = dlogprob[m] * ((v == target[m]) - exp(logits[at] - lse[m]));
        }
}

// ---- optimizer ------------------------------------------------------------------------------------------------------

static inline void ref_adamw(double *p, double *m, double *v, const double *g, size_t n, double lr, double beta1, double beta2,
                             double eps, double decay, int64_t step, double g_scale) {
    const double c1 = 1 - pow(beta1, (double)step), c2 = 1 - pow(beta2, (double)step);
    for (size_t i = 0; i < n; i++) {
        double gi = g[i] * g_scale;
        m[i] = beta1 * m[i] + (1 - beta1) * gi;
        v[i] = beta2 * v[i] + (1 - beta2) * gi * gi;
        p[i] -= lr * decay * p[i];
        p[i] -= lr * (m[i] / c1) / (sqrt(v[i] / c2) + eps);
    }
}

#endif
