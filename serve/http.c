// Everything here happens in the thread that calls http_run: libmicrohttpd is driven by its epoll descriptor, other threads
// post their replies into the outbox, whose event descriptor wakes us.
#include "serve/http.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "serve/answer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct Client { // an open connection
    int fd;
    size_t target_bytes; // of the request that has begun
    double deadline;     // when its present phase must be over; 0: none, the server itself is at work
    Exchange *exchange;
    int idle; // its last request is answered, and nothing of another has come
    Client *before, *after;
};

struct Http {
    struct MHD_Daemon *daemon;
    const HttpCalls *calls;
    Outbox *outbox;
    Client *clients;
    int connections, exchanges, draining;
    int listener;
    double swept, looked;
    char url[128];
};

enum { SWEEP_MILLISECONDS = 100, BACKLOG = 1024 };

// ---- clients ----------------------------------------------------------------------------------------------------------

static void client_connection(void *self, struct MHD_Connection *connection, void **context,
                              enum MHD_ConnectionNotificationCode what) {
    Http *h = self;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        Client *c = mem_zalloc(1, sizeof *c);
        c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c->deadline = log_seconds() + HTTP_HEADER_SECONDS;
        c->after = h->clients;
        if (h->clients) h->clients->before = c;
        h->clients = c;
        h->connections++;
        *context = c;
    } else if (*context) {
        Client *c = *context;
        *(c->before ? &c->before->after : &h->clients) = c->after;
        if (c->after) c->after->before = c->before;
        h->connections--;
        free(c);
        *context = NULL;
    }
}

