#include "rec/ranks.h"

void ranks_find(const Catalogue *c, const BeamOptions *beam, Session *s, int leaf, const int *node, int n, int *rank) {
    const SessionMark mark = session_mark(s);
    BeamStats stats = {0};
    BeamStart *start = ARENA_NEW(&s->host, BeamStart, n);
    BeamHit *hit = ARENA_NEW(&s->host, BeamHit, (size_t)n * (size_t)beam->beams);
    int *found = ARENA_NEW(&s->host, int, n);
    for (int i = 0; i < n; i++) start[i] = (BeamStart){.node = node[i]};
    beam_search(s, &c->trie, beam, start, n, hit, found, &stats);
    for (int i = 0; i < n; i++) {
        rank[i] = 0;
        for (int place = 0; place < found[i] && leaf >= 0; place++)
            if (hit[i * beam->beams + place].leaf == leaf) rank[i] = place + 1;
    }
    session_reset(s, mark);
}
