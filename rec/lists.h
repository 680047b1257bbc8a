// A list as text, in the forms that other programs read.
#ifndef REC_LISTS_H
#define REC_LISTS_H

#include "base/vec.h"
#include "rec/ranker.h"

typedef enum ListForm { LIST_TSV, LIST_JSONL, LIST_TREC, LIST_FORMS } ListForm;
extern const char *const list_form_name[LIST_FORMS]; // "tsv", "jsonl", "trec"

// What stands before the first list of a file.
const char *lists_head(ListForm form);
// The list of a user, item (n), is appended. TSV: "user<TAB>rank<TAB>id<TAB>score<TAB>title" for each item; JSONL: {"user":
// "...", "items": [...]}; TREC: lists_put_trec.
void lists_put(Str *out, ListForm form, const Items *items, const char *user, const Recommendation *item, int n);
// A member of a JSON object: `before`, as ", \"user\": ", and the text.
void lists_put_text(Str *out, const char *before, const char *text);
// [{"id": "...", "title": "...", "score": X}, ...]
void lists_put_json(Str *out, const Items *items, const Recommendation *item, int n);
// Whether names can stand in a file of trec_eval, where a blank ends them: ERR_DATA for a name, called `what`, that has one.
int lists_check_word(const char *word, const char *what, Err *err);
// The same for a field of a TSV, which no tab or line feed may be in.
int lists_check_field(const char *text, const char *what, Err *err);
// The ids of all items that a list may hold, and of the rows' targets (rows: or NULL).
int lists_check_trec(const Items *items, const Rows *rows, Err *err);
// "topic Q0 id rank score latentr3" for each title, under the id of the first item with it. The score falls with the rank, so
// that no tie changes the order. left_out (items), or NULL: `mark` at the first item of a title that is not to be there.
void lists_put_trec(Str *out, const Items *items, const char *topic, const Recommendation *item, int n, const int *left_out,
                    int mark);

#endif
