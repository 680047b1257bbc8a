// Where one leaf of the catalogue stands in the lists that begin at given nodes of a session: rewards that ask for the list
// (`rl --reward hit`, `rank`).
#ifndef REC_RANKS_H
#define REC_RANKS_H

#include "rec/beam.h"
#include "rec/catalogue.h"

// rank (n): of `leaf` (-1: none) among the results of the search behind the last position of node[i], 1 the first; 0: not
// found. The session is left as it was.
void ranks_find(const Catalogue *c, const BeamOptions *beam, Session *s, int leaf, const int *node, int n, int *rank);

#endif
