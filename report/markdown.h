// Text in Markdown, as the hub and common viewers read it.
#ifndef REPORT_MARKDOWN_H
#define REPORT_MARKDOWN_H

#include "base/vec.h"

// Within a line or a cell of a table: signs that mean something are escaped, control bytes are blanks.
void markdown_text(Str *out, const char *text);

#endif
