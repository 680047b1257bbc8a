// Folders for a test's files. Include it behind <cmocka.h>.
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include "base/arena.h"
#include "base/file.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline char *folder_new(void) { // in memory where that can be had: thousands of flushes take minutes on a disk
    char memory[] = "/dev/shm/latentr3-test-XXXXXX", disk[] = "/tmp/latentr3-test-XXXXXX";
    char *path = mkdtemp(memory) ? memory : mkdtemp(disk);
    assert_non_null(path);
    return mem_strndup(path, strlen(path));
}

static inline void folder_put(const char *folder, const char *name, const char *text, size_t bytes) {
    char *path = file_join(folder, name);
    Err err = {0};
    if (file_write(path, text, bytes, &err)) fail_msg("%s", err.message);
    free(path);
}

static inline void folder_remove(char *folder) { // with the files in it
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char *path = file_join(folder, e->d_name);
        if (e->d_name[0] != '.') assert_int_equal(unlink(path), 0);
        free(path);
    }
    closedir(dir);
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

// Files whose names begin with good or bad, which is what becomes of them; at least so many of each.
static inline void folder_verdicts(const char *folder, void (*check)(const char *path, int is_good), int least) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n[2] = {0};
    for (struct dirent *e; (e = readdir(dir));) {
        const int is_good = !strncmp(e->d_name, "good", 4);
        if (!is_good && strncmp(e->d_name, "bad", 3)) continue;
        char *path = file_join(folder, e->d_name);
        check(path, is_good);
        n[is_good]++;
        free(path);
    }
    closedir(dir);
    assert_true(n[0] >= least && n[1] >= least);
}

#endif
