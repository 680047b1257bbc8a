#include "data/users.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "data/jsonl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 24 }; // of a JSON integer

void user_history_free(UserHistory *h) {
    free(h->user), free(h->title), free(h->id), free(h->text);
    json_decref(h->line);
    *h = (UserHistory){0};
}

static void make_room(UserHistory *h, size_t n) {
    h->title = mem_alloc(n + 1, sizeof *h->title);
    h->id = mem_alloc(n + 1, sizeof *h->id);
    h->text = mem_alloc(n + 1, sizeof *h->text);
}

static void add_item(UserHistory *h, const Items *items, int item) {
    h->title[h->n] = items->title[item];
    h->id[h->n] = items->id[item];
    h->text[h->n++] = items->text[item];
}

// ---- a file ----------------------------------------------------------------------------------------------------------

int users_open_file(Users *u, const char *path, const Items *items, int strict, Err *err) {
    *u = (Users){.items = items, .strict = strict};
    u->stream = stream_open(path, err);
    if (!u->stream || lines_open_stream(&u->lines, u->stream, path, err)) return -1;
    u->lines.limit = JSONL_LINE_LIMIT;
    return 0;
}

int users_parse(Users *u, const char *data, size_t bytes, const char *name, const Items *items, int strict, Err *err) {
    *u = (Users){.items = items, .strict = strict};
    if (lines_open(&u->lines, data, bytes, name, err)) return -1;
    u->lines.limit = JSONL_LINE_LIMIT;
    return 0;
}

static int fail(const Users *u, const char *member, const char *why, Err *err) {
    return err_set(err, ERR_DATA, "%s: line %lld: %s: %s", u->lines.name, (long long)u->lines.line, member, why);
}

// A text, or a whole number as its digits in `number`; NULL for anything else.
static const char *text_of(const json_t *v, char number[NUMBER_BYTES]) {
    if (json_is_string(v) && strlen(json_string_value(v)) < json_string_length(v)) return NULL;
    const double real = json_real_value(v), most = 9007199254740992.0;
    if (json_is_real(v) && real == floor(real) &&
        fabs(real) < most) // beside a number that no integer holds, all are read as reals
        snprintf(number, NUMBER_BYTES, "%.0f", real);
    else if (json_is_integer(v))
        snprintf(number, NUMBER_BYTES, "%lld", (long long)json_integer_value(v));
    else
        return json_string_value(v);
    return number;
}

static int read_user(const Users *u, UserHistory *h, Err *err) {
    char number[NUMBER_BYTES];
    const json_t *v = json_object_get(h->line, "user");
    const char *text = text_of(v, number);
    if (!text) return fail(u, "user", v ? "neither a text nor a whole number" : "missing", err);
    if (items_title_fault(text, strlen(text))) return fail(u, "user", "empty, too long, or with a control byte", err);
    h->user = mem_strndup(text, strlen(text));
    return 0;
}

static int read_id(Users *u, UserHistory *h, const json_t *v, Err *err) {
    char number[NUMBER_BYTES];
    const char *id = text_of(v, number);
    if (!id) return fail(u, "history_ids", "an entry that is neither a text nor a whole number", err);
    const int item = items_by_id(u->items, id);
    if (item >= 0)
        add_item(h, u->items, item);
    else if (u->strict)
        return err_set(err, ERR_DATA, "%s: line %lld: history_ids: %.60s is no item of the catalogue", u->lines.name,
                       (long long)u->lines.line, id);
    u->unknown_ids += item < 0;
    return 0;
}

static int read_title(Users *u, UserHistory *h, const json_t *v, Err *err) {
    if (!json_is_string(v)) return fail(u, "history", "an entry that is no text", err);
    const char *title = json_string_value(v), *fault = items_title_fault(title, json_string_length(v));
    if (fault) return fail(u, "history", fault, err);
    const int item = items_by_title(u->items, title);
    h->title[h->n] = title;
    h->text[h->n++] = item < 0 ? NULL : u->items->text[item];
    u->unknown_titles += item < 0;
    return 0;
}

static int read_line(Users *u, UserHistory *h, Err *err) {
    const Lines *l = &u->lines;
    const char *what[] = {"history", "history_ids"};
    h->line = json_parse_line(l->text, l->len, l->name, l->line, err);
    if (!h->line) return -1;
    if (!json_is_object(h->line)) return fail(u, "the line", "no JSON object", err);
    const json_t *titles = json_object_get(h->line, what[0]), *ids = json_object_get(h->line, what[1]), *v;
    if (read_user(u, h, err)) return -1;
    if (!titles == !ids) return fail(u, what[0], ids ? "beside history_ids: one of them is expected" : "missing", err);
    h->by_id = ids != NULL;
    const json_t *list = h->by_id ? ids : titles;
    if (!json_is_array(list)) return fail(u, what[h->by_id], "no list", err);
    make_room(h, json_array_size(list));
    size_t i;
    json_array_foreach(list, i, v) {
        if (h->by_id ? read_id(u, h, v, err) : read_title(u, h, v, err)) return -1;
    }
    return 0;
}

static int next_of_file(Users *u, UserHistory *h, Err *err) {
    const int status = lines_next(&u->lines, 0, err);
    return status <= 0 ? status : read_line(u, h, err) ? -1 : 1;
}

// ---- a data folder ---------------------------------------------------------------------------------------------------

int users_open_folder(Users *u, const Dataset *d, Err *err) {
    static const char *const splits[] = {"train", "valid", "test"};
    *u = (Users){.items = &d->items, .from_folder = 1};
    for (int i = 0; i < 3; i++) {
        Rows rows;
        char name[16];
        snprintf(name, sizeof name, "%s.csv", splits[i]);
        if (!dataset_has(d->folder, name)) {
            log_warn("%s has no %s: its users and items are unknown", d->folder, name);
            continue;
        }
        if (dataset_rows(d, &rows, splits[i], 0, err)) return -1;
        sequences_add(&u->sequences, u->items, &rows, NULL);
        rows_free(&rows);
    }
    return 0;
}

// What a user's last rows go on with.
static int next_of_folder(Users *u, UserHistory *h) {
    const Sequences *s = &u->sequences;
    if (u->read == s->users.n) return 0;
    const char *user = s->users.text[u->read];
    const Ints *item = &s->item[s->present[u->read]];
    h->user = mem_strndup(user, strlen(user));
    h->by_id = 1;
    make_room(h, item->len);
    for (size_t i = 0; i < item->len; i++) add_item(h, u->items, item->data[i]);
    return 1;
}

// ---- both ------------------------------------------------------------------------------------------------------------

void users_close(Users *u) {
    stream_close(u->stream);
    lines_close(&u->lines);
    sequences_free(&u->sequences);
    *u = (Users){0};
}

int users_next(Users *u, UserHistory *h, Err *err) {
    *h = (UserHistory){0};
    const int status = u->from_folder ? next_of_folder(u, h) : next_of_file(u, h, err);
    if (status < 0) user_history_free(h);
    u->read += status > 0;
    return status;
}

int users_skip(Users *u, int64_t n, Err *err) {
    for (; n > 0; n--, u->read++) {
        const int status = u->from_folder ? u->read < u->sequences.users.n : lines_next(&u->lines, 0, err);
        if (status < 0) return -1;
        if (status == 0) return err_set(err, ERR_DATA, "fewer users than there were before");
    }
    return 0;
}
