// The rows of a split in memory. Titles, ids and users are kept once; the histories of all rows lie behind each other.
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/columns.h"
#include "data/dataset.h"
#include "data/intern.h"
#include "data/lines.h"
#include "text/prompt.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct RowsMemory {
    Intern strings;
    const char **title, **item_id; // (used): histories
    size_t used, cap, rows_cap;
    uint64_t *hash; // (rows) of the bytes of each record, to find repeats
} RowsMemory;

static const char *keep(RowsMemory *m, const char *s) {
    int number = intern_put(&m->strings, s, strlen(s)); // may move the array of texts
    return m->strings.text[number];
}

static const char *keep_number(RowsMemory *m, int64_t number) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    return keep(m, text);
}

// Row.title and Row.item_id are set when all rows are read and the arrays stay where they are.
static void add_row(Rows *rows, const ColumnsRow *c, const Csv *csv) {
    RowsMemory *m = rows->memory;
    if ((size_t)rows->n == m->rows_cap) {
        m->rows_cap = m->rows_cap ? m->rows_cap * 2 : 256;
        rows->row = mem_realloc(rows->row, m->rows_cap, sizeof *rows->row);
        m->hash = mem_realloc(m->hash, m->rows_cap, sizeof *m->hash);
    }
    if ((size_t)c->n > m->cap - m->used) {
        m->cap = m->cap * 2 > m->used + (size_t)c->n ? m->cap * 2 : m->used + (size_t)c->n;
        m->title = mem_realloc(m->title, m->cap, sizeof *m->title);
        m->item_id = mem_realloc(m->item_id, m->cap, sizeof *m->item_id);
    }
    m->hash[rows->n] = XXH3_64bits(csv->data + csv->record_at, csv->record_bytes);
    rows->row[rows->n] = (Row){.user = keep(m, c->user),
                               .target_title = keep(m, c->title),
                               .target_id = keep_number(m, c->item),
                               .timestamp = c->timestamp,
                               .number = rows->n,
                               .n = c->n};
    rows->n++;
    for (int i = 0; i < c->n; i++, m->used++) {
        m->title[m->used] = keep(m, c->history_title[i]);
        m->item_id[m->used] = keep_number(m, c->history_item[i]);
    }
}

