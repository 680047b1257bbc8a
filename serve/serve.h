// `latentr3 serve`: recommendations over HTTP. Three threads: this one talks with clients (http.h), the worker owns the model
// (worker.h), the keeper changes models and items (keeper.h).
//
//   client -> http.c -> routes.c -> request.c -> queue.c -> worker.c -> engine.c -> rec/
//                                             -> keeper.c (reload, items)
//   and back: answer.c -> Outbox -> routes.c -> http.c
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

#include "serve/keeper.h"
#include <stdatomic.h>

typedef struct ServeOptions {
    const char *host;
    int port;             // 0: any that is free
    const char *key_file; // one API key a line; NULL: none is asked for, and the address must be a loopback one
    EngineOptions engine;
    int beams;                      // where a request says nothing
    int queue;                      // users that may wait
    void (*ready)(const char *url); // called when requests are answered, unless *stop is set by then
} ServeOptions;

// Serves until *stop is set (app/interrupt.h), and returns when all that was asked is answered.
int serve_run(const ServeOptions *o, const Opener *opener, const atomic_int *stop, Err *err);

#endif
