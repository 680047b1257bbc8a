#include "data/records.h"
#include "base/arena.h"
#include "base/utf8.h"
#include "data/records_kinds.h"

#include <stdlib.h>
#include <string.h>

enum { LATIN1_LIMIT = 256 << 20 };

// ---- the formats ----

#define USERS  "user_id|userId|user|uid|reviewerID|customer_id|session_id"
#define ITEMS  "item_id|itemId|item|iid|parent_asin|asin|movie_id|movieId|product_id|article_id"
#define TIMES  "timestamp|time|unixReviewTime|unix_time|ts|datetime|date"
#define STARS  "rating|overall|stars|score"
#define TITLES "title|name|item_title|item_name|movie_title|product_title"

#define NAMED(kind_)                                                                                                           \
    {                                                                                                                          \
        {.kind = (kind_), .name = {USERS, ITEMS, TIMES, STARS, TITLES}}, {                                                     \
            .kind = (kind_), .name = { [RECORD_ITEM] = ITEMS, [RECORD_TITLE] = TITLES }                                        \
        }                                                                                                                      \
    }

static const RecordsFormat formats[] = {
    {.name = "amazon-2018", // and 2014
     .shape = {{RECORDS_JSON, .name = {"reviewerID", "asin", "unixReviewTime", "overall", NULL}},
               {RECORDS_JSON, .name = {[RECORD_ITEM] = "asin", [RECORD_TITLE] = "title"}}},
     .unit = 1,
     .published_titles = 1},
    {.name = "amazon-2023",
     .shape = {{RECORDS_JSON, .name = {"user_id", "parent_asin", "timestamp", "rating", NULL}},
               {RECORDS_JSON, .name = {[RECORD_ITEM] = "parent_asin", [RECORD_TITLE] = "title"}}},
     .unit = 1000,
     .published_titles = 1},
    {.name = "ml-1m", // and 10M
     .shape = {{RECORDS_COLONS, .fields = 4, .at = {0, 1, 3, 2, -1, -1}},
               {RECORDS_COLONS, .fields = 3, .at = {-1, 0, -1, -1, 1, -1}, .latin1 = 1}},
     .numbered = 1,
     .least_rating = 0.5,
     .rating_step = 0.5,
     .unit = 1,
     .category = "movie"},
    {.name = "ml-100k",
     .shape = {{RECORDS_CELLS, .delimiter = '\t', .fields = 4, .at = {0, 1, 3, 2, -1, -1}},
               {RECORDS_CELLS, .delimiter = '|', .fields = 24, .at = {-1, 0, -1, -1, 1, -1}, .latin1 = 1}},
     .numbered = 1,
     .least_rating = 1,
     .rating_step = 1,
     .unit = 1,
     .category = "movie"},
    {.name = "ml-csv", // 20M and later
     .shape = {{RECORDS_CSV, .name = {"userId", "movieId", "timestamp", "rating", NULL}},
               {RECORDS_CSV, .name = {[RECORD_ITEM] = "movieId", [RECORD_TITLE] = "title"}}},
     .numbered = 1,
     .least_rating = 0.5,
     .rating_step = 0.5,
     .unit = 1,
     .category = "movie"},
    {.name = "recbole",
     .shape = {{RECORDS_TYPED, .name = {"user_id", "item_id", "timestamp", "rating", NULL}},
               {RECORDS_TYPED, .name = {[RECORD_ITEM] = "item_id", [RECORD_TITLE] = "movie_title|title|name|*_title|*_name"}}}},
    {.name = "tsv", .shape = NAMED(RECORDS_HEADED), .any_names = 1},
    {.name = "csv", .shape = NAMED(RECORDS_CSV), .any_names = 1},
    {.name = "jsonl", .shape = NAMED(RECORDS_JSON), .any_names = 1},
    {.name = "sequences", .shape = {{RECORDS_SEQUENCES, .at = {0, 1, -1, -1, -1, -1}}}, .unit = 1},
    {.name = "latentr3"}, // republish.c
};

