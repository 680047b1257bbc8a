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
    int exclude_seen;      // the titles of a user's history are not recommended
    int skip_ghosts;       // see rec/beam.h
    const Ranker *guide;   // borrowed, has `score`; NULL: the model answers alone
    float guidance;        // weight of the model beside it
    PrefixCache *prefixes; // borrowed: prompts that were computed before; NULL: none are kept
} RecommendOptions;

// What one user asks for.
typedef struct RecommendWish {
    int beams, k; // k <= beams, beams <= RecommendOptions.beams
    int exclude_seen;
    const uint8_t *allowed; // (items->n) 0: the item is not to be recommended, as if it were not there; NULL: all may be
} RecommendWish;

typedef struct RecommendPlace { // of a user who has joined
    RecommendWish wish;
    uint8_t *open; // of the trie's nodes, or NULL
} RecommendPlace;

typedef struct Recommender {
    Reader reader; // the model's session; what all prompts begin with is computed once, when it opens
    const Catalogue *catalogue;
    RecommendOptions o;
    Guide guide;           // where o.guide is set
    BeamStats stats;       // of all searches so far
    BeamSearch *search;    // since the first user joined; from then on the struct must not move
    RecommendPlace *place; // (o.users)
    int joined;            // users who have a place
    int rows_most;         // slots in use from which on those of no use are given back
} Recommender;

// Whether a catalogue with an answer of so many tokens takes a good part of the positions from the prompts of all users.
int recommend_crowds(const Llm *llm, int answer);
// Whether the longest answer leaves positions for a prompt: what recommend_open will ask. ERR_DATA naming the item where it
// does not.
int recommend_fits(const Llm *llm, const Tokenizer *t, const PromptStyle *style, const Catalogue *c, Err *err);

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

// The same for users who come and go between the steps of the search; at most RecommendOptions.users are there at a time. place
// (users): where each is found. wish.allowed must stay until it is taken or dropped. What is at fault with one history keeps
// all of these from joining. Nobody may be there where there is a guide.
int recommend_join(Recommender *r, const History *history, const RecommendWish *wish, int users, int *place, Err *err);
// Before another prompt runs in the session, beside the search.
void recommend_make_room(Recommender *r);
// One token more for all; returns how many are not yet done.
int recommend_step(Recommender *r);
// 0: not yet done, 1: done, out (wish.k) and *found are filled and the place is free; -1: the same, with ERR_DATA in their
// stead.
int recommend_take(Recommender *r, int place, Recommendation *out, int *found, Err *err);
void recommend_drop(Recommender *r, int place); // nobody wants it any more

// It has no `score`. Valid as long as `r`.
Ranker recommend_ranker(Recommender *r);

#endif
