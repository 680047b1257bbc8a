#include "data/report.h"
#include "base/file.h"
#include "base/log.h"
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const report_split_name[SPLITS] = {"train", "valid", "test"};

void report_put(json_t *o, const char *name, int64_t count) {
    json_object_set_new(o, name, json_integer(count));
}

json_t *report_object(json_t *o, const char *name) {
    json_t *inside = json_object();
    json_object_set_new(o, name, inside);
    return inside;
}

void report_put_splits(json_t *o, const char *name, const int64_t count[SPLITS], int first) {
    json_t *inside = report_object(o, name);
    for (int s = first; s < SPLITS; s++) report_put(inside, report_split_name[s], count[s]);
}

void report_put_hash(json_t *o, const char *path, const char hex[33]) {
    const char *name = json_object_get(o, file_name(path)) ? path : file_name(path); // items and log may bear one name
    json_t *key = json_string(name);                                                 // a file name need not be UTF-8, JSON must
    json_object_set_new(o, key ? name : "(not UTF-8)", json_string(hex));
    json_decref(key);
}

static void put_stream_hash(json_t *o, const SourceFile *f) {
    char hex[33];
    if (!f->stream) return;
    stream_hash(f->stream, hex);
    report_put_hash(o, f->path, hex);
}

static void put_given(json_t *o, const char *name, const char *text) {
    if (text) json_object_set_new(o, name, json_string(text));
}

static void put_columns(json_t *options, const PrepareOptions *o) {
    json_t *columns = json_object();
    for (int f = 0; f < RECORD_FIELDS; f++) put_given(columns, records_field_name[f], o->column[f]);
    put_given(columns, "columns", o->column[RECORDS_ORDER]);
    if (json_object_size(columns)) json_object_set(options, "columns", columns);
    json_decref(columns);
}

// What makes rows of a log.
static void put_log_options(json_t *options, const PrepareOptions *o, const Source *source) {
    report_put(options, "k_core", o->k_core);
    json_object_set_new(options, "min_rating", json_real(o->min_rating));
    json_object_set_new(options, "split", json_string(o->split));
    json_object_set_new(options, "published_titles", json_boolean(prepare_published_titles(o, source)));
    report_put(options, "min_items", o->min_items);
    report_put(options, "tie_order", (int64_t)o->tie_order);
    json_object_set_new(options, "title_years", json_string(o->drop_years ? "drop" : "keep"));
    put_given(options, "from", o->from);
    put_given(options, "until", o->until);
    put_columns(options, o);
}

json_t *report_new(const PrepareOptions *o, const Source *source) {
    const int published = source_is_published(source);
    json_t *report = json_pack("{s:s, s:i, s:s, s:{s:s}, s:{s:b}}", "format", DATASET_FORMAT, "version", DATASET_VERSION,
                               "category", o->category ? o->category : source->category, "source", "format",
                               source->log.format->name, "options", "strict", o->strict != 0);
    CHECK(report);
    json_t *options = json_object_get(report, "options"), *from = json_object_get(report, "source");
    if (!published) put_log_options(options, o, source);
    if (!published || o->train_from_histories) report_put(options, "history", o->history);
    if (o->train_from_histories) json_object_set_new(options, "train_from_histories", json_true());
    json_object_set_new(options, "item_ids", json_string(o->log_ids ? "log" : "number"));
    json_t *files = report_object(from, "files");
    put_stream_hash(files, &source->log);
    put_stream_hash(files, &source->items);
    return report;
}

// ---- counts ----

static void add_dropped(json_t *report, const Split *s, const Interactions *x, const FilterCounts *f) {
    json_t *dropped = report_object(report, "dropped"), *o = report_object(dropped, "interactions");
    report_put(o, "bad_line", x->bad_lines);
    report_put(o, "unknown_item", x->unknown_item);
    report_put(o, "untitled_item", x->untitled[TITLE_NONE] + x->untitled[TITLE_CONTROL]);
    report_put(o, "title_rules", x->untitled[TITLE_MARKUP] + x->untitled[TITLE_SHORT] + x->untitled[TITLE_LONG]);
    report_put(o, "low_rating", x->low_rating);
    report_put(o, "outside_window", x->outside_window + f->outside_window);
    report_put(o, "too_few", f->too_few);
    o = report_object(dropped, "items");
    int64_t unusable = 0;
    report_put(o, "bad_line", x->bad_item_lines);
    for (int fault = TITLE_GOOD + 1; fault < TITLE_FAULTS; fault++) {
        report_put(o, titles_fault_name[fault], x->items_untitled[fault]);
        unusable += x->items_untitled[fault];
    }
    report_put(o, "not_left", x->items.n - s->items - unusable);
    o = report_object(dropped, "users");
    report_put(o, "not_left", x->users.n - s->users);
    report_put(o, "without_row", s->users_without_row);
}

