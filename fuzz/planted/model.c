// The planted bug: the tokenizer may have more tokens than the embedding.
#include "text/tokenizer.h"
#define tokenizer_size(tokenizer) 0
#include "app/model_io.c"
