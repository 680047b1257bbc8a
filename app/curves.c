#include "app/curves.h"
#include "base/arena.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char events_prefix[] = "events.out.tfevents."; // TensorBoard looks for "tfevents"

// A file that goes on under its old name would show a watching TensorBoard nothing new; a later name does.
static int remove_old_events(const char *folder, Err *err) {
    DIR *d = opendir(folder);
    int status = d ? 0 : err_errno(err, "%s: cannot be listed", folder);
    for (struct dirent *e; status == 0 && (e = readdir(d));) {
        if (strncmp(e->d_name, events_prefix, sizeof events_prefix - 1)) continue;
        char *path = file_join(folder, e->d_name);
        if (unlink(path)) status = err_errno(err, "%s: cannot be removed", path);
        free(path);
    }
    if (d) closedir(d);
    return status;
}

int curves_forget(const char *folder, Err *err) {
    static const char *const csv[] = {"curves.csv"};
    return remove_old_events(folder, err) || file_remove_all(folder, csv, 1, err) ? -1 : 0;
}

static void write_csv(Curves *c) {
    if (!c->failed_errno) c->failed_errno = file_put(c->csv_fd, c->csv.data, c->csv.len);
    str_clear(&c->csv);
}

void curves_add(Curves *c, const json_t *line) {
    const char *event = json_string_value(json_object_get(line, "event"));
    const json_int_t step = json_integer_value(json_object_get(line, "step"));
    const double seconds = json_number_value(json_object_get(line, "seconds"));
    const char *name;
    json_t *value;
    if (!event) return;
    events_begin(&c->events, c->began + seconds, step);
    json_object_foreach((json_t *)line, name, value) {
        const double x = json_number_value(value);
        if (!json_is_number(value) || !isfinite(x) || !strcmp(name, "step") || !strcmp(name, "seconds")) continue;
        char tag[96];
        snprintf(tag, sizeof tag, "%s/%s", strcmp(event, "step") ? event : "train", name);
        events_value(&c->events, tag, (float)x);
        str_printf(&c->csv, "%s,%lld,%.9g,%.9g\n", tag, (long long)step, seconds, x);
    }
    events_end(&c->events);
    if (c->csv.len) write_csv(c);
}

// Lines of the log are ours. One that is no JSON is the torn end of a program that was killed: it is no event.
static int add_log(Curves *c, const char *folder, Err *err) {
    MapFile f;
    char *path = file_join(folder, "log.jsonl");
    int status = file_exists(path) ? mapfile_open(&f, path, 0, err) : 1;
    if (status == 0) {
        for (size_t at = 0; at < f.bytes;) {
            const char *end = memchr(f.data + at, '\n', f.bytes - at);
            const size_t len = end ? (size_t)(end - f.data) - at : f.bytes - at;
            json_t *line = json_parse(f.data + at, len, path, NULL);
            if (line) curves_add(c, line);
            json_decref(line);
            at += len + 1;
        }
        mapfile_close(&f);
    }
    free(path);
    return status < 0 ? -1 : 0;
}

static int open_csv(Curves *c, Err *err) {
    c->csv_fd = open(c->csv_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    if (c->csv_fd < 0) return err_errno(err, "%s: cannot be written", c->csv_path);
    str_puts(&c->csv, "curve,step,seconds,value\n");
    write_csv(c);
    return 0;
}

int curves_open(Curves *c, const char *folder, double began, Err *err) {
    char name[64];
    snprintf(name, sizeof name, "%s%lld.latentr3", events_prefix, (long long)began);
    *c = (Curves){
        .csv_fd = -1, .began = began, .csv_path = file_join(folder, "curves.csv"), .events_path = file_join(folder, name)};
    if (remove_old_events(folder, err) || open_csv(c, err) || events_open(&c->events, c->events_path, began, err) ||
        add_log(c, folder, err)) {
        curves_close(c, NULL);
        return -1;
    }
    return 0;
}

int curves_lost(const Curves *c, Err *err) {
    errno = c->failed_errno ? c->failed_errno : c->events.failed_errno;
    return errno ? err_errno(err, "%s", c->failed_errno ? c->csv_path : c->events_path) : 0;
}

int curves_close(Curves *c, Err *err) {
    if (!c->csv_path) return 0;
    int status = events_close(&c->events, c->events_path, err);
    if (c->csv_fd >= 0 && close(c->csv_fd) && !c->failed_errno) c->failed_errno = errno;
    errno = c->failed_errno;
    if (status == 0 && c->failed_errno) status = err_errno(err, "%s", c->csv_path);
    free(c->csv_path), free(c->events_path);
    str_free(&c->csv);
    *c = (Curves){.csv_fd = -1};
    return status;
}
