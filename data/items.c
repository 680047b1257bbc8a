// info.txt: one item a line.
#include "base/arena.h"
#include "base/file.h"
#include "base/utf8.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "data/intern.h"
#include "data/lines.h"
#include "text/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char REMOVED[] = "removed"; // the fourth field

struct ItemsIndex {
    Intern ids, row_ids, titles, texts; // the number of an id is the item's, but of those of items_parse_added
    int *title;                         // (n): number of the item's title
    int *first_of_title;                // (titles.n): the first item with it that is not removed, else the first
    int cap;                            // of all arrays (n)
    int next_number;                    // every row id below it is taken
};

// One of the characters that show as nothing: white space, and those of no width.
static int is_blank(uint32_t c) {
    return pattern_is_space(c) || (c >= 0x200b && c <= 0x200f) || c == 0x2060 || c == 0xfeff;
}

int items_is_blank(const char *text, size_t len) {
    uint32_t c;
    for (size_t n; len > 0; text += n, len -= n)
        if (!(n = utf8_next(text, len, &c)) || !is_blank(c)) return 0;
    return 1;
}

// A file would lose it.
static int begins_with_mark(const char *s, size_t len) {
    return len >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0;
}

static int has_control(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (utf8_is_control(s[i])) return 1;
    return 0;
}

const char *items_title_fault(const char *title, size_t len) {
    if (len == 0) return "no title";
    if (len > ITEMS_TITLE_LIMIT) return "a title of more than 64 KiB";
    if (begins_with_mark(title, len)) return "a byte order mark in the title";
    return has_control(title, len) ? "a control byte in the title" : NULL;
}

const char *items_text_fault(const char *text, size_t len) {
    return !items_title_fault(text, len) ? NULL
           : begins_with_mark(text, len) ? "an index text that begins with a byte order mark"
                                         : "an index text that is empty, over 64 KiB or holds a control byte";
}

const char *items_id_fault(const char *id, size_t len) {
    if (len == 0) return "no id";
    if (len > ITEMS_ID_LIMIT) return "an id of more than 1024 bytes";
    if (begins_with_mark(id, len)) return "a byte order mark in the id";
    return has_control(id, len) ? "a control byte in the id" : NULL;
}

// ---- the arrays ----

static void grow(Items *items) {
    struct ItemsIndex *x = items->index;
    if (items->n < x->cap) return;
    x->cap = x->cap ? 2 * x->cap : 64;
    const size_t cap = (size_t)x->cap;
    items->id = mem_realloc(items->id, cap, sizeof *items->id);
    items->row_id = mem_realloc(items->row_id, cap, sizeof *items->row_id);
    items->title = mem_realloc(items->title, cap, sizeof *items->title);
    items->text = mem_realloc(items->text, cap, sizeof *items->text);
    items->removed = mem_realloc(items->removed, cap, 1);
    x->title = mem_realloc(x->title, cap, sizeof *x->title);
}

static void set_title(Items *items, int item, const char *title, size_t len) {
    struct ItemsIndex *x = items->index;
    x->title[item] = intern_put(&x->titles, title, len);
    items->title[item] = x->titles.text[x->title[item]];
}

static void set_text(Items *items, int item, const char *text, size_t len) {
    Intern *texts = &items->index->texts;
    int number = len ? intern_put(texts, text, len) : -1;
    items->text[item] = len ? texts->text[number] : NULL;
}

// What follows from the lines as a whole.
static void finish(Items *items) {
    struct ItemsIndex *x = items->index;
    items->live = items->texts = items->named = 0;
    x->first_of_title = mem_realloc(x->first_of_title, (size_t)x->titles.n, sizeof *x->first_of_title);
    for (int t = 0; t < x->titles.n; t++) x->first_of_title[t] = -1;
    for (int i = 0; i < items->n; i++) {
        int *first = &x->first_of_title[x->title[i]];
        if (*first < 0 || (items->removed[*first] && !items->removed[i])) *first = i;
        items->live += !items->removed[i];
        items->texts += !items->removed[i] && items->text[i];
        items->named += items->row_id[i] && strcmp(items->id[i], items->row_id[i]);
    }
}

// ---- reading and writing ----

static int line_error(const Lines *l, const char *what, Err *err) {
    return err_set(err, ERR_DATA, "%s: line %lld: %s", l->name, (long long)l->line, what);
}

static int is_row_id(const char *s, size_t len) {
    CsvValue id;
    return len > 0 && csv_number(&id, s, len) == len && id.kind == CSV_INT && id.integer >= 0;
}

