#include "rec/catalogue.h"
#include "base/arena.h"
#include "rec/catalogue_file.h"

#include <stdlib.h>
#include <string.h>

// The answers of the items that are not removed, one after the other; item (live) says whose they are.
static int encode_answers(Ints *ids, size_t *offset, int *item, const Items *items, const Tokenizer *t,
                          const PromptStyle *style, Err *err) {
    for (int i = 0, n = 0; i < items->n; i++) {
        if (items->removed[i]) continue;
        if (prompt_answer(ids, t, style, items->title[i], items->text[i], err)) return err_prefix(err, "item %s", items->id[i]);
        item[n] = i;
        offset[++n] = ids->len;
    }
    return 0;
}

// The leaf that a removed item's answer would end at, which counts as seen where the item was: that of its title, or of its own
// index text; -1: no other item has it.
static int leaf_of_removed(const Catalogue *c, int item, const Tokenizer *t, const PromptStyle *style) {
    if (!style->index_answers) return c->leaf[items_title_group(c->items, item)];
    Ints ids = {0};
    const int status = prompt_answer(&ids, t, style, c->items->title[item], c->items->text[item], NULL),
              leaf = status ? -1 : trie_find(&c->trie, ids.data, ids.len);
    ints_free(&ids);
    return leaf;
}

int catalogue_build(Catalogue *c, const Items *items, const Tokenizer *t, const PromptStyle *style, Err *err) {
    *c = (Catalogue){.items = items};
    if (items->live == 0) return err_set(err, ERR_DATA, "all items are removed: there is none to recommend");
    Ints ids = {0};
    size_t *offset = mem_zalloc((size_t)items->live + 1, sizeof *offset);
    int *item = mem_alloc((size_t)items->live, sizeof *item);
    int status = encode_answers(&ids, offset, item, items, t, style, err);
    if (status == 0) status = trie_build(&c->trie, ids.data, offset, items->live, style->eos_id, err);
    if (status == 0) {
        c->leaf = mem_alloc((size_t)items->n, sizeof *c->leaf);
        memset(c->leaf, 0xff, (size_t)items->n * sizeof *c->leaf);
        for (int l = 0; l < c->trie.leaves; l++) c->trie.leaf_item[l] = item[c->trie.leaf_item[l]];
        for (int n = 0; n < items->live; n++)
            c->leaf[item[n]] = trie_find(&c->trie, ids.data + offset[n], offset[n + 1] - offset[n]);
        for (int i = 0; i < items->n; i++)
            if (items->removed[i]) c->leaf[i] = leaf_of_removed(c, i, t, style);
    }
    ints_free(&ids);
    free(offset), free(item);
    return status;
}

int catalogue_open(Catalogue *c, const Items *items, const Tokenizer *t, const PromptStyle *style, const char *index,
                   Err *err) {
    if (!index) return catalogue_build(c, items, t, style, err);
    CatalogueKey key = catalogue_file_key(items, t, style);
    int found = catalogue_file_load(c, items, index, key, err);
    if (found) return found < 0 ? -1 : 0;
    if (catalogue_build(c, items, t, style, err)) return -1;
    if (catalogue_file_save(c, index, key, err) == 0) return 0;
    catalogue_free(c);
    return -1;
}

void catalogue_free(Catalogue *c) {
    if (!c->borrowed) {
        trie_free(&c->trie);
        free(c->leaf);
    }
    if (c->file.path) mapfile_close(&c->file);
    *c = (Catalogue){0};
}

int catalogue_hidden(const Catalogue *c, int *first) {
    const Items *items = c->items;
    int n = 0;
    for (int i = 0; i < items->n; i++) {
        const int shown = items->removed[i] ? i : c->trie.leaf_item[c->leaf[i]];
        if (shown == i || items->text[i] || items->text[shown] || !strcmp(items->title[i], items->title[shown])) continue;
        if (n++ == 0) *first = i;
    }
    return n;
}

int catalogue_leaf(const Catalogue *c, const char *title) {
    int item = items_by_title(c->items, title);
    return item < 0 ? -1 : c->leaf[item];
}

int catalogue_item_leaf(const Catalogue *c, const char *title, const char *id) {
    if (!id) return catalogue_leaf(c, title);
    const int item = items_by_id(c->items, id);
    return item < 0 ? -1 : c->leaf[item];
}

int catalogue_history_leaf(const Catalogue *c, const History *h, int i) {
    return catalogue_item_leaf(c, h->title[i], h->item_id ? h->item_id[i] : NULL);
}
