#include "data/columns.h"
#include "base/arena.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum Form { TEXT, IDENTITY, NUMBER, TIME } Form;

static const struct {
    const char *name;
    Form form;
    int list;
} column_table[COLUMNS] = {
    [COLUMN_USER] = {"user_id", TEXT, 0},     [COLUMN_HISTORY_ASIN] = {"item_asins", TEXT, 1},
    [COLUMN_ASIN] = {"item_asin", TEXT, 0},   [COLUMN_HISTORY_ITEM] = {"history_item_id", IDENTITY, 1},
    [COLUMN_ITEM] = {"item_id", IDENTITY, 0}, [COLUMN_HISTORY_TITLE] = {"history_item_title", TEXT, 1},
    [COLUMN_TITLE] = {"item_title", TEXT, 0}, [COLUMN_HISTORY_RATING] = {"history_rating", NUMBER, 1},
    [COLUMN_RATING] = {"rating", NUMBER, 0},  [COLUMN_HISTORY_TIME] = {"history_timestamp", TIME, 1},
    [COLUMN_TIME] = {"timestamp", TIME, 0},
};

// ---- reading ----

static int header_column(ColumnsReader *r, int place, const char *name, size_t len, Err *err) {
    for (int c = 0; c < COLUMNS; c++) {
        if (strlen(column_table[c].name) != len || memcmp(column_table[c].name, name, len) != 0) continue;
        if (r->present & COLUMN_BIT(c))
            return err_set(err, ERR_DATA, "%s: line %lld: the column %s stands twice", r->csv.name,
                           (long long)r->csv.record_line, column_table[c].name);
        r->present |= COLUMN_BIT(c);
        r->field[c] = place;
    }
    return 0;
}

int columns_open(ColumnsReader *r, const char *data, size_t bytes, const char *name, Err *err) {
    memset(r, 0, sizeof *r);
    if (csv_open(&r->csv, data, bytes, name, err)) return -1;
    int status = csv_next(&r->csv, err);
    if (status == 0) return err_set(err, ERR_DATA, "%s: no header", name);
    if (status < 0) return -1;
    r->fields = r->csv.n;
    for (int i = 0; i < r->fields; i++) {
        size_t len;
        const char *field = csv_field(&r->csv, i, &len);
        if (header_column(r, i, field, len, err)) return -1;
    }
    for (int c = 0; c < COLUMNS; c++)
        if (COLUMNS_NEEDED & COLUMN_BIT(c) & ~r->present)
            return err_set(err, ERR_DATA, "%s: line %lld: no column %s", name, (long long)r->csv.record_line,
                           column_table[c].name);
    return 0;
}

void columns_close(ColumnsReader *r) {
    csv_close(&r->csv);
    for (int c = 0; c < COLUMNS; c++) {
        str_free(&r->text[c]);
        csv_list_free(&r->list[c]);
        free(r->strings[c]), free(r->integers[c]), free(r->numbers[c]);
    }
    memset(r, 0, sizeof *r);
}

// Why a value cannot stand in a column of that form; NULL where it can.
static const char *form_fault(Form form, const CsvValue *v) {
    switch (form) {
    case TEXT: return v->kind != CSV_STRING ? "text in quotes expected" : v->len == 0 ? "an empty text" : NULL;
    case IDENTITY: return v->kind != CSV_INT || v->integer < 0 ? "an item number (0, 1, 2, ...) expected" : NULL;
    case NUMBER: return v->kind == CSV_STRING ? "a number expected" : NULL;
    case TIME:
        return v->kind != CSV_INT                                   ? "seconds since 1970 as a whole number expected"
               : v->integer < 0 || v->integer >= COLUMNS_TIME_LIMIT ? "a time outside of 1970 to 2099 in seconds"
                                                                    : NULL;
    }
    return "unknown form";
}

static int bad(const ColumnsReader *r, int column, const char *what, Err *err) {
    err_set(err, ERR_DATA, "%s: line %lld, column %s: %s", r->csv.name, (long long)r->csv.record_line,
            column_table[column].name, what);
    return COLUMNS_BAD;
}

static int bad_length(const ColumnsReader *r, int column, int other, Err *err) {
    char what[96];
    snprintf(what, sizeof what, "%d elements where %s has %d", r->list[column].n, column_table[other].name, r->list[other].n);
    return bad(r, column, what, err);
}

static void room(ColumnsReader *r, int n) {
    if (n <= r->cap) return;
    r->cap = n * 2;
    for (int c = 0; c < COLUMNS; c++) {
        if (!column_table[c].list) continue;
        r->strings[c] = mem_realloc(r->strings[c], (size_t)r->cap, sizeof *r->strings[c]);
        r->integers[c] = mem_realloc(r->integers[c], (size_t)r->cap, sizeof *r->integers[c]);
        r->numbers[c] = mem_realloc(r->numbers[c], (size_t)r->cap, sizeof *r->numbers[c]);
    }
}

static int read_list(ColumnsReader *r, int column, const char *s, size_t n, Err *err) {
    CsvList *list = &r->list[column];
    Err why = {0};
    if (csv_list_parse(list, s, n, &why)) return bad(r, column, why.message, err);
    if (list->n == 0) return bad(r, column, "an empty list", err);
    room(r, list->n);
    for (int i = 0; i < list->n; i++) {
        const CsvValue *v = &list->value[i];
        const char *fault = form_fault(column_table[column].form, v);
        if (fault) return bad(r, column, fault, err);
        r->strings[column][i] = list->text.data + v->text;
        r->integers[column][i] = v->integer;
        r->numbers[column][i] = v->number;
    }
    return 0;
}

