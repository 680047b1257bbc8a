// Files whose lines are cut at a delimiter, and sequences.
#include "data/records_kinds.h"

#include <string.h>

// ---- quotes ----

// Whether pandas or Python's csv module put quotes around the field: each one inside is doubled.
static int is_quoted(const char *s, size_t n) {
    if (n < 2 || s[0] != '"' || s[n - 1] != '"') return 0;
    for (const char *end = s + n - 1, *at = s + 1; (at = memchr(at, '"', (size_t)(end - at))); at += 2)
        if (at + 1 >= end || at[1] != '"') return 0;
    return 1;
}

// Fields of the present line that stand in quotes lose these; other quotes are letters.
static void unquote(Records *r) {
    Lines *l = &r->lines;
    if (!memchr(l->text, '"', l->len)) return;
    str_clear(&r->joined);
    str_append(&r->joined, l->text, l->len); // no field becomes longer: it stays where it is
    char *to = r->joined.data;
    for (int i = 0; i < l->n; i++) {
        if (!is_quoted(l->field[i], l->field_len[i])) continue;
        const char *from = l->field[i] + 1, *end = l->field[i] + l->field_len[i] - 1;
        l->field[i] = to;
        for (; from < end; from += 1 + (*from == '"')) *to++ = *from;
        l->field_len[i] = (size_t)(to - l->field[i]);
    }
}

static int next_line(Records *r, Err *err) {
    const int status = lines_next(&r->lines, r->delimiter, err);
    if (status == 1 && r->shape->kind == RECORDS_HEADED) unquote(r);
    return status;
}

// ---- headers ----

// Of a header of name:type only the name counts.
static size_t name_length(const Records *r, int i) {
    const char *s = r->lines.field[i];
    size_t n = r->lines.field_len[i];
    const char *colon = r->shape->kind == RECORDS_TYPED ? memchr(s, ':', n) : NULL;
    return colon ? (size_t)(colon - s) : n;
}

static int header_field(void *context, const char *name, size_t n, RecordsMatch how) {
    const Records *r = context;
    for (int i = 0; i < r->lines.n; i++) {
        if (records_is_name(r->lines.field[i], name_length(r, i), name, n, how)) return i;
    }
    return -1;
}

static int is_typed(const char *s, size_t n) {
    static const char *const types[] = {"token", "token_seq", "float", "float_seq"};
    const char *colon = memchr(s, ':', n);
    if (!colon || colon == s) return 0;
    size_t len = n - (size_t)(colon + 1 - s);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (strlen(types[k]) == len && memcmp(types[k], colon + 1, len) == 0) return 1;
    return 0;
}

static int check_names(const Records *r, Err *err) {
    const Lines *l = &r->lines;
    if (l->n == LINES_FIELDS) return records_refuse(r, "more than 63 fields", err);
    for (int i = 0; i < l->n; i++) {
        if (r->shape->kind == RECORDS_TYPED && !is_typed(l->field[i], l->field_len[i]))
            return records_refuse(r, "the header is not name:type between tabs, with token, token_seq, float or float_seq",
                                  err);
        for (int k = 0; k < i; k++)
            if (name_length(r, k) == name_length(r, i) && memcmp(l->field[k], l->field[i], name_length(r, i)) == 0)
                return records_refuse(r, "a field of the header stands twice", err);
    }
    return 0;
}

// Without a header the columns may stand between blanks, too.
static char delimiter_of(const char *head, size_t bytes) {
    const char *end = memchr(head, '\n', bytes);
    return memchr(head, '\t', end ? (size_t)(end - head) : bytes) ? '\t' : ' ';
}

