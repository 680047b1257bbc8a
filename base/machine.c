#include "base/machine.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Resource {
    const char *controller;                                            // of cgroup v1
    size_t (*unified)(const char *folder), (*own)(const char *folder); // limits by cgroup v2 and v1; 0: there is none
} Resource;

// How many of at most two numbers stand in the file; "max" is none.
static int read_numbers(const char *folder, const char *name, long long value[2]) {
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    const int n = fscanf(f, "%lld %lld", &value[0], &value[1]);
    fclose(f);
    return n;
}

static size_t bytes_of(const char *folder, const char *name) {
    long long value[2];
    return read_numbers(folder, name, value) > 0 && value[0] > 0 ? (size_t)value[0] : 0;
}

static size_t unified_bytes(const char *folder) {
    return bytes_of(folder, "memory.max");
}
static size_t own_bytes(const char *folder) {
    return bytes_of(folder, "memory.limit_in_bytes");
}

// Microseconds of processors in a period; -1: no quota.
static size_t processors_of(long long quota, long long period) {
    return quota > 0 && period > 0 ? (size_t)((quota - 1) / period + 1) : 0;
}

static size_t unified_processors(const char *folder) {
    long long value[2];
    return read_numbers(folder, "cpu.max", value) == 2 ? processors_of(value[0], value[1]) : 0;
}
static size_t own_processors(const char *folder) {
    long long quota[2], period[2];
    const int there =
        read_numbers(folder, "cpu.cfs_quota_us", quota) > 0 && read_numbers(folder, "cpu.cfs_period_us", period) > 0;
    return there ? processors_of(quota[0], period[0]) : 0;
}

static const Resource memory = {"memory", unified_bytes, own_bytes}, cpu = {"cpu", unified_processors, own_processors};

// Of a control group and of all that it lies in: a job's limit may stand at any of them.
static size_t least_limit(const char *root, char *group, size_t (*limit_of)(const char *), size_t least) {
    char folder[2 * PATH_MAX];
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", root, group);
        const size_t limit = limit_of(folder);
        if (limit > 0 && limit < least) least = limit;
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

// Of names with commas between them: "cpu" is not among "cpuset,cpuacct".
static int names_one(const char *list, const char *name) {
    const size_t n = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == 0)) return 1;
    return 0;
}

// Lines "number:controllers:/group"; of cgroup v2 there are no controllers in it.
static size_t least_of(const Resource *r, const char *groups, const char *root, size_t least) {
    char line[PATH_MAX], own[PATH_MAX];
    FILE *f = fopen(groups, "r");
    snprintf(own, sizeof own, "%s/%s", root, r->controller);
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        if (!controllers[1])
            least = least_limit(root, group, r->unified, least);
        else if (names_one(controllers + 1, r->controller))
            least = least_limit(own, group, r->own, least);
    }
    if (f) fclose(f);
    return least;
}

static const char GROUPS[] = "/proc/self/cgroup", ROOT[] = "/sys/fs/cgroup";

size_t machine_bytes_by(const char *groups, const char *root, size_t bytes) {
    return least_of(&memory, groups, root, bytes);
}
size_t machine_bytes(void) {
    return machine_bytes_by(GROUPS, ROOT, (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE));
}

int machine_processors_by(const char *groups, const char *root, int processors) {
    return (int)least_of(&cpu, groups, root, (size_t)processors);
}
int machine_processors(int processors) {
    return machine_processors_by(GROUPS, ROOT, processors);
}
