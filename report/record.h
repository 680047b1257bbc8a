// What a folder tells of a run: metrics.json and log.jsonl of a training, eval-SPLIT.json and results-SPLIT.jsonl of `eval
// --save`. Either pair may be missing. The files may come from anywhere: forms and sizes are checked.
#ifndef REPORT_RECORD_H
#define REPORT_RECORD_H

#include "base/json.h"
#include "base/vec.h"
#include "data/dataset.h"

enum { RECORD_SAMPLES = 12 };           // of "samples", the first ones are read
enum { RECORD_JSON_BYTES = 256 << 20 }; // most of a JSON file: eval-SPLIT.json has some 10 bytes for each row

typedef struct Record {
    char *folder;
    const char *name;   // the folder's last part; borrowed from it
    char *measured;     // the model that the evaluation is of, where the folder holds another one; else NULL
    json_t *metrics;    // or NULL
    json_t *log;        // array of events, or NULL; NULL too, with a warning, beyond 128 MiB
    int of_items;       // the folder's model is a SASRec: its losses are of an item, not of a token
    json_t *evaluation; // or NULL
    // Of the evaluation's rows; n 0: no evaluation.
    json_t *results; // array of lines; "items" only of rows that "samples" names
    int n, list;     // list: items of each list
    Row *row;        // (n) user and target, borrowed from `results`
    int *rank;       // (n) by title, 0: a miss
    int *slices;     // (n) bits of rec/slices.h; or NULL
    int hashed;      // users and targets stand under record_hash, as `experiment --records` leaves them
} Record;

// ERR_DATA, naming file and line, where a file is none of ours; ERR_DATA too where the folder has nothing of a run.
int record_open(Record *r, const char *folder, const char *split, Err *err);
void record_close(Record *r); // harmless after a failure

// The number at names[0] / names[1] / ... (NULL ends them) of a value; NAN where there is none.
double record_number(const json_t *value, ...) __attribute__((sentinel));
// The same for a text; NULL where there is none. Borrowed.
const char *record_text(const json_t *value, ...) __attribute__((sentinel));

// Whether a config.json (may be NULL) is that of a SASRec.
int record_is_sasrec(const json_t *config);

// The values of one curve, e.g. "step", "loss": x, y (returned number) malloc'd. None: 0, and NULL.
int record_curve(const Record *r, const char *event, const char *name, double **x, double **y);

// What stands for a user, a title or an id where it is not to be told.
enum { RECORD_HASH = 12 }; // hex digits: of a million users no two are one
void record_hash(char hex[RECORD_HASH + 1], const char *name);

// What an evaluation ranked among: a name of rec/protocol.h, or "unknown".
const char *record_protocol(const json_t *evaluation);
// The same as the end of a sentence: "all items", "drawn candidates (uniform-100)", with what --exclude-seen left out.
void record_put_among(Str *s, const json_t *evaluation);
// Whether both are evaluations of the same rows, ranked among the same items: of one catalogue, by one protocol, with or
// without what was seen. ERR_DATA naming what differs where they are not.
int record_comparable(const Record *a, const Record *b, Err *err);
// Whether the train rows beside them, which the baselines count, were the same.
int record_same_train(const Record *a, const Record *b);

#endif
