// Which request means what.
#ifndef SERVE_ROUTES_H
#define SERVE_ROUTES_H

#include "serve/http.h"
#include "serve/keeper.h"

typedef struct Keys {
    char **key; // (n)
    int n;
} Keys;

typedef struct Routes {
    Http *http;
    Queue *queue;
    Keeper *keeper;
    Counters *counters;
    RequestLimits limits;
    const char *host; // by which name the server was told to listen
    Keys keys;        // none: whoever reaches the address may ask
    double started;
} Routes;

// One key a line, at least ROUTES_KEY_BYTES bytes of ASCII; empty lines and those that begin with # are passed over.
enum { ROUTES_KEY_BYTES = 16 };
int routes_read_keys(Keys *keys, const char *path, Err *err);
void routes_free_keys(Keys *keys);

// All of `r` but http is set before http_open, http after it.
HttpCalls routes_calls(Routes *r);

#endif
