#include "data/interactions.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "data/lines.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ID_LIMIT = 1024 };

// Where the columns stand; -1: there is none. Both formats are read through one of these.
typedef struct Layout {
    char delimiter;
    int movielens; // ids are numbers from 1, ratings 1, 2, 3, 4, 5, times whole numbers
    int fields, user, item, rating, timestamp, title;
} Layout;

typedef struct Reading {
    Interactions *x;
    Layout at;
    Lines lines;
    BadLines bad;
    double latest; // no interaction is later than tomorrow
} Reading;

static int reading_open(Reading *r, Interactions *x, const InteractionsFile *f, int strict, Err *err) {
    *r = (Reading){.x = x, .bad = {.name = f->name, .strict = strict}, .latest = (double)time(NULL) + 24 * 3600};
    return lines_open(&r->lines, f->data, f->bytes, f->name, err);
}

static int line_error(const Lines *l, const char *what, Err *err) {
    return err_set(err, ERR_DATA, "%s: line %lld: %s", l->name, (long long)l->line, what);
}

// ---- lines ----

// The faults below are texts; NULL means none.

static const char *count_fault(const Reading *r) {
    if (r->lines.n == r->at.fields) return NULL;
    if (r->lines.n == 1 && memmem(r->lines.text, r->lines.len, "::", 2))
        return "fields between '::' as in MovieLens-1M; tabs or '|' are expected here";
    return r->lines.n < r->at.fields ? "too few fields" : "too many fields";
}

static const char *id_fault(const Reading *r, int field) {
    const char *s = r->lines.field[field];
    size_t n = r->lines.field_len[field];
    if (n == 0) return "an empty id";
    if (n > ID_LIMIT) return "an id of more than 1024 bytes";
    if (items_title_fault(s, n)) return "a control byte in an id";
    if (!r->at.movielens) return NULL;
    CsvValue v;
    int good = csv_number(&v, s, n) == n && v.kind == CSV_INT && v.integer >= 1 && v.integer <= INT32_MAX;
    return good ? NULL : "an id that is not a whole number from 1 to 2147483647";
}

static const char *number_fault(const Reading *r, int field, CsvValue *v) {
    size_t n = r->lines.field_len[field];
    if (n == 0 || csv_number(v, r->lines.field[field], n) != n) return "not a plain number";
    return r->at.movielens && v->kind != CSV_INT ? "not a whole number" : NULL;
}

static const char *rating_fault(const Reading *r, CsvValue *v) {
    *v = (CsvValue){0};
    if (r->at.rating < 0) return NULL;
    const char *fault = number_fault(r, r->at.rating, v);
    if (fault) return fault;
    return r->at.movielens && (v->integer < 1 || v->integer > 5) ? "a rating that is not 1, 2, 3, 4 or 5" : NULL;
}

static const char *timestamp_fault(const Reading *r, CsvValue *v) {
    const char *fault = number_fault(r, r->at.timestamp, v);
    if (fault) return fault;
    if (v->number < 1) return "a timestamp before 1970";
    if (v->number > r->latest) return "a timestamp later than tomorrow; seconds since 1970 are expected";
    return v->number != (double)(int64_t)v->number ? "a timestamp with a fraction" : NULL;
}

static const char *log_line_fault(Reading *r) {
    Interactions *x = r->x;
    const Lines *l = &r->lines;
    CsvValue rating, timestamp;
    const char *fault = count_fault(r);
    if (!fault) fault = id_fault(r, r->at.user);
    if (!fault) fault = id_fault(r, r->at.item);
    if (!fault) fault = rating_fault(r, &rating);
    if (!fault) fault = timestamp_fault(r, &timestamp);
    if (fault) return fault;
    int item = intern_find(&x->items, l->field[r->at.item], l->field_len[r->at.item]);
    if (item < 0) {
        x->unknown_item++;
        return NULL;
    }
    if (x->n == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 1024;
        x->event = mem_realloc(x->event, x->cap, sizeof *x->event);
    }
    x->event[x->n++] = (Event){.user = intern_put(&x->users, l->field[r->at.user], l->field_len[r->at.user]),
                               .item = item,
                               .timestamp = (int64_t)timestamp.number,
                               .rating = rating.number};
    return NULL;
}

