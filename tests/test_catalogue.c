// The catalogue of real titles: every one is reached, spelled as it is, once; titles that are prefixes of others included.
#include "fixture.h"
#include "rec/catalogue_file.h"
#include "shared_data.h"

#include <unistd.h>
#include <zlib.h>

static const char *const models[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

// Titles of a gzip'ed or plain file with tabs: field `field` of every line, after `skip` lines.
static json_t *read_titles(const char *path, int skip, int field) {
    char line[65536];
    gzFile f = gzopen(path, "rb");
    assert_non_null(f);
    json_t *titles = json_array();
    for (int n = 0; gzgets(f, line, sizeof line); n++) {
        if (n < skip) continue;
        line[strcspn(line, "\r\n")] = 0;
        char *at = line;
        for (int i = 0; i < field; i++) at = strchr(at, '\t') + 1;
        at[strcspn(at, "\t")] = 0;
        if (*at) json_array_append_new(titles, json_string(at));
    }
    gzclose(f);
    return titles;
}

typedef struct Walk {
    const Catalogue *c;
    const Tokenizer *tokenizer;
    int32_t path[4096];
    int *met; // (leaves)
} Walk;

static void check_leaf(Walk *w, int leaf, int depth) {
    Err err = {0};
    Str text = {0}, answer = {0};
    Ints again = {0};
    const char *title = w->c->items->title[w->c->trie.leaf_item[leaf]];
    tokenizer_decode(w->tokenizer, &text, w->path, (size_t)depth - 1); // without end-of-text
    prompt_answer_text(&answer, title);
    OK(tokenizer_encode(w->tokenizer, &again, answer.data, answer.len, 0, &err));
    assert_int_equal(again.len, depth - 1);
    assert_memory_equal(again.data, w->path, again.len * sizeof(int32_t));
    if (strcmp(text.data, answer.data)) { // what differs, the normalizer did (NFC): the text gives the same ids again
        again.len = 0;
        OK(tokenizer_encode(w->tokenizer, &again, text.data, text.len, 0, &err));
        assert_memory_equal(again.data, w->path, again.len * sizeof(int32_t));
    }
    assert_int_equal(catalogue_leaf(w->c, title), leaf);
    str_free(&text), str_free(&answer);
    ints_free(&again);
}

static void walk(Walk *w, int node, int depth) {
    const Trie *t = &w->c->trie;
    int leaf = trie_leaf(t, node);
    if (leaf >= 0) {
        w->met[leaf]++;
        check_leaf(w, leaf, depth);
    }
    for (int c = trie_children(t, node) ? trie_first(t, node) : 0, end = c + trie_children(t, node); c < end; c++) {
        w->path[depth] = t->token[c];
        walk(w, c, depth + 1);
    }
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Distinct titles, and how many of them begin the next one in sorted order.
static int count_titles(const Items *items, int *prefixes) {
    const char **sorted = malloc((size_t)items->n * sizeof *sorted);
    memcpy(sorted, items->title, (size_t)items->n * sizeof *sorted);
    qsort(sorted, (size_t)items->n, sizeof *sorted, by_text);
    int distinct = 1;
    *prefixes = 0;
    for (int i = 1; i < items->n; i++) {
        int differ = strcmp(sorted[i - 1], sorted[i]) != 0;
        distinct += differ;
        *prefixes += differ && strncmp(sorted[i - 1], sorted[i], strlen(sorted[i - 1])) == 0;
    }
    free(sorted);
    return distinct;
}

static void check_titles(const char *name, int skip, int field, const char *model) {
    Err err = {0};
    char *path = shared_data(name), *tokenizer_path = file_join(model, "tokenizer.json");
    if (path) {
        json_t *titles = read_titles(path, skip, field);
        Items items;
        Tokenizer *t;
        Catalogue c;
        fixture_items(&items, titles);
        OK(tokenizer_open(&t, tokenizer_path, &err));
        PromptStyle style = {.category = "item", .bos_id = -1, .eos_id = tokenizer_id(t, "<|endoftext|>")};
        OK(catalogue_build(&c, &items, t, &style, &err));
        Walk w = {.c = &c, .tokenizer = t, .met = calloc((size_t)c.trie.leaves, sizeof(int))};
        walk(&w, 0, 0);
        for (int leaf = 0; leaf < c.trie.leaves; leaf++) assert_int_equal(w.met[leaf], 1);
        for (int i = 0; i < items.n; i++) assert_in_range(c.leaf[i], 0, c.trie.leaves - 1);
        int prefixes, distinct = count_titles(&items, &prefixes);
        assert_int_equal(c.trie.leaves, distinct);
        assert_true(prefixes > 0);
        print_message("%s, %s: %d items, %d titles, %d of them begin another, %d nodes, %.0f bytes an item\n", name, model,
                      items.n, distinct, prefixes, c.trie.nodes + c.trie.tails, (double)trie_bytes(&c.trie) / items.n);
        free(w.met);
        catalogue_free(&c);
        tokenizer_close(t);
        items_free(&items);
        json_decref(titles);
    }
    free(path), free(tokenizer_path);
}

static void test_real_titles(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++) {
        check_titles("d3-office/info.txt", 0, 0, models[m]);
        check_titles("ml-1m/items.tsv.gz", 1, 1, models[m]);
    }
}

// Without any data: one title a prefix of another, one of quotes, one with what looks like the end of text.
static void test_awkward_titles(void **state) {
    (void)state;
    Err err = {0};
    json_t *titles = json_pack("[s, s, s, s, s, s]", "Heat", "Heat 2", "\"", "\"\"", "a<|endoftext|>b", "Heat");
    Items items;
    Tokenizer *t;
    Catalogue c;
    fixture_items(&items, titles);
    OK(tokenizer_open(&t, "tests/golden/tiny-llama/tokenizer.json", &err));
    PromptStyle style = {.category = "item", .bos_id = -1, .eos_id = tokenizer_id(t, "<|endoftext|>")};
    assert_true(style.eos_id >= 0);
    OK(catalogue_build(&c, &items, t, &style, &err));
    assert_int_equal(c.trie.leaves, 5);
    assert_int_equal(c.leaf[5], c.leaf[0]);
    assert_int_equal(c.trie.leaf_item[c.leaf[5]], 0);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++) assert_int_not_equal(c.leaf[i], c.leaf[j]);
    assert_int_equal(catalogue_leaf(&c, "Heat 2"), c.leaf[1]);
    assert_int_equal(catalogue_leaf(&c, "Heat 3"), -1);
    catalogue_free(&c);

    // A removed item has no leaf, but where another has its title; leaves name the items that are left.
    const char *removed[] = {"100", "102"};
    int changed;
    OK(items_remove(&items, removed, 2, &changed, &err));
    OK(catalogue_build(&c, &items, t, &style, &err));
    assert_int_equal(c.trie.leaves, 4);
    assert_int_equal(c.trie.leaf_item[catalogue_leaf(&c, "Heat")], 5);
    assert_int_equal(c.leaf[0], c.leaf[5]);
    assert_int_equal(c.leaf[2], -1);
    assert_int_equal(catalogue_leaf(&c, "\""), -1);
    for (int i = 0; i < 6; i++)
        if (i != 0 && i != 2) assert_int_equal(c.trie.leaf_item[c.leaf[i]], i);
    catalogue_free(&c);
    tokenizer_close(t);
    items_free(&items);
    json_decref(titles);
}

