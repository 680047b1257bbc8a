// From users' histories to ranked items: prompts, thoughts, beam search.
#ifndef REC_RECOMMEND_H
#define REC_RECOMMEND_H

#include "rec/beam.h"
#include "rec/catalogue.h"
#include "rec/guide.h"
#include "rec/reader.h"

typedef struct RecommendOptions {
    int beams, k; // k <= beams
    int users;    // most at a time
    float length_penalty;
    int exclude_seen; // the titles of a user's history are not recommended
    int chain_ahead;  // see rec/beam.h, as the next one
    int skip_ghosts;
    const Ranker *guide;   // borrowed, has `score`; NULL: the model answers alone
    float guidance;        // weight of the model beside it
    PrefixCache *prefixes; // borrowed: prompts that were computed before; NULL: none are kept
} RecommendOptions;

enum { RECOMMEND_CHAIN_AHEAD = 4 };

// What one user asks for.
typedef struct RecommendWish {
    int beams, k; // k <= beams, beams <= RecommendOptions.beams
    int exclude_seen;
    const uint8_t *allowed; // (items->n) 0: the item is not to be recommended, as if it were not there; NULL: all may be
} RecommendWish;

typedef struct Recommender {
    Reader reader; // the model's session; the instruction is computed once, when it opens
    const Catalogue *catalogue;
    RecommendOptions o;
    Guide guide;     // where o.guide is set
    BeamStats stats; // of all searches so far
} Recommender;

// Everything given is borrowed. Thoughts are as llm->config says.
int recommend_open(Recommender *r, Llm *llm, const Tokenizer *t, const PromptStyle *style, const Catalogue *catalogue,
                   const RecommendOptions *o, Err *err);
void recommend_close(Recommender *r);

// out (users, k): best first, the first item of each title; found (users): how many, less than k where the catalogue or the
// beams end. ERR_DATA where a beam is illegal (BeamStats).
int recommend_users(Recommender *r, const History *history, int users, Recommendation *out, int *found, Err *err);
// The same where each user has a wish (users) of their own. out (users, RecommendOptions.k).
int recommend_wishes(Recommender *r, const History *history, const RecommendWish *wish, int users, Recommendation *out,
                     int *found, Err *err);

// It has no `score`. Valid as long as `r`.
Ranker recommend_ranker(Recommender *r);

#endif
