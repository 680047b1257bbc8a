#include "rec/catalogue_file.h"
#include "base/arena.h"
#include "base/checked.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char MAGIC[16] = "latentr3trie 2\n";

typedef struct Header {
    char magic[16];
    CatalogueKey key;
    int32_t items, nodes, tails, leaves, longest, eos_id;
    uint64_t hash; // of the arrays
} Header;
_Static_assert(sizeof(Header) == 64, "the header has no padding");

enum { ARRAYS = 6 };

// Numbers in each array.
static void array_sizes(const Header *h, size_t size[ARRAYS]) {
    size[0] = (size_t)h->nodes + 1;                // first_child
    size[1] = (size_t)h->nodes + (size_t)h->tails; // token
    size[2] = ((size_t)h->nodes + TRIE_RANK - 1) / TRIE_RANK;
    size[3] = (size_t)h->leaves + 1; // tail
    size[4] = (size_t)h->leaves;     // leaf_item
    size[5] = (size_t)h->items;      // leaf of each item
}

CatalogueKey catalogue_file_key(const Items *items, const Tokenizer *t, const PromptStyle *style) {
    XXH3_state_t *x = mem_need(XXH3_createState(), "a hash");
    CHECK(XXH3_128bits_reset(x) == XXH_OK);
    for (int i = 0; i < items->n; i++) XXH3_128bits_update(x, items->title[i], strlen(items->title[i]) + 1);
    for (int i = 0; i < items->n && style->index_answers; i++)
        if (items->text[i])
            XXH3_128bits_update(x, items->text[i], strlen(items->text[i]) + 1);
        else
            XXH3_128bits_update(x, "", 1);
    XXH3_128bits_update(x, items->removed, (size_t)items->n);
    char tokenizer[33];
    tokenizer_hash(t, tokenizer);
    XXH3_128bits_update(x, tokenizer, sizeof tokenizer);
    XXH3_128bits_update(x, &style->eos_id, sizeof style->eos_id);
    XXH128_hash_t hash = XXH3_128bits_digest(x);
    XXH3_freeState(x);
    return (CatalogueKey){hash.low64, hash.high64};
}

// ---- writing ---------------------------------------------------------------------------------------------------------

int catalogue_file_save(const Catalogue *c, const char *path, CatalogueKey key, Err *err) {
    const Trie *t = &c->trie;
    Header h = {.key = key,
                .items = c->items->n,
                .nodes = t->nodes,
                .tails = t->tails,
                .leaves = t->leaves,
                .longest = t->longest,
                .eos_id = t->eos_id};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    const int32_t *array[ARRAYS] = {t->first_child, t->token, t->stub_rank, t->tail, t->leaf_item, c->leaf};
    size_t size[ARRAYS];
    array_sizes(&h, size);
    XXH3_state_t *x = mem_need(XXH3_createState(), "a hash");
    CHECK(XXH3_64bits_reset(x) == XXH_OK);
    for (int a = 0; a < ARRAYS; a++) XXH3_64bits_update(x, array[a], size[a] * sizeof(int32_t));
    h.hash = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    OutFile f;
    if (outfile_open(&f, path, err)) return -1;
    outfile_write(&f, &h, sizeof h);
    for (int a = 0; a < ARRAYS; a++) outfile_write(&f, array[a], size[a] * sizeof(int32_t));
    return outfile_commit(&f, err);
}

// ---- reading ---------------------------------------------------------------------------------------------------------

static int all_within(const int32_t *x, size_t n, int32_t low, int32_t end) {
    int bad = 0;
    for (size_t i = 0; i < n; i++) bad |= x[i] < low || x[i] >= end;
    return !bad;
}

// From `first` to `last` without a step back.
static int ascends(const int32_t *x, size_t n, int32_t first, int32_t last) {
    if (x[0] != first || x[n - 1] != last) return 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] < x[i - 1]) return 0;
    return 1;
}

// The children of a node ascend by token, and stand behind it. The stubs are counted as stub_rank says.
static int nodes_hold(const Trie *t) {
    int stubs = 0;
    for (int n = 0; n < t->nodes; n++) {
        const int first = t->first_child[n], end = t->first_child[n + 1];
        if (n % TRIE_RANK == 0 && t->stub_rank[n / TRIE_RANK] != stubs) return 0;
        if (first == end) stubs++;
        if (first < end && (first <= n || t->token[n] == t->eos_id)) return 0;
        for (int c = first + 1; c < end; c++)
            if (t->token[c] <= t->token[c - 1]) return 0;
    }
    return stubs == t->leaves;
}

// A leaf's last token, in its tail or, without one, at its stub, is end-of-text, and no other is.
static int leaves_hold(const Trie *t) {
    int leaf = 0;
    for (int n = 0; n < t->nodes; n++) {
        if (t->first_child[n] < t->first_child[n + 1]) continue;
        const int tail = t->tail[leaf + 1] - t->tail[leaf];
        if ((t->token[n] == t->eos_id) != (tail == 0)) return 0;
        for (int i = 0; i < tail; i++)
            if ((t->token[t->nodes + t->tail[leaf] + i] == t->eos_id) != (i == tail - 1)) return 0;
        leaf++;
    }
    return 1;
}

