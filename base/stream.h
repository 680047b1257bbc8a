// A file read from its beginning to its end, ahead of the reader in a thread of its own; gzip, known by its first bytes and
// not by its name, is inflated there. What lies between the two threads is bounded, however large the file is.
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Stream Stream;

enum { STREAM_BLOCK = 256 << 10 };

// A regular file or a pipe. NULL with `err` filled where it cannot be opened.
Stream *stream_open(const char *path, Err *err);

// The next bytes: 1 with *data (STREAM_BLOCK of them but at the end, valid until the next call); 0 at the end; -1 where the
// file cannot be read or is no sound gzip (cut off, checksum, bytes behind it).
int stream_next(Stream *s, const char **data, size_t *bytes, Err *err);

// The bytes that the first stream_next will give, without taking them; *bytes 0 where there are none. -1 as stream_next.
int stream_peek(Stream *s, const char **data, size_t *bytes, Err *err);

int stream_is_gzip(const Stream *s);                                   // after the first bytes
void stream_progress(Stream *s, uint64_t *done, uint64_t *file_bytes); // of the file as it lies there; a pipe has 0 bytes
void stream_hash(const Stream *s, char hex[33]);                       // as file_hash; after the end
void stream_close(Stream *s);                                          // NULL is fine

#endif
