// The planted bug: an entry of a list may be no string.
#include <jansson.h>
#undef json_is_string
#define json_is_string(json) 1
#include "serve/request.c"
