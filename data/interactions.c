#include "data/interactions.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/vec.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "data/dates.h"
#include "data/lines.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ID_LIMIT = 1024, RATINGS_LIMIT = 1 << 16, PROGRESS_LINES = 1 << 16 };
enum { RETITLED_LIMIT = 10 };                           // one item of so many may come with several titles
enum { TITLED_ONCE, TITLED_AGAIN, TITLED_DIFFERENTLY }; // Interactions.titled

typedef struct Reading {
    Interactions *x;
    Records *r;
    const InteractionsOptions *o;
    BadLines bad;
    double latest; // no interaction is later than tomorrow
    int unit;      // times a second, as the log has them: 1 or 1000; 0: not yet known
    int days;      // whether times of digits are days such as 20181001: the first of them tells; -1: there was none
    Str title;
} Reading;

// ---- fields ----

// The faults below are texts; NULL means none.

static const char *id_fault(const Reading *r, RecordText id) {
    if (id.n == 0) return "an empty id";
    if (id.n > ID_LIMIT) return "an id of more than 1024 bytes";
    if (items_title_fault(id.s, id.n)) return "a control byte in an id";
    if (!r->r->format->numbered || records_is_number(id)) return NULL;
    // A plain TSV looks like u.data.
    return r->r->role == RECORDS_LOG && r->r->format == records_format("ml-100k")
               ? "an id that is not a whole number from 1 to 2147483647; --format tsv --columns user,item,rating,time takes any"
               : "an id that is not a whole number from 1 to 2147483647";
}

static int is_number(RecordText text, CsvValue *v) {
    return text.n > 0 && csv_number(v, text.s, text.n) == text.n;
}

static const char *rating_value_fault(const RecordsFormat *f, RecordText text, CsvValue *v) {
    if (!is_number(text, v)) return "a rating that is not a plain number";
    if (f->rating_step == 0) return NULL;
    if (f->rating_step == 1 && v->kind != CSV_INT) return "a rating that is not a whole number";
    double steps = v->number / f->rating_step;
    if (v->number >= f->least_rating && v->number <= 5 && steps == (double)(int)steps) return NULL;
    return f->rating_step == 1 ? "a rating that is not 1, 2, 3, 4 or 5" : "a rating that is not 0.5, 1, 1.5, ... 5";
}

// *number: of the rating in x->rating, which are few; each is looked at when it is new.
static const char *rating_fault(Reading *r, int *number) {
    Interactions *x = r->x;
    RecordText text = r->r->field[RECORD_RATING];
    *number = 0;
    if (x->has_rating < 0) x->has_rating = text.n > 0;
    if (!x->has_rating) return NULL;
    if (!text.n) return "no rating, where others have one";
    if ((*number = intern_find(&x->ratings, text.s, text.n)) >= 0) return NULL;
    CsvValue v;
    const char *fault = rating_value_fault(r->r->format, text, &v);
    if (fault) return fault;
    if (x->ratings.n == RATINGS_LIMIT) return "more than 65536 different ratings";
    *number = intern_put(&x->ratings, text.s, text.n);
    if ((size_t)*number == x->ratings_cap) {
        x->ratings_cap = x->ratings_cap ? x->ratings_cap * 2 : 16;
        x->rating = mem_realloc(x->rating, x->ratings_cap, sizeof *x->rating);
    }
    x->rating[*number] = v.number;
    return NULL;
}

// As milliseconds; days of eight digits would be some of August 1970 otherwise.
static int is_date(Reading *r, RecordText text, int64_t *date) {
    CsvValue v;
    if (!r->r->format->any_names || !text.n) return 0;
    if (dates_parse(date, text.s, text.n)) return 1;
    const int is_day = dates_parse_digits(date, text.s, text.n) && (double)*date <= 1e3 * r->latest;
    if (r->days < 0 && is_number(text, &v)) r->days = is_day;
    return is_day && r->days > 0;
}

