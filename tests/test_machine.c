// What a process may use of its machine, by control groups of both versions.
#include "base/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_of_control_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
