#include "rec/generate.h"
#include "rec/reader.h"

#include <math.h>

enum { GENERATE_HEAD_ROWS = 32 }; // logits at a time: V floats a row, on the device and on the host

typedef struct Written { // a token and the one before it, or -1
    int32_t token;
    int before;
} Written;

typedef struct Beam {
    double total;
    int kv;   // session node of its last position
    int text; // its last token in Search.written, or -1
} Beam;

typedef struct Candidate {
    double total;
    int beam;
    int32_t token;
} Candidate;

typedef struct Writer { // a user
    Beam *live, *next;  // (W)
    Candidate *best;    // (2W)
    int lives, bests;
    int found;           // whether there is an answer yet
    int dones;           // answers so far, at most W count
    double score, *done; // of the best answer; (W) of all, best first
    int text;            // the best answer
} Writer;

typedef struct Search {
    Session *s;
    const GenerateOptions *o;
    Writer *writer;
    Written *written; // (users W tokens)
    int users, used, length;
    BeamStats *stats;
} Search;

size_t generate_slots(const GenerateOptions *o, int users) {
    return (size_t)users * (size_t)o->beams * (size_t)(o->tokens - 1);
}

// ---- scoring -----------------------------------------------------------------------------------------------------------

// Keep the 2W best; equal ones in the order in which they come.
static void offer(const Search *x, Writer *w, Candidate c) {
    const int room = 2 * x->o->beams;
    int i = w->bests < room ? w->bests++ : room - 1;
    for (; i > 0 && w->best[i - 1].total < c.total; i--) w->best[i] = w->best[i - 1];
    w->best[i] = c;
}

// logits (V) of the position behind beam `b`.
static void offer_all(const Search *x, Writer *w, int b, const float *logits, float lse) {
    const int V = x->s->llm->config.V, room = 2 * x->o->beams;
    const double base = w->live[b].total - (double)lse;
    if (!isfinite(base)) x->stats->illegal++;
    for (int v = 0; v < V && isfinite(base); v++) {
        const double total = base + (double)logits[v];
        if (w->bests == room && !(total > w->best[room - 1].total)) continue;
        if (isfinite(total)) offer(x, w, (Candidate){total, b, v});
    }
}

// One more position for every live beam; the first step finds it there.
static void forward_beams(Search *x, int rows) {
    Segment g;
    segment_begin(x->s, &g, rows, rows);
    for (Writer *w = x->writer; w < x->writer + x->users; w++)
        for (int b = 0; b < w->lives; b++)
            w->live[b].kv = segment_add(x->s, &g, w->live[b].kv, &x->written[w->live[b].text].token, 1);
    segment_forward(x->s, &g, NULL, 0);
    x->stats->steps++;
    x->stats->rows += rows;
}

typedef struct Place {
    Writer *writer;
    int beam;
} Place;

static void score_chunk(Search *x, const int32_t *slot, const Place *place, int rows) {
    Session *s = x->s;
    const size_t V = (size_t)s->llm->config.V;
    HeadRows head;
    head_rows(s, &head, slot, rows);
    float *logits = ARENA_NEW(&s->host, float, (size_t)rows *V), *lse = ARENA_NEW(&s->host, float, rows);
    ops_download(s->ops, logits, head.logits, (size_t)rows * V * sizeof(float));
    ops_download(s->ops, lse, head.lse, (size_t)rows * sizeof(float));
    for (int i = 0; i < rows; i++) offer_all(x, place[i].writer, place[i].beam, logits + (size_t)i * V, lse[i]);
}

static void search_score(Search *x, int rows) {
    Session *s = x->s;
    SessionMark begin = session_mark(s);
    int32_t *slot = ARENA_NEW(&s->host, int32_t, rows);
    Place *place = ARENA_NEW(&s->host, Place, rows);
    int n = 0;
    if (x->length > 0) forward_beams(x, rows);
    for (Writer *w = x->writer; w < x->writer + x->users; w++) {
        w->bests = 0;
        for (int b = 0; b < w->lives; b++, n++) {
            slot[n] = session_last(s, w->live[b].kv);
            place[n] = (Place){w, b};
        }
    }
    for (int first = 0; first < rows; first += GENERATE_HEAD_ROWS) {
        SessionMark chunk = session_mark(s);
        score_chunk(x, slot + first, place + first, rows - first < GENERATE_HEAD_ROWS ? rows - first : GENERATE_HEAD_ROWS);
        reader_drop_scratch(s, chunk);
    }
    reader_drop_scratch(s, begin);
}

