#include "io/tensor.h"
#include "base/err.h"

#include <assert.h>
#include <string.h>

// Loops over millions of values, compiled for what this machine has as well as for any x86-64. Not by clang: up to 14 it gives
// the function that chooses a name which other files do not call.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define HOT __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define HOT
#endif

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats are little-endian and read in place");

// Blocks as GGUF files hold them. Bytes only, so that no member asks for alignment. `d` and `m` are f16.
typedef struct BlockQ8_0 {
    uint8_t d[2];
    int8_t q[32];
} BlockQ8_0;
typedef struct BlockQ4_0 {
    uint8_t d[2], q[16];
} BlockQ4_0;
typedef struct BlockQ4_1 {
    uint8_t d[2], m[2], q[16];
} BlockQ4_1;
typedef struct BlockQ5_0 {
    uint8_t d[2], high[4], q[16];
} BlockQ5_0;
typedef struct BlockQ5_1 {
    uint8_t d[2], m[2], high[4], q[16];
} BlockQ5_1;
typedef struct BlockQ4_K {
    uint8_t d[2], dmin[2], scales[12], q[128];
} BlockQ4_K;
typedef struct BlockQ5_K {
    uint8_t d[2], dmin[2], scales[12], high[32], q[128];
} BlockQ5_K;
typedef struct BlockQ6_K {
    uint8_t low[128], high[64];
    int8_t scales[16];
    uint8_t d[2];
} BlockQ6_K;
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20, "block sizes of the format");
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24, "block sizes of the format");
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210, "block sizes of the format");

static const struct TypeInfo {
    const char *name;
    int values;
    size_t bytes;
} info[TENSOR_TYPES] = {
    [TENSOR_F32] = {"F32", 1, 4},
    [TENSOR_F16] = {"F16", 1, 2},
    [TENSOR_BF16] = {"BF16", 1, 2},
    [TENSOR_Q8_0] = {"Q8_0", 32, sizeof(BlockQ8_0)},
    [TENSOR_Q4_0] = {"Q4_0", 32, sizeof(BlockQ4_0)},
    [TENSOR_Q4_1] = {"Q4_1", 32, sizeof(BlockQ4_1)},
    [TENSOR_Q5_0] = {"Q5_0", 32, sizeof(BlockQ5_0)},
    [TENSOR_Q5_1] = {"Q5_1", 32, sizeof(BlockQ5_1)},
    [TENSOR_Q4_K] = {"Q4_K", 256, sizeof(BlockQ4_K)},
    [TENSOR_Q5_K] = {"Q5_K", 256, sizeof(BlockQ5_K)},
    [TENSOR_Q6_K] = {"Q6_K", 256, sizeof(BlockQ6_K)},
    [TENSOR_I32] = {"I32", 1, 4},
    [TENSOR_I64] = {"I64", 1, 8},
    [TENSOR_U8] = {"U8", 1, 1},
};

const char *tensor_type_name(TensorType t) {
    return info[t].name;
}

int tensor_block_values(TensorType t) {
    return info[t].values;
}

size_t tensor_block_bytes(TensorType t) {
    return info[t].bytes;
}

static float bits_to_f32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// Without branches, so that loops over it vectorize. Shifted by one bit, the sign falls out and exponent and fraction land
// where f32 wants them but for the bias. A normal number: moved down 4 bits, the bias is mended by an addition on the
// exponent (which takes Inf and NaN to the top) and a scale. A subnormal: its fraction is put under the exponent of 0.5,
// and 0.5 taken away.
float f16_to_f32(uint16_t h) {
    uint32_t w = (uint32_t)h << 16, twice = w + w;
    float normal = bits_to_f32((twice >> 4) + (0xe0u << 23)) * 0x1p-112f;
    float subnormal = bits_to_f32((twice >> 17) | (126u << 23)) - 0.5f;
    float x = twice < (1u << 27) ? subnormal : normal;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits_to_f32(bits | (w & 0x80000000u));
}

float bf16_to_f32(uint16_t h) {
    return bits_to_f32((uint32_t)h << 16);
}

static inline uint16_t narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t nan = bits >> 16 | 0x40, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(x == x ? rounded : nan); // rounding up could make Inf of a NaN
}

uint16_t f32_to_bf16(float x) {
    return narrow(x);
}

HOT void tensor_to_bf16(uint16_t *restrict out, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = narrow(x[i]);
}

static float f16_at(const uint8_t *p) {
    return f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static void plain_f16(float *out, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        out[i] = f16_to_f32(h);
    }
}

static void plain_bf16(float *out, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        out[i] = bf16_to_f32(h);
    }
}

static void block_q8_0(float *out, const BlockQ8_0 *b) {
    float d = f16_at(b->d);
    for (int i = 0; i < 32; i++) out[i] = b->q[i] * d;
}

// Inlined, so that no loop asks whether there is a fifth bit.
// In the blocks of 32 the low halves of the bytes are values 0..15, the high halves values 16..31; a fifth bit, where there
// is one, is bit i of `high`.
static inline __attribute__((always_inline)) void block_32(float *out, const uint8_t *q, const uint8_t *high, int minus,
                                                           float d, float m) {
    uint32_t fifth = 0;
    if (high) memcpy(&fifth, high, 4);
    for (int i = 0; i < 16; i++) {
        int a = (q[i] & 15) | (int)(fifth >> i << 4 & 16), b = q[i] >> 4 | (int)(fifth >> (i + 16) << 4 & 16);
        out[i] = (float)(a - minus) * d + m;
        out[i + 16] = (float)(b - minus) * d + m;
    }
}

