// What an experiment comes to: each step once for every combination of the variables that it uses, itself or through the steps
// whose folders it names. A run of a step is known by its key, a hash of the command, its options and the bytes of its inputs,
// and has a folder named by it: whatever changes, what depends on it becomes another run, and nothing is ever overwritten.
#ifndef APP_EXPERIMENT_PLAN_H
#define APP_EXPERIMENT_PLAN_H

#include "app/experiment_file.h"

enum { PLAN_RUNS = 10000 };

// A file or folder that no step of the experiment makes.
typedef struct PlanInput {
    char *path;
    char hash[33]; // of its bytes, when the plan was made; "": it is not there
    int of_model, line;
} PlanInput;

typedef struct PlanRun {
    const ExperimentStep *step;
    int chosen[EXPERIMENT_VARIABLES]; // a value of each variable that it uses; -1: it uses it not
    char key[33];
    char *folder; // OUT/STEP-KEY
    char *label;  // "sft seed=1"
    char **argv;  // (argc) command and options, without the program
    int argc;
    PlanInput *input; // (inputs)
    int inputs;
    int *need; // (needs) the runs whose folders it reads: numbers in Plan.run, below its own
    int needs;
} PlanRun;

typedef struct Plan {
    const Experiment *e;
    PlanRun *run; // (runs) every run behind those it needs
    int runs;
} Plan;

// Checks every command line as the command would. ERR_USAGE naming the line of the file, for names that are no variable or
// step, circles, and what the commands refuse; ERR_IO for inputs that cannot be read.
int experiment_plan_make(Plan *p, const Experiment *e, const char *out, Err *err);
void experiment_plan_free(Plan *p); // harmless after a failure

// ERR_IO naming the line of an input that is not there.
int experiment_plan_check_inputs(const Plan *p, Err *err);
// ERR_DATA naming an input of the run that is no longer what it was when the plan was made.
int experiment_plan_check_unchanged(const PlanRun *r, Err *err);

// The run of a step where the variables that it uses are as in chosen.
const PlanRun *experiment_plan_find(const Plan *p, const ExperimentStep *step, const int *chosen);

#endif
