#include "report/plot.h"
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 360, HEIGHT = 220, LEFT = 52, RIGHT = 10, TOP = 12, BOTTOM = 26 };

typedef struct Scale { // values to pixels
    double low, high, from, to;
    double tick; // their distance
} Scale;

static double place(const Scale *s, double x) {
    return s->from + (x - s->low) / (s->high - s->low) * (s->to - s->from);
}

// The distance of about four ticks: 1, 2 or 5 times a power of ten.
static double tick_of(double low, double high) {
    const double rough = (high - low) / 4, power = pow(10, floor(log10(rough))), times = rough / power;
    return power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
}

// A range that is never empty, its ends at ticks where `round` is set.
static Scale scale_of(double low, double high, double from, double to, int round) {
    if (!(high - low > 1e-9 * fmax(fabs(low), fabs(high)))) {
        const double room = fmax(fabs(low) * .1, 1e-9);
        low -= room, high += room;
    }
    const double tick = tick_of(low, high);
    if (round) low = floor(low / tick + 1e-9) * tick, high = ceil(high / tick - 1e-9) * tick;
    return (Scale){low, high, from, to, tick};
}

// So many digits that two ticks beside each other differ.
static int digits_of(const Scale *y) {
    const int first = (int)floor(log10(fmax(fabs(y->low), fabs(y->high)))), last = (int)floor(log10(y->tick) + 1e-9);
    return first - last + 1 > 4 ? first - last + 1 : 4;
}

static void axis(Str *out, const Scale *y) {
    enum { LABEL = 8 }; // characters that fit; more of them stand closer together
    const int digits = digits_of(y);
    char label[32];
    for (double t = ceil(y->low / y->tick - 1e-9) * y->tick; t <= y->high + 1e-9 * y->tick; t += y->tick) {
        const double at = place(y, t);
        str_printf(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", LEFT, at, WIDTH - RIGHT, at);
        snprintf(label, sizeof label, "%.*g", digits, fabs(t) < 1e-9 * y->tick ? 0. : t);
        str_printf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\"%s>%s</text>\n", LEFT - 5, at + 4,
                   strlen(label) > LABEL ? " textLength=\"46\" lengthAdjust=\"spacingAndGlyphs\"" : "", label);
    }
}

static void begin(Str *out, const char *caption) {
    str_puts(out, "<figure><figcaption>");
    html_text(out, caption);
    str_printf(out, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", WIDTH, HEIGHT);
    html_text(out, caption);
    str_puts(out, "</title>\n");
}

static void end(Str *out) {
    str_puts(out, "</svg></figure>\n");
}

// ---- lines -------------------------------------------------------------------------------------------------------------

static void range_of(const double *x, int n, double *low, double *high) {
    for (int i = 0; i < n; i++) {
        *low = fmin(*low, x[i]);
        *high = fmax(*high, x[i]);
    }
}

static void draw_line(Str *out, const PlotLine *l, const Scale *x, const Scale *y) {
    const int points = l->n < PLOT_POINTS ? l->n : PLOT_POINTS;
    str_printf(out, "<polyline class=\"s r%d\" points=\"", l->run);
    for (int p = 0; p < points; p++) {
        const int first = (int)((long long)l->n * p / points), last = (int)((long long)l->n * (p + 1) / points);
        double sum_x = 0, sum_y = 0;
        for (int i = first; i < last; i++) sum_x += l->x[i], sum_y += l->y[i];
        str_printf(out, "%.1f,%.1f ", place(x, sum_x / (last - first)), place(y, sum_y / (last - first)));
    }
    str_puts(out, "\"/>\n");
    if (l->n > 40) return;
    for (int i = 0; i < l->n; i++)
        str_printf(out, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\"/>", l->run, place(x, l->x[i]),
                   place(y, l->y[i]));
}

void plot_lines(Str *out, const char *caption, const PlotLine *line, int lines) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < lines; i++) {
        range_of(line[i].x, line[i].n, &low[0], &high[0]);
        range_of(line[i].y, line[i].n, &low[1], &high[1]);
    }
    if (!(low[0] <= high[0])) return;
    const Scale x = scale_of(low[0], high[0], LEFT, WIDTH - RIGHT, 0), y = scale_of(low[1], high[1], HEIGHT - BOTTOM, TOP, 1);
    begin(out, caption);
    axis(out, &y);
    str_printf(out, "<text x=\"%d\" y=\"%d\">step %.6g</text>", LEFT, HEIGHT - 8, low[0]);
    str_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.6g</text>\n", WIDTH - RIGHT, HEIGHT - 8, high[0]);
    for (int i = 0; i < lines; i++)
        if (line[i].n) draw_line(out, &line[i], &x, &y);
    end(out);
}

void plot_swatch(Str *out, int run) {
    str_printf(
        out,
        "<svg viewBox=\"0 0 40 12\" aria-hidden=\"true\"><line class=\"s r%d\" x1=\"0\" y1=\"6\" x2=\"40\" y2=\"6\"/></svg>",
        run);
}

// ---- bars --------------------------------------------------------------------------------------------------------------

static void draw_bar(Str *out, const PlotBar *b, double left, double width, const Scale *y, int run) {
    const double zero = place(y, 0), top = place(y, b->value);
    str_printf(out, "<rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", run, left, fmin(zero, top),
               width, fabs(top - zero));
    if (isfinite(b->low) && isfinite(b->high))
        str_printf(out, "<line class=\"whisker\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", left + width / 2,
                   place(y, b->low), left + width / 2, place(y, b->high));
}

void plot_bars(Str *out, const char *caption, const char *const *group, int groups, const PlotBar *bar, int runs) {
    double low = 0, high = 0;
    int any = 0;
    for (int i = 0; i < groups * runs; i++) {
        if (!isfinite(bar[i].value)) continue;
        any = 1;
        low = fmin(low, fmin(bar[i].value, isfinite(bar[i].low) ? bar[i].low : 0));
        high = fmax(high, fmax(bar[i].value, isfinite(bar[i].high) ? bar[i].high : 0));
    }
    if (!any) return;
    if (low == high) high = 1; // nothing but zeros: bars of no height
    const Scale y = scale_of(low, high, HEIGHT - BOTTOM, TOP, 1);
    const double room = (double)(WIDTH - LEFT - RIGHT) / groups, width = room * .8 / runs;
    begin(out, caption);
    axis(out, &y);
    for (int g = 0; g < groups; g++) {
        const double left = LEFT + room * (g + .1);
        for (int r = 0; r < runs; r++) {
            const PlotBar *b = &bar[g * runs + r];
            if (isfinite(b->value)) draw_bar(out, b, left + width * r, width, &y, r);
        }
        str_printf(out, "<text%s x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", groups > 5 ? " class=\"many\"" : "",
                   left + room * .4, HEIGHT - 8);
        html_text(out, group[g]);
        str_puts(out, "</text>\n");
    }
    end(out);
}
