// What `eval`, `recommend`, `score` and `bench` share: an opened model and data folder, and the recommender over both.
#ifndef APP_USE_H
#define APP_USE_H

#include "app/model_io.h"
#include "data/sequences.h"
#include "rec/baseline.h"
#include "rec/ground.h"
#include "rec/recommend.h"
#include "rec/sasrec.h"

typedef struct UseBaseline {
    Baseline counted;
    BaselineRanker ranker;
} UseBaseline;

typedef struct UseSasrec {
    int32_t *token; // (items): sasrec_model_tokens
    SasrecRanker ranker;
} UseSasrec;

typedef struct UseGuide { // --guidance: a baseline, or a SASRec beside the model
    Ranker ranker;
    UseBaseline baseline;
    UseSasrec sasrec;
    OpenModel model;
    int opened; // the model
} UseGuide;

typedef struct Use {
    Dataset data;
    OpenModel model;
    Catalogue catalogue;
    Recommender recommender;
    Ground ground; // in its place with --decode ground
    int opened;    // how many of the above are open, in this order
    UseSasrec sasrec;
    Sequences histories; // use_histories
    Rows train;          // use_train; and whether it was asked for
    int train_opened;
    UseBaseline baseline; // what stands in for the model
    UseGuide guide;
} Use;

// Data and model. Where --model is the name of a baseline (rec/baseline.h), `eval` and `recommend` need no model.
int use_open(Use *u, const Options *o, Err *err);
// u->train: the train rows, read once; none, and a warning, where the folder has no train.csv.
int use_train(Use *u, Err *err);
// The rows of a split again, with users' whole histories: from the rows of the splits before it (train.csv and, for test,
// valid.csv) and from one another, so they must be there without a gap: rows_sample comes afterwards. Free `whole` before both.
int use_histories(Use *u, const Rows *rows, const char *split, Rows *whole, Err *err);
int use_grounds(const Options *o); // --decode ground: all items are ranked
// What --model names as a Ranker of lists of k items, for at most `users` users at a time. Valid until use_close.
int use_ranker(Use *u, const Options *o, int k, int users, Ranker *r, Err *err);
// Whether --model names a language model, which reads titles as they are: no baseline, no SASRec.
int use_reads_titles(const Use *u);
// What reads the histories of a language model's ranker, and what its beams did.
Reader *use_reader(Use *u, const Options *o); // of a language model
Thoughts *use_thoughts(Use *u, const Options *o);
const BeamStats *use_stats(const Use *u, const Options *o);
// The catalogue's trie and a recommender of o->beams beams; k items for at most `users` users at a time.
int use_recommender(Use *u, const Options *o, int k, int users, Err *err);
void use_close(Use *u); // safe after a failure

// Where options were given that change nothing here: a warning for each of `names` (NULL ends them), as the defaults of an
// experiment may name them for other steps. why: "with a SASRec".
void use_warn_idle(const Options *o, const char *const *names, const char *why);
// The same of the options that are about titles, where no list comes of them.
void use_warn_titles(const Options *o, const char *why);
void use_warn_latent(const Options *o, const Llm *llm); // those of LatentRATT, where the model has none

// Compact JSON and a line end on stdout.
void use_print(const json_t *json);

#endif
