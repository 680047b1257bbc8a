// Beam search over the trie, many users at once (method, section 5). Prompts are computed once; beams are short tails on
// the KV tree, nothing is copied or reordered.
#ifndef REC_BEAM_H
#define REC_BEAM_H

#include "model/session.h"
#include "rec/trie.h"

typedef struct BeamOptions {
    int beams;            // W
    float length_penalty; // score = sum / length^penalty
} BeamOptions;

typedef struct BeamHit {
    int leaf; // of the trie
    float score;
    int tokens; // length of the answer, end-of-text included
} BeamHit;

typedef struct BeamStats {
    int64_t steps, rows,
        illegal; // model calls, rows in them, results outside the trie (0 by construction, counted all the same)
} BeamStats;

// The answer of user u begins after the last position of node[u] (the thought's node, or the prompt's without thoughts).
// hit (users, beams): best first, ties by leaf number; found (users): how many. The session is left as it was.
void beam_search(Session *s, const Trie *t, const BeamOptions *o, const int *node, int users, BeamHit *hit, int *found,
                 BeamStats *stats);

#endif
