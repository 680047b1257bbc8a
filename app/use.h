// What `eval`, `recommend` and `score` share: an opened model and data folder, and the recommender over both.
#ifndef APP_USE_H
#define APP_USE_H

#include "app/model_io.h"
#include "data/dataset.h"
#include "rec/recommend.h"

typedef struct Use {
    Dataset data;
    OpenModel model;
    Catalogue catalogue;
    Recommender recommender;
    int opened; // how many of the above are open, in this order
} Use;

int use_open(Use *u, const Options *o, Err *err); // data and model
// The catalogue's trie and a recommender of o->beams beams; k items for at most `users` users at a time.
int use_recommender(Use *u, const Options *o, int k, int users, Err *err);
void use_close(Use *u); // safe after a failure

// Compact JSON and a line end on stdout.
void use_print(const json_t *json);

#endif
