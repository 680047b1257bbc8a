// What an opened device is, apart from its ops: its memory, its threads, and what a GPU refuses (tests/shim/cuda).
#include "base/machine.h"
#include "ops_case.h"

#include <dirent.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

static void memory_moves(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 1 << 20, ((size_t)3 << 20) + 5}; // whole and broken pieces
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, NULL, 2, DTYPE_F32, &err)) fail_msg("%s", err.message);
    size_t room = sizes[3] + 2 * CASE_GUARD;
#ifdef OPS_EMULATED
    assert_int_equal(ops_memory_bytes(ops), (size_t)1 << 30); // the GPU's (tests/shim/cuda)
#elif !defined(OPS_OPAQUE)
    assert_int_equal(ops_memory_bytes(ops), machine_bytes());
#endif
    assert_true(ops_free_bytes(ops) > 0 && ops_free_bytes(ops) <= ops_memory_bytes(ops));
    char *device = ops_reserve(ops, room, &err), *host = mem_alloc(sizes[3], 1), *back = mem_alloc(sizes[3], 1);
    assert_non_null(device);
    char *filled = memset(mem_alloc(room, 1), 0x55, room), *all = mem_alloc(room, 1);
    for (size_t i = 0; i < sizes[3]; i++) host[i] = (char)(i * 2654435761u >> 13);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ops_upload(ops, device, filled, room);
        ops_upload(ops, device + CASE_GUARD, host, sizes[i]);
        ops_download(ops, back, device + CASE_GUARD, sizes[i]);
        assert_int_equal(memcmp(host, back, sizes[i]), 0);
        ops_zero(ops, device + CASE_GUARD, sizes[i]);
        ops_download(ops, all, device, room);
        for (size_t at = 0; at < room; at++)
            if (all[at] != (at < CASE_GUARD || at >= CASE_GUARD + sizes[i] ? 0x55 : 0)) fail_msg("ops_zero at %zu", at);
    }
    ops_release(ops, device, room);
    free(host), free(back), free(filled), free(all);
    ops_close(ops);
}

// Many uploads from memory that is filled again at once, and fetches from memory that is: each has what was there at its call.
static void memory_waits(void **state) {
    (void)state;
    enum { TIMES = 70, N = 1 << 18 }; // 70 MiB: more than any pinned memory holds
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, NULL, 2, DTYPE_F32, &err)) fail_msg("%s", err.message);
    uint32_t *device = device_new(ops, NULL, (size_t)TIMES * N, sizeof *device), *host = mem_alloc(N, sizeof *host),
             *back = mem_alloc((size_t)TIMES * N, sizeof *back);
    for (uint32_t t = 0; t < TIMES; t++) {
        for (uint32_t i = 0; i < N; i++) host[i] = t * N + i;
        ops_upload(ops, device + (size_t)t * N, host, N * sizeof *host);
    }
    for (size_t t = 0; t < TIMES; t++) {
        ops_fetch(ops, back + t * N, device + t * N, N * sizeof *back);
        ops_zero(ops, device + t * N, N * sizeof *device);
    }
    for (size_t i = 0; i < 300; i++) ops_fetch(ops, host + i, device + i, sizeof *host); // more at a time than are kept apart
    ops_wait(ops);
    for (size_t i = 0; i < (size_t)TIMES * N; i++)
        if (back[i] != i) fail_msg("[%zu]: %u", i, back[i]);
    for (size_t i = 0; i < 300; i++) assert_int_equal(host[i], 0);
    ops_release(ops, device, (size_t)TIMES * N * sizeof *device + 1);
    free(host), free(back);
    ops_close(ops);
}

#ifdef FOREIGN
static void pass(Ops *ops, int what, float *device, float *x) {
    if (what == 0) op_add(ops, device, x, 1, 4);
    if (what == 1) op_add(ops, x, device, 1, 4);
    if (what == 2) ops_zero(ops, x, 16);
    if (what == 3) ops_copy(ops, device, x, 16);
    if (what == 4) ops_upload(ops, x, device, 16);
    if (what == 5) ops_fetch(ops, device, x, 16);
}

// The host's memory in the place of a tensor ends the program; a tensor, its end and NULL do not.
static void memory_of_the_host(void **state) {
    (void)state;
    Err err = {0};
    Ops *ops;
    if (ops_open(&ops, NULL, 1, DTYPE_F32, &err)) fail_msg("%s", err.message);
    float host[4] = {0}, *device = device_new(ops, NULL, 4, sizeof *device);
    for (int what = 0; what < 4; what++) pass(ops, what, device, device);
    ops_zero(ops, NULL, 0);
    for (int what = 0; what < 6; what++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            freopen("/dev/null", "w", stderr);
            pass(ops, what, device, host);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != ERR_INTERNAL) fail_msg("way %d: status %d", what, status);
    }
    ops_release(ops, device, 4 * sizeof *device + 1);
    ops_close(ops);
}
#endif

