#include "model/session.h"
#include "base/machine.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_DEVICE = 64 << 20, LEAST_HOST = 16 << 20 }; // bytes of addresses, where those are limited

// Caches come from an arena that is only touched as it is used.
int session_init(Session *s, Llm *m, int slots, Err *err) {
    const ModelConfig *c = &m->config;
    const size_t device = arena_room(ops_memory_bytes(m->ops), 2, LEAST_DEVICE), machine = machine_bytes(),
                 few = (size_t)4 << 30, act_bytes = dtype_bytes(ops_dtype(m->ops));
    *s = (Session){.llm = m, .ops = m->ops, .slots = slots, .nodes_cap = slots, .forward_rows = 4096};
    void *range = ops_reserve(m->ops, device, err);
    if (!range) return -1;
    arena_init(&s->device, range, device, "the step arena");
    const size_t host = arena_room(machine > few ? machine : few, 4, LEAST_HOST);
    if (arena_reserve(&s->host, host, "the host arena", err)) {
        session_free(s);
        return -1;
    }
    s->node = ARENA_NEW(&s->host, KvNode, slots);
    s->k = ARENA_NEW(&s->host, act *, c->L);
    s->v = ARENA_NEW(&s->host, act *, c->L);
    s->dk = ARENA_NEW(&s->host, float *, c->L);
    s->dv = ARENA_NEW(&s->host, float *, c->L);
    size_t S = (size_t)slots, kv = (size_t)c->G * (size_t)c->K;
    for (int l = 0; l < c->L; l++) {
        s->k[l] = arena_get(&s->device, S * kv, act_bytes);
        s->v[l] = arena_get(&s->device, S * kv, act_bytes);
        s->dk[l] = s->dv[l] = NULL;
    }
    s->h = arena_get(&s->device, S * (size_t)c->D, act_bytes);
    s->ratt_h = c->thought_layer ? arena_get(&s->device, S * (size_t)c->D, act_bytes) : s->h;
    s->thought_squares = ARENA_NEW(&s->device, double, 1);
    ops_zero(s->ops, s->thought_squares, sizeof(double));
    if (m->ratt_k.w) s->ratt_k = arena_get(&s->device, S * (size_t)c->D, act_bytes);
    return 0;
}

void session_free(Session *s) {
    if (s->device.base) ops_release(s->ops, s->device.base, s->device.capacity_bytes);
    arena_free(&s->host);
    *s = (Session){0};
}

SessionMark session_mark(const Session *s) {
    return (SessionMark){arena_mark(&s->device), arena_mark(&s->host), s->slots_used, s->nodes, s->ratt_made, s->dh};
}

void session_reset(Session *s, SessionMark mark) {
    arena_reset(&s->device, mark.device);
    arena_reset(&s->host, mark.host);
    s->slots_used = mark.slots_used;
    s->nodes = mark.nodes;
    s->ratt_made = mark.ratt_made < mark.slots_used ? mark.ratt_made : mark.slots_used;
    if (s->dh && !mark.dh) { // the gradients were carved after the mark
        s->dh = s->ratt_dh = NULL;
        for (int l = 0; l < s->llm->config.L; l++) s->dk[l] = s->dv[l] = NULL;
    }
}

void session_want_gradients(Session *s, int slots) {
    const ModelConfig *c = &s->llm->config;
    size_t kv = (size_t)slots * (size_t)c->G * (size_t)c->K;
    CHECK(!s->dh && slots <= s->slots - s->slots_used);
    s->grad_slot0 = s->slots_used;
    s->grad_slots = slots;
    for (int l = 0; l < c->L; l++) {
        s->dk[l] = ARENA_NEW(&s->device, float, kv);
        s->dv[l] = ARENA_NEW(&s->device, float, kv);
    }
    s->dh = ARENA_NEW(&s->device, float, (size_t)slots *(size_t)c->D);
    s->ratt_dh = c->thought_layer ? ARENA_NEW(&s->device, float, (size_t)slots *(size_t)c->D) : s->dh;
    session_zero_gradients(s, s->grad_slot0);
}

void session_zero_gradients(Session *s, int from_slot) {
    const ModelConfig *c = &s->llm->config;
    const size_t skip = (size_t)(from_slot - s->grad_slot0), n = (size_t)s->grad_slots - skip, kv = (size_t)c->G * (size_t)c->K,
                 D = (size_t)c->D;
    for (int l = 0; l < c->L; l++) {
        ops_zero(s->ops, s->dk[l] + skip * kv, n * kv * sizeof(float));
        ops_zero(s->ops, s->dv[l] + skip * kv, n * kv * sizeof(float));
    }
    ops_zero(s->ops, s->dh + skip * D, n * D * sizeof(float));
    if (s->ratt_dh != s->dh) ops_zero(s->ops, s->ratt_dh + skip * D, n * D * sizeof(float));
}

