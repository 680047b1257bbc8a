// The curves of a training run beside its log.jsonl: curves.csv ("curve,step,seconds,value", a line for each value) and an
// event file for TensorBoard. Every finite number of a log line is a value of the curve train/NAME or validation/NAME.
#ifndef APP_CURVES_H
#define APP_CURVES_H

#include "base/json.h"
#include "io/events.h"

typedef struct Curves {
    EventFile events;
    int csv_fd, failed_errno; // of the first line that could not be written; reported by curves_close
    Str csv;
    char *csv_path, *events_path; // NULL: not open
    double began;
} Curves;

// The curves of an earlier run go.
int curves_forget(const char *folder, Err *err);

// Makes both files in `folder` anew from what its log.jsonl holds (none, or what --resume left of it), and removes older event
// files. began: the time, in seconds since 1970, from which the log's "seconds" count.
int curves_open(Curves *c, const char *folder, double began, Err *err);
// line: a line of log.jsonl, borrowed.
void curves_add(Curves *c, const json_t *line);
// Whether a line could not be written.
int curves_lost(const Curves *c, Err *err);
int curves_close(Curves *c, Err *err); // harmless where curves_open failed, or for a zeroed one

#endif
