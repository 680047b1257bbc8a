// JSON lines.
#include "base/arena.h"
#include "data/records_kinds.h"

#include <stdio.h>
#include <string.h>

typedef struct FirstLines {
    Jsonl json;
    const char *s, *end;
} FirstLines;

enum { FIRST_LINES = 64 }; // are looked into

// Whether a sound one has the member.
static int is_member(FirstLines *f, const char *name, size_t n) {
    char text[RECORDS_NAME_LIMIT];
    const char *names[] = {text};
    JsonlValue value;
    if (n >= sizeof text) return 0;
    memcpy(text, name, n);
    text[n] = 0;
    int lines = 0;
    for (const char *s = f->s, *stop; s < f->end && lines < FIRST_LINES; s = stop + 1, lines++) {
        if (!(stop = memchr(s, '\n', (size_t)(f->end - s)))) stop = f->end;
        if (!jsonl_read(&f->json, s, (size_t)(stop - s), names, 1, &value) && value.kind != JSONL_ABSENT) return 1;
    }
    return 0;
}

static const char *found_name(const char *alternatives, FirstLines *first) {
    for (const char *a = alternatives; a && *a; a += strcspn(a, "|"), a += *a == '|')
        if (is_member(first, a, strcspn(a, "|"))) return a;
    return NULL;
}

// Where several names are possible, the first lines tell; a single one may be missing there.
int records_json_open(Records *r, const char *const column[RECORDS_NAMES], const char *head, size_t bytes, Err *err) {
    const size_t mark = bytes >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    FirstLines first = {.s = head + mark, .end = head + bytes};
    r->lines.limit = JSONL_LINE_LIMIT;
    for (int f = 0; f < RECORD_FIELDS; f++) {
        const char *names = records_names(r, column, f);
        const char *name = names && strchr(names, '|') ? found_name(names, &first) : names;
        const char *others = records_other_names(r, f), *other = NULL;
        if (others != names && name && !is_member(&first, name, strlen(name))) other = found_name(others, &first);
        if (other) name = other;
        if (name) r->member[f] = mem_strndup(name, strcspn(name, "|"));
        r->at[f] = name ? 0 : -1;
    }
    jsonl_free(&first.json);
    return records_check_header(r, column, err);
}

static const char *take_text(RecordText *out, const JsonlValue *v, int numbers) {
    *out = (RecordText){v->text, v->len};
    if (v->kind == JSONL_STRING || (numbers && v->kind == JSONL_NUMBER && !memchr(v->text, '.', v->len) &&
                                    !memchr(v->text, 'e', v->len) && !memchr(v->text, 'E', v->len)))
        return NULL;
    return v->kind == JSONL_ABSENT || v->kind == JSONL_NULL ? "is missing" : "is no text";
}

static const char *take_value(Records *r, int field, const JsonlValue *v) {
    RecordText *out = &r->field[field];
    int missing = v->kind == JSONL_ABSENT || v->kind == JSONL_NULL;
    *out = (RecordText){0};
    switch (field) {
    case RECORD_USER:
    case RECORD_ITEM: return take_text(out, v, 1);
    case RECORD_TEXT:
    case RECORD_TITLE: return missing ? NULL : take_text(out, v, 0);
    case RECORD_RATING:
        if (missing) return NULL;
        break;
    default:
        if (missing) return "is missing";
    }
    const int dated = field == RECORD_TIME && r->format->any_names && v->kind == JSONL_STRING; // a date
    if (v->kind != JSONL_NUMBER && !dated) return "is no number";
    *out = (RecordText){v->text, v->len};
    return NULL;
}

int records_json_next(Records *r, Err *err) {
    Lines *l = &r->lines;
    JsonlValue value[RECORD_FIELDS];
    char why[RECORDS_NAME_LIMIT + 64];
    int status = lines_next(l, 0, err);
    if (status <= 0) return status;
    const char *fault = jsonl_read(&r->json, l->text, l->len, (const char *const *)r->member, RECORD_FIELDS, value);
    if (fault) {
        snprintf(why, sizeof why, "byte %zu of the line: %s", jsonl_byte(&r->json), fault);
        return records_bad(r, why, err);
    }
    for (int f = 0; f < RECORD_FIELDS; f++) {
        if (!r->member[f]) continue;
        fault = take_value(r, f, &value[f]);
        if (!fault) continue;
        snprintf(why, sizeof why, "\"%.200s\" %s", r->member[f], fault);
        return records_bad(r, why, err);
    }
    return 1;
}
