// The helpers that OpenMP computes with, of the calling thread; for both backends.
#ifndef OPS_TEAM_H
#define OPS_TEAM_H

#include <omp.h>

// There in LLVM's OpenMP alone, whichever of the two the program was built for and got.
#ifdef __cplusplus
extern "C" int kmp_get_blocktime(void) __attribute__((weak));
#else
int kmp_get_blocktime(void) __attribute__((weak));
#endif

// Ends them, where the runtime can do so for one thread (libgomp). libomp's pause is of all threads of the process: the next
// one to compute wakes every other, and falls over one that ends just then (LLVM 14).
static inline void team_end(void) {
    if (!kmp_get_blocktime) omp_pause_resource(omp_pause_soft, omp_get_initial_device());
}

#endif
