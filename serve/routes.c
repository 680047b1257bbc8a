#include "serve/routes.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "serve/answer.h"
#include "serve/page.h"

#include <stdlib.h>
#include <string.h>

// ---- who may ask ------------------------------------------------------------------------------------------------------

// A client could not send it, and a NUL would leave a key that is shorter than its line.
static int has_odd_byte(const char *key, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (utf8_is_control(key[i]) || (unsigned char)key[i] >= 0x80) return 1;
    return 0;
}

int routes_read_keys(Keys *keys, const char *path, Err *err) {
    enum { FILE_BYTES = 1 << 20 };
    MapFile f;
    *keys = (Keys){0};
    if (mapfile_open(&f, path, FILE_BYTES, err)) return -1;
    int status = 0, line = 1;
    for (const char *at = f.data, *end = f.data + f.bytes; at < end && status == 0; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        const char *next = at + n + 1;
        while (n && (at[n - 1] == '\r' || at[n - 1] == ' ')) n--;
        while (n && *at == ' ') at++, n--;
        if (n && *at != '#') {
            if (has_odd_byte(at, n))
                status = err_set(err, ERR_DATA, "%s: line %d: a byte that cannot stand in a header", path, line);
            else if (n < ROUTES_KEY_BYTES)
                status =
                    err_set(err, ERR_DATA, "%s: line %d: a key of %zu bytes, fewer than %d", path, line, n, ROUTES_KEY_BYTES);
            keys->key = mem_realloc(keys->key, (size_t)keys->n + 1, sizeof *keys->key);
            keys->key[keys->n++] = mem_strndup(at, n);
        }
        at = next;
    }
    mapfile_close(&f);
    if (status == 0 && keys->n == 0) status = err_set(err, ERR_DATA, "%s: no key", path);
    if (status) routes_free_keys(keys);
    return status;
}

void routes_free_keys(Keys *keys) {
    for (int i = 0; i < keys->n; i++) free(keys->key[i]);
    free(keys->key);
    *keys = (Keys){0};
}

// In a time that does not say how much of a key was right.
static int same_text(const char *a, const char *b) {
    const size_t n = strlen(a), m = strlen(b);
    unsigned different = n != m;
    for (size_t i = 0; i < n; i++) different |= (unsigned)(a[i] ^ b[m ? i % m : 0]);
    return !different;
}

static int has_key(const Keys *keys, const Exchange *x) {
    const char *given = http_header(x, "Authorization"), *bearer = "Bearer ";
    int right = 0;
    if (given && !strncasecmp(given, bearer, strlen(bearer)))
        given += strlen(bearer);
    else
        given = http_header(x, "X-API-Key");
    for (int i = 0; i < keys->n && given; i++) right |= same_text(given, keys->key[i]);
    return right;
}

// Without a key only programs of this machine may ask, and not what a page from elsewhere makes a browser ask: such a request
// names another origin, or (DNS rebinding) another host.
static int is_local_name(const Routes *r, const char *host) {
    const char *const names[] = {"localhost", "127.", "[::1]", r->host};
    for (int i = 0; i < 4; i++)
        if (!strncasecmp(host, names[i], strlen(names[i]))) {
            const char *rest = host + strlen(names[i]);
            if (i == 1) rest += strspn(rest, "0123456789.");
            if (*rest == 0 || *rest == ':') return 1;
        }
    return 0;
}

// Why not, or NULL.
static const char *foreign(const Routes *r, const Exchange *x) {
    const char *origin = http_header(x, "Origin"), *authority = origin ? strstr(origin, "://") : NULL;
    if (x->host && r->keys.n == 0 && !is_local_name(r, x->host))
        return "without API keys the server answers to names of its own machine alone; behind a proxy it needs --api-key-file";
    if (origin && (!authority || !x->host || strcmp(authority + 3, x->host) != 0))
        return "a page of another origin may not ask here; a proxy must pass the Host on that the browser has";
    return NULL;
}

// ---- replies at once --------------------------------------------------------------------------------------------------

static void page(Routes *r, Exchange *x, const char *name) {
    (void)r, (void)name;
    x->type = "text/html; charset=utf-8";
    str_append(&x->reply, page_begin, (size_t)(page_end - page_begin));
}

