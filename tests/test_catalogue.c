// The catalogue of real titles: every one is reached, spelled as it is, once; titles that are prefixes of others included.
#include "fixture.h"
#include "shared_data.h"

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
        PromptStyle style = {"item", -1, tokenizer_id(t, "<|endoftext|>")};
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
    PromptStyle style = {"item", -1, tokenizer_id(t, "<|endoftext|>")};
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
    tokenizer_close(t);
    items_free(&items);
    json_decref(titles);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_awkward_titles), cmocka_unit_test(test_real_titles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
