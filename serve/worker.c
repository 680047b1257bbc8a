#include "serve/worker.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/thread.h"
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
    if (queue_cancelled(w->queue, job)) // nobody reads it
        r->status = 503;
    else if (job->err.code && job->request.form == REQUEST_INFER)
        answer_error_text(&r->body, job->err.message);
    else if (job->err.code)
        answer_error(&r->body, r->status, job->err.message);
    else
        answer_print(&r->body, job, w->engine, log_seconds());
    outbox_post(w->outbox, r);
}

static void give(Worker *w, QueueUser user, const Err *err) {
    if (err->code) log_warn("a request failed: %s", err->message);
    if (queue_give(w->queue, user, err->code ? err : NULL)) reply(w, user.job);
}

// They join what is under way. One that cannot does not keep the others from it.
static void join(Worker *w, const QueueUser *user, int n, Err *err) {
    const Ask **ask = mem_alloc((size_t)n, sizeof *ask);
    int *place = mem_alloc((size_t)n, sizeof *place);
    for (int i = 0; i < n; i++) {
        if (user[i].user == 0) user[i].job->begun = log_seconds();
        ask[i] = &user[i].job->request.ask[user[i].user];
    }
    const int failed = engine_join(w->engine, ask, n, place, err);
    for (int i = 0; i < n && !failed; i++) w->live[w->lives++] = (WorkerUser){user[i], place[i]};
    for (int i = 0; i < n && failed; i++) {
        if (n == 1)
            give(w, user[i], err);
        else
            join(w, &user[i], 1, err);
    }
    free(ask), free(place);
}

typedef struct Gone {
    QueueUser user;
    Err err; // why there is no answer
} Gone;

// Those who are done leave with their answer, those whose client has gone without. Returns how many left, *done: with an
// answer.
static int part(Worker *w, Gone *gone, int *done) {
    int left = 0;
    *done = 0;
    for (int i = 0; i < w->lives;) {
        const WorkerUser u = w->live[i];
        Gone *g = &gone[left];
        *g = (Gone){.user = u.user};
        const int cancelled = queue_cancelled(w->queue, u.user.job);
        int status = -1;
        if (cancelled)
            engine_drop(w->engine, u.place);
        else
            status = engine_take(w->engine, u.place, &u.user.job->answer[u.user.user], &g->err);
        if (status == 0) {
            i++;
            continue;
        }
        w->live[i] = w->live[--w->lives];
        *done += status > 0;
        left++;
    }
    return left;
}

static int has_next(Worker *w) {
    pthread_mutex_lock(&w->lock);
    const int has = w->next != NULL;
    pthread_mutex_unlock(&w->lock);
    return has;
}

static void adopt_next(Worker *w) {
    pthread_mutex_lock(&w->lock);
    w->refused.code = 0;
    if (engine_start(w->next, &w->refused)) {
        engine_close(w->next);
    } else {
        engine_inherit(w->next, w->engine);
        counters_engine_closes(w->counters, w->engine);
        engine_close(w->engine);
        w->engine = w->next;
    }
    w->next = NULL;
    pthread_cond_broadcast(&w->adopted);
    pthread_mutex_unlock(&w->lock);
}

// Between two steps users come and go. A new engine is adopted when the last user of the old one has left, and until then
// only those come whose request is begun: one engine answers all users of a request.
static void *worker_main(void *self) {
    Worker *w = self;
    QueueUser *user = mem_alloc((size_t)w->engine->o.users, sizeof *user);
    Gone *gone = mem_alloc((size_t)w->engine->o.users, sizeof *gone);
    double since = 0; // the last user who left, or the first who came
    for (;;) {
        const int next = has_next(w);
        const QueueTake how = next ? QUEUE_REST : w->lives == 0 ? QUEUE_WAIT : QUEUE_NOW;
        const int n = queue_take(w->queue, user, engine_free_places(w->engine), how);
        Err err = {0};
        if (w->lives == 0 && n <= 0 && next) {
            adopt_next(w);
            continue;
        }
        if (n < 0 && w->lives == 0) break;
        if (w->lives == 0) since = log_seconds();
        if (n > 0) join(w, user, n, &err);
        if (w->lives == 0) continue;
        const int users = w->lives;
        int done;
        engine_step(w->engine);
        const int left = part(w, gone, &done);
        const double now = log_seconds();
        counters_step(w->counters, users, done, left ? now - since : 0, w->engine); // who has an answer is counted
        for (int i = 0; i < left; i++) give(w, gone[i].user, &gone[i].err);
        if (left) since = now;
    }
    pthread_mutex_lock(&w->lock);
    w->ended = 1;
    pthread_cond_broadcast(&w->adopted);
    pthread_mutex_unlock(&w->lock);
    free(user), free(gone);
    return NULL;
}

int worker_start(Worker *w, Engine *e, Queue *q, Outbox *o, Counters *m, Err *err) {
    *w = (Worker){.queue = q, .outbox = o, .counters = m, .engine = e};
    w->live = mem_alloc((size_t)e->o.users, sizeof *w->live);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->adopted, NULL);
    if (thread_start(&w->thread, worker_main, w) == 0) return 0;
    engine_close(e);
    free(w->live);
    pthread_cond_destroy(&w->adopted);
    pthread_mutex_destroy(&w->lock);
    return err_set(err, ERR_MEMORY, "the worker's thread cannot be started");
}

int worker_adopt(Worker *w, Engine *e, Err *err) {
    pthread_mutex_lock(&w->lock);
    w->next = e;
    w->refused.code = 0;
    queue_nudge(w->queue);
    while (w->next && !w->ended) pthread_cond_wait(&w->adopted, &w->lock);
    if (w->next) engine_close(w->next); // the server ends
    w->next = NULL;
    const int refused = w->refused.code != 0;
    if (refused) *err = w->refused;
    pthread_mutex_unlock(&w->lock);
    return refused ? -1 : 0;
}

void worker_join(Worker *w) {
    pthread_join(w->thread, NULL);
    counters_engine_closes(w->counters, w->engine);
    engine_close(w->engine);
    free(w->live);
    pthread_cond_destroy(&w->adopted);
    pthread_mutex_destroy(&w->lock);
}
