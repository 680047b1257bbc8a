// An experiment as a YAML file names it: a grid of variables, and steps (commands with options) that may use the variables and
// each other's folders.
//   name: small                      # of the tables
//   grid: {seed: [1, 2, 3], sigma: [0.5, 1.5]}
//   baseline: SFT                    # the row that all others are held against; may be left out
//   metrics: [HR@10, NDCG@10]        # columns; HR@5, HR@10, NDCG@5, NDCG@10 where left out
//   defaults: {threads: 1}           # options of every step whose command has them
//   steps:
//     sft: {run: sft, model: base, data: data/ml-100k, seed: "${seed}"}
//     rl: {run: rl, model: "${sft}", data: data/ml-100k, seed: "${seed}", sigma: "${sigma}"}
//     eval-sft: {run: eval, row: SFT, model: "${sft}", data: data/ml-100k}
//     eval-rl: {run: eval, row: SFT + RL, model: "${rl}", data: data/ml-100k}
#ifndef APP_EXPERIMENT_FILE_H
#define APP_EXPERIMENT_FILE_H

#include "app/options.h"

enum { EXPERIMENT_VARIABLES = 16, EXPERIMENT_VALUES = 100, EXPERIMENT_METRICS = 11 };

typedef struct ExperimentVariable {
    char *name;
    char **value; // (n)
    int n, line;
} ExperimentVariable;

typedef struct ExperimentOption {
    char *name, *value;
    int is_flag; // its value is true or false, once variables are in their places
    int line;
} ExperimentOption;

typedef struct ExperimentStep {
    char *name, *row; // row: of an eval, its label
    const Command *command;
    ExperimentOption *option; // (n) sorted by name, defaults included
    int n, line;
} ExperimentStep;

typedef struct Experiment {
    const char *path; // borrowed
    char *text;       // of the file
    char *name, *baseline;
    ExperimentVariable variable[EXPERIMENT_VARIABLES];
    int variables;
    ExperimentStep *step; // (steps) in the order of the file
    int steps;
    char *metric[EXPERIMENT_METRICS];
    int metrics;
    ExperimentOption *standard; // (standards) `defaults`
    int standards;
} Experiment;

// ERR_USAGE naming the line of what is wrong: unknown commands, options and members, names given twice.
int experiment_file_open(Experiment *e, const char *path, Err *err);
void experiment_file_close(Experiment *e); // harmless after a failure

#endif
