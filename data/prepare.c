#include "data/prepare.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"
#include "data/columns.h"
#include "data/dataset.h"
#include "data/interactions.h"
#include "data/split.h"

#include <dirent.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HISTORY_LIMIT = 1000, K_CORE_LIMIT = 1000000 };

static const char *const out_file[SPLITS + 1] = {"train.csv", "valid.csv", "test.csv", "info.txt"};
static const char *const split_name[SPLITS] = {"train", "valid", "test"};

typedef struct Source {
    PrepareFormat format;
    char *log_path, *item_path; // u.data and u.item, or NAME.inter and NAME.item
    char *category;             // the phrase to use where none is given
} Source;

// ---- the input ----

static int ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

// The one file NAME.inter of a folder.
static char *find_inter(const char *folder, Err *err) {
    DIR *dir = opendir(folder);
    if (!dir) {
        err_errno(err, "%s", folder);
        return NULL;
    }
    char *found = NULL;
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!ends_with(e->d_name, ".inter")) continue;
        free(found);
        found = file_join(folder, e->d_name);
        n++;
    }
    closedir(dir);
    if (n == 1) return found;
    free(found);
    err_set(err, ERR_DATA, n ? "%s: several .inter files; name one of them" : "%s: neither u.data nor a .inter file", folder);
    return NULL;
}

static int find_log(Source *s, const PrepareOptions *o, Err *err) {
    if (!file_exists(o->input)) return err_set(err, ERR_IO, "%s: no such file or folder", o->input);
    if (!file_is_folder(o->input)) {
        s->log_path = mem_strndup(o->input, strlen(o->input));
        return 0;
    }
    char *u_data = file_join(o->input, "u.data");
    if (o->format == PREPARE_MOVIELENS_100K || (o->format == PREPARE_AUTO && file_exists(u_data))) {
        s->log_path = u_data;
        return 0;
    }
    free(u_data);
    s->log_path = find_inter(o->input, err);
    return s->log_path ? 0 : -1;
}

// `path` with what follows its last slash replaced.
static char *beside(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash + 1 - path) : 0, m = strlen(name);
    char *out = mem_alloc(n + m + 1, 1);
    memcpy(out, path, n);
    memcpy(out + n, name, m + 1);
    return out;
}

static char *folder_name(const char *path) {
    char *real = realpath(path, NULL), *copy = real ? real : mem_strndup(path, strlen(path));
    const char *name = basename(dirname(copy));
    char *out = mem_strndup(name, strlen(name));
    free(copy);
    return out;
}

static int source_find(Source *s, const PrepareOptions *o, Err *err) {
    if (find_log(s, o, err)) return -1;
    int recbole = ends_with(s->log_path, ".inter");
    s->format = o->format != PREPARE_AUTO ? o->format : recbole ? PREPARE_RECBOLE : PREPARE_MOVIELENS_100K;
    if ((s->format == PREPARE_RECBOLE) != recbole || (!recbole && !ends_with(s->log_path, "u.data")))
        return err_set(err, ERR_USAGE, "%s: a MovieLens-100K log is named u.data, a RecBole log NAME.inter", s->log_path);
    if (recbole) {
        size_t stem = strlen(s->log_path) - strlen("inter");
        s->item_path = mem_alloc(stem + sizeof "item", 1);
        memcpy(s->item_path, s->log_path, stem);
        memcpy(s->item_path + stem, "item", sizeof "item");
    } else {
        s->item_path = beside(s->log_path, "u.item");
    }
    char *name = folder_name(s->log_path);
    int movies = !recbole || strncmp(name, "ml-", 3) == 0;
    s->category = movies ? mem_strndup("movie", 5) : mem_strndup(name, strlen(name));
    free(name);
    return 0;
}

static void source_free(Source *s) {
    free(s->log_path), free(s->item_path), free(s->category);
}

static int source_read(Interactions *x, const Source *s, int strict, Err *err) {
    MapFile log = {0}, item = {0};
    int status = mapfile_open(&item, s->item_path, 0, err);
    if (status) {
        err_prefix(err, "the items' titles");
    } else if ((status = mapfile_open(&log, s->log_path, 0, err)) == 0) {
        InteractionsFile l = {log.data, s->log_path, log.bytes}, i = {item.data, s->item_path, item.bytes};
        status = s->format == PREPARE_RECBOLE ? interactions_recbole(x, &l, &i, strict, err)
                                              : interactions_movielens(x, &l, &i, strict, err);
    }
    mapfile_close(&log);
    mapfile_close(&item);
    return status;
}

