// Arithmetic on sizes that come from a file. Every parser uses these and nothing else for such sizes.
// Each returns 0 and stores the result, or returns -1 and stores nothing.
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include <stddef.h>
#include <stdint.h>

static inline int checked_add(size_t *out, size_t a, size_t b) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return -1;
    *out = sum;
    return 0;
}

static inline int checked_mul(size_t *out, size_t a, size_t b) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return -1;
    *out = product;
    return 0;
}

// `alignment` is a power of two.
static inline int checked_align_up(size_t *out, size_t a, size_t alignment) {
    size_t sum;
    if (alignment == 0 || (alignment & (alignment - 1)) || __builtin_add_overflow(a, alignment - 1, &sum)) return -1;
    *out = sum & ~(alignment - 1);
    return 0;
}

// Whether [begin, begin + count) lies inside [0, total).
static inline int checked_range(size_t begin, size_t count, size_t total) {
    return begin <= total && count <= total - begin ? 0 : -1;
}

#endif
