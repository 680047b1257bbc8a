// CSV with a header, read as a stream: a record is the lines up to the one that closes its quotes.
#include "data/records_kinds.h"

#include <stdio.h>
#include <string.h>

static int odd_quotes(const char *s, size_t n) {
    int odd = 0;
    for (const char *end = s + n; (s = memchr(s, '"', (size_t)(end - s))); s++) odd = !odd;
    return odd;
}

// As csv_next, of the present lines.
static int next_record(Records *r, Err *err) {
    Lines *l = &r->lines;
    Csv *c = &r->csv;
    int status = lines_next(l, 0, err);
    if (status <= 0) return status;
    c->name = l->name;
    c->line = l->line;
    c->data = l->text;
    c->bytes = l->len;
    c->at = 0;
    if (!odd_quotes(l->text, l->len)) return csv_next(c, err);
    str_clear(&r->joined);
    str_append(&r->joined, l->text, l->len);
    while (r->joined.len < CSV_RECORD_LIMIT && (status = lines_next(l, 0, err)) == 1) {
        str_puts(&r->joined, "\n");
        str_append(&r->joined, l->text, l->len);
        if (odd_quotes(l->text, l->len)) break;
    }
    if (status < 0) return -1;
    c->data = r->joined.data;
    c->bytes = r->joined.len;
    return csv_next(c, err);
}

static int header_field(void *context, const char *name, size_t n, RecordsMatch how) {
    const Csv *c = context;
    for (int i = 0; i < c->n; i++) {
        size_t len;
        const char *s = csv_field(c, i, &len);
        if (records_is_name(s, len, name, n, how)) return i;
    }
    return -1;
}

int records_csv_open(Records *r, const char *const column[RECORDS_NAMES], Err *err) {
    int status = records_order(r, column, err);
    if (status) return status < 0 ? -1 : 0;
    status = next_record(r, err);
    if (status < 0) return -1;
    if (status == 0) return err_set(err, ERR_DATA, "%s: no header", r->lines.name);
    r->fields = r->csv.n;
    for (int i = 0; i < r->fields; i++) {
        size_t n;
        const char *s = csv_field(&r->csv, i, &n);
        records_put_name(r, s, n);
        if (header_field(&r->csv, s, n, RECORDS_EXACT) < i) return records_refuse(r, "a field of the header stands twice", err);
    }
    for (int f = 0; f < RECORD_FIELDS; f++) r->at[f] = records_find_field(r, column, f, header_field, &r->csv);
    return records_check_header(r, column, err);
}

int records_csv_next(Records *r, Err *err) {
    int status = next_record(r, err);
    if (status <= 0) return status;
    if (r->csv.n != r->fields) {
        char why[64];
        snprintf(why, sizeof why, "%d fields where there should be %d", r->csv.n, r->fields);
        return records_bad(r, why, err);
    }
    for (int f = 0; f < RECORD_FIELDS; f++) {
        r->field[f] = (RecordText){0};
        if (r->at[f] >= 0) r->field[f].s = csv_field(&r->csv, r->at[f], &r->field[f].n);
    }
    return 1;
}
