// What the report shows of thoughts and recommendations: the thought test, attention over the history, samples.
#include "report/page_parts.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- the thought test ----------------------------------------------------------------------------------------------------

static PageValue gain_of(const json_t *thought, const char *name) {
    const json_t *one = json_object_get(json_object_get(thought, "against_own"), name);
    return page_interval(record_number(one, "gain", NULL), json_object_get(one, "interval"));
}

void page_thought_test(Page *p) {
    static const char *const head[] = {"run", "thought", "loss", "less own", "HR@10", "less own"};
    static const char *const source[][2] = {
        {"own", "own"}, {"other", "another row's"}, {"zero", "zero"}, {"noise", "own and noise"}};
    if (!page_first(p, "thought_test")) return;
    page_section(p, "Does the thought think?",
                 "The same rows with other thoughts fed in. Where another row's thought is as good as the own, it carries "
                 "nothing of the user.");
    page_table(p, head, sizeof head / sizeof *head, 2);
    for (int i = 0; i < p->runs; i++)
        for (size_t s = 0; s < sizeof source / sizeof *source; s++) {
            const json_t *t = json_object_get(json_object_get(p->run[i].evaluation, "thought_test"), source[s][0]);
            if (!t) continue;
            str_puts(p->out, "<tr>");
            page_name_cell(p, i);
            page_text_cell(p, source[s][1]);
            page_value_cell(p, page_value(t, "loss"), 0);
            page_value_cell(p, s ? gain_of(t, "loss") : (PageValue){NAN, NAN, NAN}, 1);
            page_value_cell(p, page_value(t, "HR@10"), 0);
            page_value_cell(p, s ? gain_of(t, "HR@10") : (PageValue){NAN, NAN, NAN}, 1);
            str_puts(p->out, "</tr>\n");
        }
    page_table_end(p);
    page_section_end(p);
}

// ---- attention -----------------------------------------------------------------------------------------------------------

void page_attention(Page *p) {
    enum { POSITIONS = 10 };
    static const char *const label[POSITIONS + 1] = {"last", "2", "3", "4", "5", "6", "7", "8", "9", "10", "rest"};
    PlotBar bar[(POSITIONS + 1) * PAGE_RUNS];
    const Record *first = page_first(p, "attention");
    char note[256];
    if (!first) return;
    for (int g = 0; g <= POSITIONS; g++)
        for (int i = 0; i < p->runs; i++) {
            const json_t *a = json_object_get(p->run[i].evaluation, "attention"),
                         *at = json_array_get(json_object_get(a, "positions"), (size_t)g);
            // A position's weight is the mean of the rows that reach it, the bars are shares of all.
            const double share = g == POSITIONS ? record_number(a, "rest", NULL)
                                                : record_number(at, "weight", NULL) * record_number(at, "rows", NULL) /
                                                      record_number(a, "rows", NULL);
            bar[g * p->runs + i] = (PlotBar){share >= 0 && share <= 1 ? share : NAN, NAN, NAN};
        }
    snprintf(
        note, sizeof note,
        "Share of LatentRATT's attention that lies on each title of the history, from the last one back, and on the rest of "
        "the prompt: the mean of %.0f rows, 0 where a history is shorter.",
        record_number(first->evaluation, "attention", "rows", NULL));
    page_section(p, "What the thought attends to", note);
    str_puts(p->out, "<div class=\"plots\">\n");
    plot_bars(p->out, "attention by position in the history", label, POSITIONS + 1, bar, p->runs);
    str_puts(p->out, "</div>\n");
    page_section_end(p);
}

// ---- samples -------------------------------------------------------------------------------------------------------------

// Whatever its direction of writing, what stands beside it keeps its own.
static void put_isolated(Page *p, const char *text) {
    str_puts(p->out, "<bdi>");
    html_text(p->out, text);
    str_puts(p->out, "</bdi>");
}

static void history(Page *p, const json_t *sample) {
    const json_t *titles = json_object_get(sample, "history"), *weights = json_object_get(sample, "weights");
    str_puts(p->out, "<div><h3>history, oldest first</h3>\n<ol>\n");
    for (size_t i = 0; i < json_array_size(titles) && i < 100; i++) {
        const json_t *title = json_array_get(titles, i), *weight = json_array_get(weights, i);
        str_puts(p->out, "<li>");
        put_isolated(p, json_is_string(title) ? json_string_value(title) : "?");
        if (json_is_number(weight))
            str_printf(p->out, " <span class=\"weight\">%.0f %%</span>", 100 * json_number_value(weight));
        str_puts(p->out, "</li>\n");
    }
    str_puts(p->out, "</ol></div>\n");
}

enum { LIST_TITLES = 20 }; // of a list are shown: the largest K there is

static int place_of(const char *title, const char *const *list, int n) {
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], title)) return i + 1;
    return 0;
}

// The distinct titles of a list, as places count them. Returns how many.
static int titles_of(const json_t *items, const char *title[LIST_TITLES]) {
    int n = 0;
    for (size_t i = 0; i < json_array_size(items) && n < LIST_TITLES; i++) {
        const char *text = record_text(json_array_get(items, i), "title", NULL);
        if (!text) text = "?";
        if (!place_of(text, title, n)) title[n++] = text;
    }
    return n;
}

static void list_of(Page *p, int run, int row) {
    const Record *r = &p->run[run];
    const json_t *items = json_object_get(json_array_get(r->results, (size_t)row), "items");
    const char *title[LIST_TITLES];
    if (!items) return;
    const int n = titles_of(items, title);
    // The target's title, not the rank's place: titles that were seen count as none. Another title may be a hit where both
    // have one index text.
    int hit = r->rank[row] ? place_of(r->row[row].target_title, title, n) : 0;
    if (!hit) hit = r->rank[row];
    str_puts(p->out, "<div><h3>");
    page_put_name(p->out, p, run);
    str_puts(p->out, "</h3>\n<ol>\n");
    for (int i = 0; i < n; i++) {
        str_printf(p->out, "<li%s>", i + 1 == hit ? " class=\"hit\"" : "");
        put_isolated(p, title[i]);
        str_puts(p->out, "</li>\n");
    }
    str_puts(p->out, "</ol></div>\n");
}

static void sample_of(Page *p, const Record *from, const json_t *sample) {
    const double row = record_number(sample, "row", NULL);
    if (!(row >= 0 && row < from->n)) return;
    const Row *about = &from->row[(int)row];
    str_printf(p->out, "<article><p>Row %d, user ", (int)row);
    put_isolated(p, about->user);
    str_puts(p->out, ", took: <strong>");
    put_isolated(p, about->target_title);
    str_puts(p->out, "</strong></p>\n<div class=\"lists\">\n");
    history(p, sample);
    for (int i = 0; i < p->runs; i++)
        if (p->run[i].n == from->n) list_of(p, i, (int)row);
    str_puts(p->out, "</div></article>\n");
}

void page_samples(Page *p) {
    const Record *r = page_first(p, "samples");
    if (!r) return;
    page_section(p, "Some recommendations",
                 "Rows spread evenly over the split, not chosen. Items of one title stand once. Bold: the target. "
                 "Percentages: the thought's attention.");
    const json_t *samples = json_object_get(r->evaluation, "samples");
    for (size_t i = 0; i < json_array_size(samples) && i < RECORD_SAMPLES; i++) sample_of(p, r, json_array_get(samples, i));
    page_section_end(p);
}
