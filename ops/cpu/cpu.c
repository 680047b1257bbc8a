#include "ops/cpu/cpu.h"
#include "base/machine.h"
#include "ops/cpu/isa.h"
#include "ops/team.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST_SHARED = 64 << 20, LEAST_OWN = 16 << 20 }; // bytes of scratch, below which no small model works

int ops_has_bf16(const char *device) {
    (void)device;
    return isa_bf16() != NULL;
}

// How many threads a team of that many really gets: OMP_THREAD_LIMIT and OMP_MAX_ACTIVE_LEVELS can leave it fewer. oneDNN
// shares a product among as many as it was told of, so that those who do not come leave their parts undone.
static int team_given(int threads) {
    const int theirs = omp_get_dynamic();
    int given = 1;
    omp_set_dynamic(0);
#pragma omp parallel num_threads(threads)
#pragma omp single
    given = omp_get_num_threads();
    omp_set_dynamic(theirs);
    return given;
}

static int take_threads(Ops *ops, int wanted, Err *err) {
    const int may = machine_processors(omp_get_num_procs()), all = may < CPU_MAX_THREADS ? may : CPU_MAX_THREADS;
    ops->threads = team_given(wanted ? wanted : all);
    if (ops->threads >= wanted) return 0;
    return err_set(err, ERR_USAGE, "%d threads: OpenMP gives %d here (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS)", wanted,
                   ops->threads);
}

// Where addresses are limited, all threads together get no more than the shared arena, so that something is left.
static int reserve_scratch(Ops *ops, Err *err) {
    const size_t n = (size_t)ops->threads, machine = machine_bytes(), shared = arena_room(machine, 4, LEAST_SHARED),
                 together = shared < machine && shared < n << 30 ? shared : n << 30;
    if (arena_reserve(&ops->shared, shared, "the scratch arena", err)) return -1;
    const size_t own = arena_room(together, 4, n * LEAST_OWN) / n;
    for (size_t t = 0; t < n; t++)
        if (arena_reserve(&ops->own[t], own, "a thread's scratch arena", err)) return -1;
    return 0;
}

int ops_open(Ops **out, const char *device, int threads, Dtype dtype, Err *err) {
    if (!device) device = getenv("LATENTR3_DEVICE");
    if (device && *device && strcmp(device, "cpu") != 0)
        return err_set(err, ERR_USAGE, "no device \"%s\" in this build, only cpu", device);
    if (isa_check(err)) return -1;
    if (threads < 0 || threads > CPU_MAX_THREADS)
        return err_set(err, ERR_USAGE, "%d threads: must be 0 to %d", threads, CPU_MAX_THREADS);
    if (dtype == DTYPE_BF16 && !ops_has_bf16(device))
        return err_set(err, ERR_USAGE, "this processor does not multiply bf16 (AVX512-BF16 or AMX): use --dtype f32");
    Ops *ops = mem_zalloc(1, sizeof *ops);
    ops->dtype = dtype;
    ops->k = kernels_best();
    int status = take_threads(ops, threads, err);
    if (status == 0) status = reserve_scratch(ops, err);
    if (status == 0) status = linear_open(ops, err);
    if (status) {
        ops_close(ops);
        return -1;
    }
    const dnnl_version_t *v = dnnl_version();
    snprintf(ops->description, sizeof ops->description, "cpu, %d threads, %s%s, %s, oneDNN %d.%d.%d", ops->threads,
             dtype == DTYPE_BF16 ? "bf16 on " : "f32", dtype == DTYPE_BF16 ? isa_bf16() : "", ops->k->name, v->major, v->minor,
             v->patch);
    *out = ops;
    return 0;
}

void ops_rest(Ops *ops) {
    (void)ops;
    team_end();
}

void ops_close(Ops *ops) {
    if (!ops) return;
    ops_rest(ops);
    linear_close(ops);
    arena_free(&ops->shared);
    for (int t = 0; t < CPU_MAX_THREADS; t++) arena_free(&ops->own[t]);
    free(ops);
}

Dtype ops_dtype(const Ops *ops) {
    return ops->dtype;
}
int ops_threads(const Ops *ops) {
    return ops->threads;
}
size_t ops_memory_bytes(const Ops *ops) {
    (void)ops;
    return machine_bytes();
}
size_t ops_free_bytes(const Ops *ops) {
    return ops_memory_bytes(ops);
}
int ops_rows_at_once(const Ops *ops) {
    (void)ops;
    return 128;
}
const char *ops_description(const Ops *ops) {
    return ops->description;
}

void *ops_reserve(Ops *ops, size_t bytes, Err *err) {
    (void)ops;
    return arena_map(bytes, "tensors", err);
}

void ops_release(Ops *ops, void *range, size_t bytes) {
    (void)ops;
    arena_unmap(range, bytes);
}

void ops_upload(Ops *ops, void *device, const void *host, size_t bytes) {
    ops_copy(ops, device, host, bytes);
}
void ops_download(Ops *ops, void *host, const void *device, size_t bytes) {
    ops_copy(ops, host, device, bytes);
}
void ops_fetch(Ops *ops, void *host, const void *device, size_t bytes) {
    ops_copy(ops, host, device, bytes);
}
void ops_wait(Ops *ops) {
    (void)ops;
}

// Large blocks go in pieces over the threads: one core does not fill the memory bus.
enum { PIECE_BYTES = 1 << 20 };

void ops_copy(Ops *ops, void *to, const void *from, size_t bytes) {
    if (bytes <= PIECE_BYTES) {
        if (bytes) memcpy(to, from, bytes);
        return;
    }
    PARALLEL_FOR(bytes)
    for (size_t at = 0; at < bytes; at += PIECE_BYTES)
        memcpy((char *)to + at, (const char *)from + at, bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES);
}

void ops_zero(Ops *ops, void *device, size_t bytes) {
    if (bytes <= PIECE_BYTES) {
        if (bytes) memset(device, 0, bytes);
        return;
    }
    PARALLEL_FOR(bytes)
    for (size_t at = 0; at < bytes; at += PIECE_BYTES)
        memset((char *)device + at, 0, bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES);
}

enum { PIECE_VALUES = 1 << 14 };

void op_to_act(Ops *ops, act *out, const float *x, size_t n) {
    PARALLEL_FOR(n)
    for (size_t at = 0; at < n; at += PIECE_VALUES)
        ops->k->store(act_row(ops, out, at, 1), x + at, n - at < PIECE_VALUES ? n - at : PIECE_VALUES, ops->dtype);
}

void op_from_act(Ops *ops, float *out, const act *x, size_t n) {
    PARALLEL_FOR(n)
    for (size_t at = 0; at < n; at += PIECE_VALUES)
        ops->k->load(out + at, act_row(ops, x, at, 1), n - at < PIECE_VALUES ? n - at : PIECE_VALUES, ops->dtype);
}

void op_add(Ops *ops, float *x, const float *y, float scale, size_t n) {
    PARALLEL_FOR(n)
    for (size_t at = 0; at < n; at += PIECE_VALUES)
        ops->k->axpy(x + at, scale, y + at, n - at < PIECE_VALUES ? n - at : PIECE_VALUES);
}
