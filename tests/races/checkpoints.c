// A planted race: what the thread that writes a checkpoint works on is written to after it has begun.
#include "base/thread.h"
#define thread_start(thread, run, c) (thread_start(thread, run, c) || ((c)->job.step = (c)->last, 0))
#include "train/checkpoints.c"