const RecordsFormat *records_format(const char *name) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0) return &formats[i];
    return NULL;
}

// ---- for the kinds ----

static int find_any(const char *alternatives, RecordsMatch how, RecordsIsThere is_there, void *context) {
    for (const char *a = alternatives; a && *a;) {
        int suffix = *a == '*';
        size_t n = strcspn(a + suffix, "|");
        int found = is_there(context, a + suffix, n, suffix ? RECORDS_ENDS_IN : how);
        if (found >= 0) return found;
        a += (size_t)suffix + n;
        a += *a == '|';
    }
    return -1;
}

int records_find_field(const Records *r, const char *const column[RECORDS_NAMES], int field, RecordsIsThere is_there,
                       void *context) {
    const char *names = records_names(r, column, field), *own = r->shape->name[field];
    int found = find_any(names, RECORDS_EXACT, is_there, context);
    if (found < 0) found = find_any(records_other_names(r, field), RECORDS_EXACT, is_there, context);
    if (found >= 0 || !r->format->any_names) return found;
    return find_any(names == own ? own : records_other_names(r, field), RECORDS_ANY_CASE, is_there, context);
}

const char *const records_field_name[RECORD_FIELDS] = {
    [RECORD_USER] = "user",     [RECORD_ITEM] = "item",   [RECORD_TIME] = "time",
    [RECORD_RATING] = "rating", [RECORD_TITLE] = "title", [RECORD_TEXT] = "text"};

int records_order(Records *r, const char *const column[RECORDS_NAMES], Err *err) {
    const char *const *name = records_field_name; // but for "text"
    if (!r->format->any_names || r->role != RECORDS_LOG || !column || !column[RECORDS_ORDER]) return 0;
    r->fields = 0;
    for (int f = 0; f < RECORD_FIELDS; f++) r->at[f] = -1;
    for (const char *at = column[RECORDS_ORDER];; at++) {
        const size_t n = strcspn(at, ",");
        int field = 0;
        while (field < RECORD_TEXT && (strlen(name[field]) != n || memcmp(name[field], at, n) != 0)) field++;
        const int passed = n == 1 && *at == '-';
        if (field == RECORD_TEXT && !passed)
            return err_set(err, ERR_USAGE, "--columns: \"%.*s\" is none of user, item, time, rating, title and -",
                           n < 64 ? (int)n : 64, at);
        if (!passed && r->at[field] >= 0) return err_set(err, ERR_USAGE, "--columns: \"%s\" stands twice", name[field]);
        if (!passed) r->at[field] = r->fields;
        r->fields++;
        at += n;
        if (!*at) break;
    }
    if (r->at[RECORD_USER] < 0 || r->at[RECORD_ITEM] < 0)
        return err_set(err, ERR_USAGE, "--columns \"%.64s\": both user and item are needed", column[RECORDS_ORDER]);
    return records_check_header(r, column, err) ? -1 : 1;
}

int records_bad(const Records *r, const char *why, Err *err) {
    err_set(err, ERR_DATA, "%s: line %lld: %s", r->lines.name, (long long)r->lines.line, why);
    return RECORDS_BAD;
}

int records_refuse(const Records *r, const char *why, Err *err) {
    records_bad(r, why, err);
    return -1;
}

// ---- headers ----

void records_put_name(Records *r, const char *s, size_t n) {
    enum { NAMES = 100, NAME = 40 };
    size_t most = n < NAME ? n : NAME;
    if (r->names.len > NAMES) return;
    while (most < n && most > 0 && (s[most] & 0xc0) == 0x80) most--; // a letter is not cut
    str_printf(&r->names, "%s%.*s%s", r->names.len ? ", " : "", (int)most, s, most < n ? "..." : "");
    if (r->names.len > NAMES) str_puts(&r->names, ", ...");
}

// "FILE: line 1: no column".
static void put_place(Str *text, const Records *r) {
    str_printf(text, "%s: ", r->lines.name);
    if (r->lines.line) str_printf(text, "line %lld: ", (long long)r->lines.line);
    str_puts(text, r->shape->kind == RECORDS_JSON ? "no member" : "no column");
}

