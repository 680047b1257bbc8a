// The driver's mapped memory: addresses that cannot be touched until they are backed, by NaN.
#ifndef SHIM_CUDA_H
#define SHIM_CUDA_H

#include <cuda_runtime.h>
#include <sys/mman.h>

enum CUresult { CUDA_SUCCESS, CUDA_ERROR_OUT_OF_MEMORY };
enum { CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE, CU_MEM_ALLOC_GRANULARITY_MINIMUM };
enum { CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
typedef unsigned long long CUdeviceptr, CUmemGenericAllocationHandle;
struct CUmemLocation {
    int type, id;
};
struct CUmemAllocationProp {
    int type;
    CUmemLocation location;
};
struct CUmemAccessDesc {
    CUmemLocation location;
    int flags;
};

static inline CUresult cuMemAddressReserve(CUdeviceptr *at, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *at = (CUdeviceptr)p;
    return p == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
static inline CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes) {
    return munmap((void *)at, bytes), CUDA_SUCCESS;
}
static inline CUresult cuMemCreate(CUmemGenericAllocationHandle *h, size_t, const CUmemAllocationProp *, unsigned long long) {
    return *h = 1, CUDA_SUCCESS;
}
static inline CUresult cuMemRelease(CUmemGenericAllocationHandle) {
    return CUDA_SUCCESS;
}
static inline CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t, CUmemGenericAllocationHandle, unsigned long long) {
    if (mprotect((void *)at, bytes, PROT_READ | PROT_WRITE)) return CUDA_ERROR_OUT_OF_MEMORY;
    return memset((void *)at, 0xff, bytes), CUDA_SUCCESS;
}
static inline CUresult cuMemUnmap(CUdeviceptr, size_t) {
    return CUDA_SUCCESS;
}
static inline CUresult cuMemSetAccess(CUdeviceptr, size_t, const CUmemAccessDesc *, size_t) {
    return CUDA_SUCCESS;
}
static inline CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *, int) {
    return *bytes = 4096, CUDA_SUCCESS;
}

enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess };
static inline cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned, unsigned long long,
                                                           cudaDriverEntryPointQueryResult *result) {
    static const struct {
        const char *name;
        void *function;
    } all[] = {{"cuMemAddressReserve", (void *)cuMemAddressReserve},
               {"cuMemAddressFree", (void *)cuMemAddressFree},
               {"cuMemCreate", (void *)cuMemCreate},
               {"cuMemRelease", (void *)cuMemRelease},
               {"cuMemMap", (void *)cuMemMap},
               {"cuMemUnmap", (void *)cuMemUnmap},
               {"cuMemSetAccess", (void *)cuMemSetAccess},
               {"cuMemGetAllocationGranularity", (void *)cuMemGetAllocationGranularity}};
    *result = cudaDriverEntryPointSuccess;
    for (const auto &f : all)
        if (!strcmp(f.name, name)) return *function = f.function, cudaSuccess;
    return cudaErrorMemoryAllocation;
}

#endif
