// Cutting a text into the pieces that merges do not cross: a chain of steps, each of which splits every piece of the one
// before.
#ifndef TEXT_PRETOKENIZE_H
#define TEXT_PRETOKENIZE_H

#include "text/pattern.h"

// What becomes of the places a pattern matches, in the words of tokenizer.json.
typedef enum PreBehavior {
    PRE_ISOLATED,             // each is a piece
    PRE_REMOVED,              // they are dropped
    PRE_MERGED_WITH_PREVIOUS, // each is the end of the piece before it
    PRE_MERGED_WITH_NEXT,     // each is the beginning of the piece behind it
    PRE_CONTIGUOUS,           // a run of them is a piece
} PreBehavior;

// Which pieces get a blank in front, where they do not begin with one.
typedef enum PrePrefix { PRE_PREFIX_NEVER, PRE_PREFIX_FIRST, PRE_PREFIX_ALWAYS } PrePrefix;

typedef struct PreStep {
    Pattern *pattern; // owned; NULL: no splitting
    PreBehavior behavior;
    int invert; // the places between the matches are taken for the matches
    PrePrefix prefix;
    char blank[8]; // what blanks are written as, before a prefix is thought of; "": as they are
} PreStep;

enum { PRE_STEPS_LIMIT = 16 };

typedef struct Pretokenizer {
    PreStep step[PRE_STEPS_LIMIT];
    int n;
} Pretokenizer;

// Split by GPT-2's pattern, as the step "ByteLevel" does.
int pretokenize_gpt2(Pattern **p, Err *err);

typedef void (*PreSink)(void *user, const char *piece, size_t len);

// Calls `sink` with each piece in order; a piece is never empty. The text must be UTF-8; first: nothing stands before it.
int pretokenize_run(const Pretokenizer *pre, PatternRun *run, const char *text, size_t len, int first, PreSink sink, void *user,
                    Err *err);
void pretokenize_free(Pretokenizer *pre);

#endif
