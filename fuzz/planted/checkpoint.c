// The planted bug: the state may be any JSON.
#include <jansson.h>
#undef json_is_object
#define json_is_object(json) 1
#include "train/checkpoint_file.c"
