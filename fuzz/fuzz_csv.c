// Any bytes as a split's CSV, as the rows behind its header, and as one list literal: refused with a line, or rows that are
// the same when they are written and read again.
#include "base/log.h"
#include "base/utf8.h"
#include "data/columns.h"
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void refused(const Err *err) {
    EXPECT(err->code == ERR_DATA && err->message[0] && !strchr(err->message, '\n'));
}

// The good rows as text; the file may be damaged behind them.
static int written(Str *out, const char *data, size_t bytes) {
    ColumnsReader r;
    ColumnsRow row;
    Err err = {0};
    int status = columns_open(&r, data, bytes, "fuzz", &err), rows = 0;
    if (status == 0) columns_put_header(out, r.present);
    while (status == 0 && (status = columns_next(&r, &row, &err)) > 0) {
        if (status == 1) columns_put_row(out, &row, r.present), rows++;
        status = 0;
    }
    if (status) refused(&err);
    columns_close(&r);
    return rows;
}

static void check_file(const char *data, size_t bytes) {
    Str once = {0}, twice = {0};
    int rows = written(&once, data, bytes);
    if (rows) {
        EXPECT(written(&twice, once.data, once.len) == rows);
        EXPECT(twice.len == once.len && memcmp(twice.data, once.data, once.len) == 0);
    }
    Rows all;
    Err err = {0};
    for (int strict = 0; strict < 2; strict++) {
        if (rows_parse(&all, data, bytes, "fuzz", "fuzz", 0, strict, &err)) {
            refused(&err);
        } else {
            EXPECT(all.n == rows && (!strict || (all.bad == 0 && all.unordered == 0)));
            for (int i = 0; i < all.n; i++) EXPECT(all.row[i].n > 0 && all.row[i].title[all.row[i].n - 1][0]);
            rows_free(&all);
        }
    }
    str_free(&once), str_free(&twice);
}

static void put_value(Str *out, const CsvList *list, const CsvValue *v) {
    if (v->kind == CSV_STRING)
        csv_put_repr(out, list->text.data + v->text, v->len);
    else if (v->kind == CSV_INT)
        csv_put_int(out, v->integer);
    else
        csv_put_float(out, v->number);
}

static void check_list(const char *data, size_t bytes) {
    CsvList list = {0}, again = {0};
    Err err = {0};
    Str text = {0};
    if (csv_list_parse(&list, data, bytes, &err)) {
        refused(&err);
    } else if (utf8_check(data, bytes) == bytes) { // which a record is before its lists are read
        str_puts(&text, "[");
        for (int i = 0; i < list.n; i++) {
            if (i) str_puts(&text, ", ");
            put_value(&text, &list, &list.value[i]);
        }
        str_puts(&text, "]");
        EXPECT(csv_list_parse(&again, text.data, text.len, &err) == 0 && again.n == list.n);
        for (int i = 0; i < list.n; i++) {
            const CsvValue *a = &list.value[i], *b = &again.value[i];
            EXPECT(a->kind == b->kind && a->len == b->len && a->integer == b->integer && a->number == b->number);
            EXPECT(memcmp(list.text.data + a->text, again.text.data + b->text, a->len) == 0);
        }
    }
    csv_list_free(&list), csv_list_free(&again);
    str_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    log_level = LOG_ERROR - 1;
    Str with_header = {0};
    columns_put_header(&with_header, COLUMNS_ALL);
    str_append(&with_header, data, bytes);
    check_file((const char *)data, bytes);
    check_file(with_header.data, with_header.len);
    check_list((const char *)data, bytes);
    str_free(&with_header);
    return 0;
}
