// What a process may use of its machine, by control groups of both versions; and arenas where addresses are limited.
#include "base/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/folder.h"

typedef struct Case {
    const char *groups; // as /proc/self/cgroup
    struct {
        const char *name, *text;
    } file[4];      // under /sys/fs/cgroup
    int processors; // of 8
    size_t bytes;   // of 1000
} Case;

static const Case cases[] = {
    {"0::/\n", {{"cpu.max", "max 100000\n"}, {"memory.max", "max\n"}}, 8, 1000},
    {"0::/\n", {{"cpu.max", "200000 100000\n"}, {"memory.max", "500\n"}}, 2, 500},
    {"0::/\n", {{"cpu.max", "200001 100000\n"}}, 3, 1000},
    {"0::/\n", {{"cpu.max", "1000 100000\n"}}, 1, 1000},
    {"0::/\n", {{"cpu.max", "1600000 100000\n"}}, 8, 1000}, // more than there are
    {"0::/\n", {{"cpu.max", "nonsense"}, {"memory.max", ""}}, 8, 1000},
    {"0::/\n", {{"cpu.max", "5 0\n"}, {"memory.max", "-5\n"}}, 8, 1000},
    {"0::/\n", {{NULL, NULL}}, 8, 1000},
    // the limit of a group around the own one
    {"0::/pod/own\n",
     {{"pod/cpu.max", "150000 50000\n"}, {"pod/own/cpu.max", "max 100000\n"}, {"pod/memory.max", "7\n"}},
     3,
     7},
    {"0::/pod/own\n", {{"pod/cpu.max", "400000 100000\n"}, {"pod/own/cpu.max", "50000 100000\n"}}, 1, 1000},
    // cgroup v1: each controller in a hierarchy of its own
    {"3:cpuset:/set\n2:cpu,cpuacct:/own\n1:memory:/own\n0::/\n",
     {{"cpu/own/cpu.cfs_quota_us", "250000\n"},
      {"cpu/own/cpu.cfs_period_us", "100000\n"},
      {"memory/own/memory.limit_in_bytes", "900\n"}},
     3,
     900},
    {"2:cpuacct,cpu:/own\n", {{"cpu/own/cpu.cfs_quota_us", "-1\n"}, {"cpu/own/cpu.cfs_period_us", "100000\n"}}, 8, 1000},
    {"2:cpuacct,cpuset:/own\n", {{"cpu/own/cpu.cfs_quota_us", "100000\n"}, {"cpu/own/cpu.cfs_period_us", "100000\n"}}, 8, 1000},
    {"no line of that form\n", {{"cpu.max", "100000 100000\n"}}, 8, 1000},
};

static void limits_of_control_groups(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Case *c = &cases[i];
        char *root = folder_new(), command[128], groups[128];
        snprintf(groups, sizeof groups, "%s/groups", root);
        folder_put(root, "groups", c->groups, strlen(c->groups));
        for (int k = 0; k < 4 && c->file[k].name; k++) {
            char *path = file_join(root, c->file[k].name), *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
            Err err = {0};
            if (file_make_folder(parent, &err)) fail_msg("%s", err.message);
            folder_put(root, c->file[k].name, c->file[k].text, strlen(c->file[k].text));
            free(path), free(parent);
        }
        const int processors = machine_processors_by(groups, root, 8);
        const size_t bytes = machine_bytes_by(groups, root, 1000);
        if (processors != c->processors || bytes != c->bytes)
            fail_msg("case %zu: %d processors, %zu bytes", i, processors, bytes);
        snprintf(command, sizeof command, "rm -r %s", root);
        assert_int_equal(system(command), 0);
        free(root);
    }
    assert_int_equal(machine_processors_by("/no/such/file", "/no/such/folder", 8), 8);
    assert_true(machine_processors(1) == 1 && machine_bytes() > 0);
}

// ---- arenas ----

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // which want all addresses for themselves
enum { LIMIT_MIB = 1024 };

