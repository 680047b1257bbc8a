// The folder of a training run: log.jsonl (one event a line), the same as curves (curves.h), and metrics.json (configuration,
// seed, versions, hashes, results).
#ifndef APP_RUN_H
#define APP_RUN_H

#include "app/curves.h"
#include "app/model_io.h"
#include "data/dataset.h"

typedef struct Run {
    char *folder;
    int log_fd;
    int failed_errno; // of the first log line that could not be written; reported by run_close
    double started;
    json_t *metrics;
    Curves curves;
} Run;

// Makes o->out where it is missing, starts log.jsonl afresh and writes metrics.json with the final configuration, the seed,
// versions, the environment that changes arithmetic, and hashes of the data files and of the model as opened.
int run_open(Run *r, const Options *o, const OpenModel *m, const Dataset *d, Err *err);

// One line of log.jsonl: the event's own fields (borrowed) and "seconds" since run_open.
void run_event(Run *r, const json_t *event);

// A value of metrics.json; `value` is taken over.
void run_metric(Run *r, const char *name, json_t *value);

// Writes metrics.json with everything given, and closes. The folder stays usable when it was never called.
int run_close(Run *r, Err *err);

#endif
