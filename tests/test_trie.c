// The trie against a naive oracle (sorted prefixes), its exhaustive walk, its refusals, and its size at scale.
#include "base/arena.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/vec.h"
#include "rec/trie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { EOS = 7 };

typedef struct Sequences {
    Ints ids;
    size_t *offset;
    int n;
} Sequences;

static void sequences_add(Sequences *s, const int32_t *ids, size_t n) {
    s->offset = mem_realloc(s->offset, (size_t)s->n + 2, sizeof *s->offset);
    s->offset[s->n] = s->ids.len;
    ints_append(&s->ids, ids, n);
    s->offset[++s->n] = s->ids.len;
}

static void sequences_free(Sequences *s) {
    ints_free(&s->ids);
    free(s->offset);
}

static const int32_t *sequence(const Sequences *s, int i, size_t *n) {
    *n = s->offset[i + 1] - s->offset[i];
    return s->ids.data + s->offset[i];
}

static int same_prefix(const Sequences *s, int a, int b, size_t len) {
    size_t na, nb;
    const int32_t *x = sequence(s, a, &na), *y = sequence(s, b, &nb);
    return na >= len && nb >= len && memcmp(x, y, len * sizeof *x) == 0;
}

// Nodes of the trie by definition: one for each distinct prefix, the empty one included. Quadratic.
static int count_prefixes(const Sequences *s) {
    int count = 1;
    for (int i = 0; i < s->n; i++) {
        size_t n;
        sequence(s, i, &n);
        for (size_t len = 1; len <= n; len++) {
            int seen = 0;
            for (int j = 0; j < i && !seen; j++) seen = same_prefix(s, i, j, len);
            count += !seen;
        }
    }
    return count;
}

// Walk every path from the root; each leaf must spell its sequence, and be met once.
typedef struct Walk {
    const Sequences *s;
    const Trie *t;
    int32_t path[512];
    int *met; // (leaves)
} Walk;

static void walk(Walk *w, int node, int depth) {
    int leaf = trie_leaf(w->t, node), children = trie_children(w->t, node);
    assert_int_equal(leaf >= 0, children == 0);
    if (leaf >= 0) {
        size_t n;
        const int32_t *ids = sequence(w->s, w->t->leaf_item[leaf], &n);
        assert_int_equal(n, depth);
        assert_memory_equal(ids, w->path, n * sizeof *ids);
        w->met[leaf]++;
    }
    for (int first = children ? trie_first(w->t, node) : 0, c = first; c < first + children; c++) {
        assert_true(c > node);
        assert_true(c == first || w->t->token[c - 1] < w->t->token[c]);
        assert_int_equal(trie_child(w->t, node, w->t->token[c]), c);
        w->path[depth] = w->t->token[c];
        walk(w, c, depth + 1);
    }
}

static void check_trie(const Sequences *s) {
    Trie t;
    Err err = {0};
    assert_int_equal(trie_build(&t, s->ids.data, s->offset, s->n, EOS, &err), 0);
    assert_int_equal(t.sequences, s->n);
    assert_int_equal(t.nodes + t.tails, count_prefixes(s));
    Walk w = {.s = s, .t = &t, .met = mem_zalloc((size_t)t.leaves, sizeof(int))};
    walk(&w, 0, 0);
    size_t longest = 0;
    for (int leaf = 0; leaf < t.leaves; leaf++) assert_int_equal(w.met[leaf], 1);
    for (int i = 0; i < s->n; i++) {
        size_t n;
        const int32_t *ids = sequence(s, i, &n);
        int leaf = trie_find(&t, ids, n), first = 0;
        assert_in_range(leaf, 0, t.leaves - 1);
        while (!(s->offset[first + 1] - s->offset[first] == n && same_prefix(s, first, i, n))) first++;
        assert_int_equal(t.leaf_item[leaf], first);
        assert_int_equal(trie_find(&t, ids, n - 1), -1); // a proper prefix is no item
        if (n > longest) longest = n;
    }
    assert_int_equal(t.longest, longest);
    free(w.met);
    trie_free(&t);
}

