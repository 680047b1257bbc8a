// Members of a JSON line: by hand, and against jansson on random and broken objects.
#include "base/arena.h"
#include "base/rng.h"
#include "data/jsonl.h"
#include "tests/guard.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const names[] = {"a", "b", NULL};

static const char *read_line(Jsonl *j, Guard *g, const char *line, size_t n, JsonlValue value[3]) {
    *g = guard_copy(line, n);
    return jsonl_read(j, g->data, n, names, 3, value);
}

static void takes(const char *line, JsonlKind a, const char *text_a, JsonlKind b, const char *text_b) {
    Jsonl j = {0};
    Guard g;
    JsonlValue v[3];
    const char *fault = read_line(&j, &g, line, strlen(line), v);
    if (fault) fail_msg("%s: byte %zu: %s", line, jsonl_byte(&j), fault);
    assert_true(v[0].kind == a && v[1].kind == b && v[2].kind == JSONL_ABSENT);
    if (text_a) assert_true(v[0].len == strlen(text_a) && !memcmp(v[0].text, text_a, v[0].len));
    if (text_b) assert_true(v[1].len == strlen(text_b) && !memcmp(v[1].text, text_b, v[1].len));
    jsonl_free(&j);
    guard_close(&g);
}

static void refuses(const char *line, size_t byte, const char *part) {
    Jsonl j = {0};
    Guard g;
    JsonlValue v[3];
    const char *fault = read_line(&j, &g, line, strlen(line), v);
    if (!fault || !strstr(fault, part) || jsonl_byte(&j) != byte)
        fail_msg("%s: byte %zu: %s, not byte %zu: %s", line, jsonl_byte(&j), fault ? fault : "taken", byte, part);
    jsonl_free(&j);
    guard_close(&g);
}

static void test_members(void **state) {
    (void)state;
    takes("{}", JSONL_ABSENT, NULL, JSONL_ABSENT, NULL);
    takes(" { \"a\" : \"x\" , \"b\" : -1.5e+3 } ", JSONL_STRING, "x", JSONL_NUMBER, "-1.5e+3");
    takes("{\"b\":null,\"a\":true}", JSONL_OTHER, "true", JSONL_NULL, NULL);
    takes("{\"x\":{\"a\":1},\"y\":[{\"a\":2,\"b\":[]},[]],\"b\":[1,{\"c\":\"}\"}]}", JSONL_ABSENT, NULL, JSONL_OTHER, NULL);
    takes("{\"a\":\"1\\\"2\\\\3\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\",\"b\":\"plain \\u0041\"}", JSONL_STRING,
          "1\"2\\3/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80", JSONL_STRING, "plain A");
    takes("{\"\\u0061\":1,\"c\":\"\\ud800 \\u0000\"}", JSONL_NUMBER, "1", JSONL_ABSENT, NULL); // faults of texts nobody reads
    takes("{\"a\":\"\",\"b\":0}", JSONL_STRING, "", JSONL_NUMBER, "0");
    takes("{\"c\":1,\"c\":2}", JSONL_ABSENT, NULL, JSONL_ABSENT, NULL);
    takes("{\"a\":\"twenty bytes and more, and no escape\"}", JSONL_STRING, "twenty bytes and more, and no escape",
          JSONL_ABSENT, NULL);
}

static void test_refusals(void **state) {
    (void)state;
    refuses("", 1, "no JSON object");
    refuses("5", 1, "no JSON object");
    refuses("[{\"a\":1}]", 1, "an array: one object a line");
    refuses("{", 2, "a member's name in double quotes");
    refuses("{'a': 1}", 2, "this is Python");
    refuses("{\"a\": 'x'}", 7, "this is Python");
    refuses("{\"a\"}", 5, "no colon");
    refuses("{\"a\":}", 6, "no JSON value");
    refuses("{\"a\":1", 7, "the line ends inside the object");
    refuses("{\"a\":1,}", 8, "a member's name");
    refuses("{\"a\":1 \"b\":2}", 8, "a comma or a closing bracket");
    refuses("{\"a\":1}{\"a\":2}", 8, "something behind the object");
    refuses("{\"a\":1,\"a\":2}", 12, "a member stands twice");
    refuses("{\"a\":\"x", 8, "a string that does not end");
    refuses("{\"a\":\"x\x01y\"}", 8, "a control byte");
    refuses("{\"a\":\"\\q\"}", 8, "an unknown escape");
    refuses("{\"a\":\"\\u12g4\"}", 9, "four hexadecimal digits");
    refuses("{\"a\":\"\\ud800\"}", 13, "half a surrogate pair");
    refuses("{\"a\":\"\\ude00\\ud83d\"}", 13, "half a surrogate pair");
    refuses("{\"a\":\"\\u0000\"}", 13, "a NUL");
    refuses("{\"a\":NaN}", 6, "no JSON value");
    refuses("{\"a\":Infinity}", 6, "no JSON value");
    refuses("{\"a\":+1}", 6, "no JSON value");
    refuses("{\"a\":01}", 7, "a comma or a closing bracket");
    refuses("{\"a\":1.}", 8, "not a JSON number");
    refuses("{\"a\":-}", 7, "not a JSON number");
    refuses("{\"a\":1e}", 8, "not a JSON number");
    refuses("{\"x\":[1,]}", 9, "no JSON value");
    refuses("{\"x\":[1 2]}", 9, "a comma or a closing bracket");
    refuses("{\"x\":[1}}", 8, "a comma or a closing bracket");
    refuses("{\"x\":{\"y\":1]}", 12, "a comma or a closing bracket");
    refuses("{\"a\":tru}", 6, "no JSON value");
    char deep[512] = "{\"x\":";
    for (int i = 0; i < JSONL_DEPTH - 1; i++) strcat(deep, "[");
    for (int i = 0; i < JSONL_DEPTH - 1; i++) strcat(deep, "]");
    strcat(deep, "}");
    takes(deep, JSONL_ABSENT, NULL, JSONL_ABSENT, NULL);
    memmove(deep + 6, deep + 5, strlen(deep + 5) + 1);
    refuses(deep, 5 + JSONL_DEPTH, "more than 64 levels");
}

