// Files that appear whole or not at all, where several threads write the same one.
#include "base/file.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/folder.h"

enum { WRITERS = 4, TIMES = 200, BYTES = 1000 };

typedef struct Writer {
    const char *path;
    char letter;
    int failed;
    pthread_t thread;
} Writer;

static void *write_again(void *self) {
    Writer *w = self;
    char text[BYTES];
    memset(text, w->letter, sizeof text);
    for (int i = 0; i < TIMES; i++) w->failed += file_write(w->path, text, sizeof text, NULL) != 0;
    return NULL;
}

// What one thread has just made is not what another takes for left behind.
static void test_one_file_of_many_threads(void **state) {
    (void)state;
    char *folder = folder_new(), *path = file_join(folder, "a");
    Writer writer[WRITERS];
    MapFile f;
    for (int i = 0; i < WRITERS; i++) {
        writer[i] = (Writer){.path = path, .letter = (char)('a' + i)};
        assert_int_equal(pthread_create(&writer[i].thread, NULL, write_again, &writer[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writer[i].thread, NULL);
        assert_int_equal(writer[i].failed, 0);
    }
    assert_int_equal(mapfile_open(&f, path, 0, NULL), 0);
    assert_int_equal(f.bytes, BYTES);
    for (size_t i = 1; i < BYTES; i++) assert_int_equal(f.data[i], f.data[0]);
    mapfile_close(&f);
    free(path);
    folder_remove(folder);
}

// A lock tells what is in use, not the process whose number the name bears: that may be a zombie, or another one by now.
static void test_left_behind(void **state) {
    (void)state;
    char *folder = folder_new(), *path = file_join(folder, "a"), name[2][64], *temporary[2];
    int fd[2];
    for (int i = 0; i < 2; i++) {
        snprintf(name[i], sizeof name[i], "a.tmp-%ld-%d", i ? 1L : (long)getppid(), i);
        temporary[i] = file_join(folder, name[i]);
        assert_int_equal(file_write(temporary[i], "x", 1, NULL), 0);
        fd[i] = open(temporary[i], O_RDONLY | O_CLOEXEC);
        assert_true(fd[i] >= 0);
    }
    assert_int_equal(flock(fd[1], LOCK_EX), 0);
    assert_int_equal(file_write(path, "y", 1, NULL), 0);
    assert_int_equal(access(temporary[0], F_OK), -1);
    assert_int_equal(access(temporary[1], F_OK), 0);
    for (int i = 0; i < 2; i++) close(fd[i]), free(temporary[i]);
    free(path);
    folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_file_of_many_threads), cmocka_unit_test(test_left_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
