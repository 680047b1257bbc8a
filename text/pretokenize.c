#include "text/pretokenize.h"

#include <string.h>

int pretokenize_gpt2(Pattern **p, Err *err) {
    static const char source[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    return pattern_compile(p, source, sizeof source - 1, 0, err);
}

typedef struct Cutter {
    const Pretokenizer *pre;
    PatternRun *run;
    int first; // until a piece has gone by
    PreSink sink;
    void *user;
    Err *err;
} Cutter;

// The pieces of one text in one step: matches and gaps come in, pieces go out to the next step.
typedef struct Joiner {
    const char *text;
    size_t begin, end; // the piece that is not yet out: the next place may join it
    int pending, was_match;
    int next_step;
} Joiner;

static int cut(Cutter *c, int step, const char *text, size_t len);

static int flush(Cutter *c, Joiner *j) {
    int status = j->pending && j->end > j->begin ? cut(c, j->next_step, j->text + j->begin, j->end - j->begin) : 0;
    j->pending = 0;
    return status;
}

static int take_place(Cutter *c, Joiner *j, PreBehavior behavior, size_t begin, size_t end, int is_match) {
    int joins = 0;
    switch (behavior) {
    case PRE_ISOLATED: break;
    case PRE_REMOVED:
        if (is_match) return 0;
        break;
    case PRE_MERGED_WITH_PREVIOUS: joins = is_match && !j->was_match; break;
    case PRE_MERGED_WITH_NEXT: joins = !is_match && j->was_match; break;
    case PRE_CONTIGUOUS: joins = is_match == j->was_match; break;
    }
    j->was_match = is_match;
    if (joins && j->pending) {
        j->end = end;
        return 0;
    }
    if (flush(c, j)) return -1;
    j->begin = begin;
    j->end = end;
    j->pending = 1;
    return 0;
}

static int split(Cutter *c, int step, const char *text, size_t len) {
    const PreStep *s = &c->pre->step[step];
    Joiner j = {.text = text, .next_step = step + 1};
    for (size_t at = 0; at < len;) {
        size_t begin, end;
        int found = pattern_next(s->pattern, c->run, text, len, at, &begin, &end, c->err);
        if (found < 0) return -1;
        if (!found) begin = end = len;
        if (begin > at && take_place(c, &j, s->behavior, at, begin, s->invert)) return -1;
        if (end > begin && take_place(c, &j, s->behavior, begin, end, !s->invert)) return -1;
        at = end;
    }
    return flush(c, &j);
}

// As the step "Metaspace" does.
static void write_blanks(Str *out, const PreStep *s, const char *text, size_t len, int first) {
    const size_t blank = strlen(s->blank);
    const int begins = text[0] == ' ' || (len >= blank && !memcmp(text, s->blank, blank));
    if (!begins && (s->prefix == PRE_PREFIX_ALWAYS || (s->prefix == PRE_PREFIX_FIRST && first))) str_puts(out, s->blank);
    for (const char *end = text + len; text < end;) {
        const char *at = memchr(text, ' ', (size_t)(end - text));
        str_append(out, text, (size_t)((at ? at : end) - text));
        if (at) str_puts(out, s->blank);
        text = at ? at + 1 : end;
    }
}

static int cut(Cutter *c, int step, const char *text, size_t len) {
    if (step == c->pre->n) {
        c->sink(c->user, text, len);
        return 0;
    }
    const PreStep *s = &c->pre->step[step];
    Str own = {0};
    if (s->blank[0]) {
        write_blanks(&own, s, text, len, c->first);
    } else if (s->prefix == PRE_PREFIX_ALWAYS && text[0] != ' ') {
        str_puts(&own, " ");
        str_append(&own, text, len);
    }
    if (own.data) text = own.data, len = own.len;
    c->first = 0;
    int status = s->pattern ? split(c, step, text, len) : cut(c, step + 1, text, len);
    str_free(&own);
    return status;
}

int pretokenize_run(const Pretokenizer *pre, PatternRun *run, const char *text, size_t len, int first, PreSink sink, void *user,
                    Err *err) {
    Cutter c = {.pre = pre, .run = run, .first = first, .sink = sink, .user = user, .err = err};
    return len ? cut(&c, 0, text, len) : 0;
}

void pretokenize_free(Pretokenizer *pre) {
    for (int i = 0; i < pre->n; i++) pattern_close(pre->step[i].pattern);
    memset(pre, 0, sizeof *pre);
}
