// The planted bug: of an escaped character, one byte is kept.
#include "base/utf8.h"
#define utf8_put(to, character) utf8_put(to, (character)&0xff)
#include "data/jsonl.c"
