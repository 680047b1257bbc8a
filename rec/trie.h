// The token trie of all items' answers. A leaf is a title; items that share a title share a leaf.
//
// Branching nodes are numbered breadth-first, so a node's children are adjacent. Where only one sequence is left, the rest of
// it is a *tail*: its tokens lie one after the other, 4 bytes each, and are nodes too, with numbers behind all others. In
// either part a child's number is greater than its parent's. Most nodes of a large catalogue are tails.
#ifndef REC_TRIE_H
#define REC_TRIE_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Trie {
    int nodes, tails; // nodes of the branching part; tokens of all tails. Nodes are numbered 0 .. nodes + tails - 1
    int leaves, sequences;
    int longest;          // tokens of the longest sequence
    int32_t eos_id;       // the token of every leaf, and of no other node
    int32_t *first_child; // (nodes + 1): children of n < nodes are [first_child[n], first_child[n + 1]); none: a stub, of which
                          // there is one for each leaf: the leaf itself, or what a tail follows
    int32_t *token;       // (nodes + tails): the token that leads to the node; -1 for the root, node 0
    int32_t *stub_rank;   // (nodes / TRIE_RANK + 1): stubs among the nodes before each run of TRIE_RANK
    int32_t *tail;        // (leaves + 1): the tail of leaf l is token[nodes + tail[l]] .. token[nodes + tail[l + 1]]
    int32_t *leaf_item;   // (leaves): the first sequence that ends here
} Trie;

enum { TRIE_RANK = 64 };

// Sequence i is ids[offset[i]] .. ids[offset[i + 1]]. Each ends with `eos_id`, which stands nowhere else, so no sequence is
// a prefix of another; anything else is ERR_DATA naming the sequence. Children are sorted by token.
int trie_build(Trie *t, const int32_t *ids, const size_t *offset, int n, int eos_id, Err *err);
void trie_free(Trie *t);
// Child of a node by its token, or -1.
int trie_child(const Trie *t, int node, int32_t token);
// Leaf number of a node (leaves are numbered as their stubs stand among the nodes), or -1 where it has children.
int trie_leaf(const Trie *t, int node);
// The leaf where a sequence ends, or -1 where it is not in the trie.
int trie_find(const Trie *t, const int32_t *ids, size_t n);
size_t trie_bytes(const Trie *t);

// The children of a node are first .. first + children.
int trie_first(const Trie *t, int node); // only of a node that has children
static inline int trie_children(const Trie *t, int node) {
    int children = node < t->nodes ? t->first_child[node + 1] - t->first_child[node] : 0;
    return children ? children : t->token[node] != t->eos_id;
}

#endif
