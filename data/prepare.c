#include "data/prepare.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/vec.h"
#include "data/columns.h"
#include "data/dataset.h"
#include "data/dates.h"
#include "data/filter.h"
#include "data/output.h"
#include "data/report.h"
#include "data/republish.h"
#include "data/source.h"
#include "data/split.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HISTORY_LIMIT = 1000, K_CORE_LIMIT = 1000000, LEAVE_ONE_OUT_LEAST = 3, PROGRESS_ROWS = 1 << 14 };

// ---- options ----

// Seconds at the beginning of that day in UTC.
static int parse_date(int64_t *seconds, const char *text, const char *option, Err *err) {
    *seconds = 0;
    if (!text) return 0;
    int64_t milliseconds;
    if (strlen(text) == 10 && dates_parse(&milliseconds, text, 10)) {
        *seconds = milliseconds / 1000;
        if (*seconds >= 0 && *seconds < COLUMNS_TIME_LIMIT) return 0;
    }
    return err_set(err, ERR_USAGE, "%s \"%.32s\": a date of the form 2017-10-01, from 1970 to 2099, is expected", option, text);
}

int prepare_published_titles(const PrepareOptions *o, const Source *s) {
    if (o->title_rules && strcmp(o->title_rules, "auto") != 0) return strcmp(o->title_rules, "published") == 0;
    return s->log.format->published_titles || (s->items.format && s->items.format->published_titles);
}

static const RecordsFormat *forced_format(const PrepareOptions *o) {
    return o->format && strcmp(o->format, "auto") != 0 ? records_format(o->format) : NULL;
}

static int is_leave_one_out(const PrepareOptions *o) {
    return strcmp(o->split, "leave-one-out") == 0;
}

static int check_window(const PrepareOptions *o, int64_t *from, int64_t *until, Err *err) {
    if (parse_date(from, o->from, "--from", err) || parse_date(until, o->until, "--until", err)) return -1;
    if (o->until && !*until) return err_set(err, ERR_USAGE, "--until %s: nothing is earlier", o->until); // 0: off
    if (*from && *until && *from >= *until)
        return err_set(err, ERR_USAGE, "--from %s is not before --until %s", o->from, o->until);
    if (o->min_items < 0) return err_set(err, ERR_USAGE, "--min-items %d: it is 0 or more", o->min_items);
    if (o->min_items && !o->from)
        return err_set(err, ERR_USAGE, "--min-items moves the window's beginning back: --from must say where it begins");
    return 0;
}

static int check_options(const PrepareOptions *o, Err *err) {
    if (!o->input || !o->out) return err_set(err, ERR_USAGE, "--data and --out are needed");
    if (o->k_core < 0 || o->k_core > K_CORE_LIMIT)
        return err_set(err, ERR_USAGE, "--k-core %d: it is 0 to %d", o->k_core, K_CORE_LIMIT);
    if (o->history < 1 || o->history > HISTORY_LIMIT)
        return err_set(err, ERR_USAGE, "--max-history %d: it is 1 to %d", o->history, HISTORY_LIMIT);
    if (!(o->min_rating >= 0 && isfinite(o->min_rating)))
        return err_set(err, ERR_USAGE, "--min-rating %g: it is 0 or more", o->min_rating);
    if (!o->split || (strcmp(o->split, "time") != 0 && strcmp(o->split, "leave-one-out") != 0))
        return err_set(err, ERR_USAGE, "--split \"%.32s\": it is time or leave-one-out", o->split ? o->split : "");
    const RecordsFormat *f = forced_format(o);
    if (o->column[RECORDS_ORDER] && (!f || !f->any_names || f->shape[RECORDS_LOG].kind == RECORDS_JSON))
        return err_set(err, ERR_USAGE, "--columns needs --format tsv or csv");
    if (f && records_check_names(f, RECORDS_LOG, o->column, NULL, err)) return -1;
    if (o->category && dataset_check_category(o->category, ERR_USAGE, err)) return -1;
    return output_check(o->out, err);
}

