#include "app/meant.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

typedef struct Folded { // letters in lower case, without a bracket at the end; longer titles are compared by their beginnings
    size_t n;
    char at[MEANT_LETTERS];
} Folded;

static Folded fold(const char *title) {
    const size_t all = strlen(title);
    const char *bracket = all && title[all - 1] == ')' ? strrchr(title, '(') : NULL;
    size_t n = bracket && bracket > title ? (size_t)(bracket - title) : all;
    while (n > 1 && title[n - 1] == ' ') n--;
    Folded f = {.n = n < MEANT_LETTERS ? n : MEANT_LETTERS};
    for (size_t i = 0; i < f.n; i++) f.at[i] = (char)tolower((unsigned char)title[i]);
    return f;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

// Optimal string alignment.
int meant_distance(const char *a, size_t n, const char *b, size_t m, int most) {
    int row[3][MEANT_LETTERS + 1], *before = row[0], *above = row[1], *here = row[2];
    CHECK(m <= MEANT_LETTERS);
    if (n > m + (size_t)most || m > n + (size_t)most) return most + 1;
    for (size_t j = 0; j <= m; j++) above[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int smallest = here[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            here[j] = least(least(above[j], here[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) here[j] = least(here[j], before[j - 2] + 1);
            smallest = least(smallest, here[j]);
        }
        if (smallest > most) return most + 1;
        int *free_row = before;
        before = above, above = here, here = free_row;
    }
    return least(above[m], most + 1);
}

static int nearest(const Items *items, const char *title) {
    const Folded asked = fold(title);
    int best = -1, most = (int)asked.n / 4;
    for (int i = 0; i < items->n && most >= 0; i++) {
        const Folded other = fold(items->title[i]);
        const int d = meant_distance(asked.at, asked.n, other.at, other.n, most);
        if (d <= most) best = i, most = d - 1; // of equal ones the first
    }
    return best;
}

int meant_item(const Items *items, const char *title) {
    const int by_id = items_by_id(items, title);
    int inside = -1;
    if (by_id >= 0 || !*title) return by_id;
    for (int i = 0; i < items->n; i++) {
        if (!strncasecmp(items->title[i], title, strlen(title))) return i;
        if (inside < 0 && strcasestr(items->title[i], title)) inside = i;
    }
    return inside >= 0 ? inside : nearest(items, title);
}
