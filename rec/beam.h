// Beam search over the trie, many users at once (method, section 5). Prompts are computed once; beams are short tails on
// the KV tree, nothing is copied or reordered.
#ifndef REC_BEAM_H
#define REC_BEAM_H

#include "model/session.h"
#include "rec/trie.h"

typedef struct BeamOptions {
    int beams;            // W
    float length_penalty; // score = sum / length^penalty
    int skip_ghosts;      // the log-probability of a token that is the only child of its node is not added to the sum: the trie
                          // leaves no choice there ("ghost tokens", as D3 calls them). The length counts it all the same
    float guidance;       // weight of the model's log-probability where a start has `mass`: step = g lm + (1 - g) cf
} BeamOptions;

typedef struct BeamStart {
    int node;            // the answer begins after its last position (the thought's node, or the prompt's without thoughts)
    const double *mass;  // (t->nodes) a collaborative model's probability below each node, rec/guide.h; NULL: no guidance
    const uint8_t *open; // (t->nodes) 0: nothing below the node may be found, as if it were not in the trie; NULL: all may
    int beams;           // of this user, at most BeamOptions.beams; 0: as many
} BeamStart;

typedef struct BeamHit {
    int leaf; // of the trie
    float score;
    int tokens; // length of the answer, end-of-text included
} BeamHit;

typedef struct BeamStats {
    int64_t steps, rows; // model calls, rows in them
    int64_t illegal;     // results outside the trie or met twice (0 by construction, counted all the same), and
                         // continuations whose log-probability is no finite number (they are dropped)
    double trie_s, network_s, head_s, softmax_s, select_s; // seconds of all steps, by what they went to
} BeamStats;

// The most slots a search takes from the session.
size_t beam_slots(const Trie *t, const BeamOptions *o, int users);

// hit (users, beams): best first, of equal ones the first to finish; found (users): how many. stats is added to. The session is
// left as it was.
void beam_search(Session *s, const Trie *t, const BeamOptions *o, const BeamStart *start, int users, BeamHit *hit, int *found,
                 BeamStats *stats);

// The same step by step, for users who come and go between the steps. Each has a place, of which there are `users`.
typedef struct BeamSearch BeamSearch;
BeamSearch *beam_open(Session *s, const Trie *t, const BeamOptions *o, int users, BeamStats *stats);
void beam_close(BeamSearch *x);
// Returns the place; one must be free. The arrays of `start` must stay until it is taken or dropped.
int beam_add(BeamSearch *x, const BeamStart *start);
// One token more for all; returns how many users are not yet done.
int beam_step(BeamSearch *x);
// -1: not yet done. Else the place is free, hit (beams of the user) holds as many as are returned, and *illegal what BeamStats
// counts of them.
int beam_take(BeamSearch *x, int place, BeamHit *hit, int64_t *illegal);
void beam_drop(BeamSearch *x, int place);    // nobody wants it any more
size_t beam_step_slots(const BeamSearch *x); // most slots that a step takes
// Gives back the slots taken since `floor` that no live beam leads to, by moving the others: all other node numbers from there
// on are void.
void beam_compact(BeamSearch *x, SessionMark floor);

#endif
