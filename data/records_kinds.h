// The readers of one kind of file each, behind records.h.
#ifndef DATA_RECORDS_KINDS_H
#define DATA_RECORDS_KINDS_H

#include "data/records.h"

enum { RECORDS_NAME_LIMIT = 256 }; // bytes of a column's name

// The names to look for: the user's where he gave one, else the shape's.
static inline const char *records_names(const Records *r, const char *const column[RECORD_FIELDS], int field) {
    int named = r->format->any_names && column && column[field] && r->shape->name[field];
    return named ? column[field] : r->shape->name[field];
}

// What is_there says (not -1) of the first name of "a|b|*c" that it knows, or -1; suffix: the name only ends in it.
typedef int (*RecordsIsThere)(void *context, const char *name, size_t n, int suffix);
int records_find(const char *alternatives, RecordsIsThere is_there, void *context);

int records_refuse(const Records *r, const char *why, Err *err); // names file and line; -1
// That the fields that are needed, or asked for, were found.
int records_check_header(const Records *r, const char *const column[RECORD_FIELDS], Err *err);

// open: behind lines_open; head: the first bytes of the file, for kinds that look ahead. next: as records_next.
int records_lines_open(Records *r, const char *const column[RECORD_FIELDS], Err *err);
int records_lines_next(Records *r, Err *err);
int records_csv_open(Records *r, const char *const column[RECORD_FIELDS], Err *err);
int records_csv_next(Records *r, Err *err);
int records_json_open(Records *r, const char *const column[RECORD_FIELDS], const char *head, size_t bytes, Err *err);
int records_json_next(Records *r, Err *err);

#endif
