// What stands behind the public handle (include/latentr3.h): the server's engine (serve/engine.h) under a lock.
#ifndef LIB_HANDLE_H
#define LIB_HANDLE_H

#include "app/options.h"
#include "include/latentr3.h"
#include "rec/reader.h"
#include "serve/engine.h"

#include <pthread.h>

struct latentr3 {
    pthread_mutex_t lock; // of all that computes
    Options o;
    Model *model;
    Shelf *shelf;
    Engine *engine;
    Reader scoring; // of a language model, opened when it is first asked for
    int scores;
};

// Runs `work` in a thread of its own and waits for it: what computes starts OpenMP threads, and those of the caller, what is
// theirs alone, and a parallel region that the caller may be in are the host program's.
typedef int HandleWork(void *context, Err *err);
int handle_run(HandleWork *work, void *context, Err *err);

// Fills *error (which may be NULL) and returns the code.
int handle_fail(latentr3_error *error, const Err *err);

// The query with what its caller does not know of as zero.
int handle_query(latentr3_query *q, const latentr3_query *given, Err *err);
// What is at fault with the histories of a call.
int handle_histories(const latentr3 *r, const latentr3_history *history, int users, const latentr3_query *q, Err *err);

#endif
