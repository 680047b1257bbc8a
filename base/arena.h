// Memory by lifetime: a reserved range of addresses from which blocks are carved and given back together.
// The arena never touches the memory, so the range may lie on a device.
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/err.h"
#include <stddef.h>

typedef struct Arena {
    char *base;
    size_t used_bytes, capacity_bytes, peak_bytes, open_bytes; // open: of the range, what can be touched by now
    const char *name;                                          // for messages
    int mapped;                                                // the range is ours to unmap
} Arena;

// Over a range that somebody else owns.
void arena_init(Arena *a, void *base, size_t capacity_bytes, const char *name);

// How many host addresses to reserve where `wanted` would be best: all of them, or where the system refuses so many (ulimit -v,
// strict overcommit) a half of it, a quarter and so on, and of what is granted one part of `parts`: other ranges and malloc
// want theirs too. Never less than `least` of it, be that refused.
size_t arena_room(size_t wanted, size_t parts, size_t least);

// Over host addresses of our own: reserved now, opened in pieces as blocks are carved (until then they do not count as memory,
// whatever the system's overcommit), and backed by memory only as they are touched.
int arena_reserve(Arena *a, size_t capacity_bytes, const char *name, Err *err);
void arena_free(Arena *a);

// A block aligned to 64 bytes, contents undefined. A range that is spent stops the program with exit code 5 and one line that
// names the arena.
void *arena_get(Arena *a, size_t count, size_t size);
#define ARENA_NEW(arena, type, count) ((type *)arena_get((arena), (size_t)(count), sizeof(type)))

// Everything carved after the mark is given back by arena_reset.
static inline size_t arena_mark(const Arena *a) {
    return a->used_bytes;
}
static inline void arena_reset(Arena *a, size_t mark) {
    a->used_bytes = mark;
}

// Host addresses without an arena, open from the start; NULL: refused.
void *arena_map(size_t bytes, const char *name, Err *err);
void arena_unmap(void *range, size_t bytes);

// What a library gave from its own allocation: NULL stops the program with exit code 5.
void *mem_need(void *p, const char *what);

// malloc and friends that never return NULL: an allocation that fails stops the program with exit code 5.
void *mem_alloc(size_t count, size_t size);
void *mem_zalloc(size_t count, size_t size);
void *mem_realloc(void *p, size_t count, size_t size);
char *mem_strndup(const char *s, size_t len);

#endif