// ---- reading ----

// Where there are no times: what is asked for does without, and the user may have meant a column as such.
static int check_times(const Records *log, const PrepareOptions *o, Err *err) {
    const char *path = log->lines.name;
    const int sequences = log->shape->kind == RECORDS_SEQUENCES, unnamed = log->format->any_names && log->names.len;
    Str which = {0};
    if (records_has(log, RECORD_TIME)) return 0;
    if (o->from || o->until) return err_set(err, ERR_USAGE, "%s: no times, and --from and --until ask for a window", path);
    if (unnamed) str_printf(&which, "--time-column names their column among %s", log->names.data);
    const int lacking = !is_leave_one_out(o);
    if (lacking)
        err_set(err, ERR_USAGE, "%s: no times to split by; %s%s--split leave-one-out needs none", path,
                unnamed ? which.data : "", unnamed ? "; " : "");
    else if (!sequences)
        log_warn("%s: no times: the order of the log is taken for the order in time%s%s", path, unnamed ? "; " : "",
                 unnamed ? which.data : "");
    str_free(&which);
    return lacking ? -1 : 0;
}

static int source_read(Interactions *x, Source *s, const PrepareOptions *o, int64_t from, int64_t until, Err *err) {
    Records log = {0}, items = {0};
    const RecordsFormat *f = s->log.format;
    // A beginning that may move back drops nothing yet.
    InteractionsOptions how = {o->strict,    prepare_published_titles(o, s), o->min_rating, o->min_items ? 0 : from, until,
                               o->drop_years};
    int status = s->items.path ? records_open_stream(&items, s->items.format, RECORDS_ITEMS, o->column, s->items.stream,
                                                     s->items.path, err)
                               : 0;
    if (status == 0) status = records_open_stream(&log, f, RECORDS_LOG, o->column, s->log.stream, s->log.path, err);
    if (status == 0 && s->no_items.code && !records_has(&log, RECORD_TITLE))
        status = err_set(err, s->no_items.code, "%s; the file of items can be named with --items", s->no_items.message);
    if (status == 0 && !s->items.path && o->column[RECORD_TITLE])
        status = f->any_names ? records_check_named(&log, RECORD_TITLE, o->column[RECORD_TITLE], err)
                              : records_check_names(f, RECORDS_ITEMS, o->column, s->log.path, err);
    if (status == 0) status = check_times(&log, o, err);
    if (status == 0) status = interactions_read(x, s->items.path ? &items : NULL, &log, &how, err);
    records_close(&items);
    records_close(&log);
    return status;
}

static int check_read(const Interactions *x, const PrepareOptions *o, const char *path, Err *err) {
    if (o->min_rating > 0 && !x->has_rating)
        return err_set(err, ERR_USAGE, "%s: no ratings, and --min-rating asks for some", path);
    return 0;
}

// ---- writing ----

// What no command could read again.
static int check_row(const Str *text, size_t header, const ColumnsRow *row, const char *name, int64_t line, Err *err) {
    if (text->len - header <= CSV_FIELD_LIMIT) return 0;
    Csv csv;
    Err why;
    int status = csv_open(&csv, text->data + header, text->len - header, name, &why);
    if (status == 0) status = csv_next(&csv, &why) == 1 ? 0 : -1;
    csv_close(&csv);
    if (status == 0) return 0;
    return err_set(err, ERR_DATA,
                   "%s: line %lld, user %.64s: a history of %d items is too large for a field of 1 MiB or a record of 16; "
                   "--max-history shortens it",
                   name, (long long)line, row->user, row->n);
}

