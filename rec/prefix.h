// What was computed of prompts, kept for the next time: a user who comes back with the same history, or with one more item in
// it, has most of the prompt done. Least recently used ones make room.
#ifndef REC_PREFIX_H
#define REC_PREFIX_H

#include <stddef.h>
#include <stdint.h>

typedef struct Prefix {
    int32_t *ids; // (n) behind what all prompts begin with
    int n;
    size_t bytes; // of the rows
    void *rows;   // session_save_rows
    uint64_t used;
} Prefix;

// All prefixes are of one model and stand behind one beginning: that is the owner's business.
typedef struct PrefixCache {
    Prefix *entry; // (entries)
    int entries;
    size_t bytes, most_bytes; // of all rows
    uint64_t clock;
    int64_t found_tokens, asked_tokens; // of all prefix_find
} PrefixCache;

void prefix_open(PrefixCache *c, size_t most_bytes);
void prefix_close(PrefixCache *c);

// The longest beginning of ids (n) that is known: its length, 0 where it is not worth the while. *rows, *saved: as
// session_restore_rows takes them, valid until the next prefix_put.
int prefix_find(PrefixCache *c, const int32_t *ids, int n, const void **rows, int *saved);
// Room for n rows, to be filled by the caller; NULL where they are over the limit by themselves.
void *prefix_put(PrefixCache *c, const int32_t *ids, int n, size_t row_bytes);

#endif
