// The runs of a plan, each a process of its own of this program, so that it gives all memory back. A run's step.json, written
// when it has ended well, says that it is done.
#ifndef APP_EXPERIMENT_RUN_H
#define APP_EXPERIMENT_RUN_H

#include "app/experiment_plan.h"

// seconds: (p->runs) what a run took, -1 where it is to do. Returns how many are. A run stays done when the model or the data
// that it made are removed, until one that is to do reads them.
int experiment_run_look(const Plan *p, double *seconds);

// Runs what is not done, `jobs` at a time in the plan's order, each behind those it needs, and goes on with a training that was
// cut off. What a run prints is in FOLDER.log. SIGINT and SIGTERM reach the runs, which save what they have; then this ends
// (interrupt_signal). -1, with the run's own exit code, where one fails; the others are stopped then, and go on the next time.
// lock: of file_lock, which a run holds too: where the experiment is killed, the next one is refused until the runs have saved
// what they have.
int experiment_run_all(const Plan *p, int jobs, int lock, Err *err);

#endif