// ---- the output ----

static int is_leftover(const char *name) {
    const char *temporary = strstr(name, ".tmp-");
    return temporary && temporary[5 + strspn(temporary + 5, "0123456789")] == 0;
}

// Nobody's files are overwritten but our own.
static int check_out(const char *out, Err *err) {
    if (!file_exists(out)) return 0;
    DIR *dir = opendir(out);
    if (!dir) return err_errno(err, "%s", out);
    int files = 0;
    for (struct dirent *e; (e = readdir(dir));)
        files += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !is_leftover(e->d_name);
    closedir(dir);
    json_t *json = NULL;
    int ours = files > 0 && dataset_json(&json, out, NULL) == 1;
    json_decref(json);
    return files == 0 || ours
               ? 0
               : err_set(err, ERR_USAGE, "%s: the folder is not empty and holds no dataset.json of this program; name another",
                         out);
}

static void write_rows(OutFile *f, const Split *s, const Interactions *x, int split) {
    const char *asin[HISTORY_LIMIT], *title[HISTORY_LIMIT];
    int64_t item[HISTORY_LIMIT], timestamp[HISTORY_LIMIT];
    double rating[HISTORY_LIMIT];
    unsigned present = x->has_rating ? COLUMNS_ALL : COLUMNS_ALL & ~COLUMNS_RATINGS;
    Str text = {0};
    columns_put_header(&text, present);
    for (size_t r = s->begin[split]; r < s->begin[split + 1]; r++) {
        int n = s->row[r].history;
        const Event *target = &s->event[s->row[r].event], *e = target - n;
        for (int i = 0; i < n; i++, e++) {
            asin[i] = x->items.text[e->item];
            title[i] = x->titles.text[x->title[e->item]];
            item[i] = s->number[e->item];
            timestamp[i] = e->timestamp;
            rating[i] = e->rating;
        }
        ColumnsRow row = {.user = x->users.text[target->user],
                          .asin = x->items.text[target->item],
                          .title = x->titles.text[x->title[target->item]],
                          .item = s->number[target->item],
                          .timestamp = target->timestamp,
                          .rating = target->rating,
                          .n = n,
                          .history_asin = asin,
                          .history_title = title,
                          .history_item = item,
                          .history_timestamp = timestamp,
                          .history_rating = rating};
        columns_put_row(&text, &row, present);
        outfile_write(f, text.data, text.len);
        str_clear(&text);
    }
    outfile_write(f, text.data, text.len); // the header of a split without rows
    str_free(&text);
}

static void write_info(OutFile *f, const Split *s, const Interactions *x) {
    for (int i = 0; i < x->items.n; i++)
        if (s->number[i] >= 0) outfile_printf(f, "%s\t%d\n", x->titles.text[x->title[i]], (int)s->number[i]);
}

// All files are written beside their places before the first takes its place: a disk that fills up meanwhile leaves an
// earlier folder as it was.
static int write_files(const char *folder, const Split *s, const Interactions *x, Err *err) {
    OutFile file[SPLITS + 1];
    int opened = 0, status = 0;
    for (; opened <= SPLITS && status == 0; opened++) {
        char *path = file_join(folder, out_file[opened]);
        status = outfile_open(&file[opened], path, err);
        free(path);
        if (status) break;
        if (opened < SPLITS)
            write_rows(&file[opened], s, x, opened);
        else
            write_info(&file[opened], s, x);
    }
    for (int i = 0; i < opened && status == 0; i++) status = outfile_commit(&file[i], err);
    for (int i = 0; i < opened; i++) outfile_abandon(&file[i]);
    return status;
}

// ---- the report ----

static void put(json_t *o, const char *name, int64_t count) {
    json_object_set_new(o, name, json_integer(count));
}

// A new object inside of another.
static json_t *put_object(json_t *o, const char *name) {
    json_t *inside = json_object();
    json_object_set_new(o, name, inside);
    return inside;
}

