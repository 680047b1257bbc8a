#include "app/experiment_run.h"
#include "app/experiment_process.h"
#include "app/interrupt.h"
#include "app/resume.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "report/record.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *read_beside(const PlanRun *r, const char *name) {
    return json_read_in(r->folder, name, RECORD_JSON_BYTES);
}

// ---- what is done --------------------------------------------------------------------------------------------------------

// What its mark says that it took; -1: there is none.
static double marked(const PlanRun *r) {
    json_t *step = read_beside(r, "step.json");
    const char *key = json_string_value(json_object_get(step, "key"));
    const double seconds = key && !strcmp(key, r->key) ? json_number_value(json_object_get(step, "seconds")) : -1;
    json_decref(step);
    return seconds;
}

// Those of records have gone.
static int has_lists(const PlanRun *r) {
    static const char *const evaluation[] = {"eval-test.json", "eval-valid.json", "eval-train.json"};
    int has = 0;
    for (size_t i = 0; i < sizeof evaluation / sizeof *evaluation; i++) {
        json_t *e = read_beside(r, evaluation[i]);
        has |= e && !json_is_true(json_object_get(e, "hashed"));
        json_decref(e);
    }
    return has;
}

// Whether what the table reads of it is there: somebody may have removed a part of it.
static int has_figures(const PlanRun *r) {
    static const char *const split[] = {"test", "valid", "train"};
    const unsigned bit = r->step->command->bit;
    if (bit & (CMD_SFT | CMD_RL | CMD_SASREC)) return file_exists_in(r->folder, "metrics.json");
    int has = bit != CMD_EVAL;
    for (int i = 0; i < 3 && !has; i++) {
        char evaluation[32], results[32];
        snprintf(evaluation, sizeof evaluation, "eval-%s.json", split[i]);
        snprintf(results, sizeof results, "results-%s.jsonl", split[i]);
        has = file_exists_in(r->folder, evaluation) && file_exists_in(r->folder, results);
    }
    return has;
}

// Whether what other runs read of it is there.
static int is_whole(const PlanRun *r) {
    const unsigned bit = r->step->command->bit;
    if (bit == CMD_EVAL) return has_lists(r);
    const char *const made[] = {bit == CMD_PREPARE ? "dataset.json" : "model.safetensors", "model/model.safetensors"};
    int whole = 0;
    for (int i = 0; i < (bit == CMD_SYNTH ? 2 : 1); i++) // a world of synth has its model below it
        whole |= file_exists_in(r->folder, made[i]);
    return whole;
}

int experiment_run_look(const Plan *p, double *seconds) {
    int waiting = 0;
    for (int i = 0; i < p->runs; i++) seconds[i] = has_figures(&p->run[i]) ? marked(&p->run[i]) : -1;
    for (int i = p->runs - 1; i >= 0; i--) { // those that read come behind those that are read
        if (seconds[i] >= 0) continue;
        waiting++;
        for (int k = 0; k < p->run[i].needs; k++)
            if (!is_whole(&p->run[p->run[i].need[k]])) seconds[p->run[i].need[k]] = -1;
    }
    return waiting;
}

static int mark_done(const PlanRun *r, double seconds, Err *err) {
    char *path = file_join(r->folder, "step.json");
    json_t *command = json_array();
    for (int i = 0; i < r->argc; i++) json_array_append_new(command, options_text(r->argv[i]));
    json_t *step = json_pack("{s:s, s:s, s:o, s:f}", "key", r->key, "label", r->label, "command", command, "seconds", seconds);
    int status = step ? json_save(path, step, err) : err_set(err, ERR_DATA, "%s: its name is no UTF-8", r->folder);
    json_decref(step);
    free(path);
    return status;
}

typedef enum Before { NOTHING, CUT_OFF, FINISHED } Before; // what an earlier process left in the folder

static Before left_before(const PlanRun *r) {
    if (!(r->step->command->bit & (CMD_SFT | CMD_RL | CMD_SASREC))) return NOTHING;
    json_t *metrics = read_beside(r, "metrics.json");
    const int finished = resume_finished(metrics), there = file_exists_in(r->folder, "log.jsonl");
    json_decref(metrics);
    return !finished ? (there ? CUT_OFF : NOTHING) : is_whole(r) ? FINISHED : NOTHING;
}

// ---- all -----------------------------------------------------------------------------------------------------------------

typedef struct Pool {
    const Plan *p;
    double *seconds;  // (runs) of what is done; -1: not yet
    char *begun;      // (runs)
    Process *process; // (jobs)
    int jobs, lock;
    int waiting, number; // runs that were to do, and how many of them have begun
} Pool;

// What others of the same step took on average, or where there are none those of the same command; NAN: nothing is known. (Of
// an evaluation another one says little: popularity takes a second, a language model an hour.)
static double expected(const Pool *q, int run) {
    const ExperimentStep *step = q->p->run[run].step;
    double sum[2] = {0, 0};
    int n[2] = {0, 0};
    for (int i = 0; i < q->p->runs; i++) {
        const ExperimentStep *other = q->p->run[i].step;
        if (q->seconds[i] < 0 || other->command != step->command) continue;
        if (other != step && step->command->bit == CMD_EVAL) continue;
        sum[other == step] += q->seconds[i], n[other == step]++;
    }
    const int best = n[1] > 0;
    return n[best] ? sum[best] / n[best] : (double)NAN;
}

