#include "report/page.h"
#include "report/page_parts.h"
#include "report/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- parts ---------------------------------------------------------------------------------------------------------------

void page_section(Page *p, const char *title, const char *note) {
    str_printf(p->out, "<section>\n<h2>%s</h2>\n", title);
    if (note) str_printf(p->out, "<p class=\"note\">%s</p>\n", note);
}

void page_section_end(Page *p) {
    str_puts(p->out, "</section>\n");
}

// The folder's last part, or all of it where another run's is the same; and the model that was measured, where that is not the
// folder's own.
static void put_plain_name(Str *out, const Page *p, int run) {
    const Record *r = &p->run[run];
    const char *name = r->name;
    for (int i = 0; i < p->runs; i++)
        if (i != run && !strcmp(p->run[i].name, name)) name = r->folder;
    str_puts(out, name);
    if (r->measured) str_printf(out, " (metrics of %s)", r->measured);
}

// A line may break where names are put together of words: a table with many runs has no room for all of one.
void page_put_name(Str *out, const Page *p, int run) {
    Str name = {0}, text = {0};
    put_plain_name(&name, p, run);
    html_text(&text, name.data);
    for (const char *c = text.data; c && *c; c++) {
        str_append(out, c, 1);
        if (strchr("_/.=", *c)) str_puts(out, "<wbr/>");
    }
    str_free(&name), str_free(&text);
}

void page_name_cell(Page *p, int run) {
    str_puts(p->out, "<th scope=\"row\">");
    page_put_name(p->out, p, run);
    str_puts(p->out, "</th>");
}

void page_table(Page *p, const char *const *head, int heads, int texts) {
    str_puts(p->out, "<div class=\"wide\"><table>\n<thead><tr>");
    for (int i = 0; i < heads; i++) str_printf(p->out, "<th scope=\"col\"%s>%s</th>", i < texts ? "" : " class=\"n\"", head[i]);
    str_puts(p->out, "</tr></thead>\n<tbody>\n");
}

void page_table_end(Page *p) {
    str_puts(p->out, "</tbody></table></div>\n");
}

void page_text_cell(Page *p, const char *text) {
    str_puts(p->out, "<td>");
    html_text(p->out, text ? text : "\xe2\x80\x93");
    str_puts(p->out, "</td>");
}

void page_number_cell(Page *p, double x, int decimals) {
    str_puts(p->out, "<td class=\"n\">");
    html_number(p->out, x, decimals);
    str_puts(p->out, "</td>");
}

void page_value_cell(Page *p, PageValue v, int is_signed) {
    void (*number)(Str *, double, int) = is_signed ? html_signed : html_number;
    str_puts(p->out, "<td class=\"n\">");
    number(p->out, v.value, 4);
    if (isfinite(v.low) && isfinite(v.high)) {
        str_puts(p->out, "<span class=\"interval\">");
        number(p->out, v.low, 4);
        str_puts(p->out, " .. ");
        number(p->out, v.high, 4);
        str_puts(p->out, "</span>");
    }
    str_puts(p->out, "</td>");
}

PageValue page_interval(double value, const json_t *pair) {
    const json_t *low = json_array_get(pair, 0), *high = json_array_get(pair, 1);
    return (PageValue){value, json_is_number(low) ? json_number_value(low) : NAN,
                       json_is_number(high) ? json_number_value(high) : NAN};
}

PageValue page_value(const json_t *metrics, const char *name) {
    return page_interval(record_number(metrics, name, NULL), json_object_get(json_object_get(metrics, "interval"), name));
}

const Record *page_first(const Page *p, const char *member) {
    for (int i = 0; i < p->runs; i++)
        if (member ? json_object_get(p->run[i].evaluation, member) != NULL : p->run[i].evaluation != NULL) return &p->run[i];
    return NULL;
}

// ---- runs ----------------------------------------------------------------------------------------------------------------

static void legend(Page *p) {
    str_puts(p->out, "<ul class=\"legend\">\n");
    for (int i = 0; i < p->runs; i++) {
        str_puts(p->out, "<li>");
        plot_swatch(p->out, i);
        page_put_name(p->out, p, i);
        str_puts(p->out, "</li>\n");
    }
    str_puts(p->out, "</ul>\n");
}

typedef enum Unit { TEXT, END, COUNT, REAL, SECONDS, MEBIBYTES } Unit;

typedef struct Fact { // of metrics.json, or of the evaluation
    const char *label, *name;
    Unit unit;
    int of_evaluation;
} Fact;

// Of a training.
static const char *end_of(const json_t *metrics) {
    if (!record_text(metrics, "stage", NULL) && !record_text(metrics, "command", NULL)) return "\xe2\x80\x93";
    if (json_is_true(json_object_get(metrics, "interrupted"))) return "stopped before its end";
    return json_object_get(metrics, "steps") ? "yes" : "no: it was killed, or goes on";
}

static void fact(Page *p, const Fact *f, const Record *r) {
    const json_t *from = f->of_evaluation ? r->evaluation : r->metrics;
    const double x = f->name ? record_number(from, f->name, NULL) : (double)NAN;
    str_puts(p->out, "<td class=\"n\">");
    switch (f->unit) {
    case TEXT: html_text(p->out, record_text(from, f->name, NULL) ? record_text(from, f->name, NULL) : "\xe2\x80\x93"); break;
    case END: html_text(p->out, end_of(from)); break;
    case COUNT: html_number(p->out, x, 0); break;
    case REAL: html_number(p->out, x, 4); break;
    case SECONDS: html_duration(p->out, x); break;
    case MEBIBYTES: html_number(p->out, x / (1 << 20), 0); break;
    }
    str_puts(p->out, "</td>");
}

