// One row of the published layout with all its columns: read from a split's CSV, written to one. rows.c keeps of it what
// the model needs; prepare.c writes it.
#ifndef DATA_COLUMNS_H
#define DATA_COLUMNS_H

#include "data/csv.h"

// In the order in which they are written.
typedef enum Column {
    COLUMN_USER,           // user_id
    COLUMN_HISTORY_ASIN,   // item_asins
    COLUMN_ASIN,           // item_asin
    COLUMN_HISTORY_ITEM,   // history_item_id
    COLUMN_ITEM,           // item_id
    COLUMN_HISTORY_TITLE,  // history_item_title
    COLUMN_TITLE,          // item_title
    COLUMN_HISTORY_RATING, // history_rating
    COLUMN_RATING,         // rating
    COLUMN_HISTORY_TIME,   // history_timestamp
    COLUMN_TIME,           // timestamp
    COLUMNS
} Column;

#define COLUMN_BIT(column) (1u << (column))
enum {
    COLUMNS_ALL = (1 << COLUMNS) - 1,
    COLUMNS_RATINGS = 1 << COLUMN_RATING | 1 << COLUMN_HISTORY_RATING, // left out where a log has none
    COLUMNS_NEEDED = 1 << COLUMN_USER | 1 << COLUMN_HISTORY_ITEM | 1 << COLUMN_ITEM | 1 << COLUMN_HISTORY_TITLE |
                     1 << COLUMN_TITLE | 1 << COLUMN_TIME
};

#define COLUMNS_TIME_LIMIT 4102444800 // 2100-01-01: a later one is most likely in milliseconds

typedef struct ColumnsRow {
    const char *user, *asin, *title;
    int64_t item, timestamp;
    double rating;
    int n;                            // history, at least 1
    const char *const *history_asin;  // (n); like all columns that are not needed NULL or 0 where the file has it not
    const char *const *history_title; // (n)
    const int64_t *history_item;      // (n)
    const int64_t *history_timestamp; // (n)
    const double *history_rating;     // (n)
} ColumnsRow;

typedef struct ColumnsReader {
    Csv csv;
    unsigned present;   // COLUMN_BIT of the columns that the file has
    int field[COLUMNS]; // where they stand
    int fields;         // of the header
    // The present row: a text of its own for each column, a list as it was parsed, and its elements apart.
    Str text[COLUMNS];
    CsvList list[COLUMNS];
    const char **strings[COLUMNS];
    int64_t *integers[COLUMNS];
    double *numbers[COLUMNS];
    int cap; // of each of the arrays
} ColumnsReader;

// Reads the header. Columns are found by name; unknown ones are passed over; a column that is missing or stands twice is
// refused. The bytes must outlive `r`; columns_close is due in either case.
int columns_open(ColumnsReader *r, const char *data, size_t bytes, const char *name, Err *err);
// 1: a row, valid until the next call; 0: the end; COLUMNS_BAD: a bad row in a sound file, `err` says why, and reading may go
// on; -1: the file is damaged.
enum { COLUMNS_BAD = 2 };
int columns_next(ColumnsReader *r, ColumnsRow *row, Err *err);
void columns_close(ColumnsReader *r);
// Whether something of the present row is later than what follows it; `err` says so.
int columns_out_of_order(const ColumnsReader *r, const ColumnsRow *row, Err *err);
void columns_tell_order(const char *name, int64_t rows); // in the log, that so many of them are kept

// Text of the header and of a row as Python's csv module writes them; `present` says which columns.
void columns_put_header(Str *out, unsigned present);
void columns_put_row(Str *out, const ColumnsRow *row, unsigned present);

#endif
