#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"
#include "base/arena.h"
#include "text/pattern_translate.h"

#include <pcre2.h>
#include <stdlib.h>

struct Pattern {
    pcre2_code *code;
};

struct PatternRun {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

// From pcre2's own syntax.
static int compile(Pattern **out, const Str *pattern, Err *err) {
    int number;
    PCRE2_SIZE at;
    pcre2_compile_context *context = mem_need(pcre2_compile_context_create(NULL), "a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); // so that '.' leaves out \n alone, whatever the library was built for
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern->data, pattern->len, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                     &number, &at, context);
    pcre2_compile_context_free(context);
    if (!code && number == PCRE2_ERROR_HEAP_FAILED) mem_need(code, "a pattern");
    if (!code) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(number, text, sizeof text);
        return err_set(err, ERR_DATA, "bad pattern: %s", (const char *)text);
    }
    uint32_t can_be_empty = 0;
    CHECK(pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &can_be_empty) == 0);
    if (can_be_empty) {
        pcre2_code_free(code);
        return err_set(err, ERR_DATA, "bad pattern: it matches the empty text");
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // where there is no JIT pcre2 interprets
    *out = mem_alloc(1, sizeof **out);
    (*out)->code = code;
    return 0;
}

static int translate_and_compile(Pattern **p, int (*translate)(Str *, const char *, size_t, Err *), const char *source,
                                 size_t len, Err *err) {
    Str pattern = {0};
    *p = NULL;
    str_clear(&pattern);
    int status = translate(&pattern, source, len, err);
    if (status == 0) status = compile(p, &pattern, err);
    str_free(&pattern);
    return status;
}

int pattern_compile(Pattern **p, const char *source, size_t len, int literal, Err *err) {
    return translate_and_compile(p, literal ? pattern_translate_literal : pattern_translate, source, len, err);
}

int pattern_digits(Pattern **p, Err *err) {
    return translate_and_compile(p, pattern_translate_digits, NULL, 0, err);
}

int pattern_word_char(Pattern **p, Err *err) {
    return translate_and_compile(p, pattern_translate_word_char, NULL, 0, err);
}

void pattern_close(Pattern *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    free(p);
}

PatternRun *pattern_run_open(size_t len) {
    PatternRun *run = mem_alloc(1, sizeof *run);
    run->data = mem_need(pcre2_match_data_create(1, NULL), "a pattern's match");
    run->context = mem_need(pcre2_match_context_create(NULL), "a pattern's match");
    // A sensible pattern goes back over a run of characters a few times; one that wants more must not hang the program.
    size_t steps = 1000000 + 16 * len;
    pcre2_set_match_limit(run->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_heap_limit(run->context, 64 << 10); // KiB
    return run;
}

void pattern_run_close(PatternRun *run) {
    if (!run) return;
    pcre2_match_data_free(run->data);
    pcre2_match_context_free(run->context);
    free(run);
}

int pattern_next(const Pattern *p, PatternRun *run, const char *text, size_t len, size_t from, size_t *begin, size_t *end,
                 Err *err) {
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int n = pcre2_match(p->code, subject, len, from, PCRE2_NO_UTF_CHECK, run->data, run->context);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
        n = pcre2_match(p->code, subject, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, run->data, run->context);
    if (n == PCRE2_ERROR_NOMATCH) return 0;
    if (n == PCRE2_ERROR_NOMEMORY) mem_need(NULL, "a pattern's match");
    if (n < 0) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(n, message, sizeof message);
        return err_set(err, ERR_DATA, "the pattern fails at byte %zu of the text: %s", from, (const char *)message);
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(run->data);
    *begin = place[0];
    *end = place[1];
    CHECK(*begin >= from && *end > *begin && *end <= len);
    return 1;
}