// The fields but the row id, each on its own.
static const char *item_fault(const Lines *l) {
    const char *fault = items_title_fault(l->field[0], l->field_len[0]);
    if (!fault && l->n > 2 && l->field_len[2]) fault = items_text_fault(l->field[2], l->field_len[2]);
    if (!fault && l->n > 3 && (l->n == 4 || l->field_len[3]) &&
        (l->field_len[3] != strlen(REMOVED) || memcmp(l->field[3], REMOVED, l->field_len[3])))
        fault = "the fourth field is not \"removed\"";
    if (!fault && l->n > 4) fault = items_id_fault(l->field[4], l->field_len[4]);
    return fault;
}

// any_id: an item to add. The second field may be an id that is no row id; blanks are no title, though a folder may have such.
static int read_item(Items *items, const Lines *l, int any_id, Err *err) {
    if (l->n < 2 || l->n > 5)
        return line_error(l, "not 2 to 5 fields, title<TAB>row id<TAB>index text<TAB>removed<TAB>id", err);
    const char *fault = item_fault(l);
    const int numbered = is_row_id(l->field[1], l->field_len[1]), id = l->n > 4 ? 4 : 1;
    if (!fault && any_id && items_is_blank(l->field[0], l->field_len[0])) fault = "a title of blanks alone";
    if (!fault && !numbered && (!any_id || l->n > 4)) fault = "the row id is no number of the form 0, 1, 2, ...";
    if (!fault && !numbered) fault = items_id_fault(l->field[1], l->field_len[1]);
    if (fault) return line_error(l, fault, err);
    Intern *ids = &items->index->ids, *row_ids = &items->index->row_ids;
    if (intern_put(ids, l->field[id], l->field_len[id]) < items->n) return line_error(l, "an item id stands twice", err);
    const int rows = row_ids->n, row = numbered ? intern_put(row_ids, l->field[1], l->field_len[1]) : -1;
    if (numbered && row < rows) return line_error(l, "a row id stands twice", err);
    grow(items);
    items->id[items->n] = ids->text[items->n];
    items->row_id[items->n] = numbered ? row_ids->text[row] : NULL;
    items->removed[items->n] = l->n > 3 && l->field_len[3] > 0;
    set_title(items, items->n, l->field[0], l->field_len[0]);
    set_text(items, items->n, l->n > 2 ? l->field[2] : NULL, l->n > 2 ? l->field_len[2] : 0);
    items->n++;
    return 0;
}

static int parse(Items *items, const char *data, size_t bytes, const char *name, int any_id, Err *err) {
    *items = (Items){.index = mem_zalloc(1, sizeof *items->index)};
    Lines l;
    int status = bytes > INT32_MAX // fewer items than 2^31, then
                     ? err_set(err, ERR_DATA, "%s: %zu bytes, more than the limit of %d", name, bytes, INT32_MAX)
                     : lines_open(&l, data, bytes, name, err);
    while (status == 0 && (status = lines_next(&l, '\t', err)) == 1) status = read_item(items, &l, any_id, err);
    if (status == 0 && items->n == 0) status = err_set(err, ERR_DATA, "%s: no items", name);
    if (status == 0)
        finish(items);
    else
        items_free(items);
    return status;
}

int items_parse(Items *items, const char *data, size_t bytes, const char *name, Err *err) {
    return parse(items, data, bytes, name, 0, err);
}

int items_parse_added(Items *items, const char *data, size_t bytes, const char *name, Err *err) {
    return parse(items, data, bytes, name, 1, err);
}

static int parse_file(Items *items, const char *path, int any_id, Err *err) {
    *items = (Items){0};
    MapFile file;
    if (mapfile_open(&file, path, 0, err)) return -1;
    int status = parse(items, file.data, file.bytes, path, any_id, err);
    mapfile_close(&file);
    return status;
}

int items_open(Items *items, const char *path, Err *err) {
    return parse_file(items, path, 0, err);
}

int items_open_added(Items *items, const char *path, Err *err) {
    return parse_file(items, path, 1, err);
}

void items_put(Str *out, const ItemLine *x) {
    const int own = strcmp(x->id, x->row_id) != 0;
    str_printf(out, "%s\t%s", x->title, x->row_id);
    if (x->text || x->removed || own) str_printf(out, "\t%s", x->text ? x->text : "");
    if (x->removed || own) str_printf(out, "\t%s", x->removed ? REMOVED : "");
    if (own) str_printf(out, "\t%s", x->id);
    str_puts(out, "\n");
}

void items_put_line_as(Str *out, const Items *items, int i, const char *id) {
    const ItemLine x = {items->title[i], items->row_id[i], items->text[i], items->removed[i], id};
    items_put(out, &x);
}

void items_put_line(Str *out, const Items *items, int i) {
    items_put_line_as(out, items, i, items->id[i]);
}

void items_free(Items *items) {
    struct ItemsIndex *x = items->index;
    if (x) {
        intern_free(&x->ids), intern_free(&x->row_ids), intern_free(&x->titles), intern_free(&x->texts);
        free(x->title), free(x->first_of_title);
    }
    free(x), free(items->id), free(items->row_id), free(items->title), free(items->text), free(items->removed);
    *items = (Items){0};
}

