// What of a history a user's thought attends to.
#ifndef REC_EXPLAIN_H
#define REC_EXPLAIN_H

#include "rec/reader.h"

// weight (h->n): the sum of LatentRATT's attention weights over the tokens of each title, for the last thought; *rest what lies
// on the instruction and between the titles. Together they are 1. Returns 1; 0 where nothing attends (no thought, hidden-state
// thoughts) or the tokens cannot be told apart by title (a prompt over the room, a tokenizer that rewrites text); -1 with err.
// The session is left as it was.
int explain_history(Reader *r, const History *h, float *weight, float *rest, Err *err);

#endif
