// Threads beside the one that computes.
#pragma once

#include <pthread.h>

// Starts one that takes no signal but those that its own fault raises (SIGSEGV and the like: a blocked one ends the process
// before any handler is asked). Returns 0, or the error number of pthread_create.
int thread_start(pthread_t *thread, void *(*run)(void *), void *context);
