// Requests that wait for the worker, in the order in which they came: a bounded number of users. A request of several users may
// be taken in parts; it is answered when all of them are.
#ifndef SERVE_QUEUE_H
#define SERVE_QUEUE_H

#include "serve/engine.h"
#include <pthread.h>

// What goes back to the thread that talks with clients.
typedef struct Reply {
    int status; // of HTTP
    Str body;   // JSON
    void *owner;
    struct Reply *next;
} Reply;

typedef struct Job {
    Reply reply; // first: a Job is a Reply
    Request request;
    Answer *answer; // (request.n)
    int taken;      // users that a worker has or had
    int open;       // users taken and not yet given back
    int cancelled;  // its client has gone: the users not yet taken never will be. Another thread asks queue_cancelled
    Err err;        // the first error of a user; code 0: none
    double queued, begun;
    struct Job *next;
} Job;

typedef struct QueueUser {
    Job *job;
    int user;
} QueueUser;

typedef struct Queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Job *first, *last;
    int waiting, room; // users
    int closed, nudged;
} Queue;

void queue_open(Queue *q, int room);
void queue_free(Queue *q); // no job may be in it

// The queue borrows the job until it is taken to the end, or cancelled. 0; -1 where there is no room for all of its users.
int queue_put(Queue *q, Job *job);
// Takes at most `most` users; returns how many, -1 where the queue is closed and empty. QUEUE_WAIT: until there are some, or
// queue_nudge or queue_close is called. QUEUE_REST: none but those of a job of which some were taken before.
typedef enum QueueTake { QUEUE_NOW, QUEUE_WAIT, QUEUE_REST } QueueTake;
int queue_take(Queue *q, QueueUser *user, int most, QueueTake how);
// A taken user is answered (err NULL) or has failed. Returns 1 where that was the last one of its job, which is the caller's
// now.
int queue_give(Queue *q, QueueUser user, const Err *err);
// The client has gone. Returns 1 where no worker has a part of it: the job is the caller's now; else a queue_give will
// return 1.
int queue_cancel(Queue *q, Job *job);
int queue_cancelled(Queue *q, const Job *job);
void queue_nudge(Queue *q); // queue_take returns once, with or without users
void queue_close(Queue *q); // nothing will be put any more
int queue_waiting(Queue *q);

// Replies on their way back: any thread posts, one thread takes them all when `event` becomes readable.
typedef struct Outbox {
    pthread_mutex_t lock;
    Reply *first, *last;
    int event; // eventfd
} Outbox;
int outbox_open(Outbox *o, Err *err);
void outbox_free(Outbox *o);
void outbox_post(Outbox *o, Reply *r);
Reply *outbox_take(Outbox *o); // a list, oldest first, or NULL

#endif
