#include "rec/catalogue.h"
#include "base/arena.h"
#include "rec/catalogue_file.h"

#include <stdlib.h>

int catalogue_build(Catalogue *c, const Items *items, const Tokenizer *t, const PromptStyle *style, Err *err) {
    *c = (Catalogue){.items = items};
    Ints ids = {0};
    size_t *offset = mem_zalloc((size_t)items->n + 1, sizeof *offset);
    int failed = 0;
    for (int i = 0; i < items->n && !failed; i++) {
        failed = prompt_answer(&ids, t, style, items->title[i], err);
        if (failed) err_prefix(err, "item %s", items->id[i]);
        offset[i + 1] = ids.len;
    }
    if (!failed) failed = trie_build(&c->trie, ids.data, offset, items->n, style->eos_id, err);
    if (!failed) {
        c->leaf = mem_alloc((size_t)items->n, sizeof *c->leaf);
        for (int i = 0; i < items->n; i++) c->leaf[i] = trie_find(&c->trie, ids.data + offset[i], offset[i + 1] - offset[i]);
    }
    ints_free(&ids);
    free(offset);
    return failed ? -1 : 0;
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

int catalogue_leaf(const Catalogue *c, const char *title) {
    int item = items_by_title(c->items, title);
    return item < 0 ? -1 : c->leaf[item];
}
