// The checkpoints of a training run, so that it goes on bit for bit after whatever ended it. OUT/checkpoints holds
//
//     step-0000000040/training.state     the loop's state, weights that train and moments (checkpoint_file.h)
//     step-0000000040/best.safetensors   the best model until then, a link to the file that is kept in OUT
//     latest                             the name of the one to go on from
//
// A checkpoint is written under a temporary name, flushed, read again and compared, renamed, and `latest` moves last: what it
// names is whole whenever the program ends. Those that `keep` no longer wants go after that.
#ifndef TRAIN_CHECKPOINTS_H
#define TRAIN_CHECKPOINTS_H

#include "train/checkpoint_file.h"
#include "train/optimizer.h"

#include <pthread.h>

typedef struct CheckpointJob { // one save: what was copied, and what became of it
    char *data;                // (bytes) of the optimizer
    size_t bytes;
    char *state;     // JSON
    char *temporary; // the folder while it is written
    int64_t step;
    int status;
    Err err;
} CheckpointJob;

typedef struct Checkpoints {
    char *folder; // OUT/checkpoints
    int lock;     // on OUT: the second run into one folder is refused
    int keep;     // how many stay, at least 1
    int64_t last; // the step of the last one; -1: none
    // What the owner of the run adds to each, taken when the weights are: a JSON object under "run". NULL with err: nothing is
    // saved. The callback may be NULL.
    json_t *(*note)(void *context, Err *err);
    void *context;
    const char *best;     // the best model so far, borrowed; NULL: none yet
    int log_fd;           // flushed with each checkpoint; -1: none
    CheckpointFile found; // the one to go on from; found.state NULL: none
    char *found_best;     // its best model, or NULL
    pthread_t thread;
    int running;
    CheckpointJob job;
} Checkpoints;

// Takes `out` (which exists) for this run, and removes what an earlier one left half written there.
int checkpoints_open(Checkpoints *c, const char *out, int keep, Err *err);
// Waits for the save under way, whose error is lost.
void checkpoints_close(Checkpoints *c);

// Finds the one to go on from: the one `latest` names, else, with a warning, the newest before it that is as it was written.
// ERR_DATA where there are some, and none is. found.state stays NULL where there is none.
int checkpoints_find(Checkpoints *c, Err *err);
// Removes all: this run begins at its first step.
int checkpoints_clear(Checkpoints *c, Err *err);

// Copies what trains and its moments (as many bytes of memory as optimizer_bytes says, while the run lasts), and writes
// the copy in a thread of its own: training goes on and changes nothing of it. A save that is still under way is waited for
// first, and its error is this call's. `state` is taken over. A second save of one step does nothing.
int checkpoints_save(Checkpoints *c, Optimizer *o, int64_t step, json_t *state, Err *err);
int checkpoints_wait(Checkpoints *c, Err *err);

// The optimizer as it was in `found`, which is closed; *state (owned by the caller) what was given to checkpoints_save.
int checkpoints_restore(Checkpoints *c, Optimizer *o, json_t **state, Err *err);

#endif
