// prepare_run as a test wants it. Include it behind <cmocka.h>.
#ifndef TESTS_PREPARED_H
#define TESTS_PREPARED_H

#include "data/prepare.h"
#include <string.h>

static inline void prepared_run(const PrepareOptions *o, json_t **report) {
    Err err = {0};
    if (prepare_run(o, report, &err)) fail_msg("%s", err.message);
}

static inline void prepared_refuses(PrepareOptions o, int code, const char *part) {
    Err err = {0};
    json_t *report = (json_t *)&o;
    assert_int_equal(prepare_run(&o, &report, &err), -1);
    assert_null(report);
    if (err.code != code || !strstr(err.message, part))
        fail_msg("%d \"%s\" is not %d \"%s\"", err.code, err.message, code, part);
}

// The number at a / b, or a / b / c, of a report.
static inline long long prepared_count(const json_t *report, const char *a, const char *b, const char *c) {
    const json_t *v = json_object_get(json_object_get(report, a), b);
    if (c) v = json_object_get(v, c);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

#endif
