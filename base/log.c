#include "base/log.h"
#include "base/vec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

int log_level = LOG_INFO;
static int bar_drawn; // a bar stands on the current line of the terminal

double log_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void log_line(int level, const char *format, ...) {
    if (level > log_level) return;
    flockfile(stderr); // of bar_drawn too: several threads of a server speak
    if (bar_drawn) fputs("\r\033[K", stderr);
    bar_drawn = 0;
    if (level == LOG_WARN) fputs("warning: ", stderr);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    funlockfile(stderr);
}

void log_next(const char *command, ...) {
    Str s = {0};
    va_list args;
    va_start(args, command);
    for (const char *slot; (slot = strstr(command, "%s")); command = slot + 2) {
        const char *value = va_arg(args, const char *);
        size_t before = (size_t)(slot - command);
        if (!value) before = (size_t)((const char *)memrchr(command, ' ', before - 1) - command); // of " --option %s"
        str_append(&s, command, before);
        if (value) str_shell(&s, value);
    }
    va_end(args);
    log_info("next: %s%s", s.data ? s.data : "", command);
    str_free(&s);
}

void progress_start(Progress *p, const char *label, const char *unit, uint64_t total) {
    *p = (Progress){.label = label, .unit = unit, .total = total, .started = log_seconds()};
    p->drawn = p->started;
}

static void duration(char out[16], double seconds) {
    int s = seconds < 0 || seconds > 360000 ? 360000 : (int)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 16, "%dh%02dm", s / 3600 % 1000, s / 60 % 60);
    else
        snprintf(out, 16, "%dm%02ds", s / 60, s % 60);
}

// Columns of the terminal; 0 where it does not say.
static int columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) ? 0 : size.ws_col;
}

static void progress_draw(Progress *p, int final) {
    const double quiet_seconds = 15;
    enum { BAR = 24 };
    int terminal = isatty(STDERR_FILENO);
    double now = log_seconds(), passed = now - p->started;
    if (!final && now - p->drawn < (terminal ? 0.1 : quiet_seconds)) return;
    p->drawn = now;
    double share = p->total ? (double)p->done / (double)p->total : 1,
           rate = passed > 0 ? (double)(p->done - p->begun) / passed : 0;
    char spent[16], left[16], bar[BAR + 1], figures[256], line[320];
    duration(spent, passed);
    duration(left, rate > 0 ? (double)(p->total - p->done) / rate : 0);
    const int n = snprintf(figures, sizeof figures, "%llu/%llu %s %.*f/s %s%s%s %s", (unsigned long long)p->done,
                           (unsigned long long)p->total, p->unit, rate < 10 ? 2 : 0, rate, spent, final ? "" : " left ",
                           final ? "" : left, p->note);
    // One line: what wraps is not drawn over by the next. Its last column stays empty, some terminals wrap behind it.
    const int most = terminal && columns() > 1 ? columns() - 1 : (int)sizeof line;
    int signs = most - n - 13;
    if (signs > BAR) signs = BAR;
    if (signs < 0) signs = 0;
    memset(bar, '.', (size_t)signs);
    memset(bar, '#', (size_t)(share * signs));
    bar[signs] = 0;
    snprintf(line, sizeof line, "%-9s [%s] %s", p->label, bar, figures);
    flockfile(stderr);
    if (terminal) fputs("\r\033[K", stderr);
    fprintf(stderr, "%.*s", final ? (int)sizeof line : most, line);
    if (!terminal || final) fputc('\n', stderr);
    bar_drawn = terminal && !final;
    fflush(stderr);
    funlockfile(stderr);
}

void progress_update(Progress *p, uint64_t done, const char *note_format, ...) {
    p->done = done > p->total ? p->total : done;
    va_list args;
    va_start(args, note_format);
    vsnprintf(p->note, sizeof p->note, note_format, args);
    va_end(args);
    if (log_level >= LOG_INFO) progress_draw(p, 0);
}

void progress_finish(Progress *p) {
    if (log_level >= LOG_INFO) progress_draw(p, 1);
}
