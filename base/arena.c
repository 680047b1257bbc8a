#include "base/arena.h"
#include "base/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void arena_init(Arena *a, void *base, size_t capacity_bytes, const char *name) {
    *a = (Arena){.base = base, .capacity_bytes = capacity_bytes, .name = name};
}

int arena_reserve(Arena *a, size_t capacity_bytes, const char *name, Err *err) {
    void *base = mmap(NULL, capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return err_set(err, ERR_MEMORY, "cannot reserve %zu MiB of addresses for %s", capacity_bytes >> 20, name);
    madvise(base, capacity_bytes, MADV_HUGEPAGE); // a hint: fewer page faults on the large blocks
    arena_init(a, base, capacity_bytes, name);
    a->mapped = 1;
    return 0;
}

void arena_free(Arena *a) {
    if (a->mapped) munmap(a->base, a->capacity_bytes);
    *a = (Arena){0};
}

static _Noreturn void out_of_memory(const char *what, size_t bytes) {
    fprintf(stderr, "latentr3: out of memory: %s wants %zu bytes more\n", what, bytes);
    _exit(ERR_MEMORY); // nothing that exit() would do may want memory, or wait for a thread that does
}

void *arena_get(Arena *a, size_t count, size_t size) {
    size_t bytes, end;
    if (checked_mul(&bytes, count, size) || checked_align_up(&bytes, bytes, 64) || checked_add(&end, a->used_bytes, bytes) ||
        end > a->capacity_bytes)
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
