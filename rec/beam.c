// One round: score the children of every live beam (one model call for all users), then select on the host.
// A beam is a node of the trie and a node of the KV tree that holds its last position. Where the trie goes on with single
// children, the KV node already holds some of the tokens to come, and `logp` their log-probabilities one after the other:
// such a beam is selected token by token like any other, but needs no model call until they are used up.
#include "rec/beam.h"
#include "rec/reader.h"

#include <math.h>
#include <string.h>

enum { BEAM_HEAD_ROWS = 128 }; // logits at a time: V floats a row

typedef struct Beam {
    double total;
    const float *logp; // of the children of `at`, in their order; NULL: not yet scored
    int at;            // trie
    int kv;            // session
    int ahead;         // positions of `kv` behind this beam's own
} Beam;

typedef struct Candidate {
    double total;
    int beam, at;
} Candidate;

typedef struct Result {
    double score;
    int leaf, tokens;
} Result;

typedef struct User {
    const BeamStart *start;
    Beam *live, *next; // (W)
    Candidate *best;   // (2W)
    Result *done;      // (W) best first
    int W;             // beams
    int lives, dones, bests;
    int64_t chain_left; // rows that may still be run ahead
} User;

typedef struct Run { // a beam to be scored, with the tokens run ahead
    Beam *beam;
    int rows;
} Run;

typedef struct Search {
    Session *s;
    const Trie *t;
    const BeamOptions *o;
    User *user;
    Run *run; // (users W)
    int users, length;
    BeamStats *stats;
} Search;

static int64_t rows_without_chains(const Trie *t, int beams) {
    return (int64_t)beams * (t->longest - 1); // the last token of an answer is never run
}

size_t beam_slots(const Trie *t, const BeamOptions *o, int users) {
    return (size_t)users * (size_t)rows_without_chains(t, o->beams) * (o->chain_ahead > 0 ? 2 : 1);
}

// ---- scoring ---------------------------------------------------------------------------------------------------------

// How many single children follow `at` that are no leaves.
static int chain_length(const Trie *t, int at, int64_t limit) {
    int n = 0;
    for (; n < limit && trie_children(t, at) == 1; n++) {
        at = trie_first(t, at);
        if (trie_children(t, at) == 0) break;
    }
    return n;
}

static int chain_at(const Trie *t, int at, int n) {
    while (n-- > 0) at = trie_first(t, at);
    return at;
}

// The unscored beams with the rows each takes. Returns how many; *rows and *picks are sums over them.
static int plan_runs(Search *x, int *rows, size_t *picks) {
    int runs = 0;
    *rows = 0;
    *picks = 0;
    for (User *u = x->user; u < x->user + x->users; u++)
        for (Beam *b = u->live; b < u->live + u->lives; b++) {
            if (b->logp) continue;
            int64_t limit = x->length == 0 ? 0 : x->o->chain_ahead;
            int ahead = chain_length(x->t, b->at, limit < u->chain_left ? limit : u->chain_left);
            u->chain_left -= ahead;
            x->run[runs++] = (Run){b, 1 + ahead};
            *rows += 1 + ahead;
            *picks += (size_t)ahead + (size_t)trie_children(x->t, chain_at(x->t, b->at, ahead));
        }
    return runs;
}

// Run the tokens of all runs through the model; every beam's kv becomes its run's node.
static void forward_runs(Search *x, int runs, int rows) {
    Segment g;
    segment_begin(x->s, &g, runs, rows);
    for (Run *r = x->run; r < x->run + runs; r++) {
        int32_t ids[BEAM_CHAIN_MAX + 1];
        for (int i = 0; i < r->rows; i++) ids[i] = x->t->token[chain_at(x->t, r->beam->at, i)];
        r->beam->kv = segment_add(x->s, &g, r->beam->kv, ids, r->rows);
        r->beam->ahead = r->rows - 1;
    }
    segment_forward(x->s, &g, NULL, 0);
    x->stats->steps++;
    x->stats->rows += rows;
}

