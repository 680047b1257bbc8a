// One mutable timeline tree over a read-only model: the KV tree, segments of new positions run forward and backward, the
// thought and the head. Owned by one thread.
//
// A node is a run of positions with a parent; its rows attend to all its ancestors' positions and causally to their own. A
// node may see its path only from some position on; those behind it see no more.
//   common tokens -> prompt -> thought and answer          (SFT)
//   common tokens -> prompt -> K noisy thoughts and answers (RL)
//   common tokens -> prompt -> thought -> beams             (recommending)
// Node positions live in slots of the caches, taken in order and given back as a stack (session_mark, session_reset).
// A segment is a set of new nodes that run through the network together, rows packed. Forward runs segments in order,
// backward in reverse: then the gradients of a segment's keys and values are complete when it goes back.
#ifndef MODEL_SESSION_H
#define MODEL_SESSION_H

#include "model/llm.h"

typedef struct KvNode {
    int parent; // -1: a root
    int slot, len;
    int position;  // of its first row
    int sees_from; // position that its rows' view of the path begins at; its parent's (a root: 0) until the caller sets it
    int thoughts;  // rows on its path whose embedding is given
    int sequence;  // number that its dropout goes by; of a root 0 until the caller sets it, then its root's
    int shared;    // by prompts that have nothing to do with each other: segment_add_shared
} KvNode;

typedef struct Session {
    Llm *llm;
    Ops *ops;
    Arena device, host;    // everything below; reset as a stack
    int slots, slots_used; // S and how many are taken
    int nodes, nodes_cap;
    KvNode *node;
    act **k, **v;               // (L) of (S, G K)
    act *h;                     // (S, D) hidden states after the final norm
    act *ratt_h;                // (S, D) what thoughts are made of: h, or an earlier layer's states
    act *ratt_k;                // (S, D) LatentRATT's rotated keys; filled by latent_forward
    int ratt_made;              // slots whose ratt_k is there
    int grad_slot0, grad_slots; // gradients exist for these slots
    float **dk, **dv;           // (L) of (grad_slots, G K), NULL: no gradients
    float *dh, *ratt_dh;        // (grad_slots, D)
    int recompute;              // segments keep each layer's input alone and make the rest again going back: memory for time
    int timed;                  // wait for the device where a part ends whose time is taken: for a bench, it costs time itself
    int forward_rows;           // prompts of which nothing is recorded run in segments of so many rows: memory, not results
    Dropout dropout;            // rate 0: none (set by training); key is made for each segment
    uint64_t dropout_step;      // update that the dropout belongs to
    // Told of each layer, the last first, whose gradients are complete (llm_final_from), as the prompts of the last micro-batch
    // go back: `last` is set by who knows that none follows. NULL: nobody asks.
    void (*layer_final)(void *context, int layer);
    void *final_context;
    int last;
    int64_t tokens_run;   // rows that went forward, for rates
    int64_t tokens_back;  // and back
    int64_t thoughts_run; // thoughts made, and the sum of their squared norms (1), device, for logs
    double *thought_squares;
} Session;

// slots: the most positions alive at a time. Memory is committed as it is touched.
int session_init(Session *s, Llm *m, int slots, Err *err);
void session_free(Session *s);

typedef struct SessionMark {
    size_t device, host;
    int slots_used, nodes, ratt_made;
    const float *dh;
} SessionMark;
SessionMark session_mark(const Session *s);
void session_reset(Session *s, SessionMark mark); // everything after the mark is gone

// The next `slots` slots have gradients (zeroed); those taken before this call get none. Until a reset to before it.
void session_want_gradients(Session *s, int slots);
void session_zero_gradients(Session *s, int from_slot); // of the slots from here on

// The spans from position `from` on the path to the end of `node`, oldest first, adjacent slots joined; returns how many
// (CHECKs the cap).
int session_path(const Session *s, int node, int from, Span *span, int cap);
// A new node of the next `len` slots, whose rows are whatever they are.
int session_node(Session *s, int parent, int len);
int session_depth(const Session *s, int node); // nodes from the root to `node`, both counted
int session_owner(const Session *s, int node); // the first node on the path to `node` that is not shared, or `node` itself
static inline int session_length(const Session *s, int node) {
    return node < 0 ? 0 : s->node[node].position + s->node[node].len;
}

typedef struct SegmentActs { // what a layer's backward needs; (N, .). With Session.recompute x_in alone is kept
    float *x_in, *x_mid;     // (N, D) residual stream before each half
    float *rstd1, *rstd2;    // (N)
    act *q, *attn;           // (N, H K)
    float *lse;              // (N, H)
    act *gate_up;            // (N, 2F); without a gate (N, F)
} SegmentActs;