static void stages(Page *p) {
    static const Fact facts[] = {{"stage", "command", TEXT, 0},
                                 {"came to its end", NULL, END, 0},
                                 {"rows over all passes", "rows", COUNT, 0},
                                 {"steps", "steps", COUNT, 0},
                                 {"time", "seconds", SECONDS, 0},
                                 {"tokens a second", "tokens_per_s", COUNT, 0},
                                 {"processor time, all threads", "cpu_seconds", SECONDS, 0},
                                 {"most memory, MiB", "peak_bytes", MEBIBYTES, 0},
                                 {"validation before", "validation_loss_before", REAL, 0},
                                 {"validation of the model kept", "validation_loss_kept", REAL, 0},
                                 {"kept at step", "kept_step", COUNT, 0},
                                 {"evaluation: time", "seconds", SECONDS, 1},
                                 {"evaluation: time a user", "seconds_per_user", SECONDS, 1},
                                 {"evaluation: processor time", "cpu_seconds", SECONDS, 1}};
    const char *head[PAGE_RUNS + 1] = {""};
    Str name[PAGE_RUNS] = {{0}};
    for (int i = 0; i < p->runs; i++) {
        page_put_name(&name[i], p, i);
        head[i + 1] = name[i].data;
    }
    page_section(p, "Time and cost of each stage",
                 "Validation is the loss in nats a token (of a SASRec: an item); of the command sasrec it is 1 - NDCG@10.");
    page_table(p, head, p->runs + 1, 1);
    for (size_t f = 0; f < sizeof facts / sizeof *facts; f++) {
        str_printf(p->out, "<tr><th scope=\"row\">%s</th>", facts[f].label);
        for (int i = 0; i < p->runs; i++) fact(p, &facts[f], &p->run[i]);
        str_puts(p->out, "</tr>\n");
    }
    page_table_end(p);
    page_section_end(p);
    for (int i = 0; i < p->runs; i++) str_free(&name[i]);
}

// ---- curves --------------------------------------------------------------------------------------------------------------

// What has one unit: RL's loss is a surrogate, sasrec validates by its lists, and a SASRec's losses are of items, whatever
// trains it.
enum { OF_RL = 1, OF_SASREC = 2, OF_OTHERS = 4, OF_TOKENS = 8, OF_ITEMS = 16, OF_ALL = 31 };

typedef struct Curve {
    const char *caption, *event, *name;
    int of; // bits
} Curve;

static int has_curve(const Record *r, const Curve *c) {
    const char *command = record_text(r->metrics, "command", NULL);
    const int is = command && !strcmp(command, "rl") ? OF_RL : command && !strcmp(command, "sasrec") ? OF_SASREC : OF_OTHERS;
    return (c->of & is) && (c->of & (r->of_items ? OF_ITEMS : OF_TOKENS));
}

static void curve(Page *p, const Curve *c) {
    PlotLine line[PAGE_RUNS];
    double *x[PAGE_RUNS] = {NULL}, *y[PAGE_RUNS] = {NULL};
    for (int i = 0; i < p->runs; i++) {
        const int n = has_curve(&p->run[i], c) ? record_curve(&p->run[i], c->event, c->name, &x[i], &y[i]) : 0;
        line[i] = (PlotLine){i, n, x[i], y[i]};
    }
    plot_lines(p->out, c->caption, line, p->runs);
    for (int i = 0; i < p->runs; i++) free(x[i]), free(y[i]);
}

static void curves(Page *p) {
    static const Curve shown[] = {{"loss", "step", "loss", OF_OTHERS | OF_TOKENS},
                                  {"loss of an item", "step", "loss", OF_SASREC | OF_OTHERS | OF_ITEMS},
                                  {"validation loss", "validation", "loss", OF_RL | OF_OTHERS | OF_TOKENS},
                                  {"validation loss of an item", "validation", "loss", OF_RL | OF_OTHERS | OF_ITEMS},
                                  {"validation: 1 - NDCG@10", "validation", "loss", OF_SASREC | OF_ITEMS},
                                  {"reward", "step", "reward_mean", OF_ALL},
                                  {"reward of the noiseless thoughts", "step", "reward_clean", OF_ALL},
                                  {"spread of rewards within groups", "step", "reward_spread_within_groups", OF_ALL},
                                  {"spread of rewards between prompts", "step", "reward_spread_between_prompts", OF_ALL},
                                  {"objective (rl)", "step", "loss", OF_RL | OF_TOKENS | OF_ITEMS},
                                  {"gradient norm", "step", "gradient_norm", OF_ALL},
                                  {"thought norm", "step", "thought_norm", OF_ALL},
                                  {"learning rate", "step", "learning_rate", OF_ALL}};
    int any = 0;
    for (int i = 0; i < p->runs; i++) any |= json_array_size(p->run[i].log) > 0;
    if (!any) return;
    page_section(p, "Training", "In a long run every point is the mean of some steps.");
    str_puts(p->out, "<div class=\"plots\">\n");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) curve(p, &shown[i]);
    str_puts(p->out, "</div>\n");
    page_section_end(p);
}

// ---- together ------------------------------------------------------------------------------------------------------------

int page_write(Str *out, const Record *record, int runs, const char *split, int resamples, uint64_t seed, Err *err) {
    Page p = {out, record, runs, split, resamples, seed};
    Str title = {0};
    for (int i = 0; i < runs; i++) {
        if (i) str_puts(&title, ", ");
        put_plain_name(&title, &p, i);
    }
    html_begin(out, title.data);
    str_free(&title);
    legend(&p);
    stages(&p);
    curves(&p);
    page_metrics(&p);
    if (page_gains(&p, err)) return -1;
    page_slices(&p);
    page_thought_test(&p);
    page_attention(&p);
    page_samples(&p);
    page_settings(&p);
    html_end(out);
    return 0;
}
