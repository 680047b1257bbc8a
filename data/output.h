// The files of a data folder while they are written: they take their places together, behind dataset.json with their hashes.
#ifndef DATA_OUTPUT_H
#define DATA_OUTPUT_H

#include "base/file.h"
#include "base/json.h"
#include "data/split.h"

enum { OUTPUT_INFO = SPLITS, OUTPUTS }; // a file a split, and info.txt
extern const char *const output_name[OUTPUTS];

// Nobody's files are overwritten but our own: a folder that is not empty must hold a dataset.json.
int output_check(const char *folder, Err *err);

typedef struct Output {
    const char *folder;
    OutFile file[OUTPUTS];
    unsigned present; // bits
} Output;

// present: 1 << split, 1 << OUTPUT_INFO of the files to write. output_close is due in either case.
int output_open(Output *o, const char *folder, unsigned present, Err *err);
// All files are written beside their places before the first takes its place: a disk that fills up meanwhile leaves an earlier
// folder as it was. The hashes of the files go into `report`, which becomes dataset.json.
int output_commit(Output *o, json_t *report, Err *err);
void output_close(Output *o);

#endif
