// The HTML report of some runs: one file without script and without anything from outside.
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include "report/record.h"

enum { PAGE_RUNS = 8 };

// record (runs <= PAGE_RUNS): side by side, each but the first held against the first by paired bootstrap of `resamples` draws
// from `seed`, as `eval --against` does. ERR_DATA where their evaluations are not of the same rows.
int page_write(Str *out, const Record *record, int runs, const char *split, int resamples, uint64_t seed, Err *err);

#endif
