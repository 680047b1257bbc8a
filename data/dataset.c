#include "data/dataset.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/utf8.h"

#include <dirent.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_BYTES_LIMIT = 16 << 20, CATEGORY_LIMIT = 128 };

static const char INFO[] = "info.txt", NEXT[] = "info.txt.next"; // see dataset_save_items

// ---- where the files lie ----

static int is_text(const struct dirent *e) {
    const char *dot = strrchr(e->d_name, '.');
    return e->d_name[0] != '.' && dot && strcmp(dot, ".txt") == 0;
}

// What the files of the folder's one category are called in the layout of folders, without the ".txt" or ".csv"; NULL: it has
// none, or several.
static char *category_name(const char *folder) {
    struct dirent **entry;
    char *info = file_join(folder, "info"), *name = NULL;
    const int n = scandir(info, &entry, is_text, alphasort);
    if (n == 1) name = mem_strndup(entry[0]->d_name, strlen(entry[0]->d_name) - strlen(".txt"));
    for (int i = 0; i < n; i++) free(entry[i]);
    if (n >= 0) free(entry);
    free(info);
    return name;
}

char *dataset_path(const char *folder, const char *name) {
    char *path = file_join(folder, name);
    char *category = file_exists(path) ? NULL : category_name(folder);
    if (!category) return path;
    const char *end = strrchr(name, '.');
    Str nested = {0};
    str_printf(&nested, "%s/%.*s/%s%s", folder, (int)(end - name), name, category, end);
    free(category);
    if (!file_exists(nested.data)) {
        str_free(&nested);
        return path;
    }
    free(path);
    return nested.data;
}

int dataset_has(const char *folder, const char *name) {
    char *path = dataset_path(folder, name);
    const int there = file_exists(path);
    free(path);
    return there;
}

// ---- the folder as a whole ----

int dataset_json(json_t **json, const char *folder, Err *err) {
    char *path = file_join(folder, "dataset.json");
    int status = json_read_optional(json, path, JSON_BYTES_LIMIT, err);
    if (*json) {
        const char *format = json_string_value(json_object_get(*json, "format"));
        json_int_t version = json_integer_value(json_object_get(*json, "version"));
        if (!format || strcmp(format, DATASET_FORMAT) != 0)
            status = err_set(err, ERR_DATA, "%s: \"format\" is not \"%s\"", path, DATASET_FORMAT);
        else if (version != DATASET_VERSION)
            status = err_set(err, ERR_DATA, "%s: \"version\" is not %d, the one this program knows", path, DATASET_VERSION);
        else
            status = 1;
    }
    if (status < 0) {
        json_decref(*json);
        *json = NULL;
    }
    free(path);
    return status;
}

int dataset_check_category(const char *category, int code, Err *err) {
    size_t len = strlen(category);
    if (len <= CATEGORY_LIMIT && !items_title_fault(category, len) && utf8_check(category, len) == len) return 0;
    return err_set(err, code, "category phrase \"%.60s\": it needs 1 to %d bytes of UTF-8 without control bytes", category,
                   CATEGORY_LIMIT);
}

const char *dataset_published_category(const char *name) {
    static const struct {
        const char *name, *phrase;
    } published[] = {{"Arts_Crafts_and_Sewing", "arts products"},
                     {"Books", "books"},
                     {"CDs_and_Vinyl", "musics"},
                     {"Musical_Instruments", "music instruments"},
                     {"Office_Products", "office products"},
                     {"Pet_Supplies", "pet supplies"},
                     {"Sports_and_Outdoors", "sports and outdoors"},
                     {"Toys_and_Games", "toys and games"},
                     {"Video_Games", "video games"}};
    for (size_t i = 0; i < sizeof published / sizeof *published; i++)
        if (!strncmp(name, published[i].name, strlen(published[i].name))) return published[i].phrase;
    return NULL;
}

int dataset_call(Dataset *d, const char *category, int code, Err *err) {
    if (dataset_check_category(category, code, err)) return -1;
    free(d->category);
    d->category = mem_strndup(category, strlen(category));
    return 0;
}

static int set_category(Dataset *d, const char *category_override, Err *err) {
    const char *category = category_override;
    char *name = category_name(d->folder);
    if (!category) category = json_string_value(json_object_get(d->json, "category"));
    d->category_said = category != NULL;
    if (!category && name) category = dataset_published_category(name);
    free(name);
    d->category_known = category != NULL;
    return dataset_call(d, category ? category : "item", category_override ? ERR_USAGE : ERR_DATA, err);
}

static const char *expected_hash(const Dataset *d, const char *name) {
    return json_string_value(json_object_get(json_object_get(d->json, "files"), name));
}