static void set_histories(Rows *rows) {
    const RowsMemory *m = rows->memory;
    size_t at = 0;
    for (int i = 0; i < rows->n; i++) {
        rows->row[i].title = m->title + at;
        rows->row[i].item_id = m->item_id + at;
        at += (size_t)rows->row[i].n;
    }
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int64_t count_repeats(uint64_t *hash, int n) {
    int64_t repeats = 0;
    if (n) qsort(hash, (size_t)n, sizeof *hash, compare_hashes);
    for (int i = 1; i < n; i++) repeats += hash[i] == hash[i - 1];
    return repeats;
}

static int read_rows(Rows *rows, ColumnsReader *r, int max_rows, BadLines *bad, const atomic_int *stop, Err *err) {
    enum { LOOKS = 4096 };
    ColumnsRow c;
    Err why = {0};
    int status;
    while ((max_rows == 0 || rows->n < max_rows) && (status = columns_next(r, &c, &why)) != 0) {
        if (status < 0) {
            if (err) *err = why;
            return -1;
        }
        if (status == 1 && columns_out_of_order(r, &c, &why)) {
            rows->unordered++;
            if (bad->strict) status = COLUMNS_BAD;
        }
        if (status == COLUMNS_BAD) {
            if (lines_bad(bad, &why, err)) return -1;
            continue;
        }
        if (rows->n == INT_MAX) return err_set(err, ERR_DATA, "%s: more than %d rows", r->csv.name, INT_MAX);
        add_row(rows, &c, &r->csv);
        if (stop && rows->n % LOOKS == 0 && *stop) return err_set(err, ERR_IO, "%s: reading was stopped", r->csv.name);
    }
    return lines_bad_only(bad, rows->n, err);
}

static void report(const Rows *rows, const BadLines *bad) {
    lines_bad_total(bad);
    columns_tell_order(bad->name, rows->unordered);
    if (rows->repeated) log_warn("%s: %lld rows repeat another one exactly (kept)", bad->name, (long long)rows->repeated);
}

static int parse(Rows *rows, const char *data, size_t bytes, const char *path, const char *name, int max_rows, int strict,
                 const atomic_int *stop, Err *err) {
    *rows = (Rows){.name = mem_strndup(name, strlen(name)), .memory = mem_zalloc(1, sizeof(RowsMemory))};
    ColumnsReader r;
    BadLines bad = {.name = path, .strict = strict};
    int status = columns_open(&r, data, bytes, path, err);
    if (status == 0) status = read_rows(rows, &r, max_rows, &bad, stop, err);
    columns_close(&r);
    if (status) {
        rows_free(rows);
        return -1;
    }
    set_histories(rows);
    rows->bad = bad.count;
    rows->repeated = count_repeats(rows->memory->hash, rows->n);
    free(rows->memory->hash);
    rows->memory->hash = NULL;
    report(rows, &bad);
    return 0;
}

int rows_open(Rows *rows, const char *csv_path, const char *name, int max_rows, int strict, const atomic_int *stop, Err *err) {
    *rows = (Rows){0};
    MapFile file;
    if (mapfile_open(&file, csv_path, 0, err)) return -1;
    int status = parse(rows, file.data, file.bytes, csv_path, name, max_rows, strict, stop, err);
    mapfile_close(&file);
    return status;
}

int rows_parse(Rows *rows, const char *data, size_t bytes, const char *path, const char *name, int max_rows, int strict,
               Err *err) {
    return parse(rows, data, bytes, path, name, max_rows, strict, NULL, err);
}

void rows_free(Rows *rows) {
    RowsMemory *m = rows->memory;
    if (m) {
        intern_free(&m->strings);
        free(m->title), free(m->item_id), free(m->hash);
    }
    free(m), free(rows->row), free(rows->name), free(rows->text), free(rows->shuffled);
    *rows = (Rows){0};
}

void rows_copy(Rows *copy, const Rows *rows) {
    *copy = (Rows){.n = rows->n, .name = mem_strndup(rows->name, strlen(rows->name))};
    copy->row = mem_alloc((size_t)rows->n + 1, sizeof *copy->row);
    if (rows->n) memcpy(copy->row, rows->row, (size_t)rows->n * sizeof *copy->row);
}

void rows_cut_histories(Rows *rows, int n) {
    for (int i = 0; i < rows->n; i++) {
        Row *row = &rows->row[i];
        const int cut = row->n - n;
        if (cut <= 0) continue;
        row->title += cut, row->item_id += cut, row->n = n;
        if (row->text) row->text += cut;
    }
}

void rows_retitle_targets(Rows *rows, const Items *items) {
    for (int i = 0; i < rows->n; i++) {
        const int item = items_by_id(items, rows->row[i].target_id);
        if (item >= 0) rows->row[i].target_title = items->title[item];
    }
}

static const char *name_of(const Items *items, const char *row_id) {
    const int item = items_by_row_id(items, row_id);
    CHECK(item >= 0);
    return items->id[item];
}

void rows_name_items(Rows *rows, const Items *items) {
    RowsMemory *m = rows->memory;
    for (size_t i = 0; i < m->used; i++) m->item_id[i] = name_of(items, m->item_id[i]);
    for (int i = 0; i < rows->n; i++) rows->row[i].target_id = name_of(items, rows->row[i].target_id);
}

static int compare_numbers(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t *draw(int rows, int n, const int32_t *next, uint64_t seed) {
    uint32_t *order = mem_alloc((size_t)rows + 1, sizeof *order);
    rng_chains(order, (size_t)rows, next, seed, RNG_SAMPLE);
    qsort(order, (size_t)n, sizeof *order, compare_numbers);
    return order;
}

uint32_t *rows_draw(int rows, int n, uint64_t seed) {
    return draw(rows, n, NULL, seed);
}

static void sample(Rows *rows, int n, const int32_t *next, uint64_t seed) {
    if (n <= 0 || n >= rows->n) return;
    uint32_t *order = draw(rows->n, n, next, seed);
    for (int i = 0; i < n; i++) rows->row[i] = rows->row[order[i]]; // order[i] >= i: nothing is read after it was written over
    rows->n = n;
    free(order);
}

void rows_sample(Rows *rows, int n, uint64_t seed) {
    sample(rows, n, NULL, seed);
}

void rows_sample_chains(Rows *rows, int n, uint64_t seed) {
    int32_t *next = rows_next(rows);
    sample(rows, n, next, seed);
    free(next);
}

static int prompt_entries(const Row *row) {
    return row->n < PROMPT_HISTORY ? row->n : PROMPT_HISTORY;
}

// Whether b's history is a's, or that and more.
static int grows(const Row *a, const Row *b) {
    const int n = prompt_entries(a), m = prompt_entries(b);
    int same = n <= m;
    for (int i = 0; i < n && same; i++) same = !strcmp(a->item_id[a->n - n + i], b->item_id[b->n - m + i]);
    return same;
}

int32_t *rows_next(const Rows *rows) {
    Intern users = {0};
    int32_t *next = mem_alloc((size_t)rows->n + 1, sizeof *next), *last = mem_alloc((size_t)rows->n + 1, sizeof *last);
    for (int i = 0; i < rows->n; i++) {
        const Row *row = &rows->row[i];
        const int known = users.n, user = intern_put(&users, row->user, strlen(row->user));
        if (user < known && grows(&rows->row[last[user]], row)) next[last[user]] = i;
        next[i] = -1;
        last[user] = i;
    }
    free(last);
    intern_free(&users);
    return next;
}

void rows_shuffle_histories(Rows *rows, uint64_t seed) {
    size_t all = 0, used = 0;
    CHECK(!rows->shuffled);
    for (int i = 0; i < rows->n; i++) all += (size_t)rows->row[i].n;
    rows->shuffled = mem_alloc(3 * all + 1, sizeof *rows->shuffled);
    for (int i = 0; i < rows->n; i++) {
        Row *row = &rows->row[i];
        const size_t n = (size_t)row->n;
        const char **title = rows->shuffled + used, **id = title + n, **text = id + n;
        uint32_t *order = mem_alloc(n, sizeof *order);
        rng_permutation(order, n, rng_u64(seed, RNG_SHUFFLE, (uint64_t)row->number), RNG_SHUFFLE);
        for (size_t h = 0; h < n; h++) {
            title[h] = row->title[order[h]];
            id[h] = row->item_id[order[h]];
            text[h] = row->text ? row->text[order[h]] : NULL;
        }
        row->title = title;
        row->item_id = id;
        if (row->text) row->text = text;
        used += 3 * n;
        free(order);
    }
}
