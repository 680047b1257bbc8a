// One function a command; main.c holds the table. Each returns 0, or -1 with `err` (its code is the exit code). Results go to
// stdout, everything else to stderr through base/log.h.
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

#include "app/options.h"

// By name, or NULL (main.c).
const Command *commands_find(const char *name);

int cmd_prepare(const Options *o, Err *err);
char *cmd_prepare_beside(const Options *o); // prepare_beside
int cmd_catalog(const Options *o, Err *err);
int cmd_convert(const Options *o, Err *err);
int cmd_inspect(const Options *o, Err *err);
int cmd_tokenize(const Options *o, Err *err);
int cmd_sft(const Options *o, Err *err);
int cmd_sasrec(const Options *o, Err *err);
int cmd_rl(const Options *o, Err *err);
int cmd_eval(const Options *o, Err *err);
int cmd_eval_places(const Options *o); // how long its lists are: metrics of more have no value
int cmd_recommend(const Options *o, Err *err);
int cmd_serve(const Options *o, Err *err);
int cmd_report(const Options *o, Err *err);
int cmd_experiment(const Options *o, Err *err);
int cmd_score(const Options *o, Err *err);
int cmd_synth(const Options *o, Err *err);
int cmd_bench(const Options *o, Err *err);

#endif
