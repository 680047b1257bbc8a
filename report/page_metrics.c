// The report's numbers: metrics with intervals, what a run gains over the first, and the rows by how popular their target is.
#include "base/arena.h"
#include "base/log.h"
#include "rec/baseline.h"
#include "rec/slices.h"
#include "report/page_parts.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const all_names[] = {"HR@1", "HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20", "MRR"};
enum { NAMES = sizeof all_names / sizeof *all_names };

// Those that a run has.
static int names_of(const Page *p, const char *name[NAMES]) {
    int n = 0;
    for (int j = 0; j < NAMES; j++) {
        int any = 0;
        for (int i = 0; i < p->runs; i++)
            any |= isfinite(page_value(json_object_get(p->run[i].evaluation, "title"), all_names[j]).value);
        if (any) name[n++] = all_names[j];
    }
    return n;
}

// ---- metrics -------------------------------------------------------------------------------------------------------------

static void metrics_cells(Page *p, const json_t *metrics, const char *const *name, int n) {
    for (int j = 0; j < n; j++) page_value_cell(p, page_value(metrics, name[j]), 0);
    str_puts(p->out, "</tr>\n");
}

static void baseline_rows(Page *p, const char *const *name, int n) {
    static const char *const row[][2] = {
        {"popularity", "popularity"}, {"item_knn", "item-kNN"}, {"repeat_last", "repeat last"}, {"random", "random"}};
    const Record *r = page_first(p, "baselines");
    for (size_t k = 0; r && k < sizeof row / sizeof *row; k++) {
        const json_t *one = json_object_get(json_object_get(r->evaluation, "baselines"), row[k][0]);
        if (!one) continue;
        str_printf(p->out, "<tr class=\"other\"><th scope=\"row\">%s</th>", row[k][1]);
        metrics_cells(p, one, name, n);
    }
}

static void metrics_table(Page *p, const char *by, const char *const *name, int n, int baselines) {
    const char *head[NAMES + 1] = {strcmp(by, "item") ? "by title" : "by item"};
    memcpy(head + 1, name, (size_t)n * sizeof *name);
    page_table(p, head, n + 1, 1);
    for (int i = 0; i < p->runs; i++) {
        const json_t *metrics = json_object_get(p->run[i].evaluation, by);
        if (!metrics) continue;
        str_puts(p->out, "<tr>");
        page_name_cell(p, i);
        metrics_cells(p, metrics, name, n);
    }
    if (baselines) baseline_rows(p, name, n);
    page_table_end(p);
}

static void metrics_plot(Page *p, const char *const *name, int n) {
    PlotBar *bar = mem_alloc((size_t)n * (size_t)p->runs + 1, sizeof *bar);
    for (int j = 0; j < n; j++)
        for (int i = 0; i < p->runs; i++) {
            const PageValue v = page_value(json_object_get(p->run[i].evaluation, "title"), name[j]);
            bar[j * p->runs + i] = (PlotBar){v.value, v.low, v.high};
        }
    str_puts(p->out, "<div class=\"plots\">\n");
    plot_bars(p->out, "by title, with 95 % intervals", name, n, bar, p->runs);
    str_puts(p->out, "</div>\n");
    free(bar);
}

void page_metrics(Page *p) {
    const char *name[NAMES];
    const int n = names_of(p, name);
    const Record *r = page_first(p, NULL);
    Str note = {0};
    if (!r) return;
    str_printf(&note, "%d %s rows of %.0f users, ranked among ", r->n, p->split, record_number(r->evaluation, "users", NULL));
    record_put_among(&note, r->evaluation);
    str_puts(&note,
             ". By title: any item with the target's title is a hit; by item: the id itself. 95 % intervals by bootstrap "
             "over users. The baselines in grey are counted from the train rows.");
    page_section(p, "Metrics", note.data);
    str_free(&note);
    metrics_table(p, "title", name, n, 1);
    metrics_plot(p, name, n);
    metrics_table(p, "item", name, n, 0);
    page_section_end(p);
}

// ---- gains ---------------------------------------------------------------------------------------------------------------

// Up to 10, the `nth` largest K of lists so long; 0: there is none.
static int shown_k(int list, int nth) {
    for (int j = METRIC_KS - 1; j >= 0; j--)
        if (metric_k[j] <= list && metric_k[j] <= 10 && nth-- == 0) return metric_k[j];
    return 0;
}

