#include "report/html.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>

// report.css, put in by the build.
extern const char html_css[];
__asm__(".section .rodata\n"
        ".global html_css\n"
        "html_css:\n"
        ".incbin \"" REPORT_CSS "\"\n"
        ".byte 0\n"
        ".previous\n");

static int xml_takes(uint32_t c) {
    return c == '\t' || c == '\n' || (c >= 0x20 && c < 0x7f) || (c > 0x9f && c != 0xfffe && c != 0xffff);
}

void html_text(Str *out, const char *text) {
    const size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        uint32_t c;
        const size_t step = utf8_next(text + i, n - i, &c);
        if (!step || !xml_takes(c))
            str_puts(out, "\xef\xbf\xbd");
        else if (c == '&')
            str_puts(out, "&amp;");
        else if (c == '<')
            str_puts(out, "&lt;");
        else if (c == '>')
            str_puts(out, "&gt;");
        else if (c == '"')
            str_puts(out, "&quot;");
        else if (c == '\'')
            str_puts(out, "&#39;");
        else
            str_append(out, text + i, step);
        i += step ? step : 1;
    }
}

static void put_number(Str *out, double x, int decimals, const char *format) {
    if (!isfinite(x)) {
        str_puts(out, "\xe2\x80\x93"); // an en dash
        return;
    }
    str_printf(out, "<data value=\"%.9g\">", x);
    str_printf(out, format, decimals, x);
    str_puts(out, "</data>");
}

void html_number(Str *out, double x, int decimals) {
    put_number(out, x, decimals, "%.*f");
}

void html_signed(Str *out, double x, int decimals) {
    put_number(out, x, decimals, "%+.*f");
}

void html_duration(Str *out, double seconds) {
    if (!isfinite(seconds))
        str_puts(out, "\xe2\x80\x93");
    else if (seconds < 120)
        str_printf(out, "%.3g s", seconds);
    else if (seconds < 7200)
        str_printf(out, "%.1f min", seconds / 60);
    else
        str_printf(out, "%.1f h", seconds / 3600);
}

void html_begin(Str *out, const char *title) {
    str_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                  "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>");
    html_text(out, title);
    str_printf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", html_css);
    html_text(out, title);
    str_puts(out, "</h1>\n");
}

void html_end(Str *out) {
    str_puts(out, "<footer>latentr3 " LATENTR3_VERSION "</footer>\n</main>\n</body>\n</html>\n");
}