// Eight pairs of 6-bit numbers in 12 bytes: the first four pairs lie in the low 6 bits of bytes 0..3 (scale) and 4..7
// (minimum); the others have their low 4 bits in bytes 8..11 and their high 2 bits above those of the first.
static void scale_k4(const uint8_t s[12], int j, int *scale, int *minimum) {
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

// Q4_K and Q5_K: 8 groups of 32 values; groups 2j and 2j + 1 share 32 bytes, low halves and high halves. The fifth bit of
// group j's value i is bit j of high[i].
static inline __attribute__((always_inline)) void block_k45(float *out, const uint8_t *d_dmin, const uint8_t *scales,
                                                            const uint8_t *high, const uint8_t *q) {
    float d = f16_at(d_dmin), dmin = f16_at(d_dmin + 2);
    for (int j = 0; j < 8; j++) {
        int scale, minimum;
        scale_k4(scales, j, &scale, &minimum);
        float step = d * (float)scale, low = dmin * (float)minimum;
        const uint8_t *group = q + j / 2 * 32;
        for (int i = 0; i < 32; i++) {
            int x = j & 1 ? group[i] >> 4 : group[i] & 15;
            if (high) x |= (high[i] >> j & 1) << 4;
            out[32 * j + i] = step * (float)x - low;
        }
    }
}

// Two halves of 128 values, each of four runs of 32: low 4 bits from 64 bytes (runs 0 and 1 the low halves, 2 and 3 the
// high), high 2 bits from 32 bytes, run r in bits 2r and 2r + 1. A scale for each 16 values.
static void block_q6_k(float *out, const BlockQ6_K *b) {
    float d = f16_at(b->d);
    for (int half = 0; half < 2; half++)
        for (int run = 0; run < 4; run++)
            for (int i = 0; i < 32; i++) {
                uint8_t low = b->low[64 * half + 32 * (run & 1) + i];
                int x = (run < 2 ? low & 15 : low >> 4) | (b->high[32 * half + i] >> (2 * run) & 3) << 4;
                float step = d * (float)b->scales[8 * half + 2 * run + i / 16];
                out[128 * half + 32 * run + i] = step * (float)(x - 32);
            }
}

HOT void tensor_to_f32(float *out, const Tensor *t, size_t first, size_t n) {
    size_t values = (size_t)info[t->type].values, bytes = info[t->type].bytes;
    CHECK(first % values == 0 && n % values == 0 && first <= t->count && n <= t->count - first);
    if (n == 0) return;
    const uint8_t *p = (const uint8_t *)t->data + first / values * bytes, *end = p + n / values * bytes;
    switch (t->type) {
    case TENSOR_F32: memcpy(out, p, n * sizeof *out); return;
    case TENSOR_F16: plain_f16(out, p, n); return;
    case TENSOR_BF16: plain_bf16(out, p, n); return;
    default: break;
    }
    for (; p < end; p += bytes, out += values) {
        switch (t->type) {
        case TENSOR_Q8_0: block_q8_0(out, (const BlockQ8_0 *)p); break;
        case TENSOR_Q4_0: {
            const BlockQ4_0 *b = (const BlockQ4_0 *)p;
            block_32(out, b->q, NULL, 8, f16_at(b->d), -0.0f);
            break;
        }
        case TENSOR_Q4_1: {
            const BlockQ4_1 *b = (const BlockQ4_1 *)p;
            block_32(out, b->q, NULL, 0, f16_at(b->d), f16_at(b->m));
            break;
        }
        case TENSOR_Q5_0: {
            const BlockQ5_0 *b = (const BlockQ5_0 *)p;
            block_32(out, b->q, b->high, 16, f16_at(b->d), -0.0f);
            break;
        }
        case TENSOR_Q5_1: {
            const BlockQ5_1 *b = (const BlockQ5_1 *)p;
            block_32(out, b->q, b->high, 0, f16_at(b->d), f16_at(b->m));
            break;
        }
        case TENSOR_Q4_K: {
            const BlockQ4_K *b = (const BlockQ4_K *)p;
            block_k45(out, b->d, b->scales, NULL, b->q);
            break;
        }
        case TENSOR_Q5_K: {
            const BlockQ5_K *b = (const BlockQ5_K *)p;
            block_k45(out, b->d, b->scales, b->high, b->q);
            break;
        }
        case TENSOR_Q6_K: block_q6_k(out, (const BlockQ6_K *)p); break;
        default: CHECK(!"a type that is read as numbers");
        }
    }
}

// By pieces whose largest exponent tells: nearly all are clean, and that loop has no branch in it.
HOT size_t tensor_first_not_finite(const float *x, size_t n) {
    enum { PIECE = 256 };
    const uint32_t exponent = 0x7f800000u;
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t end = n - at < PIECE ? n : at + PIECE;
        uint32_t most = 0, bits;
        for (size_t i = at; i < end; i++) {
            memcpy(&bits, &x[i], sizeof bits);
            bits &= exponent;
            most = bits > most ? bits : most;
        }
        if (most < exponent) continue;
        for (size_t i = at;; i++) {
            memcpy(&bits, &x[i], sizeof bits);
            if ((bits & exponent) == exponent) return i;
        }
    }
    return n;
}
