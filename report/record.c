#include "report/record.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "rec/protocol.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_BYTES = 128 << 20, LIST_LIMIT = 1000 };
static const size_t results_bytes = (size_t)16 << 30; // some 700 for each row

// ---- values ------------------------------------------------------------------------------------------------------------

static const json_t *walk(const json_t *value, const char *name, va_list names) {
    for (; name && value; name = va_arg(names, const char *)) value = json_object_get(value, name);
    return value;
}

double record_number(const json_t *value, ...) {
    va_list names;
    va_start(names, value);
    const json_t *at = walk(value, va_arg(names, const char *), names);
    va_end(names);
    return json_is_number(at) ? json_number_value(at) : NAN;
}

const char *record_text(const json_t *value, ...) {
    va_list names;
    va_start(names, value);
    const json_t *at = walk(value, va_arg(names, const char *), names);
    va_end(names);
    return json_string_value(at);
}

int record_is_sasrec(const json_t *config) {
    const char *type = record_text(config, "model_type", NULL);
    return type && !strcmp(type, "sasrec");
}

// Beyond this a chart shows nothing, and differences would no longer be numbers.
static int drawable(double x) {
    return isfinite(x) && fabs(x) < 1e30;
}

int record_curve(const Record *r, const char *event, const char *name, double **x, double **y) {
    const size_t lines = json_array_size(r->log);
    int n = 0;
    *x = *y = NULL;
    if (!lines) return 0;
    *x = mem_alloc(lines, sizeof **x), *y = mem_alloc(lines, sizeof **y);
    for (size_t i = 0; i < lines; i++) {
        const json_t *line = json_array_get(r->log, i);
        const char *is = record_text(line, "event", NULL);
        const double step = record_number(line, "step", NULL), value = record_number(line, name, NULL);
        if (!is || strcmp(is, event) || !drawable(step) || !drawable(value)) continue;
        if (n && step < (*x)[n - 1]) n = 0; // a log that began anew
        (*x)[n] = step;
        (*y)[n++] = fabs(value) < 1e-30 ? 0 : value;
    }
    if (n == 0) {
        free(*x), free(*y);
        *x = *y = NULL;
    }
    return n;
}

// ---- files -------------------------------------------------------------------------------------------------------------

static char *path_of(const Record *r, const char *what, const char *split, const char *ending) {
    char name[64];
    snprintf(name, sizeof name, "%s%s%s%s", what, split ? "-" : "", split ? split : "", ending);
    return file_join(r->folder, name);
}

// An object from a file; 0 and NULL where there is no file.
static int read_object(json_t **object, const char *path, Err *err) {
    if (json_read_optional(object, path, RECORD_JSON_BYTES, err)) return -1;
    return !*object || json_is_object(*object) ? 0 : err_set(err, ERR_DATA, "%s: an object is expected", path);
}

// The objects of a file of lines. take(context, line, number): line is borrowed; -1 with err where it is not as it should be.
// A last line without its end is one that a stopped program left: passed over where `torn`.
static int read_lines(const char *path, size_t limit, int torn, int (*take)(void *, json_t *, int, Err *), void *context,
                      Err *err) {
    MapFile f;
    int number = 0, status = mapfile_open(&f, path, limit, err);
    if (status) return -1;
    for (size_t at = 0; at < f.bytes && status == 0; number++) {
        const char *end = memchr(f.data + at, '\n', f.bytes - at);
        const size_t len = end ? (size_t)(end - f.data) - at : f.bytes - at;
        if (!end && torn) break;
        json_t *line = json_parse_line(f.data + at, len, path, number + 1, err);
        if (line && !json_is_object(line))
            status = err_set(err, ERR_DATA, "%s: line %d: an object is expected", path, number + 1);
        else if (line)
            status = take(context, line, number, err);
        else
            status = -1;
        json_decref(line);
        at += len + 1;
    }
    mapfile_close(&f);
    return status;
}

static int take_event(void *context, json_t *line, int number, Err *err) {
    Record *r = context;
    (void)number, (void)err;
    json_array_append(r->log, line);
    return 0;
}

static int holds_sasrec(const Record *r) {
    json_t *config = json_read_in(r->folder, "config.json", RECORD_JSON_BYTES);
    const int holds = record_is_sasrec(config);
    json_decref(config);
    return holds;
}

static int open_training(Record *r, Err *err) {
    char *metrics = path_of(r, "metrics", NULL, ".json"), *log = path_of(r, "log", NULL, ".jsonl");
    int status = read_object(&r->metrics, metrics, err);
    if (status == 0 && r->metrics && file_stamp(log).bytes > LOG_BYTES) {
        log_warn("%s: over %d MiB, so its curves are left out", log, LOG_BYTES >> 20);
    } else if (status == 0 && r->metrics && file_exists(log)) {
        r->log = json_array();
        status = read_lines(log, LOG_BYTES, 1, take_event, r, err);
    }
    if (status == 0 && r->metrics) r->of_items = holds_sasrec(r);
    free(metrics), free(log);
    return status;
}

