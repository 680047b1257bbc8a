// Users' whole sequences of items, rebuilt from the rows of splits. A row holds at most --max-history predecessors, but the
// rows of a user follow each other: each goes on where the one before it ended.
#ifndef DATA_SEQUENCES_H
#define DATA_SEQUENCES_H

#include "data/examples.h"
#include "data/intern.h"

typedef struct Sequences {
    int n;
    Ints *item; // (n) item numbers, oldest first
    Intern users;
    int32_t *present;           // (users.n) the sequence that a user's rows go on with
    const char ***title, ***id; // (n) of (item[i].len): sequences_into_rows
    int64_t broken;             // rows that do not go on with what was there
    size_t cap, users_cap;      // of the arrays
} Sequences;

// Where a row stands: its history is item[sequence].data[0 .. n), its target the next one.
typedef struct SequencePlace {
    int sequence, n;
} SequencePlace;

// Append the rows of a split, in their order, to the sequences of the splits before it. Where rows between are missing, as bad
// ones are, the items of its history that what is there does not end with come first. A row whose history has nothing of that
// end begins a new sequence, so rows_sample comes afterwards: a wide gap would cut off all that is known of a user. place
// (rows->n) may be NULL. All items of the rows must be in `items`. A zeroed Sequences is an empty one.
void sequences_add(Sequences *s, const Items *items, const Rows *rows, SequencePlace *place);
void sequences_free(Sequences *s);

// The rows' histories become the rebuilt ones, whole, without index texts. What they then point to belongs to `s`.
void sequences_into_rows(Sequences *s, const Items *items, Rows *rows, const SequencePlace *place);

// The rows as prompts and answers of one token: token (items) of the last `most` items of the history that have one (>= 0), and
// the target's. Rows without either are left out. They do not depend on `s` any more.
void sequences_examples(Examples *e, const Sequences *s, const SequencePlace *place, int rows, const int32_t *token, int most);

#endif
