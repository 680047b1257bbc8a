// From prompts to thoughts: the part that training, scoring and recommending share.
//   segment of [what is common +] prompts -> h -> thought 1 -> segment of one row each -> ... -> thought N
#ifndef MODEL_THINK_H
#define MODEL_THINK_H

#include "base/vec.h"
#include "model/latent.h"

typedef struct ThinkPrompt {
    const int32_t *ids;
    int len;
    int shared; // continues the common node; else it is a root of its own (a row that lost its oldest tokens)
    int prefix; // > 0: continues this node, which lies behind the common one; then len may be 0
    int joins;  // its first so many tokens are those of the prompt before it (both shared, without prefix, each with more
                // tokens)
} ThinkPrompt;

typedef struct ThinkChain { // a run of items, at several places of which something follows
    const int32_t *ids;
    int sequence;         // KvNode.sequence
    int places;           // at least 1
    const int32_t *place; // (places) ascending: something follows the first place[i] items; NULL: each of the first `places`
} ThinkChain;

typedef struct Think {
    int B, thoughts;
    int root;    // node of what is common, or -1
    int *prompt; // (B) host: the last node of each prompt
    int *node;   // (B) host: the last node of each timeline so far
    Segment prompts;
    LatentPass pass[CONFIG_THOUGHTS];
    Segment thought[CONFIG_THOUGHTS]; // thought n's row, for all but the last
    const float *given;               // (thoughts, B, D) device: stand in for the timelines' own; NULL: they are made
    const float *r;                   // (B, D) device: the last thoughts; NULL without thoughts
} Think;

// What can go back: nothing; the thoughts, the prompts being frozen; or all.
typedef enum ThinkRecord { THINK_FORWARD, THINK_RECORD_THOUGHTS, THINK_RECORD_ALL } ThinkRecord;

// Positions this takes, for session_init and session_want_gradients.
int think_slots(const ThinkPrompt *prompt, int B, int common_len, int thoughts);

// common: what the shared prompts begin with; it becomes a root node where root < 0 and some prompt is shared; with root >= 0
// it is already there. The last thought is *not* yet fed in: it is the first row of what follows, t->r, behind t->node. extra
// (B, or NULL): for each prompt, tokens that follow it in the same segment as a node of their own (answers when there is no
// thought); their nodes are extra_node (B). gradient_slots: what session_want_gradients is told, at the start (RECORD_ALL) or
// behind the prompts (RECORD_THOUGHTS).
void think_forward(Session *s, Think *t, int root, const Ints *common, const ThinkPrompt *prompt, int B,
                   const ThinkPrompt *extra, int *extra_node, ThinkRecord record, int gradient_slots);
// The two halves of think_forward. Where LatentRATT alone trains, the prompts are run once, and the thoughts again whenever
// its weights are others: after a reset to a mark between the two.
void think_prompts(Session *s, Think *t, int root, const Ints *common, const ThinkPrompt *prompt, int B,
                   const ThinkPrompt *extra, int *extra_node, ThinkRecord record, int gradient_slots);
// Between the two t->given may be set: nothing goes back through such thoughts.
void think_thoughts(Session *s, Think *t, ThinkRecord record, int gradient_slots);
// In the place of prompts, n chains: at each of their places a timeline of its own ends, in their order. What follows there
// sees the chain up to it. So whole sequences are trained, with a thought before each prediction, at the price of one.
void think_chains(Session *s, Think *t, const ThinkChain *chain, int n, ThinkRecord record, int gradient_slots);
// Adds the node of what follows timeline b, its last thought first (ids[0] < 0), to a segment. Where the answer sees the
// thoughts alone, its path begins at the first thought.
int think_follow(Session *s, const Think *t, int b, Segment *g, const int32_t *ids, int len);
// What is predicted behind every timeline, where that is one token: slot (B) receives the positions that predict it, the last
// thoughts' (a segment of their own, `g`) or, without thoughts, the timelines' last.
void think_predict(Session *s, const Think *t, Segment *g, int32_t *slot, int record);
// dr (B, D) device: gradient of t->r; used as scratch. Goes back through all that was recorded.
void think_backward(Session *s, Think *t, float *dr);

#endif
