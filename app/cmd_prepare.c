// latentr3 prepare: an interaction log into a data folder (data/prepare.h).
#include "app/commands.h"
#include "app/out.h"
#include "base/log.h"
#include "data/dataset.h"
#include "data/prepare.h"

#include <stdio.h>
#include <string.h>

// Whether a split that was written has no rows: what comes next would refuse it.
static int is_short(const Options *o, const json_t *report) {
    const json_t *rows = json_object_get(json_object_get(report, "counts"), "rows");
    return (dataset_has(o->out, "valid.csv") && !json_integer_value(json_object_get(rows, "valid"))) ||
           (dataset_has(o->out, "test.csv") && !json_integer_value(json_object_get(rows, "test")));
}

// What the prompt will say, and what comes next.
static void say_next(const Options *o, const json_t *report) {
    const char *category = json_string_value(json_object_get(report, "category"));
    if (o->category || !category)
        log_info("wrote %s", o->out);
    else
        log_info("wrote %s; the prompt calls an item \"%s\": --category says another", o->out, category);
    if (is_short(o, report)) return;
    if (dataset_has(o->out, "train.csv"))
        log_next("latentr3 sft --model MODEL --data %s --out runs/sft", o->out);
    else
        log_next("the same with --train-from-histories, which makes train.csv");
}

// The first of the given options that filter, split or name what a published folder has not, or NULL.
static const char *idle_if_split(const Options *o) {
    static const char *const name[] = {"items",   "user-column", "item-column", "time-column", "rating-column", "title-column",
                                       "columns", "item-text",   "title-rules", "from",        "until",         "min-items",
                                       "split",   "k-core",      "tie-order",   "title-years", "min-rating",    "max-history"};
    const size_t names = sizeof name / sizeof *name - (o->train_from_histories != 0); // which has histories to shorten
    for (size_t i = 0; i < names; i++)
        if (options_changed(o, name[i])) return name[i];
    return NULL;
}

static PrepareOptions options_of(const Options *o) {
    return (PrepareOptions){.input = o->data,
                            .items = o->item_file,
                            .out = o->out,
                            .format = o->format,
                            .column = {[RECORD_USER] = o->user_column,
                                       [RECORD_ITEM] = o->item_column,
                                       [RECORD_TIME] = o->time_column,
                                       [RECORD_RATING] = o->rating_column,
                                       [RECORD_TITLE] = o->title_column,
                                       [RECORD_TEXT] = o->item_text_column,
                                       [RECORDS_ORDER] = o->columns},
                            .category = o->category,
                            .title_rules = o->title_rules,
                            .from = o->from,
                            .until = o->until,
                            .min_items = o->min_items,
                            .k_core = o->k_core,
                            .history = o->max_history,
                            .min_rating = o->min_rating,
                            .split = o->split,
                            .tie_order = (uint64_t)o->tie_order,
                            .drop_years = !strcmp(o->title_years, "drop"),
                            .log_ids = !strcmp(o->item_ids, "log"),
                            .train_from_histories = o->train_from_histories,
                            .strict = o->strict,
                            .idle_if_split = idle_if_split(o)};
}

char *cmd_prepare_beside(const Options *o) {
    const PrepareOptions p = options_of(o);
    return prepare_beside(&p);
}

// `catalog` and a server's changes of the catalogue stand in no log.
static void warn_changed(const char *folder) {
    json_t *was;
    if (dataset_json(&was, folder, NULL) > 0 && json_object_get(json_object_get(was, "counts"), "removed_items"))
        log_warn("%s: its catalogue was changed since; what was added, removed or given another text there is lost", folder);
    json_decref(was);
}

int cmd_prepare(const Options *o, Err *err) {
    if (out_check_folder(o, err)) return -1;
    if (o->force) warn_changed(o->out);
    const PrepareOptions p = options_of(o);
    json_t *report;
    if (prepare_run(&p, &report, err)) return -1;
    if (o->json) {
        json_dumpf(report, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    say_next(o, report);
    json_decref(report);
    return 0;
}
