// What `sft`, `rl` and `sasrec` share: the model, the data, the examples, the run folder and the loop's callbacks.
#ifndef APP_TRAINING_H
#define APP_TRAINING_H

#include "app/run.h"
#include "data/examples.h"
#include "train/loop.h"
#include "train/optimizer.h"

typedef struct Training {
    const Options *o;
    OpenModel model;
    Dataset data;
    Rows train_rows, valid_rows;
    Examples train, valid;
    int32_t *next; // with --order users: (train.n) see LoopOptions
    Session session;
    Run run;
} Training;

// The data folder alone; refuses an --out that may not be written, and a validation that is the training data.
int training_data(Training *t, const Options *o, Err *err);

// The data and the model; then, when it can be trained as is asked, the examples. valid_rows: of the validation loss, 0 for
// all.
int training_open(Training *t, const Options *o, Err *err);
int training_examples(Training *t, int valid_rows, Err *err);
// The run folder and the session. slots: positions it must hold, from the examples.
int training_session(Training *t, int slots, Err *err);
// Closes all that is open; what is zeroed is not.
void training_close(Training *t);

// The options of the loop, with callbacks that log into the run folder and save the model there.
LoopOptions training_loop(Training *t);
OptimizerOptions training_optimizer(const Options *o);
// The report on stderr and into metrics.json.
int training_finish(Training *t, const char *stage, const LoopReport *report, Err *err);

#endif
