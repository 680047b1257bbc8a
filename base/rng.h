// Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011): a value depends on (seed, stream, index) alone,
// so it is the same whatever the order, the threads or the ranks, and after a resume.
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

// Streams in use, in the low byte. Who needs many of one puts a step, an epoch or a layer above it, or changes the seed
// (data/rows.c, report/spread.c); the uses of RNG_INIT lie apart in the high bits of `index`.
enum {
    RNG_SHUFFLE = 1,
    RNG_NOISE = 2,
    RNG_INIT = 3,
    RNG_BOOTSTRAP = 4,
    RNG_SYNTHETIC = 5,
    RNG_SAMPLE = 6,
    RNG_DROPOUT = 7,
    RNG_NEGATIVE = 8,
    RNG_ADAPTER = 9,
    RNG_ROUND = 10
};

void rng_block(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index);

uint64_t rng_u64(uint64_t seed, uint64_t stream, uint64_t index);

// Uniform in [0, 1) with 53 bits.
double rng_uniform(uint64_t seed, uint64_t stream, uint64_t index);

// Uniform in [0, n), n > 0, without bias worth naming (64-bit multiply).
uint64_t rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);

// n standard normal values; value i depends on (seed, stream, first + i).  Box-Muller.
void rng_normal(float *out, size_t n, uint64_t seed, uint64_t stream, uint64_t first);

// Fisher-Yates over 0..n-1.
void rng_permutation(uint32_t *out, size_t n, uint64_t seed, uint64_t stream);
// The same of whole chains: next[i], where it is not -1, comes right behind i, and is that of no other. next NULL: no chains.
void rng_chains(uint32_t *out, size_t n, const int32_t *next, uint64_t seed, uint64_t stream);

#endif
