#include "base/number.h"
#include "base/err.h"

#include <locale.h>
#include <stdlib.h>

static locale_t c_locale;

__attribute__((constructor)) static void number_start(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", 0);
    CHECK(c_locale);
}

double number_read(const char *text) {
    return strtod_l(text, NULL, c_locale);
}
