// latentr3 experiment: the runs that a YAML file names, and their table.
#include "app/commands.h"
#include "app/experiment_run.h"
#include "app/experiment_table.h"
#include "app/interrupt.h"
#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"

#include <stdio.h>
#include <unistd.h>

static void print_plan(const Plan *p) {
    Str line = {0};
    for (int i = 0; i < p->runs; i++) {
        const PlanRun *r = &p->run[i];
        double seconds;
        printf("%s  %s\n    latentr3", experiment_run_done(r, &seconds) ? "done" : "to do", r->label);
        str_clear(&line);
        for (int k = 0; k < r->argc; k++) str_puts(&line, " "), str_shell(&line, r->argv[k]);
        printf("%s\n", line.data);
    }
    str_free(&line);
}

static int all_done(const Plan *p) {
    double seconds;
    for (int i = 0; i < p->runs; i++)
        if (!experiment_run_done(&p->run[i], &seconds)) return 0;
    return 1;
}

static int run_plan(const Plan *p, const Options *o, Err *err) {
    const int lock = file_lock(o->out, err);
    if (lock < 0) return -1;
    int status = all_done(p) ? 0 : experiment_table_forget(o->out, err);
    if (status == 0) status = experiment_run_all(p, lock, err);
    if (status == 0 && interrupt_signal())
        log_info("stopped; the same command goes on from here");
    else if (status == 0)
        status = experiment_table_make(p, o, err);
    close(lock);
    return status;
}

int cmd_experiment(const Options *o, Err *err) {
    Experiment e;
    Plan p;
    if (o->plan && o->json) return err_set(err, ERR_USAGE, "experiment: --plan is text, --json does not go with it");
    if (experiment_file_open(&e, o->operand, err)) return -1;
    int status = experiment_plan_make(&p, &e, o->out, err);
    if (status == 0) {
        if (o->plan)
            print_plan(&p);
        else
            status = experiment_plan_check_inputs(&p, err) || file_make_folder(o->out, err) || run_plan(&p, o, err) ? -1 : 0;
        experiment_plan_free(&p);
    }
    experiment_file_close(&e);
    return status;
}
