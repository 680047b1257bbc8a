// The thought test (method, section 9): how much do loss and ranks depend on the thought being the user's own? The same rows
// are measured with the thoughts of other users, with zero and with noise. Where that changes nothing, the thought carries
// nothing, and no training of it can help.
#ifndef REC_THOUGHT_TEST_H
#define REC_THOUGHT_TEST_H

#include "rec/evaluate.h"
#include "rec/reader.h"
#include "rec/score.h"

// All thoughts of a row are replaced. With several, the rows of all but the last read the prompt themselves, whatever is fed
// in there, so an answer that sees them still sees some of the history.
typedef enum ThoughtSource {
    THOUGHT_OWN,
    THOUGHT_OTHER, // those of another row, thought_test_others
    THOUGHT_ZERO,
    THOUGHT_NOISE, // its own, plus normal noise of each thought's own root mean square
} ThoughtSource;
enum { THOUGHT_SOURCES = 4 };
extern const char *const thought_source_name[THOUGHT_SOURCES]; // "own", "other", "zero", "noise"

typedef struct ThoughtTest {
    int same_user; // rows for which `other` is a row of the same user: unavoidable where one user has over half of the rows
    Metric loss[THOUGHT_SOURCES], loss_gain[THOUGHT_SOURCES]; // nats a token of the true answers; minus own's
    Metrics metrics[THOUGHT_SOURCES], gain[THOUGHT_SOURCES];  // by title; minus own's, paired
} ThoughtTest;

// Loss and tokens of each row's true answer, both (rows); tokens 0: the row has none that the model knows, and does not count.
typedef int ThoughtTestLosses(void *scorer, double *loss, double *tokens, Err *err);

typedef struct ThoughtTestRun { // all borrowed
    const Rows *rows;
    const Ranker *ranker;
    const ModelConfig *config;
    Thoughts *ranked; // of what the ranker reads histories with
    const int *rank;  // (rows) by title, of an evaluation with own thoughts,
    const float *own; // (rows, thoughts, D) and those: ranked->keep
    ThoughtTestLosses *losses;
    void *scorer;
    Thoughts *scored; // of what `losses` reads histories with
    int resamples;
    uint64_t seed; // of the exchange, the noise and the intervals
} ThoughtTestRun;

// ThoughtTestLosses of a language model.
typedef struct ThoughtTestScorer {
    Reader *reader; // score_open
    const Examples *examples;
    const char *name; // of the rows, for messages
} ThoughtTestScorer;
int thought_test_losses(void *scorer, double *loss, double *tokens, Err *err);

// ERR_USAGE for one row alone; ERR_DATA where no row has tokens.
int thought_test_check(int rows, Err *err); // whether there are rows enough
int thought_test_run(ThoughtTest *t, const ThoughtTestRun *run, Err *err);

// other (rows): a fixed exchange of rows. Each gives its thought to one other row; as few as possible to one of the same
// user, and that is none where no user has over half of the rows. user (rows) numbers them from 0. Returns how many; rows >= 2.
int thought_test_others(const int *user, int rows, uint64_t seed, int *other);
// out (rows, thoughts, D): what `source` feeds in, made from own (the same shape).
void thought_test_table(ThoughtSource source, const float *own, const int *other, int rows, int thoughts, int D, uint64_t seed,
                        float *out);

// {"same_user": N, "own": {"loss": X, METRICS}, "other": {"loss": X, METRICS, "against_own": {"loss": {"other", "gain",
// "relative", "interval"}, "HR@10": ...}}, "zero": ..., "noise": ...}
json_t *thought_test_to_json(const ThoughtTest *t);

#endif