static Client *client_of(struct MHD_Connection *connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

// A request's first line is there. Between requests a client has longer; before the first one its time runs already.
static void *client_asks(void *self, const char *target, struct MHD_Connection *connection) {
    Client *c = client_of(connection);
    (void)self;
    c->target_bytes = strlen(target);
    if (c->idle) c->deadline = log_seconds() + HTTP_HEADER_SECONDS;
    c->idle = 0;
    return NULL; // no exchange yet
}

// Asked of the socket, not read from it: bytes that wait unread would hide the end behind them.
static int client_gone(const Client *c) {
    struct pollfd end = {.fd = c->fd, .events = POLLRDHUP};
    return poll(&end, 1, 0) > 0;
}

static void exchange_resume(Exchange *x) {
    x->suspended = 0;
    x->client->deadline = log_seconds() + HTTP_REPLY_SECONDS;
    MHD_resume_connection(x->connection);
}

static void shut(Client *c) {
    c->deadline = 0;
    shutdown(c->fd, SHUT_RDWR);
}

// Connections whose time is over are shut; libmicrohttpd then finds them closed. While a request waits for its answer nobody
// reads its socket, so here is where we see that its client has gone. That one has gone in the middle of a request
// libmicrohttpd does not always see; we look every second.
static void clients_sweep(Http *h) {
    const double now = log_seconds();
    const int look = now - h->looked > 1;
    h->swept = now;
    if (look) h->looked = now;
    for (Client *c = h->clients, *after; c; c = after) {
        Exchange *x = c->exchange;
        after = c->after;
        if (x && x->suspended && x->waits_for && client_gone(c)) {
            x->gone = 1;
            if (!h->calls->abandon(h->calls->self, x)) continue;
            x->waits_for = NULL;
            exchange_resume(x);
        } else if (c->deadline > 0 && now > c->deadline) {
            if (!c->idle) h->calls->timed_out(h->calls->self);
            shut(c);
        } else if (look && c->deadline > 0 && !(x && x->dispatched) && client_gone(c)) {
            shut(c);
        }
    }
}

// ---- exchanges --------------------------------------------------------------------------------------------------------

static int is_inference_protocol(const char *path) {
    return !strncmp(path, "/v2", 3) && (path[3] == 0 || path[3] == '/');
}

void http_error(Exchange *x, int status, const char *format, ...) {
    char message[640];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    x->status = status;
    str_clear(&x->reply);
    if (is_inference_protocol(x->path))
        answer_error_text(&x->reply, message);
    else
        answer_error(&x->reply, status, message);
}

const char *http_header(const Exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *http_query(const Exchange *x, const char *name, size_t *len) {
    const char *value = NULL;
    *len = 0;
    if (MHD_lookup_connection_value_n(x->connection, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value, len) != MHD_YES)
        return NULL;
    return value ? value : "";
}

typedef struct QueryNames {
    const char *const *known;
    unsigned seen; // of those
    const char *bad, *why;
} QueryNames;

static enum MHD_Result check_name(void *self, enum MHD_ValueKind kind, const char *name, const char *value) {
    QueryNames *q = self;
    int i = 0;
    (void)kind;
    if (!*name && (!value || !*value)) return MHD_YES; // "?&limit=1"
    while (q->known[i] && strcmp(name, q->known[i]) != 0) i++;
    q->why = !q->known[i] ? "there is no such parameter" : q->seen & 1u << i ? "given twice" : NULL;
    q->bad = q->why ? name : NULL;
    q->seen |= 1u << i;
    return q->why ? MHD_NO : MHD_YES;
}

int http_check_query(Exchange *x, const char *const *names) {
    QueryNames q = {.known = names};
    MHD_get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND, check_name, &q);
    if (!q.why) return 0;
    http_error(x, 422, "%.60s: %s", q.bad, q.why);
    return -1;
}

// "http://host/path" in the place of a path is what proxies are asked, and servers must understand; it overrules the header.
static void set_target(Exchange *x, const char *target) {
    const char *host = http_header(x, MHD_HTTP_HEADER_HOST), *path = target;
    size_t n = host ? strlen(host) : 0;
    if (!strncasecmp(target, "http://", 7)) {
        host = target + 7;
        n = strcspn(host, "/");
        path = host[n] ? host + n : "/";
    }
    x->host = host ? mem_strndup(host, n) : NULL;
    x->path = mem_strndup(path, strlen(path));
}

static Exchange *exchange_new(Http *h, struct MHD_Connection *connection, const char *target, const char *method) {
    Exchange *x = mem_zalloc(1, sizeof *x);
    x->http = h;
    x->connection = connection;
    x->client = client_of(connection);
    x->method = method;
    set_target(x, target);
    x->client->exchange = x;
    x->client->deadline = log_seconds() + HTTP_BODY_SECONDS;
    h->exchanges++;
    return x;
}

// Called for every exchange, however it ended.
static void exchange_completed(void *self, struct MHD_Connection *connection, void **context,
                               enum MHD_RequestTerminationCode why) {
    Http *h = self;
    Exchange *x = *context;
    (void)why, (void)connection;
    if (!x) return;
    CHECK(!x->waits_for);
    x->client->exchange = NULL;
    x->client->idle = 1;
    x->client->deadline = log_seconds() + HTTP_IDLE_SECONDS;
    h->exchanges--;
    str_free(&x->body), str_free(&x->reply);
    free(x->path), free(x->host);
    free(x);
    *context = NULL;
}

static void add_header(struct MHD_Response *r, const char *name, const char *value) {
    CHECK(MHD_add_response_header(r, name, value) == MHD_YES);
}

static enum MHD_Result exchange_reply(Exchange *x) {
    static const char policy[] =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    char seconds[16];
    struct MHD_Response *r = MHD_create_response_from_buffer(x->reply.len, x->reply.data ? x->reply.data : (char *)"",
                                                             MHD_RESPMEM_PERSISTENT); // as long as the exchange
    CHECK(r);
    add_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, x->type ? x->type : "application/json");
    add_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    add_header(r, "X-Content-Type-Options", "nosniff");
    if (x->type && !strncmp(x->type, "text/html", 9)) add_header(r, "Content-Security-Policy", policy);
    if (x->allow) add_header(r, MHD_HTTP_HEADER_ALLOW, x->allow);
    if (x->status == 401) add_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (x->retry_after) {
        snprintf(seconds, sizeof seconds, "%d", x->retry_after);
        add_header(r, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
    if (x->http->draining) add_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    x->client->deadline = log_seconds() + HTTP_REPLY_SECONDS;
    if (!x->gone) x->http->calls->replied(x->http->calls->self, x);
    const enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return result;
}

// Headers that must not come twice. libmicrohttpd takes one of them, and a proxy before us may have taken the other.
static const char *const single_header[] = {"Host",   "Content-Length", "Transfer-Encoding", "Content-Type",
                                            "Origin", "Authorization",  "X-API-Key"};
enum { SINGLE_HEADERS = sizeof single_header / sizeof single_header[0] };

typedef struct Headers {
    int count[SINGLE_HEADERS], malformed;
    size_t bytes;
} Headers;

static enum MHD_Result count_header(void *self, enum MHD_ValueKind kind, const char *name, const char *value) {
    Headers *h = self;
    (void)kind;
    for (int i = 0; i < SINGLE_HEADERS; i++) h->count[i] += !strcasecmp(name, single_header[i]);
    h->bytes += strlen(name) + strlen(": \r\n") + (value ? strlen(value) : 0);
    h->malformed |= !*name;
    for (const char *c = name; *c; c++) h->malformed |= *c <= ' ' || strchr("\"(),/:;<=>?@[\\]{}\x7f", *c);
    for (const char *c = value; c && *c; c++) h->malformed |= utf8_is_control(*c) && *c != '\t';
    return MHD_YES;
}

// Whether one and only one request can be read out of these bytes; else the reply says why not, and the connection ends.
static int is_clear(Exchange *x) {
    const char *coding = http_header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING), *expects = http_header(x, MHD_HTTP_HEADER_EXPECT);
    Headers h = {0};
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, count_header, &h);
    if (x->client->target_bytes > HTTP_HEADER_BYTES)
        http_error(x, 414, "the address has %zu bytes, more than the limit of %d", x->client->target_bytes, HTTP_HEADER_BYTES);
    else if (x->client->target_bytes + h.bytes > HTTP_HEADER_BYTES)
        http_error(x, 431, "address and headers have %zu bytes, more than the limit of %d", x->client->target_bytes + h.bytes,
                   HTTP_HEADER_BYTES);
    if (h.malformed) http_error(x, 400, "a header's name or value has a byte that does not belong there");
    if (expects && strcasecmp(expects, "100-continue")) http_error(x, 417, "Expect: 100-continue alone is known");
    for (int i = 0; i < SINGLE_HEADERS; i++)
        if (h.count[i] > 1) http_error(x, 400, "the header %s comes more than once", single_header[i]);
    if (coding && http_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH))
        http_error(x, 400, "Content-Length stands beside Transfer-Encoding");
    else if (coding && strcasecmp(coding, "chunked"))
        http_error(x, 400, "Transfer-Encoding: chunked alone is known");
    return x->status == 0;
}