#ifndef OPS_OPAQUE
enum { CALLER_N = 300, CALLER_O = 192, CALLER_I = 160 };

typedef struct Caller { // a thread of a program that shares what another thread opened
    Ops *ops;
    Matrix *weight;
    const float *x;
    float *y, *dw;
    int threads_before, threads_after, more_tasks;
} Caller;

static int tasks(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static void *call(void *context) {
    Caller *c = context;
    omp_set_num_threads(3);
    c->threads_before = omp_get_max_threads();
    const int before = tasks();
    op_linear_forward(c->ops, c->y, DTYPE_F32, (const act *)c->x, c->weight, NULL, CALLER_N);
    op_linear_backward_weight(c->ops, c->dw, NULL, (const act *)c->y, (const act *)c->x, CALLER_N, CALLER_O, CALLER_I);
    c->more_tasks = tasks() - before;
    c->threads_after = omp_get_max_threads();
    return NULL;
}

// The threads are those of ops_open whoever calls, and what the caller has set for its own loops stays.
static void threads_of_the_caller(void **state) {
    (void)state;
    Err err = {0};
    Ops *ops;
    const uint64_t version = 1;
    float *x = mem_alloc((size_t)CALLER_N * CALLER_I, sizeof *x), *w = mem_alloc((size_t)CALLER_O * CALLER_I, sizeof *w), *y[2],
          *dw[2];
    rng_normal(x, (size_t)CALLER_N * CALLER_I, 3, 3, 0), rng_normal(w, (size_t)CALLER_O * CALLER_I, 3, 4, 0);
    if (ops_open(&ops, NULL, 1, DTYPE_F32, &err)) fail_msg("%s", err.message);
    Matrix weight = {.w = w, .O = CALLER_O, .I = CALLER_I, .version = &version};
    for (int i = 0; i < 2; i++) {
        y[i] = mem_alloc((size_t)CALLER_N * CALLER_O, sizeof *y[i]);
        dw[i] = mem_zalloc((size_t)CALLER_O * CALLER_I, sizeof *dw[i]);
        Caller c = {.ops = ops, .weight = &weight, .x = x, .y = y[i], .dw = dw[i]};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, call, &c), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(c.more_tasks, 0);
        assert_int_equal(c.threads_before, 3);
        assert_int_equal(c.threads_after, 3);
    }
    op_linear_forward(ops, y[0], DTYPE_F32, (const act *)x, &weight, NULL, CALLER_N); // here
    assert_memory_equal(y[0], y[1], (size_t)CALLER_N * CALLER_O * sizeof *y[0]);
    ops_matrix_free(ops, &weight);
    ops_close(ops);
    // Helpers are there while the thread that calls is at work, and end when it rests.
    const int alone = tasks();
    if (ops_open(&ops, NULL, 3, DTYPE_F32, &err)) fail_msg("%s", err.message);
    for (int again = 0; again < 2; again++) {
        op_linear_forward(ops, y[0], DTYPE_F32, (const act *)x, &weight, NULL, CALLER_N);
        assert_int_equal(tasks(), alone + 2);
        ops_rest(ops);
        for (int wait = 0; tasks() > alone && wait < 1000; wait++) usleep(10000); // their ends are not waited for
        assert_int_equal(tasks(), alone);
    }
    assert_memory_equal(y[0], y[1], (size_t)CALLER_N * CALLER_O * sizeof *y[0]);
    assert_memory_equal(dw[0], dw[1], (size_t)CALLER_O * CALLER_I * sizeof *dw[0]);
    ops_matrix_free(ops, &weight);
    ops_close(ops);
    for (int i = 0; i < 2; i++) free(y[i]), free(dw[i]);
    free(x), free(w);
}
#endif

