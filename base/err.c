#include "base/err.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Control bytes of a hostile file must not reach the terminal.
static void err_escape(char *s) {
    for (; *s; s++)
        if (utf8_is_control(*s)) *s = '?';
}

int err_set(Err *err, int code, const char *format, ...) {
    if (!err) return -1;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    err->code = code;
    err_escape(err->message);
    return -1;
}

int err_errno(Err *err, const char *format, ...) {
    int number = errno;
    if (!err) return -1;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(err, number == ENOMEM ? ERR_MEMORY : ERR_IO, "%s: %s", text, strerror(number));
}

int err_prefix(Err *err, const char *format, ...) {
    if (!err) return -1;
    char text[sizeof err->message], old[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(old, err->message, sizeof old);
    snprintf(err->message, sizeof err->message, "%.250s: %.380s", text, old);
    err_escape(err->message);
    return -1;
}

_Noreturn void err_check_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "latentr3: internal error: %s:%d: %s does not hold\n", file, line, condition);
    fflush(NULL);
    _Exit(ERR_INTERNAL);
}
