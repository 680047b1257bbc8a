// How ranks notice that one of them is gone: killed, or on a machine that is cut off. What started them often ends the others,
// but not everywhere (srun without --kill-on-bad-exit), and MPI would wait for ever.
//
// Each rank holds a TCP connection (IPv4) to rank 0, over which nothing goes until a goodbye at the end, and a thread that
// listens to it. A process that ends closes its connection; one whose machine is silent the kernel closes, after 16 seconds of
// asking. Whoever then finds that no goodbye was said ends its process: one line, ERR_IO. Rank 0 says it for all others.
#ifndef TRAIN_WATCH_H
#define TRAIN_WATCH_H

#include "train/ranks.h"

typedef struct Watch Watch;

// All ranks call it; NULL where they are one. A rank that cannot reach rank 0 is not watched: rank 0 warns of it.
Watch *watch_open(const Ranks *r);
// Before this process ends. code 0: in good order. Else for a reason that it has told: the others end with that code too, and
// without a line.
void watch_close(Watch *w, int code);

#endif
