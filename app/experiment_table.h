// The table of an experiment whose runs are done.
#ifndef APP_EXPERIMENT_TABLE_H
#define APP_EXPERIMENT_TABLE_H

#include "app/experiment_plan.h"

// Reads the evaluations that make rows and writes results.json, table.md, table.csv and table.tex into o->out; prints the first
// (--json) or the second. Runs that differ in the variable "seed" alone are one row.
// results.json holds the experiment file's text as it was read.
int experiment_table_make(const Plan *p, const Options *o, Err *err);
// Removes these files: while runs are to do they are of another state of the experiment.
int experiment_table_forget(const char *out, Err *err);

#endif
