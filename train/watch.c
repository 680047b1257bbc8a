#include "train/watch.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ADDRESSES = 16,
    JOIN_SECONDS = 15,  // that rank 0 waits for all others
    ANSWER_SECONDS = 2, // for one address, or one caller
    PROBE_SECONDS = 4,
    PROBES = 3,      // silence until the kernel asks, and between its questions; how many it asks
    GRACE_MS = 3000, // for what started the ranks to end them by itself: its exit code counts then
};

struct Watch {
    int rank, peers;
    struct pollfd *peer; // (peers + 1) of rank 0: ranks 1, 2, ..., of the others: rank 0; fd -1: not there, or has said
                         // goodbye. The last becomes readable in watch_close
    pthread_t thread;
};

// ---- joining --------------------------------------------------------------------------------------------------------

typedef struct Invitation { // from rank 0 to all
    unsigned char secret[16];
    struct in_addr address[ADDRESSES];
    int addresses;
    in_port_t port;
} Invitation;

typedef struct Hello {
    unsigned char secret[16];
    int rank;
} Hello;

static void set_timeouts(int fd) {
    const struct timeval t = {.tv_sec = ANSWER_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t); // of connect too
}

static void set_probes(int fd) {
    const int on = 1, seconds = PROBE_SECONDS, probes = PROBES;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static int socket_new(void) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) set_timeouts(fd);
    return fd;
}

// Those of this machine; what only its own processes reach comes last.
static void list_addresses(Invitation *x) {
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all)) return;
    for (unsigned loopback = 0; loopback <= IFF_LOOPBACK; loopback += IFF_LOOPBACK)
        for (const struct ifaddrs *i = all; i && x->addresses < ADDRESSES; i = i->ifa_next) {
            if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP)) continue;
            if ((i->ifa_flags & IFF_LOOPBACK) != loopback) continue;
            x->address[x->addresses++] = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
        }
    freeifaddrs(all);
}

// A socket that listens, or -1: then nobody is invited.
static int invite(Invitation *x) {
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t size = sizeof any;
    const int fd = socket_new();
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, size) || listen(fd, SOMAXCONN) ||
        getsockname(fd, (struct sockaddr *)&any, &size) ||
        getrandom(x->secret, sizeof x->secret, 0) != (ssize_t)sizeof x->secret) {
        if (fd >= 0) close(fd);
        return -1;
    }
    x->port = any.sin_port;
    list_addresses(x);
    return fd;
}

// Whoever knows the secret is a rank.
static void receive(Watch *w, int listening, const Invitation *x) {
    const double until = log_seconds() + JOIN_SECONDS;
    for (int missing = w->peers; missing && listening >= 0 && log_seconds() < until;) {
        Hello h;
        const int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) continue;
        set_timeouts(fd);
        if (recv(fd, &h, sizeof h, MSG_WAITALL) == (ssize_t)sizeof h && !memcmp(h.secret, x->secret, sizeof h.secret) &&
            h.rank > 0 && h.rank <= w->peers && w->peer[h.rank - 1].fd < 0 && send(fd, "", 1, MSG_NOSIGNAL) == 1)
            w->peer[h.rank - 1].fd = fd, missing--;
        else
            close(fd);
    }
    for (int i = 0; i < w->peers; i++)
        if (w->peer[i].fd < 0)
            log_warn("rank %d has no TCP connection to rank 0: where it or its machine is lost, the others may wait for ever",
                     i + 1);
    if (listening >= 0) close(listening);
}

static int call(const Invitation *x, int rank) {
    Hello h = {.rank = rank};
    memcpy(h.secret, x->secret, sizeof h.secret);
    for (int i = 0; i < x->addresses; i++) {
        const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = x->port, .sin_addr = x->address[i]};
        const int fd = socket_new();
        char answer;
        if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 &&
            send(fd, &h, sizeof h, MSG_NOSIGNAL) == (ssize_t)sizeof h && recv(fd, &answer, 1, 0) == 1)
            return fd;
        if (fd >= 0) close(fd);
    }
    return -1;
}

// ---- listening ------------------------------------------------------------------------------------------------------

static void tell(const Watch *w, int code) {
    const unsigned char byte = (unsigned char)code;
    for (int i = 0; i < w->peers; i++)
        if (w->peer[i].fd >= 0) (void)!send(w->peer[i].fd, &byte, 1, MSG_NOSIGNAL);
}

// Whether watch_close is called within so much time.
static int closes(const Watch *w, int ms) {
    struct pollfd wake = w->peer[w->peers];
    return poll(&wake, 1, ms) > 0;
}

// What peer i has to say, or the end of its connection.
static void hear(Watch *w, int i) {
    unsigned char code = ERR_IO;
    const ssize_t got = recv(w->peer[i].fd, &code, 1, 0);
    const char *const why = got == 0 ? "its process has ended" : strerror(errno);
    if (got == 1 && code == 0) {
        close(w->peer[i].fd);
        w->peer[i].fd = -1; // poll passes it over
        return;
    }
    const int from_first = got == 1 && w->rank > 0; // rank 0 has waited for all
    if (!from_first && closes(w, GRACE_MS)) return;
    if (got != 1) log_line(LOG_ERROR, "latentr3: rank %d is lost (%s): the others end too", w->rank ? 0 : i + 1, why);
    tell(w, code);
    _exit(code);
}

static void *watch_main(void *watch) {
    Watch *w = watch;
    const struct pollfd *wake = &w->peer[w->peers];
    uint64_t code;
    while (poll(w->peer, (nfds_t)w->peers + 1, -1) >= 0 && !wake->revents)
        for (int i = 0; i < w->peers; i++)
            if (w->peer[i].fd >= 0 && w->peer[i].revents) hear(w, i);
    CHECK(read(wake->fd, &code, sizeof code) == (ssize_t)sizeof code);
    tell(w, (int)code - 1);
    return NULL;
}

static void watch_free(Watch *w) {
    for (int i = 0; i <= w->peers; i++)
        if (w->peer[i].fd >= 0) close(w->peer[i].fd);
    free(w->peer);
    free(w);
}

Watch *watch_open(const Ranks *r) {
    if (ranks_size(r) == 1) return NULL;
    Watch *w = mem_zalloc(1, sizeof *w);
    Invitation x = {0};
    w->rank = r->rank;
    w->peers = r->rank ? 1 : r->size - 1;
    w->peer = mem_alloc((size_t)w->peers + 1, sizeof *w->peer);
    for (int i = 0; i <= w->peers; i++) w->peer[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    const int listening = r->rank ? -1 : invite(&x);
    ranks_broadcast(r, &x, sizeof x);
    if (r->rank)
        w->peer[0].fd = call(&x, r->rank);
    else
        receive(w, listening, &x);
    for (int i = 0; i < w->peers; i++)
        if (w->peer[i].fd >= 0) set_probes(w->peer[i].fd);
    w->peer[w->peers].fd = eventfd(0, EFD_CLOEXEC);
    if (w->peer[w->peers].fd >= 0 && thread_start(&w->thread, watch_main, w) == 0) return w;
    log_line(LOG_ERROR, "warning: rank %d does not watch the others: its thread cannot be started", r->rank);
    tell(w, 0);
    watch_free(w);
    return NULL;
}

void watch_close(Watch *w, int code) {
    const uint64_t wake = (uint64_t)code + 1; // 0 wakes nobody
    if (!w) return;
    CHECK(write(w->peer[w->peers].fd, &wake, sizeof wake) == (ssize_t)sizeof wake);
    pthread_join(w->thread, NULL);
    watch_free(w);
}
