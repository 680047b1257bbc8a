// latentr3 catalog: the items of a data folder, without a new `prepare` and without touching a model. An item keeps its line
// in info.txt for ever: rows may name it, and models may know it by its number.
#include "app/commands.h"
#include "app/use.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "data/lines.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- what is to change ----------------------------------------------------------------------------------------------------

typedef struct Pairs { // lines of a file
    char **id, **text; // (n)
    int64_t *line;     // (n)
    int n;
} Pairs;

static void pairs_free(Pairs *p) {
    for (int i = 0; i < p->n; i++) free(p->id[i]), free(p->text[i]);
    free(p->id), free(p->text), free(p->line);
}

// Lines of one id, or of an id and a text.
static int pairs_read(Pairs *p, const char *path, int fields, Err *err) {
    MapFile f;
    Lines l;
    *p = (Pairs){0};
    if (mapfile_open(&f, path, INT32_MAX, err)) return -1;
    int status = lines_open(&l, f.data, f.bytes, path, err);
    while (status == 0 && (status = lines_next(&l, '\t', err)) == 1) {
        status = 0;
        if (l.n != fields) {
            status = err_set(err, ERR_DATA, "%s: line %lld: %s", path, (long long)l.line,
                             fields == 1 ? "not one item id" : "not two fields, item id<TAB>index text");
            break;
        }
        const char *fault = fields == 2 && l.field_len[1] ? items_text_fault(l.field[1], l.field_len[1]) : NULL;
        if (fault) status = err_set(err, ERR_DATA, "%s: line %lld: %s", path, (long long)l.line, fault);
        p->id = mem_realloc(p->id, (size_t)p->n + 1, sizeof *p->id);
        p->text = mem_realloc(p->text, (size_t)p->n + 1, sizeof *p->text);
        p->line = mem_realloc(p->line, (size_t)p->n + 1, sizeof *p->line);
        p->line[p->n] = l.line;
        p->id[p->n] = mem_strndup(l.field[0], l.field_len[0]);
        p->text[p->n++] = fields == 2 ? mem_strndup(l.field[1], l.field_len[1]) : NULL;
    }
    mapfile_close(&f);
    if (status) pairs_free(p);
    return status;
}

// Which line names an item that is not there, or one that an earlier line has given a text.
static int pairs_check(const Pairs *p, const Items *items, const char *path, Err *err) {
    char *seen = mem_zalloc((size_t)items->n, 1);
    const char *fault = NULL;
    int i = -1;
    while (!fault && ++i < p->n) {
        const int item = items_by_id(items, p->id[i]);
        fault = item < 0 ? "is not in the catalogue" : seen[item] && p->text[i] ? "stands twice" : NULL;
        if (!fault) seen[item] = 1;
    }
    free(seen);
    return fault ? err_set(err, ERR_DATA, "%s: line %lld: item %.64s %s", path, (long long)p->line[i], p->id[i], fault) : 0;
}

// --id and --title as lines of info.txt.
static int arguments_as_items(Items *items, const Options *o, Err *err) {
    Str text = {0};
    int status = 0;
    for (int i = 0; i < o->title.n && status == 0; i++) {
        const char *id = o->id.text[i], *title = o->title.text[i];
        const char *fault = items_title_fault(title, strlen(title));
        if (!fault && utf8_check(title, strlen(title)) < strlen(title)) fault = "a title that is no UTF-8";
        if (!fault) fault = items_id_fault(id, strlen(id));
        if (!fault && utf8_check(id, strlen(id)) < strlen(id)) fault = "an id that is no UTF-8";
        if (fault) status = err_set(err, ERR_USAGE, "--id %.64s --title \"%.80s\": %s", id, title, fault);
        str_printf(&text, "%s\t%s\n", title, id);
    }
    if (status == 0 && items_parse_added(items, text.data, text.len, "--title and --id", err)) {
        err->code = ERR_USAGE;
        status = -1;
    }
    str_free(&text);
    return status;
}

// Items with one title are one answer of a language model, which is rarely meant.
static void warn_known_titles(const Items *items, const Items *more) {
    int known = 0, first = -1;
    for (int i = 0; i < more->n; i++) {
        const int item = items_by_title(items, more->title[i]);
        if (item < 0 || items->removed[item] || !strcmp(items->id[item], more->id[i])) continue;
        if (known++ == 0) first = item;
    }
    if (known)
        log_warn("%d of the titles %s there already under another id, as \"%s\" (id %s): items with one title are recommended "
                 "as one",
                 known, known == 1 ? "is" : "are", items->title[first], items->id[first]);
}

