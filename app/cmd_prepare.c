// latentr3 prepare: an interaction log into a data folder (data/prepare.h).
#include "app/commands.h"
#include "app/out.h"
#include "data/prepare.h"

#include <stdio.h>
#include <string.h>

int cmd_prepare(const Options *o, Err *err) {
    if (out_check_folder(o, o->data, err)) return -1;
    PrepareOptions p = {.input = o->data,
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
                        .strict = o->strict};
    json_t *report;
    if (prepare_run(&p, &report, err)) return -1;
    if (o->json) {
        json_dumpf(report, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(report);
    return 0;
}
