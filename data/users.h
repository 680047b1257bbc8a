// The users of a whole shop, one after the other, with what is known of each: out of a file, however many it holds, or out of
// the rows of a data folder.
#ifndef DATA_USERS_H
#define DATA_USERS_H

#include "data/lines.h"
#include "data/sequences.h"

typedef struct UserHistory {
    char *user;
    const char **title, **id, **text; // (n) oldest first; text NULL for an item without
    int n, by_id;                     // by_id 0: the titles stand for the items, and id is NULL
    json_t *line;                     // holds the titles that the catalogue lacks
} UserHistory;
void user_history_free(UserHistory *h);

typedef struct Users {
    const Items *items;                  // borrowed
    int strict;                          // an id that the catalogue lacks is an error; else it is left out
    int64_t read;                        // users so far
    int64_t unknown_ids, unknown_titles; // in their histories; a title stays where it is
    Stream *stream;
    Lines lines;
    Sequences sequences; // of a data folder
    int from_folder;
} Users;

// Lines {"user": "...", "history": ["title", ...]}, or "history_ids" in the place of "history", oldest first; users and ids may
// be whole numbers, other members are passed over. gzip or plain. users_close is due in any case.
int users_open_file(Users *u, const char *path, const Items *items, int strict, Err *err);
// The same over bytes in memory, which must stay.
int users_parse(Users *u, const char *data, size_t bytes, const char *name, const Items *items, int strict, Err *err);
// Every user of a folder's splits in the order of their first rows, with all items that the rows know.
int users_open_folder(Users *u, const Dataset *d, Err *err);
void users_close(Users *u);

// 1: the next one, for user_history_free; 0: the end; -1: ERR_DATA naming file and line.
int users_next(Users *u, UserHistory *h, Err *err);
int users_skip(Users *u, int64_t n, Err *err); // pass over so many, which were read before

#endif
