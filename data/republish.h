// A folder in the published layout, checked and written anew: its rows stay as they are, byte for byte where Python wrote
// them (ratings as 5.0). No filter and no split applies; a split that is not there stays away, but train.csv can be made of the
// others' histories.
#ifndef DATA_REPUBLISH_H
#define DATA_REPUBLISH_H

#include "data/prepare.h"
#include "data/source.h"

int republish(const PrepareOptions *o, const Source *source, json_t **report, Err *err); // as prepare_run

#endif