static const char *timestamp_fault(Reading *r, int64_t *timestamp) {
    const double first_milliseconds = 1e11; // as seconds the year 5138, as milliseconds 1973
    Interactions *x = r->x;
    CsvValue v;
    if (!x->has_time) {
        *timestamp = (x->lines + 1) * EVENT_SECOND;
        return NULL;
    }
    const RecordText text = r->r->field[RECORD_TIME];
    int64_t date;
    if (is_date(r, text, &date)) {
        if (r->unit > 1) return "a date, where others are milliseconds";
        r->unit = 1;
        v = (CsvValue){.kind = CSV_INT, .number = (double)date / 1e3};
    } else if (!is_number(text, &v)) {
        return r->r->format->any_names ? "a time that is neither a plain number nor a date of the form 2018-10-01T12:34:56Z"
                                       : "a time that is not a plain number";
    } else if (r->days > 0) {
        return "a time that is no day, where others are days such as 20181001";
    }
    if (r->r->format->numbered && v.kind != CSV_INT) return "a time that is not a whole number";
    int unit = r->unit ? r->unit : v.number >= first_milliseconds ? 1000 : 1;
    if (v.number < 0) return "a timestamp before 1970";
    if (unit == 1000 && v.number < first_milliseconds) return "seconds, where milliseconds are expected";
    if (v.number / unit > r->latest)
        return unit == 1 ? "a timestamp later than tomorrow; seconds since 1970 are expected"
                         : "a timestamp later than tomorrow; milliseconds since 1970 are expected";
    if (v.number > 0) r->unit = unit; // 0 is either's
    *timestamp = llround(v.number * (EVENT_SECOND / unit));
    return NULL;
}

// ---- items ----

// A title for the item; its number, -1 where it cannot be used.
static int32_t put_title(Reading *r, RecordText text, TitleFault *fault) {
    *fault = titles_clean(&r->title, text.s ? text.s : "", text.n, r->o->published_titles, r->o->drop_years);
    return *fault == TITLE_GOOD ? intern_put(&r->x->titles, r->title.data, r->title.len) : -1;
}

static int put_item(Reading *r, RecordText id, int32_t title, TitleFault fault) {
    Interactions *x = r->x;
    int item = intern_put(&x->items, id.s, id.n);
    if ((size_t)item == x->items_cap) {
        x->items_cap = x->items_cap ? x->items_cap * 2 : 1024;
        x->title = mem_realloc(x->title, x->items_cap, sizeof *x->title);
        x->text = mem_realloc(x->text, x->items_cap, sizeof *x->text);
        x->title_fault = mem_realloc(x->title_fault, x->items_cap, sizeof *x->title_fault);
        x->titled = mem_realloc(x->titled, x->items_cap, sizeof *x->titled);
    }
    x->titled[item] = TITLED_ONCE;
    x->title[item] = title;
    x->text[item] = -1;
    x->title_fault[item] = (int8_t)fault;
    x->items_untitled[fault] += title < 0;
    x->replacement_titles += title >= 0 && strstr(r->title.data, "\xef\xbf\xbd"); // U+FFFD: something was lost before us
    return item;
}

static const char *item_fault(Reading *r) {
    Interactions *x = r->x;
    RecordText id = r->r->field[RECORD_ITEM];
    TitleFault why;
    const char *fault = id_fault(r, id);
    if (fault) return fault;
    int32_t title = put_title(r, r->r->field[RECORD_TITLE], &why);
    if (why == TITLE_CONTROL) return items_title_fault(r->title.data, r->title.len);
    const RecordText own = r->r->field[RECORD_TEXT];
    if (own.n > 0 && (fault = items_text_fault(own.s, own.n))) return fault;
    const int32_t text = own.n > 0 ? intern_put(&x->texts, own.s, own.n) : -1;
    int known = intern_find(&x->items, id.s, id.n);
    if (known < 0) {
        known = put_item(r, id, title, why); // may move x->text
        x->text[known] = text;
        return NULL;
    }
    return x->title[known] != title ? "an item for the second time, with another title"
           : x->text[known] != text ? "an item for the second time, with another index text"
                                    : NULL;
}

// Whether a title of the log for an item that has one is that one. Most are, byte by byte.
static int is_title(Reading *r, RecordText text, const char *first) {
    if (strncmp(first, text.s, text.n) == 0 && !first[text.n]) return 1;
    const TitleFault fault = titles_clean(&r->title, text.s, text.n, r->o->published_titles, r->o->drop_years);
    return fault != TITLE_GOOD || strcmp(first, r->title.data) == 0;
}

// The title of a review, say, is another with each line.
static void compare_title(Reading *r, int item) {
    Interactions *x = r->x;
    const RecordText text = r->r->field[RECORD_TITLE];
    if (text.n == 0 || x->titled[item] == TITLED_DIFFERENTLY) return;
    const int another = !is_title(r, text, x->titles.text[x->title[item]]);
    x->titled_again += x->titled[item] == TITLED_ONCE;
    x->retitled += another;
    x->titled[item] = another ? TITLED_DIFFERENTLY : TITLED_AGAIN;
}

