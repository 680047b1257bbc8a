// What a model has to beat: the most popular items, the user's own history again, and chance. Everything here comes from
// the train rows alone.
#ifndef REC_BASELINE_H
#define REC_BASELINE_H

#include "data/dataset.h"

// By title, items that share a title count as one and go under the first of them; by item, each stands for itself.
typedef enum MatchBy { MATCH_TITLE, MATCH_ITEM } MatchBy;
enum { MATCHES = 2 };

// The item number under which something counts, or -1 where the catalogue does not have it.
int match_key(const Items *items, MatchBy by, const char *title, const char *id);

// Number the users of the rows from 0 in order of appearance; user (rows->n). Returns how many there are.
int baseline_number_users(const Rows *rows, int *user);

typedef struct Baseline {
    const Items *items;
    int64_t events;          // interactions counted
    int *count[MATCHES];     // (items->n): interactions of each key
    int *place[MATCHES];     // (items->n): 1 for the most popular key; 0 for what is no key, or removed
    int candidates[MATCHES]; // keys with a place
} Baseline;

// Counts every train target, and the history of each user's first row: so each interaction before the cut counts once (the
// later rows' histories repeat earlier targets). Ties: the lower item number first. train may be empty.
void baseline_count(Baseline *b, const Items *items, const Rows *train);
void baseline_free(Baseline *b);

// Rank of the row's target, 0 for a miss. exclude_seen: items of the row's history are taken out of the list first.
int baseline_popularity(const Baseline *b, MatchBy by, const Row *row, int exclude_seen);
// The list is the row's history, newest first, each once.
int baseline_repeat(const Baseline *b, MatchBy by, const Row *row);

#endif
