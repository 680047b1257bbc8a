// From users' histories to the place where their answers begin: prompts and thoughts, behind what all prompts begin with, which
// is computed when the reader opens.
#ifndef REC_READER_H
#define REC_READER_H

#include "base/vec.h"
#include "model/think.h"
#include "rec/prefix.h"
#include "rec/ranker.h"
#include "rec/thoughts.h"
#include "text/prompt.h"

typedef struct Reader {
    Session session;
    const Tokenizer *tokenizer; // borrowed, as style.category is
    PromptStyle style;
    PromptCommon common;
    Ints text;             // ids of the prompts of one group of users
    int node;              // of what is common
    SessionMark clean;     // right behind it
    int users;             // most at a time
    int room;              // most tokens of a prompt, all included
    PrefixCache *prefixes; // borrowed; NULL: none are kept
    Thoughts thoughts;
} Reader;

// For at most `users` at a time, prompts of at most `room` tokens (less where the model's positions end), and `tail` slots for
// each user behind the thoughts, none of them more than `reach` positions away.
int reader_open(Reader *r, Llm *llm, const Tokenizer *t, const PromptStyle *style, int users, int room, int tail, int reach,
                Err *err);
void reader_close(Reader *r);
// What reader_open finds of the positions, without a session: ERR_DATA where no prompt goes before answers of `reach` tokens.
int reader_fits(const Llm *llm, const Tokenizer *t, const PromptStyle *style, int reach, Err *err);

// node (users): the answer of user u begins behind the last position of node[u]. Valid until reader_end. The last
// PROMPT_HISTORY titles stand in the prompt; one longer than the room loses its oldest tokens.
int reader_histories(Reader *r, const History *history, int users, int *node, Err *err);
// The same from ids (`shared` ones continue the common node); number (users).
void reader_prompts(Reader *r, const ThinkPrompt *prompt, const int *number, int users, int *node);
void reader_end(Reader *r);

// Give back what was taken from the session's arenas since `begin`, but keep the nodes and slots taken since.
void reader_drop_scratch(Session *s, SessionMark begin);

#endif