typedef struct Segment {
    int N, slot0; // rows; row n is slot slot0 + n
    int max_nodes, max_rows;
    int record; // activations are kept for a backward pass
    int last;   // nothing goes back behind it, see Session.layer_final
    int first_node, nodes;
    int32_t *ids; // host (N); < 0: the row's embedding is given (a thought)
    int32_t *ids_device, *position_device;
    int given;                   // rows with ids < 0
    int32_t *given_row_device;   // (given)
    int32_t *place_device;       // (N) rows of the learned positions, < 0: none; NULL where positions are rotary
    int32_t *thought_row_device; // (N) the same of the thoughts' table
    uint64_t *dropout_key;       // (N) device, or NULL
    AttnPlan plan;
    SegmentActs *acts;       // (L) where record
    float *x_out, *rstd_out; // (N, D), (N) before the final norm, where record
    float *rstd_thought;     // (N) of what thoughts are made of, where that is an earlier layer's
} Segment;

// Collect nodes, at most max_rows rows: begin, add..., then forward.
void segment_begin(Session *s, Segment *g, int max_nodes, int max_rows);
// ids (len): copied. Returns the node. The parent may be of the same segment, but added before.
int segment_add(Session *s, Segment *g, int parent, const int32_t *ids, int len);
// The root of what all prompts begin with, which is nobody's own.
int segment_add_shared(Session *s, Segment *g, const int32_t *ids, int len);
// thought (given, D) device: the rows with ids < 0 in order, or NULL where there is none.
void segment_forward(Session *s, Segment *g, const float *thought, int record);
// From s->dh and s->ratt_dh at the segment's slots, and s->dk, s->dv. dthought (given, D) (=) or NULL. Weight gradients go to
// llm->dw where the backbone trains. Activations stay valid: a second backward is possible once the gradients
// are zeroed again.
void segment_backward(Session *s, Segment *g, float *dthought);
// Host integers into the device arena.
int32_t *session_upload(Session *s, const int32_t *x, size_t n);
// to (grad_slots, D), s->dh or s->ratt_dh: at the slots (M) += dh (M, D).
void session_add_gradient(Session *s, float *to, const int32_t *slot, const float *dh, int M);
// Gradients of a linear layer's weight, bias (NULL: none) and adapters, where their group trains.
void session_weight_gradient(Session *s, const Matrix *w, const float *bias, const act *dy, const act *x, int N);

static inline int session_slot(const Session *s, int node, int index) {
    return s->node[node].slot + index;
}
// The row of a table (S, D) of the compute type, such as h, that belongs to a slot.
static inline act *session_row(const Session *s, act *x, int slot) {
    return (char *)x + (size_t)slot * (size_t)s->llm->config.D * dtype_bytes(ops_dtype(s->ops));
}
// Slot of the last position of a node.
static inline int session_last(const Session *s, int node) {
    return s->node[node].slot + s->node[node].len - 1;
}

// Keeps of the nodes made since `floor` those on the paths to *node[0 .. n), whose numbers become the new ones; all others are
// gone, and what is kept moves to the slots right behind the floor. The arenas are left as they are.
void session_compact(Session *s, SessionMark floor, int *const *node, int n);

// ---- rows that outlive the session ------------------------------------------------------------------------------------

// Bytes of one position: keys and values of all layers, and its hidden state.
size_t session_row_bytes(const Session *s);
// Host copies of the positions [from, from + n) on the path to `node`: rows (n session_row_bytes).
void session_save_rows(const Session *s, int node, int from, int n, void *rows);
// A node behind `parent` out of the first n of `saved` such positions, which were saved behind the same positions of the same
// model. No segment may be under construction.
int session_restore_rows(Session *s, int parent, const void *rows, int saved, int n);

// ---- the head -------------------------------------------------------------------------------------------------------

// logprob (M, host) of target[m] after the position in slot[m]. With dlogprob (M, host), the gradient of
// sum dlogprob . logprob goes back at once: s->dh at the slots +=, and the head's weights where the backbone trains; logprob is
// then there after the next ops_wait, so that nothing waits in the middle of a step.
void head_logprob(Session *s, const int32_t *slot, const int32_t *target, int M, float *logprob, const float *dlogprob);

// Binary cross-entropy over C items for each slot: id (M, C) host, the first column the true one. loss (M, host). With a
// weight that is not 0 the gradient of weight times the sum goes back at once, and loss is there later, as above.
void head_binary(Session *s, const int32_t *slot, const int32_t *id, int M, int C, float *loss, float weight);

// out (M, D) host: the hidden states in the slots, after the final norm.
void session_hidden(Session *s, const int32_t *slot, int M, float *out);

// For beams: logits of M slots stay on the device until the session is reset; pick reads log-probabilities of chosen
// (row, token) pairs, log-softmax over the whole vocabulary: they are there after the next ops_wait.
typedef struct HeadRows {
    int M;
    float *logits, *lse; // (M, V), (M)
    double softmax_s;    // seconds that lse took
} HeadRows;
void head_rows(Session *s, HeadRows *rows, const int32_t *slot, int M);
void head_pick(Session *s, const HeadRows *rows, const int32_t *row, const int32_t *token, size_t n, float *out);

#endif
