// Beam search over the whole vocabulary, many users at once: what the model writes where nothing holds it to a catalogue.
#ifndef REC_GENERATE_H
#define REC_GENERATE_H

#include "rec/beam.h"

typedef struct GenerateOptions {
    int beams;            // W
    float length_penalty; // score = sum / length^penalty
    int tokens;           // most of an answer, end-of-text included; what is unfinished then counts as it stands
    int32_t eos_id;
} GenerateOptions;

// The most slots a search takes from the session.
size_t generate_slots(const GenerateOptions *o, int users);

// The best answer of each user behind the last position of node[u]: ids (users, tokens) without end-of-text, len (users). Each
// step takes the 2W best of all continuations; those that end and are among the first W are answers, as in rec/beam.h.
// stats is added to; illegal: log-probabilities that are no finite number. The session is left as it was.
void generate_answers(Session *s, const GenerateOptions *o, const int *node, int users, int32_t *ids, int *len,
                      BeamStats *stats);

#endif