// No sequence is longer than `longest`. Parents stand before their children, so one pass finds every node's depth.
static int depths_hold(const Trie *t) {
    int32_t *depth = mem_zalloc((size_t)t->nodes, sizeof *depth);
    int leaf = 0, longest = 0;
    for (int n = 0; n < t->nodes; n++) {
        for (int c = t->first_child[n]; c < t->first_child[n + 1]; c++) depth[c] = depth[n] + 1;
        if (t->first_child[n] < t->first_child[n + 1]) continue;
        const int64_t tokens = (int64_t)depth[n] + t->tail[leaf + 1] - t->tail[leaf];
        leaf++;
        if (tokens > longest) longest = tokens > INT32_MAX ? INT32_MAX : (int)tokens;
    }
    free(depth);
    return longest == t->longest;
}

static int damaged(const char *name, const char *what, Err *err) {
    return err_set(err, ERR_DATA, "%s: a damaged catalogue file: %s; remove it", name, what);
}

static int check_arrays(const Catalogue *c, const char *name, Err *err) {
    const Trie *t = &c->trie;
    if (!ascends(t->first_child, (size_t)t->nodes + 1, 1, t->nodes)) return damaged(name, "the children do not follow on", err);
    if (!ascends(t->tail, (size_t)t->leaves + 1, 0, t->tails)) return damaged(name, "the tails do not follow on", err);
    if (t->token[0] != -1 || !all_within(t->token + 1, (size_t)t->nodes + (size_t)t->tails - 1, 0, INT32_MAX))
        return damaged(name, "a token is no id", err);
    if (!nodes_hold(t) || !leaves_hold(t) || !depths_hold(t)) return damaged(name, "the nodes are no trie", err);
    if (!all_within(t->leaf_item, (size_t)t->leaves, 0, c->items->n) ||
        !all_within(c->leaf, (size_t)c->items->n, -1, t->leaves))
        return damaged(name, "an item number is out of range", err);
    for (int i = 0; i < c->items->n; i++)
        if (c->leaf[i] < 0 && !c->items->removed[i]) return damaged(name, "an item has no leaf", err);
    for (int l = 0; l < t->leaves; l++)
        if (c->leaf[t->leaf_item[l]] != l) return damaged(name, "a leaf is not that of its item", err);
    return 0;
}

static int check_header(const Header *h, size_t bytes, const char *name, Err *err) {
    if (h->items < 1 || h->nodes < 2 || h->tails < 0 || h->leaves < 1 || h->leaves > h->items || h->longest < 1 ||
        h->eos_id < 0 || h->tails > INT32_MAX - h->nodes)
        return damaged(name, "a count is out of range", err);
    size_t size[ARRAYS], numbers = 0, expected;
    array_sizes(h, size);
    for (int a = 0; a < ARRAYS; a++) numbers += size[a]; // at most 2^31 each
    if (checked_mul(&expected, numbers, sizeof(int32_t)) || checked_add(&expected, expected, sizeof *h) || expected != bytes)
        return damaged(name, "its size is not what its header says", err);
    return 0;
}

int catalogue_file_parse(Catalogue *c, const Items *items, const char *data, size_t bytes, const char *name, CatalogueKey key,
                         Err *err) {
    Header h;
    *c = (Catalogue){.items = items};
    if (bytes < sizeof MAGIC || memcmp(data, MAGIC, sizeof MAGIC)) // of somebody's own, perhaps
        return err_set(err, ERR_DATA, "%s: not a built catalogue: name another file", name);
    if (bytes < sizeof h) return damaged(name, "its header is cut short", err);
    memcpy(&h, data, sizeof h);
    if (h.key.low != key.low || h.key.high != key.high) return 0;
    if (check_header(&h, bytes, name, err)) return -1;
    if (h.items != items->n) return damaged(name, "a count is out of range", err);
    if (XXH3_64bits(data + sizeof h, bytes - sizeof h) != h.hash) return damaged(name, "its hash does not match", err);
    size_t size[ARRAYS];
    array_sizes(&h, size);
    int32_t *array[ARRAYS];
    for (int a = 0; a < ARRAYS; a++) array[a] = a ? array[a - 1] + size[a - 1] : (int32_t *)(void *)(data + sizeof h);
    c->trie = (Trie){.nodes = h.nodes,
                     .tails = h.tails,
                     .leaves = h.leaves,
                     .sequences = h.items,
                     .longest = h.longest,
                     .eos_id = h.eos_id,
                     .first_child = array[0],
                     .token = array[1],
                     .stub_rank = array[2],
                     .tail = array[3],
                     .leaf_item = array[4]};
    c->leaf = array[5];
    c->borrowed = 1;
    return check_arrays(c, name, err) ? -1 : 1;
}

int catalogue_file_load(Catalogue *c, const Items *items, const char *path, CatalogueKey key, Err *err) {
    MapFile file;
    if (!file_exists(path)) return 0;
    if (mapfile_open(&file, path, 0, err)) return -1;
    int status = catalogue_file_parse(c, items, file.data, file.bytes, path, key, err);
    c->file = file;
    if (status != 1) catalogue_free(c);
    return status;
}
