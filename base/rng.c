#include "base/rng.h"
#include "base/arena.h"

#include <math.h>
#include <stdlib.h>

void rng_block(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint64_t rng_u64(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t r[4];
    rng_block(r, seed, stream, index);
    return (uint64_t)r[1] << 32 | r[0];
}

double rng_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    return (double)(rng_u64(seed, stream, index) >> 11) * 0x1p-53;
}

uint64_t rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n) {
    return (uint64_t)((unsigned __int128)rng_u64(seed, stream, index) * n >> 64);
}

// Block b gives the values 2b and 2b + 1.
void rng_normal(float *out, size_t n, uint64_t seed, uint64_t stream, uint64_t first) {
    for (size_t i = 0; i < n;) { // a block of bits makes two
        const uint64_t at = first + i;
        uint32_t r[4];
        rng_block(r, seed, stream, at >> 1);
        double u = ((double)(((uint64_t)r[1] << 32 | r[0]) >> 11) + 0.5) * 0x1p-53; // never 0
        double angle = (double)(((uint64_t)r[3] << 32 | r[2]) >> 11) * 0x1p-53 * 6.283185307179586;
        double radius = sqrt(-2.0 * log(u));
        if (!(at & 1)) out[i++] = (float)(radius * cos(angle));
        if (i < n) out[i++] = (float)(radius * sin(angle));
    }
}

void rng_permutation(uint32_t *out, size_t n, uint64_t seed, uint64_t stream) {
    for (size_t i = 0; i < n; i++) out[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_below(seed, stream, i, i);
        uint32_t swap = out[i - 1];
        out[i - 1] = out[j];
        out[j] = swap;
    }
}

void rng_chains(uint32_t *out, size_t n, const int32_t *next, uint64_t seed, uint64_t stream) {
    if (!next) {
        rng_permutation(out, n, seed, stream);
        return;
    }
    uint32_t *order = mem_alloc(n + 1, sizeof *order);
    char *follows = mem_zalloc(n + 1, 1);
    for (size_t i = 0; i < n; i++)
        if (next[i] >= 0) follows[next[i]] = 1;
    size_t heads = 0, done = 0;
    for (size_t i = 0; i < n; i++) heads += !follows[i];
    uint32_t *head = mem_alloc(heads + 1, sizeof *head);
    for (size_t i = 0, k = 0; i < n; i++)
        if (!follows[i]) head[k++] = (uint32_t)i;
    rng_permutation(order, heads, seed, stream);
    for (size_t k = 0; k < heads; k++)
        for (int32_t i = (int32_t)head[order[k]]; i >= 0; i = next[i]) out[done++] = (uint32_t)i;
    CHECK(done == n);
    free(order), free(head), free(follows);
}
