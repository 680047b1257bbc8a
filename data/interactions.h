// A log of interactions in memory: who met which item, when, and how it was rated; and the items' titles. Of a log it holds
// what the filters below leave, 16 bytes each, and what is distinct: users, items, titles, ratings.
#ifndef DATA_INTERACTIONS_H
#define DATA_INTERACTIONS_H

#include "base/err.h"
#include "data/intern.h"
#include "data/records.h"
#include "data/titles.h"
#include <stddef.h>
#include <stdint.h>

enum { EVENT_SECOND = 1000 }; // timestamps are milliseconds, whatever the log has

typedef struct Event {
    int32_t user, item;
    int64_t timestamp : 48; // a second is EVENT_SECOND
    uint64_t rating : 16;   // number in Interactions.rating
} Event;
_Static_assert(sizeof(Event) == 16, "an interaction takes 16 bytes");

typedef struct Interactions {
    Intern users, items;    // ids as the files have them; users in the order of the log, items in that of the item file
    Intern titles, ratings; // ratings: as they are written
    Intern texts;           // index texts
    double *rating;         // (ratings.n)
    int32_t *title;         // (items.n): number in `titles`, or -1 where the item has none that can be used
    int32_t *text;          // (items.n): number in `texts`, or -1: no index text
    Event *event;           // (n): in the order of the log
    size_t n, cap, items_cap, ratings_cap;
    int has_rating, has_time; // without times the order of the log is that of time: timestamps are 1, 2, 3, ... seconds
    int has_titles;           // else ids stand for them
    // What was passed over, and why; `n` is what is left of `lines`.
    int64_t lines, bad_lines, unknown_item, low_rating, outside_window, bad_item_lines, replacement_titles;
    int64_t untitled[TITLE_FAULTS]; // interactions with items whose title has that fault
    int64_t items_untitled[TITLE_FAULTS];
    int8_t *title_fault; // (items.n)
    // Of titles that stand in the log: items that came more than once, and those of them that came with another title.
    uint8_t *titled; // (items.n)
    int64_t titled_again, retitled;
} Interactions;

typedef struct InteractionsOptions {
    int strict;           // a bad line is an error; else it is passed over, counted and named in the log
    int published_titles; // titles_clean's rules
    double min_rating;    // 0: off
    int64_t from, until;  // seconds since 1970, [from, until); 0: off
    int drop_years;       // titles_drop_year
} InteractionsOptions;

// items may be NULL: then the log's titles count where it has such, else the ids stand for titles. An item's first title
// that can be used counts, for the interactions before it too; a log in which more than a few items come with several is
// refused. A log that rates its first interaction must rate all. interactions_free is due in either case.
int interactions_read(Interactions *x, Records *items, Records *log, const InteractionsOptions *o, Err *err);
void interactions_free(Interactions *x);

#endif