int dataset_check_hash(const Dataset *d, const char *name, const char hex[33], Err *err) {
    const char *expected = expected_hash(d, name);
    if (!expected || !strcmp(hex, expected)) return 0;
    return err_set(err, ERR_DATA,
                   "%s/%s: not the file that dataset.json describes (hash %s, not %.32s); prepare the folder again, or remove "
                   "dataset.json to read it as it is",
                   d->folder, name, hex, expected);
}

static int check_hash(const Dataset *d, const char *name, const char *path, Err *err) {
    char hex[33];
    if (!expected_hash(d, name)) return 0;
    return file_hash(hex, path, err) || dataset_check_hash(d, name, hex, err) ? -1 : 0;
}

// Reads the file where it has the hash that dataset.json names: returns 1, 0 where it has another, or -1.
static int open_items(Dataset *d, const char *path, Err *err) {
    MapFile f;
    const char *expected = expected_hash(d, INFO);
    if (mapfile_open(&f, path, 0, err)) return -1;
    hash_bytes(d->items_hash, f.data, f.bytes);
    int same = !expected || strcmp(d->items_hash, expected) == 0;
    int status = same ? items_parse(&d->items, f.data, f.bytes, path, err) : 0;
    mapfile_close(&f);
    return status ? status : same;
}

// info.txt; or what was to take its place when a change was cut short; or info.txt, where that happened just now.
static int find_items(Dataset *d, Err *err) {
    char *info = dataset_path(d->folder, INFO), *next = file_join(d->folder, NEXT);
    int status = open_items(d, info, err);
    if (status == 0 && open_items(d, next, NULL) == 1) status = d->items_waiting = 1;
    if (status == 0) status = open_items(d, info, err);
    if (status == 0) dataset_check_hash(d, INFO, d->items_hash, err);
    free(info), free(next);
    return status == 1 ? 0 : -1;
}

// Folders are easily taken for one another.
static int check_folder(const char *folder, Err *err) {
    if (dataset_has(folder, INFO)) return 0;
    if (file_exists(folder) && !file_is_folder(folder))
        return err_set(err, ERR_IO,
                       "%s: a file, not a data folder; `latentr3 prepare --data %.200s --out DIR` makes one of a log", folder,
                       folder);
    if (!file_is_folder(folder)) return err_set(err, ERR_IO, "%s: no such data folder", folder);
    if (dataset_has(folder, "config.json")) return err_set(err, ERR_IO, "%s: a model folder, not a data folder", folder);
    return err_set(err, ERR_IO, "%s: holds no info.txt; `latentr3 prepare` makes a data folder of a raw log", folder);
}

int dataset_open(Dataset *d, const char *folder, const char *category_override, Err *err) {
    *d = (Dataset){.folder = mem_strndup(folder, strlen(folder))};
    int status = check_folder(folder, err);
    if (status == 0) status = dataset_json(&d->json, folder, err);
    if (status >= 0) status = set_category(d, category_override, err);
    if (status == 0) status = find_items(d, err);
    if (status) dataset_close(d);
    return status;
}

void dataset_close(Dataset *d) {
    items_free(&d->items);
    json_decref(d->json);
    free(d->folder), free(d->category);
    *d = (Dataset){0};
}

// Every id must be known, a title that differs from info.txt's is counted: the model would learn titles that the trie lacks.
static int check_item(const Items *items, const char *id, const char *title, int64_t *retitled) {
    int item = items_by_row_id(items, id);
    if (item < 0) return -1;
    *retitled += strcmp(items->title[item], title) != 0;
    return 0;
}

static int check_rows(const Items *items, const Rows *rows, const char *path, Err *err) {
    int64_t retitled = 0;
    for (int i = 0; i < rows->n; i++) {
        const Row *row = &rows->row[i];
        const char *unknown = check_item(items, row->target_id, row->target_title, &retitled) ? row->target_id : NULL;
        for (int k = 0; k < row->n && !unknown; k++)
            if (check_item(items, row->item_id[k], row->title[k], &retitled)) unknown = row->item_id[k];
        if (unknown)
            return err_set(err, ERR_DATA, "%s: row %d of user %.64s: item %s is not in info.txt", path, i + 1, row->user,
                           unknown);
    }
    if (retitled) log_warn("%s: %lld times an item has another title than in info.txt", path, (long long)retitled);
    return 0;
}