static int check_titles(const Interactions *x, const char *name, Err *err) {
    if (x->retitled > x->titled_again / RETITLED_LIMIT)
        return err_set(err, ERR_DATA,
                       "%s: of %lld items that come more than once, %lld come with several titles, as if these were those of "
                       "reviews; name a file of items with --items, or another --title-column",
                       name, (long long)x->titled_again, (long long)x->retitled);
    if (x->retitled) log_warn("%s: %lld items come with several titles; the first counts", name, (long long)x->retitled);
    return 0;
}

// Whether a later line may have the title that an item lacks.
static int awaits_titles(const Reading *r) {
    return !r->x->has_titles && records_has(r->r, RECORD_TITLE);
}

// A title for an item whose earlier lines had none that can be used.
static void take_title(Reading *r, int item) {
    Interactions *x = r->x;
    TitleFault why;
    const int32_t title = put_title(r, r->r->field[RECORD_TITLE], &why);
    if (title < 0) return;
    x->items_untitled[x->title_fault[item]]--;
    x->title[item] = title;
    x->title_fault[item] = TITLE_GOOD;
}

// The item of an interaction, or -1. Where no file of items was read, the log names it.
static int find_item(Reading *r, RecordText id) {
    Interactions *x = r->x;
    int item = intern_find(&x->items, id.s, id.n);
    if (x->has_titles) return item;
    const int titled = records_has(r->r, RECORD_TITLE);
    if (item >= 0) {
        if (titled && x->title[item] < 0)
            take_title(r, item);
        else if (titled)
            compare_title(r, item);
        return item;
    }
    TitleFault why;
    int32_t title = put_title(r, titled ? r->r->field[RECORD_TITLE] : id, &why);
    return put_item(r, id, title, why);
}

// ---- interactions ----

static void put_event(Interactions *x, Event e) {
    if (x->n == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 1024;
        x->event = mem_realloc(x->event, x->cap, sizeof *x->event);
    }
    x->event[x->n++] = e;
}

static int outside(const InteractionsOptions *o, int64_t timestamp) {
    return (o->from && timestamp < o->from * EVENT_SECOND) || (o->until && timestamp >= o->until * EVENT_SECOND);
}

// Interactions with items whose title did not come: dropped, and with them users who have no other.
static void drop_untitled(Interactions *x) {
    Intern users = {0};
    size_t n = 0;
    int good = 0;
    while (good < x->items.n && x->title[good] >= 0) good++;
    if (good == x->items.n) return;
    for (size_t i = 0; i < x->n; i++) {
        Event e = x->event[i];
        const char *user = x->users.text[e.user];
        if (x->title[e.item] < 0) {
            x->untitled[x->title_fault[e.item]]++;
            continue;
        }
        e.user = intern_put(&users, user, strlen(user));
        x->event[n++] = e;
    }
    intern_free(&x->users);
    x->users = users;
    x->n = n;
}

// What the filters drop is counted and leaves nothing behind, not even its user.
static const char *event_fault(Reading *r) {
    Interactions *x = r->x;
    RecordText user = r->r->field[RECORD_USER], id = r->r->field[RECORD_ITEM];
    int rating = 0;
    int64_t timestamp = 0;
    const char *fault = id_fault(r, user);
    if (!fault) fault = id_fault(r, id);
    if (!fault) fault = rating_fault(r, &rating);
    if (!fault) fault = timestamp_fault(r, &timestamp);
    if (fault) return fault;
    int item = find_item(r, id);
    if (item < 0)
        x->unknown_item++;
    else if (x->title[item] < 0 && !awaits_titles(r))
        x->untitled[x->title_fault[item]]++;
    else if (r->o->min_rating > 0 && x->has_rating && !(x->rating[rating] >= r->o->min_rating))
        x->low_rating++;
    else if (outside(r->o, timestamp))
        x->outside_window++;
    else
        put_event(x, (Event){intern_put(&x->users, user.s, user.n), item, timestamp, (uint64_t)rating});
    return NULL;
}

// ---- files ----

static void show_progress(Progress *p, Stream *stream, int64_t lines) {
    uint64_t done, all;
    stream_progress(stream, &done, &all);
    if (lines == 0) progress_start(p, "reading", "MiB", all >> 20);
    progress_update(p, done >> 20, "%lld lines", (long long)lines);
}

