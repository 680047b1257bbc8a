#include "serve/queue.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void queue_open(Queue *q, int room) {
    *q = (Queue){.room = room};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
}

void queue_free(Queue *q) {
    CHECK(!q->first);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
}

int queue_put(Queue *q, Job *job) {
    pthread_mutex_lock(&q->lock);
    CHECK(!q->closed);
    const int fits = q->waiting + job->request.n <= q->room;
    if (fits) {
        job->next = NULL;
        *(q->last ? &q->last->next : &q->first) = job;
        q->last = job;
        q->waiting += job->request.n;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return fits ? 0 : -1;
}

static void unlink_job(Queue *q, Job *job) {
    Job *before = NULL;
    for (Job *at = q->first; at != job; at = at->next) before = at;
    *(before ? &before->next : &q->first) = job->next;
    if (q->last == job) q->last = before;
}

int queue_take(Queue *q, QueueUser *user, int most, QueueTake how) {
    pthread_mutex_lock(&q->lock);
    while (how == QUEUE_WAIT && !q->first && !q->closed && !q->nudged) pthread_cond_wait(&q->changed, &q->lock);
    int n = 0;
    while (q->first && n < most && (how != QUEUE_REST || q->first->taken)) {
        Job *job = q->first;
        for (; job->taken < job->request.n && n < most; job->open++) user[n++] = (QueueUser){job, job->taken++};
        if (job->taken == job->request.n) unlink_job(q, job);
    }
    q->waiting -= n;
    const int ended = q->closed && !q->first && n == 0 && !q->nudged;
    q->nudged = 0;
    pthread_mutex_unlock(&q->lock);
    return ended ? -1 : n;
}

int queue_give(Queue *q, QueueUser user, const Err *err) {
    pthread_mutex_lock(&q->lock);
    Job *job = user.job;
    if (err && !job->err.code) job->err = *err;
    job->open--;
    const int last = job->open == 0 && (job->cancelled || job->taken == job->request.n);
    pthread_mutex_unlock(&q->lock);
    return last;
}

int queue_cancel(Queue *q, Job *job) {
    pthread_mutex_lock(&q->lock);
    const int waits = job->taken < job->request.n;
    if (waits) {
        unlink_job(q, job);
        q->waiting -= job->request.n - job->taken;
    }
    job->cancelled = 1;
    const int nobody = waits && job->open == 0; // where all were taken, a worker has given or will give it back
    pthread_mutex_unlock(&q->lock);
    return nobody;
}

int queue_cancelled(Queue *q, const Job *job) {
    pthread_mutex_lock(&q->lock);
    const int cancelled = job->cancelled;
    pthread_mutex_unlock(&q->lock);
    return cancelled;
}

void queue_nudge(Queue *q) {
    pthread_mutex_lock(&q->lock);
    q->nudged = 1;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void queue_close(Queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = 1;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

int queue_waiting(Queue *q) {
    pthread_mutex_lock(&q->lock);
    const int waiting = q->waiting;
    pthread_mutex_unlock(&q->lock);
    return waiting;
}

// ---- replies ----------------------------------------------------------------------------------------------------------

int outbox_open(Outbox *o, Err *err) {
    *o = (Outbox){.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    pthread_mutex_init(&o->lock, NULL);
    return o->event < 0 ? err_errno(err, "an event descriptor") : 0;
}

void outbox_free(Outbox *o) {
    pthread_mutex_destroy(&o->lock);
    if (o->event >= 0) close(o->event);
}

void outbox_post(Outbox *o, Reply *r) {
    const uint64_t one = 1;
    pthread_mutex_lock(&o->lock);
    r->next = NULL;
    *(o->last ? &o->last->next : &o->first) = r;
    o->last = r;
    pthread_mutex_unlock(&o->lock);
    CHECK(write(o->event, &one, sizeof one) == sizeof one);
}

Reply *outbox_take(Outbox *o) {
    uint64_t n;
    (void)!read(o->event, &n, sizeof n); // before the list, so that what is posted meanwhile wakes again
    pthread_mutex_lock(&o->lock);
    Reply *all = o->first;
    o->first = o->last = NULL;
    pthread_mutex_unlock(&o->lock);
    return all;
}
