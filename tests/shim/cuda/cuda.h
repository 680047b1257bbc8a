// The driver's mapped memory: addresses that cannot be touched until they are backed, by NaN.
#ifndef SHIM_CUDA_H
#define SHIM_CUDA_H

#include <cuda_runtime.h>
#include <sys/mman.h>

enum CUresult { CUDA_SUCCESS, CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_DEVICE };
enum { CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE, CU_MEM_ALLOC_GRANULARITY_MINIMUM };
enum { CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
enum { CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED };
typedef int CUdevice;
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

extern "C" int shim_maps; // whether memory can be mapped
static inline CUresult cuDeviceGet(CUdevice *device, int number) {
    return *device = number, CUDA_SUCCESS;
}
static inline CUresult cuDeviceGetAttribute(int *value, int, CUdevice) {
    return *value = shim_maps, CUDA_SUCCESS;
}

static inline CUresult cuMemAddressReserve(CUdeviceptr *at, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *at = (CUdeviceptr)p;
    return p == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
static inline CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes) {
    if (shim_here()) abort();
    return munmap((void *)at, bytes), CUDA_SUCCESS;
}
static inline CUresult cuMemCreate(CUmemGenericAllocationHandle *h, size_t, const CUmemAllocationProp *prop,
                                   unsigned long long) {
    *h = (CUmemGenericAllocationHandle)prop->location.id + 1;
    return prop->location.id == shim_device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
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
static inline CUresult cuMemSetAccess(CUdeviceptr, size_t, const CUmemAccessDesc *access, size_t) {
    return access->location.id == shim_device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
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
    } all[] = {{"cuDeviceGet", (void *)cuDeviceGet},
               {"cuDeviceGetAttribute", (void *)cuDeviceGetAttribute},
               {"cuMemAddressReserve", (void *)cuMemAddressReserve},
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
