#include "app/run.h"
#include "app/eval_save.h"
#include "app/resume.h"
#include "base/arena.h"
#include "base/log.h"
#include "report/card.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int save_metrics(const Run *r, Err *err) {
    char *path = file_join(r->folder, "metrics.json");
    int status = json_save(path, r->metrics, err);
    free(path);
    return status;
}

// Settings from outside that change threads or instructions, and so the last bits of a result. (OMP_NUM_THREADS changes none.)
static json_t *environment(void) {
    static const char *const name[] = {"OMP_DYNAMIC", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"};
    json_t *all = json_object();
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if (getenv(name[i])) json_object_set_new(all, name[i], json_string(getenv(name[i])));
    return all;
}

// As the kernel calls it; "" where it does not say.
static json_t *processor(void) {
    char line[256], name[256] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !*name && fgets(line, sizeof line, f)) sscanf(line, "model name : %255[^\n]", name);
    if (f) fclose(f);
    return json_string(name);
}

void run_configuration_hash(const OpenModel *m, char hash[33]) {
    json_t *configuration = config_to_json(&m->llm.config, "");
    if (m->items) json_object_set(configuration, "items", m->items);
    char *text = json_dumps(configuration, JSON_COMPACT | JSON_SORT_KEYS);
    hash_bytes(hash, text, strlen(text));
    json_decref(configuration);
    free(text);
}

// What makes lists beside the weights.
static void describe_model(json_t *all, const OpenModel *m) {
    char hash[33];
    run_configuration_hash(m, hash);
    json_object_set_new(all, "configuration_hash", json_string(hash));
    if (!m->tokenizer) return;
    tokenizer_hash(m->tokenizer, hash);
    json_object_set_new(all, "tokenizer_hash", json_string(hash));
}

json_t *run_describe(const Options *o, const OpenModel *m, const Dataset *d, int with_test, Err *err) {
    char hash[33];
    if (m) weights_hash(&m->llm, hash);
    json_t *data = dataset_hashes(d, with_test, err);
    if (!data) return NULL;
    json_t *all = json_pack("{s:s, s:o, s:I, s:o, s:{s:s, s:s, s:s}, s:o, s:s}", "command", o->command->name, "configuration",
                            options_to_json(o), "seed", (json_int_t)o->seed, "data", data, "versions", "latentr3",
                            LATENTR3_VERSION, "compiler", __VERSION__, "ops", m ? ops_description(m->ops) : "none",
                            "environment", environment(), "model_hash_before", m ? hash : o->model);
    CHECK(all);
    json_object_set_new(all, "category", json_string(m && m->category ? m->category : d->category));
    if (m) describe_model(all, m);
    json_object_set_new(all, "processor", processor());
    json_object_set_new(all, "libc", json_string(gnu_get_libc_version()));
    if (ranks_size(o->ranks) > 1) json_object_set_new(all, "ranks", json_integer(o->ranks->size));
    return all;
}

// errno, 0 where all was written.
static int put_log(Run *r, const char *lines, size_t bytes) {
    errno = file_put(r->log_fd, lines, bytes);
    if (errno) return errno;
    r->log_bytes += bytes;
    hash_update(r->log_hash, lines, bytes);
    return 0;
}

// Of a file's first `bytes`, those up to the end of a line: others may have cut or edited it since.
static size_t whole_lines(int fd, size_t bytes) {
    char c;
    while (bytes > 0 && pread(fd, &c, 1, (off_t)bytes - 1) == 1 && c != '\n') bytes--;
    return bytes;
}

static void hash_lines(Hash *h, int fd, size_t bytes) {
    char part[4096];
    for (size_t at = 0; at < bytes;) {
        const size_t left = bytes - at;
        const ssize_t got = pread(fd, part, left < sizeof part ? left : sizeof part, (off_t)at);
        if (got <= 0) return;
        hash_update(h, part, (size_t)got);
        at += (size_t)got;
    }
}

