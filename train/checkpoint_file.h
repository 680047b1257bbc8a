// The file of one checkpoint, "training.state": a state in JSON and the optimizer's bytes (optimizer.h), every block under a
// hash.
#ifndef TRAIN_CHECKPOINT_FILE_H
#define TRAIN_CHECKPOINT_FILE_H

#include "base/file.h"
#include "base/json.h"

typedef struct CheckpointFile {
    MapFile file;
    json_t *state;    // an object
    const void *data; // (bytes) into the file, aligned as the file to 64 bytes
    size_t bytes;
} CheckpointFile;

// Appears whole or not at all, flushed to the disk.
int checkpoint_file_write(const char *path, const char *state, const void *data, size_t bytes, Err *err);

// Nothing of the file is used before all of it was found as it was written. ERR_DATA, naming the file and the place.
int checkpoint_file_open(CheckpointFile *c, const char *path, Err *err);
void checkpoint_file_close(CheckpointFile *c);
// The same over bytes that stay with the caller.
int checkpoint_file_parse(CheckpointFile *c, const char *bytes, size_t size, const char *name, Err *err);

#endif
