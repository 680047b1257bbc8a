#include "app/interrupt.h"

#include <stddef.h>
#include <unistd.h>

// A signal handler reaches nothing but a static.
static volatile sig_atomic_t caught;

static void interrupt_handler(int number) {
    if (caught) _exit(128 + number);
    caught = number;
}

const volatile sig_atomic_t *interrupt_watch(void) {
    struct sigaction action = {.sa_handler = interrupt_handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return &caught;
}

int interrupt_signal(void) {
    return caught;
}

void interrupt_elsewhere(int number) {
    if (!caught) caught = number;
}
