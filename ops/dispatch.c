// Where a build has several backends: the contract as calls through the table of the one that ops_open chose. The backends'
// own functions have their device's name before them; both come from ops.h by dispatch.awk.
//
// With FOREIGN (tests alone) device memory can be read and written inside calls of the contract only, so that a layer above
// which touches a tensor's memory dies on the spot, as one does that passes an op memory of the host in its place.
#include "ops/ops.h"

#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#ifdef FOREIGN
#include <pthread.h>
#include <sys/mman.h>

enum { RANGES = 64 };
static struct {
    pthread_mutex_t lock;
    int inside; // calls under way
    struct {
        void *at;
        size_t bytes;
    } range[RANGES];
} foreign = {.lock = PTHREAD_MUTEX_INITIALIZER};

size_t foreign_memory_bytes, foreign_free_bytes; // where a test gives the device less than the host has

static void foreign_set(int protection) {
    for (int i = 0; i < RANGES; i++)
        if (foreign.range[i].at) CHECK(mprotect(foreign.range[i].at, foreign.range[i].bytes, protection) == 0);
}

static void foreign_count(int change) {
    pthread_mutex_lock(&foreign.lock);
    if (foreign.inside + change == (change > 0)) foreign_set(change > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
    foreign.inside += change;
    pthread_mutex_unlock(&foreign.lock);
}

static void foreign_range(void *was, void *is, size_t bytes) {
    pthread_mutex_lock(&foreign.lock);
    int i = 0;
    while (i < RANGES && foreign.range[i].at != was) i++;
    CHECK(i < RANGES);
    foreign.range[i].at = is, foreign.range[i].bytes = bytes;
    if (is && !foreign.inside) CHECK(mprotect(is, bytes, PROT_NONE) == 0);
    pthread_mutex_unlock(&foreign.lock);
}

// Not wanted (NULL), or in a range; just behind one lies a tensor without values.
static int foreign_has(const void *device) {
    int has = device == NULL;
    pthread_mutex_lock(&foreign.lock);
    for (int i = 0; i < RANGES && !has; i++) {
        const size_t at = (size_t)((const char *)device - (const char *)foreign.range[i].at);
        has = foreign.range[i].at && at <= foreign.range[i].bytes;
    }
    pthread_mutex_unlock(&foreign.lock);
    return has;
}

#define ENTER(ops)     foreign_count(1)
#define LEAVE(ops)     foreign_count(-1)
#define DEVICE(tensor) CHECK(foreign_has(tensor))
#else
#define foreign_range(was, is, bytes) (void)0
#define ENTER(ops)                    (void)0
#define LEAVE(ops)                    (void)0
#define DEVICE(tensor)                (void)0
#endif

#include <ops_table.h> // made by dispatch.awk

static const Device *device_named(const char *name) {
    if (!name || !*name) name = getenv("LATENTR3_DEVICE");
    if (!name || !*name) return &devices[0];
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (!strcmp(devices[i].name, name)) return &devices[i];
    return NULL;
}

int ops_open(Ops **ops, const char *device, int threads, Dtype dtype, Err *err) {
    const Device *d = device_named(device);
    if (!d) return err_set(err, ERR_USAGE, "no device \"%s\" in this build", device ? device : getenv("LATENTR3_DEVICE"));
    Ops *own;
    if (d->ops_open(&own, d->name, threads, dtype, err)) return -1;
    *ops = mem_alloc(1, sizeof **ops);
    **ops = (Ops){d, own};
    return 0;
}

void ops_close(Ops *ops) {
    if (!ops) return;
    ops->device->ops_close(ops->own);
    free(ops);
}

int ops_has_bf16(const char *device) {
    const Device *d = device_named(device);
    return d && d->ops_has_bf16(d->name);
}

size_t ops_memory_bytes(const Ops *ops) {
#ifdef FOREIGN
    if (foreign_memory_bytes) return foreign_memory_bytes;
#endif
    return ops->device->ops_memory_bytes(ops->own);
}

size_t ops_free_bytes(const Ops *ops) {
#ifdef FOREIGN
    if (foreign_free_bytes) return foreign_free_bytes;
#endif
    return ops->device->ops_free_bytes(ops->own);
}

void *ops_reserve(Ops *ops, size_t bytes, Err *err) {
    void *range = ops->device->ops_reserve(ops->own, bytes, err);
    if (range) foreign_range(NULL, range, bytes);
    return range;
}

void ops_release(Ops *ops, void *range, size_t bytes) {
    if (!range) return;
    foreign_range(range, NULL, 0);
    ops->device->ops_release(ops->own, range, bytes);
}