static void exchange_begin(Exchange *x) {
    const HttpCalls *calls = x->http->calls;
    const char *length = http_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
    x->body_bytes = length ? strtoull(length, NULL, 10) : 0;
    const int too_long = x->body_bytes > HTTP_BODY_BYTES;
    if (too_long) http_error(x, 413, "the body has %s bytes, more than the limit of %d", length, HTTP_BODY_BYTES);
    if (x->status == 0) calls->begin(calls->self, x);
}

static void exchange_body(Exchange *x, const char *data, size_t n) {
    x->body_bytes += n;
    if (x->status == 0 && x->body.len + n > HTTP_BODY_BYTES) {
        http_error(x, 413, "the body has more bytes than the limit of %d", HTTP_BODY_BYTES);
        str_free(&x->body);
    }
    if (x->status == 0) str_append(&x->body, data, n);
}

// Called with the headers, then with each piece of the body, then without; and again when a suspended connection goes on.
static enum MHD_Result exchange_handle(void *self, struct MHD_Connection *connection, const char *target, const char *method,
                                       const char *version, const char *data, size_t *bytes, void **context) {
    Http *h = self;
    Exchange *x = *context;
    (void)version;
    if (x && x->gone) return MHD_NO; // nobody reads a reply: the connection ends
    if (!x) {
        *context = x = exchange_new(h, connection, target, method);
        const int clear = is_clear(x);
        if (clear) exchange_begin(x);
        const int asks = x->status && http_header(x, MHD_HTTP_HEADER_EXPECT);               // whether to send a body: no
        if (!clear || asks || x->body_bytes > HTTP_SWALLOW_BYTES) return exchange_reply(x); // and the connection ends
        x->body_bytes = 0;
        return MHD_YES;
    }
    if (*bytes) {
        exchange_body(x, data, *bytes);
        *bytes = 0;
        return x->body_bytes > HTTP_SWALLOW_BYTES ? MHD_NO : MHD_YES;
    }
    if (x->status == 0 && !x->dispatched) {
        x->dispatched = 1;
        if (x->begun == 0) x->begun = log_seconds(); // else it waited for what it needs, which counts
        h->calls->dispatch(h->calls->self, x);
    }
    if (x->status) return exchange_reply(x);
    CHECK(x->waits_for);
    x->suspended = 1;
    x->client->deadline = 0;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

// A NUL would end the text in its middle: it becomes a control byte, which stands in no path, id or title.
static size_t unescape(void *self, struct MHD_Connection *connection, char *text) {
    const size_t n = MHD_http_unescape(text);
    (void)self, (void)connection;
    for (size_t i = 0; i < n; i++)
        if (!text[i]) text[i] = 1;
    return n;
}

// ---- the address ------------------------------------------------------------------------------------------------------

static int is_loopback(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static void set_url(Http *h, const char *host) {
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    getsockname(h->listener, (struct sockaddr *)&a, &n);
    const int six = a.ss_family == AF_INET6;
    const int port = ntohs(six ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
    snprintf(h->url, sizeof h->url, strchr(host, ':') ? "http://[%.80s]:%d/" : "http://%.80s:%d/", host, port);
}

static int listen_at(Http *h, const char *host, int port, int *loopback, Err *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    char service[16];
    const int one = 1;
    snprintf(service, sizeof service, "%d", port);
    const int fault = getaddrinfo(host, service, &hints, &found);
    if (fault) return err_set(err, ERR_USAGE, "--host %.80s: %s", host, gai_strerror(fault));
    *loopback = is_loopback(found->ai_addr);
    h->listener = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int status = h->listener < 0 ? err_errno(err, "a socket") : 0;
    if (status == 0) setsockopt(h->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (status == 0 && (bind(h->listener, found->ai_addr, found->ai_addrlen) || listen(h->listener, BACKLOG)))
        status = err_errno(err, "%.80s, port %d", host, port);
    freeaddrinfo(found);
    if (status == 0) set_url(h, host);
    return status;
}

// ---- open, run, close -------------------------------------------------------------------------------------------------

static unsigned allowed_connections(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files)) return 512;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NOFILE, &files);
    return files.rlim_cur > HTTP_CONNECTIONS + 64 ? HTTP_CONNECTIONS
           : files.rlim_cur > 128                 ? (unsigned)files.rlim_cur - 64
                                                  : 64;
}

static void daemon_log(void *self, const char *format, va_list args) {
    char line[512];
    (void)self;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = 0;
    log_debug("libmicrohttpd: %s", line);
}

int http_open(Http **http, const char *host, int port, const HttpCalls *calls, Outbox *outbox, int *loopback, Err *err) {
    Http *h = *http = mem_zalloc(1, sizeof *h);
    h->calls = calls;
    h->outbox = outbox;
    h->listener = -1;
    if (listen_at(h, host, port, loopback, err)) {
        http_close(h);
        return -1;
    }
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, exchange_handle, h,
        MHD_OPTION_EXTERNAL_LOGGER, daemon_log, NULL, MHD_OPTION_LISTEN_SOCKET, h->listener, MHD_OPTION_CONNECTION_LIMIT,
        allowed_connections(), MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_MEMORY_BYTES, MHD_OPTION_NOTIFY_CONNECTION,
        client_connection, h, MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, h, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_URI_LOG_CALLBACK, client_asks, h, MHD_OPTION_END);
    if (h->daemon) return 0;
    http_close(h);
    return err_set(err, ERR_IO, "the HTTP server cannot be started");
}

