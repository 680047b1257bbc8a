// A small language model made here: a byte-level BPE learnt from a catalogue, and random weights.
#ifndef APP_SYNTH_MODEL_H
#define APP_SYNTH_MODEL_H

#include "data/dataset.h"

enum { SYNTH_HEADS = 4 };
typedef struct SynthShape {
    int layers, width; // width: a multiple of 2 * SYNTH_HEADS
    uint64_t seed;     // of the weights
} SynthShape;

// Writes a Hugging Face folder of a Llama model whose vocabulary suits the titles of `data`.
int synth_model_write(const char *folder, const Dataset *data, SynthShape shape, Err *err);

#endif
