// Device memory as ranges of addresses that are backed piece by piece: the arenas above reserve as much as the GPU has
// and use what they need. Nothing here is seen by a kernel; a kernel's op says what it is going to write (memory_written).
#include "ops/cuda/cuda.cuh"

#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct Range {
    CUdeviceptr at;
    size_t bytes;
    CUmemGenericAllocationHandle *piece; // (bytes / piece_bytes), 0: not backed
    struct Range *next;
} Range;

typedef struct Driver { // by name at run time, so that the program starts where there is no driver
    decltype(&cuDeviceGet) device;
    decltype(&cuDeviceGetAttribute) attribute;
    decltype(&cuMemAddressReserve) reserve;
    decltype(&cuMemAddressFree) unreserve;
    decltype(&cuMemCreate) create;
    decltype(&cuMemRelease) release;
    decltype(&cuMemMap) map;
    decltype(&cuMemUnmap) unmap;
    decltype(&cuMemSetAccess) access;
    decltype(&cuMemGetAllocationGranularity) granularity;
} Driver;

struct Memory {
    Driver driver;
    CUmemAllocationProp prop;
    size_t piece_bytes;
    Range *range;
};

enum { UNITS = 16 }; // allocation units in a piece: 32 MiB where the unit is 2 MiB

template <typename F> static int find(F **function, const char *name) {
    cudaDriverEntryPointQueryResult result;
    return cudaGetDriverEntryPointByVersion(name, (void **)function, 12000, cudaEnableDefault, &result) != cudaSuccess ||
           result != cudaDriverEntryPointSuccess;
}

static int driver_find(Driver *d) {
    return find(&d->device, "cuDeviceGet") || find(&d->attribute, "cuDeviceGetAttribute") ||
           find(&d->reserve, "cuMemAddressReserve") || find(&d->unreserve, "cuMemAddressFree") ||
           find(&d->create, "cuMemCreate") || find(&d->release, "cuMemRelease") || find(&d->map, "cuMemMap") ||
           find(&d->unmap, "cuMemUnmap") || find(&d->access, "cuMemSetAccess") ||
           find(&d->granularity, "cuMemGetAllocationGranularity");
}

static int device_maps(const Driver *d, int number) {
    CUdevice device;
    int maps = 0;
    return d->device(&device, number) == CUDA_SUCCESS &&
           d->attribute(&maps, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device) == CUDA_SUCCESS && maps;
}

int memory_open(Ops *ops, Err *err) {
    Memory *m = ops->memory = (Memory *)mem_zalloc(1, sizeof *m);
    if (driver_find(&m->driver)) return err_set(err, ERR_USAGE, "the GPU's driver is too old: CUDA 12 is needed");
    m->prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    m->prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    m->prop.location.id = ops->device;
    size_t unit = 0, bytes = ops->memory_bytes;
    if (!device_maps(&m->driver, ops->device) ||
        m->driver.granularity(&unit, &m->prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) != CUDA_SUCCESS)
        return err_set(err, ERR_USAGE, "the GPU does not map memory");
    m->piece_bytes = unit * UNITS;
    void *range = ops_reserve(ops, bytes, err);
    if (!range) return -1;
    arena_init(&ops->scratch, range, bytes, "the scratch arena");
    return 0;
}

void *ops_reserve(Ops *ops, size_t bytes, Err *err) {
    Memory *m = ops->memory;
    gpu_enter(ops);
    Range *r = (Range *)mem_zalloc(1, sizeof *r);
    r->bytes = (bytes + m->piece_bytes - 1) / m->piece_bytes * m->piece_bytes;
    if (m->driver.reserve(&r->at, r->bytes, 0, 0, 0) != CUDA_SUCCESS) {
        free(r);
        err_set(err, ERR_MEMORY, "cannot reserve %zu MiB of the GPU's addresses", bytes >> 20);
        return NULL;
    }
    r->piece = (CUmemGenericAllocationHandle *)mem_zalloc(r->bytes / m->piece_bytes, sizeof *r->piece);
    r->next = m->range;
    m->range = r;
    return (void *)r->at;
}

static void range_unmap(Memory *m, Range *r) {
    for (size_t i = 0; i < r->bytes / m->piece_bytes; i++) {
        if (!r->piece[i]) continue;
        m->driver.unmap(r->at + i * m->piece_bytes, m->piece_bytes);
        m->driver.release(r->piece[i]);
    }
    m->driver.unreserve(r->at, r->bytes);
}

static void range_free(Ops *ops, Range *r) {
    if (gpu_is_here(ops)) range_unmap(ops->memory, r);
    free(r->piece);
    free(r);
}

void ops_release(Ops *ops, void *range, size_t bytes) {
    (void)bytes;
    if (!range) return;
    if (gpu_is_here(ops)) {
        gpu_enter(ops);
        CUDA(cudaStreamSynchronize(ops->stream));
    }
    for (Range **r = &ops->memory->range; *r; r = &(*r)->next) {
        if ((void *)(*r)->at != range) continue;
        Range *gone = *r;
        *r = gone->next;
        range_free(ops, gone);
        return;
    }
    CHECK(!"a range that was reserved");
}

void memory_close(Ops *ops) {
    Memory *m = ops->memory;
    if (!m) return;
    while (m->range) {
        Range *next = m->range->next;
        range_free(ops, m->range);
        m->range = next;
    }
    free(m);
}

static void driver_check(CUresult status, size_t bytes) {
    if (status == CUDA_SUCCESS) return;
    if (status == CUDA_ERROR_OUT_OF_MEMORY)
        fprintf(stderr, "latentr3: out of memory: the GPU has no %zu MiB more\n", bytes >> 20);
    else
        fprintf(stderr, "latentr3: CUDA: %zu MiB cannot be mapped: error %d\n", bytes >> 20, (int)status);
    _exit(status == CUDA_ERROR_OUT_OF_MEMORY ? ERR_MEMORY : ERR_INTERNAL);
}

static void piece_back(Ops *ops, Range *r, size_t i) {
    Memory *m = ops->memory;
    const CUdeviceptr at = r->at + i * m->piece_bytes;
    CUmemAccessDesc access = {};
    access.location = m->prop.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    driver_check(m->driver.create(&r->piece[i], m->piece_bytes, &m->prop, 0), m->piece_bytes);
    driver_check(m->driver.map(at, m->piece_bytes, 0, r->piece[i], 0), m->piece_bytes);
    driver_check(m->driver.access(at, m->piece_bytes, &access, 1), m->piece_bytes);
    CUDA(cudaMemsetAsync((void *)at, 0, m->piece_bytes, ops->stream));
}

void memory_written(Ops *ops, const void *device, size_t bytes) {
    Memory *m = ops->memory;
    const CUdeviceptr at = (CUdeviceptr)device;
    gpu_enter(ops);
    if (bytes == 0) return;
    for (Range *r = m->range; r; r = r->next) {
        if (at < r->at || at - r->at >= r->bytes) continue;
        CHECK(bytes <= r->bytes - (at - r->at));
        for (size_t i = (at - r->at) / m->piece_bytes; i <= (at - r->at + bytes - 1) / m->piece_bytes; i++)
            if (!r->piece[i]) piece_back(ops, r, i);
        return;
    }
}
