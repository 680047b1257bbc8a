#include "app/interrupt.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

// A signal handler reaches nothing but a static, and runs in whichever thread the system picks.
static atomic_int caught;
static const char *told; // a line, begun by one more line end for a terminal, where a bar may stand
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a handler must not wait for a lock");

static void interrupt_handler(int number) {
    if (caught) _exit(128 + number);
    caught = number;
    const int before = errno;
    if (told) (void)!write(STDERR_FILENO, told, strlen(told));
    errno = before;
}

const atomic_int *interrupt_watch(void) {
    struct sigaction action = {.sa_handler = interrupt_handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    struct sigaction before;
    sigaction(SIGINT, NULL, &before); // of a job in the background, which the Ctrl-C of another does not mean, it is ignored
    if (before.sa_handler != SIG_IGN) sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
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
