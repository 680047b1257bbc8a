// A log of interactions in memory: who met which item, when, and how it was rated; and the items' titles.
#ifndef DATA_INTERACTIONS_H
#define DATA_INTERACTIONS_H

#include "base/err.h"
#include "data/intern.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Event {
    int32_t user, item;
    int64_t timestamp;
    double rating;
} Event;

typedef struct Interactions {
    Intern users, items; // ids as the files have them; users in the order of the log, items in that of the item file
    Intern titles;
    int32_t *title; // (items.n): number in `titles`, or -1 where the item has none that can be used
    size_t items_cap;
    Event *event; // (n): in the order of the log
    size_t n, cap;
    int has_rating;
    // What was passed over, and why; `n` is what is left of `lines`.
    int64_t lines, bad_lines, unknown_item, bad_item_lines, untitled_items, replacement_titles;
} Interactions;

typedef struct InteractionsFile {
    const char *data, *name; // borrowed
    size_t bytes;
} InteractionsFile;

// MovieLens-100K: u.data (user, item, rating 1 to 5, timestamp; tabs) and u.item (24 fields between `|`; the bytes are
// ISO-8859-1 unless they are UTF-8). A bad line is passed over, counted and named in the log; strict makes it an error.
// interactions_free is due in either case.
int interactions_movielens(Interactions *x, const InteractionsFile *data, const InteractionsFile *item, int strict, Err *err);

// RecBole atomic files: a header of `field:type`, tabs. user_id, item_id and timestamp are needed, rating is optional; of
// the item file item_id and the title (movie_title, title, name, or a field that ends in _title or _name).
int interactions_recbole(Interactions *x, const InteractionsFile *inter, const InteractionsFile *item, int strict, Err *err);

void interactions_free(Interactions *x);

#endif
