#include "data/republish.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/columns.h"
#include "data/dataset.h"
#include "data/histories.h"
#include "data/intern.h"
#include "data/output.h"
#include "data/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Republish {
    const PrepareOptions *o;
    const Source *source;
    Dataset data;        // the input
    Intern users, ids;   // ids: the log's, as the rows have them
    int *id;             // (items.n) of these, -1: no row has one
    int ids_differ;      // rows say different ids of one item, or what can be none
    char *in_train;      // (items.n)
    int64_t *train_time; // (rows[SPLIT_TRAIN])
    size_t train_cap;
    int64_t first_test;
    int64_t rows[SPLITS], bad[SPLITS], cold_rows[SPLITS], tied_rows[SPLITS], unordered, retitled;
    unsigned present;
    json_t *hashes;
} Republish;

static void keep_id(Republish *p, int item, const char *id) {
    if (items_id_fault(id, strlen(id))) {
        p->ids_differ = 1;
        return;
    }
    const int number = intern_put(&p->ids, id, strlen(id));
    p->ids_differ |= p->id[item] >= 0 && p->id[item] != number;
    p->id[item] = number;
}

// The item of info.txt, or -1. log_id may be NULL.
static int find_item(Republish *p, int64_t id, const char *title, const char *log_id) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)id);
    int item = items_by_row_id(&p->data.items, text);
    if (item < 0) return -1;
    p->retitled += strcmp(p->data.items.title[item], title) != 0;
    if (log_id) keep_id(p, item, log_id);
    return item;
}

static void keep_train_time(Republish *p, int64_t timestamp) {
    size_t n = (size_t)p->rows[SPLIT_TRAIN];
    if (n == p->train_cap) {
        p->train_cap = n ? n * 2 : 1024;
        p->train_time = mem_realloc(p->train_time, p->train_cap, sizeof *p->train_time);
    }
    p->train_time[n] = timestamp;
}

// Counts the row; -1 where it names an item that info.txt has not.
static int count_row(Republish *p, const ColumnsRow *row, int split) {
    int target = find_item(p, row->item, row->title, row->asin);
    if (target < 0) return -1;
    for (int i = 0; i < row->n; i++) {
        int item = find_item(p, row->history_item[i], row->history_title[i], row->history_asin ? row->history_asin[i] : NULL);
        if (item < 0) return -1;
        if (split == SPLIT_TRAIN) p->in_train[item] = 1;
    }
    if (split == SPLIT_TRAIN) {
        p->in_train[target] = 1;
        keep_train_time(p, row->timestamp);
    }
    if (split == SPLIT_TEST && row->timestamp < p->first_test) p->first_test = row->timestamp;
    p->cold_rows[split] += !p->in_train[target];
    p->rows[split]++;
    intern_put(&p->users, row->user, strlen(row->user));
    const int64_t *times = row->history_timestamp;
    p->tied_rows[split] += times && times[row->n - 1] == row->timestamp;
    return 0;
}

static int copy_rows(Republish *p, ColumnsReader *r, OutFile *out, int split, const char *path, Err *err) {
    BadLines bad = {.name = path, .strict = p->o->strict};
    ColumnsRow row;
    Str text = {0};
    Err why = {0};
    const int64_t before = p->unordered;
    int status;
    columns_put_header(&text, r->present);
    while ((status = columns_next(r, &row, &why)) != 0) {
        if (status == 1 && columns_out_of_order(r, &row, &why)) {
            p->unordered++;
            if (bad.strict) status = COLUMNS_BAD;
        }
        if (status < 0 || (status == COLUMNS_BAD && lines_bad(&bad, &why, &why))) break;
        if (status == COLUMNS_BAD) continue;
        if (count_row(p, &row, split)) {
            status =
                err_set(&why, ERR_DATA, "%s: line %lld: an item that is not in info.txt", path, (long long)r->csv.record_line);
            break;
        }
        columns_put_row(&text, &row, r->present);
        outfile_write(out, text.data, text.len);
        str_clear(&text);
    }
    if (status == 0) status = lines_bad_only(&bad, p->rows[split], &why);
    if (status == 0) outfile_write(out, text.data, text.len); // the header of a file without rows
    if (status && err) *err = why;
    lines_bad_total(&bad);
    columns_tell_order(path, p->unordered - before);
    p->bad[split] = bad.count;
    str_free(&text);
    return status ? -1 : 0;
}

