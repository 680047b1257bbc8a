#include "rec/trie.h"
#include "base/arena.h"
#include "base/vec.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

// The trie is built level by level. At each level the sequences that are not yet at their end stand grouped by the node they
// have reached; sorting a group by its next token lays its children side by side, in the order in which breadth-first
// numbering wants them.
typedef struct Builder {
    const int32_t *ids;
    const size_t *offset;
    uint64_t *key, *scratch; // (sequences): next token in the high half, sequence in the low: distinct, so order is total
    int32_t *group, *next;   // (sequences + 1): first key of each group of this level, and of the next
    int groups, next_groups;
    Ints first_child, token, rank, tail, tail_token, leaf_item; // tail: where each leaf's begins in tail_token
} Builder;

static int trie_check(const int32_t *ids, const size_t *offset, int n, int eos_id, Err *err) {
    if (n <= 0) return err_set(err, ERR_DATA, "trie: no sequences");
    if (eos_id < 0) return err_set(err, ERR_DATA, "trie: the tokenizer has no end-of-text id");
    for (int i = 0; i < n; i++) {
        if (offset[i + 1] <= offset[i] || offset[i + 1] - offset[i] > INT_MAX)
            return err_set(err, ERR_DATA, "trie: sequence %d is empty or too long", i);
        for (size_t p = offset[i]; p < offset[i + 1]; p++)
            if (ids[p] < 0 || (ids[p] == eos_id) != (p + 1 == offset[i + 1]))
                return err_set(err, ERR_DATA,
                               "trie: sequence %d: id %d at position %zu; end-of-text (%d) must stand at the end only", i,
                               ids[p], p - offset[i], eos_id);
    }
    return 0;
}

static void sort_keys(uint64_t *key, uint64_t *scratch, int n) {
    if (n <= 24) {
        for (int i = 1; i < n; i++) {
            uint64_t k = key[i];
            int j = i;
            for (; j > 0 && key[j - 1] > k; j--) key[j] = key[j - 1];
            key[j] = k;
        }
        return;
    }
    int half = n / 2;
    sort_keys(key, scratch, half);
    sort_keys(key + half, scratch, n - half);
    if (key[half - 1] < key[half]) return;
    memcpy(scratch, key, (size_t)half * sizeof *key);
    for (int a = 0, b = half, out = 0; a < half;) key[out++] = b < n && key[b] < scratch[a] ? key[b++] : scratch[a++];
}

static int add_node(Builder *b, int32_t token) {
    if (b->token.len + b->tail_token.len >= INT_MAX) return -1;
    if (b->token.len % TRIE_RANK == 0) ints_push(&b->rank, (int32_t)b->leaf_item.len);
    ints_push(&b->token, token);
    return 0;
}

// A stub: the sequence goes on alone, or ends, behind its first `depth` tokens.
static int add_leaf(Builder *b, uint32_t sequence, int depth) {
    const int32_t *rest = b->ids + b->offset[sequence] + depth;
    const size_t n = b->offset[sequence + 1] - b->offset[sequence] - (size_t)depth;
    if (b->token.len + b->tail_token.len + n > INT_MAX) return -1;
    ints_push(&b->leaf_item, (int32_t)sequence);
    ints_push(&b->tail, (int32_t)b->tail_token.len);
    for (size_t i = 0; i < n; i++) ints_push(&b->tail_token, rest[i]);
    return 0;
}

// Children of a group, the sequences key[begin, end), which agree in their first `depth` tokens. Sequences that go on are
// moved to key[written..], which never overtakes the reading; each child's share of them is a group of the next level (empty
// for a stub). Returns the new `written`, or -1 where node numbers run out.
static int add_children(Builder *b, int begin, int end, int depth, int written) {
    for (int i = begin; i < end; i++) {
        uint32_t sequence = (uint32_t)b->key[i];
        b->key[i] = (uint64_t)(uint32_t)b->ids[b->offset[sequence] + (size_t)depth] << 32 | sequence;
    }
    sort_keys(b->key + begin, b->scratch, end - begin);
    for (int i = begin, stop; i < end; i = stop) {
        uint32_t token = (uint32_t)(b->key[i] >> 32), first = (uint32_t)b->key[i];
        for (stop = i; stop < end && (uint32_t)(b->key[stop] >> 32) == token;) stop++;
        if (add_node(b, (int32_t)token)) return -1;
        b->next[b->next_groups++] = written;
        if (stop - i == 1 || b->offset[first + 1] - b->offset[first] == (size_t)depth + 1) {
            if (add_leaf(b, first, depth + 1)) return -1;
            continue;
        }
        memmove(b->key + written, b->key + i, (size_t)(stop - i) * sizeof *b->key);
        written += stop - i;
    }
    return written;
}

