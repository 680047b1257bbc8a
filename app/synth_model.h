// A small language model made here: a byte-level BPE learnt from given text, and random weights.
#ifndef APP_SYNTH_MODEL_H
#define APP_SYNTH_MODEL_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

// Writes a Hugging Face folder of a Llama model whose vocabulary suits `text`.
int synth_model_write(const char *folder, const char *text, size_t len, uint64_t seed, Err *err);

#endif
