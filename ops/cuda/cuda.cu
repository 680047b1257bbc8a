// Opening a device, and what has no family: copies, conversions, sums of two tensors.
#include "ops/cuda/cuda.cuh"
#include "ops/team.h"

#include <ctype.h>
#include <new>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cuda_check(cudaError_t status, const char *what) {
    if (status == cudaSuccess) return;
    fprintf(stderr, "latentr3: CUDA: %s: %s\n", what, cudaGetErrorString(status));
    _exit(status == cudaErrorMemoryAllocation ? ERR_MEMORY : ERR_INTERNAL);
}

int gpu_is_here(const Ops *ops) {
    return ops->process == getpid();
}

void gpu_enter(const Ops *ops) {
    if (!gpu_is_here(ops)) {
        fprintf(stderr, "latentr3: CUDA does not survive a fork: what process %ld opened computes there alone\n",
                (long)ops->process);
        _exit(ERR_INTERNAL);
    }
    CUDA(cudaSetDevice(ops->device));
}

// bf16 products and the largest shared memory of a block came with compute capability 8.0.
enum { LEAST_MAJOR = 8 };

// Of n: mpirun and srun say which process of its machine this one is.
static int device_choose(int n) {
    const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"};
    for (const char *name : names) {
        const char *text = getenv(name);
        if (text && isdigit((unsigned char)*text)) return (int)(strtoul(text, NULL, 10) % (unsigned long)n);
    }
    return 0;
}

static int device_find(int *device, cudaDeviceProp *p, Err *err) {
    int n = 0;
    const cudaError_t status = cudaGetDeviceCount(&n);
    (void)cudaGetLastError();
    if (status != cudaSuccess || n == 0)
        return err_set(err, ERR_USAGE, "no GPU can be used: %s",
                       status == cudaSuccess ? "none is visible" : cudaGetErrorString(status));
    *device = device_choose(n);
    if (cudaSetDevice(*device) != cudaSuccess || cudaGetDeviceProperties(p, *device) != cudaSuccess)
        return err_set(err, ERR_USAGE, "GPU %d cannot be used: %s", *device, cudaGetErrorString(cudaGetLastError()));
    if (p->major < LEAST_MAJOR)
        return err_set(err, ERR_USAGE, "%s has compute capability %d.%d: %d.0 or newer is needed", p->name, p->major, p->minor,
                       LEAST_MAJOR);
    return 0;
}

int ops_has_bf16(const char *device) {
    cudaDeviceProp p;
    int number;
    (void)device;
    return device_find(&number, &p, NULL) == 0;
}

static const size_t FETCH_BYTES = (size_t)4 << 20;

static int pinned_open(Ops *ops, Err *err) {
    Stage *s = &ops->stage;
    if (cudaMallocHost((void **)&s->base, 2 * STAGE_BYTES) != cudaSuccess ||
        cudaMallocHost((void **)&ops->fetched.base, FETCH_BYTES) != cudaSuccess)
        return err_set(err, ERR_MEMORY, "no pinned memory for uploads and downloads");
    for (int i = 0; i < 2; i++) CUDA(cudaEventCreateWithFlags(&s->read[i], cudaEventDisableTiming));
    return 0;
}

// C++'s containers end the program where there is no memory as all else does, with a line and exit code 5.
static void no_memory(void) {
    mem_need(NULL, "the work of a GPU");
}

int ops_open(Ops **out, const char *device, int threads, Dtype dtype, Err *err) {
    enum { MAX_THREADS = 256 };
    cudaDeviceProp p;
    int number = 0, version = 0;
    (void)device;
    if (threads < 0 || threads > MAX_THREADS)
        return err_set(err, ERR_USAGE, "%d threads: must be 0 to %d", threads, MAX_THREADS);
    if (device_find(&number, &p, err)) return -1;
    if (!std::get_new_handler()) std::set_new_handler(no_memory);
    Ops *ops = (Ops *)mem_zalloc(1, sizeof *ops);
    ops->device = number;
    ops->process = getpid();
    ops->threads = threads ? threads : machine_processors(omp_get_num_procs());
    if (ops->threads > MAX_THREADS) ops->threads = MAX_THREADS;
    ops->dtype = dtype;
    ops->memory_bytes = p.totalGlobalMem;
    CUDA(cudaStreamCreateWithFlags(&ops->stream, cudaStreamNonBlocking));
    if (pinned_open(ops, err) || memory_open(ops, err) || linear_open(ops, err) || attention_open(ops, err)) {
        ops_close(ops);
        (void)cudaGetLastError(); // what was refused here is none of the next launch's
        return -1;
    }
    CUDA(cudaRuntimeGetVersion(&version));
    snprintf(ops->description, sizeof ops->description, "cuda, %s, %zu MiB, sm_%d%d, %s, CUDA %d.%d", p.name,
             p.totalGlobalMem >> 20, p.major, p.minor, dtype == DTYPE_BF16 ? "bf16" : "f32", version / 1000,
             version % 1000 / 10);
    *out = ops;
    return 0;
}

void ops_rest(Ops *ops) { // those that unpack weights on the host
    (void)ops;
    team_end();
}

