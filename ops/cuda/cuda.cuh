// The CUDA backend's own state and the few forms that its kernels take, shared by the files of this folder alone.
//
// All work of one Ops goes through one stream, in the order of the calls. Sums have one order, which the shapes decide: there
// are no atomic additions.
#ifndef OPS_CUDA_CUDA_CUH
#define OPS_CUDA_CUDA_CUH

extern "C" {
#include "base/arena.h"
#include "base/machine.h"
#include "ops/ops.h"
}

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <sys/types.h>

typedef __nv_bfloat16 bf16;

// Pinned memory that uploads pass through, in two halves: one is filled while the other is read.
typedef struct Stage {
    char *base;
    size_t used_bytes; // of the half in use
    int half;
    cudaEvent_t read[2];
} Stage;

// Pinned memory that fetches arrive in; ops_wait hands them on.
enum { FETCHES = 256 };
typedef struct Fetched {
    char *base;
    size_t used_bytes;
    int n;
    struct {
        void *host;
        size_t at, bytes;
    } fetch[FETCHES];
} Fetched;

struct Ops {
    int threads, device;
    pid_t process; // that opened it
    Dtype dtype;
    size_t memory_bytes; // of the GPU
    cudaStream_t stream;
    struct Memory *memory;      // the ranges of ops_reserve (memory.cu)
    struct LinearState *linear; // cuBLASLt, what it chose by shape (linear.cu)
    struct KeptPlan *plan;      // of attention (attention.cu)
    Arena scratch;              // device memory of one op call
    Stage stage;
    Fetched fetched;
    char description[384];
};

#define CUDA(call) cuda_check((call), #call)
void cuda_check(cudaError_t status, const char *what); // stops the program: 5 out of memory, 6 else
// Before any other call of CUDA, which takes the device from the thread that calls: its program may compute on others. In a
// child of a fork, where CUDA does nothing more, it ends that; there what was opened before can only be closed, which frees
// the host's memory.
void gpu_enter(const Ops *ops);
int gpu_is_here(const Ops *ops); // 0: in such a child

int memory_open(Ops *ops, Err *err);
void memory_close(Ops *ops);
int linear_open(Ops *ops, Err *err);
void linear_close(Ops *ops);
int attention_open(Ops *ops, Err *err);
void attention_close(Ops *ops);

// An op that writes device memory says so first: what is not backed yet is, by zeros.
void memory_written(Ops *ops, const void *device, size_t bytes);
template <typename T> T *scratch_get(Ops *ops, size_t count) {
    T *block = (T *)arena_get(&ops->scratch, count, sizeof(T));
    memory_written(ops, block, count * sizeof(T));
    return block;
}
// Room for an upload of at most STAGE_BYTES: filled by the caller, then sent by stage_send.
static const size_t STAGE_BYTES = (size_t)8 << 20;
void *stage_get(Ops *ops, size_t bytes);
void stage_send(Ops *ops, void *device, const void *staged, size_t bytes);

// The products of ops.h without their low-rank addition; `add`: y += and dx +=.
void linear_forward(Ops *ops, void *y, Dtype y_type, int add, const act *x, Matrix *w, const float *bias, int N);
void linear_backward_input(Ops *ops, void *dx, Dtype dx_type, int add, const act *dy, Matrix *w, int N);
// The low-rank addition itself (lora.cu): y (N, O) += and dx (N, I) += . lora_up writes `up` in the compute type.
void lora_forward(Ops *ops, void *y, Dtype y_type, const act *x, Lora *l, int N);
void lora_backward_input(Ops *ops, void *dx, Dtype dx_type, const act *dy, Lora *l, int N);
int lora_is_up(const Matrix *w);
void lora_up(Ops *ops, act *out, const Matrix *w);

// ---- values of either type ----------------------------------------------------------------------------------------------

__device__ __forceinline__ float load(const float *x) {
    return *x;
}
__device__ __forceinline__ float load(const bf16 *x) {
    return __bfloat162float(*x);
}
__device__ __forceinline__ void store(float *to, float x) {
    *to = x;
}
__device__ __forceinline__ void store(bf16 *to, float x) {
    *to = __float2bfloat16_rn(x);
}

// The statement once with T the type of `dtype`.
#define BY_TYPE(dtype, T, ...)                                                                                                 \
    do {                                                                                                                       \
        if ((dtype) == DTYPE_BF16) {                                                                                           \
            typedef bf16 T;                                                                                                    \
            __VA_ARGS__;                                                                                                       \
        } else {                                                                                                               \
            typedef float T;                                                                                                   \
            __VA_ARGS__;                                                                                                       \
        }                                                                                                                      \
    } while (0)

// ---- launching ----------------------------------------------------------------------------------------------------------

enum { BLOCK = 256 };

