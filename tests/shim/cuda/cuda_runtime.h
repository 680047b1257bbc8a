// CUDA on the processor, for tests: what ops/cuda uses of the language and the runtime, so that its sources compile as C++ and
// their blocks and threads run one after the other (emulation.cpp). It shows whether the kernels compute the right thing: a
// barrier that not all threads reach, a warp operation with a lane missing, memory that was not backed and shared memory that
// was not written are found. A stream does nothing before it is waited for, so that host memory which is filled again or read
// too early shows. It shows nothing of speed, of races within a warp's steps, or of the hardware.
#ifndef SHIM_CUDA_RUNTIME_H
#define SHIM_CUDA_RUNTIME_H

#include <algorithm>
#include <deque>
#include <functional>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define __global__
#define __device__
#define __shared__      static
#define __forceinline__ inline
#define __launch_bounds__(threads)

using std::max;
using std::min;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    return uint4{x, y, z, w};
}

// ---- a launch -----------------------------------------------------------------------------------------------------------

extern dim3 threadIdx, blockIdx, blockDim, gridDim; // of the thread that runs
extern unsigned char *shim_shared;                  // of the block that runs
void shim_launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread);
void __syncthreads();
int __syncthreads_or(int flag);
void __syncwarp();
uint64_t shim_shuffle(uint64_t bits, int lane);

template <typename T> T __shfl_xor_sync(unsigned, T x, int lanes) {
    uint64_t bits = 0;
    memcpy(&bits, &x, sizeof x);
    bits = shim_shuffle(bits, (int)(threadIdx.x % 32) ^ lanes);
    memcpy(&x, &bits, sizeof x);
    return x;
}

#define LAUNCH(ops, kernel, grid, block, shared_bytes, ...)                                                                    \
    do {                                                                                                                       \
        gpu_enter(ops);                                                                                                        \
        CUDA(cudaGetLastError());                                                                                              \
        CUDA((ops)->stream->device == shim_device ? cudaSuccess : cudaErrorInvalidResourceHandle);                             \
        const dim3 grid_ = grid, block_ = block;                                                                               \
        const size_t bytes_ = shared_bytes;                                                                                    \
        const std::function<void()> thread_ = [=] { kernel(__VA_ARGS__); };                                                    \
        (ops)->stream->work.push_back([=] { shim_launch(grid_, block_, bytes_, thread_); });                                   \
    } while (0)
#define SHARED_BYTES(name) unsigned char *name = shim_shared

static inline uint32_t __float_as_uint(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline float __uint_as_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// ---- the runtime: what goes through a stream is done when somebody waits for it -------------------------------------------

struct ShimStream {
    std::deque<std::function<void()>> work;
    size_t done;
    int device;
};
struct ShimEvent {
    ShimStream *stream; // NULL: not recorded
    size_t at;          // work of the stream before it
};
typedef ShimStream *cudaStream_t;
typedef ShimEvent *cudaEvent_t;

static inline void shim_run(ShimStream *s, size_t until) {
    for (; s->done < until; s->done++) {
        const std::function<void()> next = s->work.front();
        s->work.pop_front();
        next();
    }
}
static inline size_t shim_end(const ShimStream *s) {
    return s->done + s->work.size();
}

enum cudaError_t {
    cudaSuccess,
    cudaErrorMemoryAllocation,
    cudaErrorInitializationError,
    cudaErrorInvalidDevice,
    cudaErrorInvalidResourceHandle
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaStreamNonBlocking, cudaEventDisableTiming, cudaEnableDefault };
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor;
};

void *shim_memory(size_t bytes);           // filled with NaN
extern "C" int shim_refused;               // this allocation of those to come is refused, and all behind it; 0: none
extern "C" int shim_devices;               // how many there are, at most 10
extern thread_local int shim_device;       // of the thread
extern thread_local cudaError_t shim_last; // error of the thread

// Nothing works in the child of a process that has used it.
extern pid_t shim_process; // that has; 0: none yet
static inline cudaError_t shim_here() {
    return shim_process == getpid() ? cudaSuccess : shim_last = cudaErrorInitializationError;
}

static inline cudaError_t shim_allocate(void **p, size_t bytes) {
    if (shim_refused && --shim_refused == 0) {
        shim_refused = 1;
        return shim_last = cudaErrorMemoryAllocation;
    }
    return *p = shim_memory(bytes), cudaSuccess;
}

static inline const char *cudaGetErrorString(cudaError_t) {
    return "an error";
}
static inline cudaError_t cudaGetLastError() {
    const cudaError_t last = shim_last;
    return shim_last = cudaSuccess, last;
}
static inline cudaError_t cudaGetDeviceCount(int *n) {
    if (!shim_process) shim_process = getpid();
    if (shim_here()) return shim_here();
    return *n = shim_devices, cudaSuccess;
}
static inline cudaError_t cudaSetDevice(int device) {
    if (shim_here()) return shim_here();
    if (device < 0 || device >= shim_devices) return shim_last = cudaErrorInvalidDevice;
    return shim_device = device, cudaSuccess;
}
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    *p = cudaDeviceProp{"emulated 0", (size_t)1 << 30, 9, 0};
    p->name[9] = (char)('0' + device);
    return cudaSuccess;
}
static inline cudaError_t cudaMemGetInfo(size_t *bytes, size_t *all) {
    return *bytes = *all = (size_t)1 << 30, cudaSuccess;
}
static inline cudaError_t cudaRuntimeGetVersion(int *version) {
    return *version = 0, cudaSuccess;
}
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, int) {
    return *s = new ShimStream{{}, 0, shim_device}, cudaSuccess;
}
static inline cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    if (shim_here()) return shim_here();
    return shim_run(s, shim_end(s)), cudaSuccess;
}
static inline cudaError_t cudaStreamDestroy(cudaStream_t s) {
    return delete s, cudaSuccess;
}
static inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, int) {
    return *e = new ShimEvent(), cudaSuccess;
}
static inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    return *e = ShimEvent{s, shim_end(s)}, cudaSuccess;
}
static inline cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    if (e->stream) shim_run(e->stream, e->at);
    return cudaSuccess;
}
static inline cudaError_t cudaEventDestroy(cudaEvent_t e) {
    return delete e, cudaSuccess;
}
static inline cudaError_t cudaMalloc(void **p, size_t bytes) {
    return shim_allocate(p, bytes);
}
static inline cudaError_t cudaFree(void *p) {
    if (shim_here()) abort();
    return free(p), cudaSuccess;
}
static inline cudaError_t cudaMallocHost(void **p, size_t bytes) {
    return shim_allocate(p, bytes);
}
static inline cudaError_t cudaFreeHost(void *p) {
    if (shim_here()) abort();
    return free(p), cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t s) {
    return s->work.push_back([=] { memcpy(to, from, bytes); }), cudaSuccess;
}
static inline cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t s) {
    return s->work.push_back([=] { memset(to, byte, bytes); }), cudaSuccess;
}

#endif
