// Which files an input is made of: the log, the file of its items, and the format of each, by what stands in them.
#ifndef DATA_SOURCE_H
#define DATA_SOURCE_H

#include "data/records.h"

typedef struct SourceFile {
    char *path; // NULL: there is none
    const RecordsFormat *format;
    Stream *stream; // open, at its beginning
} SourceFile;

typedef struct Source {
    SourceFile log, items; // of the published layout `log` is the folder, without a stream
    Err no_items;          // its code set: a damaged file beside the log may be that of its items; none was taken
    char *category; // the phrase to use where none is given: "movie", the name of the folder, "item" where the input has none
} Source;

// input: a log, or a folder with one. items: a file, or NULL to look for one beside the log. format: NULL to look.
// Where a folder has several candidates, well-known names decide (ratings.dat, u.data, ...; for items a name like the log's).
// A damaged file whose name ends as data does (.csv, .json.gz, ...) is a candidate too, and refused where it would be taken.
// source_close is due in either case.
int source_open(Source *s, const char *input, const char *items, const RecordsFormat *format,
                const char *const column[RECORDS_NAMES], Err *err);
// The same, but nothing is said, and streams may be closed: only paths and formats are of use.
int source_find(Source *s, const char *input, const char *items, const RecordsFormat *format,
                const char *const column[RECORDS_NAMES], Err *err);
void source_close(Source *s);
int source_is_published(const Source *s); // the log is rows already

#endif
