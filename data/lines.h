// A text file line by line, a line cut into fields at a delimiter; and what becomes of bad lines.
#ifndef DATA_LINES_H
#define DATA_LINES_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum { LINES_LIMIT = 1 << 20, LINES_FIELDS = 64 };

typedef struct Lines {
    const char *data, *name; // borrowed
    size_t bytes, at;
    int64_t line;     // number of the present line, from 1
    const char *text; // the present line, without its end
    size_t len;
    int n; // its fields; where there are more than LINES_FIELDS the last one holds the rest
    const char *field[LINES_FIELDS];
    size_t field_len[LINES_FIELDS];
} Lines;

// Begins as csv_begin says. The bytes must outlive `l`.
int lines_open(Lines *l, const char *data, size_t bytes, const char *name, Err *err);
// 1: a line was read and cut; 0: the end; -1: a NUL byte, a carriage return without line feed, bytes that are not UTF-8, or
// a line over LINES_LIMIT bytes. Lines end in LF or CRLF; empty ones are passed over.
int lines_next(Lines *l, char delimiter, Err *err);

// The first bad lines are named in the log, all are counted; a strict reader stops at the first.
typedef struct BadLines {
    const char *name; // of the file
    int strict;
    int64_t count;
} BadLines;

// `why` names file and line. Returns -1 with err = why where the reader is strict, else 0.
int lines_bad(BadLines *b, const Err *why, Err *err);
void lines_bad_total(const BadLines *b); // one line in the log where there were more than were named

#endif