static void health(Routes *r, Exchange *x, const char *name) {
    Model *m;
    Shelf *s;
    (void)name;
    keeper_now(r->keeper, &m, &s);
    str_printf(&x->reply, "{\"status\": \"%s\", \"model\": ", http_draining(r->http) ? "draining" : "ready");
    str_json(&x->reply, m->name, strlen(m->name));
    str_printf(&x->reply, ", \"model_version\": \"%s\", \"items\": %d}\n", m->version, s->data.items.live);
    model_drop(m), shelf_drop(s);
}

static void metrics(Routes *r, Exchange *x, const char *name) {
    Model *m;
    Shelf *s;
    (void)name;
    keeper_now(r->keeper, &m, &s);
    const CountersNow now = {.waiting = queue_waiting(r->queue),
                             .connections = http_connections(r->http),
                             .items = s->data.items.live,
                             .draining = http_draining(r->http),
                             .uptime = log_seconds() - r->started};
    model_drop(m), shelf_drop(s);
    x->type = "text/plain; version=0.0.4; charset=utf-8";
    counters_print(r->counters, &now, &x->reply);
}

static void server_metadata(Routes *r, Exchange *x, const char *name) {
    (void)r, (void)name;
    str_puts(&x->reply, "{\"name\": \"latentr3\", \"version\": \"" LATENTR3_VERSION "\", \"extensions\": []}\n");
}

static void live(Routes *r, Exchange *x, const char *name) {
    (void)r, (void)name;
    str_puts(&x->reply, "{\"live\": true}\n");
}

static void ready(Routes *r, Exchange *x, const char *name) {
    (void)name;
    if (http_draining(r->http)) x->status = 503;
    str_printf(&x->reply, "{\"ready\": %s}\n", x->status ? "false" : "true");
}

// Whether `name` is the model's, or NAME/VERSION; else the reply says that it is not.
static int right_model(Routes *r, Exchange *x, const char *name, Model **m) {
    Shelf *s;
    keeper_now(r->keeper, m, &s);
    shelf_drop(s);
    const size_t n = strlen((*m)->name);
    if (!strncmp(name, (*m)->name, n) && (name[n] == 0 || (name[n] == '/' && !strcmp(name + n + 1, (*m)->version)))) return 1;
    http_error(x, 404, "there is no such model; the one here is %.100s, version %s", (*m)->name, (*m)->version);
    model_drop(*m);
    return 0;
}

static void model_metadata(Routes *r, Exchange *x, const char *name) {
    Model *m;
    if (!right_model(r, x, name, &m)) return;
    str_puts(&x->reply, "{\"name\": ");
    str_json(&x->reply, m->name, strlen(m->name));
    str_printf(&x->reply,
               ", \"versions\": [\"%s\"], \"platform\": \"latentr3\", "
               "\"inputs\": [{\"name\": \"history\", \"datatype\": \"BYTES\", \"shape\": [-1, -1]}], "
               "\"outputs\": [{\"name\": \"item\", \"datatype\": \"BYTES\", \"shape\": [-1, -1]}, "
               "{\"name\": \"title\", \"datatype\": \"BYTES\", \"shape\": [-1, -1]}, "
               "{\"name\": \"score\", \"datatype\": \"FP32\", \"shape\": [-1, -1]}]}\n",
               m->version);
    model_drop(m);
}

static void model_ready(Routes *r, Exchange *x, const char *name) {
    Model *m;
    if (!right_model(r, x, name, &m)) return;
    str_puts(&x->reply, "{\"name\": ");
    str_json(&x->reply, m->name, strlen(m->name));
    str_puts(&x->reply, ", \"ready\": true}\n");
    model_drop(m);
}

// ---- what the keeper answers ------------------------------------------------------------------------------------------

static Task *new_task(Exchange *x, TaskKind kind) {
    Task *t = mem_zalloc(1, sizeof *t);
    t->kind = kind;
    t->reply.owner = x;
    return t;
}