// ---- the evaluation ------------------------------------------------------------------------------------------------------

static int is_sample(const Record *r, int number) {
    const json_t *samples = json_object_get(r->evaluation, "samples");
    for (size_t i = 0; i < json_array_size(samples) && i < RECORD_SAMPLES; i++)
        if (record_number(json_array_get(samples, i), "row", NULL) == number) return 1;
    return 0;
}

static int take_result(void *context, json_t *line, int number, Err *err) {
    Record *r = context;
    const char *user = record_text(line, "user", NULL), *target = record_text(line, "target", NULL),
               *id = record_text(line, "target_id", NULL);
    const json_t *rank = json_object_get(line, "rank");
    const json_int_t at = json_integer_value(rank);
    if (number >= r->n)
        return err_set(err, ERR_DATA, "%s: results-*.jsonl: more than the %d rows of the evaluation", r->folder, r->n);
    if (!user || !target || !id || !(json_is_null(rank) || (json_is_integer(rank) && at >= 1 && at <= r->list)))
        return err_set(err, ERR_DATA, "%s: results-*.jsonl: line %d is no result of a row", r->folder, number + 1);
    r->rank[number] = (int)at;
    r->row[number] = (Row){.user = user, .target_title = target, .target_id = id};
    if (!is_sample(r, number)) json_object_del(line, "items");
    json_array_append(r->results, line);
    return 0;
}

// What everything below relies on.
static int check_evaluation(Record *r, const char *path, Err *err) {
    const double rows = record_number(r->evaluation, "rows", NULL), list = record_number(r->evaluation, "list", NULL);
    if (!(rows >= 1 && rows <= INT_MAX) || !(list >= 1 && list <= LIST_LIMIT) ||
        !json_is_object(json_object_get(r->evaluation, "title")) || !record_text(r->evaluation, "results_hash", NULL))
        return err_set(err, ERR_DATA, "%s: not what eval --save writes", path);
    r->n = (int)rows, r->list = (int)list;
    r->hashed = json_is_true(json_object_get(r->evaluation, "hashed"));
    return 0;
}

static int open_results(Record *r, const char *path, Err *err) {
    char hash[33];
    if (file_hash(hash, path, err)) return -1;
    if (strcmp(hash, record_text(r->evaluation, "results_hash", NULL)))
        return err_set(err, ERR_DATA, "%s: not of the evaluation beside it; eval --save makes both anew", path);
    r->results = json_array();
    // Every row of the file has a line of some bytes: no more memory than the file is large.
    MapFile f;
    if (mapfile_open(&f, path, results_bytes, err)) return -1;
    const size_t bytes = f.bytes;
    mapfile_close(&f);
    if ((size_t)r->n > bytes) return err_set(err, ERR_DATA, "%s: fewer than %d rows", path, r->n);
    r->row = mem_zalloc((size_t)r->n, sizeof *r->row);
    r->rank = mem_zalloc((size_t)r->n, sizeof *r->rank);
    if (read_lines(path, results_bytes, 0, take_result, r, err)) return -1;
    const int have = (int)json_array_size(r->results);
    return have == r->n ? 0 : err_set(err, ERR_DATA, "%s: %d rows, its evaluation has %d", path, have, r->n);
}

// Those of an evaluation that has slices; ones that cannot be are as none.
static void read_slices(Record *r) {
    const json_t *bits = json_object_get(r->evaluation, "row_slices");
    if ((int)json_array_size(bits) != r->n || !json_object_get(r->evaluation, "warm")) return;
    r->slices = mem_zalloc((size_t)r->n, sizeof *r->slices);
    for (int i = 0; i < r->n; i++) r->slices[i] = (int)(json_integer_value(json_array_get(bits, (size_t)i)) & 0xffff);
}

static int open_evaluation(Record *r, const char *split, Err *err) {
    char *path = path_of(r, "eval", split, ".json"), *results = path_of(r, "results", split, ".jsonl");
    int status = read_object(&r->evaluation, path, err);
    if (status == 0 && r->evaluation) status = check_evaluation(r, path, err) || open_results(r, results, err);
    if (status == 0 && r->n) read_slices(r);
    free(path), free(results);
    return status ? -1 : 0;
}

static char *without_slashes(const char *folder) {
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    return mem_strndup(folder, n);
}

// A folder may keep what was measured of another model than its own.
static char *measured_of(const Record *r) {
    const char *model = record_text(r->evaluation, "configuration", "model", NULL);
    const int holds_model = r->metrics || file_exists_in(r->folder, "config.json");
    if (!holds_model || !json_is_false(json_object_get(r->evaluation, "of_folder"))) return NULL;
    return file_last_part(model ? model : "another model");
}

