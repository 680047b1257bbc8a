// Training rows for a published folder whose train.csv is not there: a user's first row in valid.csv or test.csv bears the
// items before it, and those from before the first target of valid.csv are what the user's rows of train.csv were made of.
#ifndef DATA_HISTORIES_H
#define DATA_HISTORIES_H

#include "base/err.h"
#include "base/vec.h"

// The text of a train.csv, its rows ordered by their target's time, each with at most `history` predecessors. A history that is
// as long as the folder's rows may be has lost what came before it. test_csv may be NULL. Rows that cannot be read are passed
// over in silence.
int histories_train(Str *out, const char *valid_csv, const char *test_csv, int history, Err *err);

#endif