static int common_list(const Record *a, const Record *b) {
    return a->list < b->list ? a->list : b->list;
}

// The gain with its interval, where there is one.
static PageValue gain_value(const Metrics *gain, const Metric *x) {
    return (PageValue){x->value, gain->resamples ? x->low : NAN, gain->resamples ? x->high : NAN};
}

static void gain_rows(Page *p, int i, const Metrics *gain, const Metrics *first) {
    for (int j = 0; j < 4; j++) {
        char name[24];
        const int k = shown_k(gain->list, 1 - j % 2);
        snprintf(name, sizeof name, j < 2 ? "HR@%d" : "NDCG@%d", k);
        const Metric *x = k ? metrics_find(gain, name) : NULL, *other = k ? metrics_find(first, name) : NULL;
        if (!x || !other) continue;
        str_puts(p->out, "<tr>");
        page_name_cell(p, i);
        page_text_cell(p, name);
        page_number_cell(p, other->value, 4);
        page_number_cell(p, other->value + x->value, 4);
        page_value_cell(p, gain_value(gain, x), 1);
        if (other->value > 0)
            str_printf(p->out, "<td class=\"n\">%+.1f %%</td></tr>\n", 100 * x->value / other->value);
        else
            str_puts(p->out, "<td class=\"n\">\xe2\x80\x93</td></tr>\n");
    }
}

static void slice_gain_row(Page *p, int i, const char *label, const SlicesPart *part, int list, const char *const *name) {
    Metrics gain;
    metrics_of_gain(&gain, part->rank, part->other, part->user, part->n, list, p->resamples, p->seed);
    str_puts(p->out, "<tr>");
    page_name_cell(p, i);
    page_text_cell(p, label);
    page_number_cell(p, part->n, 0);
    for (int j = 0; j < 2; j++) {
        const Metric *x = metrics_find(&gain, name[j]);
        page_value_cell(p, x ? gain_value(&gain, x) : (PageValue){NAN, NAN, NAN}, 1);
    }
    str_puts(p->out, "</tr>\n");
}

static void slice_gains(Page *p, const Record *first, const int *user) {
    char hit[24], ndcg[24];
    const char *const head[] = {"run", "target", "rows", hit, ndcg};
    SlicesPart part;
    int longest = 0;
    if (!first->slices) return;
    for (int i = 0; i < p->runs; i++)
        if (p->run[i].n && &p->run[i] != first && common_list(&p->run[i], first) > longest)
            longest = common_list(&p->run[i], first);
    snprintf(hit, sizeof hit, "HR@%d", shown_k(longest, 0)), snprintf(ndcg, sizeof ndcg, "NDCG@%d", shown_k(longest, 0));
    slices_part_open(&part, first->n);
    page_table(p, head, sizeof head / sizeof *head, 2);
    for (int i = 0; i < p->runs; i++) {
        const Record *r = &p->run[i];
        for (int slice = 1; slice < SLICES && r->n && r != first; slice++) {
            slices_pick(&part, slice, first->slices, r->rank, first->rank, user, first->n);
            if (part.n) slice_gain_row(p, i, slice_label[slice], &part, common_list(r, first), head + 3);
        }
    }
    page_table_end(p);
    slices_part_close(&part);
}

int page_gains(Page *p, Err *err) {
    static const char *const head[] = {"run", "metric", "first", "this", "gain", "relative"};
    const Record *first = page_first(p, NULL);
    int others = 0;
    for (int i = 0; i < p->runs; i++) others += p->run[i].n && &p->run[i] != first;
    if (!others) return 0;
    Str note = {0};
    str_puts(&note, "Over ");
    page_put_name(&note, p, (int)(first - p->run));
    str_puts(&note, ", by title: paired bootstrap over users (both see the same draws), 95 % intervals.");
    page_section(p, "Gains", note.data);
    str_free(&note);
    page_table(p, head, sizeof head / sizeof *head, 2);
    int *user = mem_alloc((size_t)first->n, sizeof *user);
    baseline_number_users(&(Rows){.n = first->n, .row = first->row}, user);
    int status = 0;
    for (int i = 0; i < p->runs && status == 0; i++) {
        const Record *r = &p->run[i];
        const int list = common_list(r, first);
        Metrics gain, of_first;
        if (!r->n || r == first) continue;
        status = record_comparable(first, r, err);
        if (status) break;
        if (!record_same_train(first, r)) log_warn("%s was measured with another train.csv than %s", r->name, first->name);
        metrics_from_ranks(&of_first, first->rank, user, first->n, list, 0, p->seed);
        metrics_of_gain(&gain, r->rank, first->rank, user, first->n, list, p->resamples, p->seed);
        gain_rows(p, i, &gain, &of_first);
    }
    page_table_end(p);
    if (status == 0) slice_gains(p, first, user);
    free(user);
    page_section_end(p);
    return status;
}

