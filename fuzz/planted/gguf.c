// The planted bug: a string may be longer than the file.
#include "base/checked.h"
#define checked_range(begin, count, total) 0
#include "io/gguf.c"
