// info.txt: one item a line.
#include "base/arena.h"
#include "base/file.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "data/intern.h"
#include "data/lines.h"

#include <stdlib.h>
#include <string.h>

struct ItemsIndex {
    Intern ids, titles;  // the number of an id is the item's
    int *first_of_title; // (titles.n): the first item with it
};

const char *items_title_fault(const char *title, size_t len) {
    if (len == 0) return "no title";
    if (len > ITEMS_TITLE_LIMIT) return "a title of more than 64 KiB";
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)title[i] < 0x20 || title[i] == 0x7f) return "a control byte in the title";
    return NULL;
}

static int item_error(const Lines *l, const char *what, Err *err) {
    return err_set(err, ERR_DATA, "%s: line %lld: %s", l->name, (long long)l->line, what);
}

static int add_item(Items *items, const Lines *l, Err *err) {
    struct ItemsIndex *x = items->index;
    if (l->n != 2) return item_error(l, "not two fields, title<TAB>item id", err);
    const char *fault = items_title_fault(l->field[0], l->field_len[0]);
    if (fault) return item_error(l, fault, err);
    CsvValue id;
    size_t id_len = l->field_len[1];
    if (id_len == 0 || csv_number(&id, l->field[1], id_len) != id_len || id.kind != CSV_INT || id.integer < 0)
        return item_error(l, "the item id is no number of the form 0, 1, 2, ...", err);
    if (intern_put(&x->ids, l->field[1], id_len) < items->n) return item_error(l, "an item id stands twice", err);
    int known = x->titles.n, title = intern_put(&x->titles, l->field[0], l->field_len[0]);
    if (title == known) x->first_of_title[title] = items->n;
    items->id[items->n] = x->ids.text[items->n];
    items->title[items->n] = x->titles.text[title];
    items->n++;
    return 0;
}

int items_open(Items *items, const char *info_txt_path, Err *err) {
    *items = (Items){0};
    MapFile file;
    if (mapfile_open(&file, info_txt_path, INT32_MAX, err)) return -1; // fewer items than 2^31, then
    items->index = mem_zalloc(1, sizeof *items->index);
    size_t most = 1;
    for (size_t i = 0; i < file.bytes; i++) most += file.data[i] == '\n';
    items->id = mem_alloc(most, sizeof *items->id);
    items->title = mem_alloc(most, sizeof *items->title);
    items->index->first_of_title = mem_alloc(most, sizeof *items->index->first_of_title);
    Lines l;
    int status = lines_open(&l, file.data, file.bytes, info_txt_path, err);
    while (status == 0 && (status = lines_next(&l, '\t', err)) == 1) status = add_item(items, &l, err);
    if (status == 0 && items->n == 0) status = err_set(err, ERR_DATA, "%s: no items", info_txt_path);
    mapfile_close(&file);
    if (status) items_free(items);
    return status;
}

void items_free(Items *items) {
    if (items->index) {
        intern_free(&items->index->ids);
        intern_free(&items->index->titles);
        free(items->index->first_of_title);
    }
    free(items->index), free(items->id), free(items->title);
    *items = (Items){0};
}

int items_by_id(const Items *items, const char *id) {
    return intern_find(&items->index->ids, id, strlen(id));
}

int items_by_title(const Items *items, const char *title) {
    int number = intern_find(&items->index->titles, title, strlen(title));
    return number < 0 ? -1 : items->index->first_of_title[number];
}

int items_title_group(const Items *items, int item) {
    CHECK(item >= 0 && item < items->n);
    return items_by_title(items, items->title[item]);
}