// Of log.jsonl what belongs to the checkpoint stays, or the whole lines of that which others have left, and its `rest` follows.
static int open_log(Run *r, const ResumePoint *point, Err *err) {
    char *path = file_join(r->folder, "log.jsonl"), hash[33];
    r->log_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const off_t have = r->log_fd < 0 ? -1 : lseek(r->log_fd, 0, SEEK_END);
    const size_t there = have < 0 ? 0 : (size_t)have;
    r->log_bytes = whole_lines(r->log_fd, there < point->log_bytes ? there : point->log_bytes);
    r->log_hash = hash_open();
    hash_lines(r->log_hash, r->log_fd, r->log_bytes);
    hash_text(r->log_hash, hash);
    if (have >= 0 && (r->log_bytes < point->log_bytes || (point->log_hash && strcmp(hash, point->log_hash))))
        log_warn("%s: not as it was when the checkpoint was made: lines may be lost", path);
    errno = have < 0 || ftruncate(r->log_fd, (off_t)r->log_bytes) ? errno : 0;
    int status = errno || put_log(r, point->rest, strlen(point->rest)) ? err_errno(err, "%s: cannot be written", path) : 0;
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

static double seconds_of(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

// Of this process.
static RunCost cost_now(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (RunCost){.cpu_seconds = seconds_of(use.ru_utime) + seconds_of(use.ru_stime),
                     .peak_bytes = (int64_t)use.ru_maxrss * 1024};
}

static void cost_add(RunCost *sum, const RunCost *x) {
    sum->cpu_seconds += x->cpu_seconds;
    if (x->peak_bytes > sum->peak_bytes) sum->peak_bytes = x->peak_bytes;
}

static void tell_cost(const RunCost *cost, json_t *report) {
    json_object_set_new(report, "cpu_seconds", json_real(cost->cpu_seconds));
    json_object_set_new(report, "peak_bytes", json_integer((json_int_t)cost->peak_bytes));
}

void run_cost(json_t *report) {
    const RunCost cost = cost_now();
    tell_cost(&cost, report);
}

void run_share_cost(Run *r, const Ranks *ranks) {
    const int size = ranks_size(ranks);
    const RunCost mine = cost_now();
    RunCost *all = mem_alloc((size_t)size, sizeof *all);
    ranks_gather(ranks, &mine, all, sizeof mine);
    r->others = (RunCost){0};
    for (int i = 1; i < size; i++) cost_add(&r->others, &all[i]);
    free(all);
}

// Of this process, the other ranks and those until the checkpoint that it went on from.
static void add_cost(const Run *r, json_t *report) {
    RunCost cost = cost_now();
    cost_add(&cost, &r->others), cost_add(&cost, &r->before);
    tell_cost(&cost, report);
    json_object_set_new(report, "seconds", json_real(log_seconds() - r->started));
}

// Added to each checkpoint. The log's lines until now belong to it, those too that could not be written, and the best model.
static json_t *run_note(void *context, Err *err) {
    const Run *r = context;
    (void)err;
    char log_hash[33];
    hash_text(r->log_hash, log_hash);
    json_t *note = json_pack("{s:O, s:I, s:s, s:o}", "identity", r->identity, "log_bytes", (json_int_t)r->log_bytes, "log_hash",
                             log_hash, "best", *r->best_hash ? json_string(r->best_hash) : json_null());
    CHECK(note);
    if (r->unwritten.len) json_object_set_new(note, "log_rest", json_string(r->unwritten.data));
    add_cost(r, note);
    return note;
}

// The model that was there, and what belongs to it: until a run that begins anew saves, the folder has none, rather than one
// that this run's log and metrics are not of.
static int forget_model(Checkpoints *c, const char *folder, Err *err) {
    return weights_forget(folder, err) || checkpoints_clear(c, err) || eval_save_forget(folder, err) || card_forget(folder, err)
               ? -1
               : 0;
}

// The checkpoint to go on from, where --resume asks for one and there is one: then the log stays that belongs to it.
static int find_checkpoint(Run *r, const Options *o, ResumePoint *point, Err *err) {
    Checkpoints *c = &r->checkpoints;
    if (checkpoints_open(c, o->out, o->keep, err)) return -1;
    c->note = run_note;
    c->context = r;
    if (!o->resume) return forget_model(c, r->folder, err);
    r->done = file_exists(r->best) ? resume_done(o->out, r->identity, err) : 0;
    if (r->done) return r->done < 0 ? -1 : 0;
    if (checkpoints_find(c, err)) return -1;
    if (!c->found.state) {
        log_info("%s: no checkpoint yet, so the run begins at its first step", o->out);
        return forget_model(c, r->folder, err);
    }
    if (resume_check(c, r->identity, point, err)) return -1;
    r->started -= point->cost.seconds;
    r->before = point->cost;
    return c->found_best && (resume_best(c, r->best, err) || run_saved_best(r, err)) ? -1 : 0;
}

int run_open(Run *r, const Options *o, const OpenModel *m, const Dataset *d, Err *err) {
    ResumePoint point = {.rest = ""};
    *r = (Run){.log_fd = -1, .started = log_seconds(), .folder = mem_strndup(o->out, strlen(o->out))};
    r->best = file_join(o->out, "model.safetensors");
    r->metrics = run_describe(o, m, d, 0, err);
    if (r->metrics) r->identity = resume_identity(r->metrics);
    const int first = ranks_rank(o->ranks) == 0;
    int status = resume_agree(o->ranks, r->identity, err);
    if (status == 0 && first) status = file_make_folder(o->out, err) || find_checkpoint(r, o, &point, err);
    if (status == 0 && first && !r->done) status = open_log(r, &point, err) || open_curves(r, err) || save_metrics(r, err);
    status = ranks_agree(o->ranks, status, err);
    if (status == 0) ranks_broadcast(o->ranks, &r->done, sizeof r->done);
    if (status) run_close(r);
    r->checkpoints.log_fd = r->log_fd;
    return status ? -1 : 0;
}

int run_saved_best(Run *r, Err *err) {
    r->checkpoints.best = r->best;
    return file_hash(r->best_hash, r->best, err);
}

void run_event(Run *r, const json_t *event) {
    json_t *all = json_copy((json_t *)event);
    json_object_set_new(all, "seconds", json_real(log_seconds() - r->started));
    char *line = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    str_printf(&r->unwritten, "%s\n", line);
    free(line);
    // One write a line, so that a reader never sees half of one. A line behind one that is not there would be none of the log.
    if (!r->failed_errno) r->failed_errno = put_log(r, r->unwritten.data, r->unwritten.len);
    if (!r->failed_errno) str_clear(&r->unwritten);
    curves_add(&r->curves, all);
    json_decref(all);
}

int run_lost(const Run *r, Err *err) {
    errno = r->failed_errno;
    return errno ? err_errno(err, "%s/log.jsonl", r->folder) : curves_lost(&r->curves, err);
}

int run_forget(const char *folder, Err *err) {
    static const char *const file[] = {"metrics.json", "log.jsonl"}; // the first says that a run is done
    if (!file_is_folder(folder)) return 0;
    Checkpoints c = {.folder = file_join(folder, "checkpoints")};
    const int status = file_remove_all(folder, file, sizeof file / sizeof *file, err) || curves_forget(folder, err) ||
                       forget_model(&c, folder, err);
    free(c.folder);
    return status ? -1 : 0;
}

int run_card(const Options *o, const char *folder, Err *err) {
    json_t *configuration = options_to_json(o);
    json_object_del(configuration, "out"), json_object_del(configuration, "force"); // they say nothing of the model
    json_t *origin = json_pack("{s:s, s:o}", "command", o->command->name, "configuration", configuration);
    char *path = file_join(folder, CARD_ORIGIN);
    int status = json_save(path, origin, err) || card_write(folder, err) ? -1 : 0;
    json_decref(origin);
    free(path);
    return status;
}

void run_metric(Run *r, const char *name, json_t *value) {
    json_object_set_new(r->metrics, name, value);
}

int run_finish(Run *r, Err *err) {
    add_cost(r, r->metrics);
    return run_lost(r, err) || curves_close(&r->curves, err) || save_metrics(r, err) ? -1 : 0;
}

void run_close(Run *r) {
    if (!r->folder) return;
    checkpoints_close(&r->checkpoints); // its thread flushes the log
    if (r->log_fd >= 0) close(r->log_fd);
    curves_close(&r->curves, NULL);
    json_decref(r->metrics), json_decref(r->identity);
    hash_close(r->log_hash), str_free(&r->unwritten), free(r->best), free(r->folder);
    *r = (Run){0};
}
