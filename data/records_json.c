// JSON lines.
#include "base/arena.h"
#include "base/json.h"
#include "data/records_kinds.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

typedef struct FirstLines {
    Jsonl json;
    const char *s, *end;
    int sound;       // whether one of those looked at was
    json_t *members; // of all that are, once they were asked for
} FirstLines;

enum { FIRST_LINES = 64 }; // are looked into

static FirstLines first_lines(const char *head, size_t bytes) {
    const size_t mark = bytes >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    return (FirstLines){.s = head + mark, .end = head + bytes};
}

static void first_free(FirstLines *f) {
    jsonl_free(&f->json);
    json_decref(f->members);
}

// Whether a sound one has the member.
static int is_member(FirstLines *f, const char *name, size_t n, int most) {
    char text[RECORDS_NAME_LIMIT];
    const char *names[] = {text};
    JsonlValue value;
    if (n >= sizeof text) return 0;
    memcpy(text, name, n);
    text[n] = 0;
    int lines = 0;
    for (const char *s = f->s, *stop; s < f->end && lines < most; s = stop + 1, lines++) {
        if (!(stop = memchr(s, '\n', (size_t)(f->end - s)))) stop = f->end;
        if (jsonl_read(&f->json, s, (size_t)(stop - s), names, 1, &value)) continue;
        f->sound = 1;
        if (value.kind != JSONL_ABSENT) return 1;
    }
    return 0;
}

static const char *found_name(const char *alternatives, FirstLines *first) {
    for (const char *a = alternatives; a && *a; a += strcspn(a, "|"), a += *a == '|')
        if (is_member(first, a, strcspn(a, "|"), FIRST_LINES)) return a;
    return NULL;
}

static json_t *members(FirstLines *f) {
    if (f->members) return f->members;
    f->members = json_object();
    int lines = 0;
    for (const char *s = f->s, *stop; s < f->end && lines < FIRST_LINES; s = stop + 1, lines++) {
        if (!(stop = memchr(s, '\n', (size_t)(f->end - s)))) stop = f->end;
        json_t *one = json_parse(s, (size_t)(stop - s), "", NULL);
        if (json_is_object(one)) json_object_update_missing(f->members, one);
        json_decref(one);
    }
    return f->members;
}

static const char *found_in_any_case(const char *alternatives, FirstLines *first) {
    const char *member;
    json_t *value;
    for (const char *a = alternatives; a && *a; a += strcspn(a, "|"), a += *a == '|')
        json_object_foreach(members(first), member, value) {
            if (records_is_name(member, strlen(member), a, strcspn(a, "|"), RECORDS_ANY_CASE)) return member;
        }
    return NULL;
}

static const char *known_name(const Records *r, const char *alternatives, FirstLines *first) {
    const char *name = found_name(alternatives, first);
    return name || !r->format->any_names ? name : found_in_any_case(alternatives, first);
}

// One that the user gave stands in the head, where any line is sound.
static const char *given_name(const char *name, FirstLines *first) {
    return is_member(first, name, strlen(name), INT_MAX) || !first->sound ? name : NULL;
}

// What is no file of lines.
static int check_lines(const Records *r, const FirstLines *f, size_t bytes, Err *err) {
    if (f->s < f->end && *f->s == '[')
        return err_set(err, ERR_DATA, "%s: a JSON array; what is read is one object a line", r->lines.name);
    if (bytes >= STREAM_BLOCK && !memchr(f->s, '\n', (size_t)(f->end - f->s)))
        return err_set(err, ERR_DATA, "%s: line 1: more than %d KiB; the members are told by the first lines", r->lines.name,
                       STREAM_BLOCK >> 10);
    return 0;
}

// Where no line is sound, what is wrong with the first says more than that a member is missing.
static int refuse_header(const Records *r, FirstLines *f, Err *err) {
    static const char *const none[] = {""};
    JsonlValue value;
    const char *stop = memchr(f->s, '\n', (size_t)(f->end - f->s)),
               *fault = f->sound ? NULL : jsonl_read(&f->json, f->s, (size_t)((stop ? stop : f->end) - f->s), none, 1, &value);
    if (!fault) return -1;
    return err_set(err, ERR_DATA, "%s: line 1, byte %zu: %s", r->lines.name, jsonl_byte(&f->json), fault);
}

// Where several names are possible, the first lines tell; a single one of the format's may be missing there.
int records_json_open(Records *r, const char *const column[RECORDS_NAMES], const char *head, size_t bytes, Err *err) {
    FirstLines first = first_lines(head, bytes);
    r->lines.limit = JSONL_LINE_LIMIT;
    if (check_lines(r, &first, bytes, err)) return -1;
    for (int f = 0; f < RECORD_FIELDS; f++) {
        const char *names = records_names(r, column, f), *others = records_other_names(r, f), *name = names;
        if (names && names != r->shape->name[f])
            name = given_name(names, &first);
        else if (names && strchr(names, '|'))
            name = known_name(r, names, &first);
        if (!name && others && others != names) name = known_name(r, others, &first);
        if (name) r->member[f] = mem_strndup(name, strcspn(name, "|"));
        r->at[f] = name ? 0 : -1;
    }
    const char *member;
    json_t *value;
    json_object_foreach(members(&first), member, value) records_put_name(r, member, strlen(member));
    const int status = records_check_header(r, column, err) ? refuse_header(r, &first, err) : 0;
    first_free(&first);
    return status;
}

int records_json_has(const Records *r, RecordField field, const char *head, size_t bytes) {
    FirstLines first = first_lines(head, bytes);
    const char *name = r->member[field];
    const int has = name && is_member(&first, name, strlen(name), INT_MAX);
    first_free(&first);
    return has;
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
