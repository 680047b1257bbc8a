// Made-up reviews in the form of the Amazon 2018 dump, for bench/prepare.sh.
//   make_reviews log N | make_reviews items N
// N reviews by 3 N / 10 users of N / 30 items, few of which are frequent, over four years; and the items of those N.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 42;

static uint64_t draw(void) { // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// 0 to n - 1, the low ones often: the share of the first x is x^(1 / power).
static uint64_t draw_low(uint64_t n, double power) {
    return (uint64_t)((double)n * pow((double)(draw() >> 11) * 0x1p-53, power));
}

static const char *const words[] = {"a",      "the",   "it",       "works",   "great",  "with",   "my",     "old",
                                    "radio",  "cable", "and",      "very",    "good",   "for",    "price",  "not",
                                    "bad",    "black", "case",     "charger", "this",   "is",     "bought", "two",
                                    "months", "later", "returned", "fast",    "screen", "product"};

static void put_words(int n) {
    for (int i = 0; i < n; i++) printf("%s%s", i ? " " : "", words[draw() % (sizeof words / sizeof *words)]);
}

// Ids look random, as real ones do.
static unsigned long long scatter(uint64_t id) {
    return (id + 1) * 0x9e3779b97f4a7c15u >> 12;
}

static void put_review(uint64_t users, uint64_t items) {
    printf("{\"overall\": %d.0, \"verified\": true, \"reviewTime\": \"07 9, 2014\", \"reviewerID\": \"A%013llX\", ",
           1 + (int)(draw() % 5), scatter(draw_low(users, 2.2)));
    printf("\"asin\": \"B%09llX\", \"style\": {\"Color:\": \" Black\"}, \"reviewText\": \"", scatter(draw_low(items, 3)) >> 16);
    put_words(5 + (int)(draw() % 30));
    printf("\", \"summary\": \"Five stars\", \"unixReviewTime\": %llu}\n", 1412121600 + draw() % (4 * 365) * 86400);
}

static void put_item(uint64_t id) {
    printf("{\"category\": [\"Electronics\"], \"also_buy\": [], \"asin\": \"B%09llX\", \"title\": \"", scatter(id) >> 16);
    put_words(3 + (int)(draw() % 8));
    printf(" %llu\"}\n", (unsigned long long)id);
}

int main(int argc, char **argv) {
    static char buffer[1 << 20];
    if (argc != 3) return 2;
    uint64_t n = strtoull(argv[2], NULL, 10), users = n * 3 / 10, items = n / 30;
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    if (strcmp(argv[1], "log") == 0)
        for (uint64_t i = 0; i < n; i++) put_review(users, items);
    else
        for (uint64_t i = 0; i < items; i++) put_item(i);
    return fflush(stdout) ? 4 : 0;
}