static void pick_logp(Search *x, int runs, int rows, size_t picks, float *logp) {
    Session *s = x->s;
    int32_t *slot = ARENA_NEW(&s->host, int32_t, rows), *row = ARENA_NEW(&s->host, int32_t, picks),
            *token = ARENA_NEW(&s->host, int32_t, picks);
    int n = 0;
    size_t p = 0;
    for (Run *r = x->run; r < x->run + runs; r++) {
        int at = r->beam->at, last = session_last(s, r->beam->kv);
        r->beam->logp = logp + p;
        for (int i = 0, first; i < r->rows; i++, n++, at = first) {
            first = trie_first(x->t, at);
            slot[n] = last - (r->rows - 1) + i;
            for (int c = first, end = first + trie_children(x->t, at); c < end; c++, p++) {
                row[p] = n % BEAM_HEAD_ROWS;
                token[p] = x->t->token[c];
            }
        }
    }
    CHECK(n == rows && p == picks);
    size_t done = 0;
    for (int first = 0; first < rows; first += BEAM_HEAD_ROWS) {
        HeadRows head;
        SessionMark begin = session_mark(s);
        head_rows(s, &head, slot + first, rows - first < BEAM_HEAD_ROWS ? rows - first : BEAM_HEAD_ROWS);
        size_t end = done + 1;
        while (end < picks && row[end] >= row[end - 1]) end++; // rows begin again at 0 with the next chunk
        head_pick(s, &head, row + done, token + done, end - done, logp + done);
        done = end;
        reader_drop_scratch(s, begin);
    }
    CHECK(done == picks);
}

// Log-probabilities of all children of all live beams. They stay until the end of the search, the rest is given back.
static void search_score(Search *x) {
    int rows;
    size_t picks;
    int runs = plan_runs(x, &rows, &picks);
    if (runs == 0) return;
    float *logp = ARENA_NEW(&x->s->host, float, picks);
    SessionMark begin = session_mark(x->s);
    if (x->length > 0) forward_runs(x, runs, rows); // the start's positions are there already
    pick_logp(x, runs, rows, picks, logp);
    reader_drop_scratch(x->s, begin);
}

// ---- selection -------------------------------------------------------------------------------------------------------

static int is_skipped(const Search *x, const User *u, int at) {
    if (u->start->skips == 0 || trie_children(x->t, at) > 0) return 0;
    int leaf = trie_leaf(x->t, at);
    for (int i = 0; i < u->start->skips; i++)
        if (u->start->skip[i] == leaf) return 1;
    return 0;
}

// Keep the 2W best; equal ones in the order in which they come.
static void offer(Search *x, User *u, Candidate c) {
    int room = 2 * u->W;
    if (!isfinite(c.total)) {
        x->stats->illegal++;
        return;
    }
    if (u->bests == room && u->best[room - 1].total >= c.total) return;
    if (is_skipped(x, u, c.at)) return;
    int i = u->bests < room ? u->bests++ : room - 1;
    for (; i > 0 && u->best[i - 1].total < c.total; i--) u->best[i] = u->best[i - 1];
    u->best[i] = c;
}

static void finish(Search *x, User *u, Candidate c, double divisor) {
    Result r = {c.total / divisor, trie_leaf(x->t, c.at), x->length + 1};
    int W = u->W, i = u->dones;
    for (; i > 0; i--) {
        if (u->done[i - 1].score >= r.score) break; // of equal ones the first to finish
        if (i < W) u->done[i] = u->done[i - 1];
    }
    if (i < W) u->done[i] = r;
    if (u->dones < W) u->dones++;
}

// What child c of `at`, one of n, adds to a beam's sum. -INFINITY: the guide leaves nothing below it.
static double step_score(const Search *x, const User *u, int at, int c, int n, float logp) {
    const double lm = n == 1 && x->o->skip_ghosts ? 0 : (double)logp, *mass = u->start->mass;
    if (!mass) return lm;
    const double g = (double)x->o->guidance, cf = n == 1 ? 0 : log(mass[c] / mass[at]);
    return cf == -INFINITY ? cf : g * lm + (1 - g) * cf;
}

