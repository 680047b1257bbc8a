// The planted bug: a number may be infinite.
#include <math.h>
#undef isfinite
#define isfinite(x) 1
#include "data/csv.c"