// The index texts of the rows' items; d->items outlives them.
static void set_texts(const Items *items, Rows *rows) {
    size_t n = 0;
    int texts = 0;
    for (int i = 0; i < items->n; i++) texts += items->text[i] != NULL;
    for (int i = 0; i < rows->n; i++) n += (size_t)rows->row[i].n;
    if (!texts) return;
    const char **text = rows->text = mem_alloc(n, sizeof *text);
    for (int i = 0; i < rows->n; i++) {
        Row *row = &rows->row[i];
        row->text = text;
        for (int k = 0; k < row->n; k++) *text++ = items->text[items_by_id(items, row->item_id[k])];
        row->target_text = items->text[items_by_id(items, row->target_id)];
    }
}

int dataset_rows(const Dataset *d, Rows *rows, const char *split, int max_rows, Err *err) {
    char name[16];
    if (strcmp(split, "train") != 0 && strcmp(split, "valid") != 0 && strcmp(split, "test") != 0)
        return err_set(err, ERR_USAGE, "split \"%.32s\": it is train, valid or test", split);
    snprintf(name, sizeof name, "%s.csv", split);
    char *path = dataset_path(d->folder, name);
    *rows = (Rows){0};
    int status = check_hash(d, name, path, err);
    if (status == 0) status = rows_open(rows, path, split, max_rows, d->strict, d->stop, err);
    if (status == 0) status = check_rows(&d->items, rows, path, err);
    if (status) {
        rows_free(rows);
    } else {
        if (d->items.named) rows_name_items(rows, &d->items);
        set_texts(&d->items, rows);
    }
    free(path);
    return status;
}

json_t *dataset_hashes(const Dataset *d, int with_test, Err *err) {
    static const char *const names[] = {"train.csv", "valid.csv", "test.csv"};
    char *copy = mem_strndup(d->folder, strlen(d->folder)), hex[33];
    json_t *hashes = json_object();
    json_object_set_new(hashes, "folder", json_text(basename(copy)));
    free(copy);
    json_object_set_new(hashes, INFO, json_string(d->items_hash));
    for (size_t i = 0; i < sizeof names / sizeof *names - !with_test; i++) {
        char *path = dataset_path(d->folder, names[i]);
        int there = file_exists(path), status = there ? file_hash(hex, path, err) : 0;
        free(path);
        if (status) {
            json_decref(hashes);
            return NULL;
        }
        if (there) json_object_set_new(hashes, names[i], json_string(hex));
    }
    return hashes;
}

// ---- changed items ----

static int move_next(const Dataset *d, Err *err) {
    char *info = file_join(d->folder, INFO), *next = file_join(d->folder, NEXT);
    int status = file_rename(next, info, err);
    free(info), free(next);
    return status;
}

// Where it is read from: in the layout of folders it has another name.
static int put_file(const Dataset *d, const char *name, const Str *text, Err *err) {
    char *path = dataset_path(d->folder, name);
    int status = file_write(path, text->data, text->len, err);
    free(path);
    return status;
}

static void set_count(json_t *json, const char *object, const char *name, int count) {
    json_object_set_new(json_object_get(json, object), name, json_integer(count));
}

// Of items that are not removed.
static void count_items(const Dataset *d) {
    const Items *items = &d->items;
    int *of_title = mem_zalloc((size_t)items->n, sizeof *of_title), titles = 0, sharing = 0;
    for (int i = 0; i < items->n; i++)
        if (!items->removed[i]) of_title[items_title_group(items, i)]++;
    for (int i = 0; i < items->n; i++)
        if (of_title[i] > 1) titles++, sharing += of_title[i];
    free(of_title);
    set_count(d->json, "counts", "items", items->live);
    set_count(d->json, "counts", "removed_items", items->n - items->live);
    set_count(d->json, "repeated", "titles", titles);
    set_count(d->json, "repeated", "items_of_these", sharing);
}

static int save_json(const Dataset *d, Err *err) {
    char *path = file_join(d->folder, "dataset.json");
    int status = json_save(path, d->json, err);
    free(path);
    return status;
}

int dataset_save_items(Dataset *d, Err *err) {
    Str text = {0};
    char hex[33];
    for (int i = 0; i < d->items.n; i++) items_put_line(&text, &d->items, i);
    hash_bytes(hex, text.data, text.len);
    json_t *files = json_object_get(d->json, "files");
    int status = 0;
    if (!expected_hash(d, INFO)) { // then info.txt alone decides
        status = put_file(d, INFO, &text, err);
    } else {
        if (d->items_waiting) status = move_next(d, err); // before another takes its name
        d->items_waiting = 0;
        if (status == 0) status = put_file(d, NEXT, &text, err);
        if (status == 0) {
            json_object_set_new(files, INFO, json_string(hex));
            count_items(d);
            status = save_json(d, err);
        }
        if (status == 0) status = move_next(d, err);
    }
    if (status == 0) memcpy(d->items_hash, hex, sizeof hex);
    str_free(&text);
    return status;
}