static int add(Items *items, const Options *o, int *changed, Err *err) {
    Items more;
    if (o->file ? items_open_added(&more, o->file, err) : arguments_as_items(&more, o, err)) return -1;
    warn_known_titles(items, &more);
    int status = items_add(items, &more, changed, err);
    if (status && o->file) err_prefix(err, "%s", o->file);
    items_free(&more);
    return status;
}

static int remove_items(Items *items, const Options *o, int *changed, Err *err) {
    if (!o->file) return items_remove(items, o->id.text, o->id.n, changed, err);
    Pairs p;
    if (pairs_read(&p, o->file, 1, err)) return -1;
    int status = pairs_check(&p, items, o->file, err);
    if (status == 0) status = items_remove(items, (const char *const *)p.id, p.n, changed, err);
    pairs_free(&p);
    return status;
}

static int set_texts(Items *items, const Options *o, int *changed, Err *err) {
    Pairs p;
    if (pairs_read(&p, o->file, 2, err)) return -1;
    int status = pairs_check(&p, items, o->file, err);
    if (status == 0) status = items_set_texts(items, (const char *const *)p.id, (const char *const *)p.text, p.n, changed, err);
    pairs_free(&p);
    return status;
}

// ---- the actions ------------------------------------------------------------------------------------------------------------

static json_t *item_json(const Items *items, int i) {
    return json_pack("{s:s, s:s, s:s?, s:b}", "id", items->id[i], "title", items->title[i], "text", items->text[i], "removed",
                     items->removed[i]);
}

static int list(Dataset *d, const Options *o, Err *err) {
    (void)err;
    json_t *all = json_array();
    Str text = {0};
    for (int i = 0; i < d->items.n; i++) {
        if (o->json)
            json_array_append_new(all, item_json(&d->items, i));
        else
            items_put_line(&text, &d->items, i);
    }
    json_t *json = json_pack("{s:o}", "items", all);
    if (o->json)
        use_print(json);
    else
        fwrite(text.data, 1, text.len, stdout);
    json_decref(json);
    str_free(&text);
    return 0;
}

static int change(Dataset *d, const Options *o, Err *err) {
    Items *items = &d->items;
    int changed = 0, status = !strcmp(o->operand, "add")      ? add(items, o, &changed, err)
                              : !strcmp(o->operand, "remove") ? remove_items(items, o, &changed, err)
                                                              : set_texts(items, o, &changed, err);
    if (status == 0 && (changed || d->items_waiting)) status = dataset_save_items(d, err);
    if (status) return -1;
    const int removed = items->n - items->live;
    json_t *json = json_pack("{s:s, s:i, s:i, s:i, s:i}", "action", o->operand, "changed", changed, "items", items->live,
                             "removed_items", removed, "index_texts", items->texts);
    if (o->json)
        use_print(json);
    else
        printf("%s: %d items changed; %d items to recommend, %d removed, %d index texts\n", o->operand, changed, items->live,
               removed, items->texts);
    json_decref(json);
    return 0;
}

static int check_action(const Options *o, Err *err) {
    const char *action = o->operand ? o->operand : "";
    const int ids = o->id.n, titles = o->title.n, file = o->file != NULL;
    if (!strcmp(action, "add"))
        return file + (ids > 0) == 1 && titles == ids
                   ? 0
                   : err_set(err, ERR_USAGE, "catalog add: --id and --title for each item, or --file, are expected");
    if (!strcmp(action, "remove"))
        return file + (ids > 0) == 1 && !titles
                   ? 0
                   : err_set(err, ERR_USAGE, "catalog remove: --id for each item, or --file, is expected");
    if (!strcmp(action, "text"))
        return file && !ids && !titles ? 0 : err_set(err, ERR_USAGE, "catalog text: --file alone is expected");
    if (!strcmp(action, "list"))
        return !file && !ids && !titles ? 0 : err_set(err, ERR_USAGE, "catalog list: no items are expected");
    return err_set(err, ERR_USAGE, "catalog: '%.60s' is none of add, remove, text, list", action);
}

int cmd_catalog(const Options *o, Err *err) {
    if (check_action(o, err)) return -1;
    const int lists = !strcmp(o->operand, "list"), lock = lists ? -1 : file_lock(o->data, err);
    if (!lists && lock < 0) return -1;
    Dataset d;
    int status = dataset_open(&d, o->data, "item", err); // the phrase of the prompt is not asked for
    if (status == 0) {
        status = lists ? list(&d, o, err) : change(&d, o, err);
        dataset_close(&d);
    }
    if (lock >= 0) close(lock);
    return status;
}