static int refuse_text(Str *text, Err *err) {
    err_set(err, ERR_DATA, "%s", text->data);
    str_free(text);
    return -1;
}

int records_check_named(const Records *r, RecordField field, const char *name, Err *err) {
    Str text = {0};
    if (r->at[field] >= 0) return 0;
    put_place(&text, r);
    str_printf(&text, " %.64s", name);
    if (r->names.len) str_printf(&text, " among %s", r->names.data);
    return refuse_text(&text, err);
}

int records_is_read(const Records *r, int field, const char *name) {
    const int at = r->at[field];
    const char *s = NULL;
    size_t n = 0;
    switch (r->shape->kind) {
    case RECORDS_JSON: return r->member[field] && strcmp(r->member[field], name) == 0;
    case RECORDS_CSV:
        if (at >= 0) s = csv_field(&r->csv, at, &n);
        break;
    case RECORDS_TYPED:
    case RECORDS_HEADED:
        if (at >= 0) s = r->lines.field[at], n = r->lines.field_len[at];
        if (s && r->shape->kind == RECORDS_TYPED) n = (size_t)((const char *)memchr(s, ':', n) - s); // NAME:type
        break;
    default: break; // without names
    }
    return s && strlen(name) == n && memcmp(s, name, n) == 0;
}

int records_check_names(const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES],
                        const char *name, Err *err) {
    for (int f = 0; !format->any_names && f < RECORD_TEXT; f++) {
        const char *own = format->shape[role].name[f];
        if (!column[f] || !records_is_due(role, f) || (own && strcmp(own, column[f]) == 0)) continue;
        if (!name)
            return err_set(err, ERR_USAGE, "--%s-column needs --format tsv, csv or jsonl: the names of %s are fixed",
                           records_field_name[f], format->name);
        return err_set(err, ERR_USAGE, "%s: read as %s, whose names are fixed; --%s-column \"%.64s\" needs tsv, csv or jsonl",
                       name, format->name, records_field_name[f], column[f]);
    }
    return 0;
}

// One of two fields, or both.
static int refuse_without(const Records *r, RecordField a, RecordField b, Err *err) {
    static const char *const what[RECORD_FIELDS] = {
        [RECORD_USER] = "the user", [RECORD_ITEM] = "the item's id", [RECORD_TITLE] = "the item's title"};
    const int both = r->at[a] < 0 && r->at[b] < 0;
    const RecordField first = r->at[a] < 0 ? a : b;
    Str text = {0};
    put_place(&text, r);
    str_printf(&text, " of %s", what[first]);
    if (both) str_printf(&text, " or of %s", what[b]);
    if (r->names.len) str_printf(&text, " among %s", r->names.data);
    if (r->format->any_names) {
        str_printf(&text, "; --%s-column", records_field_name[first]);
        if (both) str_printf(&text, " and --%s-column", records_field_name[b]);
        str_puts(&text, both ? " name them" : " names it");
        if (r->role == RECORDS_LOG && r->shape->kind != RECORDS_JSON)
            str_printf(&text, ", or --format %s with --columns where there is no header", r->format->name);
    }
    return refuse_text(&text, err);
}

int records_check_header(const Records *r, const char *const column[RECORDS_NAMES], Err *err) {
    for (int f = 0; column && r->format->any_names && f < RECORD_FIELDS; f++) {
        int elsewhere = r->role == RECORDS_LOG && f == RECORD_TITLE; // in the file of items
        if (column[f] && r->shape->name[f] && !elsewhere && records_check_named(r, f, column[f], err)) return -1;
    }
    if (r->role == RECORDS_ITEMS && column && column[RECORD_TEXT] &&
        records_check_named(r, RECORD_TEXT, column[RECORD_TEXT], err))
        return -1;
    const RecordField a = r->role == RECORDS_LOG ? RECORD_USER : RECORD_ITEM,
                      b = r->role == RECORDS_LOG ? RECORD_ITEM : RECORD_TITLE;
    if (r->at[a] < 0 || r->at[b] < 0) return refuse_without(r, a, b, err);
    if (r->role == RECORDS_LOG && r->shape->kind == RECORDS_TYPED && r->at[RECORD_TIME] < 0)
        return records_refuse(r, "no timestamp", err);
    return 0;
}