// The processors that the program is bound to.
static void threads_of_a_binding(void **state) {
    (void)state;
    Err err = {0};
    Ops *ops;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    int first = 0;
    while (!CPU_ISSET(first, &all)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    if (ops_open(&ops, NULL, 0, DTYPE_F32, &err)) fail_msg("%s", err.message);
    assert_int_equal(ops_threads(ops), machine_processors(omp_get_num_procs()));
    ops_close(ops);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

static void options_are_checked(void **state) {
    (void)state;
    Err err = {0};
    Ops *ops;
    assert_int_equal(ops_open(&ops, NULL, -1, DTYPE_F32, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(ops_open(&ops, NULL, 257, DTYPE_F32, &err), -1);
    if (!ops_has_bf16(NULL)) assert_int_equal(ops_open(&ops, NULL, 1, DTYPE_BF16, &err), -1);
    assert_int_equal(ops_open(&ops, NULL, 0, DTYPE_F32, &err), 0);
    assert_true(ops_threads(ops) >= 1 && ops_dtype(ops) == DTYPE_F32 && *ops_description(ops));
    ops_close(ops);
}

#ifdef OPS_EMULATED // tests/shim/cuda
extern int shim_refused, shim_products, shim_devices, shim_maps;

enum { CLOSES, COMPUTES, OPENS, ALLOCATES };
extern void *_Znwm(size_t bytes); // C++'s operator new

static int child_exits(Ops *ops, Matrix *w, float *device, int what, char *said, size_t room) {
    int end[2], status;
    assert_int_equal(pipe(end), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        Err err = {0};
        dup2(end[1], STDERR_FILENO);
        if (what == COMPUTES) op_add(ops, device, device, 1, 4);
        if (what == ALLOCATES) _Znwm(SIZE_MAX / 4);
        if (what == OPENS) _exit(ops_open(&ops, NULL, 1, DTYPE_F32, &err) ? err.code : 0);
        ops_matrix_free(ops, w);
        ops_release(ops, device, 0);
        ops_close(ops);
        _exit(0);
    }
    close(end[1]);
    const ssize_t n = read(end[0], said, room - 1);
    said[n > 0 ? n : 0] = 0;
    close(end[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// A child may let go of what its parent opened; more CUDA does not give it, and a line says so. The parent goes on.
static void children_of_a_fork(void **state) {
    (void)state;
    Err err = {0};
    Ops *ops;
    char said[200];
    const uint64_t version = 1;
    if (ops_open(&ops, NULL, 1, DTYPE_BF16, &err)) fail_msg("%s", err.message);
    float *device = device_new(ops, (float[16]){1, 2, 3, 4}, 16, sizeof *device), back[4];
    Matrix w = {.w = device, .O = 4, .I = 4, .version = &version};
    ops_matrix_prepare(ops, &w);
    assert_non_null(w.cache);
    assert_int_equal(child_exits(ops, &w, device, CLOSES, said, sizeof said), 0);
    assert_string_equal(said, "");
    assert_int_equal(child_exits(ops, &w, device, COMPUTES, said, sizeof said), ERR_INTERNAL);
    assert_non_null(strstr(said, "does not survive a fork"));
    assert_int_equal(child_exits(ops, &w, device, OPENS, said, sizeof said), ERR_USAGE);
    assert_int_equal(child_exits(ops, &w, device, ALLOCATES, said, sizeof said), ERR_MEMORY);
    assert_non_null(strstr(said, "out of memory: the work of a GPU"));
    op_add(ops, device, device, 1, 4);
    ops_download(ops, back, device, sizeof back);
    assert_true(back[3] == 8);
    ops_matrix_free(ops, &w);
    ops_release(ops, device, 0);
    ops_close(ops);
}

// A head whose vocabulary is odd: rows of no whole 16 bytes are none of cuBLASLt's, but go to it all the same.
static void products_of_odd_rows(void **state) {
    (void)state;
    enum { V = 1501, D = 48, N = 3 };
    Err err = {0};
    Ops *ops;
    const uint64_t version = 1;
    if (ops_open(&ops, NULL, 1, DTYPE_BF16, &err)) fail_msg("%s", err.message);
    float *w = device_new(ops, NULL, (size_t)V * D, sizeof *w), *logits = device_new(ops, NULL, (size_t)N * V, sizeof *logits);
    act *x = device_new(ops, NULL, (size_t)N * D, 2), *dlogits = device_new(ops, NULL, (size_t)N * V, 2);
    Matrix head = {.w = w, .O = V, .I = D, .version = &version};
    const int before = shim_products;
    op_linear_forward(ops, logits, DTYPE_F32, x, &head, NULL, N);
    assert_int_equal(shim_products - before, 1);
    op_linear_backward_input(ops, x, DTYPE_BF16, dlogits, &head, N);
    assert_int_equal(shim_products - before, 2);
    op_linear_backward_weight(ops, w, NULL, dlogits, x, N, V, D);
    assert_int_equal(shim_products - before, 3);
    ops_matrix_free(ops, &head);
    ops_release(ops, w, 0), ops_release(ops, logits, 0), ops_release(ops, x, 0), ops_release(ops, dlogits, 0);
    ops_close(ops);
}

static void *call_elsewhere(void *context) {
    Ops *ops = context;
    const uint64_t version = 1;
    float *device = device_new(ops, (float[16]){1, 2, 3, 4}, 16, sizeof *device), *y = device_new(ops, NULL, 16, sizeof *y),
          back[4];
    Matrix w = {.w = device, .O = 4, .I = 4, .version = &version};
    op_linear_forward(ops, y, DTYPE_F32, device, &w, NULL, 2);
    op_add(ops, device, device, 1, 4);
    ops_download(ops, back, y, sizeof back);
    assert_true(back[0] == 30);
    assert_true(ops_free_bytes(ops) > 0);
    ops_matrix_free(ops, &w);
    ops_release(ops, device, 16 * sizeof *device + 1), ops_release(ops, y, 16 * sizeof *y + 1);
    return NULL;
}

// Processes of mpirun or srun on one machine take its GPUs in turn, and every thread computes on that of its process.
static void gpu_by_rank(void **state) {
    (void)state;
    static const struct {
        const char *mpi, *slurm, *gpu;
    } rank[] = {{NULL, NULL, "emulated 0"}, {"1", "0", "emulated 1"}, {"5", NULL, "emulated 2"},
                {NULL, "2", "emulated 2"},  {"3", "1", "emulated 0"}, {"", "1", "emulated 1"}};
    Err err = {0};
    Ops *ops;
    shim_devices = 3;
    for (size_t i = 0; i < sizeof rank / sizeof *rank; i++) {
        unsetenv("OMPI_COMM_WORLD_LOCAL_RANK"), unsetenv("SLURM_LOCALID");
        if (rank[i].mpi) setenv("OMPI_COMM_WORLD_LOCAL_RANK", rank[i].mpi, 1);
        if (rank[i].slurm) setenv("SLURM_LOCALID", rank[i].slurm, 1);
        if (ops_open(&ops, NULL, 1, DTYPE_F32, &err)) fail_msg("%s", err.message);
        assert_non_null(strstr(ops_description(ops), rank[i].gpu));
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, call_elsewhere, ops), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        ops_close(ops);
    }
    unsetenv("OMPI_COMM_WORLD_LOCAL_RANK"), unsetenv("SLURM_LOCALID");
    shim_devices = 1;
}

// A GPU that refuses any of the allocations of a second handle, one after the other, leaves the first one at work.
static void opening_is_refused(void **state) {
    (void)state;
    Err err = {0};
    Ops *ops, *more = NULL;
    if (ops_open(&ops, NULL, 1, DTYPE_F32, &err)) fail_msg("%s", err.message);
    float *device = device_new(ops, (float[]){1, 2}, 2, sizeof *device), back[2];
    int refused = 0;
    for (int status = -1; status != 0; refused++) {
        shim_refused = refused + 1;
        status = ops_open(&more, NULL, 1, DTYPE_F32, &err);
        shim_refused = 0;
        if (status) assert_int_equal(err.code, ERR_MEMORY);
        op_add(ops, device, device, 1, 2);
    }
    assert_true(refused > 3);
    Ops *none;
    shim_maps = 0;
    assert_int_equal(ops_open(&none, NULL, 1, DTYPE_F32, &err), -1);
    shim_maps = 1;
    assert_int_equal(err.code, ERR_USAGE);
    assert_string_equal(err.message, "the GPU does not map memory");
    ops_download(ops, back, device, sizeof back);
    assert_true(back[0] == (float)(1 << refused) && back[1] == (float)(2 << refused));
    ops_release(ops, device, 2 * sizeof *device + 1);
    ops_close(ops), ops_close(more);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_moves),          cmocka_unit_test(memory_waits),
        cmocka_unit_test(options_are_checked),   cmocka_unit_test(threads_of_a_binding),
#ifdef FOREIGN
        cmocka_unit_test(memory_of_the_host),
#endif
#ifdef OPS_EMULATED
        cmocka_unit_test(opening_is_refused),    cmocka_unit_test(gpu_by_rank),
        cmocka_unit_test(products_of_odd_rows),  cmocka_unit_test(children_of_a_fork),
#endif
#ifndef OPS_OPAQUE
        cmocka_unit_test(threads_of_the_caller),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
