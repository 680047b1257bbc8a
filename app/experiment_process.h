// A run of an experiment as a process of this program. What it prints is in FOLDER.log.
#ifndef APP_EXPERIMENT_PROCESS_H
#define APP_EXPERIMENT_PROCESS_H

#include "app/experiment_plan.h"

#include <sys/types.h>

typedef struct Process { // a zeroed one is none
    const PlanRun *r;
    char *log_path;
    pid_t pid;            // 0: none
    double started, next; // log_seconds(), and when it is to be said again how far it is
    int told;             // it was asked to stop
} Process;

// flag: "--force" or "--resume", or NULL. lock: of file_lock, which the process holds too.
int experiment_process_start(Process *x, const PlanRun *r, const char *flag, int lock, Err *err);

// Whether it has ended, with the status of waitpid. Says every minute how far it is; named: by its label too.
int experiment_process_ended(Process *x, int named, int *status);
// Asks it to stop, once; what it can go on from it saves.
void experiment_process_stop(Process *x, int signal);

// The signal that it was asked to stop by, whether it then saved what it had or not; 0: none.
int experiment_process_stopped(int status);
// What it died of, with its own words and exit code where it had any; 0: it ended well.
int experiment_process_check(const Process *x, int status, Err *err);

void experiment_process_close(Process *x); // of one that has ended: it is none again

#endif