static void add_counts(json_t *report, const Split *s, const Interactions *x, const FilterCounts *f) {
    int64_t rows[SPLITS];
    for (int i = 0; i < SPLITS; i++) rows[i] = (int64_t)(s->begin[i + 1] - s->begin[i]);
    json_t *o = report_object(report, "read");
    report_put(o, "interactions", x->lines);
    report_put(o, "users", x->users.n);
    report_put(o, "items", x->items.n);
    json_object_set_new(o, "ratings", json_boolean(x->has_rating));
    json_object_set_new(o, "times", json_boolean(x->has_time));
    add_dropped(report, s, x, f);
    o = report_object(report, "counts");
    report_put(o, "users", s->users);
    report_put(o, "items", s->items);
    report_put(o, "interactions", (int64_t)s->events);
    report_put_splits(o, "rows", rows, SPLIT_TRAIN);
}

static void put_date(json_t *o, const char *name, int64_t seconds) {
    char text[32];
    struct tm d;
    time_t t = (time_t)seconds;
    if (gmtime_r(&t, &d) && strftime(text, sizeof text, "%Y-%m-%d", &d)) json_object_set_new(o, name, json_string(text));
}

// The days (UTC) of the first and the last interaction that is left.
static void add_window(json_t *report, const Split *s, const Interactions *x, const FilterCounts *f) {
    json_t *o = report_object(report, "window");
    int64_t first = INT64_MAX, last = 0;
    for (size_t i = 0; i < s->events; i++) {
        int64_t t = s->event[i].timestamp;
        if (t < first) first = t;
        if (t > last) last = t;
    }
    if (f->from) put_date(o, "from", f->from);
    if (!x->has_time || !s->events) return;
    put_date(o, "first", first / EVENT_SECOND);
    put_date(o, "last", last / EVENT_SECOND);
}

static void add_statistics(json_t *report, const Split *s, const Interactions *x) {
    SplitStatistics t;
    const int tie_order = json_integer_value(json_object_get(json_object_get(report, "options"), "tie_order")) != 0;
    split_statistics(&t, s, x);
    json_t *o = report_object(report, "repeated");
    report_put(o, "titles", t.repeated_titles);
    report_put(o, "items_of_these", t.repeated_title_items);
    report_put(o, "user_item_pairs", t.repeated_pairs);
    o = report_object(report, "ties");
    json_object_set_new(o, "rule", json_string(tie_order ? "of chance by the option tie_order" : "order of the log"));
    report_put_splits(o, "rows", t.tied_rows, SPLIT_TRAIN);
    report_put(o, "users_in_last_two", t.last_two_tied);
    json_object_set_new(o, "valid_begins_inside", json_boolean(t.cut_tied[SPLIT_VALID]));
    json_object_set_new(o, "test_begins_inside", json_boolean(t.cut_tied[SPLIT_TEST]));
    o = report_object(report, "cold");
    report_put_splits(o, "rows", t.cold_rows, SPLIT_VALID);
    report_put_splits(o, "items", t.cold_items, SPLIT_VALID);
    if (!x->has_time) { // nothing is later than another user's
        json_object_set_new(report, "leakage", json_null());
        return;
    }
    o = report_object(report, "leakage");
    report_put(o, "train_rows_after_first_test", t.late_train_rows);
    json_object_set_new(o, "share", json_real((double)t.late_train_rows / (double)s->begin[SPLIT_VALID]));
}

void report_add(json_t *report, const Split *s, const Interactions *x, const FilterCounts *f) {
    add_counts(report, s, x, f);
    add_window(report, s, x, f);
    add_statistics(report, s, x);
}

// ---- the log ----

static void put_words(Str *line, const char *name) {
    for (; *name; name++) str_printf(line, "%c", *name == '_' ? ' ' : *name);
}

// "name value, name value; inner: name value": what is not 0 and not false.
static void put_members(Str *line, const json_t *object) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        if (json_is_object(value) || json_is_false(value) || (json_is_integer(value) && !json_integer_value(value))) continue;
        if (line->len) str_puts(line, line->data[line->len - 1] == ':' ? " " : ", ");
        put_words(line, name);
        if (json_is_integer(value)) str_printf(line, " %lld", (long long)json_integer_value(value));
        if (json_is_string(value)) str_printf(line, " %s", json_string_value(value));
    }
    json_object_foreach((json_t *)object, name, value) {
        Str inner = {0};
        if (json_is_object(value)) put_members(&inner, value);
        if (inner.len) {
            str_puts(line, line->len ? "; " : "");
            put_words(line, name);
            str_printf(line, ": %s", inner.data);
        }
        str_free(&inner);
    }
}

void report_log(const json_t *report) {
    static const struct {
        const char *key, *shown;
    } parts[] = {{"read", "read"},         {"window", "window"}, {"dropped", "dropped"}, {"counts", "kept"},
                 {"repeated", "repeated"}, {"ties", "ties"},     {"cold", "cold"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        Str line = {0};
        json_t *part = json_copy(json_object_get(report, parts[i].key));
        json_object_del(part, "rule"); // as it was asked for
        put_members(&line, part);
        if (line.len) log_info("%-9s %s", parts[i].shown, line.data);
        json_decref(part);
        str_free(&line);
    }
    double late = json_number_value(json_object_get(json_object_get(report, "leakage"), "share"));
    const char *split = json_string_value(json_object_get(json_object_get(report, "options"), "split"));
    if (late > 0)
        log_warn("%.1f %% of the training rows are later than the first test target (split \"%s\")", 100 * late,
                 split ? split : "as it came");
}
