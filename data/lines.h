// A text file line by line, a line cut into fields at a delimiter; and what becomes of bad lines.
#ifndef DATA_LINES_H
#define DATA_LINES_H

#include "base/err.h"
#include "base/stream.h"
#include "base/vec.h"
#include <stddef.h>
#include <stdint.h>

enum { LINES_LIMIT = 1 << 20, LINES_FIELDS = 64 };

typedef struct Lines {
    const char *name;     // borrowed
    size_t limit;         // most bytes of a line; LINES_LIMIT unless it is set otherwise behind lines_open
    int64_t line;         // number of the present line, from 1
    const char *text;     // the present line, without its end; valid until the next
    size_t len, at_bytes; // at_bytes: of the file (where it is gzip, of what is in it), where the line begins
    int n;                // its fields; where there are more than LINES_FIELDS the last one holds the rest
    const char *field[LINES_FIELDS];
    size_t field_len[LINES_FIELDS];
    // Inside: the bytes at hand, and a line that lies in several blocks of the stream.
    Stream *stream; // borrowed; NULL: the bytes at hand are all
    const char *data;
    size_t bytes, at, before; // before: bytes of the file that lie before `data`
    Str carry;
} Lines;

// A byte order mark is passed over; an empty file and UTF-16 are refused. lines_close is due in any case.
int lines_open(Lines *l, const char *data, size_t bytes, const char *name, Err *err); // the bytes must outlive `l`
int lines_open_stream(Lines *l, Stream *stream, const char *name, Err *err);
void lines_close(Lines *l);

// 1: a line was read and cut at the delimiter (0: it is left in one piece); 0: the end; -1: a NUL byte, a carriage return
// without line feed, bytes that are not UTF-8, a line over the limit, or a stream that cannot be read. Lines end in LF or
// CRLF; empty ones are passed over.
int lines_next(Lines *l, char delimiter, Err *err);

// The first bad lines are named in the log, all are counted; a strict reader stops at the first.
typedef struct BadLines {
    const char *name; // of the file
    int strict;
    int64_t count;
    Err first;
} BadLines;

// `why` names file and line. Returns -1 with err = why where the reader is strict, else 0.
int lines_bad(BadLines *b, const Err *why, Err *err);
void lines_bad_total(const BadLines *b); // one line in the log where there were more than were named
// -1 where all rows were bad: such a file is refused.
int lines_bad_only(const BadLines *b, int64_t good, Err *err);

#endif
