// Any bytes as one JSON line: what jansson takes as an object we take too, with the same values of the members asked for; where
// we refuse, the byte lies in the line.
#include "base/arena.h"
#include "data/jsonl.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *const names[] = {"a", "title", NULL};

// Where jansson would keep the last of two members, or a text that a C string cuts short, or go deeper. It refuses half a pair
// too.
static int is_stricter(const char *fault) {
    return !strcmp(fault, "a member stands twice") || !strcmp(fault, "a NUL in a text") ||
           !strcmp(fault, "more than 64 levels deep");
}

static void compare(const char *line, size_t n, const char *fault, const JsonlValue *value) {
    json_error_t error;
    if (memchr(line, 0, n)) return; // jansson passes over a NUL behind `true`
    json_t *json = json_loadb(line, n, JSON_ALLOW_NUL, &error);
    if (json_is_object(json)) {
        EXPECT(!fault || is_stricter(fault));
        for (int i = 0; i < 2 && !fault; i++) {
            const json_t *v = json_object_get(json, names[i]);
            EXPECT((value[i].kind == JSONL_STRING) == json_is_string(v));
            EXPECT((value[i].kind == JSONL_NUMBER) == json_is_number(v));
            EXPECT((value[i].kind == JSONL_ABSENT) == (v == NULL));
            if (json_is_string(v))
                EXPECT(value[i].len == json_string_length(v) && !memcmp(value[i].text, json_string_value(v), value[i].len));
        }
    }
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Jsonl j = {0};
    JsonlValue value[3];
    const char *fault = jsonl_read(&j, (const char *)data, bytes, names, 3, value);
    EXPECT(jsonl_byte(&j) >= 1 && jsonl_byte(&j) <= bytes + 1);
    compare((const char *)data, bytes, fault, value);
    jsonl_free(&j);
    return 0;
}
