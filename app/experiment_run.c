#include "app/experiment_run.h"
#include "app/interrupt.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"
#include "report/record.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_BYTES = 400 };

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
    for (int i = 0; i < p->runs; i++) seconds[i] = marked(&p->run[i]);
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
    const int finished = json_object_get(metrics, "steps") && json_is_false(json_object_get(metrics, "interrupted")),
              there = file_exists_in(r->folder, "log.jsonl");
    json_decref(metrics);
    return !finished ? (there ? CUT_OFF : NOTHING) : is_whole(r) ? FINISHED : NOTHING;
}

// ---- a process -----------------------------------------------------------------------------------------------------------

static _Noreturn void become(char **argv, int log, int null, int lock, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM); // whatever ends the experiment
    if (getppid() != parent) _exit(1);
    fcntl(lock, F_SETFD, 0); // held until this run has ended too, should the experiment be killed
    setpgid(0, 0);           // Ctrl-C comes through the experiment, once
    dup2(null, STDIN_FILENO), dup2(log, STDOUT_FILENO), dup2(log, STDERR_FILENO);
    execv("/proc/self/exe", argv);
    _exit(127);
}

// The last line that a run has written: how far it is, or what it died of. Empty where there is none.
static void last_line(const char *path, char line[LINE_BYTES]) {
    MapFile f;
    *line = 0;
    if (mapfile_open(&f, path, 0, NULL)) return;
    size_t end = f.bytes;
    while (end > 0 && strchr("\r\n ", f.data[end - 1])) end--;
    size_t begin = end;
    while (begin > 0 && f.data[begin - 1] != '\n' && f.data[begin - 1] != '\r') begin--;
    snprintf(line, LINE_BYTES, "%.*s", (int)(end - begin < LINE_BYTES ? end - begin : LINE_BYTES - 1), f.data + begin);
    mapfile_close(&f);
}

// Waits, hands one signal on, and says every minute how far the run is. The status of waitpid.
static int wait_for(pid_t child, const char *log_path) {
    enum { SAY_SECONDS = 60 };
    char line[LINE_BYTES];
    int status, told = 0;
    double next = log_seconds() + SAY_SECONDS;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (interrupt_signal() && !told) {
            kill(child, interrupt_signal());
            told = 1;
        }
        if (log_seconds() >= next) {
            last_line(log_path, line);
            log_info("    %s", line);
            next += SAY_SECONDS;
        }
        usleep(20000);
    }
    return status;
}

static int start(const PlanRun *r, char **argv, const char *log_path, int lock, int *status, Err *err) {
    const int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666),
              null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const pid_t parent = getpid(), child = log < 0 || null < 0 ? -1 : fork();
    if (child == 0) become(argv, log, null, lock, parent);
    if (child < 0) err_errno(err, "%s: cannot be started (%s)", r->label, log_path);
    if (log >= 0) close(log);
    if (null >= 0) close(null);
    if (child < 0) return -1;
    *status = wait_for(child, log_path);
    return 0;
}

// The number of a signal that a run was asked to stop by, whether it then saved what it had or not; 0: none.
static int stopped_by(int status) {
    const int number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) - 128;
    return number == SIGINT || number == SIGTERM ? number : 0;
}

// What a run died of, with its own words and exit code where it had any. A system without memory kills by SIGKILL.
static int say_failed(int status, const char *log_path, Err *err) {
    char line[LINE_BYTES];
    const int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0, code = number ? ERR_INTERNAL : WEXITSTATUS(status);
    last_line(log_path, line);
    if (number == SIGKILL) return err_set(err, ERR_MEMORY, "killed by signal %d (out of memory?)", number);
    if (number) return err_set(err, ERR_INTERNAL, "ended by signal %d", number);
    return err_set(err, code < ERR_USAGE || code > ERR_INTERNAL ? ERR_INTERNAL : code, "%s",
                   *line ? line : "ended without a word");
}

