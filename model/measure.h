// How much arithmetic a model takes, and how fast this machine does it.
#ifndef MODEL_MEASURE_H
#define MODEL_MEASURE_H

#include "model/llm.h"

// Multiply-adds of one row (position) of the network, and of the head on one position; attention not counted.
double measure_row_macs(const ModelConfig *c);
double measure_head_macs(const ModelConfig *c);

// Multiply-adds a second of the matrix products alone on this model's shapes, each weighted by its share of the work.
int measure_products(Llm *m, double *rate, Err *err);

#endif