static int copy_text(Republish *p, Output *out, int split, const char *data, size_t bytes, const char *path, Err *err) {
    ColumnsReader r;
    int status = columns_open(&r, data, bytes, path, err);
    if (status == 0) status = copy_rows(p, &r, &out->file[split], split, path, err);
    columns_close(&r);
    return status;
}

static int copy_split(Republish *p, Output *out, int split, Err *err) {
    MapFile file;
    char hex[33], *path = dataset_path(p->source->log.path, output_name[split]);
    int status = mapfile_open(&file, path, 0, err);
    if (status == 0) {
        hash_bytes(hex, file.data, file.bytes);
        report_put_hash(p->hashes, output_name[split], hex);
        status = dataset_check_hash(&p->data, output_name[split], hex, err);
        if (status == 0) status = copy_text(p, out, split, file.data, file.bytes, path, err);
    }
    mapfile_close(&file);
    free(path);
    return status;
}

static int make_train(Republish *p, Output *out, Err *err) {
    Str text = {0};
    char *train = dataset_path(p->source->log.path, output_name[SPLIT_TRAIN]);
    char *valid = dataset_path(p->source->log.path, output_name[SPLIT_VALID]);
    char *test = dataset_path(p->source->log.path, output_name[SPLIT_TEST]);
    int status = histories_train(&text, valid, p->present & 1u << SPLIT_TEST ? test : NULL, p->o->history, err);
    if (status == 0) status = copy_text(p, out, SPLIT_TRAIN, text.data, text.len, train, err);
    if (status == 0 && p->rows[SPLIT_TRAIN] == 0)
        status = err_set(err, ERR_DATA, "%s: no row can be made: no history in the other files has two items", train);
    if (status == 0)
        log_info("%s: not there; %lld rows made of the histories in the other files", train, (long long)p->rows[SPLIT_TRAIN]);
    free(train), free(valid), free(test);
    str_free(&text);
    return status;
}

static json_t *make_report(Republish *p) {
    json_t *report = report_new(p->o, p->source), *o;
    int64_t late = 0;
    json_object_set_new(report, "category", json_string(p->data.category));
    json_object_set(json_object_get(report, "source"), "files", p->hashes);
    o = report_object(report, "counts");
    report_put(o, "users", p->users.n);
    report_put(o, "items", p->data.items.live);
    if (p->data.items.live < p->data.items.n) report_put(o, "removed_items", p->data.items.n - p->data.items.live);
    report_put_splits(o, "rows", p->rows, SPLIT_TRAIN);
    report_put_splits(report_object(report, "dropped"), "bad_rows", p->bad, SPLIT_TRAIN);
    o = report_object(report, "kept");
    report_put(o, "out_of_order", p->unordered);
    report_put(o, "other_titles", p->retitled);
    report_put_splits(report_object(report, "ties"), "rows", p->tied_rows, SPLIT_TRAIN);
    if (!(p->present & 1u << SPLIT_TRAIN)) return report;
    report_put_splits(report_object(report, "cold"), "rows", p->cold_rows, SPLIT_VALID);
    for (int64_t i = 0; i < p->rows[SPLIT_TRAIN]; i++) late += p->train_time[i] > p->first_test;
    o = report_object(report, "leakage");
    report_put(o, "train_rows_after_first_test", late);
    json_object_set_new(o, "share", json_real(p->rows[SPLIT_TRAIN] ? (double)late / (double)p->rows[SPLIT_TRAIN] : 0));
    return report;
}

