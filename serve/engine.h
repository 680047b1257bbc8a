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
    int32_t *(*tokens)(void *self, const Items *items); // the model's token of each item, malloc'd
    int baseline;                                       // BaselineKind, -1: none
    uint64_t seed;                                      // of a random baseline
    void *self;
    void (*close)(void *self);
} Model;
Model *model_hold(Model *m);
void model_drop(Model *m); // the last holder closes it

typedef struct EngineOptions {
    int users; // at a time
    int beams; // most
    float length_penalty;
    int skip_ghosts;
    const char *index;   // of the catalogue, or NULL
    size_t prefix_bytes; // of prompts kept for the next time; 0: none
} EngineOptions;

typedef struct Answer {   // for one Ask
    Recommendation *item; // (n)
    int n;
    int explained;         // what follows is there:
    Recommendation *plain; // (plains) what the same model says without a thought; plains -1: it has none
    int plains;
    float *weight, rest; // (the ask's n) of the history's entries in the thought, and of all else; weight NULL: none attends
} Answer;

typedef struct Engine {
    Model *model;
    Shelf *shelf;
    EngineOptions o;
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

// Holds the model and the shelf. ERR_USAGE and ERR_DATA as rec/ has them, ERR_MEMORY where the searches would need more than
// the machine has.
int engine_open(Engine **e, Model *m, Shelf *s, const EngineOptions *o, Err *err);
// What is known of prompts goes from the one to the other, where both have the same model.
void engine_inherit(Engine *e, Engine *from);
void engine_close(Engine *e);

// answer (users): zeroed by the caller, freed by answer_free. Titles and ids that the catalogue lacks stand in the prompt or
// are passed over, as `recommend` does.
int engine_rank(Engine *e, const Ask *const *ask, Answer *const *answer, int users, Err *err);
void answer_free(Answer *a);

typedef struct EngineWork { // since it was opened
    int64_t tokens, thoughts, beam_steps, beam_rows, illegal, prompt_tokens, known_tokens;
} EngineWork;
EngineWork engine_work(const Engine *e);

#endif
