// Configuration and hashes of all runs side by side.
#include "base/arena.h"
#include "report/page_parts.h"

#include <stdlib.h>
#include <string.h>

// Any value as text, malloc'd; "–" where there is none.
static char *text_of(const json_t *value) {
    static const char dash[] = "\xe2\x80\x93";
    if (!value || json_is_null(value)) return mem_strndup(dash, sizeof dash - 1);
    if (json_is_string(value)) return mem_strndup(json_string_value(value), strlen(json_string_value(value)));
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    return text ? text : mem_strndup("?", 1);
}

static void row(Page *p, const char *name, const json_t *const *value, int code) {
    char *text[PAGE_RUNS];
    int differs = 0;
    for (int i = 0; i < p->runs; i++) {
        text[i] = text_of(value[i]);
        differs |= strcmp(text[i], text[0]) != 0;
    }
    str_printf(p->out, "<tr%s><th scope=\"row\">", differs ? " class=\"differs\"" : "");
    html_text(p->out, name);
    str_puts(p->out, "</th>");
    for (int i = 0; i < p->runs; i++) {
        str_puts(p->out, code ? "<td><code>" : "<td>");
        html_text(p->out, text[i]);
        str_puts(p->out, code ? "</code></td>" : "</td>");
        free(text[i]);
    }
    str_puts(p->out, "</tr>\n");
}

// The members of each run's object under their names, in the order in which they come.
static void rows(Page *p, const json_t *const *object, int code) {
    json_t *seen = json_object();
    for (int i = 0; i < p->runs; i++) {
        const char *name;
        json_t *unused;
        json_object_foreach((json_t *)object[i], name, unused) {
            const json_t *value[PAGE_RUNS];
            if (json_object_get(seen, name)) continue;
            json_object_set_new(seen, name, json_true());
            for (int j = 0; j < p->runs; j++) value[j] = json_object_get(object[j], name);
            row(p, name, value, code);
        }
    }
    json_decref(seen);
}

typedef enum From { TRAINING, EVALUATION, EITHER } From; // metrics.json, eval-SPLIT.json, the first where there is one

static const json_t *from_of(const Record *r, From from) {
    return from == TRAINING || (from == EITHER && r->metrics) ? r->metrics : r->evaluation;
}

// One table: an object of each run, and n values `more` beside it.
static void table(Page *p, const char *title, From from, const char *member, const char *const *more, int n, int code) {
    const json_t *object[PAGE_RUNS];
    size_t members = 0;
    for (int i = 0; i < p->runs; i++) members += json_object_size(json_object_get(from_of(&p->run[i], from), member));
    if (!members) return;
    str_printf(p->out, "<h3>%s</h3>\n<div class=\"wide\"><table class=\"settings\">\n<thead><tr><th></th>", title);
    for (int i = 0; i < p->runs; i++) {
        object[i] = json_object_get(from_of(&p->run[i], from), member);
        if (!json_is_object(object[i])) object[i] = NULL;
        str_puts(p->out, "<th scope=\"col\">");
        page_put_name(p->out, p, i);
        str_puts(p->out, "</th>");
    }
    str_puts(p->out, "</tr></thead>\n<tbody>\n");
    rows(p, object, code);
    for (int k = 0; k < n; k++) {
        const json_t *value[PAGE_RUNS];
        for (int i = 0; i < p->runs; i++) value[i] = json_object_get(from_of(&p->run[i], from), more[k]);
        row(p, more[k], value, code);
    }
    page_table_end(p);
}

void page_settings(Page *p) {
    static const char *const before[] = {"model_hash_before"}, *const hash[] = {"model_hash", "results_hash"};
    page_section(p, "Configuration and hashes", "Bold: not the same in all runs.");
    table(p, "Options of the training", TRAINING, "configuration", NULL, 0, 0);
    table(p, "Options of the evaluation", EVALUATION, "configuration", NULL, 0, 0);
    table(p, "Files of the training", TRAINING, "data", before, 1, 1);
    table(p, "Files of the evaluation", EVALUATION, "data", hash, 2, 1);
    table(p, "Versions", EITHER, "versions", NULL, 0, 0);
    table(p, "Environment", TRAINING, "environment", NULL, 0, 0);
    page_section_end(p);
}