static void check_same(const Catalogue *a, const Catalogue *b) {
    const Trie *x = &a->trie, *y = &b->trie;
    assert_int_equal(x->nodes, y->nodes);
    assert_int_equal(x->tails, y->tails);
    assert_int_equal(x->leaves, y->leaves);
    assert_int_equal(x->longest, y->longest);
    for (int i = 0; i < a->items->n; i++) assert_int_equal(a->leaf[i], b->leaf[i]);
    for (int l = 0; l < x->leaves; l++) assert_int_equal(x->leaf_item[l], y->leaf_item[l]);
    for (int n = 0; n < x->nodes + x->tails; n++) {
        assert_int_equal(x->token[n], y->token[n]);
        assert_int_equal(trie_children(x, n), trie_children(y, n));
        assert_int_equal(trie_leaf(x, n), trie_leaf(y, n));
        if (trie_children(x, n)) assert_int_equal(trie_first(x, n), trie_first(y, n));
    }
}

// Every flipped bit and every shorter file is refused, or taken for a file of other items.
static void check_damage(const Items *items, const char *path, CatalogueKey key) {
    Err err = {0};
    MapFile file;
    Catalogue c;
    OK(mapfile_open(&file, path, 0, &err));
    char *copy = mem_alloc(file.bytes, 1);
    memcpy(copy, file.data, file.bytes);
    // What does not begin as a built catalogue may be dear to somebody: only what does is said to be one, damaged.
    static const char *const other = "not a built catalogue: name another file", *const broken = "a damaged catalogue file: ";
    for (size_t bit = 0; bit < 8 * file.bytes; bit++) {
        copy[bit / 8] ^= (char)(1 << bit % 8);
        int status = catalogue_file_parse(&c, items, copy, file.bytes, path, key, &err);
        assert_true(status == -1 || (status == 0 && bit >= 128 && bit < 256)); // 128..255: the key
        if (status) assert_non_null(strstr(err.message, bit < 128 ? other : broken));
        copy[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t n = 0; n < file.bytes; n++) {
        assert_int_equal(catalogue_file_parse(&c, items, copy, n, path, key, &err), -1);
        assert_non_null(strstr(err.message, n < 16 ? other : broken));
    }
    assert_int_equal(catalogue_file_parse(&c, items, copy, file.bytes, path, key, &err), 1);
    free(copy);
    mapfile_close(&file);
}

static void test_file(void **state) {
    (void)state;
    Err err = {0};
    json_t *titles = json_pack("[s, s, s, s, s, s]", "Heat", "Heat 2", "\"", "\"\"", "a<|endoftext|>b", "Heat"),
           *others = json_pack("[s, s, s, s, s, s]", "Heat", "Heat 2", "\"", "\"\"", "a<|endoftext|>b", "Heat 3");
    Items items, other;
    Tokenizer *t;
    Catalogue built, saved, loaded;
    fixture_items(&items, titles);
    fixture_items(&other, others);
    OK(tokenizer_open(&t, "tests/golden/tiny-llama/tokenizer.json", &err));
    PromptStyle style = {.category = "item", .bos_id = -1, .eos_id = tokenizer_id(t, "<|endoftext|>")};
    char path[] = "/tmp/latentr3-catalogue-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    OK(catalogue_build(&built, &items, t, &style, &err));
    OK(catalogue_open(&saved, &items, t, &style, path, &err)); // builds and writes
    assert_false(saved.borrowed);
    OK(catalogue_open(&loaded, &items, t, &style, path, &err)); // reads
    assert_true(loaded.borrowed);
    check_same(&built, &saved);
    check_same(&built, &loaded);
    catalogue_free(&loaded);
    check_damage(&items, path, catalogue_file_key(&items, t, &style));
    catalogue_free(&saved);
    OK(catalogue_open(&saved, &other, t, &style, path, &err)); // of other items: built again
    assert_false(saved.borrowed);
    assert_int_equal(saved.trie.leaves, 6);
    catalogue_free(&saved);
    catalogue_free(&built);
    unlink(path);
    tokenizer_close(t);
    items_free(&items), items_free(&other);
    json_decref(titles), json_decref(others);
}

// Index texts for titles: items that share one share a leaf, an item without one has its title.
static void test_index_texts(void **state) {
    (void)state;
    Err err = {0};
    static const char info[] = "Heat\t1\t<a_1><b_1>\nHeat\t2\t<a_1><b_2>\nUp\t3\t<a_1><b_2>\nBig\t4\nBig\t5\t<a_2><b_1>\n";
    static const char *const added[] = {"<a_1>", "<b_1>", "<b_2>", "<a_2>"};
    Items items;
    Tokenizer *t;
    Catalogue c;
    OK(items_parse(&items, info, strlen(info), "info", &err));
    OK(tokenizer_open(&t, "tests/golden/tiny-llama/tokenizer.json", &err));
    OK(tokenizer_add_texts(t, added, 4, &err));
    PromptStyle style = {.category = "item", .bos_id = -1, .eos_id = tokenizer_id(t, "<|endoftext|>"), .index_answers = 1};
    OK(catalogue_build(&c, &items, t, &style, &err));
    assert_int_equal(c.trie.leaves, 4);
    assert_int_equal(c.leaf[1], c.leaf[2]);
    assert_int_equal(c.trie.leaf_item[c.leaf[2]], 1);
    assert_int_not_equal(c.leaf[0], c.leaf[1]);
    assert_int_not_equal(c.leaf[3], c.leaf[4]);
    Ints answer = {0};
    OK(prompt_answer(&answer, t, &style, "Up", "<a_1><b_2>", &err));
    assert_int_equal(trie_find(&c.trie, answer.data, answer.len), c.leaf[2]);
    answer.len = 0;
    style.index_answers = 0;
    OK(prompt_answer(&answer, t, &style, "Big", NULL, &err));
    assert_int_equal(trie_find(&c.trie, answer.data, answer.len), c.leaf[3]);
    ints_free(&answer);
    catalogue_free(&c);
    OK(catalogue_build(&c, &items, t, &style, &err)); // by title again
    assert_int_equal(c.trie.leaves, 3);
    catalogue_free(&c);
    tokenizer_close(t);
    items_free(&items);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_awkward_titles), cmocka_unit_test(test_index_texts),
                                       cmocka_unit_test(test_file), cmocka_unit_test(test_real_titles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
