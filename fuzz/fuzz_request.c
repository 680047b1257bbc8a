// Any bytes as the body of a request, of an inference and of an item: what is taken keeps to the limits.
#include "serve/request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_texts(const char *const *text, int n) {
    for (int i = 0; i < n; i++) {
        const size_t len = strlen(text[i]);
        EXPECT(len > 0 && len <= 4 * REQUEST_CHARACTERS);
        for (size_t b = 0; b < len; b++) EXPECT((unsigned char)text[i][b] >= 0x20 && text[i][b] != 0x7f);
    }
}

static void check(const Request *r, const RequestLimits *limits) {
    EXPECT(r->n >= 1 && r->n <= limits->users);
    for (int u = 0; u < r->n; u++) {
        const Ask *a = &r->ask[u];
        EXPECT(a->n >= 0 && a->n <= REQUEST_HISTORY && a->allows >= -1 && a->allows <= REQUEST_LIST &&
               a->denies <= REQUEST_LIST);
        EXPECT(a->k >= 1 && a->k <= a->beams && a->beams <= limits->max_beams);
        check_texts(a->history, a->n);
        check_texts(a->allow, a->allows);
        check_texts(a->deny, a->denies);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const RequestLimits limits = {.beams = 10, .max_beams = 50, .users = 8};
    int (*const parse[])(Request *, const char *, size_t, const RequestLimits *, Err *) = {request_parse, request_infer};
    for (int i = 0; i < 2; i++) {
        Request r;
        Err err = {0};
        if (parse[i](&r, (const char *)data, bytes, &limits, &err) == 0)
            check(&r, &limits);
        else
            EXPECT((err.code == ERR_DATA || err.code == ERR_USAGE) && *err.message);
        request_free(&r);
    }
    ItemText item;
    if (request_item(&item, (const char *)data, bytes, NULL) == 0) {
        check_texts(&item.title, 1);
        if (item.text) check_texts(&item.text, 1);
        json_decref(item.json);
    }
    return 0;
}
