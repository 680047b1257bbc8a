// A set of strings: each is kept once and numbered in the order in which it was first seen.
#ifndef DATA_INTERN_H
#define DATA_INTERN_H

#include <stddef.h>
#include <stdint.h>

typedef struct Intern {
    int n;
    const char **text; // (n): terminated; they stay where they are until intern_free
    // Inside: lengths and hashes of the strings, a table of numbers (-1: free), and the memory behind `text`.
    uint32_t *len;
    uint64_t *hash;
    int32_t *slot;
    size_t cap, slots;
    struct InternChunk *chunk;
} Intern;

// The number of the `len` bytes at `s` (no NUL among them), which are copied when they are new.
int intern_put(Intern *in, const char *s, size_t len);
int intern_find(const Intern *in, const char *s, size_t len); // or -1
void intern_free(Intern *in);

#endif
