// What the server counts, as Prometheus reads it.
#ifndef SERVE_COUNTERS_H
#define SERVE_COUNTERS_H

#include "base/vec.h"
#include "serve/engine.h"
#include <pthread.h>

enum { COUNTERS_BUCKETS = 14, COUNTERS_STATUSES = 16, COUNTERS_SIZES = 9 };

typedef struct Counters {
    pthread_mutex_t lock;
    int status[COUNTERS_STATUSES]; // codes met so far, in the order of their appearance
    int64_t replies[COUNTERS_STATUSES];
    int64_t seconds[COUNTERS_BUCKETS + 1]; // recommendations by the time from the whole request to the reply
    double seconds_sum;
    int64_t sizes[COUNTERS_SIZES + 1]; // steps by their users
    int64_t step_users, users;         // the sum of these; users who are done
    double busy_seconds;
    EngineWork work, now; // of the engines that are closed, and of the present one
    int64_t cancelled, rejected, timeouts;
    int64_t reloads, reload_failures, item_changes;
    double user_seconds; // what a user took of late, for Retry-After
} Counters;

typedef struct CountersNow { // measured when asked
    int waiting, connections, items, draining;
    double uptime;
} CountersNow;

void counters_open(Counters *m);
void counters_free(Counters *m);
void counters_reply(Counters *m, int status);
void counters_recommended(Counters *m, double seconds);
// A step of `users`, of whom `done` have their answer by it; seconds since users left before, 0 where none left now.
void counters_step(Counters *m, int users, int done, double seconds, const Engine *e);
void counters_engine_closes(Counters *m, const Engine *e);
// Add to one of the counters above.
void counters_add(Counters *m, int64_t *counter, int64_t n);
// Whole seconds until `waiting` users are done, at least 1.
int counters_retry_after(Counters *m, int waiting);
void counters_print(Counters *m, const CountersNow *now, Str *out);

#endif