// The nodes at depth + 1. Returns how many sequences go on from there, or -1.
static int add_level(Builder *b, int sequences, int depth) {
    int written = 0;
    b->next_groups = 0;
    b->group[b->groups] = sequences;
    for (int g = 0; g < b->groups; g++) {
        ints_push(&b->first_child, (int32_t)b->token.len);
        if (b->group[g] < b->group[g + 1]) written = add_children(b, b->group[g], b->group[g + 1], depth, written);
        if (written < 0) return -1;
    }
    int32_t *swap = b->group;
    b->group = b->next;
    b->next = swap;
    b->groups = b->next_groups;
    return written;
}

static int32_t *take(Ints *v) { // the array without its spare room
    int32_t *data = mem_realloc(v->data, v->len, sizeof *data);
    *v = (Ints){0};
    return data;
}

static void take_all(Trie *t, Builder *b) {
    t->nodes = (int)b->token.len;
    t->tails = (int)b->tail_token.len;
    t->leaves = (int)b->leaf_item.len;
    for (int g = 0; g < b->groups; g++) ints_push(&b->first_child, t->nodes); // the deepest level's stubs
    ints_push(&b->first_child, t->nodes);
    ints_push(&b->tail, t->tails);
    for (int i = 0; i < t->tails; i++) ints_push(&b->token, b->tail_token.data[i]);
    ints_free(&b->tail_token);
    t->first_child = take(&b->first_child);
    t->token = take(&b->token);
    t->stub_rank = take(&b->rank);
    t->tail = take(&b->tail);
    t->leaf_item = take(&b->leaf_item);
}

int trie_build(Trie *t, const int32_t *ids, const size_t *offset, int n, int eos_id, Err *err) {
    *t = (Trie){.sequences = n, .eos_id = eos_id};
    if (trie_check(ids, offset, n, eos_id, err)) return -1;
    size_t count = (size_t)n;
    Builder b = {.ids = ids, .offset = offset, .groups = 1};
    b.key = mem_alloc(count, sizeof *b.key);
    b.scratch = mem_alloc(count, sizeof *b.scratch);
    b.group = mem_zalloc(count + 1, sizeof *b.group);
    b.next = mem_zalloc(count + 1, sizeof *b.next);
    for (int i = 0; i < n; i++) {
        int len = (int)(offset[i + 1] - offset[i]);
        b.key[i] = (uint64_t)i;
        if (len > t->longest) t->longest = len;
    }
    add_node(&b, -1);
    int going = n;
    for (int depth = 0; going > 0; depth++) going = add_level(&b, going, depth);
    free(b.key), free(b.scratch), free(b.group), free(b.next);
    take_all(t, &b);
    if (going < 0) {
        trie_free(t);
        return err_set(err, ERR_DATA, "trie: more than %d nodes", INT_MAX);
    }
    return 0;
}

void trie_free(Trie *t) {
    free(t->first_child);
    free(t->token);
    free(t->stub_rank);
    free(t->tail);
    free(t->leaf_item);
    *t = (Trie){0};
}

// Stubs before a node of the branching part.
static int rank_of(const Trie *t, int node) {
    int rank = t->stub_rank[node / TRIE_RANK];
    for (int n = node - node % TRIE_RANK; n < node; n++) rank += t->first_child[n] == t->first_child[n + 1];
    return rank;
}

int trie_first(const Trie *t, int node) {
    if (node >= t->nodes) return node + 1;
    if (t->first_child[node] < t->first_child[node + 1]) return t->first_child[node];
    return t->nodes + t->tail[rank_of(t, node)];
}

int trie_child(const Trie *t, int node, int32_t token) {
    int children = trie_children(t, node), low = children ? trie_first(t, node) : 0, end = low + children, high = end;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (t->token[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && t->token[low] == token ? low : -1;
}

int trie_leaf(const Trie *t, int node) {
    if (trie_children(t, node) > 0) return -1;
    if (node < t->nodes) return rank_of(t, node);
    int low = 0, high = t->leaves - 1; // the leaf whose tail holds the token
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (t->tail[middle + 1] <= node - t->nodes)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int trie_find(const Trie *t, const int32_t *ids, size_t n) {
    int node = 0;
    for (size_t i = 0; i < n && node >= 0; i++) node = trie_child(t, node, ids[i]);
    return node < 0 ? -1 : trie_leaf(t, node);
}

size_t trie_bytes(const Trie *t) {
    size_t nodes = (size_t)t->nodes, runs = (nodes + TRIE_RANK - 1) / TRIE_RANK;
    return (2 * nodes + 1 + runs + (size_t)t->tails + 2 * (size_t)t->leaves + 1) * sizeof(int32_t);
}
