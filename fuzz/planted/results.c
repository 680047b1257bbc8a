// The planted bug: a line is not freed.
#include <jansson.h>
#define json_decref(json) ((void)(json))
#include "rec/results.c"
