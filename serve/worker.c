#include "serve/worker.h"
#include "base/arena.h"
#include "base/log.h"
#include "serve/answer.h"

#include <stdlib.h>

void job_free(Job *job) {
    for (int u = 0; u < job->request.n; u++) answer_free(&job->answer[u]);
    free(job->answer);
    request_free(&job->request);
    str_free(&job->reply.body);
    free(job);
}

static void reply(Worker *w, Job *job) {
    Reply *r = &job->reply;
    r->status = job->err.code ? 500 : 200;
    if (job->cancelled) // nobody reads it
        r->status = 503;
    else if (job->err.code)
        answer_error(&r->body, r->status, job->err.message);
    else
        answer_print(&r->body, job, w->engine, log_seconds());
    outbox_post(w->outbox, r);
}

static int rank(Worker *w, const QueueUser *user, int n, Err *err) {
    const Ask **ask = mem_alloc((size_t)n, sizeof *ask);
    Answer **answer = mem_alloc((size_t)n, sizeof *answer);
    for (int i = 0; i < n; i++) {
        ask[i] = &user[i].job->request.ask[user[i].user];
        answer[i] = &user[i].job->answer[user[i].user];
        answer_free(answer[i]);
    }
    const int status = engine_rank(w->engine, ask, answer, n, err);
    free(ask), free(answer);
    return status;
}

static void run_batch(Worker *w, const QueueUser *user, int n) {
    const double start = log_seconds();
    Err err = {0};
    for (int i = 0; i < n; i++)
        if (user[i].user == 0) user[i].job->begun = start;
    const int together = rank(w, user, n, &err) == 0;
    for (int i = 0; i < n; i++) {
        err.code = 0;
        if (!together) rank(w, &user[i], 1, &err); // one that cannot be answered does not take the others with it
        if (err.code) log_warn("a request failed: %s", err.message);
        if (i == n - 1) metrics_batch(w->metrics, n, log_seconds() - start, w->engine);
        if (queue_give(w->queue, user[i], err.code ? &err : NULL)) reply(w, user[i].job);
    }
}

static void adopt_next(Worker *w) {
    pthread_mutex_lock(&w->lock);
    if (w->next) {
        engine_inherit(w->next, w->engine);
        metrics_engine_closes(w->metrics, w->engine);
        engine_close(w->engine);
        w->engine = w->next;
        w->next = NULL;
        pthread_cond_broadcast(&w->adopted);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *worker_main(void *self) {
    Worker *w = self;
    QueueUser *user = mem_alloc((size_t)w->engine->o.users, sizeof *user);
    for (int n; (n = queue_take(w->queue, user, w->engine->o.users)) >= 0;) {
        adopt_next(w);
        if (n > 0) run_batch(w, user, n);
    }
    pthread_mutex_lock(&w->lock);
    w->ended = 1;
    pthread_cond_broadcast(&w->adopted);
    pthread_mutex_unlock(&w->lock);
    free(user);
    return NULL;
}

int worker_start(Worker *w, Engine *e, Queue *q, Outbox *o, Metrics *m, Err *err) {
    *w = (Worker){.queue = q, .outbox = o, .metrics = m, .engine = e};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->adopted, NULL);
    if (pthread_create(&w->thread, NULL, worker_main, w) == 0) return 0;
    engine_close(e);
    return err_set(err, ERR_MEMORY, "the worker's thread cannot be started");
}

void worker_adopt(Worker *w, Engine *e) {
    pthread_mutex_lock(&w->lock);
    w->next = e;
    queue_nudge(w->queue);
    while (w->next && !w->ended) pthread_cond_wait(&w->adopted, &w->lock);
    if (w->next) engine_close(w->next); // the server ends
    w->next = NULL;
    pthread_mutex_unlock(&w->lock);
}

void worker_join(Worker *w) {
    pthread_join(w->thread, NULL);
    metrics_engine_closes(w->metrics, w->engine);
    engine_close(w->engine);
    pthread_cond_destroy(&w->adopted);
    pthread_mutex_destroy(&w->lock);
}