static void submit(Routes *r, Exchange *x, Task *t) {
    x->waits_for = &t->reply;
    if (keeper_put(r->keeper, t) == 0) return;
    x->waits_for = NULL;
    task_free(t);
    http_error(x, 503, "too many changes wait already");
    x->retry_after = 1;
}

// Whether the items' interactions are known. Just after the start they are not: the request is dispatched again when they are.
static int counted(Routes *r, Exchange *x) {
    Model *m;
    Shelf *s;
    keeper_now(r->keeper, &m, &s);
    const int known = s->counted;
    model_drop(m), shelf_drop(s);
    if (!known) submit(r, x, new_task(x, TASK_COUNTED));
    return known;
}

// ---- items ------------------------------------------------------------------------------------------------------------

static int read_limit(Exchange *x, int *limit) {
    size_t n;
    const char *text = http_query(x, "limit", &n);
    char *end = NULL;
    *limit = 20;
    if (!text) return 0;
    const long value = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : 0;
    if (value >= 1 && value <= SHELF_FOUND && end == text + n) {
        *limit = (int)value;
        return 0;
    }
    http_error(x, 422, "limit: not a whole number from 1 to %d", SHELF_FOUND);
    return -1;
}

static void search_items(Routes *r, Exchange *x, const char *name) {
    enum { QUERY_CHARACTERS = 200 };
    Model *m;
    Shelf *s;
    size_t n;
    int limit, found[SHELF_FOUND];
    (void)name;
    const char *query = http_query(x, "query", &n);
    if (read_limit(x, &limit)) return;
    if (query && (utf8_count(query, n) > QUERY_CHARACTERS || utf8_check(query, n) < n)) {
        http_error(x, 422, "query: not at most %d characters of UTF-8", QUERY_CHARACTERS);
        return;
    }
    if (!counted(r, x)) return;
    keeper_now(r->keeper, &m, &s);
    const int k = shelf_search(s, query ? query : "", n, found, limit);
    str_puts(&x->reply, "{\"items\": [");
    for (int i = 0; i < k; i++) {
        if (i) str_puts(&x->reply, ", ");
        answer_item(&x->reply, s, found[i]);
    }
    str_puts(&x->reply, "]}\n");
    model_drop(m), shelf_drop(s);
}

static void get_item(Routes *r, Exchange *x, const char *id) {
    Model *m;
    Shelf *s;
    if (!counted(r, x)) return;
    keeper_now(r->keeper, &m, &s);
    const int item = items_by_id(&s->data.items, id);
    if (item < 0 || s->data.items.removed[item])
        http_error(x, 404, "there is no such item");
    else
        answer_item(&x->reply, s, item);
    model_drop(m), shelf_drop(s);
}

// ---- changes ----------------------------------------------------------------------------------------------------------

static void reload(Routes *r, Exchange *x, const char *name) {
    (void)name;
    submit(r, x, new_task(x, TASK_RELOAD));
}

static char *copy(const char *s) {
    return s ? mem_strndup(s, strlen(s)) : NULL;
}

static int json_status(const Err *err) {
    return err->code == ERR_DATA ? 400 : 422;
}

static void put_item(Routes *r, Exchange *x, const char *id) {
    ItemText item;
    Err err = {0};
    const size_t len = strlen(id);
    if (items_id_fault(id, len) || utf8_check(id, len) < len || utf8_count(id, len) > REQUEST_ID_CHARACTERS) {
        http_error(x, 422, "an item id is 1 to %d characters of UTF-8 without control bytes and no byte order mark before them",
                   REQUEST_ID_CHARACTERS);
        return;
    }
    if (request_item(&item, x->body.data ? x->body.data : "", x->body.len, &err)) {
        http_error(x, json_status(&err), "%s", err.message);
        return;
    }
    Task *t = new_task(x, TASK_PUT);
    t->id = copy(id), t->title = copy(item.title), t->text = copy(item.text);
    json_decref(item.json);
    submit(r, x, t);
}

static void delete_item(Routes *r, Exchange *x, const char *id) {
    Task *t = new_task(x, TASK_DELETE);
    t->id = copy(id);
    submit(r, x, t);
}

// ---- recommendations --------------------------------------------------------------------------------------------------

