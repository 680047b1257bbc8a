// The catalogue as the server shows it: an opened data folder, read-only and shared by counted references, so that requests
// go on with the one they began with while the next takes its place.
#ifndef SERVE_SHELF_H
#define SERVE_SHELF_H

#include "base/file.h"
#include "data/dataset.h"
#include <stdatomic.h>

typedef struct Shelf {
    atomic_int holders;
    Dataset data;
    Str folded;         // the titles without regard to case, one behind the other
    size_t *folded_at;  // (items.n + 1) where each begins
    atomic_int counted; // 0: what follows is not there yet, and shelf_search finds nothing for an empty text
    int *count;         // (items.n) interactions in the train rows
    int *title_count;   // (items.n) of a title, under its first item
    FileStamp train;    // of the file they were counted in
    int *popular;       // (populars) the titles with the most, by their first item, none of them removed
    int populars;
} Shelf;

enum { SHELF_POPULAR = 100, SHELF_FOUND = 100 };

Shelf *shelf_open(Dataset *data); // takes `data` over
// The interactions of the train rows, which takes as long as these are many; rows that cannot be read count for nothing, with
// a warning. `before` (or NULL) has them already where it is of the same train.csv and has the same items first. For one
// thread, once; others may look when `counted` is set, which it is not where *stop (or NULL) was set before all was counted.
void shelf_count(Shelf *s, const Shelf *before, const atomic_int *stop);
int shelf_interactions(const Shelf *s, int item); // of the item's title, by which items count as one
Shelf *shelf_hold(Shelf *s);                      // one more holder; returns s
void shelf_drop(Shelf *s);                        // the last one closes it

// The items whose title begins with the text, then those with a word that does; without regard to case, none of them removed.
// found (most): item numbers in the catalogue's order. Returns how many. An empty text finds the popular ones.
int shelf_search(const Shelf *s, const char *text, size_t len, int *found, int most);

#endif