// ---- against jansson ----

typedef struct Random {
    uint64_t seed, at;
} Random;

static int draw(Random *r, int n) {
    return (int)rng_below(r->seed, RNG_SYNTHETIC, r->at++, (uint64_t)n);
}

static json_t *random_value(Random *r, int depth) {
    static const char *const texts[] = {
        "", "a", "b", "x \" y", "\\", "\n\t", "\xc3\xa9", "\xf0\x9f\x98\x80", "long text of 40 letters, with nothing in it"};
    json_t *v;
    switch (draw(r, depth ? 8 : 6)) {
    case 0: return json_integer(draw(r, 1000) - 500);
    case 1: return json_real((draw(r, 1000) - 500) / 8.0);
    case 2: return json_null();
    case 3: return json_boolean(draw(r, 2));
    case 6:
        v = json_array();
        for (int n = draw(r, 4); n > 0; n--) json_array_append_new(v, random_value(r, depth - 1));
        return v;
    case 7:
        v = json_object();
        for (int n = draw(r, 4); n > 0; n--) json_object_set_new(v, texts[draw(r, 9)], random_value(r, depth - 1));
        return v;
    default: return json_string(texts[draw(r, 9)]);
    }
}

// What jansson says of the line must be what we say.
static void compare(const char *line, size_t n, int *taken) {
    Jsonl j = {0};
    Guard g;
    JsonlValue v[3];
    const char *fault = read_line(&j, &g, line, n, v);
    json_t *json = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    if (json && json_is_object(json)) {
        *taken += 1;
        if (fault && strcmp(fault, "a member stands twice") != 0 && strcmp(fault, "a NUL in a text") != 0)
            fail_msg("%.*s: byte %zu: %s", (int)n, line, jsonl_byte(&j), fault);
        for (int i = 0; i < 2 && !fault; i++) {
            const json_t *value = json_object_get(json, names[i]);
            JsonlKind kind = !value                  ? JSONL_ABSENT
                             : json_is_null(value)   ? JSONL_NULL
                             : json_is_string(value) ? JSONL_STRING
                             : json_is_number(value) ? JSONL_NUMBER
                                                     : JSONL_OTHER;
            if (v[i].kind != kind) fail_msg("%.*s: %s is of kind %d, not %d", (int)n, line, names[i], v[i].kind, kind);
            if (kind == JSONL_STRING)
                assert_true(v[i].len == json_string_length(value) && !memcmp(v[i].text, json_string_value(value), v[i].len));
            if (kind == JSONL_NUMBER) assert_true(strtod(v[i].text, NULL) == json_number_value(value));
        }
    }
    json_decref(json);
    jsonl_free(&j);
    guard_close(&g);
}

static void test_jansson(void **state) {
    (void)state;
    int taken = 0;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        Random r = {seed, 0};
        json_t *o = json_object();
        json_object_set_new(o, "a", random_value(&r, 4));
        json_object_set_new(o, draw(&r, 2) ? "b" : "c", random_value(&r, 4));
        char *text = json_dumps(o, draw(&r, 2) ? JSON_COMPACT : JSON_ENSURE_ASCII);
        size_t n = strlen(text);
        compare(text, n, &taken);
        for (int k = 0; k < 4; k++) { // one byte of ASCII changed: mostly broken, sometimes something else
            char was, *at = text + draw(&r, (int)n);
            if (*at < 0) continue;
            was = *at;
            *at = "\"\\{}[],:01-e. nt"[draw(&r, 16)];
            compare(text, n, &taken);
            *at = was;
        }
        compare(text, (size_t)draw(&r, (int)n), &taken);
        free(text);
        json_decref(o);
    }
    assert_true(taken > 6000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_members), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_jansson)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
