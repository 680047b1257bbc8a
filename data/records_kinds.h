// The readers of one kind of file each, behind records.h.
#ifndef DATA_RECORDS_KINDS_H
#define DATA_RECORDS_KINDS_H

#include "data/records.h"

#include <string.h>
#include <strings.h>

enum { RECORDS_NAME_LIMIT = 256 }; // bytes of a column's name

// The names to look for: the user's where he gave one, else the shape's.
static inline const char *records_names(const Records *r, const char *const column[RECORDS_NAMES], int field) {
    if (field == RECORD_TEXT) return r->role == RECORDS_ITEMS && column ? column[RECORD_TEXT] : NULL;
    int named = r->format->any_names && column && column[field] && r->shape->name[field];
    return named ? column[field] : r->shape->name[field];
}

// The names to try where those are not there, or NULL: the item's id may have the user's name in the log alone.
static inline const char *records_other_names(const Records *r, int field) {
    return r->role == RECORDS_ITEMS && field == RECORD_ITEM ? r->shape->name[field] : NULL;
}

typedef enum RecordsMatch { RECORDS_EXACT, RECORDS_ENDS_IN, RECORDS_ANY_CASE } RecordsMatch;
static inline int records_is_name(const char *s, size_t len, const char *name, size_t n, RecordsMatch how) {
    if (how == RECORDS_ENDS_IN) return len > n && memcmp(s + len - n, name, n) == 0;
    return len == n && (how == RECORDS_ANY_CASE ? strncasecmp(s, name, n) : memcmp(s, name, n)) == 0;
}

// What is_there says (not -1) of the first of the field's names, "a|b|*c", that it knows, or -1.
typedef int (*RecordsIsThere)(void *context, const char *name, size_t n, RecordsMatch how);
int records_find_field(const Records *r, const char *const column[RECORDS_NAMES], int field, RecordsIsThere is_there,
                       void *context);

// The places of the fields in a log without a header, where the user gave them (RECORDS_ORDER): 1; 0: he did not.
int records_order(Records *r, const char *const column[RECORDS_NAMES], Err *err);
int records_refuse(const Records *r, const char *why, Err *err); // names file and line; -1
// Behind records_open: whether the column or member of that name is what is read as the field.
int records_is_read(const Records *r, int field, const char *name);
// Whether a name that the user gave must be in such a file; that of a log's title and an item's id may be in the other one.
static inline int records_is_due(RecordsRole role, int field) {
    return role == RECORDS_LOG ? field <= RECORD_RATING : field == RECORD_TITLE;
}
void records_put_name(Records *r, const char *s, size_t n); // one that the header has, for messages
// That the fields that are needed, or asked for, were found.
int records_check_header(const Records *r, const char *const column[RECORDS_NAMES], Err *err);

// open: behind lines_open; head: the first bytes of the file, for kinds that look ahead. next: as records_next.
int records_lines_open(Records *r, const char *const column[RECORDS_NAMES], const char *head, size_t bytes, Err *err);
int records_lines_next(Records *r, Err *err);
int records_csv_open(Records *r, const char *const column[RECORDS_NAMES], Err *err);
int records_csv_next(Records *r, Err *err);
int records_json_open(Records *r, const char *const column[RECORDS_NAMES], const char *head, size_t bytes, Err *err);
int records_json_has(const Records *r, RecordField field, const char *head, size_t bytes); // one of the first lines
int records_json_next(Records *r, Err *err);

#endif