#ifdef __CUDACC__
#define LAUNCH(ops, kernel, grid, block, shared_bytes, ...)                                                                    \
    do {                                                                                                                       \
        auto *kernel_ = kernel;                                                                                                \
        gpu_enter(ops);                                                                                                        \
        if ((shared_bytes) > 48 << 10)                                                                                         \
            CUDA(cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(shared_bytes)));             \
        kernel_<<<grid, block, shared_bytes, (ops)->stream>>>(__VA_ARGS__);                                                    \
        CUDA(cudaGetLastError());                                                                                              \
    } while (0)
#define SHARED_BYTES(name) extern __shared__ __align__(128) unsigned char name[] // what a launch gives a block
#endif

template <typename F> __global__ void each_kernel(size_t n, F f) {
    const size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// f(i) for i in [0, n), each by a thread of its own.
template <typename F> void each(Ops *ops, size_t n, F f) {
    const size_t most = 1 << 20, blocks = (n + BLOCK - 1) / BLOCK;
    if (n) LAUNCH(ops, each_kernel<F>, (unsigned)(blocks < most ? blocks : most), BLOCK, 0, n, f);
}

template <typename F> __global__ void each_row_kernel(F f) {
    f((int)blockIdx.x);
}

// f(n) for n in [0, N), each by a block of whole warps: a thread for each of `width` values, at most BLOCK.
template <typename F> void each_row(Ops *ops, int N, int width, F f) {
    const unsigned threads = width < BLOCK ? ((unsigned)width + 31) / 32 * 32 : (unsigned)BLOCK;
    if (N > 0) LAUNCH(ops, each_row_kernel<F>, (unsigned)N, threads ? threads : 32, 0, f);
}

enum { PLACES = 4 * BLOCK };

template <typename F> __global__ void each_place_kernel(int width, F f) {
    const int begin = (int)blockIdx.y * PLACES, end = min(begin + PLACES, width);
    for (int d = begin + (int)threadIdx.x; d < end; d += BLOCK) f((int)blockIdx.x, d);
}

// f(n, d) for n in [0, N) and d in [0, width): no thread divides to find its place.
template <typename F> void each_place(Ops *ops, int N, int width, F f) {
    const dim3 grid((unsigned)N, ((unsigned)width + PLACES - 1) / PLACES);
    if (N > 0 && width > 0) LAUNCH(ops, each_place_kernel<F>, grid, BLOCK, 0, width, f);
}

// ---- sums over a block ----------------------------------------------------------------------------------------------------

struct Sum {
    template <typename T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct Largest { // NaN is passed over
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Of one value from each thread of a whole warp; every thread gets the result.
template <typename T, typename F> __device__ T warp_reduce(T x, F f) {
    for (int other = 16; other; other >>= 1) x = f(x, __shfl_xor_sync(0xffffffffu, x, other));
    return x;
}

// The same of a block of whole warps.
template <typename T, typename F> __device__ T block_reduce(T x, F f) {
    __shared__ T part[32];
    x = warp_reduce(x, f);
    __syncthreads(); // the last call's parts have been read
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    T all = part[0];
    for (unsigned w = 1; w < blockDim.x / 32; w++) all = f(all, part[w]);
    return all;
}
template <typename T> __device__ T block_sum(T x) {
    return block_reduce(x, Sum());
}

// ---- sums over rows -------------------------------------------------------------------------------------------------------

enum { ROW_CHUNK = 128 };

// out (D) += sum over n in [0, N) of f(n, d): chunks of rows first, then chunk by chunk.
template <typename F> void column_sums(Ops *ops, float *out, int N, int D, F f) {
    const int chunks = (N + ROW_CHUNK - 1) / ROW_CHUNK;
    const size_t mark = arena_mark(&ops->scratch), width = (size_t)D;
    float *partial = scratch_get<float>(ops, (size_t)chunks * width); // (chunks, D)
    each(ops, (size_t)chunks * width, [=] __device__(size_t i) {
        const int d = (int)(i % width), begin = (int)(i / width) * ROW_CHUNK,
                  end = begin + ROW_CHUNK < N ? begin + ROW_CHUNK : N;
        float sum = 0;
        for (int n = begin; n < end; n++) sum += f(n, d);
        partial[i] = sum;
    });
    memory_written(ops, out, width * sizeof *out);
    each(ops, width, [=] __device__(size_t d) {
        float sum = out[d];
        for (int c = 0; c < chunks; c++) sum += partial[(size_t)c * width + d];
        out[d] = sum;
    });
    arena_reset(&ops->scratch, mark);
}

// ---- random bits ------------------------------------------------------------------------------------------------------------

// base/rng.h's rng_block: Philox 4x32-10.
__device__ inline void random_block(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32),
             k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = (uint32_t)p0;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// Value i of each 64 has half i / 8 of block i % 8: thread b of eight serves the values h * 8 + b.
__device__ __forceinline__ uint32_t random_half(const uint32_t block[4], int h) {
    return block[h / 2] >> 16 * (h % 2) & 0xffffu;
}

#endif