static int write_rows(OutFile *f, const Split *s, const Interactions *x, int split, Progress *p, Err *err) {
    const char *asin[HISTORY_LIMIT], *title[HISTORY_LIMIT];
    int64_t item[HISTORY_LIMIT], timestamp[HISTORY_LIMIT];
    double rating[HISTORY_LIMIT];
    static const double unrated = 0;
    const double *ratings = x->has_rating ? x->rating : &unrated;
    unsigned present = x->has_rating ? COLUMNS_ALL : COLUMNS_ALL & ~COLUMNS_RATINGS;
    Str text = {0};
    int status = 0;
    columns_put_header(&text, present);
    for (size_t r = s->begin[split]; r < s->begin[split + 1] && status == 0; r++) {
        int n = split_history(s, s->row[r]);
        const Event *target = &s->event[s->row[r]], *e = target - n;
        for (int i = 0; i < n; i++, e++) {
            asin[i] = x->items.text[e->item];
            title[i] = x->titles.text[x->title[e->item]];
            item[i] = s->number[e->item];
            timestamp[i] = e->timestamp / EVENT_SECOND;
            rating[i] = ratings[e->rating];
        }
        ColumnsRow row = {.user = x->users.text[target->user],
                          .asin = x->items.text[target->item],
                          .title = x->titles.text[x->title[target->item]],
                          .item = s->number[target->item],
                          .timestamp = target->timestamp / EVENT_SECOND,
                          .rating = ratings[target->rating],
                          .n = n,
                          .history_asin = asin,
                          .history_title = title,
                          .history_item = item,
                          .history_timestamp = timestamp,
                          .history_rating = rating};
        const size_t header = text.len;
        columns_put_row(&text, &row, present);
        status = check_row(&text, header, &row, output_name[split], (int64_t)(r - s->begin[split]) + 2, err);
        outfile_write(f, text.data, text.len);
        str_clear(&text);
        if (r % PROGRESS_ROWS == 0) progress_update(p, r, "%s", output_name[split]);
    }
    outfile_write(f, text.data, text.len); // the header of a split without rows
    str_free(&text);
    return status;
}

static void write_info(OutFile *f, const Split *s, const Interactions *x, int log_ids) {
    Str info = {0};
    for (int i = 0; i < x->items.n; i++) {
        char number[16];
        if (s->number[i] < 0) continue;
        snprintf(number, sizeof number, "%d", (int)s->number[i]);
        const ItemLine line = {.title = x->titles.text[x->title[i]],
                               .row_id = number,
                               .text = x->text[i] < 0 ? NULL : x->texts.text[x->text[i]],
                               .id = log_ids ? x->items.text[i] : number};
        str_clear(&info);
        items_put(&info, &line);
        outfile_write(f, info.data, info.len);
    }
    str_free(&info);
}

static int write_files(const PrepareOptions *o, const Split *s, const Interactions *x, json_t *report, Err *err) {
    Output out;
    int status = output_open(&out, o->out, (1u << OUTPUTS) - 1, err);
    Progress progress;
    progress_start(&progress, "writing", "rows", s->begin[SPLITS]);
    for (int i = 0; i < SPLITS && status == 0; i++) status = write_rows(&out.file[i], s, x, i, &progress, err);
    if (status == 0 && s->begin[SPLITS] > PROGRESS_ROWS) { // a bar for fewer is not worth a line
        progress_update(&progress, s->begin[SPLITS], "%s", "");
        progress_finish(&progress);
    }
    if (status == 0) {
        write_info(&out.file[OUTPUT_INFO], s, x, o->log_ids);
        status = output_commit(&out, report, err);
    }
    output_close(&out);
    return status;
}

// ---- all of it ----

static int no_train_row(const Split *s, const Interactions *x, const PrepareOptions *o, const char *path, Err *err) {
    const char *why = !s->events && o->k_core > 1 ? "a smaller one keeps more"
                      : is_leave_one_out(o)       ? "--split leave-one-out trains on users with four or more"
                                                  : "--split time makes rows of users with two or more, and trains on 8 in 10";
    return err_set(err, ERR_DATA, "%s: no row is left to train on (--k-core %d leaves %zu of %lld interactions): %s", path,
                   o->k_core, s->events, (long long)x->lines, why);
}