void http_close(Http *h) {
    if (h->daemon) MHD_stop_daemon(h->daemon);
    if (h->listener >= 0 && !h->daemon) close(h->listener); // else the daemon has closed it
    free(h);
}

const char *http_url(const Http *h) {
    return h->url;
}

int http_connections(const Http *h) {
    return h->connections;
}

int http_draining(const Http *h) {
    return h->draining;
}

static void take_replies(Http *h) {
    for (Reply *r = outbox_take(h->outbox), *next; r; r = next) {
        Exchange *x = r->owner;
        next = r->next;
        CHECK(x->waits_for == r);
        x->waits_for = NULL;
        h->calls->finish(h->calls->self, x, r);
        x->dispatched = x->status != 0;
        exchange_resume(x);
    }
}

static int has_newcomers(const Http *h) {
    struct pollfd wait = {.fd = h->listener, .events = POLLIN};
    return poll(&wait, 1, 0) > 0;
}

// Nothing new is accepted. Connections that wait for a request of their client's are shut.
static void drain(Http *h) {
    // What the system has connected so far: a run takes several, at most BACKLOG can wait, and those who go on coming do not
    // keep us. One run more reads what the last ones ask.
    for (int runs = 0; runs < BACKLOG && has_newcomers(h); runs++) MHD_run(h->daemon);
    MHD_run(h->daemon);
    MHD_quiesce_daemon(h->daemon);
    close(h->listener); // who comes now is refused at once, and may go elsewhere
    h->listener = -1;
    h->draining = 1;
}

