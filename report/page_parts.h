// Inside of the report: what its sections share, and the sections. Each writes nothing where no run has what it shows.
#ifndef REPORT_PAGE_PARTS_H
#define REPORT_PAGE_PARTS_H

#include "report/html.h"
#include "report/page.h"

typedef struct Page {
    Str *out;
    const Record *run; // (runs)
    int runs;
    const char *split;
    int resamples;
    uint64_t seed;
} Page;

// note: HTML, or NULL
void page_section(Page *p, const char *title, const char *note);
void page_section_end(Page *p);
void page_put_name(Str *out, const Page *p, int run); // how a run is called
void page_name_cell(Page *p, int run);
// A table whose first `texts` columns hold texts and all others numbers. Heads are HTML.
void page_table(Page *p, const char *const *head, int heads, int texts);
void page_table_end(Page *p);
void page_text_cell(Page *p, const char *text); // NULL: a dash
void page_number_cell(Page *p, double x, int decimals);
// A value with its 95 % interval below, where there is one.
typedef struct PageValue {
    double value, low, high;
} PageValue;
void page_value_cell(Page *p, PageValue v, int is_signed);
PageValue page_interval(double value, const json_t *pair);     // [low, high]; NULL: none
PageValue page_value(const json_t *metrics, const char *name); // of METRICS
// The first run with an evaluation that holds `member` (NULL: any evaluation), or NULL.
const Record *page_first(const Page *p, const char *member);

// page_metrics.c
void page_metrics(Page *p);
int page_gains(Page *p, Err *err);
void page_slices(Page *p);
// page_thought.c
void page_thought_test(Page *p);
void page_attention(Page *p);
void page_samples(Page *p);
// page_settings.c
void page_settings(Page *p);

#endif
