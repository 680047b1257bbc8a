// CSV records (RFC 4180, over bytes in memory) and the Python list literals that stand in some of their fields.
// Pure parsing: nothing is evaluated, and a list holds strings and numbers only.
#ifndef DATA_CSV_H
#define DATA_CSV_H

#include "base/err.h"
#include "base/vec.h"
#include <stddef.h>
#include <stdint.h>

enum { CSV_FIELD_LIMIT = 1 << 20, CSV_RECORD_LIMIT = 16 << 20, CSV_FIELDS_LIMIT = 256, CSV_LIST_LIMIT = 1 << 16 };

typedef struct CsvField {
    size_t at, len; // in the data, or in `unquoted` where the field had doubled quotes
    int copied;
} CsvField;

typedef struct Csv {
    const char *data, *name; // borrowed
    size_t bytes, at;
    int64_t line;        // of the next byte, from 1; line ends inside quotes count
    int64_t record_line; // where the present record begins
    size_t record_at, record_bytes;
    int n; // fields of the present record
    CsvField field[CSV_FIELDS_LIMIT];
    Str unquoted;
} Csv;

// Where the text of a file begins: behind a byte order mark, if there is one. An empty file and UTF-16 are refused.
int csv_begin(size_t *at, const char *data, size_t bytes, const char *name, Err *err);

int csv_open(Csv *c, const char *data, size_t bytes, const char *name, Err *err); // the bytes must outlive `c`
// 1: a record was read; 0: the end; -1: the file is damaged (quotes, line ends, encoding, limits) and cannot be read on.
// Lines end in LF or CRLF; empty lines are passed over, as Python's csv.DictReader does.
int csv_next(Csv *c, Err *err);
const char *csv_field(const Csv *c, int i, size_t *len); // not terminated; valid until the next record
void csv_close(Csv *c);

typedef enum CsvKind { CSV_STRING, CSV_INT, CSV_FLOAT } CsvKind;

typedef struct CsvValue {
    CsvKind kind;
    size_t text, len; // CSV_STRING: place in the list's text, terminated; without NUL inside
    int64_t integer;
    double number; // CSV_INT and CSV_FLOAT
} CsvValue;

typedef struct CsvList {
    int n, cap;
    CsvValue *value;
    Str text;
} CsvList;

// ['a', "it's", 5, 5.0] as Python writes it. Anything else (calls, names, nesting, prefixes, two strings side by side,
// numbers not in plain form) is refused; the message names the byte of the field.
int csv_list_parse(CsvList *list, const char *s, size_t n, Err *err);
void csv_list_free(CsvList *list);

// A number in plain form: 0, 17, -3 (CSV_INT, within 64 bits) or 5.0, 1e-05 (CSV_FLOAT, finite). No blanks, no leading
// zeros, no plus. Returns the bytes it takes, 0 where there is none.
size_t csv_number(CsvValue *value, const char *s, size_t n);

// Writing, byte for byte as Python's csv.writer and repr() do: records end in CRLF.
void csv_put_field(Str *out, const char *s, size_t n); // with quotes where it needs them
void csv_put_repr(Str *out, const char *s, size_t n);  // repr() of a UTF-8 string
void csv_put_int(Str *out, int64_t x);
void csv_put_float(Str *out, double x); // repr() of a finite float

#endif
