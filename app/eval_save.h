// What `eval --save DIR` keeps: results-SPLIT.jsonl (rec/results.h) and eval-SPLIT.json, which is written behind it and holds
// its hash, so that the two are always of one evaluation. Until all is measured the lines are in results-SPLIT.jsonl.part, and
// an earlier evaluation stands. report/ and the model card read them.
#ifndef APP_EVAL_SAVE_H
#define APP_EVAL_SAVE_H

#include "app/use.h"

// "DIR/results-SPLIT.jsonl.part", malloc'd. Makes DIR where it is missing (its parent exists).
char *eval_save_results(const Options *o, Err *err);

// json: the form that --json prints, taken over. Saved beside it: "configuration", "settings" (of these what moves the
// numbers, under the options' names, where it is neither the default nor what was saved with the model), "data", "model_hash"
// (of a model with weights), "versions", "results_hash", "of_folder" (whether the model is DIR's own); "row_slices" [slices_of
// each row]; "samples" [{"row", "history": [titles], "weights": [..], "rest"}, ...] of some rows; and, where LatentRATT attends
// to titles, "attention" {"rows", "rest", "positions": [{"rows", "weight"}, ...]}: the mean of explain.h's weights over up to
// 200 rows, the newest title first.
// results: the lines' path until now.
int eval_save(json_t *json, Use *u, const Options *o, const Rows *rows, const int *slices, const char *results, Err *err);

// Removes what was kept in a folder whose model is now another one: evaluations, and where the model came from.
int eval_save_forget(const char *folder, Err *err);

#endif
