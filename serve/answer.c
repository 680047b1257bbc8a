#include "serve/answer.h"

#include <string.h>

static void text(Str *out, const char *s) {
    str_json(out, s, strlen(s));
}

void answer_error(Str *out, int status, const char *message) {
    str_printf(out, "{\"error\": {\"status\": %d, \"message\": ", status);
    text(out, message);
    str_puts(out, "}}\n");
}

void answer_error_text(Str *out, const char *message) {
    str_puts(out, "{\"error\": ");
    text(out, message);
    str_puts(out, "}\n");
}

void answer_item(Str *out, const Shelf *s, int item) {
    const Items *items = &s->data.items;
    str_puts(out, "{\"id\": ");
    text(out, items->id[item]);
    str_puts(out, ", \"title\": ");
    text(out, items->title[item]);
    if (items->text[item]) {
        str_puts(out, ", \"text\": ");
        text(out, items->text[item]);
    }
    str_printf(out, ", \"removed\": %s, \"interactions\": %d}", items->removed[item] ? "true" : "false",
               shelf_interactions(s, item));
}

// ---- /v1/recommend ----------------------------------------------------------------------------------------------------

static void ranked(Str *out, const Items *items, const Recommendation *item, int n) {
    str_puts(out, "[");
    for (int i = 0; i < n; i++) {
        str_printf(out, "%s{\"rank\": %d, \"id\": ", i ? ", " : "", i + 1);
        text(out, items->id[item[i].item]);
        str_puts(out, ", \"title\": ");
        text(out, items->title[item[i].item]);
        str_printf(out, ", \"score\": %.9g}", (double)item[i].score);
    }
    str_puts(out, "]");
}

// Entries of the history that the catalogue or the model lacks, as they were given.
static void unknown(Str *out, const Engine *e, const Ask *ask) {
    int n = 0;
    str_puts(out, "[");
    for (int i = 0; i < ask->n; i++) {
        const char *given = ask->history[i];
        const int item = items_find(&e->shelf->data.items, given, ask->by_id);
        if (item >= 0 && engine_knows_item(e, item)) continue;
        if (n++) str_puts(out, ", ");
        text(out, given);
    }
    str_puts(out, "]");
}

// The most popular items under the same allow and deny lists would be another search; these are those of all users.
static void popular(Str *out, const Shelf *s, int n) {
    const Items *items = &s->data.items;
    str_puts(out, "[");
    for (int i = 0; i < n && i < s->populars; i++) {
        str_puts(out, i ? ", {\"id\": " : "{\"id\": ");
        text(out, items->id[s->popular[i]]);
        str_puts(out, ", \"title\": ");
        text(out, items->title[s->popular[i]]);
        str_printf(out, ", \"interactions\": %d}", shelf_interactions(s, s->popular[i]));
    }
    str_puts(out, "]");
}

static void explained(Str *out, const Shelf *s, const Ask *ask, const Answer *a) {
    str_puts(out, ", \"explain\": {\"thought\": ");
    if (a->weight) {
        str_puts(out, "{\"history\": [");
        for (int i = 0; i < ask->n; i++) str_printf(out, "%s%.6g", i ? ", " : "", (double)a->weight[i]);
        str_printf(out, "], \"rest\": %.6g}", (double)a->rest);
    } else {
        str_puts(out, "null");
    }
    str_puts(out, ", \"without_thought\": ");
    if (a->plains >= 0)
        ranked(out, &s->data.items, a->plain, a->plains);
    else
        str_puts(out, "null");
    str_puts(out, ", \"popular\": ");
    popular(out, s, ask->k);
    str_puts(out, "}");
}

static void user(Str *out, const Engine *e, const Ask *ask, const Answer *a) {
    const Shelf *s = a->shelf;
    str_puts(out, "\"items\": ");
    ranked(out, &s->data.items, a->item, a->n);
    str_puts(out, ", \"unknown\": ");
    unknown(out, e, ask);
    if (a->explained) explained(out, s, ask, a);
}

// ---- Open Inference Protocol --------------------------------------------------------------------------------------------

// Rows shorter than the longest list end in empty texts and scores of 0: a tensor has one shape.
static void tensor(Str *out, const Job *job, int width, RequestOutput what) {
    str_printf(out, "{\"name\": \"%s\", \"datatype\": \"%s\", \"shape\": [%d, %d], \"data\": [", request_output[what],
               what == REQUEST_SCORE ? "FP32" : "BYTES", job->request.n, width);
    for (int u = 0, first = 1; u < job->request.n; u++)
        for (int i = 0; i < width; i++, first = 0) {
            const Answer *a = &job->answer[u];
            const Items *items = &a->shelf->data.items;
            if (!first) str_puts(out, ", ");
            if (what == REQUEST_SCORE)
                str_printf(out, "%.9g", i < a->n ? (double)a->item[i].score : 0);
            else if (i >= a->n)
                str_puts(out, "\"\"");
            else
                text(out, what == REQUEST_TITLE ? items->title[a->item[i].item] : items->id[a->item[i].item]);
        }
    str_puts(out, "]}");
}

static void inferred(Str *out, const Job *job, const Engine *e) {
    int width = 0;
    for (int u = 0; u < job->request.n; u++)
        if (job->answer[u].n > width) width = job->answer[u].n;
    str_puts(out, "{\"model_name\": ");
    text(out, e->model->name);
    str_printf(out, ", \"model_version\": \"%s\"", e->model->version);
    if (job->request.id) {
        str_puts(out, ", \"id\": ");
        str_json(out, json_string_value(job->request.id), json_string_length(job->request.id));
    }
    str_puts(out, ", \"outputs\": [");
    for (int what = 0, n = 0; what < REQUEST_OUTPUTS; what++) {
        if (!(job->request.outputs & 1 << what)) continue;
        if (n++) str_puts(out, ", ");
        tensor(out, job, width, (RequestOutput)what);
    }
    str_puts(out, "]}\n");
}

void answer_print(Str *out, const Job *job, const Engine *e, double now) {
    const Request *r = &job->request;
    if (r->form == REQUEST_INFER) {
        inferred(out, job, e);
        return;
    }
    str_puts(out, "{\"model\": ");
    text(out, e->model->name);
    str_printf(out, ", \"model_version\": \"%s\", \"queue_seconds\": %.6f, \"seconds\": %.6f, ", e->model->version,
               job->begun - job->queued, now - job->queued);
    if (r->form == REQUEST_ONE) user(out, e, &r->ask[0], &job->answer[0]);
    if (r->form == REQUEST_SEVERAL) str_puts(out, "\"users\": [");
    for (int u = 0; r->form == REQUEST_SEVERAL && u < r->n; u++) {
        str_puts(out, u ? ", {" : "{");
        user(out, e, &r->ask[u], &job->answer[u]);
        str_puts(out, "}");
    }
    if (r->form == REQUEST_SEVERAL) str_puts(out, "]");
    str_puts(out, "}\n");
}
