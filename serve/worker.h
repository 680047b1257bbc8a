// The one thread that owns the engine. Users who wait join those who are under way between two steps of the search, as places
// become free, and are answered when they are done.
#ifndef SERVE_WORKER_H
#define SERVE_WORKER_H

#include "serve/counters.h"
#include "serve/queue.h"

typedef struct WorkerUser {
    QueueUser user;
    int place; // of the engine
} WorkerUser;

typedef struct Worker {
    Queue *queue;
    Outbox *outbox;
    Counters *counters;
    Engine *engine;   // the thread's own, as the next two
    WorkerUser *live; // (engine->o.users)
    int lives;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t adopted;
    Engine *next; // what worker_adopt hands over, and what came of it
    Err refused;
    int ended;
} Worker;

// Takes the engine over, which is started; it is closed where this fails.
int worker_start(Worker *w, Engine *e, Queue *q, Outbox *o, Counters *m, Err *err);
// Returns when the thread works with this engine, which it has started and is its own now; the one before is closed. Requests
// that are under way are answered by the old one; all that are begun later by the new one. -1: it could not be started and is
// closed.
int worker_adopt(Worker *w, Engine *e, Err *err);
// Waits for the end of the thread, which comes when the queue is closed and empty.
void worker_join(Worker *w);

void job_free(Job *job);

#endif
