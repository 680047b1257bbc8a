#include "app/experiment_records.h"
#include "app/experiment_run.h"
#include "base/arena.h"
#include "base/file.h"
#include "report/record.h"

#include <stdlib.h>
#include <string.h>

typedef int Put(const char *from, const char *to, Err *err);

// The table takes means over the steps of RL alone; those of other trainings are most of what their logs hold.
static int put_without_steps(const char *from, const char *to, Err *err) {
    static const char but[] = "{\"event\":\"step\"";
    MapFile f;
    OutFile out;
    if (mapfile_open(&f, from, 0, err)) return -1;
    int status = outfile_open(&out, to, err);
    for (size_t at = 0, end; status == 0 && at < f.bytes; at = end) {
        const char *stop = memchr(f.data + at, '\n', f.bytes - at);
        end = stop ? (size_t)(stop - f.data) + 1 : f.bytes;
        if (end - at < sizeof but || memcmp(f.data + at, but, sizeof but - 1) != 0) outfile_write(&out, f.data + at, end - at);
    }
    if (status == 0) status = outfile_commit(&out, err);
    mapfile_close(&f);
    return status;
}

// Not every run has each file.
static int keep_file(const char *from, const char *to, const char *name, Put *put, Err *err) {
    char *source = file_join(from, name), *target = file_join(to, name);
    const int status = file_exists(source) ? put(source, target, err) : 0;
    free(source), free(target);
    return status;
}

static void hide(json_t *line, const char *name) {
    char hex[RECORD_HASH + 1];
    record_hash(hex, json_string_value(json_object_get(line, name)));
    json_object_set_new(line, name, json_string(hex));
}

static int keep_results(const Record *r, const char *folder, const char *split, char hash[33], Err *err) {
    enum { FLAGS = JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9) };
    char name[64];
    snprintf(name, sizeof name, "results-%s.jsonl", split);
    char *path = file_join(folder, name);
    OutFile out;
    int status = outfile_open(&out, path, err);
    for (int i = 0; i < r->n && status == 0; i++) {
        json_t *line = json_array_get(r->results, (size_t)i);
        if (!r->hashed) hide(line, "user"), hide(line, "target"), hide(line, "target_id");
        json_object_del(line, "items");
        char *text = json_dumps(line, FLAGS);
        outfile_printf(&out, "%s\n", text);
        free(text);
    }
    if (status == 0) outfile_hash(&out, hash), status = outfile_commit(&out, err);
    free(path);
    return status;
}

static int keep_evaluation(const char *from, const char *to, const char *split, Err *err) {
    char name[64], hash[33];
    snprintf(name, sizeof name, "eval-%s.json", split);
    char *source = file_join(from, name), *target = file_join(to, name);
    Record r = {0};
    int status = 0;
    if (file_exists(source)) {
        status = record_open(&r, from, split, err) || keep_results(&r, to, split, hash, err) ? -1 : 0;
        json_object_del(r.evaluation, "samples");
        json_object_set_new(r.evaluation, "hashed", json_true());
        if (status == 0) json_object_set_new(r.evaluation, "results_hash", json_string(hash));
        if (status == 0) status = json_save(target, r.evaluation, err);
        record_close(&r);
    }
    free(source), free(target);
    return status;
}

static int keep_run(const PlanRun *r, const char *folder, Err *err) {
    static const char *const split[] = {"test", "valid", "train"};
    char *to = file_join(folder, file_name(r->folder));
    int status = file_make_folder(to, err);
    if (status == 0) status = keep_file(r->folder, to, "metrics.json", file_copy, err);
    if (status == 0)
        status = keep_file(r->folder, to, "log.jsonl", r->step->command->bit == CMD_RL ? file_copy : put_without_steps, err);
    for (int i = 0; i < 3 && status == 0; i++) status = keep_evaluation(r->folder, to, split[i], err);
    if (status == 0) status = keep_file(r->folder, to, "step.json", file_copy, err); // the last: it says that all is there
    free(to);
    return status;
}

int experiment_records(const Plan *p, const char *folder, Err *err) {
    double *seconds = mem_alloc((size_t)p->runs + 1, sizeof *seconds);
    int status = file_make_folder(folder, err), kept = 0;
    experiment_run_look(p, seconds);
    for (int i = 0; i < p->runs && status == 0; i++)
        if (seconds[i] >= 0) status = keep_run(&p->run[i], folder, err), kept++;
    free(seconds);
    return status ? -1 : kept;
}