static void test_small(void **state) {
    (void)state;
    Sequences s = {0};
    // 1: prefix of 0; 2: the same as 0; 3: only the end; 4: shares nothing
    sequences_add(&s, (const int32_t[]){3, 5, 5, EOS}, 4);
    sequences_add(&s, (const int32_t[]){3, 5, EOS}, 3);
    sequences_add(&s, (const int32_t[]){3, 5, 5, EOS}, 4);
    sequences_add(&s, (const int32_t[]){EOS}, 1);
    sequences_add(&s, (const int32_t[]){900000, EOS}, 2);
    check_trie(&s);
    Trie t;
    assert_int_equal(trie_build(&t, s.ids.data, s.offset, s.n, EOS, NULL), 0);
    assert_int_equal(t.leaves, 4);
    assert_int_equal(t.nodes + t.tails, 9);
    assert_int_equal(trie_child(&t, 0, 4), -1);
    assert_int_equal(trie_find(&t, (const int32_t[]){3, 5, 5, 5, EOS}, 5), -1);
    assert_int_equal(trie_find(&t, (const int32_t[]){3, 5, 5, EOS, EOS}, 5), -1);
    trie_free(&t);
    sequences_free(&s);
}

static void test_random(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 300; round++) {
        Sequences s = {0};
        uint64_t at = 0, letters = 1 + rng_below(round, RNG_SYNTHETIC, at++, 9);
        int n = 1 + (int)rng_below(round, RNG_SYNTHETIC, at++, 60);
        for (int i = 0; i < n; i++) {
            int32_t ids[12];
            size_t len = rng_below(round, RNG_SYNTHETIC, at++, 11);
            for (size_t p = 0; p < len; p++) {
                int32_t id = (int32_t)rng_below(round, RNG_SYNTHETIC, at++, letters);
                ids[p] = id == EOS ? 1 << 20 : id;
            }
            ids[len] = EOS;
            sequences_add(&s, ids, len + 1);
        }
        check_trie(&s);
        sequences_free(&s);
    }
}

static void refuse(const int32_t *ids, size_t n, int eos, const char *says) {
    Trie t;
    Err err = {0};
    assert_int_equal(trie_build(&t, ids, (const size_t[]){0, n}, 1, eos, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.message, says));
    assert_null(t.token);
}

static void test_refused(void **state) {
    (void)state;
    refuse((const int32_t[]){1, 2}, 2, EOS, "sequence 0: id 2 at position 1");
    refuse((const int32_t[]){1, EOS, 2, EOS}, 4, EOS, "position 1");
    refuse((const int32_t[]){-5, EOS}, 2, EOS, "position 0");
    refuse((const int32_t[]){EOS}, 0, EOS, "sequence 0 is empty");
    refuse((const int32_t[]){1, -1}, 2, -1, "no end-of-text");
    Trie t;
    Err err = {0};
    assert_int_equal(trie_build(&t, NULL, (const size_t[]){0}, 0, EOS, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
}

// Titles as they are made: a few hundred openings, then words by a Zipf-like law, 6 to 20 tokens.
static void test_scale(void **state) {
    (void)state;
    const int n = 300000;
    Sequences s = {.offset = mem_alloc((size_t)n + 1, sizeof(size_t))};
    for (int i = 0; i < n; i++) {
        s.offset[i] = s.ids.len;
        uint32_t r[4];
        rng_block(r, 5, RNG_SYNTHETIC, (uint64_t)i);
        int len = 5 + (int)(r[0] % 15);
        for (int p = 0; p < len; p++) {
            double u = rng_uniform(6, RNG_SYNTHETIC, (uint64_t)i * 32 + (uint64_t)p);
            ints_push(&s.ids, 10 + (int32_t)(p == 0 ? u * 300 : 30000 * u * u * u));
        }
        ints_push(&s.ids, EOS);
    }
    s.offset[n] = s.ids.len;
    s.n = n;
    Trie t;
    double start = log_seconds();
    assert_int_equal(trie_build(&t, s.ids.data, s.offset, n, EOS, NULL), 0);
    print_message("%d sequences, %zu tokens: %d nodes, %.1f bytes a sequence, %.2f s\n", n, s.ids.len, t.nodes + t.tails,
                  (double)trie_bytes(&t) / n, log_seconds() - start);
    assert_true(trie_bytes(&t) < (size_t)n * 120);
    for (int i = 0; i < n; i += 7) {
        size_t len;
        const int32_t *ids = sequence(&s, i, &len);
        int leaf = trie_find(&t, ids, len);
        assert_in_range(leaf, 0, t.leaves - 1);
        assert_true(t.leaf_item[leaf] <= i);
    }
    trie_free(&t);
    sequences_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small), cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_refused), cmocka_unit_test(test_scale)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
