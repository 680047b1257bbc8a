// Grounding, as BIGRec does it (Bao et al. 2023, arXiv 2308.08434): the model writes freely, and the items nearest to what it
// wrote are recommended. Near is the L2 distance between embeddings: the hidden states, after the final norm, of the last token
// of a text that stands alone (behind BOS where there is one).
#ifndef REC_GROUND_H
#define REC_GROUND_H

#include "rec/catalogue.h"
#include "rec/generate.h"
#include "rec/reader.h"

enum {
    GROUND_ANSWER_TOKENS = 128, // most tokens of an answer
    GROUND_TEXT_TOKENS = 512,   // a text to be embedded is cut behind them
};

typedef struct GroundOptions {
    int beams; // published: 4
    int k, users;
    float length_penalty;
    int exclude_seen;
    // Borrowed, has `score`; NULL: distance alone. With it, distance and score of the items that may be recommended are brought
    // to 0..1 for each user, and the items are ranked by distance / (1 + score)^power.
    const Ranker *guide;
    int guide_counts; // the guide's scores are log(1 + count): the counts are brought to 0..1, as published
    float power;
} GroundOptions;

typedef struct Ground {
    Reader reader;
    const Catalogue *catalogue;
    GroundOptions o;
    float *embedding; // (leaves, D) of the catalogue's distinct texts
    float *written;   // (users, D) of what was written last
    double *near;     // (leaves) scratch
    float *guide;     // (users, items) scores of the guide; or NULL
    Str *text;        // (users) what was written last, cleaned
    BeamStats stats;
} Ground;

// Everything given is borrowed. The items are embedded here, once.
int ground_open(Ground *g, Llm *llm, const Tokenizer *t, const PromptStyle *style, const Catalogue *catalogue,
                const GroundOptions *o, Err *err);
void ground_close(Ground *g); // safe after a failure of ground_open

// Blanks at both ends are taken away, then quotes: "\"Toy Story\"\n" is Toy Story. Items' texts are treated alike.
void ground_clean(Str *out, const char *text, size_t len);
// out (n, D): the embeddings of n cleaned texts. An empty one without BOS is embedded as end-of-text. pieces: their index
// pieces are tokens.
int ground_embed(Ground *g, const Str *text, int n, int pieces, float *out, Err *err);

// score (users, items) of what was written (users, cleaned): minus what the items are ranked by, -INFINITY for a removed one.
// The histories are the guide's.
int ground_scores(Ground *g, const Str *text, const History *h, int users, float *score, Err *err);

// Lists, and scores of all items: minus what they are ranked by, -INFINITY for what exclude_seen leaves out. Items of one text
// are as near; a list has the first of them. Valid as long as `g`.
Ranker ground_ranker(Ground *g);

#endif
