#include "app/interrupt.h"
#include "base/log.h"
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// A signal handler reaches nothing but a static, and runs in a thread of its own.
static atomic_int caught;
static const char *told; // a line, begun by one more line end for a terminal, where a bar may stand
static struct timespec first;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a handler must not wait for a lock");

// timeout(1) sends its signal to the program and to its group, and a job's runner passes on what the terminal has sent too: one
// request, which comes twice.
static int is_same_request(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - first.tv_sec) + 1e-9 * (double)(now.tv_nsec - first.tv_nsec) < INTERRUPT_SECONDS;
}

static void interrupt_handler(int number) {
    const int before = errno;
    if (caught && !is_same_request()) _exit(128 + number);
    if (!caught) {
        clock_gettime(CLOCK_MONOTONIC, &first);
        caught = number;
        if (told) (void)!write(STDERR_FILENO, told, strlen(told));
    }
    errno = before;
}

static void *take_signals(void *signals) {
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    for (;;) pause();
    return NULL;
}

void interrupt_open(void) {
    static sigset_t signals;
    pthread_t thread;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT), sigaddset(&signals, SIGTERM), sigaddset(&signals, SIGHUP);
    if (thread_start(&thread, take_signals, &signals)) return; // without a thread to spare they come as they used to
    pthread_detach(thread);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

// Ignored it stays where it is: SIGINT in a job of the background, which the Ctrl-C of another does not mean, SIGHUP under
// nohup.
static void watch(int number) {
    struct sigaction action = {.sa_handler = interrupt_handler, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    sigaction(number, NULL, &before);
    if (before.sa_handler != SIG_IGN) sigaction(number, &action, NULL);
}

const atomic_int *interrupt_watch(void) {
    watch(SIGINT), watch(SIGTERM), watch(SIGHUP);
    return &caught;
}

void interrupt_tell(const char *line) {
    told = log_level < LOG_INFO ? NULL : line + !isatty(STDERR_FILENO);
}

int interrupt_signal(void) {
    return caught;
}

void interrupt_elsewhere(int number) {
    if (!caught) caught = number;
}
