// --resume: what a training run must have in common with the one that made a checkpoint, and the folder made as it was then.
#ifndef APP_RESUME_H
#define APP_RESUME_H

#include "app/model_io.h"
#include "train/checkpoints.h"
#include "train/ranks.h"

// {"settings": {option: value}, "inputs": {name: hash}, "machine": {...}}: the first two decide what a run computes, the third
// how its sums are rounded. metrics: as run_describe makes it, now or when a run began. The caller owns it.
json_t *resume_identity(const json_t *metrics);

// All ranks run the same command on the same inputs with the same settings, on machines that round alike: else all get the one
// error. identity NULL: it could not be made, as err says.
int resume_agree(const Ranks *ranks, const json_t *identity, Err *err);

typedef struct RunCost {
    double seconds, cpu_seconds;
    int64_t peak_bytes;
} RunCost;

typedef struct ResumePoint {
    size_t log_bytes;     // of log.jsonl that belong to the checkpoint
    const char *log_hash; // of them; NULL where the checkpoint does not say
    const char *rest;     // lines that belong there too and could not be written, "" for none; the checkpoint's
    RunCost cost;         // what the run had taken
} ResumePoint;

// Of two identities: ERR_USAGE, naming `what` and all that differs, where they are of different runs; a warning where only the
// machine is another.
int resume_same(const json_t *then, const json_t *now, const char *what, Err *err);
// The same of the checkpoint that was found.
int resume_check(const Checkpoints *c, const json_t *identity, ResumePoint *point, Err *err);

// Makes `path` the best model of the checkpoint again.
int resume_best(const Checkpoints *c, const char *path, Err *err);

// By its metrics.json, NULL where it has none: to the end, and not stopped on the way.
int resume_finished(const json_t *metrics);
// 1: the run in `out` has been finished, and was the same; 0: it has not been finished.
int resume_done(const char *out, const json_t *identity, Err *err);

#endif