static int explains(const Request *request) {
    int n = 0;
    for (int u = 0; u < request->n; u++) n += request->ask[u].explain;
    return n > 0;
}

static void enqueue(Routes *r, Exchange *x, int infer) {
    Job *job = mem_zalloc(1, sizeof *job);
    Err err = {0};
    const char *body = x->body.data ? x->body.data : "";
    const int status = infer ? request_infer(&job->request, body, x->body.len, &r->limits, &err)
                             : request_parse(&job->request, body, x->body.len, &r->limits, &err);
    if (status == 0 && explains(&job->request) && !counted(r, x)) { // it names what is popular
        request_free(&job->request), free(job);
        return;
    }
    str_free(&x->body);
    if (status == 0) {
        job->answer = mem_zalloc((size_t)job->request.n, sizeof *job->answer);
        job->reply.owner = x;
        job->queued = x->begun;
        if (queue_put(r->queue, job) == 0) {
            x->job = job;
            x->waits_for = &job->reply;
            return;
        }
        const int waiting = queue_waiting(r->queue);
        counters_add(r->counters, &r->counters->rejected, 1);
        http_error(x, 503, "%d users wait already, %d more would be over the limit of %d", waiting, job->request.n,
                   r->queue->room);
        x->retry_after = counters_retry_after(r->counters, waiting);
    } else {
        http_error(x, json_status(&err), "%s", err.message);
    }
    if (job->answer)
        job_free(job);
    else
        request_free(&job->request), free(job);
}

static void recommend(Routes *r, Exchange *x, const char *name) {
    (void)name;
    enqueue(r, x, 0);
}

static void infer(Routes *r, Exchange *x, const char *name) {
    Model *m;
    if (!right_model(r, x, name, &m)) return;
    model_drop(m);
    enqueue(r, x, 1);
}

// ---- the table --------------------------------------------------------------------------------------------------------

enum { OPEN = 1, JSON_BODY = 2 }; // OPEN: no key is asked for

typedef struct Route {
    // "*" stands for one piece of the path, "+" for all that follows: the handler's `name`, with a "/" between two of them.
    const char *method, *path;
    int flags;
    void (*handle)(Routes *r, Exchange *x, const char *name);
    const char *const *query; // the parameters it may have; NULL: any, which proxies and probes put behind a path
} Route;

static const char *const no_query[] = {NULL}, *const search_query[] = {"query", "limit", NULL};

static const Route routes[] = {
    {"GET", "/", OPEN, page, NULL},
    {"GET", "/health", OPEN, health, NULL},
    {"GET", "/metrics", 0, metrics, NULL},
    {"POST", "/v1/recommend", JSON_BODY, recommend, no_query},
    {"GET", "/v1/items", 0, search_items, search_query},
    {"GET", "/v1/items/+", 0, get_item, no_query},
    {"PUT", "/v1/items/+", JSON_BODY, put_item, no_query},
    {"DELETE", "/v1/items/+", 0, delete_item, no_query},
    {"POST", "/v1/reload", 0, reload, no_query},
    {"GET", "/v2", 0, server_metadata, NULL},
    {"GET", "/v2/health/live", OPEN, live, NULL},
    {"GET", "/v2/health/ready", OPEN, ready, NULL},
    {"GET", "/v2/models/*", 0, model_metadata, NULL},
    {"GET", "/v2/models/*/ready", 0, model_ready, NULL},
    {"POST", "/v2/models/*/infer", JSON_BODY, infer, NULL},
    {"GET", "/v2/models/*/versions/*", 0, model_metadata, NULL},
    {"GET", "/v2/models/*/versions/*/ready", 0, model_ready, NULL},
    {"POST", "/v2/models/*/versions/*/infer", JSON_BODY, infer, NULL},
};
enum { ROUTES = sizeof routes / sizeof routes[0], NAME_BYTES = ITEMS_ID_LIMIT + 2 }; // an id that is too long is told so

