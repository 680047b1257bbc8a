#include "ops/cpu/isa.h"
#include "ops/cpu/kernels.h"

#include <stddef.h>

#if defined(__x86_64__)

#include <dnnl.h>

extern const Kernels kernels_v2, kernels_v3, kernels_v4;

// By the parts of each level that its kernels use: clang does not know the levels by name.
const Kernels *kernels_level(int level) {
    __builtin_cpu_init();
    const int has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"),
              has_v4 = has_v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vl");
    return level == 0 ? &kernels_v2 : level == 1 && has_v3 ? &kernels_v3 : level == 2 && has_v4 ? &kernels_v4 : NULL;
}

int isa_check(Err *err) {
    return __builtin_cpu_supports("sse4.2") ? 0 : err_set(err, ERR_USAGE, "this processor lacks SSE 4.2");
}

const char *isa_bf16(void) {
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_avx512_core_amx: return "AMX";
    case dnnl_cpu_isa_avx512_core_bf16: return "AVX512-BF16";
    default: return NULL;
    }
}

int isa_has_tiles(void) {
    return dnnl_get_effective_cpu_isa() == dnnl_cpu_isa_avx512_core_amx;
}

int isa_has_f32_products(void) {
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
    case dnnl_cpu_isa_avx:
    case dnnl_cpu_isa_avx2:
    case dnnl_cpu_isa_avx2_vnni: return 0;
    default: return 1;
    }
}

#else // any other: what the compiler makes of the loops, and f32

extern const Kernels kernels_plain;

const Kernels *kernels_level(int level) {
    return level == 0 ? &kernels_plain : NULL;
}

int isa_check(Err *err) {
    (void)err;
    return 0;
}

const char *isa_bf16(void) {
    return NULL;
}

int isa_has_tiles(void) {
    return 0;
}

int isa_has_f32_products(void) {
    return 0;
}

#endif

const Kernels *kernels_best(void) {
    const Kernels *best = NULL, *next;
    for (int level = 0; (next = kernels_level(level)); level++) best = next;
    return best;
}
