// A log of interactions, or the file of its items, as records of text fields, whatever the format: one reader a kind of
// file (records_lines.c, records_csv.c, records_json.c) behind records_next. Nothing is kept but the present record.
#ifndef DATA_RECORDS_H
#define DATA_RECORDS_H

#include "data/csv.h"
#include "data/jsonl.h"
#include "data/lines.h"

typedef enum RecordsRole { RECORDS_LOG, RECORDS_ITEMS, RECORDS_ROLES } RecordsRole;

typedef enum RecordField {
    RECORD_USER,
    RECORD_ITEM,
    RECORD_TIME,
    RECORD_RATING,
    RECORD_TITLE,
    RECORD_TEXT,
    RECORD_FIELDS
} RecordField;

// What the user says of the fields: the name of each, and RECORDS_ORDER: the fields of a log without a header, tsv or csv, as
// "user,item,-,time" has them ('-' is passed over).
enum { RECORDS_ORDER = RECORD_FIELDS, RECORDS_NAMES };

typedef struct RecordText {
    const char *s; // not terminated; NULL: the record has none
    size_t n;
} RecordText;

typedef enum RecordsKind {
    RECORDS_NONE,      // the format has no such file
    RECORDS_CELLS,     // fields between a delimiter, no header
    RECORDS_COLONS,    // fields between "::", no header; a title may hold "::"
    RECORDS_TYPED,     // tabs, a header of name:type
    RECORDS_HEADED,    // tabs, a header; fields may stand in quotes
    RECORDS_CSV,       // RFC 4180 with a header
    RECORDS_JSON,      // one object a line
    RECORDS_SEQUENCES, // a user and its items between blanks
} RecordsKind;

// How one file of a format looks. Names that are tried one after the other stand between '|'; a '*' before one means "ends
// in".
typedef struct RecordsShape {
    RecordsKind kind;
    char delimiter;                  // RECORDS_CELLS
    int fields, at[RECORD_FIELDS];   // without a header: how many fields, and where each stands (-1: nowhere)
    const char *name[RECORD_FIELDS]; // with names; NULL: it has none
    int latin1;                      // ISO-8859-1 unless it is UTF-8
} RecordsShape;

typedef struct RecordsFormat {
    const char *name; // as --format has it
    RecordsShape shape[RECORDS_ROLES];
    int any_names;                    // the user may name the columns
    int numbered;                     // ids are whole numbers: records_is_number
    double least_rating, rating_step; // ratings are 1, 1 + step, ... 5, from `least`; step 0: any number
    int unit;                         // of a time: 1 or 1000 a second; 0: the first record tells
    int published_titles;             // the published title rules are the default
    const char *category;             // or NULL: the folder's name
} RecordsFormat;

#define RECORDS_FORMATS "amazon-2018|amazon-2023|ml-1m|ml-100k|ml-csv|recbole|tsv|csv|jsonl|sequences|latentr3"
const RecordsFormat *records_format(const char *name); // NULL: unknown

typedef struct Records {
    const RecordsFormat *format;
    const RecordsShape *shape;
    RecordsRole role;
    RecordText field[RECORD_FIELDS]; // the present record, valid until the next
    Lines lines;
    // Inside.
    int fields, at[RECORD_FIELDS]; // places in a line
    char delimiter;                // of a line
    char *member[RECORD_FIELDS];   // JSON: names
    Jsonl json;
    Csv csv;
    Str joined;           // CSV: a record of several lines; tabs: a line without its quotes
    Str whole, converted; // a small file as it was, and in UTF-8
    const char *rest;     // of a sequence
    Str names;            // of the header, shortened, for messages
} Records;

// RECORD_TEXT, an item's index text, has no names of its own: it is found where the user names it, in a file of items whose
// fields have names. column[f] is the name of a field as the user gave it, or NULL; with it the others are found by themselves
// all the same. A header that lacks what is needed (user and item, or item and title) is refused. records_close is due in any
// case.
int records_open(Records *r, const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES],
                 const char *data, size_t bytes, const char *name, Err *err); // the bytes must outlive `r`
int records_open_stream(Records *r, const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES],
                        Stream *stream, const char *name, Err *err);
void records_close(Records *r);
int records_has(const Records *r, RecordField field);
extern const char *const records_field_name[RECORD_FIELDS]; // as options and dataset.json have them
int records_latin1(const Records *r);                       // whether the file was read as ISO-8859-1

// 1: a record; 0: the end; RECORDS_BAD: a bad line in a sound file, `err` says why; -1: the file is damaged.
enum { RECORDS_BAD = 2 };
int records_next(Records *r, Err *err);
int records_bad(const Records *r, const char *why, Err *err); // fills err with file, line and why; returns RECORDS_BAD

// What the beginning of a file looks like: 1 with format and role; 0 where it is nothing that is known; RECORDS_MISNAMED: a
// format with names of its own, where the user gave others, and none that takes any reads it. `column` as above.
enum { RECORDS_MISNAMED = 2 };
int records_sniff(const RecordsFormat **format, RecordsRole *role, const char *const column[RECORDS_NAMES], const char *head,
                  size_t bytes);
int records_is_number(RecordText id); // from 1 to 2147483647
// Why the beginning of a file with a header, or members, has not that role: 1 with `err` filled, which names `name`; 0: nothing
// is known. format: NULL to guess.
int records_why_not(const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES], const char *head,
                    size_t bytes, const char *name, Err *err);
// jsonl, tsv or csv by the first line, or NULL.
const RecordsFormat *records_guess(const char *head, size_t bytes);
// Whether the beginning of a file holds a record of a log in that format, of which `column` may say all; 0: `err` says why not.
int records_reads(const RecordsFormat *format, const char *const column[RECORDS_NAMES], const char *head, size_t bytes,
                  const char *name, Err *err);
// -1 where the user gave a name that such a file must have to a format with others. `name`: the file, or NULL where the format
// was forced.
int records_check_names(const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES],
                        const char *name, Err *err);
// -1 where the header has no column of that name for the field, which the user gave; `err` says what it has.
int records_check_named(const Records *r, RecordField field, const char *name, Err *err);
// -1 where the beginning of a file is no text, as lines.h has it: empty, UTF-16, a NUL byte, ...
int records_check_text(const char *head, size_t bytes, const char *name, Err *err);

#endif