// The rest of the file, record by record; *lines and *bad are counted up.
static int read_records(Reading *r, const char *(*fault_of)(Reading *), int64_t *lines, int64_t *bad, Err *err) {
    int status;
    Err why;
    Progress progress;
    Stream *stream = r->r->lines.stream;
    while ((status = records_next(r->r, &why)) != 0) {
        if (status < 0) {
            if (err) *err = why;
            return -1;
        }
        if (stream && *lines % PROGRESS_LINES == 0) show_progress(&progress, stream, *lines);
        const char *fault = status == 1 ? fault_of(r) : NULL;
        ++*lines;
        if (fault) status = records_bad(r->r, fault, &why);
        if (status == RECORDS_BAD && lines_bad(&r->bad, &why, err)) return -1;
    }
    if (stream && *lines > PROGRESS_LINES) { // a short file's bar was never drawn
        show_progress(&progress, stream, *lines);
        progress_finish(&progress);
    }
    lines_bad_total(&r->bad);
    *bad = r->bad.count;
    return 0;
}

static Reading reading(Interactions *x, Records *r, const InteractionsOptions *o) {
    return (Reading){.x = x,
                     .r = r,
                     .o = o,
                     .bad = {.name = r->lines.name, .strict = o->strict},
                     .latest = (double)time(NULL) + 24 * 3600,
                     .unit = r->format->unit,
                     .days = -1};
}

static int read_items(Interactions *x, Records *items, const InteractionsOptions *o, Err *err) {
    Reading r = reading(x, items, o);
    int64_t lines = 0;
    if (records_latin1(items)) log_info("%s: read as ISO-8859-1", items->lines.name);
    int status = read_records(&r, item_fault, &lines, &x->bad_item_lines, err);
    str_free(&r.title);
    if (status) return -1;
    if (x->replacement_titles)
        log_warn("%s: %lld titles hold U+FFFD, a letter that was lost earlier", items->lines.name,
                 (long long)x->replacement_titles);
    x->has_titles = 1;
    return x->items.n ? 0 : err_set(err, ERR_DATA, "%s: no items", items->lines.name);
}

// With the reason that holds for most of them.
static int nothing_left(const Reading *r, const Records *items, Err *err) {
    const Interactions *x = r->x;
    int64_t untitled = 0, most = 0;
    for (int fault = TITLE_GOOD + 1; fault < TITLE_FAULTS; fault++) untitled += x->untitled[fault];
    const struct {
        int64_t n;
        const char *what;
    } reason[] = {{x->bad_lines, "bad lines, the first: "},
                  {x->unknown_item, "with items that the file of items has not: "},
                  {untitled, "with items whose title cannot be used"},
                  {x->low_rating, "rated lower than asked for"},
                  {x->outside_window, "outside of the time asked for"}};
    const char *what = "";
    for (size_t i = 0; i < sizeof reason / sizeof *reason; i++)
        if (reason[i].n > most) most = reason[i].n, what = reason[i].what;
    if (!most) return err_set(err, ERR_DATA, "%s: no interaction that can be used among 0", r->bad.name);
    Str more = {0};
    if (what == reason[0].what) str_puts(&more, r->bad.first.message);
    if (what == reason[1].what)
        str_printf(&more, "%s; --items names another, or the log where it has titles", items->lines.name);
    err_set(err, ERR_DATA, "%.200s: no interaction that can be used among %lld: %lld %s%s", r->bad.name, (long long)x->lines,
            (long long)most, what, more.len ? more.data : "");
    str_free(&more);
    return -1;
}

int interactions_read(Interactions *x, Records *items, Records *log, const InteractionsOptions *o, Err *err) {
    *x = (Interactions){.has_rating = -1, .has_time = records_has(log, RECORD_TIME)};
    if (items && read_items(x, items, o, err)) return -1;
    Reading r = reading(x, log, o);
    if (!items && !records_has(log, RECORD_TITLE)) log_warn("%s: no titles: the items' ids stand for them", log->lines.name);
    int status = read_records(&r, event_fault, &x->lines, &x->bad_lines, err);
    str_free(&r.title);
    if (status || check_titles(x, log->lines.name, err)) return -1;
    if (awaits_titles(&r)) drop_untitled(x);
    if (x->has_rating < 0) x->has_rating = 0;
    if (!x->n) return nothing_left(&r, items, err);
    if (x->unknown_item > x->lines / 2)
        log_warn("%s: %lld of %lld interactions are with items that %s has not; --items names another file of them",
                 log->lines.name, (long long)x->unknown_item, (long long)x->lines, items->lines.name);
    return 0;
}

void interactions_free(Interactions *x) {
    intern_free(&x->users);
    intern_free(&x->items);
    intern_free(&x->titles);
    intern_free(&x->ratings);
    intern_free(&x->texts);
    free(x->text), free(x->title), free(x->title_fault), free(x->titled), free(x->event), free(x->rating);
    *x = (Interactions){0};
}
