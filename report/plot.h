// Charts as inline SVG: no script, colours and dashes by class (report.css), a viewBox that any width scales.
#ifndef REPORT_PLOT_H
#define REPORT_PLOT_H

#include "base/vec.h"

typedef struct PlotLine {
    int run; // colour and dash: 0 to 7
    int n;
    const double *x, *y; // (n) finite, x not falling
} PlotLine;

// A figure of lines over steps. Over PLOT_POINTS points of one line are drawn as the means of equal stretches.
enum { PLOT_POINTS = 300 };
void plot_lines(Str *out, const char *caption, const PlotLine *line, int lines);

typedef struct PlotBar {
    double value;     // NAN: no bar
    double low, high; // whisker; NAN: none
} PlotBar;

// A figure of bars side by side. bar (groups, runs)
void plot_bars(Str *out, const char *caption, const char *const *group, int groups, const PlotBar *bar, int runs);

// A short piece of a run's line, for the legend.
void plot_swatch(Str *out, int run);

#endif
