// A SASRec as the commands use it: a folder with config.json, model.safetensors and items.json, the ids of its items in the
// order of its tokens. An OpenModel without tokenizer.
#ifndef APP_SASREC_MODEL_H
#define APP_SASREC_MODEL_H

#include "app/model_io.h"
#include "data/dataset.h"

// Whether `path` is a folder whose config.json says so. Says nothing of whether the rest is sound.
int sasrec_model_is(const char *path);
// A new one over all items, by the options of `sasrec`: random weights from --seed.
int sasrec_model_new(OpenModel *m, const Options *o, const Items *items, Err *err);
// Called by model_io_open, model_io_close and model_io_save.
int sasrec_model_open(OpenModel *m, const Options *o, Err *err);
int sasrec_model_save(const OpenModel *m, const char *folder, TensorType type, Err *err);

// The model's token of each item (items->n), malloc'd in either case; -1 for items that it does not know. ERR_DATA where it
// knows none, or where its ids cannot be told in this catalogue.
int sasrec_model_tokens(const OpenModel *m, const Items *items, int32_t **token, Err *err);

#endif
