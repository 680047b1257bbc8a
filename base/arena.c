#include "base/arena.h"
#include "base/checked.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { HUGE_PAGE_BYTES = 2 << 20 };
enum { PIECE_BYTES = 16 << 20 }; // of whole huge pages, and long enough that opening one costs nothing beside filling it

void arena_init(Arena *a, void *base, size_t capacity_bytes, const char *name) {
    *a = (Arena){.base = base, .capacity_bytes = capacity_bytes, .open_bytes = capacity_bytes, .name = name};
}

// Mappings of whole huge pages lie on the border of one, where the system may make their heads huge pages too.
static size_t whole_pages(size_t bytes) {
    size_t whole;
    return checked_align_up(&whole, bytes, HUGE_PAGE_BYTES) ? bytes : whole;
}

static void *map(size_t bytes, int protection) {
    void *base = mmap(NULL, whole_pages(bytes), protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

// Where the process may not have all addresses that it wants, a message says so.
static const char *address_limit(char text[80]) {
    struct rlimit limit;
    *text = 0;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        snprintf(text, 80, "; addresses are limited to %llu MiB (ulimit -v)", (unsigned long long)limit.rlim_cur >> 20);
    return text;
}

static void *reserve(size_t bytes, int protection, const char *name, Err *err) {
    char limit[80];
    void *base = map(bytes, protection);
    if (base)
        madvise(base, bytes, MADV_HUGEPAGE); // a hint: fewer page faults on the large blocks
    else
        err_set(err, ERR_MEMORY, "cannot reserve %zu MiB of addresses for %s%s", bytes >> 20, name, address_limit(limit));
    return base;
}

void *arena_map(size_t bytes, const char *name, Err *err) {
    return reserve(bytes, PROT_READ | PROT_WRITE, name, err);
}

void arena_unmap(void *range, size_t bytes) {
    if (range) munmap(range, whole_pages(bytes));
}

size_t arena_room(size_t wanted, size_t parts, size_t least) {
    if (least > wanted) least = wanted;
    for (size_t room = wanted; room > least; room /= 2) {
        void *trial = map(room, PROT_READ | PROT_WRITE); // as arena_map would
        if (!trial) continue;
        arena_unmap(trial, room);
        if (room == wanted) return room;
        return room / parts > least ? room / parts : least;
    }
    return least;
}

int arena_reserve(Arena *a, size_t capacity_bytes, const char *name, Err *err) {
    void *base = reserve(capacity_bytes, PROT_NONE, name, err);
    if (!base) return -1;
    arena_init(a, base, capacity_bytes, name);
    a->open_bytes = 0;
    a->mapped = 1;
    return 0;
}

void arena_free(Arena *a) {
    if (a->mapped) arena_unmap(a->base, a->capacity_bytes);
    *a = (Arena){0};
}

static _Noreturn void out_of_memory(const char *what, size_t bytes) {
    char limit[80];
    fprintf(stderr, "latentr3: out of memory: %s wants %zu bytes more%s\n", what, bytes, address_limit(limit));
    _exit(ERR_MEMORY); // nothing that exit() would do may want memory, or wait for a thread that does
}

// Up to a whole piece, by address, so that no huge page lies across the border.
static int open_until(Arena *a, size_t end) {
    const size_t first = (size_t)(uintptr_t)a->base % PIECE_BYTES, pieces = (first + end + PIECE_BYTES - 1) / PIECE_BYTES;
    size_t until = pieces * PIECE_BYTES - first;
    if (until > a->capacity_bytes) until = a->capacity_bytes;
    if (mprotect(a->base + a->open_bytes, until - a->open_bytes, PROT_READ | PROT_WRITE)) return -1;
    a->open_bytes = until;
    return 0;
}

void *arena_get(Arena *a, size_t count, size_t size) {
    size_t bytes, end;
    if (checked_mul(&bytes, count, size) || checked_align_up(&bytes, bytes, 64) || checked_add(&end, a->used_bytes, bytes) ||
        end > a->capacity_bytes || (end > a->open_bytes && open_until(a, end)))
        out_of_memory(a->name, count * size);
    void *block = a->base + a->used_bytes;
    a->used_bytes = end;
    if (end > a->peak_bytes) a->peak_bytes = end;
    return block;
}

void *mem_need(void *p, const char *what) {
    if (!p) out_of_memory(what, 1);
    return p;
}

void *mem_alloc(size_t count, size_t size) {
    size_t bytes;
    if (checked_mul(&bytes, count, size)) out_of_memory("an array", SIZE_MAX);
    void *p = malloc(bytes ? bytes : 1);
    if (!p) out_of_memory("an array", bytes);
    return p;
}

void *mem_zalloc(size_t count, size_t size) {
    void *p = mem_alloc(count, size);
    return memset(p, 0, count * size);
}

void *mem_realloc(void *old, size_t count, size_t size) {
    size_t bytes;
    if (checked_mul(&bytes, count, size)) out_of_memory("an array", SIZE_MAX);
    void *p = realloc(old, bytes ? bytes : 1);
    if (!p) out_of_memory("an array", bytes);
    return p;
}

char *mem_strndup(const char *s, size_t len) {
    char *copy = mem_alloc(len + 1, 1);
    if (len) memcpy(copy, s, len);
    copy[len] = 0;
    return copy;
}
