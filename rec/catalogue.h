// All items as answers: the trie of their titles, and which leaf each item has. Read-only once built; sessions share it.
#ifndef REC_CATALOGUE_H
#define REC_CATALOGUE_H

#include "data/dataset.h"
#include "rec/trie.h"
#include "text/prompt.h"

typedef struct Catalogue {
    const Items *items; // borrowed
    Trie trie;
    int32_t *leaf; // (items->n)
} Catalogue;

int catalogue_build(Catalogue *c, const Items *items, const Tokenizer *t, const PromptStyle *style, Err *err);
void catalogue_free(Catalogue *c);

// The leaf of a title, or -1 where no item has it.
int catalogue_leaf(const Catalogue *c, const char *title);

#endif
