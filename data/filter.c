#include "data/filter.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int days_in(int month, int year) { // month from 0
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month] + (month == 1 && leap);
}

int64_t filter_months_back(int64_t seconds, int months) {
    time_t t = (time_t)seconds;
    struct tm d;
    CHECK(gmtime_r(&t, &d));
    int month = (d.tm_year + 1900) * 12 + d.tm_mon - months, last = days_in(month % 12, month / 12);
    d.tm_year = month / 12 - 1900;
    d.tm_mon = month % 12;
    if (d.tm_mday > last) d.tm_mday = last;
    return (int64_t)timegm(&d);
}

typedef struct Core {
    const Interactions *x;
    const FilterOptions *o;
    char *stays;            // (x->n)
    int *of_user, *of_item; // interactions that stay
} Core;

// The k-core of what lies in the window; the number of its items. It is unique, so the order of removal is free, and counts
// that fall at once make the cascade short.
static int find_core(Core *c, int64_t from) {
    const Interactions *x = c->x;
    memset(c->of_user, 0, (size_t)x->users.n * sizeof *c->of_user);
    memset(c->of_item, 0, (size_t)x->items.n * sizeof *c->of_item);
    for (size_t i = 0; i < x->n; i++) {
        const Event *e = &x->event[i];
        c->stays[i] = e->timestamp >= from;
        if (c->stays[i]) c->of_user[e->user]++, c->of_item[e->item]++;
    }
    for (int changed = 1; changed;) {
        changed = 0;
        for (size_t i = 0; i < x->n; i++) {
            const Event *e = &x->event[i];
            if (!c->stays[i] || (c->of_user[e->user] >= c->o->user_core && c->of_item[e->item] >= c->o->item_core)) continue;
            c->of_user[e->user]--, c->of_item[e->item]--;
            c->stays[i] = 0;
            changed = 1;
        }
    }
    int items = 0;
    for (int i = 0; i < x->items.n; i++) items += c->of_item[i] > 0;
    return items;
}

void filter_apply(FilterCounts *out, Interactions *x, const FilterOptions *o) {
    enum { STEP_MONTHS = 3 };
    Core c = {x, o, mem_alloc(x->n, 1), mem_alloc((size_t)x->users.n, sizeof(int)), mem_alloc((size_t)x->items.n, sizeof(int))};
    int64_t earliest = INT64_MAX;
    for (size_t i = 0; i < x->n; i++)
        if (x->event[i].timestamp < earliest) earliest = x->event[i].timestamp;
    *out = (FilterCounts){.from = o->from};
    for (;;) {
        out->items = find_core(&c, out->from * x->ticks);
        if (out->items >= o->min_items || out->from * x->ticks <= earliest) break;
        out->from = filter_months_back(out->from, STEP_MONTHS);
    }
    size_t kept = 0;
    for (size_t i = 0; i < x->n; i++)
        if (c.stays[i])
            x->event[kept++] = x->event[i];
        else
            *(x->event[i].timestamp < out->from * x->ticks ? &out->outside_window : &out->too_few) += 1;
    x->n = kept;
    free(c.stays), free(c.of_user), free(c.of_item);
}
