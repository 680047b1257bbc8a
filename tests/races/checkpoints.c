// A planted race: what the thread that writes a checkpoint works on is written to after it has begun.
#include <pthread.h>
#define pthread_create(thread, attributes, run, c)                                                                             \
    (pthread_create(thread, attributes, run, c) || ((c)->job.step = (c)->last, 0))
#include "train/checkpoints.c"