// A child's exit code; what it says on stderr.
static int in_child(void (*work)(void), int resource, char *said, size_t size) {
    int end[2];
    assert_int_equal(pipe(end), 0);
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {(rlim_t)LIMIT_MIB << 20, (rlim_t)LIMIT_MIB << 20};
        dup2(end[1], 2);
        if (setrlimit(resource, &limit)) _exit(99);
        work();
        _exit(0);
    }
    close(end[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < size && (got = read(end[0], said + n, size - 1 - n)) > 0;) n += (size_t)got;
    said[n] = 0;
    close(end[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const size_t wanted = (size_t)1 << 40, mib = (size_t)1 << 20;

// Half and half again until it is granted, and of that a part: another range and malloc find room.
static void arenas_that_fit(void) {
    Arena a, b;
    Err err = {0};
    const size_t first = arena_room(wanted, 4, mib);
    if (first < 32 * mib || first > LIMIT_MIB / 4 * mib || arena_reserve(&a, first, "the first", &err)) _exit(1);
    const size_t second = arena_room(wanted, 2, mib);
    if (second < 32 * mib || arena_reserve(&b, second, "the second", &err)) _exit(2);
    memset(arena_get(&a, first / 2, 1), 1, first / 2);
    memset(arena_get(&b, second, 1), 1, second);
    free(mem_alloc(64 * mib, 1));
    arena_free(&a), arena_free(&b);
    if (arena_room(mib, 4, 1) != mib) _exit(3); // what is granted is taken whole
    if (arena_room(wanted, 4, wanted / 2) != wanted / 2 || arena_room(mib, 4, wanted) != mib) _exit(4);
}

static void arena_that_is_full(void) {
    Arena a;
    Err err = {0};
    if (arena_reserve(&a, arena_room(wanted, 4, mib), "the test's arena", &err)) _exit(1);
    arena_get(&a, LIMIT_MIB, mib);
}

static void arena_refused(void) {
    Arena a;
    Err err = {0};
    if (arena_reserve(&a, wanted, "the test's arena", &err) != -1 || err.code != ERR_MEMORY) _exit(1);
    fputs(err.message, stderr);
}

// RLIMIT_DATA counts what can be written, as strict overcommit does.
static void arena_beyond_data(void) {
    Arena a;
    Err err = {0};
    if (arena_reserve(&a, wanted, "the test's arena", &err)) _exit(1);
    memset(arena_get(&a, 100 * mib, 1), 1, 100 * mib);
    arena_get(&a, LIMIT_MIB, mib);
}

static void addresses_are_limited(void **state) {
    (void)state;
    char said[512];
    assert_int_equal(in_child(arenas_that_fit, RLIMIT_AS, said, sizeof said), 0);
    assert_string_equal(said, "");
    assert_int_equal(in_child(arena_that_is_full, RLIMIT_AS, said, sizeof said), ERR_MEMORY);
    assert_string_equal(said, "latentr3: out of memory: the test's arena wants 1073741824 bytes more; "
                              "addresses are limited to 1024 MiB (ulimit -v)\n");
    assert_int_equal(in_child(arena_refused, RLIMIT_AS, said, sizeof said), 0);
    assert_string_equal(said, "cannot reserve 1048576 MiB of addresses for the test's arena; "
                              "addresses are limited to 1024 MiB (ulimit -v)");
}

static void a_reservation_is_no_memory(void **state) {
    (void)state;
    char said[512];
    assert_int_equal(in_child(arena_beyond_data, RLIMIT_DATA, said, sizeof said), ERR_MEMORY);
    assert_string_equal(said, "latentr3: out of memory: the test's arena wants 1073741824 bytes more\n");
}
#endif

// Blocks lie one behind the other across the pieces that are opened, whatever the sizes, and can be written to their ends.
static void pieces_are_opened(void **state) {
    (void)state;
    static const size_t size[] = {1, 5000, (size_t)16 << 20, ((size_t)16 << 20) - 1, ((size_t)40 << 20) + 7, 64, 0, 4096};
    Arena a;
    Err err = {0};
    for (int odd = 0; odd < 2; odd++) {
        size_t all = 0;
        char *block[sizeof size / sizeof *size];
        for (size_t i = 0; i < sizeof size / sizeof *size; i++) all += (size[i] + 63) / 64 * 64;
        assert_int_equal(arena_reserve(&a, all + (odd ? 4097 : 0), "a test's arena", &err), 0);
        for (size_t i = 0; i < sizeof size / sizeof *size; i++)
            memset(block[i] = arena_get(&a, size[i], 1), (int)i + 1, size[i]);
        for (size_t i = 0; i < sizeof size / sizeof *size; i++)
            if (size[i]) assert_true(block[i][0] == (char)(i + 1) && block[i][size[i] - 1] == (char)(i + 1));
        assert_int_equal(a.used_bytes, all);
        arena_reset(&a, 0);
        memset(arena_get(&a, all, 1), 0, all);
        arena_free(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_of_control_groups),
        cmocka_unit_test(pieces_are_opened),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(addresses_are_limited),
        cmocka_unit_test(a_reservation_is_no_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
