#include "train/checkpoints.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/thread.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 32 };
static const char STATE[] = "training.state", BEST[] = "best.safetensors", LATEST[] = "latest";

static void name_of(char name[NAME_BYTES], int64_t step) {
    snprintf(name, NAME_BYTES, "step-%010lld", (long long)step);
}

// The step that is a checkpoint's name, or -1.
static int64_t step_of(const char *name) {
    char same[NAME_BYTES];
    long long step = -1;
    if (sscanf(name, "step-%lld", &step) != 1 || step < 0) return -1;
    name_of(same, step);
    return strcmp(name, same) ? -1 : step;
}

static int descending(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

// The steps of which there are checkpoints, the newest first; malloc'd. Returns how many, or -1.
static int list_steps(const Checkpoints *c, int64_t **step, Err *err) {
    int n = 0;
    *step = NULL;
    DIR *d = opendir(c->folder);
    if (!d) return errno == ENOENT ? 0 : err_errno(err, "%s", c->folder);
    for (struct dirent *e; (e = readdir(d));) {
        const int64_t s = step_of(e->d_name);
        if (s < 0) continue;
        *step = mem_realloc(*step, (size_t)n + 1, sizeof **step);
        (*step)[n++] = s;
    }
    closedir(d);
    if (n) qsort(*step, (size_t)n, sizeof **step, descending);
    return n;
}

static char *path_of(const Checkpoints *c, int64_t step) {
    char name[NAME_BYTES];
    name_of(name, step);
    return file_join(c->folder, name);
}

static int remove_step(const Checkpoints *c, int64_t step, Err *err) {
    char *path = path_of(c, step);
    int status = file_remove_folder(path, err);
    free(path);
    return status;
}

// ---- open and close -------------------------------------------------------------------------------------------------

int checkpoints_open(Checkpoints *c, const char *out, int keep, Err *err) {
    *c = (Checkpoints){.keep = keep, .last = -1, .log_fd = -1, .folder = file_join(out, "checkpoints")};
    c->lock = file_lock(out, err);
    if (c->lock < 0) return -1;
    if (file_remove_temporaries(out, err)) return -1;
    return file_is_folder(c->folder) ? file_remove_temporaries(c->folder, err) : 0;
}

void checkpoints_close(Checkpoints *c) {
    if (!c->folder) return;
    checkpoints_wait(c, NULL);
    checkpoint_file_close(&c->found);
    free(c->found_best), free(c->folder), free(c->job.data);
    if (c->lock >= 0) close(c->lock);
    *c = (Checkpoints){0};
}

// ---- finding one ----------------------------------------------------------------------------------------------------

// The step that `latest` names; -1 where it names none.
static int64_t read_latest(const Checkpoints *c) {
    char *path = file_join(c->folder, LATEST), name[NAME_BYTES] = "";
    MapFile f;
    int64_t step = -1;
    if (mapfile_open(&f, path, NAME_BYTES - 1, NULL) == 0) {
        if (f.bytes) memcpy(name, f.data, f.bytes - 1); // a line
        step = step_of(name);
        mapfile_close(&f);
    }
    free(path);
    return step;
}

// The state and the best model of one checkpoint, both as they were written.
static int open_step(Checkpoints *c, int64_t step, Err *err) {
    char *folder = path_of(c, step), *state = file_join(folder, STATE), *best = file_join(folder, BEST), hash[33];
    int status = checkpoint_file_open(&c->found, state, err);
    const json_t *run = json_object_get(c->found.state, "run");
    const char *wanted = json_string_value(json_object_get(run, "best"));
    if (status == 0 && json_integer_value(json_object_get(c->found.state, "step")) != step)
        status = err_set(err, ERR_DATA, "%s: a damaged checkpoint: it is of another step", state);
    if (status == 0 && wanted) {
        status = file_hash(hash, best, err);
        if (status == 0 && strcmp(hash, wanted))
            status = err_set(err, ERR_DATA, "%s: a damaged checkpoint: not as it was written", best);
        if (status == 0) c->found_best = mem_strndup(best, strlen(best));
    }
    if (status) checkpoint_file_close(&c->found);
    free(folder), free(state), free(best);
    return status;
}

int checkpoints_find(Checkpoints *c, Err *err) {
    int first = 0;
    int64_t *step, latest = read_latest(c);
    const int n = list_steps(c, &step, err);
    if (n < 0) return -1;
    while (first < n && step[first] != latest) first++; // later ones were never announced
    if (n && first == n) log_warn("%s/%s names no checkpoint that is there: the newest is taken", c->folder, LATEST);
    for (int i = first < n ? first : 0; i < n && !c->found.state; i++) {
        if (open_step(c, step[i], err) == 0)
            c->last = step[i];
        else
            log_warn("%s", err->message);
    }
    free(step);
    if (n && !c->found.state) return err_set(err, ERR_DATA, "%s: no checkpoint in it is as it was written", c->folder);
    return 0;
}

int checkpoints_clear(Checkpoints *c, Err *err) {
    int64_t *step;
    const int n = list_steps(c, &step, err);
    if (n < 0) return -1;
    int status = 0;
    char *latest = file_join(c->folder, LATEST);
    if (n) log_info("%s: %d checkpoints of an earlier run are removed", c->folder, n);
    if (unlink(latest) && errno != ENOENT) status = err_errno(err, "%s", latest);
    for (int i = 0; i < n && status == 0; i++) status = remove_step(c, step[i], err);
    free(step), free(latest);
    return status;
}

// ---- saving ---------------------------------------------------------------------------------------------------------

static int same_bytes(const CheckpointJob *job, const char *path, Err *err) {
    CheckpointFile f;
    if (checkpoint_file_open(&f, path, err)) return -1;
    const int same = f.bytes == job->bytes && !memcmp(f.data, job->data, job->bytes);
    checkpoint_file_close(&f);
    return same ? 0 : err_set(err, ERR_IO, "%s: reads otherwise than it was written", path);
}

// Those beyond `keep`, and those of later steps, which a run that went on from an earlier one has left behind.
static int prune(const Checkpoints *c, int64_t now, Err *err) {
    int64_t *step;
    const int n = list_steps(c, &step, err);
    int kept = 0, status = n < 0 ? -1 : 0;
    for (int i = 0; i < n && status == 0; i++)
        if (step[i] > now || kept++ >= c->keep) status = remove_step(c, step[i], err);
    free(step);
    return status;
}

static int publish(Checkpoints *c, const char *final, Err *err) {
    char *latest = file_join(c->folder, LATEST), line[NAME_BYTES + 1];
    name_of(line, c->job.step);
    strcat(line, "\n");
    int status = file_is_folder(final) ? remove_step(c, c->job.step, err) : 0; // an older one of this step, not announced
    if (status == 0) status = file_rename(c->job.temporary, final, err);
    if (status == 0) status = file_write(latest, line, strlen(line), err);
    free(latest);
    return status ? -1 : prune(c, c->job.step, err);
}

static void *write_job(void *argument) {
    Checkpoints *c = argument;
    CheckpointJob *job = &c->job;
    char *final = path_of(c, job->step), *state = file_join(job->temporary, STATE);
    job->status = checkpoint_file_write(state, job->state, job->data, job->bytes, &job->err);
    if (job->status == 0) job->status = same_bytes(job, state, &job->err);
    if (job->status == 0 && c->log_fd >= 0 && fdatasync(c->log_fd)) job->status = err_errno(&job->err, "the run's log");
    if (job->status == 0) job->status = publish(c, final, &job->err);
    if (job->status) file_remove_folder(job->temporary, NULL);
    free(final), free(state);
    return NULL;
}

int checkpoints_wait(Checkpoints *c, Err *err) {
    if (!c->running) return 0;
    pthread_join(c->thread, NULL);
    c->running = 0;
    free(c->job.state), free(c->job.temporary);
    if (c->job.status && err) *err = c->job.err;
    return c->job.status;
}

static int start_thread(Checkpoints *c, Err *err) {
    c->running = thread_start(&c->thread, write_job, c) == 0;
    return c->running ? 0 : err_set(err, ERR_MEMORY, "%s: no memory for the thread that writes", c->folder);
}

// Makes the folder under its temporary name, with the best model of this very moment in it; the thread does the rest.
static int start_job(Checkpoints *c, int64_t step, Err *err) {
    char *final = path_of(c, step), *temporary = c->job.temporary = file_temporary(final), *best = file_join(temporary, BEST);
    int status = file_make_folder(temporary, err);
    if (status == 0 && c->best) status = file_link(c->best, best, err);
    if (status == 0) status = start_thread(c, err);
    if (status) file_remove_folder(temporary, NULL);
    free(final), free(best);
    return status;
}

int checkpoints_save(Checkpoints *c, Optimizer *o, int64_t step, json_t *state, Err *err) {
    int status = checkpoints_wait(c, err);
    if (status || step == c->last) {
        json_decref(state);
        return status;
    }
    CheckpointJob *job = &c->job;
    if (!job->data) job->data = mem_alloc(optimizer_bytes(o), 1);
    *job = (CheckpointJob){.data = job->data, .bytes = optimizer_bytes(o), .step = step};
    optimizer_store(o, job->data);
    json_t *note = c->note ? c->note(c->context, err) : json_object();
    if (note) {
        json_object_set_new(state, "step", json_integer(step));
        json_object_set_new(state, "run", note);
        job->state = json_dumps(state, JSON_COMPACT | JSON_REAL_PRECISION(17));
    }
    json_decref(state);
    if (!note) return -1;
    c->last = step;
    if (start_job(c, step, err) == 0) return 0;
    free(job->state), free(job->temporary);
    return -1;
}

int checkpoints_restore(Checkpoints *c, Optimizer *o, json_t **state, Err *err) {
    *state = json_incref(c->found.state);
    char *path = path_of(c, c->last);
    int status = optimizer_load(o, c->found.data, c->found.bytes, err);
    if (status) err_prefix(err, "%s", path);
    checkpoint_file_close(&c->found);
    free(path);
    return status;
}
