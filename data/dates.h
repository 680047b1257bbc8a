// Dates as logs write them: ISO 8601.
#ifndef DATA_DATES_H
#define DATA_DATES_H

#include <stddef.h>
#include <stdint.h>

// "2018-10-01", also with a time behind 'T' or a blank ("12:34", "12:34:56", "12:34:56.789") and a zone behind that ("Z",
// "+02:00", "+0200"; none: UTC). *milliseconds since 1970, what is smaller cut off. 0 where the text is none, or no day of the
// calendar.
int dates_parse(int64_t *milliseconds, const char *s, size_t n);

// "20181001", a day of the calendar: its first second, UTC. 0 where the text is none.
int dates_parse_digits(int64_t *milliseconds, const char *s, size_t n);

#endif
