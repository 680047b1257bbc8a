// A built catalogue as a file, so that a million items are there in a fraction of a second rather than after all titles have
// been tokenized.
//
// Header (64 bytes, little-endian): "latentr3" "trie 1\n\0", the key (16 bytes), then as int32 items, nodes, tails, leaves,
// longest, end-of-text id, and a 64-bit XXH3 of what follows. Then the int32 arrays first_child, token, stub_rank, tail,
// leaf_item of the trie (rec/trie.h) and the leaf of each item.
#ifndef REC_CATALOGUE_FILE_H
#define REC_CATALOGUE_FILE_H

#include "rec/catalogue.h"

// What the arrays depend on: the items, in order, the tokenizer and the end-of-text id.
typedef struct CatalogueKey {
    uint64_t low, high;
} CatalogueKey;
CatalogueKey catalogue_file_key(const Items *items, const Tokenizer *t, const PromptStyle *style);

// Whole or not at all.
int catalogue_file_save(const Catalogue *c, const char *path, CatalogueKey key, Err *err);
// 1: `c` lies in the mapped file, every number in it checked; 0: there is no file, or one of another key (of other items, say);
// -1: it cannot be read or is damaged. catalogue_free closes the map.
int catalogue_file_load(Catalogue *c, const Items *items, const char *path, CatalogueKey key, Err *err);
// The same from bytes in memory, which must outlive `c`.
int catalogue_file_parse(Catalogue *c, const Items *items, const char *data, size_t bytes, const char *name, CatalogueKey key,
                         Err *err);

#endif
