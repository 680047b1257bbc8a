#include "serve/serve.h"
#include "base/log.h"
#include "serve/routes.h"

typedef struct Server {
    Queue queue;
    Outbox outbox;
    Counters counters;
    Worker worker;
    Keeper keeper;
    Routes routes;
    HttpCalls calls;
} Server;

static int check_address(const ServeOptions *o, int loopback, Err *err) {
    if (loopback || o->key_file) return 0;
    return err_set(err, ERR_USAGE, "--host %.80s can be reached from other machines: --api-key-file is needed", o->host);
}

// Everything is there; serve until the end. Takes over model, shelf and engine.
static int run(Server *v, const ServeOptions *o, const Opener *opener, Http *http, Model *m, Shelf *s, Engine *e,
               const atomic_int *stop, Err *err) {
    v->keeper =
        (Keeper){.opener = opener, .o = o->engine, .worker = &v->worker, .outbox = &v->outbox, .counters = &v->counters};
    if (worker_start(&v->worker, e, &v->queue, &v->outbox, &v->counters, err)) {
        model_drop(m);
        shelf_drop(s);
        return -1;
    }
    int status = keeper_start(&v->keeper, m, s, err);
    if (status == 0) {
        if (!*stop) { // else there is nothing to be ready for, but for those who have connected
            o->ready(http_url(http));
            log_info("%s, version %s, %d items: ready at %s", m->name, m->version, s->data.items.live, http_url(http));
        }
        status = http_run(http, stop, err);
        keeper_join(&v->keeper);
    }
    queue_close(&v->queue);
    worker_join(&v->worker);
    if (status == 0) log_info("all requests are answered");
    return status;
}

int serve_run(const ServeOptions *o, const Opener *opener, const atomic_int *stop, Err *err) {
    Server v = {0};
    Http *http;
    Model *m;
    Shelf *s;
    Engine *e;
    int loopback, status = 0;
    if (o->key_file && routes_read_keys(&v.routes.keys, o->key_file, err)) return -1;
    queue_open(&v.queue, o->queue);
    counters_open(&v.counters);
    v.routes = (Routes){.queue = &v.queue,
                        .keeper = &v.keeper,
                        .counters = &v.counters,
                        .limits = {.beams = o->beams, .max_beams = o->engine.beams, .users = o->queue < 64 ? o->queue : 64},
                        .host = o->host,
                        .keys = v.routes.keys,
                        .started = log_seconds()};
    v.calls = routes_calls(&v.routes);
    if (outbox_open(&v.outbox, err) || http_open(&http, o->host, o->port, &v.calls, &v.outbox, &loopback, err)) {
        status = -1;
    } else {
        v.routes.http = http;
        status = check_address(o, loopback, err) || keeper_load(opener, &o->engine, &m, &s, &e, err)
                     ? -1
                     : run(&v, o, opener, http, m, s, e, stop, err);
        http_close(http);
    }
    outbox_free(&v.outbox);
    queue_free(&v.queue);
    counters_free(&v.counters);
    routes_free_keys(&v.routes.keys);
    return status;
}