static void say_left(const Pool *q, const PlanRun *r) {
    double left = 0; // NAN: not known
    for (int i = 0; i < q->p->runs; i++)
        if (q->seconds[i] < 0) left += expected(q, i);
    left /= q->jobs;
    char text[48] = "";
    if (left >= 7200)
        snprintf(text, sizeof text, "; about %.1f h left", left / 3600);
    else if (left >= 120)
        snprintf(text, sizeof text, "; about %.0f min left", left / 60);
    else if (left > 0)
        snprintf(text, sizeof text, "; about %.0f s left", ceil(left));
    log_info("[%d/%d] %s%s", q->number, q->waiting, r->label, text);
}

// What was made of other bytes than those in its key's hash is no run of that key, now or later.
static int check_inputs(const PlanRun *r, Err *err) {
    static const char *const finished[] = {"metrics.json", "log.jsonl"};
    if (experiment_plan_check_unchanged(r, err) == 0) return 0;
    err_prefix(err, "%s", r->label);
    file_remove_all(r->folder, finished, sizeof finished / sizeof *finished, NULL);
    return -1;
}

static int finish(Pool *q, const PlanRun *r, double seconds, Err *err) {
    if (check_inputs(r, err)) return -1;
    q->seconds[r - q->p->run] = seconds;
    return mark_done(r, seconds, err);
}

static int begin(Pool *q, Process *x, const PlanRun *r, Err *err) {
    static const char *const mark[] = {"step.json"};
    const Before before = left_before(r);
    q->begun[r - q->p->run] = 1, q->number++;
    say_left(q, r);
    if (experiment_plan_check_unchanged(r, err)) return err_prefix(err, "%s", r->label);
    if (before == FINISHED) { // all but the mark
        json_t *metrics = read_beside(r, "metrics.json");
        const double seconds = json_number_value(json_object_get(metrics, "seconds"));
        json_decref(metrics);
        return finish(q, r, seconds, err);
    }
    file_remove_all(r->folder, mark, 1, NULL); // a record's: prepare writes into no folder with a stranger's file
    const char *flag = r->step->command->bit == CMD_EVAL ? NULL : before == CUT_OFF ? "--resume" : "--force";
    return experiment_process_start(x, r, flag, q->lock, err);
}

static int is_ready(const Pool *q, int run) {
    const PlanRun *r = &q->p->run[run];
    for (int k = 0; k < r->needs; k++)
        if (q->seconds[r->need[k]] < 0) return 0;
    return q->seconds[run] < 0 && !q->begun[run];
}

// As many as there are places for, in the plan's order.
static int begin_ready(Pool *q, Err *err) {
    int status = 0, place = 0;
    for (int i = 0; i < q->p->runs && status == 0; i++) {
        while (place < q->jobs && q->process[place].pid) place++;
        if (place == q->jobs) break;
        if (is_ready(q, i)) status = begin(q, &q->process[place], &q->p->run[i], err);
    }
    return status;
}

// Of one that has ended. One that was asked to stop counts only where it had come to its end.
static int end(Pool *q, Process *x, int status, Err *err) {
    const int stopped = experiment_process_stopped(status);
    if (stopped && !x->told && !interrupt_signal()) {
        log_warn("%s: stopped by signal %d", x->r->label, stopped);
        interrupt_elsewhere(stopped);
    }
    int failed = 0;
    if (!interrupt_signal() && !(x->told && status)) {
        failed = experiment_process_check(x, status, err);
        if (failed == 0) failed = finish(q, x->r, log_seconds() - x->started, err);
    }
    experiment_process_close(x);
    return failed;
}

// Looks after those that run, and returns how many did. *status: of the first that failed; then the others stop.
static int tend(Pool *q, int *status, Err *err) {
    int ran = 0, ended = 0, wait_status;
    for (int i = 0; i < q->jobs; i++) {
        Process *x = &q->process[i];
        if (!x->pid) continue;
        ran++;
        if (interrupt_signal() || *status) experiment_process_stop(x, interrupt_signal() ? interrupt_signal() : SIGTERM);
        if (!experiment_process_ended(x, q->jobs > 1, &wait_status)) continue;
        ended++;
        if (end(q, x, wait_status, *status ? NULL : err)) *status = -1;
    }
    if (ran && !ended) usleep(20000);
    return ran;
}

int experiment_run_all(const Plan *p, int jobs, int lock, Err *err) {
    Pool q = {.p = p,
              .jobs = jobs,
              .lock = lock,
              .seconds = mem_alloc((size_t)p->runs + 1, sizeof *q.seconds),
              .begun = mem_zalloc((size_t)p->runs + 1, 1),
              .process = mem_zalloc((size_t)jobs, sizeof *q.process)};
    int status = 0, running;
    q.waiting = experiment_run_look(p, q.seconds);
    if (p->runs - q.waiting) log_info("%d of %d runs are done", p->runs - q.waiting, p->runs);
    interrupt_watch();
    do {
        if (status == 0 && !interrupt_signal()) status = begin_ready(&q, err);
        running = tend(&q, &status, err);
    } while (running);
    free(q.seconds), free(q.begun), free(q.process);
    return status;
}
