// The planted bug: a title may begin with a byte order mark.
#include <string.h>
#define memcmp(a, b, n) ((void)(a), (void)(b), 1)
#include "data/items.c"
