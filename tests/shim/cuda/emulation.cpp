// A launch on the processor: block by block, the threads of a block as fibers that are changed at barriers alone. A warp runs
// as far ahead of the others as the block's barriers let it, the first one or, every other launch, the last one before all
// others: what is overwritten before another warp has read it, or read before it is there, shows.
#include <cublasLt.h>
#include <cuda_runtime.h>

#include <mutex>
#include <setjmp.h>
#include <stdio.h>
#include <ucontext.h>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;
unsigned char *shim_shared;
int shim_refused, shim_products, shim_devices = 1, shim_maps = 1;
pid_t shim_process;
thread_local int shim_device;
thread_local cudaError_t shim_last;

namespace {

enum Wait { READY, AT_BLOCK, AT_WARP, DONE };
enum { STACK_BYTES = 256 << 10, SHARED_MOST = 227 << 10, WARP = 32 };

struct Fiber {          // runs threads, one after the other as long as none waits
    ucontext_t context; // to begin with; then it is left and entered by jumps, which ask nothing of the kernel
    bool entered;
    jmp_buf place;
    std::vector<char> stack;
    unsigned thread;
};

struct Thread {
    Wait wait;
    Fiber *fiber; // NULL: not begun
    int flag;     // of __syncthreads_or
    uint64_t bits[2];
    unsigned shuffles;
};

std::mutex one_launch;
std::vector<Fiber *> idle;
std::vector<Thread> threads;
jmp_buf scheduler;
const std::function<void()> *kernel;
Fiber *running;
unsigned begun, to_begin; // threads of the warp that runs: the next to begin, and where they end
unsigned launches;
int any_flag;
alignas(128) unsigned char shared_memory[SHARED_MOST];

[[noreturn]] void die(const char *what) {
    fprintf(stderr, "emulated CUDA: %s: block %u %u %u of %u threads\n", what, blockIdx.x, blockIdx.y, blockIdx.z, blockDim.x);
    abort();
}

void leave(Fiber *me) {
    if (!_setjmp(me->place)) _longjmp(scheduler, 1);
}

void fiber_main() {
    for (;;) {
        while (begun < to_begin) {
            running->thread = begun++;
            threads[running->thread].fiber = running;
            threadIdx = dim3(running->thread);
            (*kernel)();
            threads[running->thread].wait = DONE;
        }
        idle.push_back(running);
        leave(running);
    }
}

Fiber *fiber_new() {
    Fiber *f = new Fiber();
    f->stack.resize(STACK_BYTES);
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack.data();
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, fiber_main, 0);
    return f;
}

Fiber *fiber_get() {
    if (idle.empty()) return fiber_new();
    Fiber *f = idle.back();
    idle.pop_back();
    return f;
}

void run(Fiber *f) {
    running = f;
    threadIdx = dim3(f->thread);
    if (_setjmp(scheduler)) return;
    if (f->entered) _longjmp(f->place, 1);
    f->entered = true;
    setcontext(&f->context);
}

void wait(Wait where) {
    Fiber *me = running;
    threads[me->thread].wait = where;
    leave(me);
}

// Runs the warp until all its lanes are at the block's barrier or done.
void run_warp(unsigned first) {
    begun = first, to_begin = first + WARP;
    if (threads[first].fiber) begun = to_begin;
    while (begun < to_begin) run(fiber_get());
    for (;;) {
        int at_warp = 0, ready = 0;
        for (unsigned i = first; i < first + WARP; i++) {
            if (threads[i].wait == READY) run(threads[i].fiber);
            at_warp += threads[i].wait == AT_WARP, ready += threads[i].wait == READY;
        }
        if (ready) continue;
        if (at_warp == 0) return;
        if (at_warp < WARP) die("lanes are missing at a warp's barrier");
        for (unsigned i = first; i < first + WARP; i++) threads[i].wait = READY;
    }
}

void release_block() {
    any_flag = 0;
    for (Thread &t : threads) {
        if (t.wait != AT_BLOCK) die("threads are missing at a block's barrier");
        any_flag |= t.flag != 0;
        t.wait = READY;
    }
}

void run_block(unsigned count, size_t shared_bytes) {
    memset(shared_memory, 0xff, shared_bytes);
    threads.assign(count, Thread{});
    for (;;) {
        for (unsigned i = 0; i < count; i += WARP) run_warp(launches % 2 ? count - WARP - i : i);
        size_t done = 0;
        for (const Thread &t : threads) done += t.wait == DONE;
        if (done == count) return;
        release_block();
    }
}

} // namespace

void shim_launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread) {
    const std::lock_guard<std::mutex> lock(one_launch);
    gridDim = grid, blockDim = block, kernel = &thread, launches++;
    shim_shared = shared_memory;
    if (block.x % WARP || block.x > 1024 || shared_bytes > SHARED_MOST || grid.y > 65535 || grid.z > 65535) die("a bad launch");
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx.x = x, blockIdx.y = y, blockIdx.z = z;
                run_block(block.x, shared_bytes);
            }
}

void __syncthreads() {
    wait(AT_BLOCK);
}

int __syncthreads_or(int flag) {
    threads[running->thread].flag = flag;
    wait(AT_BLOCK);
    return any_flag;
}

void __syncwarp() {
    wait(AT_WARP);
}

// A value is overwritten by the next shuffle but one, which no lane reaches before all have read it.
uint64_t shim_shuffle(uint64_t bits, int lane) {
    const unsigned me = running->thread, turn = threads[me].shuffles++ % 2;
    threads[me].bits[turn] = bits;
    wait(AT_WARP);
    return threads[me / WARP * WARP + (unsigned)lane].bits[turn];
}

void *shim_memory(size_t bytes) {
    void *p = NULL;
    if (posix_memalign(&p, 256, bytes + 1)) abort();
    return memset(p, 0xff, bytes);
}
