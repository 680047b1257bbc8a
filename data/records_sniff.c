// What a file is, by its first lines: each format is opened over them, and the first that takes a record is it.
#include "data/records_kinds.h"

#include <string.h>

enum { LOOKED = 64 }; // good lines, at most, of which one must look like the format's

// Whole lines only: the last one of the head may be cut off.
static size_t whole_lines(const char *head, size_t bytes) {
    const char *end = bytes ? memrchr(head, '\n', bytes) : NULL;
    return end ? (size_t)(end + 1 - head) : bytes;
}

static int is_number(const RecordText *t) {
    CsvValue v;
    return t->n > 0 && csv_number(&v, t->s, t->n) == t->n;
}

int records_is_number(RecordText id) {
    CsvValue v;
    return id.n > 0 && csv_number(&v, id.s, id.n) == id.n && v.kind == CSV_INT && v.integer >= 1 && v.integer <= INT32_MAX;
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
    CsvValue time, stars;
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
    case RECORDS_CSV: // ratings.csv: whole numbers, and stars
        if (r->format->any_names || r->role == RECORDS_ITEMS) return 1;
        return records_is_number(f[RECORD_USER]) && records_is_number(f[RECORD_ITEM]) && is_number(&f[RECORD_TIME]) &&
               is_number(&f[RECORD_RATING]) && csv_number(&stars, f[RECORD_RATING].s, f[RECORD_RATING].n) && stars.number <= 5;
    case RECORDS_JSON:
        for (int k = 0; k < RECORD_FIELDS; k++) // a review has a title too; only a file of items has no user
            if (r->role == RECORDS_LOG && k <= RECORD_ITEM && !f[k].n) return 0;
        return r->role == RECORDS_LOG || records_json_has(r, RECORD_TITLE, head, bytes);
    default: return 1;
    }
}

// But no order: with it any file of so many fields would be a log. Nor the index text's: a file without it is of items too.
static void names_of(const char *names[RECORDS_NAMES], const char *const column[RECORDS_NAMES]) {
    for (int i = 0; i < RECORDS_NAMES; i++) names[i] = column && i < RECORD_TEXT ? column[i] : NULL;
}

static int opens(Records *r, const char *format, RecordsRole role, const char *const column[RECORDS_NAMES], const char *head,
                 size_t bytes) {
    const RecordsFormat *f = records_format(format);
    const char *names[RECORDS_NAMES];
    names_of(names, column);
    *r = (Records){0};
    return f->shape[role].kind != RECORDS_NONE && records_open(r, f, role, names, head, bytes, "head", NULL) == 0;
}

static int next_good(Records *r) {
    int status;
    do status = records_next(r, NULL);
    while (status == RECORDS_BAD);
    return status;
}

// A bad one: the next line may tell.
static int says_nothing(const Records *r) {
    const RecordText *f = r->field;
    const int is_log = r->role == RECORDS_LOG;
    switch (r->shape->kind) {
    case RECORDS_CELLS:
    case RECORDS_COLONS: return !f[RECORD_ITEM].n || !f[is_log ? RECORD_USER : RECORD_TITLE].n;
    case RECORDS_JSON: return !f[RECORD_ITEM].n || (is_log && !f[RECORD_USER].n);
    default: return r->shape->kind == RECORDS_CSV;
    }
}

static int holds_one(Records *r, const char *head, size_t bytes) {
    for (int looked = 0; looked < LOOKED && next_good(r) == 1; looked++) {
        if (plausible(r, head, bytes)) return 1;
        if (!says_nothing(r)) return 0;
    }
    return 0;
}

// The field whose name may be meant for the other file, where a format that takes any finds it in this one; else -1.
static int named_here(RecordsRole role, const char *const column[RECORDS_NAMES], const char *head, size_t bytes) {
    static const char *const any[] = {"tsv", "csv", "jsonl"};
    const int field = role == RECORDS_LOG ? RECORD_TITLE : RECORD_ITEM;
    int found = 0;
    for (size_t i = 0; column && column[field] && i < sizeof any / sizeof *any && !found; i++) {
        Records r;
        found = opens(&r, any[i], role, column, head, bytes) && records_is_read(&r, field, column[field]) && next_good(&r) == 1;
        records_close(&r);
    }
    return found ? field : -1;
}

// Of an open one: whether the user gave other names than those that it reads.
static int is_misnamed(const Records *r, const char *const column[RECORDS_NAMES], int here) {
    int misnamed = 0;
    for (int f = 0; column && !r->format->any_names && f < RECORD_TEXT; f++)
        misnamed |= column[f] && (f == here || records_is_due(r->role, f)) && !records_is_read(r, f, column[f]);
    return misnamed;
}

// MovieLens's ratings.csv has four columns and no titles; another log may call two of its own so.
static int is_ratings(const Records *r, const char *head, size_t bytes) {
    Records any;
    if (r->at[RECORD_TIME] < 0 || r->at[RECORD_RATING] < 0) return 0;
    const int is = opens(&any, "csv", RECORDS_LOG, NULL, head, bytes) && !records_has(&any, RECORD_TITLE);
    records_close(&any);
    return is;
}

