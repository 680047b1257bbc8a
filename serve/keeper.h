// The one thread that changes things: loads models, and adds and removes items, while the worker answers with what it has.
#ifndef SERVE_KEEPER_H
#define SERVE_KEEPER_H

#include "serve/worker.h"

// How the app opens what it was told to serve.
typedef struct Opener {
    void *self;
    int (*data)(void *self, Dataset *d, Err *err);
    int (*model)(void *self, const Dataset *d, Model **m, Err *err); // the caller holds it
} Opener;

// TASK_COUNTED: nothing but a reply (of status 0) when the items' interactions are counted.
typedef enum TaskKind { TASK_RELOAD, TASK_PUT, TASK_DELETE, TASK_COUNTED } TaskKind;

typedef struct Task {
    Reply reply; // first: a Task is a Reply
    TaskKind kind;
    char *id, *title, *text; // of an item; owned
    int changed;             // whether the item was not so already
    struct Task *next;
} Task;
void task_free(Task *t);

typedef struct Keeper {
    const Opener *opener;
    EngineOptions o;
    Worker *worker;
    Outbox *outbox;
    Counters *counters;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Task *first, *last;
    int changes;       // among the tasks that wait
    atomic_int closed; // set under the lock; a count of interactions looks at it too, for nobody waits for that any more
    Model *model;      // what is served now; held. Read under the lock
    Shelf *shelf;
} Keeper;

enum { KEEPER_CHANGES = 64 };

// Data, model and engine from the start, tried on one user: an error says what is wrong with them, and leaves none. The caller
// holds model and shelf and owns the engine.
int keeper_load(const Opener *opener, const EngineOptions *o, Model **m, Shelf **s, Engine **e, Err *err);

// Takes over model and shelf, whose interactions the keeper counts before all else; both are dropped where it fails.
int keeper_start(Keeper *k, Model *m, Shelf *s, Err *err);
int keeper_put(Keeper *k, Task *t); // 0; -1 where KEEPER_CHANGES wait already: who only reads is not among them
void keeper_join(Keeper *k);        // after the tasks that wait; a count that goes on is given up
// What is served now; the caller holds both.
void keeper_now(Keeper *k, Model **m, Shelf **s);

#endif
