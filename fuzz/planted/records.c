// The planted bug: a line may have more fields than there is room for.
#include "data/lines.h"
#define LINES_FIELDS 1000
#include "data/lines.c"
