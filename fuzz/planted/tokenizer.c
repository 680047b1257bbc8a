// The planted bug: what should be a string may be anything.
#include <jansson.h>
#undef json_is_string
#define json_is_string(json) 1
#include "text/tokenizer_json.c"
