// Real data that is not part of the repository: the folder LATENTR3_DATA, else ../shared/data.
#ifndef TESTS_SHARED_DATA_H
#define TESTS_SHARED_DATA_H

#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>

// Path of a file or folder of it (the caller frees it), or NULL, with a line that says so.
static inline char *shared_data(const char *name) {
    const char *folder = getenv("LATENTR3_DATA");
    char *path = file_join(folder ? folder : "../shared/data", name);
    if (file_exists(path)) return path;
    printf("%s is not there: skipped (LATENTR3_DATA names the folder of such data)\n", path);
    free(path);
    return NULL;
}

#endif
