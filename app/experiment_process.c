#include "app/experiment_process.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_BYTES = 400, SAY_SECONDS = 60 };

static _Noreturn void become(char **argv, int log, int null, int lock, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM); // whatever ends the experiment
    if (getppid() != parent) _exit(1);
    fcntl(lock, F_SETFD, 0); // held until this run has ended too, should the experiment be killed
    setpgid(0, 0);           // Ctrl-C comes through the experiment, once
    dup2(null, STDIN_FILENO), dup2(log, STDOUT_FILENO), dup2(log, STDERR_FILENO);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static pid_t start(const Process *x, char **argv, int lock, Err *err) {
    const int log = open(x->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666),
              null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const pid_t parent = getpid(), child = log < 0 || null < 0 ? -1 : fork();
    if (child == 0) become(argv, log, null, lock, parent);
    if (child < 0) err_errno(err, "%s: cannot be started (%s)", x->r->label, x->log_path);
    if (log >= 0) close(log);
    if (null >= 0) close(null);
    return child;
}

int experiment_process_start(Process *x, const PlanRun *r, const char *flag, int lock, Err *err) {
    Str log = {0};
    str_printf(&log, "%s.log", r->folder);
    *x = (Process){.r = r, .log_path = log.data, .started = log_seconds()};
    x->next = x->started + SAY_SECONDS;
    char **argv = mem_zalloc((size_t)r->argc + 3, sizeof *argv);
    int n = 0;
    argv[n++] = (char *)"latentr3";
    for (int i = 0; i < r->argc; i++) argv[n++] = r->argv[i];
    if (flag) argv[n++] = (char *)flag;
    const pid_t child = start(x, argv, lock, err);
    free(argv);
    if (child > 0)
        x->pid = child;
    else
        experiment_process_close(x);
    return child > 0 ? 0 : -1;
}

// The last line that it has written: how far it is, or what it died of. Empty where there is none.
static void last_line(const Process *x, char line[LINE_BYTES]) {
    MapFile f;
    *line = 0;
    if (mapfile_open(&f, x->log_path, 0, NULL)) return;
    size_t end = f.bytes;
    while (end > 0 && strchr("\r\n ", f.data[end - 1])) end--;
    size_t begin = end;
    while (begin > 0 && f.data[begin - 1] != '\n' && f.data[begin - 1] != '\r') begin--;
    snprintf(line, LINE_BYTES, "%.*s", (int)(end - begin < LINE_BYTES ? end - begin : LINE_BYTES - 1), f.data + begin);
    mapfile_close(&f);
}

int experiment_process_ended(Process *x, int named, int *status) {
    if (waitpid(x->pid, status, WNOHANG) != 0) return 1;
    if (log_seconds() >= x->next) {
        char line[LINE_BYTES];
        last_line(x, line);
        log_info("    %s%s%s", named ? x->r->label : "", named ? ": " : "", line);
        x->next += SAY_SECONDS;
    }
    return 0;
}

void experiment_process_stop(Process *x, int signal) {
    if (!x->told) kill(x->pid, signal);
    x->told = 1;
}

int experiment_process_stopped(int status) {
    const int number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) - 128;
    return number == SIGINT || number == SIGTERM || number == SIGHUP ? number : 0;
}

// A system without memory kills by SIGKILL.
static int died(const Process *x, int status, Err *err) {
    char line[LINE_BYTES];
    const int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0, code = number ? ERR_INTERNAL : WEXITSTATUS(status);
    last_line(x, line);
    if (number == SIGKILL) return err_set(err, ERR_MEMORY, "killed by signal %d (out of memory?)", number);
    if (number) return err_set(err, ERR_INTERNAL, "ended by signal %d", number);
    return err_set(err, code < ERR_USAGE || code > ERR_INTERNAL ? ERR_INTERNAL : code, "%s",
                   *line ? line : "ended without a word");
}

int experiment_process_check(const Process *x, int status, Err *err) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    died(x, status, err);
    return err_prefix(err, "%s (all it said is in %s)", x->r->label, x->log_path);
}

void experiment_process_close(Process *x) {
    free(x->log_path);
    *x = (Process){0};
}
