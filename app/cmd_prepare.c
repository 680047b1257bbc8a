// latentr3 prepare: an interaction log into a data folder (data/prepare.h).
#include "app/commands.h"
#include "data/prepare.h"

#include <string.h>

int cmd_prepare(const Options *o, Err *err) {
    if (options_check_out(o, o->data, err)) return -1;
    PrepareOptions p = {.input = o->data,
                        .out = o->out,
                        .format = !strcmp(o->format, "ml-100k")   ? PREPARE_MOVIELENS_100K
                                  : !strcmp(o->format, "recbole") ? PREPARE_RECBOLE
                                                                  : PREPARE_AUTO,
                        .category = o->category,
                        .k_core = o->k_core,
                        .history = o->max_history,
                        .min_rating = o->min_rating,
                        .split = o->split,
                        .strict = o->strict};
    return prepare_run(&p, NULL, err);
}