// ---- looking up ----

int items_by_id(const Items *items, const char *id) {
    return intern_find(&items->index->ids, id, strlen(id));
}

int items_by_row_id(const Items *items, const char *row_id) {
    return intern_find(&items->index->row_ids, row_id, strlen(row_id));
}

int items_by_title(const Items *items, const char *title) {
    int number = intern_find(&items->index->titles, title, strlen(title));
    return number < 0 ? -1 : items->index->first_of_title[number];
}

int items_find(const Items *items, const char *entry, int by_id) {
    return by_id ? items_by_id(items, entry) : items_by_title(items, entry);
}

int items_entry(const Items *items, const char *entry, int by_id, const char **title, const char **id, const char **text) {
    const int item = items_find(items, entry, by_id);
    *title = item >= 0 ? items->title[item] : by_id ? NULL : entry;
    *id = item >= 0 ? items->id[item] : NULL;
    *text = item >= 0 ? items->text[item] : NULL;
    return item;
}

int items_title_group(const Items *items, int item) {
    CHECK(item >= 0 && item < items->n);
    return items->index->first_of_title[items->index->title[item]];
}

int items_group_of(const Items *items, const char *id, const char *title) {
    const int item = id ? items_by_id(items, id) : -1;
    return item >= 0 ? items_title_group(items, item) : items_by_title(items, title);
}

// ---- changes ----

static void append(Items *items, const Items *from, int i) {
    struct ItemsIndex *x = items->index;
    char number[24];
    const char *row_id = from->row_id[i];
    if (x->next_number < items->n) x->next_number = items->n;
    while (!row_id || items_by_row_id(items, row_id) >= 0) {
        snprintf(number, sizeof number, "%d", x->next_number++);
        row_id = number;
    }
    grow(items);
    intern_put(&x->ids, from->id[i], strlen(from->id[i]));
    intern_put(&x->row_ids, row_id, strlen(row_id));
    items->id[items->n] = x->ids.text[items->n];
    items->row_id[items->n] = x->row_ids.text[items->n];
    items->removed[items->n] = 1; // until put_back
    items->text[items->n] = NULL;
    items->n++;
}

// The texts of another list's item i, and no longer removed.
static void put_back(Items *items, int item, const Items *from, int i) {
    items->removed[item] = 0;
    set_title(items, item, from->title[i], strlen(from->title[i]));
    if (from->text[i]) set_text(items, item, from->text[i], strlen(from->text[i]));
}

int items_add(Items *items, const Items *more, int *changed, Err *err) {
    *changed = 0;
    for (int i = 0; i < more->n; i++) {
        int item = items_by_id(items, more->id[i]);
        if (more->removed[i]) continue;
        if (item >= 0 && !items->removed[item]) {
            int same_text = !more->text[i] || (items->text[item] && !strcmp(items->text[item], more->text[i]));
            if (same_text && !strcmp(items->title[item], more->title[i])) continue;
            return err_set(err, ERR_DATA, "item %s is there already, as \"%.200s\"; remove it first", items->id[item],
                           items->title[item]);
        }
        if (item < 0) {
            item = items->n;
            append(items, more, i);
        }
        put_back(items, item, more, i);
        ++*changed;
    }
    finish(items);
    return 0;
}

static int find(const Items *items, const char *id, Err *err) {
    int item = items_by_id(items, id);
    return item >= 0 ? item : err_set(err, ERR_DATA, "item %.64s is not in the catalogue", id);
}

int items_set_title(Items *items, const char *id, const char *title, int *changed, Err *err) {
    const int item = find(items, id, err);
    const char *fault = items_title_fault(title, strlen(title));
    if (item < 0) return -1;
    if (fault) return err_set(err, ERR_DATA, "item %.64s: %s", id, fault); // what no file of items can hold
    const char *before = items->title[item];
    set_title(items, item, title, strlen(title));
    *changed = items->title[item] != before; // each title is kept once
    finish(items);
    return 0;
}

int items_remove(Items *items, const char *const *id, int n, int *changed, Err *err) {
    *changed = 0;
    for (int i = 0; i < n; i++) {
        int item = find(items, id[i], err);
        if (item < 0) return -1;
        *changed += !items->removed[item];
        items->removed[item] = 1;
    }
    finish(items);
    return items->live ? 0 : err_set(err, ERR_DATA, "no item would be left to recommend");
}

int items_set_texts(Items *items, const char *const *id, const char *const *text, int n, int *changed, Err *err) {
    *changed = 0;
    for (int i = 0; i < n; i++) {
        int item = find(items, id[i], err);
        if (item < 0) return -1;
        const char *before = items->text[item];
        set_text(items, item, text[i], strlen(text[i]));
        *changed += items->text[item] != before; // each text is kept once
    }
    finish(items);
    return 0;
}