// ---- selection ---------------------------------------------------------------------------------------------------------

// An answer that ends with `text`. Of equal ones the first to finish is the best.
static void finish(const Search *x, Writer *w, double score, int text) {
    const int W = x->o->beams;
    if (w->dones == W && !(score > w->done[W - 1])) return;
    if (!w->found || score > w->score) w->score = score, w->text = text;
    w->found = 1;
    int i = w->dones < W ? w->dones++ : W - 1;
    for (; i > 0 && w->done[i - 1] < score; i--) w->done[i] = w->done[i - 1];
    w->done[i] = score;
}

static void writer_step(Search *x, Writer *w) {
    const int W = x->o->beams;
    const double divisor = pow(x->length + 1, (double)x->o->length_penalty);
    int lives = 0;
    for (int rank = 0; rank < w->bests; rank++) {
        const Candidate c = w->best[rank];
        const Beam *parent = &w->live[c.beam];
        if (c.token == x->o->eos_id) {
            if (rank < W) finish(x, w, c.total / divisor, parent->text);
        } else if (lives < W) {
            x->written[x->used] = (Written){c.token, parent->text};
            w->next[lives++] = (Beam){c.total, parent->kv, x->used++};
        }
    }
    if (w->dones == W && lives > 0 && w->done[W - 1] >= w->next[0].total / divisor) lives = 0;
    for (int b = 0; b < lives && x->length + 1 == x->o->tokens; b++) finish(x, w, w->next[b].total / divisor, w->next[b].text);
    Beam *swap = w->live;
    w->live = w->next;
    w->next = swap;
    w->lives = x->length + 1 == x->o->tokens ? 0 : lives;
}

// ---- the search --------------------------------------------------------------------------------------------------------

static void search_begin(Search *x, const int *node) {
    Arena *host = &x->s->host;
    const int W = x->o->beams;
    x->writer = ARENA_NEW(host, Writer, x->users);
    x->written = ARENA_NEW(host, Written, (size_t)x->users * (size_t)W * (size_t)x->o->tokens);
    for (int u = 0; u < x->users; u++) {
        x->writer[u] = (Writer){.live = ARENA_NEW(host, Beam, W),
                                .next = ARENA_NEW(host, Beam, W),
                                .best = ARENA_NEW(host, Candidate, 2 * W),
                                .done = ARENA_NEW(host, double, W),
                                .lives = 1,
                                .text = -1};
        x->writer[u].live[0] = (Beam){.kv = node[u], .text = -1};
    }
}

static int read_back(const Search *x, int text, int32_t *ids) {
    int n = 0;
    for (int at = text; at >= 0; at = x->written[at].before) n++;
    for (int at = text, i = n; at >= 0; at = x->written[at].before) ids[--i] = x->written[at].token;
    return n;
}

void generate_answers(Session *s, const GenerateOptions *o, const int *node, int users, int32_t *ids, int *len,
                      BeamStats *stats) {
    CHECK(o->beams > 0 && o->tokens > 0);
    SessionMark mark = session_mark(s);
    Search x = {.s = s, .o = o, .users = users, .stats = stats};
    search_begin(&x, node);
    for (int live = users; live > 0; x.length++) {
        search_score(&x, live);
        live = 0;
        for (Writer *w = x.writer; w < x.writer + users; w++) {
            writer_step(&x, w);
            live += w->lives;
        }
    }
    for (int u = 0; u < users; u++) len[u] = read_back(&x, x.writer[u].text, ids + (size_t)u * (size_t)o->tokens);
    session_reset(s, mark);
}
