#include "data/output.h"
#include "base/arena.h"
#include "data/dataset.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const output_name[OUTPUTS] = {"train.csv", "valid.csv", "test.csv", "info.txt"};

int output_check(const char *folder, Err *err) {
    if (!file_exists(folder)) return 0;
    DIR *dir = opendir(folder);
    if (!dir) return err_errno(err, "%s", folder);
    int files = 0;
    for (struct dirent *e; (e = readdir(dir));)
        files += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !file_is_temporary(e->d_name);
    closedir(dir);
    json_t *json = NULL;
    int ours = files > 0 && dataset_json(&json, folder, NULL) == 1;
    json_decref(json);
    return files == 0 || ours
               ? 0
               : err_set(err, ERR_USAGE, "%s: the folder is not empty and holds no dataset.json of this program; name another",
                         folder);
}

int output_open(Output *o, const char *folder, unsigned present, Err *err) {
    *o = (Output){.folder = folder, .present = present};
    for (int i = 0; i < OUTPUTS; i++) o->file[i].fd = -1;
    int status = file_make_folder(folder, err);
    for (int i = 0; i < OUTPUTS && status == 0; i++) {
        char *path = file_join(folder, output_name[i]);
        if (present & 1u << i) status = outfile_open(&o->file[i], path, err);
        free(path);
    }
    return status;
}

static int save_report(Output *o, json_t *report, Err *err) {
    char hex[33], *path = file_join(o->folder, "dataset.json");
    json_t *files = json_object();
    for (int i = 0; i < OUTPUTS; i++) {
        if (!(o->present & 1u << i)) continue;
        outfile_hash(&o->file[i], hex);
        json_object_set_new(files, output_name[i], json_string(hex));
    }
    json_object_set_new(report, "files", files);
    const int status = json_save(path, report, err);
    free(path);
    return status;
}

// With dataset.json in its place, files of before or none are seen to be none of its own, and the folder is one to write again.
int output_commit(Output *o, json_t *report, Err *err) {
    int status = 0;
    for (int i = 0; i < OUTPUTS && status == 0; i++)
        if (o->present & 1u << i) status = outfile_flush(&o->file[i], err);
    if (status == 0) status = save_report(o, report, err);
    for (int i = 0; i < OUTPUTS && status == 0; i++) {
        if (o->present & 1u << i) {
            status = outfile_commit(&o->file[i], err);
        } else { // one of an earlier run would be taken for one of ours
            char *path = file_join(o->folder, output_name[i]);
            unlink(path);
            free(path);
        }
    }
    return status;
}

void output_close(Output *o) {
    for (int i = 0; i < OUTPUTS; i++) outfile_abandon(&o->file[i]);
}
