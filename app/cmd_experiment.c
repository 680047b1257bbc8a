// latentr3 experiment: the runs that a YAML file names, and their table.
#include "app/commands.h"
#include "app/experiment_records.h"
#include "app/experiment_run.h"
#include "app/experiment_table.h"
#include "app/interrupt.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print_plan(const Plan *p) {
    Str line = {0};
    double *seconds = mem_alloc((size_t)p->runs + 1, sizeof *seconds);
    experiment_run_look(p, seconds);
    for (int i = 0; i < p->runs; i++) {
        const PlanRun *r = &p->run[i];
        printf("%s  %s\n    latentr3", seconds[i] >= 0 ? "done" : "to do", r->label);
        str_clear(&line);
        for (int k = 0; k < r->argc; k++) str_puts(&line, " "), str_shell(&line, r->argv[k]);
        printf("%s\n", line.data);
    }
    str_free(&line);
    free(seconds);
}

static int all_done(const Plan *p) {
    double *seconds = mem_alloc((size_t)p->runs + 1, sizeof *seconds);
    const int waiting = experiment_run_look(p, seconds);
    free(seconds);
    return waiting == 0;
}

static int run_plan(const Plan *p, const Options *o, Err *err) {
    const int lock = file_lock(o->out, err);
    if (lock < 0) return -1;
    int status = all_done(p) ? 0 : experiment_table_forget(o->out, err);
    if (status == 0) status = experiment_run_all(p, o->jobs, lock, err);
    if (status == 0 && interrupt_signal())
        log_info("stopped; the same command goes on from here");
    else if (status == 0)
        status = experiment_table_make(p, o, err);
    close(lock);
    return status;
}

static int keep_records(const Plan *p, const Options *o, Err *err) {
    if (file_is_same(o->out, o->records))
        return err_set(err, ERR_USAGE, "--records %s is the folder of the runs, whose lists and logs it would replace",
                       o->records);
    const int lock = file_lock(o->out, err), kept = lock < 0 ? -1 : experiment_records(p, o->records, err);
    if (lock >= 0) close(lock);
    if (kept == 0) return err_set(err, ERR_DATA, "%s: none of the %d runs that the file names is done there", o->out, p->runs);
    if (kept > 0) log_info("kept %d of %d runs in %s", kept, p->runs, o->records);
    return kept < 0 ? -1 : 0;
}

static void warn_empty(const Experiment *e) {
    int evals = 0, rows = 0;
    for (int i = 0; i < e->steps; i++) evals += e->step[i].command->bit == CMD_EVAL, rows += e->step[i].row != NULL;
    if (evals && !rows) log_warn("%s: no eval has a `row`, so the table will be empty", e->path);
}

int cmd_experiment(const Options *o, Err *err) {
    Experiment e;
    Plan p;
    if (o->plan && o->json) return err_set(err, ERR_USAGE, "experiment: --plan is text, --json does not go with it");
    if (o->records && (o->plan || o->json))
        return err_set(err, ERR_USAGE, "experiment: --records prints nothing, and runs nothing");
    if (experiment_file_open(&e, o->operand, err)) return -1;
    int status = experiment_plan_make(&p, &e, o->out, err);
    const int runs = !o->plan && !o->records;
    if (status == 0) {
        if (runs) status = experiment_plan_check_inputs(&p, err);
        if (status == 0 && !o->records) warn_empty(&e);
        if (o->plan) print_plan(&p);
        if (o->records) status = keep_records(&p, o, err);
        if (status == 0 && runs) status = file_make_folder(o->out, err) || run_plan(&p, o, err) ? -1 : 0;
        experiment_plan_free(&p);
    }
    experiment_file_close(&e);
    return status;
}
