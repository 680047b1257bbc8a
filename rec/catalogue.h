// All items that may be recommended as answers: the trie of their titles (or index texts, as the style
// says), and which leaf each item has. Read-only once built;
// sessions share it.
#ifndef REC_CATALOGUE_H
#define REC_CATALOGUE_H

#include "base/file.h"
#include "data/dataset.h"
#include "rec/ranker.h"
#include "rec/trie.h"
#include "text/prompt.h"

typedef struct Catalogue {
    const Items *items; // borrowed
    Trie trie;          // leaf_item: the first item with the title that is not removed
    int32_t *leaf;      // (items->n); -1: removed, and no other item has its title
    int borrowed;       // the arrays lie in `file`, or in a caller's memory (catalogue_file.h)
    MapFile file;
} Catalogue;

int catalogue_build(Catalogue *c, const Items *items, const Tokenizer *t, const PromptStyle *style, Err *err);
// The same from the file `index`, where it was built from the same; else built, and written there. index NULL: as
// catalogue_build.
int catalogue_open(Catalogue *c, const Items *items, const Tokenizer *t, const PromptStyle *style, const char *index, Err *err);
void catalogue_free(Catalogue *c);

// How many items never come out, as another title before theirs is the same answer (a tokenizer may normalize them alike);
// *first: one of them.
int catalogue_hidden(const Catalogue *c, int *first);
// The leaf of a title, or -1 where no item that may be recommended has it.
int catalogue_leaf(const Catalogue *c, const char *title);
// The same of one item, an entry of a history or a target: by its id where there is one, for with index texts items of one
// title have leaves of their own.
int catalogue_item_leaf(const Catalogue *c, const char *title, const char *id);
int catalogue_history_leaf(const Catalogue *c, const History *h, int i);

#endif
