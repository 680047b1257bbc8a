#include "app/run.h"
#include "base/arena.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int save_metrics(const Run *r, Err *err) {
    char *path = file_join(r->folder, "metrics.json");
    int status = json_save(path, r->metrics, err);
    free(path);
    return status;
}

// Settings from outside that change threads or instructions, and so the last bits of a result.
static json_t *environment(void) {
    static const char *const name[] = {"OMP_NUM_THREADS", "OMP_DYNAMIC", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"};
    json_t *all = json_object();
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if (getenv(name[i])) json_object_set_new(all, name[i], json_string(getenv(name[i])));
    return all;
}

static int fill_metrics(Run *r, const Options *o, const OpenModel *m, const Dataset *d, Err *err) {
    char hash[33];
    weights_hash(&m->llm, hash);
    json_t *data = dataset_hashes(d, 0, err);
    if (!data) return -1;
    r->metrics = json_pack("{s:s, s:o, s:I, s:o, s:{s:s, s:s, s:s}, s:o, s:s}", "command", o->command->name, "configuration",
                           options_to_json(o), "seed", (json_int_t)o->seed, "data", data, "versions", "latentr3",
                           LATENTR3_VERSION, "compiler", __VERSION__, "ops", ops_description(m->ops), "environment",
                           environment(), "model_hash_before", hash);
    CHECK(r->metrics);
    return 0;
}

static int open_log(Run *r, Err *err) {
    char *path = file_join(r->folder, "log.jsonl");
    r->log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    int status = r->log_fd < 0 ? err_errno(err, "%s: cannot be written", path) : 0;
    free(path);
    return status;
}

// The log's seconds count from a moment of the calendar.
static int open_curves(Run *r, Err *err) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const double began = (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - (log_seconds() - r->started);
    return curves_open(&r->curves, r->folder, began, err);
}

int run_open(Run *r, const Options *o, const OpenModel *m, const Dataset *d, Err *err) {
    *r = (Run){.log_fd = -1, .started = log_seconds(), .folder = mem_strndup(o->out, strlen(o->out))};
    if (fill_metrics(r, o, m, d, err) || file_make_folder(o->out, err) || open_log(r, err) || open_curves(r, err) ||
        save_metrics(r, err)) {
        run_close(r, NULL);
        return -1;
    }
    return 0;
}

void run_event(Run *r, const json_t *event) {
    json_t *all = json_copy((json_t *)event);
    json_object_set_new(all, "seconds", json_real(log_seconds() - r->started));
    char *line = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    size_t len = strlen(line);
    line[len++] = '\n'; // in place of the NUL: one write a line, so that a reader never sees half of one
    if (!r->failed_errno && write(r->log_fd, line, len) != (ssize_t)len) r->failed_errno = errno ? errno : EIO;
    free(line);
    curves_add(&r->curves, all);
    json_decref(all);
}

void run_metric(Run *r, const char *name, json_t *value) {
    json_object_set_new(r->metrics, name, value);
}

int run_close(Run *r, Err *err) {
    int status = 0;
    if (r->log_fd >= 0) {
        run_metric(r, "seconds", json_real(log_seconds() - r->started));
        status = save_metrics(r, err);
        if (close(r->log_fd) && !r->failed_errno) r->failed_errno = errno;
        if (status == 0 && r->failed_errno) {
            errno = r->failed_errno;
            status = err_errno(err, "%s/log.jsonl", r->folder);
        }
    }
    if (curves_close(&r->curves, status ? NULL : err)) status = -1;
    json_decref(r->metrics);
    free(r->folder);
    *r = (Run){.log_fd = -1};
    return status;
}
