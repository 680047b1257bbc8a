// Tokens that stand in a text as they are ("<|im_end|>"): found before anything else, the leftmost first, of those the longest.
#ifndef TEXT_ADDED_H
#define TEXT_ADDED_H

#include "text/pattern.h"

enum { ADDED_SPECIAL = 1, ADDED_SINGLE_WORD = 2, ADDED_LSTRIP = 4, ADDED_RSTRIP = 8, ADDED_NORMALIZED = 16 };
enum { ADDED_BYTES_LIMIT = 4096 };

typedef struct AddedToken {
    char *text; // owned
    size_t len;
    int32_t id;
    int flags;
} AddedToken;

typedef struct AddedSet {
    AddedToken *token; // (n), by text once added_sort has run
    size_t n, cap;
    uint32_t first[257]; // tokens that begin with byte b: first[b] .. first[b + 1]
    Pattern *word_char;  // owned; made when a token wants it
} AddedSet;

int added_put(AddedSet *set, int32_t id, const char *text, size_t len, int flags, Err *err);
int added_sort(AddedSet *set, Err *err); // after puts and before any look-up; two tokens of one text are refused

int added_drop(AddedSet *set, int32_t id); // 1 where it was there; added_sort is due

// Calls `sink` with the parts of a text in order: text between tokens (id -1), or a token (text NULL).
typedef int (*AddedSink)(void *user, int32_t id, const char *text, size_t len, Err *err);
int added_split(const AddedSet *set, PatternRun *run, const char *text, size_t len, AddedSink sink, void *user, Err *err);
void added_free(AddedSet *set);

#endif
