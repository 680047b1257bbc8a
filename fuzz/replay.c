// Runs a fuzz target over the files and folders given, without a fuzzer: the corpus as a test.
#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static int run_file(const char *path) {
    MapFile f;
    Err err = {0};
    if (mapfile_open(&f, path, 0, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    // A copy of just this size, so that a sanitizer sees what is read behind it.
    uint8_t *copy = malloc(f.bytes ? f.bytes : 1);
    CHECK(copy);
    for (size_t i = 0; i < f.bytes; i++) copy[i] = (uint8_t)f.data[i];
    LLVMFuzzerTestOneInput(copy, f.bytes);
    free(copy);
    mapfile_close(&f);
    return 0;
}

// The number of files run, or -1.
static int run_folder(const char *folder) {
    DIR *d = opendir(folder);
    int n = 0;
    if (!d) {
        perror(folder);
        return -1;
    }
    for (struct dirent *e; n >= 0 && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char *path = file_join(folder, e->d_name);
        n = run_file(path) ? -1 : n + 1;
        free(path);
    }
    closedir(d);
    return n;
}

int main(int argc, char **argv) {
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int n = file_is_folder(argv[i]) ? run_folder(argv[i]) : run_file(argv[i]) ? -1 : 1;
        if (n < 0) return ERR_IO;
        total += n;
    }
    printf("%d inputs\n", total);
    return total ? 0 : ERR_USAGE; // a corpus that is gone must not pass
}
