// A planted race: the queue is written to when its lock has been given back.
#define queue_put queue_put_locked
#include "serve/queue.c"
#undef queue_put

int queue_put_locked(Queue *q, Job *job);

int queue_put(Queue *q, Job *job) {
    const int status = queue_put_locked(q, job);
    q->nudged = 0;
    return status;
}