// As the published pipeline cleans a title: two entities, then blanks, then quotes at both ends.
static void clean_title(Str *out, const char *s, size_t n) {
    str_clear(out);
    for (size_t i = 0; i < n; i++) {
        int quot = n - i >= 6 && memcmp(s + i, "&quot;", 6) == 0, amp = n - i >= 5 && memcmp(s + i, "&amp;", 5) == 0;
        str_append(out, quot ? "\"" : amp ? "&" : s + i, 1);
        i += quot ? 5 : amp ? 4 : 0;
    }
    size_t begin = 0, end = out->len;
    for (const char *blank = " \""; *blank; blank++) {
        while (begin < end && out->data[begin] == *blank) begin++;
        while (begin < end && out->data[end - 1] == *blank) end--;
    }
    memmove(out->data, out->data + begin, end - begin);
    out->len = end - begin;
    out->data[out->len] = 0;
}

static const char *item_line_fault(Reading *r) {
    Interactions *x = r->x;
    const Lines *l = &r->lines;
    const char *fault = count_fault(r);
    if (!fault) fault = id_fault(r, r->at.item);
    if (fault) return fault;
    Str title = {0};
    clean_title(&title, l->field[r->at.title], l->field_len[r->at.title]);
    int32_t number = -1;
    if (title.len) fault = items_title_fault(title.data, title.len);
    if (title.len && !fault) number = intern_put(&x->titles, title.data, title.len);
    int replaced = strstr(title.data, "\xef\xbf\xbd") != NULL;
    str_free(&title);
    if (fault) return fault;
    int known = x->items.n, item = intern_put(&x->items, l->field[r->at.item], l->field_len[r->at.item]);
    if (item < known) return x->title[item] == number ? NULL : "an item for the second time, with another title";
    if ((size_t)item == x->items_cap) {
        x->items_cap = x->items_cap ? x->items_cap * 2 : 1024;
        x->title = mem_realloc(x->title, x->items_cap, sizeof *x->title);
    }
    x->title[item] = number;
    x->untitled_items += number < 0;
    x->replacement_titles += replaced; // U+FFFD: something was lost before us
    return NULL;
}

// The rest of the file, line by line; *lines and *bad are counted up.
static int read_lines(Reading *r, const char *(*line_fault)(Reading *), int64_t *lines, int64_t *bad, Err *err) {
    int status;
    while ((status = lines_next(&r->lines, r->at.delimiter, err)) == 1) {
        Err why;
        const char *fault = line_fault(r);
        ++*lines;
        if (!fault) continue;
        line_error(&r->lines, fault, &why);
        if (lines_bad(&r->bad, &why, err)) return -1;
    }
    if (status == 0) lines_bad_total(&r->bad);
    *bad = r->bad.count;
    return status;
}

static int read_item_lines(Reading *r, Err *err) {
    Interactions *x = r->x;
    int64_t lines = 0;
    if (read_lines(r, item_line_fault, &lines, &x->bad_item_lines, err)) return -1;
    if (x->replacement_titles)
        log_warn("%s: %lld titles hold U+FFFD, a letter that was lost earlier", r->lines.name,
                 (long long)x->replacement_titles);
    return x->items.n ? 0 : err_set(err, ERR_DATA, "%s: no items", r->lines.name);
}

static int read_log_lines(Reading *r, Err *err) {
    Interactions *x = r->x;
    x->has_rating = r->at.rating >= 0;
    if (read_lines(r, log_line_fault, &x->lines, &x->bad_lines, err)) return -1;
    return x->n ? 0
                : err_set(err, ERR_DATA, "%s: no interaction that can be used among %lld", r->lines.name, (long long)x->lines);
}

// ---- MovieLens-100K ----

static void latin1_to_utf8(Str *out, const char *s, size_t n) {
    char utf8[4];
    for (size_t i = 0; i < n; i++) str_append(out, utf8, utf8_put(utf8, (unsigned char)s[i]));
}

