// The planted bug: the options of a step stay in the order of the file.
#include <stdlib.h>
#define qsort(base, n, size, compare) ((void)(compare))
#include "app/experiment_file.c"
