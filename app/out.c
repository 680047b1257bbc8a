#include "app/out.h"
#include "base/arena.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int folder_is_empty(const char *path, Err *err) {
    DIR *d = opendir(path);
    if (!d) return err_errno(err, "%s: cannot be listed", path);
    int empty = 1;
    for (struct dirent *e; empty && (e = readdir(d));) // what an ended command left is nobody's
        empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || file_is_temporary(e->d_name);
    closedir(d);
    return empty;
}

// What is not there is made when it is time; the folder in which that begins must be one.
static int check_parent(const char *path, Err *err) {
    char *parent = mem_strndup(path, strlen(path));
    size_t n = strlen(parent);
    do {
        while (n > 1 && parent[n - 1] == '/') n--;
        while (n > 0 && parent[n - 1] != '/') n--;
        while (n > 1 && parent[n - 1] == '/') n--;
        parent[n] = 0;
    } while (n > 0 && !file_exists(parent));
    const char *nearest = n ? parent : ".";
    const int ok = file_is_folder(nearest) && access(nearest, W_OK) == 0;
    if (!ok) err_set(err, ERR_IO, "%s: cannot be made: %s is no folder that can be written", path, nearest);
    free(parent);
    return ok ? 0 : -1;
}

// What folders of models, data and runs are read from.
static int is_of_folder(const char *path) {
    static const char *const name[] = {"config.json",    "generation_config.json",
                                       "tokenizer.json", "tokenizer_config.json",
                                       "items.json",     "metrics.json",
                                       "log.jsonl",      "dataset.json",
                                       "info.txt",       "train.csv",
                                       "valid.csv",      "test.csv"};
    const char *last = file_name(path);
    int is = file_ends_with(last, ".safetensors");
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) is |= !strcmp(last, name[i]);
    return is;
}

int out_check_file(const Options *o, const char *path, Err *err) {
    const char *const input[] = {o->model, o->data, o->users, o->against};
    if (outfile_check(path, err) || check_parent(path, err)) return -1;
    if (o->index && file_is_same(o->index, path))
        return err_set(err, ERR_USAGE, "%s: where --index keeps the catalogue, and another file is to be written", path);
    if (!file_exists(path)) return 0;
    for (size_t i = 0; i < sizeof input / sizeof *input; i++)
        if (input[i] && file_is_same(input[i], path))
            return err_set(err, ERR_USAGE, "%s: the input itself, where a file is to be written", path);
    if (is_of_folder(path))
        return err_set(err, ERR_USAGE, "%s: there already, and by its name a part of a model, of data or of a run", path);
    return 0;
}

int out_make_parent(const char *path, Err *err) {
    const char *end = strrchr(path, '/');
    if (!end || end == path) return 0;
    char *parent = mem_strndup(path, (size_t)(end - path));
    const int status = file_make_folder(parent, err);
    free(parent);
    return status;
}

enum { TRAINS = CMD_SFT | CMD_RL | CMD_SASREC };

// A log, or a checkpoint whose log was lost.
static int holds_run(const char *folder) {
    return file_exists_in(folder, "log.jsonl") || file_exists_in(folder, "checkpoints/latest");
}

int out_check_folder(const Options *o, Err *err) {
    struct stat out;
    if (stat(o->out, &out)) {
        if (errno != ENOENT && errno != ENOTDIR) return err_errno(err, "%s", o->out);
        return check_parent(o->out, err);
    }
    const char *const input[] = {o->model, o->data};
    for (int i = 0; i < 2; i++)
        if (input[i] && file_is_same(input[i], o->out)) return err_set(err, ERR_USAGE, "--out %s is the input itself", o->out);
    if (!S_ISDIR(out.st_mode)) return err_set(err, ERR_IO, "%s: a folder is needed here, and this is none", o->out);
    int empty = folder_is_empty(o->out, err);
    if (empty < 0) return -1;
    if (!empty && o->resume && !o->force && !holds_run(o->out))
        return err_set(err, ERR_USAGE, "--out %s is not empty, and holds no training run that could --resume", o->out);
    if (!empty && !o->force && !o->resume && (o->command->bit & TRAINS) && holds_run(o->out))
        return err_set(err, ERR_USAGE, "--out %s holds a training run: --resume goes on with it, --force begins anew", o->out);
    if (!empty && !o->force && !o->resume)
        return err_set(err, ERR_USAGE, "--out %s is not empty; --force writes into it", o->out);
    return 0;
}
