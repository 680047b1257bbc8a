// What may have been meant by a title that no item has.
#ifndef APP_MEANT_H
#define APP_MEANT_H

#include "data/dataset.h"

enum { MEANT_LETTERS = 255 };

// Letters (bytes) to be inserted, left out, changed or swapped with their neighbour to make b (m of them, MEANT_LETTERS at
// most) of a (n); more than `most`: most + 1.
int meant_distance(const char *a, size_t n, const char *b, size_t m, int most);

// An item whose id it is; else one whose title begins with it, or holds it; else the one whose title is nearest by letters
// inserted, left out, changed or swapped (a year or other note in brackets at the end aside), where that is at most one letter
// in four. -1: none.
int meant_item(const Items *items, const char *title);

#endif