static void streams_close(Ops *ops) {
    for (int i = 0; i < 2; i++)
        if (ops->stage.read[i]) cudaEventDestroy(ops->stage.read[i]);
    if (ops->stage.base) cudaFreeHost(ops->stage.base);
    if (ops->fetched.base) cudaFreeHost(ops->fetched.base);
    cudaStreamDestroy(ops->stream);
}

void ops_close(Ops *ops) {
    if (!ops) return;
    const int here = gpu_is_here(ops);
    if (here) {
        ops_rest(ops);
        gpu_enter(ops);
        CUDA(cudaStreamSynchronize(ops->stream));
    }
    attention_close(ops);
    linear_close(ops);
    memory_close(ops);
    if (here) streams_close(ops);
    free(ops);
}

Dtype ops_dtype(const Ops *ops) {
    return ops->dtype;
}
int ops_threads(const Ops *ops) {
    return ops->threads;
}
size_t ops_memory_bytes(const Ops *ops) {
    return ops->memory_bytes;
}
size_t ops_free_bytes(const Ops *ops) {
    size_t bytes = 0, all;
    gpu_enter(ops);
    CUDA(cudaMemGetInfo(&bytes, &all));
    return bytes;
}
int ops_rows_at_once(const Ops *ops) {
    (void)ops;
    return 1024;
}
const char *ops_description(const Ops *ops) {
    return ops->description;
}

void *stage_get(Ops *ops, size_t bytes) {
    Stage *s = &ops->stage;
    gpu_enter(ops);
    bytes = (bytes + 63) / 64 * 64;
    CHECK(bytes <= STAGE_BYTES);
    if (s->used_bytes + bytes > STAGE_BYTES) {
        CUDA(cudaEventRecord(s->read[s->half], ops->stream));
        s->half ^= 1;
        CUDA(cudaEventSynchronize(s->read[s->half]));
        s->used_bytes = 0;
    }
    char *at = s->base + (size_t)s->half * STAGE_BYTES + s->used_bytes;
    s->used_bytes += bytes;
    return at;
}

void stage_send(Ops *ops, void *device, const void *staged, size_t bytes) {
    memory_written(ops, device, bytes);
    CUDA(cudaMemcpyAsync(device, staged, bytes, cudaMemcpyHostToDevice, ops->stream));
}

void ops_upload(Ops *ops, void *device, const void *host, size_t bytes) {
    for (size_t at = 0; at < bytes; at += STAGE_BYTES) {
        const size_t n = bytes - at < STAGE_BYTES ? bytes - at : STAGE_BYTES;
        stage_send(ops, (char *)device + at, memcpy(stage_get(ops, n), (const char *)host + at, n), n);
    }
}

void ops_download(Ops *ops, void *host, const void *device, size_t bytes) {
    gpu_enter(ops);
    if (bytes) CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, ops->stream));
    CUDA(cudaStreamSynchronize(ops->stream));
}

void ops_fetch(Ops *ops, void *host, const void *device, size_t bytes) {
    Fetched *f = &ops->fetched;
    const size_t room = (bytes + 63) / 64 * 64;
    if (room > FETCH_BYTES) {
        ops_download(ops, host, device, bytes);
        return;
    }
    if (f->n == FETCHES || f->used_bytes + room > FETCH_BYTES) ops_wait(ops);
    if (bytes == 0) return;
    gpu_enter(ops);
    CUDA(cudaMemcpyAsync(f->base + f->used_bytes, device, bytes, cudaMemcpyDeviceToHost, ops->stream));
    f->fetch[f->n].host = host, f->fetch[f->n].at = f->used_bytes, f->fetch[f->n].bytes = bytes;
    f->used_bytes += room;
    f->n++;
}

void ops_wait(Ops *ops) {
    Fetched *f = &ops->fetched;
    gpu_enter(ops);
    CUDA(cudaStreamSynchronize(ops->stream));
    for (int i = 0; i < f->n; i++) memcpy(f->fetch[i].host, f->base + f->fetch[i].at, f->fetch[i].bytes);
    f->n = 0, f->used_bytes = 0;
}

void ops_copy(Ops *ops, void *to, const void *from, size_t bytes) {
    memory_written(ops, to, bytes);
    if (bytes) CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ops->stream));
}

void ops_zero(Ops *ops, void *device, size_t bytes) {
    memory_written(ops, device, bytes);
    if (bytes) CUDA(cudaMemsetAsync(device, 0, bytes, ops->stream));
}

void op_to_act(Ops *ops, act *out, const float *x, size_t n) {
    memory_written(ops, out, n * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)out; each(ops, n, [=] __device__(size_t i) { store(to + i, x[i]); }));
}

void op_from_act(Ops *ops, float *out, const act *x, size_t n) {
    memory_written(ops, out, n * sizeof *out);
    BY_TYPE(ops->dtype, T, const T *from = (const T *)x; each(ops, n, [=] __device__(size_t i) { out[i] = load(from + i); }));
}

void op_add(Ops *ops, float *x, const float *y, float scale, size_t n) {
    memory_written(ops, x, n * sizeof *x);
    each(ops, n, [=] __device__(size_t i) { x[i] += scale * y[i]; });
}
