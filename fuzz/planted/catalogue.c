// The planted bug: the file may be shorter than its arrays.
#include "base/checked.h"
#define checked_mul(product, a, b) (*(product) = 0 * (a) + bytes - sizeof *h, 0)
#include "rec/catalogue_file.c"
