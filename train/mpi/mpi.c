// RanksCarrier on OpenMPI. A library of its own that train/ranks.c loads, so that the program itself does without.
#include "train/ranks.h"

#include <mpi.h>
#include <time.h>
#include <unistd.h>

// Calls that disagree, and a rank that is gone, end the process here: MPI's error handlers are left as they are.
static MPI_Comm work, meeting;

// MPI waits by asking without a pause, and takes a processor from what computes beside it, here or in another rank. So it is
// asked now and then. -1 where it takes longer than `seconds` (0: no limit).
static int finish(MPI_Request *request, double seconds) {
    const double began = MPI_Wtime();
    int there = 0;
    for (MPI_Test(request, &there, MPI_STATUS_IGNORE); !there; MPI_Test(request, &there, MPI_STATUS_IGNORE)) {
        if (seconds > 0 && MPI_Wtime() - began > seconds) return -1;
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    return 0;
}

static void carrier_gather(void *self, const void *mine, void *all, size_t bytes) {
    (void)self;
    MPI_Request request;
    MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, work, &request);
    finish(&request, 0);
}

static void carrier_exchange(void *self, const void *out, void *in, size_t bytes) {
    (void)self;
    MPI_Request request;
    MPI_Ialltoall(out, (int)bytes, MPI_BYTE, in, (int)bytes, MPI_BYTE, work, &request);
    finish(&request, 0);
}

static void carrier_broadcast(void *self, void *data, size_t bytes) {
    (void)self;
    MPI_Request request;
    MPI_Ibcast(data, (int)bytes, MPI_BYTE, 0, work, &request);
    finish(&request, 0);
}

static int carrier_meet(void *self, int value, int *all, double seconds) {
    (void)self;
    MPI_Request request;
    MPI_Iallgather(&value, 1, MPI_INT, all, 1, MPI_INT, meeting, &request);
    return finish(&request, seconds);
}

static void carrier_leave(void *self) {
    (void)self;
    MPI_Finalize();
}

__attribute__((noreturn)) static void carrier_abandon(int status) {
    MPI_Abort(MPI_COMM_WORLD, status);
    _exit(status);
}

static const RanksCarrier carrier = {carrier_gather, carrier_exchange, carrier_broadcast,
                                     carrier_meet,   carrier_leave,    carrier_abandon};

__attribute__((visibility("default"))) int ranks_mpi_join(Ranks *r);
int ranks_mpi_join(Ranks *r) {
    int provided;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) || provided < MPI_THREAD_SERIALIZED) return -1;
    MPI_Comm_dup(MPI_COMM_WORLD, &work);
    MPI_Comm_dup(MPI_COMM_WORLD, &meeting);
    MPI_Comm_rank(work, &r->rank);
    MPI_Comm_size(work, &r->size);
    r->carrier = &carrier;
    return 0;
}
