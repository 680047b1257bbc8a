// What the server counts, as Prometheus reads it.
#ifndef SERVE_METRICS_H
#define SERVE_METRICS_H

#include "base/vec.h"
#include "serve/engine.h"
#include <pthread.h>

enum { METRICS_BUCKETS = 14, METRICS_STATUSES = 16, METRICS_SIZES = 9 };

typedef struct Metrics {
    pthread_mutex_t lock;
    int status[METRICS_STATUSES]; // codes met so far, in the order of their appearance
    int64_t replies[METRICS_STATUSES];
    int64_t seconds[METRICS_BUCKETS + 1]; // recommendations by the time from the request to the reply
    double seconds_sum;
    int64_t sizes[METRICS_SIZES + 1]; // steps by their users
    int64_t step_users, users;        // the sum of these; users who are done
    double busy_seconds;
    EngineWork work, now; // of the engines that are closed, and of the present one
    int64_t cancelled, rejected, timeouts;
    int64_t reloads, reload_failures, item_changes;
    double user_seconds; // what a user took of late, for Retry-After
} Metrics;

typedef struct MetricsNow { // measured when asked
    int waiting, connections, items, draining;
    double uptime;
} MetricsNow;

void metrics_open(Metrics *m);
void metrics_free(Metrics *m);
void metrics_reply(Metrics *m, int status);
void metrics_recommended(Metrics *m, double seconds);
// A step of `users`, of whom `done` have their answer by it; seconds since users left before, 0 where none left now.
void metrics_step(Metrics *m, int users, int done, double seconds, const Engine *e);
void metrics_engine_closes(Metrics *m, const Engine *e);
// Add to one of the counters above.
void metrics_add(Metrics *m, int64_t *counter, int64_t n);
// Whole seconds until `waiting` users are done, at least 1.
int metrics_retry_after(Metrics *m, int waiting);
void metrics_print(Metrics *m, const MetricsNow *now, Str *out);

#endif