int interactions_movielens(Interactions *x, const InteractionsFile *data, const InteractionsFile *item, int strict, Err *err) {
    *x = (Interactions){0};
    Reading r;
    Str converted = {0};
    InteractionsFile text = *item;
    if (utf8_check(item->data, item->bytes) < item->bytes) {
        latin1_to_utf8(&converted, item->data, item->bytes);
        text = (InteractionsFile){.data = converted.data, .name = item->name, .bytes = converted.len};
        log_info("%s: read as ISO-8859-1", item->name);
    }
    int status = reading_open(&r, x, &text, strict, err);
    r.at = (Layout){.delimiter = '|', .movielens = 1, .fields = 24, .item = 0, .title = 1};
    if (status == 0) status = read_item_lines(&r, err);
    str_free(&converted);
    if (status == 0) status = reading_open(&r, x, data, strict, err);
    r.at = (Layout){.delimiter = '\t', .movielens = 1, .fields = 4, .user = 0, .item = 1, .rating = 2, .timestamp = 3};
    if (status == 0) status = read_log_lines(&r, err);
    return status;
}

// ---- RecBole ----

// The field of the header named `name` (or, with a leading '*', one that ends in it), or -1.
static int header_field(const Lines *l, const char *name) {
    int suffix = name[0] == '*';
    size_t n = strlen(name += suffix);
    for (int i = 0; i < l->n; i++) {
        size_t len = (size_t)((const char *)memchr(l->field[i], ':', l->field_len[i]) - l->field[i]);
        if ((suffix ? len > n : len == n) && memcmp(l->field[i] + len - n, name, n) == 0) return i;
    }
    return -1;
}

// Every field of the header is `name:type`, and no name stands twice.
static int check_header(const Lines *l, Err *err) {
    static const char *const types[] = {"token", "token_seq", "float", "float_seq"};
    if (l->n == LINES_FIELDS) return line_error(l, "more than 63 fields", err);
    for (int i = 0; i < l->n; i++) {
        const char *colon = memchr(l->field[i], ':', l->field_len[i]), *end = l->field[i] + l->field_len[i];
        int known = 0;
        for (size_t k = 0; colon && k < sizeof types / sizeof *types; k++)
            known |= strlen(types[k]) == (size_t)(end - colon - 1) && memcmp(types[k], colon + 1, strlen(types[k])) == 0;
        if (!known || colon == l->field[i])
            return line_error(l, "the header is not name:type between tabs, with token, token_seq, float or float_seq", err);
        for (int k = 0; k < i; k++)
            if (l->field_len[k] > (size_t)(colon - l->field[i]) &&
                memcmp(l->field[k], l->field[i], (size_t)(colon - l->field[i]) + 1) == 0)
                return line_error(l, "a field of the header stands twice", err);
    }
    return 0;
}

static int read_header(Reading *r, Err *err) {
    int status = lines_next(&r->lines, '\t', err);
    if (status < 0) return -1;
    if (status == 0) return err_set(err, ERR_DATA, "%s: no header", r->lines.name);
    if (check_header(&r->lines, err)) return -1;
    static const char *const titles[] = {"movie_title", "title", "name", "*_title", "*_name"};
    const Lines *l = &r->lines;
    r->at = (Layout){.delimiter = '\t',
                     .fields = l->n,
                     .user = header_field(l, "user_id"),
                     .item = header_field(l, "item_id"),
                     .rating = header_field(l, "rating"),
                     .timestamp = header_field(l, "timestamp"),
                     .title = -1};
    for (size_t i = 0; i < sizeof titles / sizeof *titles && r->at.title < 0; i++) r->at.title = header_field(l, titles[i]);
    return 0;
}

int interactions_recbole(Interactions *x, const InteractionsFile *inter, const InteractionsFile *item, int strict, Err *err) {
    *x = (Interactions){0};
    Reading r;
    if (reading_open(&r, x, item, strict, err) || read_header(&r, err)) return -1;
    if (r.at.item < 0 || r.at.title < 0)
        return line_error(&r.lines, "no item_id, or no title (movie_title, title, name, *_title, *_name)", err);
    if (read_item_lines(&r, err)) return -1;
    if (reading_open(&r, x, inter, strict, err) || read_header(&r, err)) return -1;
    if (r.at.user < 0 || r.at.item < 0 || r.at.timestamp < 0)
        return line_error(&r.lines, "no user_id, no item_id or no timestamp", err);
    return read_log_lines(&r, err);
}

void interactions_free(Interactions *x) {
    intern_free(&x->users);
    intern_free(&x->items);
    intern_free(&x->titles);
    free(x->title), free(x->event);
    *x = (Interactions){0};
}