int session_path(const Session *s, int node, int from, Span *span, int cap) {
    int n = 0;
    for (int at = node; at >= 0 && session_length(s, at) > from; at = s->node[at].parent) {
        const KvNode *k = &s->node[at];
        if (k->len == 0) continue;
        const int skip = from > k->position ? from - k->position : 0, slot = k->slot + skip, len = k->len - skip;
        if (n && span[n - 1].slot == slot + len) { // slots run on: one span
            span[n - 1].slot = slot;
            span[n - 1].len += len;
            continue;
        }
        CHECK(n < cap);
        span[n++] = (Span){slot, len};
    }
    for (int i = 0; i < n / 2; i++) { // oldest first
        Span swap = span[i];
        span[i] = span[n - 1 - i];
        span[n - 1 - i] = swap;
    }
    return n;
}

int session_node(Session *s, int parent, int len) {
    CHECK(s->nodes < s->nodes_cap && s->slots_used + len <= s->slots && parent < s->nodes);
    KvNode *node = &s->node[s->nodes];
    *node = (KvNode){.parent = parent, .slot = s->slots_used, .len = len, .position = session_length(s, parent)};
    if (parent >= 0) {
        const KvNode *p = &s->node[parent];
        node->thoughts = p->thoughts, node->sequence = p->sequence, node->sees_from = p->sees_from;
    }
    CHECK(node->position + len <= s->llm->rope.positions);
    s->slots_used += len;
    return s->nodes++;
}

int session_depth(const Session *s, int node) {
    int n = 0;
    for (; node >= 0; node = s->node[node].parent) n++;
    return n;
}

int session_owner(const Session *s, int node) {
    while (s->node[node].parent >= 0 && !s->node[s->node[node].parent].shared) node = s->node[node].parent;
    return node;
}

// ---- saved rows: for each layer n rows of keys, then n of values; at the end n of each kind of states ----

static size_t kv_bytes(const Session *s) {
    return (size_t)s->llm->config.G * (size_t)s->llm->config.K * dtype_bytes(ops_dtype(s->ops));
}

static size_t hidden_bytes(const Session *s) {
    return (size_t)s->llm->config.D * dtype_bytes(ops_dtype(s->ops));
}

// Planes of states behind those of keys and values: h, and ratt_h where it is another one.
static int state_planes(const Session *s) {
    return s->ratt_h == s->h ? 1 : 2;
}

size_t session_row_bytes(const Session *s) {
    return 2 * (size_t)s->llm->config.L * kv_bytes(s) + (size_t)state_planes(s) * hidden_bytes(s);
}

static int planes(const Session *s) {
    return 2 * s->llm->config.L + state_planes(s);
}

// The plane (k, v of a layer, or states) number p; *bytes: of one row.
static char *plane_of(const Session *s, int p, size_t *bytes) {
    const int L = s->llm->config.L;
    *bytes = p < 2 * L ? kv_bytes(s) : hidden_bytes(s);
    return p > 2 * L ? s->ratt_h : p == 2 * L ? s->h : p % 2 ? s->v[p / 2] : s->k[p / 2];
}

void session_save_rows(const Session *s, int node, int from, int n, void *rows) {
    Span span[64];
    const int spans = session_path(s, node, from, span, 64);
    char *out = rows;
    size_t bytes;
    for (int p = 0; p < planes(s); p++) {
        const char *plane = plane_of(s, p, &bytes);
        int left = n;
        for (int i = 0; i < spans && left > 0; i++) {
            const int take = span[i].len < left ? span[i].len : left;
            ops_fetch(s->ops, out, plane + (size_t)span[i].slot * bytes, (size_t)take * bytes);
            out += (size_t)take * bytes;
            left -= take;
        }
        CHECK(left == 0);
    }
    ops_wait(s->ops);
}

int session_restore_rows(Session *s, int parent, const void *rows, int saved, int n) {
    CHECK(n > 0 && n <= saved);
    const int node = session_node(s, parent, n);
    const char *in = rows;
    size_t bytes;
    for (int p = 0; p < planes(s); p++) {
        char *plane = plane_of(s, p, &bytes);
        ops_upload(s->ops, plane + (size_t)s->node[node].slot * bytes, in, (size_t)n * bytes);
        in += (size_t)saved * bytes;
    }
    return node;
}