static int is_of(const char *format, RecordsRole role, const char *const column[RECORDS_NAMES], int here, const char *head,
                 size_t bytes) {
    Records r;
    int found = opens(&r, format, role, column, head, bytes), misnamed = found && is_misnamed(&r, column, here);
    if (found && r.format == records_format("ml-csv") && role == RECORDS_LOG) found = is_ratings(&r, head, bytes);
    found = found && holds_one(&r, head, bytes);
    records_close(&r);
    return found ? misnamed ? RECORDS_MISNAMED : 1 : 0;
}

// The published layout is rows already.
static int is_published(const char *head, size_t bytes) {
    const char *end = memchr(head, '\n', bytes);
    return end && memmem(head, (size_t)(end - head), "history_item_title", strlen("history_item_title"));
}

static int sniff(const RecordsFormat **format, RecordsRole *role, const char *const column[RECORDS_NAMES], const char *head,
                 size_t bytes) {
    // A log before items: a log may hold the titles too. The particular before the general.
    static const struct {
        const char *format;
        RecordsRole role;
    } order[] = {
        {"amazon-2018", RECORDS_LOG},   {"amazon-2023", RECORDS_LOG}, {"jsonl", RECORDS_LOG},    {"amazon-2018", RECORDS_ITEMS},
        {"amazon-2023", RECORDS_ITEMS}, {"jsonl", RECORDS_ITEMS},     {"ml-1m", RECORDS_LOG},    {"ml-1m", RECORDS_ITEMS},
        {"recbole", RECORDS_LOG},       {"recbole", RECORDS_ITEMS},   {"ml-100k", RECORDS_LOG},  {"ml-100k", RECORDS_ITEMS},
        {"ml-csv", RECORDS_LOG},        {"tsv", RECORDS_LOG},         {"csv", RECORDS_LOG},      {"ml-csv", RECORDS_ITEMS},
        {"tsv", RECORDS_ITEMS},         {"csv", RECORDS_ITEMS},       {"sequences", RECORDS_LOG}};
    if (bytes && is_published(head, bytes)) {
        *format = records_format("latentr3");
        *role = RECORDS_LOG;
        return 1;
    }
    const int here[RECORDS_ROLES] = {named_here(RECORDS_LOG, column, head, bytes),
                                     named_here(RECORDS_ITEMS, column, head, bytes)};
    int known = 0; // RECORDS_MISNAMED: one that takes any names goes before
    for (size_t i = 0; bytes && known != 1 && i < sizeof order / sizeof *order; i++) {
        const RecordsRole as = order[i].role;
        if (known && *role == RECORDS_LOG && as == RECORDS_ITEMS) continue; // a log but for its names
        const int is = is_of(order[i].format, as, column, here[as], head, bytes);
        if (!is || (known && is != 1)) continue;
        *format = records_format(order[i].format);
        *role = as;
        known = is;
    }
    return known;
}

int records_sniff(const RecordsFormat **format, RecordsRole *role, const char *const column[RECORDS_NAMES], const char *head,
                  size_t bytes) {
    const size_t whole = whole_lines(head, bytes);
    const int known = sniff(format, role, column, head, whole);
    return known || whole == bytes ? known : sniff(format, role, column, head, bytes); // all of a file of one record, perhaps
}

// NULL: none.
static const char *ids_fault(const Records *r) {
    const RecordText user = r->field[RECORD_USER], item = r->field[RECORD_ITEM];
    if (!user.n || !item.n) return "an empty id";
    return r->format->numbered && !(records_is_number(user) && records_is_number(item)) ? "an id that is not a whole number"
                                                                                        : NULL;
}

int records_reads(const RecordsFormat *format, const char *const column[RECORDS_NAMES], const char *head, size_t bytes,
                  const char *name, Err *err) {
    Records r;
    Err why = {0}, *first = err; // the first line's reason
    int status = records_open(&r, format, RECORDS_LOG, column, head, bytes, name, err);
    if (status == 0) {
        while ((status = records_next(&r, &why)) == RECORDS_BAD || (status == 1 && ids_fault(&r))) {
            if (status == 1) records_bad(&r, ids_fault(&r), &why);
            if (first) *first = why;
            first = NULL;
        }
        if (status == 0 && first) err_set(first, ERR_DATA, "%s: no interaction", name);
        if (status < 0 && first) *first = why;
    }
    records_close(&r);
    return status == 1;
}

const RecordsFormat *records_guess(const char *head, size_t bytes) {
    const char *end = memchr(head, '\n', bytes);
    const size_t n = end ? (size_t)(end - head) : bytes, mark = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (n > mark && (head[mark] == '{' || head[mark] == '[')) return records_format("jsonl");
    return memchr(head, '\t', n) ? records_format("tsv") : memchr(head, ',', n) ? records_format("csv") : NULL;
}

int records_why_not(const RecordsFormat *format, RecordsRole role, const char *const column[RECORDS_NAMES], const char *head,
                    size_t bytes, const char *name, Err *err) {
    const char *names[RECORDS_NAMES];
    names_of(names, column);
    bytes = whole_lines(head, bytes);
    if (!format) format = records_guess(head, bytes);
    if (!format || !bytes || format->shape[role].kind == RECORDS_NONE) return 0;
    Records r;
    int status = records_open(&r, format, role, names, head, bytes, name, err);
    if (status == 0) { // a sound header: the first line behind it
        status = records_next(&r, err);
        if (status == 0) err_set(err, ERR_DATA, "%s: no %s", name, role == RECORDS_LOG ? "interaction" : "item");
        status = status == 1 ? 0 : -1;
    }
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
