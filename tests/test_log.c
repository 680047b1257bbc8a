// The progress bar on terminals of several widths, and the command that comes next.
#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int saved, master; // the former stderr, and the end of the terminal in its place that is read

static void terminal_open(int columns) {
    master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    assert_true(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0);
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(slave, STDERR_FILENO) >= 0);
    close(slave);
}

static void terminal_close(char *text, size_t size) {
    size_t n = 0;
    log_line(LOG_WARN, "end"); // a pty's buffer holds all of these tests
    fflush(stderr);
    while (n + 1 < size && !(n && text[n - 1] == '\n' && memmem(text, n, "warning: end", 12))) {
        ssize_t more = read(master, text + n, size - 1 - n);
        assert_true(more > 0);
        n += (size_t)more;
    }
    text[n] = 0;
    dup2(saved, STDERR_FILENO);
    close(saved), close(master);
}

// What two updates and an end leave on a terminal, 24 signs of a bar or as many as fit.
static void draw(int columns, char *text, size_t size) {
    Progress p;
    terminal_open(columns);
    progress_start(&p, "sft", "rows", 3840);
    for (uint64_t done = 0; done <= 3840; done += 1920) {
        nanosleep(&(struct timespec){.tv_nsec = 120000000}, NULL);
        progress_update(&p, done, "step %d/60 loss %.4f", (int)(done / 64), 6.1573);
    }
    progress_finish(&p);
    terminal_close(text, size);
}

static void test_bar_fits(void **state) {
    (void)state;
    for (int columns = 20; columns <= 100; columns += 20) {
        char text[4096], *last = text;
        draw(columns, text, sizeof text);
        int drawn = 0;
        for (char *at = strstr(text, "\033[K"); at; at = last, drawn++) {
            at += 3;
            last = strstr(at, "\033[K");
            if (!last || drawn == 3) break; // the last line ends, and may wrap
            const size_t len = (size_t)(last - 1 - at);
            if (!(len > 0 && len < (size_t)columns)) fail_msg("%zu characters on %d columns: %.*s", len, columns, (int)len, at);
            if (columns == 80) assert_non_null(memmem(at, len, "loss 6.1573", 11)); // the bar gives way first
        }
        assert_int_equal(drawn, 3);
    }
}

static void test_bar_of_unknown_width(void **state) {
    (void)state;
    char text[4096];
    draw(0, text, sizeof text);
    assert_non_null(strstr(text, "sft       [############............] 1920/3840 rows"));
    assert_non_null(strstr(text, "sft       [########################] 3840/3840 rows"));
}

static void test_next(void **state) {
    (void)state;
    char text[4096];
    terminal_open(80);
    log_next("latentr3 rl --data %s --category %s --out runs/rl", "my data", "film");
    log_next("latentr3 rl --data %s --category %s --out runs/rl", "data", getenv("LATENTR3_NOT_SET"));
    terminal_close(text, sizeof text);
    assert_non_null(strstr(text, "next: latentr3 rl --data 'my data' --category film --out runs/rl\r\n"));
    assert_non_null(strstr(text, "next: latentr3 rl --data data --out runs/rl\r\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bar_fits), cmocka_unit_test(test_bar_of_unknown_width),
                                       cmocka_unit_test(test_next)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
