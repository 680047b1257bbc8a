// What may have been meant by a title that no item has.
#ifndef APP_MEANT_H
#define APP_MEANT_H

#include "data/dataset.h"

// An item whose id it is; else one whose title begins with it, or holds it; else the one whose title is nearest by letters
// inserted, left out, changed or swapped (a year or other note in brackets at the end aside), where that is at most one letter
// in four. -1: none.
int meant_item(const Items *items, const char *title);

#endif
