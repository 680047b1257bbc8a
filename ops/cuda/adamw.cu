#include "ops/adamw.h"
#include "ops/cuda/cuda.cuh"

typedef struct Step {
    AdamScales s;
    float g_scale, beta1, beta2, eps;
} Step;

__device__ __forceinline__ void adamw(float &p, float &m, float &v, float g, const Step &x) {
    g *= x.g_scale;
    m += (1.0f - x.beta1) * (g - m);
    v = x.beta2 * v + (1.0f - x.beta2) * g * g;
    p -= x.s.shrink * p + x.s.step * m / (sqrtf(v) * x.s.v + x.eps);
}

void op_adamw(Ops *ops, float *p, float *m, float *v, const float *g, size_t n, float lr, float beta1, float beta2, float eps,
              float decay, int64_t step, float g_scale) {
    const Step x = {adam_scales(lr, beta1, beta2, decay, step), g_scale, beta1, beta2, eps};
    each(ops, n, [=] __device__(size_t i) { // all is loaded before the first is stored: one wait for memory, not three
        float value = p[i], mean = m[i], square = v[i];
        adamw(value, mean, square, g[i], x);
        p[i] = value, m[i] = mean, v[i] = square;
    });
}

__device__ __forceinline__ uint16_t rounded(float x, uint32_t bits) {
    return (uint16_t)((__float_as_uint(x) + bits) >> 16);
}

// A thread has one block of random bits for each of the three, which serves eight values of a run of 64.
void op_adamw_half(Ops *ops, uint16_t *p, uint16_t *m, uint16_t *v, const float *g, size_t n, float lr, float beta1,
                   float beta2, float eps, float decay, int64_t step, float g_scale, uint64_t seed, uint64_t stream,
                   uint64_t first) {
    const Step x = {adam_scales(lr, beta1, beta2, decay, step), g_scale, beta1, beta2, eps};
    each(ops, (n + 63) / 64 * 8, [=] __device__(size_t u) {
        uint32_t bits[3][4];
        for (int k = 0; k < 3; k++) random_block(bits[k], seed, stream | (uint64_t)k << 8, first + u);
        for (int h = 0; h < 8; h++) {
            const size_t i = u / 8 * 64 + (size_t)h * 8 + u % 8;
            if (i >= n) return;
            float wide[3] = {__uint_as_float((uint32_t)p[i] << 16), __uint_as_float((uint32_t)m[i] << 16),
                             __uint_as_float((uint32_t)v[i] << 16)};
            adamw(wide[0], wide[1], wide[2], g[i], x);
            p[i] = rounded(wide[0], random_half(bits[0], h));
            m[i] = rounded(wide[1], random_half(bits[1], h));
            v[i] = rounded(wide[2], random_half(bits[2], h));
        }
    });
}

// A block of threads has a chunk; one block adds the chunks.
void op_add_squares(Ops *ops, double *sum, const float *x, size_t n) {
    const size_t chunk = 1 << 16, chunks = (n + chunk - 1) / chunk, mark = arena_mark(&ops->scratch);
    double *partial = scratch_get<double>(ops, chunks);
    each_row(ops, (int)chunks, BLOCK, [=] __device__(int c) {
        const size_t end = (size_t)(c + 1) * chunk < n ? (size_t)(c + 1) * chunk : n;
        double squares = 0;
        for (size_t i = (size_t)c * chunk + threadIdx.x; i < end; i += BLOCK) squares += (double)x[i] * (double)x[i];
        squares = block_sum(squares);
        if (threadIdx.x == 0) partial[c] = squares;
    });
    each_row(ops, 1, BLOCK, [=] __device__(int) {
        double squares = 0;
        for (size_t c = threadIdx.x; c < chunks; c += BLOCK) squares += partial[c];
        squares = block_sum(squares);
        if (threadIdx.x == 0) *sum += squares;
    });
    arena_reset(&ops->scratch, mark);
}

double op_sum_squares(Ops *ops, const float *x, size_t n) {
    const size_t mark = arena_mark(&ops->scratch);
    double *device = scratch_get<double>(ops, 1), sum;
    ops_zero(ops, device, sizeof sum);
    op_add_squares(ops, device, x, n);
    ops_download(ops, &sum, device, sizeof sum);
    arena_reset(&ops->scratch, mark);
    return sum;
}
