#include "train/ranks.h"
#include "base/arena.h"
#include "base/log.h"
#include "train/watch.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// ---- joining and leaving --------------------------------------------------------------------------------------------

// MPI and what it depends on stand in a library of their own, beside the program or where `make install` puts it (the program's
// search path): who does not start ranks neither installs nor loads them.
static const char MODULE[] = "latentr3_mpi.so";
typedef int Join(Ranks *r);

// What the launchers tell each process: OpenMPI's mpirun; srun through PMIx or PMI-2.
static int started_with_others(void) {
    const char *mpirun = getenv("OMPI_COMM_WORLD_SIZE"), *slurm = getenv("SLURM_NTASKS");
    if (mpirun) return atoi(mpirun) > 1;
    return slurm && atoi(slurm) > 1 && (getenv("PMIX_RANK") || getenv("PMI_RANK"));
}

int ranks_open(Ranks *r, Err *err) {
    *r = (Ranks){.size = 1};
    if (!started_with_others()) return 0;
    void *module = dlopen(MODULE, RTLD_NOW | RTLD_GLOBAL); // for the rest of the process; MPI's own modules look for its names
    if (!module)
        return err_set(err, ERR_USAGE, "several processes need latentr3_mpi.so (package latentr3-mpi): %.300s", dlerror());
    Join *join;
    *(void **)&join = dlsym(module, "ranks_mpi_join");
    CHECK(join);
    if (join(r)) return err_set(err, ERR_INTERNAL, "MPI does not start");
    r->watch = watch_open(r);
    return 0;
}

int ranks_close(Ranks *r, int status, Err *err) {
    enum { PATIENCE_SECONDS = 5 };
    if (ranks_size(r) == 1) return status;
    int *all = mem_alloc((size_t)r->size, sizeof *all), first = 0, code = status ? err->code : 0;
    if (r->carrier->meet(r->self, code, all, status ? PATIENCE_SECONDS : 0)) {
        log_line(LOG_ERROR, "latentr3: rank %d: %s", r->rank, err->message);
        watch_close(r->watch, code);
        r->carrier->abandon(code);
    }
    while (first < r->size - 1 && !all[first]) first++;
    code = all[first];
    free(all);
    // Told before any rank leaves: mpirun ends the others as soon as the first has ended with an error.
    if (code && r->rank == first) log_line(LOG_ERROR, "latentr3: %s", err->message);
    if (code) *err = (Err){.code = code};
    r->carrier->leave(r->self);
    watch_close(r->watch, 0);
    *r = (Ranks){.size = 1};
    return code ? -1 : 0;
}

// ---- together -------------------------------------------------------------------------------------------------------

void ranks_gather(const Ranks *r, const void *mine, void *all, size_t bytes) {
    if (ranks_size(r) > 1)
        r->carrier->gather(r->self, mine, all, bytes);
    else
        memcpy(all, mine, bytes);
}

void ranks_broadcast(const Ranks *r, void *data, size_t bytes) {
    enum { PIECE = 64 << 20 };
    for (size_t at = 0; ranks_size(r) > 1 && at < bytes; at += PIECE)
        r->carrier->broadcast(r->self, (char *)data + at, bytes - at < PIECE ? bytes - at : PIECE);
}

void ranks_collect(const Ranks *r, void *x, const int *owner, int n, size_t bytes) {
    enum { PIECE = 16 << 20 };
    const size_t size = (size_t)ranks_size(r);
    if (size == 1 || n == 0) return;
    const int most = bytes < PIECE ? (int)(PIECE / bytes) : 1, step = most < n ? most : n;
    char *all = mem_alloc(size * (size_t)step, bytes);
    for (int first = 0; first < n; first += step) {
        const int count = n - first < step ? n - first : step;
        char *part = (char *)x + (size_t)first * bytes;
        ranks_gather(r, part, all, (size_t)count * bytes);
        for (int i = 0; i < count; i++) {
            const size_t from = (size_t)owner[first + i];
            memcpy(part + (size_t)i * bytes, all + (from * (size_t)count + (size_t)i) * bytes, bytes);
        }
    }
    free(all);
}

double ranks_sum(const Ranks *r, double *x, int n) {
    int *owner = mem_alloc((size_t)n + 1, sizeof *owner);
    double sum = 0;
    for (int i = 0; i < n; i++) owner[i] = i % ranks_size(r);
    ranks_collect(r, x, owner, n, sizeof *x);
    for (int i = 0; i < n; i++) sum += x[i];
    free(owner);
    return sum;
}

char *ranks_text(const Ranks *r, const char *text) {
    size_t bytes = ranks_rank(r) == 0 ? strlen(text) : 0;
    ranks_broadcast(r, &bytes, sizeof bytes);
    char *copy = mem_zalloc(bytes + 1, 1);
    if (ranks_rank(r) == 0) memcpy(copy, text, bytes);
    ranks_broadcast(r, copy, bytes);
    return copy;
}

int ranks_agree(const Ranks *r, int status, Err *err) {
    if (ranks_size(r) == 1) return status;
    Err mine = status ? *err : (Err){0}, *all = mem_alloc((size_t)r->size, sizeof *all);
    int first = 0;
    ranks_gather(r, &mine, all, sizeof mine);
    while (first < r->size && !all[first].code) first++;
    if (first < r->size) {
        *err = all[first];
        if (first) err_prefix(err, "rank %d", first);
    }
    free(all);
    return first < r->size ? -1 : 0;
}