int records_lines_open(Records *r, const char *const column[RECORDS_NAMES], const char *head, size_t bytes, Err *err) {
    r->delimiter = r->shape->kind == RECORDS_CELLS ? r->shape->delimiter : r->shape->kind == RECORDS_COLONS ? 0 : '\t';
    const int headed = r->shape->kind == RECORDS_TYPED || r->shape->kind == RECORDS_HEADED;
    if (!headed && r->role == RECORDS_ITEMS && column && column[RECORD_TEXT])
        return err_set(err, ERR_DATA, "%s: no column %.64s: fields of %s have no names", r->lines.name, column[RECORD_TEXT],
                       r->format->name);
    if (!headed) return 0;
    int status = records_order(r, column, err);
    if (status == 1) r->delimiter = delimiter_of(head, bytes);
    if (status) return status < 0 ? -1 : 0;
    status = next_line(r, err);
    if (status < 0) return -1;
    if (status == 0) return err_set(err, ERR_DATA, "%s: no header", r->lines.name);
    if (check_names(r, err)) return -1;
    r->fields = r->lines.n;
    for (int i = 0; i < r->fields; i++) records_put_name(r, r->lines.field[i], name_length(r, i));
    for (int f = 0; f < RECORD_FIELDS; f++) r->at[f] = records_find_field(r, column, f, header_field, r);
    return records_check_header(r, column, err);
}

// ---- lines ----

// At "::", in place of lines_next's one byte. What is too much stays in the second field of an item: a title may hold "::".
static void cut_colons(Records *r) {
    Lines *l = &r->lines;
    const char *at = l->text, *end = at + l->len, *next;
    l->n = 0;
    while (l->n + 1 < LINES_FIELDS && (next = memmem(at, (size_t)(end - at), "::", 2))) {
        l->field[l->n] = at;
        l->field_len[l->n++] = (size_t)(next - at);
        at = next + 2;
    }
    l->field[l->n] = at;
    l->field_len[l->n++] = (size_t)(end - at);
    if (r->role == RECORDS_ITEMS && l->n > r->fields) {
        int last = l->n - 1;
        l->field_len[1] = (size_t)(l->field[last] - 2 - l->field[1]);
        l->field[2] = l->field[last];
        l->field_len[2] = l->field_len[last];
        l->n = 3;
    }
}

static const char *count_fault(const Records *r) {
    const Lines *l = &r->lines;
    if (l->n == r->fields) return NULL;
    if (l->n == 1 && memmem(l->text, l->len, "::", 2))
        return "fields between '::' as in MovieLens-1M; tabs or '|' are expected here";
    if (l->n == 1 && r->shape->kind == RECORDS_COLONS && memchr(l->text, '|', l->len))
        return "fields between '|' as in MovieLens-100K; '::' is expected here";
    return l->n < r->fields ? "too few fields" : "too many fields";
}

// The next text between blanks; n 0: there is none.
static RecordText next_word(Records *r) {
    const char *end = r->lines.text + r->lines.len, *at = r->rest;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    const char *begin = at;
    while (at < end && *at != ' ' && *at != '\t') at++;
    r->rest = at;
    return (RecordText){begin, (size_t)(at - begin)};
}

// One record an item.
static int next_of_sequence(Records *r, Err *err) {
    if (r->rest) {
        r->field[RECORD_ITEM] = next_word(r);
        if (r->field[RECORD_ITEM].n) return 1;
    }
    int status = lines_next(&r->lines, 0, err);
    r->rest = NULL;
    if (status <= 0) return status;
    r->rest = r->lines.text;
    r->field[RECORD_USER] = next_word(r);
    r->field[RECORD_ITEM] = next_word(r);
    if (r->field[RECORD_ITEM].n) return 1;
    r->rest = NULL;
    return records_bad(r, "no item behind the user", err);
}

int records_lines_next(Records *r, Err *err) {
    if (r->shape->kind == RECORDS_SEQUENCES) return next_of_sequence(r, err);
    int status = next_line(r, err);
    if (status <= 0) return status;
    if (r->shape->kind == RECORDS_COLONS) cut_colons(r);
    const char *fault = count_fault(r);
    if (fault) return records_bad(r, fault, err);
    for (int f = 0; f < RECORD_FIELDS; f++)
        r->field[f] = r->at[f] < 0 ? (RecordText){0} : (RecordText){r->lines.field[r->at[f]], r->lines.field_len[r->at[f]]};
    return 1;
}