static int run_process(const PlanRun *r, Before before, int lock, Err *err) {
    Str log = {0};
    char **argv = mem_zalloc((size_t)r->argc + 3, sizeof *argv);
    int n = 0, status;
    argv[n++] = (char *)"latentr3";
    for (int i = 0; i < r->argc; i++) argv[n++] = r->argv[i];
    if (r->step->command->bit != CMD_EVAL) argv[n++] = (char *)(before == CUT_OFF ? "--resume" : "--force");
    str_printf(&log, "%s.log", r->folder);
    int failed = start(r, argv, log.data, lock, &status, err);
    if (failed == 0 && !interrupt_signal() && stopped_by(status)) {
        log_warn("%s: stopped by signal %d", r->label, stopped_by(status));
        interrupt_elsewhere(stopped_by(status));
    }
    if (failed == 0 && !interrupt_signal() && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        failed = say_failed(status, log.data, err);
        err_prefix(err, "%s (all it said is in %s)", r->label, log.data);
    }
    str_free(&log);
    free(argv);
    return failed;
}

// ---- all -----------------------------------------------------------------------------------------------------------------

typedef struct Clock { // seconds of what is done, for what is left
    double *seconds;   // (runs); -1: not done
    const Plan *p;
} Clock;

// What the others of the same step took on average, or where there are none all that is done.
static double expected(const Clock *c, int run) {
    double sum[2] = {0, 0};
    int n[2] = {0, 0};
    for (int i = 0; i < c->p->runs; i++) {
        if (c->seconds[i] < 0) continue;
        const int same = c->p->run[i].step == c->p->run[run].step;
        sum[same] += c->seconds[i], n[same]++;
    }
    return n[1] ? sum[1] / n[1] : n[0] ? sum[0] / n[0] : -1;
}

static void say_left(const Clock *c, int number, int waiting, const PlanRun *r) {
    double left = 0;
    for (int i = 0; i < c->p->runs; i++)
        if (c->seconds[i] < 0) left += expected(c, i) > 0 ? expected(c, i) : 0;
    char text[48] = "";
    if (left >= 7200)
        snprintf(text, sizeof text, "; about %.1f h left", left / 3600);
    else if (left >= 120)
        snprintf(text, sizeof text, "; about %.0f min left", left / 60);
    else if (left > 0)
        snprintf(text, sizeof text, "; about %.0f s left", ceil(left));
    log_info("[%d/%d] %s%s", number, waiting, r->label, text);
}

// What was made of other bytes than those in its key's hash is no run of that key, now or later.
static int check_inputs(const PlanRun *r, Err *err) {
    static const char *const finished[] = {"metrics.json", "log.jsonl"};
    if (experiment_plan_check_unchanged(r, err) == 0) return 0;
    err_prefix(err, "%s", r->label);
    file_remove_all(r->folder, finished, sizeof finished / sizeof *finished, NULL);
    return -1;
}

static int run_one(const PlanRun *r, int lock, double *seconds, Err *err) {
    static const char *const mark[] = {"step.json"};
    const double started = log_seconds();
    const Before before = left_before(r);
    if (experiment_plan_check_unchanged(r, err)) return err_prefix(err, "%s", r->label);
    if (before != FINISHED) {
        file_remove_all(r->folder, mark, 1, NULL); // a record's: prepare writes into no folder with a stranger's file
        if (run_process(r, before, lock, err)) return -1;
    }
    if (interrupt_signal()) return 0;
    if (check_inputs(r, err)) return -1;
    *seconds = log_seconds() - started;
    if (before == FINISHED) { // all but the mark
        json_t *metrics = read_beside(r, "metrics.json");
        *seconds = json_number_value(json_object_get(metrics, "seconds"));
        json_decref(metrics);
    }
    return mark_done(r, *seconds, err);
}

int experiment_run_all(const Plan *p, int lock, Err *err) {
    Clock c = {.p = p, .seconds = mem_alloc((size_t)p->runs + 1, sizeof *c.seconds)};
    const int waiting = experiment_run_look(p, c.seconds);
    int number = 0, status = 0;
    if (p->runs - waiting) log_info("%d of %d runs are done", p->runs - waiting, p->runs);
    interrupt_watch();
    for (int i = 0; i < p->runs && status == 0 && !interrupt_signal(); i++) {
        if (c.seconds[i] >= 0) continue;
        say_left(&c, ++number, waiting, &p->run[i]);
        status = run_one(&p->run[i], lock, &c.seconds[i], err);
    }
    free(c.seconds);
    return status;
}