static void shut_idle(Http *h) {
    for (Client *c = h->clients; c; c = c->after)
        if (!c->exchange) shutdown(c->fd, SHUT_RDWR);
}

static int wait_for_events(Http *h, int epoll, Err *err) {
    struct pollfd wait[2] = {{.fd = epoll, .events = POLLIN}, {.fd = h->outbox->event, .events = POLLIN}};
    MHD_UNSIGNED_LONG_LONG timeout;
    int milliseconds = SWEEP_MILLISECONDS;
    if (MHD_get_timeout(h->daemon, &timeout) == MHD_YES && timeout < (unsigned)milliseconds) milliseconds = (int)timeout;
    if (poll(wait, 2, milliseconds) >= 0 || errno == EINTR) return 0;
    return err_errno(err, "poll");
}

int http_run(Http *h, const atomic_int *stop, Err *err) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    CHECK(info);
    const int epoll = info->epoll_fd;
    for (;;) {
        if (wait_for_events(h, epoll, err)) return -1;
        take_replies(h);
        if (MHD_run(h->daemon) != MHD_YES) return err_set(err, ERR_IO, "the HTTP server has stopped");
        if (log_seconds() - h->swept > 1e-3 * SWEEP_MILLISECONDS) clients_sweep(h);
        if (*stop && !h->draining) drain(h);
        if (h->draining && h->exchanges == 0) break;
    }
    shut_idle(h);
    return 0;
}