// ---- giving back what lies in between ----

// Towards the beginning. A few at a time go by way of scratch where they would overlap: on a GPU a copy costs what it costs to
// ask for it.
static void move_rows(Session *s, char *plane, size_t bytes, int to, int from, int n) {
    enum { AT_ONCE = 64 };
    const size_t mark = arena_mark(&s->device);
    const int apart = from - to, at_once = apart < AT_ONCE && apart < n ? AT_ONCE : apart;
    char *between = at_once > apart ? arena_get(&s->device, AT_ONCE * bytes, 1) : NULL;
    for (int done = 0; done < n; done += at_once) {
        const size_t part = (size_t)(n - done < at_once ? n - done : at_once) * bytes;
        char *there = plane + (size_t)(to + done) * bytes;
        const char *here = plane + (size_t)(from + done) * bytes;
        if (between) ops_copy(s->ops, between, here, part);
        ops_copy(s->ops, there, between ? between : here, part);
    }
    arena_reset(&s->device, mark);
}

static void move_node(Session *s, KvNode *node, int to) {
    size_t bytes;
    if (node->slot == to) return;
    for (int p = 0; p < planes(s); p++) {
        char *plane = plane_of(s, p, &bytes);
        move_rows(s, plane, bytes, to, node->slot, node->len);
    }
    if (s->ratt_k && node->slot < s->ratt_made) move_rows(s, s->ratt_k, hidden_bytes(s), to, node->slot, node->len);
    node->slot = to;
}

// Nodes are numbered as their slots lie, and parents come before their children.
void session_compact(Session *s, SessionMark floor, int *const *node, int n) {
    const int first = floor.nodes, nodes = s->nodes;
    const size_t mark = arena_mark(&s->host);
    int *number = ARENA_NEW(&s->host, int, nodes + 1); // the new one, -1: gone
    for (int i = first; i < nodes; i++) number[i] = -1;
    for (int i = 0; i < n; i++)
        for (int at = *node[i]; at >= first && number[at] < 0; at = s->node[at].parent) number[at] = 0;
    int made = floor.ratt_made, slot = floor.slots_used, kept = first;
    for (int i = first; i < nodes; i++) {
        if (number[i] < 0) continue;
        KvNode moved = s->node[i];
        if (moved.slot < s->ratt_made) made = slot + moved.len; // keys are made for whole nodes
        if (moved.parent >= first) moved.parent = number[moved.parent];
        move_node(s, &moved, slot);
        slot += moved.len;
        number[i] = kept;
        s->node[kept++] = moved;
    }
    for (int i = 0; i < n; i++)
        if (*node[i] >= first) *node[i] = number[*node[i]];
    s->nodes = kept;
    s->slots_used = slot;
    s->ratt_made = made;
    arena_reset(&s->host, mark);
}

int32_t *session_upload(Session *s, const int32_t *x, size_t n) {
    int32_t *device = ARENA_NEW(&s->device, int32_t, n + 1);
    ops_upload(s->ops, device, x, n * sizeof *x);
    return device;
}

void session_add_gradient(Session *s, float *to, const int32_t *slot, const float *dh, int M) {
    const size_t host = arena_mark(&s->host), device = arena_mark(&s->device);
    int32_t *row = ARENA_NEW(&s->host, int32_t, M);
    for (int m = 0; m < M; m++) row[m] = slot[m] - s->grad_slot0;
    op_rows_scatter_add(s->ops, to, dh, session_upload(s, row, (size_t)M), M, s->llm->config.D);
    arena_reset(&s->host, host);
    arena_reset(&s->device, device);
}

void session_weight_gradient(Session *s, const Matrix *w, const float *bias, const act *dy, const act *x, int N) {
    float *dw = llm_gradient(s->llm, w->w);
    if (dw) op_linear_backward_weight(s->ops, dw, llm_gradient(s->llm, bias), dy, x, N, w->O, w->I);
    if (!w->lora || !s->llm->train[PARAMS_LORA]) return;
    float *dup[LORA_PARTS];
    for (int i = 0; i < w->lora->parts; i++) dup[i] = llm_gradient(s->llm, w->lora->part[i].b);
    op_lora_backward_weight(s->ops, llm_gradient(s->llm, w->lora->down.w), dup, dy, x, w->lora, N);
}
