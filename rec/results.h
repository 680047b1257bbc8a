// What an evaluation leaves row by row: JSON lines, which another evaluation can be held against, and files for trec_eval.
#ifndef REC_RESULTS_H
#define REC_RESULTS_H

#include "base/file.h"
#include "base/vec.h"
#include "rec/baseline.h"

typedef struct ResultsPaths { // each may be NULL
    // {"row", "user", "target", "target_id", "rank", "rank_item", "list", "catalogue",
    //  "items": [{"id", "title", "score"}, ...]}
    const char *lines;
    const char *trec_run;   // lists_put_trec, the row's number for a topic
    const char *trec_qrels; // "row 0 id 1". Ids in both: of the first item with the title, so the metrics are those by title. A
                            // target that was hit under another one's index text goes by that one's id
    const char *sampled;    // no path: the protocol that drew the candidates, which the lines then name; NULL: among all items
} ResultsPaths;

typedef struct ResultsAmong { // which items took part
    char catalogue[33];       // hash of the titles that can be recommended
    int exclude_seen;         // lines then have "exclude_seen": true behind "catalogue"
} ResultsAmong;

void results_among(ResultsAmong *among, const Items *items, int exclude_seen);

enum { RESULTS_FILES = 3 };
typedef struct Results {
    const Items *items;
    ResultsAmong among;
    OutFile file[RESULTS_FILES];
    int open[RESULTS_FILES];
    int list;            // titles of a list that count, evaluate_list
    const char *sampled; // borrowed
    Str line;
} Results;

int results_open(Results *r, const Items *items, const Rows *rows, const ResultsAmong *among, int list,
                 const ResultsPaths *paths, Err *err);
// item (n): the list of row `number`; rank: where its target stands, 0 for a miss; target: the item that it stands under by
// title, -1: no item of the catalogue. seen (items), or NULL: number + 1 at the first item of a title that is no place by
// title.
void results_row(Results *r, const Row *row, int number, const int rank[MATCHES], int target, const Recommendation *item, int n,
                 const int *seen);
int results_commit(Results *r, Err *err); // closes in either case: all files appear, or those that can
void results_abandon(Results *r);         // closes and removes; harmless after a commit

// The ranks by title of another evaluation's lines: rank (rows->n), 0 for a miss; *list: how many titles its lists
// have, or where they do not say, the items of the longest. ERR_DATA naming the line where they are not of the same rows, not
// ranked among all items, or among others than these (lines without "catalogue", of older versions, do not say).
int results_read(const char *path, const Rows *rows, const ResultsAmong *among, int *rank, int *list, Err *err);
int results_parse(const char *data, size_t bytes, const char *name, const Rows *rows, const ResultsAmong *among, int *rank,
                  int *list, Err *err);

#endif
