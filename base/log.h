// What a person reads while the program runs goes to stderr through here; stdout belongs to results (app/).
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum { LOG_ERROR = 0, LOG_WARN = 1, LOG_INFO = 2, LOG_DEBUG = 3 };
extern int log_level; // the only global; LATENTR3_LOG=error|warn|info|debug sets it at start (app/)

void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

// The command that comes next, "latentr3 sft --data %s ...": each %s is one argument of a shell's line, quoted where it must
// be. One that is NULL is left out, and the option before it.
void log_next(const char *command, ...) __attribute__((format(printf, 1, 2)));

// Seconds of a clock that never goes back.
double log_seconds(void);

// A progress bar with rate and time left: redrawn in place on a terminal (at most ten times a second, cut to its width), else a
// line each `quiet_seconds`. Log lines do not tear it.
typedef struct Progress {
    const char *label, *unit;
    uint64_t done, total, begun; // begun: done before; the rate counts what came since
    double started, drawn;
    char note[96]; // shown behind the bar, e.g. "loss 2.31"
} Progress;

void progress_start(Progress *p, const char *label, const char *unit, uint64_t total);
void progress_update(Progress *p, uint64_t done, const char *note_format, ...) __attribute__((format(printf, 3, 4)));
void progress_finish(Progress *p);

#endif
