// Errors that a caller can meet: bad input or a bad environment. A function that can fail returns 0 or -1 and
// fills `Err` (its last parameter); a bug stops the program through CHECK. Only app/ exits, but for
// memory that is spent (base/arena.c) and ranks that are lost (train/watch.c, train/mpi/mpi.c).
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

// The values are the program's exit codes.
enum { ERR_OK = 0, ERR_USAGE = 2, ERR_DATA = 3, ERR_IO = 4, ERR_MEMORY = 5, ERR_INTERNAL = 6 };

typedef struct Err {
    int code;          // one of the above
    char message[640]; // one line, printable; names the file, the place in it and the limit
} Err;

// Fill `err` (which may be NULL) and return -1. Bytes of the input that a terminal would act on are escaped.
int err_set(Err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// As err_set, with strerror(errno) behind the message; the code is ERR_MEMORY for ENOMEM and ERR_IO else.
int err_errno(Err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Put "prefix: " before the message of an error that is already set; returns -1.
int err_prefix(Err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// A condition that only a bug can break. Active in release builds too.
#define CHECK(condition) ((condition) ? (void)0 : err_check_failed(#condition, __FILE__, __LINE__))
void err_check_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

#endif
