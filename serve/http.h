// HTTP on libmicrohttpd, in one thread: connections with absolute deadlines, bodies up to a limit, replies that come later.
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include "serve/queue.h"

enum {
    HTTP_BODY_BYTES = 1 << 20,    // of a request
    HTTP_SWALLOW_BYTES = 8 << 20, // a longer body is not read to its end: refused by its Content-Length, or the connection ends
    HTTP_HEADER_BYTES = 32 << 10, // address and headers of a request
    HTTP_MEMORY_BYTES = 64 << 10, // of a connection: these, what libmicrohttpd notes for each of them, and the reply's headers
    HTTP_CONNECTIONS = 4096,      // at a time, fewer where the process may not open as many files
    // Seconds that a client has, from first to last byte, whatever comes in between:
    HTTP_HEADER_SECONDS = 10,
    HTTP_BODY_SECONDS = 20,
    HTTP_REPLY_SECONDS = 30,
    HTTP_IDLE_SECONDS = 60, // between requests, the next one's first line included
};

struct MHD_Connection;
typedef struct Http Http;
typedef struct Client Client;

typedef struct Exchange { // a request and its reply
    Http *http;
    Client *client;
    struct MHD_Connection *connection;
    const char *method;
    char *path; // decoded
    char *host; // whom the request is for ("localhost:8080"), or NULL
    Str body;
    uint64_t body_bytes; // that came, kept or not
    // The reply. status 0: there is none yet.
    int status;
    Str reply;
    const char *type;  // of the reply, application/json where NULL
    const char *allow; // header of a 405
    int retry_after;   // header of a 503, seconds; 0: none
    int counted;       // a recommendation, for the latency histogram
    Reply *waits_for;  // what a thread will post; NULL: nobody works on it
    Job *job;          // where it is one for the worker's queue
    int suspended, dispatched;
    int gone;     // the client has left while it waited
    double begun; // when its last byte was here; 0: not yet
} Exchange;

typedef struct HttpCalls { // to whom requests go
    void *self;
    // The headers are there. A status that is set refuses the request: its body is not kept.
    void (*begin)(void *self, Exchange *x);
    // The body is there. Sets status and reply, or waits_for.
    void (*dispatch)(void *self, Exchange *x);
    // A Reply came back from a thread: fills status and reply from it, and frees it. Without a status: dispatch again.
    void (*finish)(void *self, Exchange *x, Reply *r);
    // The client has gone while the exchange waits. 1: the reply is no longer expected, and was freed.
    int (*abandon)(void *self, Exchange *x);
    void (*replied)(void *self, const Exchange *x); // to a client who is there
    void (*timed_out)(void *self);                  // a client was too slow; one who asks nothing more is none
} HttpCalls;

// Binds; the address must be an address or a name of this machine. *loopback: only this machine can reach it.
int http_open(Http **h, const char *host, int port, const HttpCalls *calls, Outbox *outbox, int *loopback, Err *err);
const char *http_url(const Http *h); // "http://127.0.0.1:8080/"
// Until *stop is set; then no connection is accepted any more, and what was asked is answered.
int http_run(Http *h, const atomic_int *stop, Err *err);
void http_close(Http *h);

int http_connections(const Http *h);
int http_draining(const Http *h);
const char *http_header(const Exchange *x, const char *name);             // or NULL
const char *http_query(const Exchange *x, const char *name, size_t *len); // decoded value, or NULL
// -1 with the error's reply where a parameter has none of the names (a list to NULL, 32 at most), or comes twice.
int http_check_query(Exchange *x, const char *const *names);
void http_error(Exchange *x, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
