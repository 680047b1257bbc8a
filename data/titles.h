// What a title must be, as the published pipeline has it.
#ifndef DATA_TITLES_H
#define DATA_TITLES_H

#include "base/vec.h"

typedef enum TitleFault {
    TITLE_GOOD,
    TITLE_NONE,    // nothing, or blanks of any kind alone
    TITLE_MARKUP,  // holds "<span id": a piece of the page, not a title
    TITLE_SHORT,   // one character
    TITLE_LONG,    // over 20 words between blanks
    TITLE_CONTROL, // control bytes, or over 64 KiB: it cannot stand in info.txt
    TITLE_FAULTS
} TitleFault;

extern const char *const titles_fault_name[TITLE_FAULTS]; // as the report has them

// `out` becomes the title without &quot; and &amp; (they become `"` and `&`), then without blanks, then quotes at both ends.
// published: the middle three rules hold too. drop_year: titles_drop_year, before the rules.
TitleFault titles_clean(Str *out, const char *s, size_t n, int published, int drop_year);

// Without " (1995)", or another year, at its end; a title that is nothing else stays. Whether there was one.
int titles_drop_year(Str *title);

#endif
