#include "app/meant.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { LETTERS = 255 }; // longer titles are compared by their beginnings

typedef struct Folded { // letters in lower case, without a bracket at the end
    int n;
    unsigned char at[LETTERS];
} Folded;

static Folded fold(const char *title) {
    const size_t all = strlen(title);
    const char *bracket = all && title[all - 1] == ')' ? strrchr(title, '(') : NULL;
    size_t n = bracket && bracket > title ? (size_t)(bracket - title) : all;
    while (n > 1 && title[n - 1] == ' ') n--;
    Folded f = {.n = n < LETTERS ? (int)n : LETTERS};
    for (int i = 0; i < f.n; i++) f.at[i] = (unsigned char)tolower((unsigned char)title[i]);
    return f;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

// Letters inserted, left out, changed or swapped with their neighbour (optimal string alignment); more than `most`: most + 1.
static int distance(const Folded *a, const Folded *b, int most) {
    int row[3][LETTERS + 1], *before = row[0], *above = row[1], *here = row[2];
    if (a->n - b->n > most || b->n - a->n > most) return most + 1;
    for (int j = 0; j <= b->n; j++) above[j] = j;
    for (int i = 1; i <= a->n; i++) {
        int smallest = here[0] = i;
        for (int j = 1; j <= b->n; j++) {
            here[j] = least(least(above[j], here[j - 1]) + 1, above[j - 1] + (a->at[i - 1] != b->at[j - 1]));
            if (i > 1 && j > 1 && a->at[i - 1] == b->at[j - 2] && a->at[i - 2] == b->at[j - 1])
                here[j] = least(here[j], before[j - 2] + 1);
            smallest = least(smallest, here[j]);
        }
        if (smallest > most) return most + 1;
        int *free_row = before;
        before = above, above = here, here = free_row;
    }
    return least(above[b->n], most + 1);
}

static int nearest(const Items *items, const char *title) {
    const Folded asked = fold(title);
    int best = -1, most = asked.n / 4;
    for (int i = 0; i < items->n && most >= 0; i++) {
        const Folded other = fold(items->title[i]);
        const int d = distance(&asked, &other, most);
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
