// The folder of a training run: log.jsonl (one event a line), the same as curves (curves.h), and metrics.json (configuration,
// seed, versions, hashes, results).
#ifndef APP_RUN_H
#define APP_RUN_H

#include "app/curves.h"
#include "app/model_io.h"
#include "app/resume.h"
#include "base/hash.h"
#include "data/dataset.h"
#include "train/checkpoints.h"

typedef struct Run {
    char *folder;
    int log_fd, failed_errno; // of the first line that could not be written; reported by run_lost and run_finish
    size_t log_bytes;         // of whole lines
    Hash *log_hash;           // of them
    Str unwritten;            // that line and those after it
    double started;
    RunCost before;             // --resume: of the processes until the checkpoint
    RunCost others;             // of the other ranks, as run_share_cost last saw them
    int done;                   // --resume: an earlier run has finished it, and nothing was opened
    json_t *metrics, *identity; // identity: resume.h
    Curves curves;
    Checkpoints checkpoints;
    char *best, best_hash[33]; // the best model's file, and what is in it; empty: none was saved yet
} Run;

// What a run is made of: "command", "configuration", "seed", "category", "data" (hashes), "versions", "processor", "libc",
// "environment"; of the model as opened "model_hash_before" (its weights), "configuration_hash", "tokenizer_hash".
// m: NULL where a baseline stands for the model. The caller owns it.
json_t *run_describe(const Options *o, const OpenModel *m, const Dataset *d, int with_test, Err *err);
// "configuration_hash": of the configuration, and of which items a SASRec's tokens are.
void run_configuration_hash(const OpenModel *m, char hash[33]);

// Makes o->out where it is missing, starts log.jsonl afresh and writes metrics.json with the final configuration, the seed,
// versions, the environment that changes arithmetic, and hashes of the data files and of the model as opened.
// Of several ranks, which must agree (resume_agree), rank 0's alone is a folder; the others have metrics.
// With --resume, where there is a checkpoint (resume.h), the log goes on from its step, and the best model is again that of
// the checkpoint; where there is none and the run is finished, all stays as it is (done).
int run_open(Run *r, const Options *o, const OpenModel *m, const Dataset *d, Err *err);

// One line of log.jsonl: the event's own fields (borrowed) and "seconds" since run_open.
void run_event(Run *r, const json_t *event);

// Whether a line of the log, or a curve, could not be written. A checkpoint made then has the lines that are missing.
int run_lost(const Run *r, Err *err);

// The best model was saved into the folder: checkpoints keep it from now on.
int run_saved_best(Run *r, Err *err);

// Another model is to be written into the folder by no training: what is there of a run, and of evaluations, goes first.
int run_forget(const char *folder, Err *err);
// The model card (report/card.h) of a folder whose model a command wrote without metrics.json.
int run_card(const Options *o, const char *folder, Err *err);

// "cpu_seconds" of all threads and "peak_bytes" of memory, of this process, into a report.
void run_cost(json_t *report);

// What the run has cost is from now on what it has cost all ranks: all call it.
void run_share_cost(Run *r, const Ranks *ranks);

// A value of metrics.json; `value` is taken over.
void run_metric(Run *r, const char *name, json_t *value);

// Writes metrics.json with everything given and what the run has cost, all its processes together: the run is done. Where
// something that it told could not be written it is not, and --resume goes on with it.
int run_finish(Run *r, Err *err);
// Harmless for a Run that is zeroed. The folder stays usable when run_finish was never called.
void run_close(Run *r);

#endif