static void warn_of_no_rows(const Split *s, const char *path) {
    for (int i = SPLIT_VALID; i < SPLITS; i++)
        if (s->begin[i] == s->begin[i + 1])
            log_warn("%s: no rows are left for %s: too few interactions (%zu) for training and evaluation", path,
                     output_name[i], s->events);
}

static int split_and_write(const PrepareOptions *o, const Source *source, Interactions *x, int64_t from, json_t **report,
                           Err *err) {
    FilterCounts counts;
    const char *path = source->log.path;
    int user_core = is_leave_one_out(o) && o->k_core < LEAVE_ONE_OUT_LEAST ? LEAVE_ONE_OUT_LEAST : o->k_core;
    if (check_read(x, o, path, err)) return -1;
    filter_apply(&counts, x, &(FilterOptions){user_core, o->k_core, from, o->min_items});
    if (counts.items < o->min_items)
        log_warn("%s: %d items are left from the first interaction on, fewer than %d", path, counts.items, o->min_items);
    if (x->n > SPLIT_EVENTS_LIMIT)
        return err_set(err, ERR_DATA, "%s: more than %d interactions are left", path, SPLIT_EVENTS_LIMIT);
    Split s;
    split_make(&s, x, is_leave_one_out(o), o->history, o->tie_order);
    int status = 0;
    if (s.begin[SPLIT_VALID] == 0) status = no_train_row(&s, x, o, path, err);
    json_t *made = NULL;
    if (status == 0) {
        made = report_new(o, source);
        report_add(made, &s, x, &counts);
        report_log(made);
        warn_of_no_rows(&s, path);
        status = write_files(o, &s, x, made, err);
    }
    if (status == 0 && report) *report = json_incref(made);
    json_decref(made);
    split_free(&s);
    return status;
}

int prepare_run(const PrepareOptions *o, json_t **report, Err *err) {
    int64_t from, until;
    if (report) *report = NULL;
    if (check_options(o, err) || check_window(o, &from, &until, err)) return -1;
    Source source;
    Interactions x = {0};
    int status = source_open(&source, o->input, o->items, forced_format(o), o->column, err);
    const int published = status == 0 && source_is_published(&source);
    if (published && o->idle_if_split)
        status = err_set(err, ERR_USAGE, "--%s does nothing to a folder that is split already (%s)", o->idle_if_split,
                         source.log.path);
    if (status == 0 && o->column[RECORD_TEXT] && !source.items.path)
        status = err_set(err, ERR_USAGE, "--item-text: index texts stand in a file of items, and there is none beside %s",
                         source.log.path);
    if (status == 0 && !published && !o->category && dataset_check_category(source.category, ERR_USAGE, err))
        status = err_prefix(err, "the name of the folder, which --category can replace");
    if (status == 0 && o->train_from_histories && !published)
        status = err_set(err, ERR_USAGE,
                         "%s: not a folder in the published layout, whose train.csv --train-from-histories could make",
                         source.log.path);
    if (status == 0 && published) {
        status = republish(o, &source, report, err);
    } else if (status == 0) {
        status = source_read(&x, &source, o, from, until, err);
        if (status == 0) status = split_and_write(o, &source, &x, from, report, err);
    }
    interactions_free(&x);
    source_close(&source);
    return status;
}

char *prepare_beside(const PrepareOptions *o) {
    Source s;
    const char *path = NULL;
    if (source_find(&s, o->input, o->items, forced_format(o), o->column, NULL) == 0)
        path = source_is_published(&s) ? s.log.path : s.items.path;
    char *beside = path ? mem_strndup(path, strlen(path)) : NULL;
    source_close(&s);
    return beside;
}
