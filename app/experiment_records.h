// What the table of an experiment needs of its runs, without the models, the data, the lists and the steps of trainings but RL;
// users and targets are hashes (record_hash). Compressed, some two bytes a row and evaluation. Put where another machine runs
// the experiment, it counts there as done (experiment_run_look), and seeds and rows that come later stand beside it.
#ifndef APP_EXPERIMENT_RECORDS_H
#define APP_EXPERIMENT_RECORDS_H

#include "app/experiment_plan.h"

// Writes it into a folder, which is made, of the runs that are done. Returns how many those are, or -1.
int experiment_records(const Plan *p, const char *folder, Err *err);

#endif
