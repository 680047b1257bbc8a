// Pieces of an HTML page that is well-formed XML too, so that any parser can check it.
#ifndef REPORT_HTML_H
#define REPORT_HTML_H

#include "base/vec.h"

// Text as it may stand between tags and in quoted attributes. What XML cannot hold (control bytes, broken UTF-8) becomes
// U+FFFD.
void html_text(Str *out, const char *text);

// <data value="0.0333333333">0.0333</data>: `decimals` are shown, all digits kept. A number that is none is a dash.
void html_number(Str *out, double x, int decimals);
// The same with its sign, for differences.
void html_signed(Str *out, double x, int decimals);
// "45 s", "3.2 min", "1.5 h"
void html_duration(Str *out, double seconds);

// The page up to the first section, with its style; and its end.
void html_begin(Str *out, const char *title);
void html_end(Str *out);

#endif