// Whether the path is that of the pattern; name receives what stands for its "*"s.
static int path_matches(const char *pattern, const char *path, char name[NAME_BYTES]) {
    size_t len = 0;
    *name = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '*' && *pattern != '+') {
            if (*pattern != *path++) return 0;
            continue;
        }
        const size_t n = *pattern == '*' ? strcspn(path, "/") : strlen(path);
        if (n == 0) return 0;
        len += (size_t)snprintf(name + len, NAME_BYTES - len, "%s%.*s", len ? "/" : "", (int)n, path);
        if (len >= NAME_BYTES) len = NAME_BYTES - 1;
        path += n;
    }
    return *path == 0;
}

// HEAD is GET without a body, which libmicrohttpd leaves out.
static int method_matches(const char *route, const char *method) {
    return !strcmp(route, method) || (!strcmp(method, "HEAD") && !strcmp(route, "GET"));
}

static const Route *find_route(const Exchange *x, char name[NAME_BYTES]) {
    for (int i = 0; i < ROUTES; i++)
        if (method_matches(routes[i].method, x->method) && path_matches(routes[i].path, x->path, name)) return &routes[i];
    return NULL;
}

static void refuse_route(Exchange *x) {
    static const char *const allows[] = {"GET, HEAD", "POST", "GET, HEAD, PUT, DELETE"};
    char name[NAME_BYTES];
    int methods = 0;
    for (int i = 0; i < ROUTES; i++)
        if (path_matches(routes[i].path, x->path, name))
            methods |= !strcmp(routes[i].method, "GET") ? 1 : !strcmp(routes[i].method, "POST") ? 2 : 4;
    if (methods == 0) {
        http_error(x, 404, "there is no such path");
        return;
    }
    x->allow = allows[methods == 1 ? 0 : methods == 2 ? 1 : 2];
    http_error(x, 405, "this path knows the methods %s", x->allow);
}

static int is_json(const char *type) {
    static const char json[] = "application/json";
    return type && !strncasecmp(type, json, sizeof json - 1) && strchr("; \t", type[sizeof json - 1]);
}

static void begin(void *self, Exchange *x) {
    Routes *r = self;
    char name[NAME_BYTES];
    const Route *route = find_route(x, name);
    const char *foreigner = foreign(r, x);
    if (foreigner)
        http_error(x, 403, "%s", foreigner);
    else if (r->keys.n && !(route && (route->flags & OPEN)) && !has_key(&r->keys, x))
        http_error(x, 401, "an API key is needed: Authorization: Bearer KEY, or X-API-Key");
    else if (!route)
        refuse_route(x);
    else if ((route->flags & JSON_BODY) && !is_json(http_header(x, "Content-Type")))
        http_error(x, 415, "Content-Type: application/json is expected");
    else if ((route->flags & JSON_BODY) && http_header(x, "Content-Encoding"))
        http_error(x, 415, "a body without Content-Encoding is expected");
}

static void dispatch(void *self, Exchange *x) {
    Routes *r = self;
    char name[NAME_BYTES];
    const Route *route = find_route(x, name);
    if (!route->query || http_check_query(x, route->query) == 0) route->handle(r, x, name);
    if (!x->waits_for && x->status == 0) x->status = 200;
}

static void finish(void *self, Exchange *x, Reply *reply) {
    (void)self;
    x->status = reply->status;
    x->reply = reply->body;
    reply->body = (Str){0};
    if (x->status == 503) x->retry_after = 1;
    if (x->job) {
        x->counted = x->status == 200;
        job_free(x->job);
        x->job = NULL;
    } else {
        task_free((Task *)reply);
    }
}

static int abandon(void *self, Exchange *x) {
    Routes *r = self;
    if (!x->job || x->job->cancelled) return 0; // a change is made all the same
    counters_add(r->counters, &r->counters->cancelled, 1);
    if (!queue_cancel(r->queue, x->job)) return 0;
    job_free(x->job);
    x->job = NULL;
    return 1;
}

static void replied(void *self, const Exchange *x) {
    Routes *r = self;
    counters_reply(r->counters, x->status);
    if (x->counted) counters_recommended(r->counters, log_seconds() - x->begun);
}

static void timed_out(void *self) {
    Routes *r = self;
    counters_add(r->counters, &r->counters->timeouts, 1);
}

HttpCalls routes_calls(Routes *r) {
    return (HttpCalls){r, begin, dispatch, finish, abandon, replied, timed_out};
}
