#include "report/markdown.h"

#include <ctype.h>
#include <string.h>

void markdown_text(Str *out, const char *text) {
    for (; *text; text++) {
        if (strchr("|\\`*_<>[]&~$", *text)) str_puts(out, "\\");
        str_append(out, iscntrl((unsigned char)*text) ? " " : text, 1);
    }
}
