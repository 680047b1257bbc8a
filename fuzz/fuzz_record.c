// Any bytes as the folder of a run, four files parted by lines of "====" (metrics.json, log.jsonl, eval-test.json,
// results-test.jsonl): refused with a line, or shown as a page. "HASH" in the third stands for the fourth's hash, which
// nobody would hit upon.
#include "base/file.h"
#include "base/hash.h"
#include "report/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

enum { FILES = 4 };
static const char *const name[FILES] = {"metrics.json", "log.jsonl", "eval-test.json", "results-test.jsonl"};
static char folder[] = "/tmp/latentr3-fuzz-XXXXXX";

static void at_end(void) {
    Err err = {0};
    (void)!file_remove_folder(folder, &err);
}

static void put(int i, const char *data, size_t bytes) {
    char path[sizeof folder + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name[i]);
    unlink(path);
    if (bytes == 0) return;
    FILE *f = fopen(path, "w");
    EXPECT(f && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0);
}

// The part up to the next line of "====", which *at passes.
static const char *part(const char *data, size_t bytes, size_t *at, size_t *len) {
    static const char line[] = "====\n";
    const char *begin = data + *at, *end = memmem(begin, bytes - *at, line, sizeof line - 1);
    *len = end ? (size_t)(end - begin) : bytes - *at;
    *at += *len + (end ? sizeof line - 1 : 0);
    return begin;
}

static void fill(const char *data, size_t bytes) {
    const char *text[FILES];
    size_t len[FILES], at = 0;
    for (int i = 0; i < FILES; i++) text[i] = part(data, bytes, &at, &len[i]);
    for (int i = 0; i < FILES; i++) put(i, text[i], len[i]);
    const char *mark = memmem(text[2], len[2], "HASH", 4);
    char hash[33];
    Str eval = {0};
    if (!mark) return;
    hash_bytes(hash, text[3], len[3]);
    str_append(&eval, text[2], (size_t)(mark - text[2]));
    str_puts(&eval, hash);
    str_append(&eval, mark + 4, len[2] - (size_t)(mark + 4 - text[2]));
    put(2, eval.data, eval.len);
    str_free(&eval);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static int made;
    Record r;
    Err err = {0};
    Str page = {0};
    if (!made) EXPECT(mkdtemp(folder) && atexit(at_end) == 0);
    made = 1;
    fill((const char *)data, bytes);
    if (record_open(&r, folder, "test", &err)) {
        EXPECT(err.code >= ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    const Record twice[2] = {r, r};
    EXPECT(page_write(&page, twice, 2, "test", 10, 1, &err) == 0);
    EXPECT(!strstr(page.data, "<script") && strstr(page.data, "</html>"));
    str_free(&page);
    record_close(&r);
    return 0;
}