// With the ids that info.txt has, else those of the rows; -1 where two items would have one.
static int put_info_named(const Republish *p, Str *info) {
    const Items *items = &p->data.items;
    Items check;
    for (int i = 0; i < items->n; i++) {
        const int named = strcmp(items->id[i], items->row_id[i]) != 0;
        items_put_line_as(info, items, i, named || p->id[i] < 0 ? items->id[i] : p->ids.text[p->id[i]]);
    }
    if (items_parse(&check, info->data, info->len, "", NULL)) return -1;
    items_free(&check);
    return 0;
}

static void put_info(const Republish *p, Str *info) {
    const Items *items = &p->data.items;
    if (p->o->log_ids && !p->ids_differ && put_info_named(p, info) == 0) return;
    if (p->o->log_ids)
        log_warn("%s: item_asins and item_asin do not name one item each: ids stay as info.txt has them", p->source->log.path);
    str_clear(info);
    for (int i = 0; i < items->n; i++) items_put_line_as(info, items, i, p->o->log_ids ? items->id[i] : items->row_id[i]);
}

static int copy_files(Republish *p, json_t **report, Err *err) {
    Output out;
    int status = output_open(&out, p->o->out, p->present | 1u << OUTPUT_INFO, err);
    for (int split = 0; split < SPLITS && status == 0; split++) {
        if (!(p->present & 1u << split)) continue;
        status =
            split == SPLIT_TRAIN && p->o->train_from_histories ? make_train(p, &out, err) : copy_split(p, &out, split, err);
    }
    if (status == 0) {
        Str info = {0};
        put_info(p, &info);
        outfile_write(&out.file[OUTPUT_INFO], info.data, info.len);
        str_free(&info);
        *report = make_report(p);
        report_log(*report);
        status = output_commit(&out, *report, err);
    }
    output_close(&out);
    return status;
}

static int find_splits(Republish *p, Err *err) {
    for (int split = 0; split < SPLITS; split++) {
        char *path = dataset_path(p->source->log.path, output_name[split]);
        const int there = file_exists(path), made = split == SPLIT_TRAIN && p->o->train_from_histories;
        int status = 0;
        if (there && made) status = err_set(err, ERR_USAGE, "%s is there: it need not be made of histories", path);
        if (!there && !made) log_warn("%s: not there; the folder that is written has none either", path);
        p->present |= (unsigned)(there || made) << split;
        free(path);
        if (status) return -1;
    }
    return 0;
}

// What everybody who opens the folder reads: its items, and the phrase that it says itself, or else the source's.
static int open_input(Republish *p, Err *err) {
    const char *folder = p->source->log.path;
    if (dataset_open(&p->data, folder, p->o->category, err)) return -1;
    if (!p->data.category_known && dataset_call(&p->data, p->source->category, ERR_USAGE, err)) return -1;
    report_put_hash(p->hashes, output_name[OUTPUT_INFO], p->data.items_hash);
    p->in_train = mem_zalloc((size_t)p->data.items.n, 1);
    p->id = mem_alloc((size_t)p->data.items.n, sizeof *p->id);
    for (int i = 0; i < p->data.items.n; i++) p->id[i] = -1;
    return 0;
}

int republish(const PrepareOptions *o, const Source *source, json_t **report, Err *err) {
    Republish p = {.o = o, .source = source, .first_test = INT64_MAX, .hashes = json_object()};
    json_t *made = NULL;
    int status = open_input(&p, err);
    if (status == 0) status = find_splits(&p, err);
    if (status == 0) status = copy_files(&p, &made, err);
    if (status == 0 && report) *report = json_incref(made);
    json_decref(made);
    json_decref(p.hashes);
    intern_free(&p.users), intern_free(&p.ids);
    dataset_close(&p.data);
    free(p.in_train), free(p.train_time), free(p.id);
    return status;
}