// ---- together ------------------------------------------------------------------------------------------------------------

int record_open(Record *r, const char *folder, const char *split, Err *err) {
    *r = (Record){.folder = without_slashes(folder)};
    r->name = file_name(r->folder);
    if (!*r->name) r->name = r->folder; // "/"
    int status = file_is_folder(folder) ? 0 : err_set(err, ERR_IO, "%s: there is no such folder", folder);
    if (status == 0) status = open_training(r, err);
    if (status == 0) status = open_evaluation(r, split, err);
    if (status == 0 && !r->metrics && !r->evaluation)
        status =
            err_set(err, ERR_DATA, "%s: neither a training run (metrics.json) nor an evaluation (eval-%s.json of eval --save)",
                    folder, split);
    if (status == 0) r->measured = measured_of(r);
    if (status) record_close(r);
    return status;
}

void record_close(Record *r) {
    json_decref(r->metrics), json_decref(r->log), json_decref(r->evaluation), json_decref(r->results);
    free(r->row), free(r->rank), free(r->slices), free(r->measured), free(r->folder);
    *r = (Record){0};
}

const char *record_protocol(const json_t *evaluation) {
    const char *name = record_text(evaluation, "protocol", NULL);
    for (size_t i = 0; i < sizeof protocol_name / sizeof *protocol_name; i++)
        if (!name || !strcmp(name, protocol_name[i])) return protocol_name[i];
    return "unknown";
}

static int without_seen(const json_t *evaluation) {
    return json_is_true(json_object_get(json_object_get(evaluation, "configuration"), "exclude-seen"));
}

void record_put_among(Str *s, const json_t *evaluation) {
    const char *protocol = record_protocol(evaluation);
    if (strcmp(protocol, "full"))
        str_printf(s, "drawn candidates (%s)", protocol);
    else
        str_puts(s, "all items");
    if (without_seen(evaluation)) str_puts(s, " but those of the history");
}

// Of the titles that could be recommended, as every line of the results has it; NULL in those of older versions.
static const char *catalogue_of(const Record *r) {
    return record_text(json_array_get(r->results, 0), "catalogue", NULL);
}

static int differ(const char *a, const char *b) {
    return a && b && strcmp(a, b);
}

int record_same_train(const Record *a, const Record *b) {
    return !differ(record_text(a->evaluation, "data", "train.csv", NULL),
                   record_text(b->evaluation, "data", "train.csv", NULL));
}

void record_hash(char hex[RECORD_HASH + 1], const char *name) {
    char whole[33];
    hash_bytes(whole, name, strlen(name));
    snprintf(hex, RECORD_HASH + 1, "%.*s", RECORD_HASH, whole);
}

// Older records have eight digits.
static int is_same(const Record *a, const char *x, const Record *b, const char *y) {
    char hex[2][RECORD_HASH + 1];
    if (b->hashed && !a->hashed) record_hash(hex[0], x), x = hex[0];
    if (a->hashed && !b->hashed) record_hash(hex[1], y), y = hex[1];
    if (!a->hashed && !b->hashed) return !strcmp(x, y);
    const size_t n = strlen(x), m = strlen(y);
    return n > 0 && m > 0 && !strncmp(x, y, n < m ? n : m);
}

int record_comparable(const Record *a, const Record *b, Err *err) {
    if (strcmp(record_protocol(a->evaluation), record_protocol(b->evaluation)))
        return err_set(err, ERR_DATA, "%s was measured with --protocol %s, %s with %s", b->name, record_protocol(b->evaluation),
                       a->name, record_protocol(a->evaluation));
    const int unseen = without_seen(b->evaluation);
    if (without_seen(a->evaluation) != unseen)
        return err_set(err, ERR_DATA, "%s was measured with --exclude-seen, %s without", unseen ? b->name : a->name,
                       unseen ? a->name : b->name);
    if (differ(catalogue_of(a), catalogue_of(b)))
        return err_set(err, ERR_DATA, "%s was measured with another catalogue than %s", b->name, a->name);
    if (a->n != b->n)
        return err_set(err, ERR_DATA, "%s has %d rows, %s %d: evaluate both with the same --split, --max-rows and --sample",
                       b->name, b->n, a->name, a->n);
    for (int i = 0; i < a->n; i++)
        if (!is_same(a, a->row[i].user, b, b->row[i].user) || !is_same(a, a->row[i].target_title, b, b->row[i].target_title) ||
            !is_same(a, a->row[i].target_id, b, b->row[i].target_id))
            return err_set(err, ERR_DATA, "row %d of %s is not that of %s", i, b->name, a->name);
    return 0;
}
