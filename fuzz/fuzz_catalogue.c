// Any bytes as a built catalogue (its key and hash made to fit): refused with a line, or a trie in which every item's path is
// found and ends at its leaf.
#include "base/arena.h"
#include "rec/catalogue_file.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

enum { HEADER = 64, KEY_AT = 16, ITEMS_AT = 32, HASH_AT = 56, ITEMS_MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// From the root to the leaves, depth first.
static int walk(const Trie *t, int node, int depth, int *leaves) {
    const int children = trie_children(t, node), leaf = trie_leaf(t, node);
    EXPECT((leaf >= 0) == (children == 0) && depth <= t->longest);
    if (leaf >= 0) {
        EXPECT(leaf < t->leaves && t->token[node] == t->eos_id);
        ++*leaves;
        return depth;
    }
    int first = trie_first(t, node), deepest = 0;
    for (int c = first; c < first + children; c++) {
        EXPECT(trie_child(t, node, t->token[c]) == c);
        int d = walk(t, c, depth + 1, leaves);
        if (d > deepest) deepest = d;
    }
    return deepest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char *copy = mem_alloc(bytes + 1, 1);
    memcpy(copy, data, bytes);
    CatalogueKey key = {0};
    static unsigned char none_removed[ITEMS_MOST];
    Items items = {.removed = none_removed};
    if (bytes >= HEADER) {
        uint64_t hash = XXH3_64bits(copy + HEADER, bytes - HEADER);
        memcpy(copy + HASH_AT, &hash, sizeof hash);
        memcpy(&key, copy + KEY_AT, sizeof key);
        memcpy(&items.n, copy + ITEMS_AT, sizeof(int32_t));
        if (items.n > ITEMS_MOST) items.n = ITEMS_MOST;
    }
    Catalogue c;
    Err err = {0};
    int status = catalogue_file_parse(&c, &items, copy, bytes, "fuzz", key, &err), leaves = 0;
    EXPECT(status == 1 || (status == -1 && err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n')));
    if (status == 1 && c.trie.longest < 4096) {
        EXPECT(walk(&c.trie, 0, 0, &leaves) == c.trie.longest);
        EXPECT(leaves == c.trie.leaves);
    }
    catalogue_free(&c);
    free(copy);
    return 0;
}
