// What answers: a model over a catalogue, with the memory that its searches need. Used by one thread at a time.
#ifndef SERVE_ENGINE_H
#define SERVE_ENGINE_H

#include "rec/baseline.h"
#include "rec/recommend.h"
#include "rec/sasrec.h"
#include "serve/request.h"
#include "serve/shelf.h"

// A model as app/ has opened it, shared by counted references: one of a language model (tokenizer), a SASRec (tokens) or a
// baseline.
typedef struct Model {
    atomic_int holders;
    char *name, version[33];
    Llm *llm;
    const Tokenizer *tokenizer;
    PromptStyle style;
    int (*tokens)(void *self, const Items *items, int32_t **token, Err *err); // the model's of each item, malloc'd
    int baseline;                                                             // BaselineKind, -1: none
    uint64_t seed;                                                            // of a random baseline
    void *self;
    void (*close)(void *self);
} Model;
Model *model_hold(Model *m);
void model_drop(Model *m); // the last holder closes it

enum { ENGINE_USERS = 256 };

typedef struct EngineOptions {
    int users; // at a time, at most ENGINE_USERS
    int beams; // most
    float length_penalty;
    int skip_ghosts;
    const char *index;   // of the catalogue, or NULL
    size_t prefix_bytes; // of prompts kept for the next time; 0: none
} EngineOptions;

typedef struct Answer {   // for one Ask
    Shelf *shelf;         // held: whose items these are
    Recommendation *item; // (n)
    int n;
    int explained;         // what follows is there:
    Recommendation *plain; // (plains) what the same model says without a thought; plains -1: it has none
    int plains;
    float *weight, rest; // (the ask's n) of the history's entries in the thought, and of all else; weight NULL: none attends
} Answer;

typedef struct EnginePlace { // of a user who has joined
    const Ask *ask;          // NULL: nobody
    const char **title, **id, **text;
    uint8_t *allowed;
    History history;
    int search;    // their place in the recommender
    Answer answer; // of a scorer, which answers at once
    Err err;
} EnginePlace;

typedef struct Engine {
    Model *model;
    Shelf *shelf;
    EngineOptions o;
    EnginePlace *place; // (o.users)
    int started, joined;
    Catalogue catalogue;  // of a language model, as the next
    PrefixCache prefixes; // of its recommender
    Recommender recommender;
    Llm plain_llm; // the model without thoughts, opened when it is first asked for
    Recommender plain;
    Ranker scorer; // of all others: it has `score`
    SasrecRanker sasrec;
    int32_t *token;
    Rows train;
    Baseline baseline;
    BaselineRanker baseline_ranker;
} Engine;

// Builds the catalogue, beside whatever else the model is used for; holds model and shelf. ERR_USAGE and ERR_DATA as rec/ has
// them, ERR_MEMORY where the searches would need more than the device has.
int engine_open(Engine **e, Model *m, Shelf *s, const EngineOptions *o, Err *err);
// Whether an item may be added: ERR_DATA where its answer would cut the prompts of all users.
int engine_check_item(const Engine *e, int item, Err *err);
// What the model itself computes, in the thread that is to use the engine: no other may use the model meanwhile. Before the
// first user; a second call does nothing.
int engine_start(Engine *e, Err *err);
void engine_rest(const Engine *e); // the calling thread, which goes on, hands it to another one: ops_rest
// What is known of prompts goes from the one to the other, where both have the same model.
void engine_inherit(Engine *e, Engine *from);
void engine_close(Engine *e);

// Users come and go between the steps of a search; engine_free_places more may come. place (users): where each is found. The
// asks must stay until they are taken or dropped. What is at fault with one keeps all of these from joining: -1 with err.
// Titles and ids that the catalogue lacks stand in the prompt or are passed over, as `recommend` does.
int engine_join(Engine *e, const Ask *const *ask, int users, int *place, Err *err);
void engine_step(Engine *e); // one token more for all
// 0: not yet done; 1: *answer is filled, for answer_free, and the place is free; -1: the same, with err in its stead.
int engine_take(Engine *e, int place, Answer *answer, Err *err);
void engine_drop(Engine *e, int place);
int engine_knows(const Engine *e, const History *h); // whether a SASRec or a baseline has a list for such a user
int engine_knows_item(const Engine *e, int item);    // of the catalogue: a SASRec knows those it was trained on
int engine_free_places(const Engine *e);
// All of it for one user, while nobody else is there.
int engine_rank(Engine *e, const Ask *ask, Answer *answer, Err *err);
void answer_free(Answer *a);

typedef struct EngineWork { // since it was opened
    int64_t tokens, thoughts, beam_steps, beam_rows, illegal, prompt_tokens, known_tokens;
} EngineWork;
EngineWork engine_work(const Engine *e);

#endif