static int read_scalar(ColumnsReader *r, int column, const char *s, size_t n, CsvValue *v, Err *err) {
    Form form = column_table[column].form;
    *v = (CsvValue){.kind = CSV_STRING, .len = n};
    if (form != TEXT && (n == 0 || csv_number(v, s, n) != n)) *v = (CsvValue){.kind = CSV_STRING};
    const char *fault = form_fault(form, v);
    if (fault) return bad(r, column, fault, err);
    str_clear(&r->text[column]);
    str_append(&r->text[column], s, n);
    return 0;
}

int columns_next(ColumnsReader *r, ColumnsRow *row, Err *err) {
    int status = csv_next(&r->csv, err);
    if (status <= 0) return status;
    if (r->csv.n != r->fields) {
        err_set(err, ERR_DATA, "%s: line %lld: %d fields where the header has %d", r->csv.name, (long long)r->csv.record_line,
                r->csv.n, r->fields);
        return COLUMNS_BAD;
    }
    CsvValue scalar[COLUMNS] = {0};
    int first = COLUMNS; // of the lists
    for (int c = 0; c < COLUMNS; c++) {
        if (!(r->present & COLUMN_BIT(c))) continue;
        size_t len;
        const char *field = csv_field(&r->csv, r->field[c], &len);
        status = column_table[c].list ? read_list(r, c, field, len, err) : read_scalar(r, c, field, len, &scalar[c], err);
        if (status) return status;
        if (!column_table[c].list) continue;
        if (first < COLUMNS && r->list[c].n != r->list[first].n) return bad_length(r, c, first, err);
        if (first == COLUMNS) first = c;
    }
    unsigned p = r->present;
    *row = (ColumnsRow){
        .user = r->text[COLUMN_USER].data,
        .asin = p & COLUMN_BIT(COLUMN_ASIN) ? r->text[COLUMN_ASIN].data : NULL,
        .title = r->text[COLUMN_TITLE].data,
        .item = scalar[COLUMN_ITEM].integer,
        .timestamp = scalar[COLUMN_TIME].integer,
        .rating = scalar[COLUMN_RATING].number,
        .n = r->list[COLUMN_HISTORY_TITLE].n,
        .history_asin = p & COLUMN_BIT(COLUMN_HISTORY_ASIN) ? r->strings[COLUMN_HISTORY_ASIN] : NULL,
        .history_title = r->strings[COLUMN_HISTORY_TITLE],
        .history_item = r->integers[COLUMN_HISTORY_ITEM],
        .history_timestamp = p & COLUMN_BIT(COLUMN_HISTORY_TIME) ? r->integers[COLUMN_HISTORY_TIME] : NULL,
        .history_rating = p & COLUMN_BIT(COLUMN_HISTORY_RATING) ? r->numbers[COLUMN_HISTORY_RATING] : NULL,
    };
    return 1;
}

int columns_out_of_order(const ColumnsReader *r, const ColumnsRow *row, Err *err) {
    const int64_t *times = row->history_timestamp;
    for (int i = 0; times && i < row->n; i++) {
        if (times[i] <= (i + 1 < row->n ? times[i + 1] : row->timestamp)) continue;
        err_set(err, ERR_DATA, "%s: line %lld, column history_timestamp: later than what follows", r->csv.name,
                (long long)r->csv.record_line);
        return 1;
    }
    return 0;
}

void columns_tell_order(const char *name, int64_t rows) {
    if (rows) log_warn("%s: %lld rows with a history that is not in time order (kept)", name, (long long)rows);
}

// ---- writing ----

void columns_put_header(Str *out, unsigned present) {
    const char *comma = "";
    for (int c = 0; c < COLUMNS; c++) {
        if (!(present & COLUMN_BIT(c))) continue;
        str_printf(out, "%s%s", comma, column_table[c].name);
        comma = ",";
    }
    str_puts(out, "\r\n");
}

// repr() of a history column; `list` is scratch.
static void put_list(Str *out, Str *list, const ColumnsRow *row, int column) {
    str_clear(list);
    for (int i = 0; i < row->n; i++) {
        const char *text = column == COLUMN_HISTORY_ASIN ? row->history_asin[i] : row->history_title[i];
        str_puts(list, i == 0 ? "[" : ", ");
        switch (column_table[column].form) {
        case TEXT: csv_put_repr(list, text, strlen(text)); break;
        case IDENTITY: csv_put_int(list, row->history_item[i]); break;
        case NUMBER: csv_put_float(list, row->history_rating[i]); break;
        case TIME: csv_put_int(list, row->history_timestamp[i]); break;
        }
    }
    str_puts(list, "]");
    csv_put_field(out, list->data, list->len);
}

static void put_scalar(Str *out, const ColumnsRow *row, int column) {
    const char *text = column == COLUMN_USER ? row->user : column == COLUMN_ASIN ? row->asin : row->title;
    switch (column_table[column].form) {
    case TEXT: csv_put_field(out, text, strlen(text)); break;
    case IDENTITY: csv_put_int(out, row->item); break;
    case NUMBER: csv_put_float(out, row->rating); break;
    case TIME: csv_put_int(out, row->timestamp); break;
    }
}

void columns_put_row(Str *out, const ColumnsRow *row, unsigned present) {
    Str list = {0};
    const char *comma = "";
    for (int c = 0; c < COLUMNS; c++) {
        if (!(present & COLUMN_BIT(c))) continue;
        str_puts(out, comma);
        comma = ",";
        if (column_table[c].list)
            put_list(out, &list, row, c);
        else
            put_scalar(out, row, c);
    }
    str_puts(out, "\r\n");
    str_free(&list);
}
