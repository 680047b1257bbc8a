// The planted bug: damage is the end of the file.
#include "base/err.h"
#include <stdio.h>
#define err_set(err, code, format, ...) (0 * snprintf(NULL, 0, format, __VA_ARGS__))
#include "base/stream.c"