// ---- opening ----

static int open_kind(Records *r, const char *const column[RECORDS_NAMES], const char *head, size_t bytes, Err *err) {
    memcpy(r->at, r->shape->at, sizeof r->at);
    r->fields = r->shape->fields;
    switch (r->shape->kind) {
    case RECORDS_JSON: return records_json_open(r, column, head, bytes, err);
    case RECORDS_CSV: return records_csv_open(r, column, err);
    default: return records_lines_open(r, column, head, bytes, err);
    }
}

static int begin(Records *r, const RecordsFormat *format, RecordsRole role, const char *name, Err *err) {
    memset(r, 0, sizeof *r);
    r->format = format;
    r->role = role;
    r->shape = &format->shape[role];
    if (r->shape->kind != RECORDS_NONE) return 0;
    return err_set(err, ERR_USAGE, "%s: the format %s has no %s", name, format->name,
                   role == RECORDS_ITEMS ? "file of items" : "log");
}

static void latin1_to_utf8(Str *out, const char *s, size_t n) {
    char utf8[4];
    for (size_t i = 0; i < n; i++) str_append(out, utf8, utf8_put(utf8, (unsigned char)s[i]));
}

int records_open(Records *r, const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES],
                 const char *data, size_t bytes, const char *name, Err *err) {
    if (begin(r, format, role, name, err)) return -1;
    if (r->shape->latin1 && utf8_check(data, bytes) < bytes) {
        latin1_to_utf8(&r->converted, data, bytes);
        data = r->converted.data;
        bytes = r->converted.len;
    }
    if (lines_open(&r->lines, data, bytes, name, err)) return -1;
    return open_kind(r, column, data, bytes, err);
}

// All of a small file: whether it is UTF-8 is known at its end.
static int read_whole(Str *all, Stream *stream, const char *name, Err *err) {
    const char *data;
    size_t bytes;
    int status;
    while ((status = stream_next(stream, &data, &bytes, err)) == 1) {
        if (all->len + bytes > LATIN1_LIMIT)
            return err_set(err, ERR_DATA, "%s: more than %d MiB of items", name, LATIN1_LIMIT >> 20);
        str_append(all, data, bytes);
    }
    return status;
}

int records_open_stream(Records *r, const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES],
                        Stream *stream, const char *name, Err *err) {
    const char *head;
    size_t bytes;
    if (begin(r, format, role, name, err)) return -1;
    if (r->shape->latin1) {
        Str all = {0};
        if (read_whole(&all, stream, name, err)) {
            str_free(&all);
            return -1;
        }
        int status = records_open(r, format, role, column, all.data ? all.data : "", all.len, name, err);
        r->whole = all; // the lines lie in it
        return status;
    }
    if (stream_peek(stream, &head, &bytes, err) || lines_open_stream(&r->lines, stream, name, err)) return -1;
    return open_kind(r, column, head, bytes, err);
}

void records_close(Records *r) {
    lines_close(&r->lines);
    jsonl_free(&r->json);
    csv_close(&r->csv);
    for (int f = 0; f < RECORD_FIELDS; f++) free(r->member[f]);
    str_free(&r->joined), str_free(&r->converted), str_free(&r->whole), str_free(&r->names);
    memset(r, 0, sizeof *r);
}

int records_latin1(const Records *r) {
    return r->converted.data != NULL;
}

int records_has(const Records *r, RecordField field) {
    return r->shape->kind == RECORDS_JSON ? r->member[field] != NULL : r->at[field] >= 0;
}

int records_next(Records *r, Err *err) {
    switch (r->shape->kind) {
    case RECORDS_JSON: return records_json_next(r, err);
    case RECORDS_CSV: return records_csv_next(r, err);
    default: return records_lines_next(r, err);
    }
}
