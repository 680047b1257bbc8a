// Threads beside the one that computes.
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

// Starts one that takes no signal but those that its own fault raises (SIGSEGV and the like: a blocked one ends the process
// before any handler is asked). Returns 0, or the error number of pthread_create.
int thread_start(pthread_t *thread, void *(*run)(void *), void *context);

#endif
