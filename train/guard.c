#include "train/guard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

static int is_spike(const double *window, int n, double x, double limit) {
    double sorted[GUARD_WINDOW];
    memcpy(sorted, window, (size_t)n * sizeof *sorted);
    const double middle = median(sorted, n);
    for (int i = 0; i < n; i++) sorted[i] = fabs(window[i] - middle);
    const double deviation = fmax(median(sorted, n), 1e-3 * fabs(middle)), nothing = 1e-9;
    return deviation > nothing && x > middle + limit * deviation;
}

const char *guard_refuses(Guard *g, double loss, double norm, double limit) {
    if (!isfinite(loss)) return "the loss is not finite";
    if (!isfinite(norm)) return "the gradient is not finite";
    const int n = g->seen < GUARD_WINDOW ? (int)g->seen : GUARD_WINDOW;
    if (limit > 0 && n >= GUARD_LEAST) {
        if (is_spike(g->loss, n, loss, limit)) return "the loss is a spike";
        if (is_spike(g->norm, n, norm, limit)) return "the gradient is a spike";
    }
    g->loss[g->seen % GUARD_WINDOW] = loss;
    g->norm[g->seen % GUARD_WINDOW] = norm;
    g->seen++;
    return 0;
}