// One more token. Of the 2W best continuations, finished ones among the first W become results, unfinished ones live on.
static void user_step(Search *x, User *u) {
    const Trie *t = x->t;
    const int W = u->W;
    const double divisor = pow(x->length + 1, (double)x->o->length_penalty);
    u->bests = 0;
    for (int b = 0; b < u->lives; b++) {
        const Beam *beam = &u->live[b];
        for (int i = 0, n = trie_children(t, beam->at), first = trie_first(t, beam->at); i < n; i++) {
            if (u->start->open && first + i < t->nodes && !u->start->open[first + i]) continue;
            double step = step_score(x, u, beam->at, first + i, n, beam->logp[i]);
            if (u->start->mass && step == -INFINITY) continue;
            offer(x, u, (Candidate){beam->total + step, b, first + i});
        }
    }
    int lives = 0;
    for (int rank = 0; rank < u->bests; rank++) {
        Candidate c = u->best[rank];
        const Beam *parent = &u->live[c.beam];
        if (trie_children(t, c.at) == 0) {
            if (rank < W) finish(x, u, c, divisor);
        } else if (lives < W) {
            int known = parent->ahead > 0;
            u->next[lives++] =
                (Beam){c.total, known ? parent->logp + 1 : NULL, c.at, parent->kv, known ? parent->ahead - 1 : 0};
        }
    }
    if (u->dones == W && lives > 0 && u->done[W - 1].score >= u->next[0].total / divisor) lives = 0;
    Beam *swap = u->live;
    u->live = u->next;
    u->next = swap;
    u->lives = lives;
}

// ---- the search ------------------------------------------------------------------------------------------------------

static void search_begin(Search *x, const BeamStart *start) {
    Arena *host = &x->s->host;
    x->user = ARENA_NEW(host, User, x->users);
    x->run = ARENA_NEW(host, Run, x->users * x->o->beams);
    for (int u = 0; u < x->users; u++) {
        CHECK(start[u].beams <= x->o->beams);
        const int W = start[u].beams ? start[u].beams : x->o->beams;
        x->user[u] = (User){.start = &start[u],
                            .W = W,
                            .live = ARENA_NEW(host, Beam, W),
                            .next = ARENA_NEW(host, Beam, W),
                            .best = ARENA_NEW(host, Candidate, 2 * W),
                            .done = ARENA_NEW(host, Result, W),
                            .lives = 1,
                            .chain_left = rows_without_chains(x->t, W)};
        x->user[u].live[0] = (Beam){.at = 0, .kv = start[u].node};
    }
}

static int64_t count_illegal(const Trie *t, const User *u) {
    int64_t bad = 0;
    for (int i = 0; i < u->dones; i++) {
        int leaf = u->done[i].leaf, met = leaf < 0 || leaf >= t->leaves;
        for (int j = 0; j < i && !met; j++) met = u->done[j].leaf == leaf;
        bad += met;
    }
    return bad;
}

void beam_search(Session *s, const Trie *t, const BeamOptions *o, const BeamStart *start, int users, BeamHit *hit, int *found,
                 BeamStats *stats) {
    CHECK(o->beams > 0 && o->chain_ahead >= 0 && o->chain_ahead <= BEAM_CHAIN_MAX);
    SessionMark mark = session_mark(s);
    Search x = {.s = s, .t = t, .o = o, .users = users, .stats = stats};
    search_begin(&x, start);
    for (int live = users; live > 0; x.length++) {
        search_score(&x);
        live = 0;
        for (User *u = x.user; u < x.user + users; u++) {
            user_step(&x, u);
            live += u->lives;
        }
    }
    for (int i = 0; i < users; i++) {
        const User *u = &x.user[i];
        found[i] = u->dones;
        for (int j = 0; j < u->dones; j++)
            hit[(size_t)i * (size_t)o->beams + (size_t)j] =
                (BeamHit){u->done[j].leaf, (float)u->done[j].score, u->done[j].tokens};
        stats->illegal += count_illegal(t, u);
    }
    session_reset(s, mark);
}
