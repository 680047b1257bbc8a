// Bytes that end where readable memory ends: a parser that reads one byte too many stops the test.
#ifndef TESTS_GUARD_H
#define TESTS_GUARD_H

#include "base/err.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct Guard {
    char *map, *data;
    size_t map_bytes;
} Guard;

// Room for `bytes` bytes whose end is the end of what may be read.
static inline Guard guard_open(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (bytes + page - 1) / page * page + page;
    Guard g = {.map_bytes = size};
    g.map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(g.map != MAP_FAILED && mprotect(g.map + size - page, page, PROT_NONE) == 0);
    g.data = g.map + size - page - bytes;
    return g;
}

static inline Guard guard_copy(const char *data, size_t bytes) {
    Guard g = guard_open(bytes);
    if (bytes) memcpy(g.data, data, bytes);
    return g;
}

static inline void guard_close(Guard *g) {
    munmap(g->map, g->map_bytes);
}

#endif