// ---- slices --------------------------------------------------------------------------------------------------------------

static const int slice_shown[] = {SLICE_POPULAR,    SLICE_UNPOPULAR,  SLICE_WARM,       SLICE_COLD,      SLICE_BUCKET,
                                  SLICE_BUCKET + 1, SLICE_BUCKET + 2, SLICE_BUCKET + 3, SLICE_BUCKET + 4};
enum { SLICE_ROWS = sizeof slice_shown / sizeof *slice_shown };

static const json_t *slice_of(const Record *r, int slice) {
    return slice < SLICE_BUCKET ? json_object_get(r->evaluation, slice_label[slice])
                                : json_array_get(json_object_get(r->evaluation, "buckets"), (size_t)(slice - SLICE_BUCKET));
}

static void slice_row(Page *p, int slice, const char *const *name, int n) {
    const json_t *about = slice_of(page_first(p, "buckets"), slice);
    str_printf(p->out, "<tr><th scope=\"row\">%s</th>", slice_label[slice]);
    page_number_cell(p, record_number(about, "items", NULL), 0);
    page_number_cell(p, record_number(about, "rows", NULL), 0);
    for (int i = 0; i < p->runs; i++)
        for (int j = 0; j < n && p->run[i].evaluation; j++)
            page_number_cell(p, record_number(slice_of(&p->run[i], slice), name[j], NULL), 4);
    str_puts(p->out, "</tr>\n");
}

static void slice_plot(Page *p, const char *name) {
    PlotBar bar[SLICE_BUCKETS * PAGE_RUNS];
    char caption[64];
    for (int s = 0; s < SLICE_BUCKETS; s++)
        for (int i = 0; i < p->runs; i++)
            bar[s * p->runs + i] = (PlotBar){record_number(slice_of(&p->run[i], SLICE_BUCKET + s), name, NULL), NAN, NAN};
    snprintf(caption, sizeof caption, "%s by popularity of the target", name);
    plot_bars(p->out, caption, slice_label + SLICE_BUCKET, SLICE_BUCKETS, bar, p->runs);
}

void page_slices(Page *p) {
    static const char *const name[] = {"HR@10", "NDCG@10"};
    const char *head[3 + 2 * PAGE_RUNS] = {"target", "items", "rows"};
    Str text[2 * PAGE_RUNS] = {{0}};
    int heads = 3;
    if (!page_first(p, "buckets")) return;
    for (int i = 0; i < p->runs; i++)
        for (int j = 0; j < 2 && p->run[i].evaluation; j++, heads++) {
            page_put_name(&text[heads - 3], p, i);
            str_printf(&text[heads - 3], "<br/>%s", name[j]);
            head[heads] = text[heads - 3].data;
        }
    page_section(p, "Popular and unpopular, warm and cold",
                 "Fifths hold a fifth of the interactions of the train rows each, the most popular items first. Popular: the "
                 "fifth of the items with the most interactions. Cold: targets that are not in the train rows. By title.");
    page_table(p, head, heads, 1);
    for (int s = 0; s < SLICE_ROWS; s++) slice_row(p, slice_shown[s], name, 2);
    page_table_end(p);
    str_puts(p->out, "<div class=\"plots\">\n");
    for (int j = 0; j < 2; j++) slice_plot(p, name[j]);
    str_puts(p->out, "</div>\n");
    page_section_end(p);
    for (int i = 0; i < 2 * PAGE_RUNS; i++) str_free(&text[i]);
}
