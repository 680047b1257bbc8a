// The planted bug: a user may be anything.
#include <jansson.h>
#undef json_is_string
#define json_is_string(json) 1
#include "data/users.c"
