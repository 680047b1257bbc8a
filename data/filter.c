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

// The interactions of each user (of = 0) and of each item (1), one behind the other.
typedef struct Incidence {
    size_t *begin; // (n + 1)
    size_t *event; // (x->n)
} Incidence;

typedef struct Core {
    const Interactions *x;
    const FilterOptions *o;
    char *stays;     // (x->n)
    int *count[2];   // (users), (items) interactions that stay
    Incidence of[2]; // users, items
    int *waits;      // (users + items) of these, those that fell below their core; items behind the users
} Core;

static int end_of(const Event *e, int of) {
    return of ? e->item : e->user;
}

static Incidence incidence_of(const Interactions *x, int of, int n) {
    Incidence out = {mem_zalloc((size_t)n + 2, sizeof *out.begin), mem_alloc(x->n, sizeof *out.event)};
    for (size_t i = 0; i < x->n; i++) out.begin[end_of(&x->event[i], of) + 2]++;
    for (int k = 2; k < n + 1; k++) out.begin[k] += out.begin[k - 1];
    for (size_t i = 0; i < x->n; i++) out.event[out.begin[end_of(&x->event[i], of) + 1]++] = i;
    return out;
}

// The k-core of what lies in the window; the number of its items. It is unique, so the order of removal is free: who falls
// below waits, once, for its interactions to go.
static int find_core(Core *c, int64_t from) {
    const Interactions *x = c->x;
    const int n[2] = {x->users.n, x->items.n}, least[2] = {c->o->user_core, c->o->item_core};
    int waiting = 0, items = 0;
    for (int of = 0; of < 2; of++) memset(c->count[of], 0, (size_t)n[of] * sizeof *c->count[of]);
    for (size_t i = 0; i < x->n; i++) {
        c->stays[i] = x->event[i].timestamp >= from;
        for (int of = 0; of < 2 && c->stays[i]; of++) c->count[of][end_of(&x->event[i], of)]++;
    }
    for (int of = 0; of < 2; of++)
        for (int k = 0; k < n[of]; k++)
            if (c->count[of][k] < least[of]) c->waits[waiting++] = of * n[0] + k;
    while (waiting) {
        const int who = c->waits[--waiting], of = who >= n[0], k = who - of * n[0];
        for (size_t j = c->of[of].begin[k]; j < c->of[of].begin[k + 1]; j++) {
            const size_t i = c->of[of].event[j];
            const int other = end_of(&x->event[i], !of);
            if (!c->stays[i]) continue;
            c->stays[i] = 0;
            c->count[of][k]--;
            if (c->count[!of][other]-- == least[!of]) c->waits[waiting++] = !of * n[0] + other;
        }
    }
    for (int i = 0; i < n[1]; i++) items += c->count[1][i] > 0;
    return items;
}

void filter_apply(FilterCounts *out, Interactions *x, const FilterOptions *o) {
    enum { STEP_MONTHS = 3 };
    const int n[2] = {x->users.n, x->items.n};
    Core c = {.x = x, .o = o, .stays = mem_alloc(x->n, 1), .waits = mem_alloc((size_t)n[0] + (size_t)n[1], sizeof(int))};
    for (int of = 0; of < 2; of++) {
        c.count[of] = mem_alloc((size_t)n[of], sizeof(int));
        c.of[of] = incidence_of(x, of, n[of]);
    }
    int64_t earliest = INT64_MAX;
    for (size_t i = 0; i < x->n; i++)
        if (x->event[i].timestamp < earliest) earliest = x->event[i].timestamp;
    *out = (FilterCounts){.from = o->from};
    for (;;) {
        out->items = find_core(&c, out->from * EVENT_SECOND);
        if (out->items >= o->min_items || out->from * EVENT_SECOND <= earliest) break;
        out->from = filter_months_back(out->from, STEP_MONTHS);
    }
    size_t kept = 0;
    for (size_t i = 0; i < x->n; i++)
        if (c.stays[i])
            x->event[kept++] = x->event[i];
        else
            *(x->event[i].timestamp < out->from * EVENT_SECOND ? &out->outside_window : &out->too_few) += 1;
    x->n = kept;
    for (int of = 0; of < 2; of++) free(c.count[of]), free(c.of[of].begin), free(c.of[of].event);
    free(c.stays), free(c.waits);
}
