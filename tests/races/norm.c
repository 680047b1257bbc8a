// A planted race: every thread works in the scratch arena of the first.
#include <omp.h>
#define omp_get_thread_num() 0
#include "ops/cpu/norm.c"