static void put_splits(json_t *o, const char *name, const int64_t count[SPLITS], int first) {
    json_t *inside = put_object(o, name);
    for (int s = first; s < SPLITS; s++) put(inside, split_name[s], count[s]);
}

static void report_dropped(json_t *report, const Split *s, const Interactions *x) {
    json_t *dropped = put_object(report, "dropped"), *o = put_object(dropped, "interactions");
    put(o, "bad_line", x->bad_lines);
    put(o, "unknown_item", x->unknown_item);
    put(o, "untitled_item", s->untitled);
    put(o, "low_rating", s->low_rating);
    put(o, "too_few", s->too_few);
    o = put_object(dropped, "items");
    put(o, "bad_line", x->bad_item_lines);
    put(o, "untitled", x->untitled_items);
    put(o, "not_left", x->items.n - s->items - x->untitled_items);
    o = put_object(dropped, "users");
    put(o, "not_left", x->users.n - s->users);
    put(o, "without_row", s->users_without_row);
}

static void report_counts(json_t *report, const Split *s, const Interactions *x) {
    int64_t rows[SPLITS];
    for (int i = 0; i < SPLITS; i++) rows[i] = (int64_t)(s->begin[i + 1] - s->begin[i]);
    json_t *o = put_object(report, "read");
    put(o, "interactions", x->lines);
    put(o, "users", x->users.n);
    put(o, "items", x->items.n);
    json_object_set_new(o, "ratings", json_boolean(x->has_rating));
    report_dropped(report, s, x);
    o = put_object(report, "counts");
    put(o, "users", s->users);
    put(o, "items", s->items);
    put(o, "interactions", (int64_t)s->events);
    put_splits(o, "rows", rows, SPLIT_TRAIN);
}

static void report_statistics(json_t *report, const Split *s, const Interactions *x) {
    SplitStatistics t;
    split_statistics(&t, s, x);
    json_t *o = put_object(report, "repeated");
    put(o, "titles", t.repeated_titles);
    put(o, "items_of_these", t.repeated_title_items);
    put(o, "user_item_pairs", t.repeated_pairs);
    o = put_object(report, "ties");
    put_splits(o, "rows", t.tied_rows, SPLIT_TRAIN);
    put(o, "users_in_last_two", t.last_two_tied);
    json_object_set_new(o, "valid_begins_inside", json_boolean(t.cut_tied[SPLIT_VALID]));
    json_object_set_new(o, "test_begins_inside", json_boolean(t.cut_tied[SPLIT_TEST]));
    o = put_object(report, "cold");
    put_splits(o, "rows", t.cold_rows, SPLIT_VALID);
    put_splits(o, "items", t.cold_items, SPLIT_VALID);
    o = put_object(report, "leakage");
    put(o, "train_rows_after_first_test", t.late_train_rows);
    json_object_set_new(o, "share", json_real((double)t.late_train_rows / (double)s->begin[SPLIT_VALID]));
}

static json_t *report_make(const PrepareOptions *o, const Source *source, const Split *s, const Interactions *x) {
    json_t *report = json_pack("{s:s, s:i, s:s, s:{s:s}, s:{s:i, s:i, s:f, s:s, s:b}}", "format", DATASET_FORMAT, "version",
                               DATASET_VERSION, "category", o->category ? o->category : source->category, "source", "format",
                               source->format == PREPARE_RECBOLE ? "recbole" : "movielens-100k", "options", "k_core", o->k_core,
                               "history", o->history, "min_rating", o->min_rating, "split", o->split, "strict", o->strict != 0);
    CHECK(report);
    report_counts(report, s, x);
    report_statistics(report, s, x);
    return report;
}

