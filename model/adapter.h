// Low-rank adapters outside training: added to the weights they belong to.
#ifndef MODEL_ADAPTER_H
#define MODEL_ADAPTER_H

#include "model/llm.h"

// values (rows, I) += alpha / R  B A, rows [row, row + rows) of a weight; nothing where it has no adapter.
void adapter_add(const Llm *m, const Param *weight, size_t row, size_t rows, float *values);

// "q,k,v,o,gate,up,down" or some of these, also as "q_proj", in any order: the bits of ModelConfig.lora_targets.
int adapter_targets(unsigned *targets, const char *list, Err *err);

#endif
