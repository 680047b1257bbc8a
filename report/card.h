// The model card: README.md of a model's folder, with the header that the Hugging Face hub reads.
#ifndef REPORT_CARD_H
#define REPORT_CARD_H

#include "base/err.h"

// {"command", "configuration"} of a command that wrote the model and leaves no metrics.json. Beside it a metrics.json is that
// of an earlier model.
#define CARD_ORIGIN "origin.json"

// Writes folder/README.md from what a command leaves there: origin.json or metrics.json (without either nothing is written),
// config.json and, where they are of the folder's own model, the eval-SPLIT.json of `eval --save`. A README.md that somebody
// else wrote stays as it is.
int card_write(const char *folder, Err *err);
// Removes one that card_write has written.
int card_forget(const char *folder, Err *err);

#endif