static int add_hash(json_t *o, const char *name, const char *path, Err *err) {
    char hex[33];
    if (file_hash(hex, path, err)) return -1;
    json_t *key = json_string(name); // a file name need not be UTF-8, JSON must
    json_object_set_new(o, key ? name : "(not UTF-8)", json_string(hex));
    json_decref(key);
    return 0;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int report_hashes(json_t *report, const PrepareOptions *o, const Source *source, Err *err) {
    json_t *in = put_object(json_object_get(report, "source"), "files"), *out = put_object(report, "files");
    if (add_hash(in, name_of(source->log_path), source->log_path, err)) return -1;
    if (add_hash(in, name_of(source->item_path), source->item_path, err)) return -1;
    for (int i = 0; i <= SPLITS; i++) {
        char *path = file_join(o->out, out_file[i]);
        int status = add_hash(out, out_file[i], path, err);
        free(path);
        if (status) return -1;
    }
    return 0;
}

static void log_counts(const json_t *report, const char *key) {
    char *text = json_dumps(json_object_get(report, key), JSON_COMPACT);
    CHECK(text);
    log_info("%s: %s", key, text);
    free(text);
}

static void report_log(const json_t *report, const PrepareOptions *o) {
    static const char *const keys[] = {"read", "dropped", "counts", "repeated", "ties", "cold"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) log_counts(report, keys[i]);
    double late = json_number_value(json_object_get(json_object_get(report, "leakage"), "share"));
    if (late > 0)
        log_warn("%.1f %% of the training rows are later than the first test target (split \"%s\")", 100 * late, o->split);
}

// ---- all of it ----

static int check_options(const PrepareOptions *o, Err *err) {
    if (!o->input || !o->out) return err_set(err, ERR_USAGE, "an input and a folder to write are needed");
    if (o->k_core < 0 || o->k_core > K_CORE_LIMIT)
        return err_set(err, ERR_USAGE, "k-core %d: it is 0 to %d", o->k_core, K_CORE_LIMIT);
    if (o->history < 1 || o->history > HISTORY_LIMIT)
        return err_set(err, ERR_USAGE, "history %d: it is 1 to %d", o->history, HISTORY_LIMIT);
    if (!(o->min_rating >= 0 && isfinite(o->min_rating)))
        return err_set(err, ERR_USAGE, "least rating %g: it is 0 or more", o->min_rating);
    if (!o->split || (strcmp(o->split, "time") != 0 && strcmp(o->split, "leave-one-out") != 0))
        return err_set(err, ERR_USAGE, "split \"%.32s\": it is time or leave-one-out", o->split ? o->split : "");
    if (o->category && dataset_check_category(o->category, ERR_USAGE, err)) return -1;
    return check_out(o->out, err);
}

static int split_and_write(const PrepareOptions *o, const Source *source, Interactions *x, json_t **report, Err *err) {
    SplitOptions how = {.k_core = o->k_core,
                        .history = o->history,
                        .min_rating = o->min_rating,
                        .leave_one_out = strcmp(o->split, "leave-one-out") == 0};
    Split s = {0};
    json_t *made = NULL;
    int status = 0;
    if (o->min_rating > 0 && !x->has_rating)
        return err_set(err, ERR_USAGE, "%s: no ratings, so none can be asked for", source->log_path);
    split_make(&s, x, &how);
    if (s.begin[SPLITS] > INT_MAX) status = err_set(err, ERR_DATA, "%s: more than %d rows", source->log_path, INT_MAX);
    if (s.begin[SPLIT_VALID] == 0)
        status = err_set(err, ERR_DATA, "%s: no row is left to train on (%zu of %lld interactions after the %d-core)",
                         source->log_path, s.events, (long long)x->lines, o->k_core);
    if (status == 0) {
        made = report_make(o, source, &s, x);
        report_log(made, o);
        status = file_make_folder(o->out, err);
    }
    if (status == 0) status = write_files(o->out, &s, x, err);
    if (status == 0) status = report_hashes(made, o, source, err);
    if (status == 0) {
        char *path = file_join(o->out, "dataset.json");
        status = json_save(path, made, err);
        free(path);
    }
    if (status == 0 && report) *report = json_incref(made);
    json_decref(made);
    split_free(&s);
    return status;
}

int prepare_run(const PrepareOptions *o, json_t **report, Err *err) {
    if (report) *report = NULL;
    if (check_options(o, err)) return -1;
    Source source = {0};
    Interactions x = {0};
    int status = source_find(&source, o, err);
    if (status == 0) status = source_read(&x, &source, o->strict, err);
    if (status == 0) status = split_and_write(o, &source, &x, report, err);
    interactions_free(&x);
    source_free(&source);
    return status;
}
