#include "app/experiment_records.h"
#include "app/experiment_run.h"
#include "base/arena.h"
#include "base/file.h"
#include "report/record.h"

#include <stdint.h>
#include <stdlib.h>

static int copy(const char *from, const char *to, const char *name, Err *err) {
    char *source = file_join(from, name), *target = file_join(to, name);
    MapFile f;
    OutFile out;
    int status = file_exists(source) ? 0 : 1; // a data folder has no log
    if (status == 0) status = mapfile_open(&f, source, SIZE_MAX, err);
    if (status == 0) {
        status = outfile_open(&out, target, err);
        if (status == 0) outfile_write(&out, f.data, f.bytes), status = outfile_commit(&out, err);
        mapfile_close(&f);
    }
    free(source), free(target);
    return status < 0 ? -1 : 0;
}

static int keep_results(const Record *r, const char *folder, const char *split, char hash[33], Err *err) {
    enum { FLAGS = JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9) };
    char name[64];
    snprintf(name, sizeof name, "results-%s.jsonl", split);
    char *path = file_join(folder, name);
    OutFile out;
    int status = outfile_open(&out, path, err);
    for (int i = 0; i < r->n && status == 0; i++) { // a record has the lists of its samples alone
        char *line = json_dumps(json_array_get(r->results, (size_t)i), FLAGS);
        outfile_printf(&out, "%s\n", line);
        free(line);
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
        if (status == 0) json_object_set_new(r.evaluation, "results_hash", json_string(hash));
        if (status == 0) status = json_save(target, r.evaluation, err);
        record_close(&r);
    }
    free(source), free(target);
    return status;
}

static int keep_run(const PlanRun *r, const char *folder, Err *err) {
    static const char *const file[] = {"metrics.json", "log.jsonl"}, *const split[] = {"test", "valid", "train"};
    char *to = file_join(folder, file_name(r->folder));
    int status = file_make_folder(to, err);
    for (int i = 0; i < 2 && status == 0; i++) status = copy(r->folder, to, file[i], err);
    for (int i = 0; i < 3 && status == 0; i++) status = keep_evaluation(r->folder, to, split[i], err);
    if (status == 0) status = copy(r->folder, to, "step.json", err); // the last: it says that all is there
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
