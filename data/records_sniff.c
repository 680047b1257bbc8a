// What a file is, by its first lines: each format is opened over them, and the first that takes a record is it.
#include "data/records_kinds.h"

#include <string.h>

// Whole lines only: the last one of the head may be cut off.
static size_t whole_lines(const char *head, size_t bytes) {
    const char *end = bytes ? memrchr(head, '\n', bytes) : NULL;
    return end ? (size_t)(end + 1 - head) : bytes;
}

static int is_number(const RecordText *t) {
    CsvValue v;
    return t->n > 0 && csv_number(&v, t->s, t->n) == t->n;
}

// Whether every line holds a user, an item, and a rating, a time or both, between blanks: these are no sequences of items.
static int is_rated(const char *head, size_t bytes) {
    Lines l;
    CsvValue last = {0};
    int status = lines_open(&l, head, bytes, "head", NULL), rated = 1;
    while (rated && status >= 0 && (status = lines_next(&l, ' ', NULL)) == 1) {
        const size_t n = l.field_len[l.n - 1];
        rated = (l.n == 3 || l.n == 4) && csv_number(&last, l.field[l.n - 1], n) == n &&
                (last.number > 1e8 || (l.n == 3 && last.number <= 5));
    }
    lines_close(&l);
    return rated;
}

// The formats without names or a header are known by what their fields hold.
static int plausible(const Records *r, const char *head, size_t bytes) {
    const RecordText *f = r->field;
    CsvValue time;
    switch (r->shape->kind) {
    case RECORDS_CELLS:
    case RECORDS_COLONS:
        if (!is_number(&f[RECORD_ITEM])) return 0;
        if (r->role == RECORDS_ITEMS) // users.dat ends in a number, movies.dat in genres
            return f[RECORD_TITLE].n > 0 && !is_number(&(RecordText){r->lines.field[2], r->lines.field_len[2]});
        return is_number(&f[RECORD_USER]) && is_number(&f[RECORD_RATING]) && f[RECORD_RATING].n <= 3 &&
               is_number(&f[RECORD_TIME]) && csv_number(&time, f[RECORD_TIME].s, f[RECORD_TIME].n) && time.number > 1e8;
    case RECORDS_SEQUENCES: // numbers between blanks; between tabs they may be anything
        return is_number(&f[RECORD_USER]) && is_number(&f[RECORD_ITEM]) && !memchr(r->lines.text, '\t', r->lines.len) &&
               !is_rated(head, bytes);
    case RECORDS_JSON:
        for (int k = 0; k < RECORD_FIELDS; k++) // a review has a title too; only a file of items has no user
            if (r->role == RECORDS_LOG && k <= RECORD_ITEM && !f[k].n) return 0;
        return r->role == RECORDS_LOG || records_json_has(r, RECORD_TITLE, head, bytes);
    default: return 1;
    }
}

static int is_of(const char *format, RecordsRole role, const char *const column[RECORDS_NAMES], const char *head,
                 size_t bytes) {
    Records r;
    const RecordsFormat *f = records_format(format);
    const char *names[RECORDS_NAMES] = {0}; // but no order: with it any file of so many fields would be a log
    for (int i = 0; column && i < RECORD_FIELDS; i++) names[i] = column[i];
    if (f->shape[role].kind == RECORDS_NONE) return 0;
    int status = records_open(&r, f, role, names, head, bytes, "head", NULL);
    if (status == 0) do // bad lines may come first
            status = records_next(&r, NULL);
        while (status == RECORDS_BAD);
    int found = status == 1 && plausible(&r, head, bytes);
    records_close(&r);
    return found;
}

// The published layout is rows already.
static int is_published(const char *head, size_t bytes) {
    const char *end = memchr(head, '\n', bytes);
    return end && memmem(head, (size_t)(end - head), "history_item_title", strlen("history_item_title"));
}

int records_sniff(const RecordsFormat **format, RecordsRole *role, const char *const column[RECORDS_NAMES], const char *head,
                  size_t bytes) {
    // A log before items: a log may hold the titles too. The particular before the general.
    static const struct {
        const char *format;
        RecordsRole role;
    } order[] = {
        {"amazon-2018", RECORDS_LOG},   {"amazon-2023", RECORDS_LOG}, {"jsonl", RECORDS_LOG},    {"amazon-2018", RECORDS_ITEMS},
        {"amazon-2023", RECORDS_ITEMS}, {"jsonl", RECORDS_ITEMS},     {"ml-1m", RECORDS_LOG},    {"ml-1m", RECORDS_ITEMS},
        {"recbole", RECORDS_LOG},       {"recbole", RECORDS_ITEMS},   {"ml-100k", RECORDS_LOG},  {"ml-100k", RECORDS_ITEMS},
        {"ml-csv", RECORDS_LOG},        {"ml-csv", RECORDS_ITEMS},    {"tsv", RECORDS_LOG},      {"csv", RECORDS_LOG},
        {"tsv", RECORDS_ITEMS},         {"csv", RECORDS_ITEMS},       {"sequences", RECORDS_LOG}};
    bytes = whole_lines(head, bytes);
    if (bytes && is_published(head, bytes)) {
        *format = records_format("latentr3");
        *role = RECORDS_LOG;
        return 1;
    }
    for (size_t i = 0; bytes && i < sizeof order / sizeof *order; i++)
        if (is_of(order[i].format, order[i].role, column, head, bytes)) {
            *format = records_format(order[i].format);
            *role = order[i].role;
            return 1;
        }
    return 0;
}

static const RecordsFormat *guess(const char *head, size_t bytes) {
    const char *end = memchr(head, '\n', bytes);
    const size_t n = end ? (size_t)(end - head) : bytes, mark = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (n > mark && head[mark] == '{') return records_format("jsonl");
    return memchr(head, '\t', n) ? records_format("tsv") : memchr(head, ',', n) ? records_format("csv") : NULL;
}

int records_why_no_log(const RecordsFormat *format, const char *const column[RECORDS_NAMES], const char *head, size_t bytes,
                       const char *name, Err *err) {
    const char *names[RECORDS_NAMES] = {0};
    for (int i = 0; column && i < RECORD_FIELDS; i++) names[i] = column[i];
    bytes = whole_lines(head, bytes);
    if (!format) format = guess(head, bytes);
    if (!format || !bytes || format->shape[RECORDS_LOG].kind == RECORDS_NONE) return 0;
    Records r;
    const int status = records_open(&r, format, RECORDS_LOG, names, head, bytes, name, err);
    records_close(&r);
    return status != 0;
}

int records_check_text(const char *head, size_t bytes, const char *name, Err *err) {
    Lines l;
    int status = lines_open(&l, head, whole_lines(head, bytes), name, err);
    if (status == 0) do
            status = lines_next(&l, 0, err);
        while (status == 1);
    lines_close(&l);
    return status;
}
