#include "data/dates.h"

#include <string.h>
#include <time.h>

typedef struct Rest { // what has not been read yet
    const char *s, *end;
} Rest;

static int take(Rest *r, char c) {
    if (r->s == r->end || *r->s != c) return 0;
    r->s++;
    return 1;
}

// `digits` digits, a number up to `most`; -1 where there is none.
static int number(Rest *r, int digits, int most) {
    int x = 0;
    if (r->end - r->s < digits) return -1;
    for (int i = 0; i < digits; i++, r->s++) {
        if (*r->s < '0' || *r->s > '9') return -1;
        x = 10 * x + *r->s - '0';
    }
    return x <= most ? x : -1;
}

static int take_day(Rest *r, struct tm *d) {
    const int year = number(r, 4, 9999), month = take(r, '-') ? number(r, 2, 12) : -1,
              day = take(r, '-') ? number(r, 2, 31) : -1;
    if (year < 1900 || month < 1 || day < 1) return 0;
    *d = (struct tm){.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    return 1;
}

// Digits of a second's fraction, of which three count. -1 where there is none.
static int take_fraction(Rest *r) {
    int milliseconds = 0, digits = 0;
    for (int x; (x = number(r, 1, 9)) >= 0; digits++)
        if (digits < 3) milliseconds = 10 * milliseconds + x;
    for (int i = digits; i < 3; i++) milliseconds *= 10;
    return digits ? milliseconds : -1;
}

static int take_time(Rest *r, struct tm *d, int *milliseconds) {
    d->tm_hour = number(r, 2, 23);
    d->tm_min = take(r, ':') ? number(r, 2, 59) : -1;
    if (d->tm_hour < 0 || d->tm_min < 0) return 0;
    if (!take(r, ':')) return 1;
    if ((d->tm_sec = number(r, 2, 60)) < 0) return 0; // 60: a leap second
    return !take(r, '.') || (*milliseconds = take_fraction(r)) >= 0;
}

static int take_word(Rest *r, const char *word) {
    const size_t n = strlen(word);
    if ((size_t)(r->end - r->s) < n || memcmp(r->s, word, n) != 0) return 0;
    r->s += n;
    return 1;
}

// Seconds that the zone is ahead of UTC.
static int take_zone(Rest *r, int *ahead) {
    *ahead = 0;
    if (r->s == r->end) return 1;
    take(r, ' ');
    if (take_word(r, "Z") || take_word(r, "UTC") || take_word(r, "GMT")) return 1;
    const int sign = take(r, '+') ? 1 : take(r, '-') ? -1 : 0, hours = sign ? number(r, 2, 23) : -1;
    int minutes = 0;
    if (hours < 0) return 0;
    if (r->s < r->end) {
        take(r, ':');
        minutes = number(r, 2, 59);
    }
    if (minutes < 0) return 0;
    *ahead = sign * (hours * 3600 + minutes * 60);
    return 1;
}

int dates_parse(int64_t *milliseconds, const char *s, size_t n) {
    Rest r = {s, s + n};
    struct tm d;
    int ahead = 0, fraction = 0;
    if (!take_day(&r, &d)) return 0;
    const int day = d.tm_mday, month = d.tm_mon;
    if (r.s < r.end && !((take(&r, 'T') || take(&r, ' ')) && take_time(&r, &d, &fraction) && take_zone(&r, &ahead))) return 0;
    if (r.s != r.end) return 0;
    struct tm midnight = {.tm_year = d.tm_year, .tm_mon = month, .tm_mday = day};
    const time_t begin = timegm(&midnight); // takes the 31st of June for the 1st of July
    if (midnight.tm_mday != day || midnight.tm_mon != month) return 0;
    *milliseconds = 1000 * ((int64_t)begin + d.tm_hour * 3600 + d.tm_min * 60 + d.tm_sec - ahead) + fraction;
    return 1;
}

int dates_parse_digits(int64_t *milliseconds, const char *s, size_t n) {
    char iso[10] = {0, 0, 0, 0, '-', 0, 0, '-', 0, 0};
    if (n != 8) return 0;
    memcpy(iso, s, 4), memcpy(iso + 5, s + 4, 2), memcpy(iso + 8, s + 6, 2);
    return dates_parse(milliseconds, iso, sizeof iso);
}
