// The model card: README.md of a model's folder, with the header that the Hugging Face hub reads.
#ifndef REPORT_CARD_H
#define REPORT_CARD_H

#include "base/json.h"

// Writes folder/README.md from what a command leaves there: metrics.json, config.json and the eval-SPLIT.json of `eval --save`.
// origin: {"command", "configuration"} of a command that leaves no metrics.json; or NULL, and without metrics.json nothing is
// written. A README.md that somebody else wrote stays as it is.
int card_write(const char *folder, const json_t *origin, Err *err);

#endif
