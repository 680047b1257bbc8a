// One step: score the children of every live beam (one model call for all users), then select on the host. Users may be at
// different lengths: they share nothing but the call.
// A beam is a node of the trie and a node of the KV tree that holds its last position. Where the trie goes on with single
// children and (nearly) all beams are sure to live, the KV node already holds the tokens to come, and `logp` their
// log-probabilities one after the other: such a beam is selected token by token like any other, but needs no model call until
// they are used up. After some ten tokens the beams of a user are single titles as a rule, and one call ends the search.
#include "rec/beam.h"
#include "base/arena.h"
#include "base/log.h"
#include "rec/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    AHEAD_ROWS = 1024, // rows of a call that are run ahead, for memory's sake
    SPARE = 5,         // one row in so many may be run ahead in vain
};

typedef struct Beam {
    double total;
    ptrdiff_t logp; // where in the user's logp those of the children of `at` begin, in their order; < 0: not yet scored
    int at;         // trie
    int kv;         // session
    int ahead;      // positions of `kv` behind this beam's own
} Beam;

typedef struct Candidate {
    double total;
    int beam, at;
} Candidate;

typedef struct Result {
    double score;
    int leaf, tokens;
} Result;

typedef enum PlaceState { PLACE_FREE, PLACE_LIVE, PLACE_DONE } PlaceState;

typedef struct User { // a place
    PlaceState state;
    BeamStart start;
    int W; // beams
    int length;
    Beam *live, *next; // (W)
    Candidate *best;   // (2W)
    Result *done;      // (W) best first
    int lives, dones, bests;
    int64_t illegal;
    float *logp; // of all its steps
    size_t logps, logp_cap;
} User;

typedef struct Run { // a beam to be scored, with the tokens run ahead
    User *user;
    Beam *beam;
    int rows;   // positions whose children are scored
    int begins; // the first of a user: its position is there already
} Run;

struct BeamSearch {
    Session *s;
    const Trie *t;
    BeamOptions o;
    User *user; // (users)
    Run *run;   // (users W)
    int *below; // (2, widest(W))
    int users;
    BeamStats *stats;
    double clock; // when the last lap ended
};
typedef BeamSearch Search;

static double clock_set(Search *x) {
    if (x->s->timed) ops_wait(x->s->ops);
    return x->clock = log_seconds();
}

// The time since the last lap goes to `part`.
static void lap(Search *x, double *part) {
    const double then = x->clock;
    *part += clock_set(x) - then;
}

// Nodes of one depth of the trie that may be run for W beams.
static int widest(int W) {
    return W + W / SPARE;
}

size_t beam_slots(const Trie *t, const BeamOptions *o, int users) {
    return (size_t)users * (size_t)widest(o->beams) * (size_t)(t->longest - 1); // the last token of an answer is never run
}

// ---- scoring ---------------------------------------------------------------------------------------------------------

// How many single children follow `at` that are no leaves.
static int chain_length(const Trie *t, int at, int limit) {
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

// For so many tokens more the live beams have so few continuations, leaves included, that next to none will be dropped.
static int settled_tokens(Search *x, const User *u) {
    const Trie *t = x->t;
    const int most = widest(u->W) - u->dones;
    int *at = x->below, *next = x->below + widest(x->o.beams), n = u->lives;
    for (int i = 0; i < n; i++) at[i] = u->live[i].at;
    for (int tokens = 0;; tokens++) {
        int more = 0;
        for (int i = 0; i < n; i++) {
            const int children = trie_children(t, at[i]), first = children ? trie_first(t, at[i]) : 0;
            if (more + children > most) return tokens;
            for (int c = 0; c < children; c++) next[more++] = first + c;
        }
        if (more == 0) return tokens;
        int *swap = at;
        at = next, next = swap, n = more;
    }
}

typedef struct Work {        // of one step
    int runs, rows, forward; // rows that are scored, and those of them that go through the network first
    size_t picks;            // children
} Work;

// The unscored beams with the rows each takes.
static Work plan_runs(Search *x) {
    Work w = {0};
    int spare = AHEAD_ROWS;
    for (User *u = x->user; u < x->user + x->users; u++) {
        if (u->state != PLACE_LIVE) continue;
        const int begins = u->length == 0, settled = begins ? 0 : settled_tokens(x, u);
        for (Beam *b = u->live; b < u->live + u->lives; b++) {
            if (b->logp >= 0) continue;
            const int ahead = chain_length(x->t, b->at, settled < spare ? settled : spare);
            spare -= ahead;
            x->run[w.runs++] = (Run){u, b, 1 + ahead, begins};
            w.rows += 1 + ahead;
            if (!begins) w.forward += 1 + ahead;
            w.picks += (size_t)ahead + (size_t)trie_children(x->t, chain_at(x->t, b->at, ahead));
        }
    }
    return w;
}

// Run the tokens of all runs through the model; every beam's kv becomes its run's node.
static void forward_runs(Search *x, const Work *w) {
    Segment g;
    int32_t *ids = ARENA_NEW(&x->s->host, int32_t, x->t->longest);
    segment_begin(x->s, &g, w->runs, w->forward);
    for (Run *r = x->run; r < x->run + w->runs; r++) {
        if (r->begins) continue;
        for (int i = 0, at = r->beam->at; i < r->rows; i++, at = trie_first(x->t, at)) ids[i] = x->t->token[at];
        r->beam->kv = segment_add(x->s, &g, r->beam->kv, ids, r->rows);
        r->beam->ahead = r->rows - 1;
    }
    lap(x, &x->stats->trie_s);
    segment_forward(x->s, &g, NULL, 0);
    lap(x, &x->stats->network_s);
    x->stats->steps++;
    x->stats->rows += w->forward;
}

// Room behind the log-probabilities that a user has.
static float *more_logp(User *u, size_t n) {
    if (u->logps + n > u->logp_cap) {
        u->logp_cap = 2 * (u->logps + n);
        u->logp = mem_realloc(u->logp, u->logp_cap, sizeof *u->logp);
    }
    u->logps += n;
    return u->logp + u->logps - n;
}

// The positions whose children are scored, and the children: slot (rows), row and token (picks).
static void list_picks(Search *x, const Work *w, int32_t *slot, int32_t *row, int32_t *token) {
    const int chunk = ops_rows_at_once(x->s->ops);
    int n = 0;
    size_t p = 0;
    for (Run *r = x->run; r < x->run + w->runs; r++) {
        int at = r->beam->at, last = session_last(x->s, r->beam->kv);
        for (int i = 0, first; i < r->rows; i++, n++, at = first) {
            first = trie_first(x->t, at);
            slot[n] = last - (r->rows - 1) + i;
            for (int c = first, end = first + trie_children(x->t, at); c < end; c++, p++) {
                row[p] = n % chunk;
                token[p] = x->t->token[c];
            }
        }
    }
    CHECK(n == w->rows && p == w->picks);
}

static void pick_logp(Search *x, const Work *w, float *logp) {
    Session *s = x->s;
    int32_t *slot = ARENA_NEW(&s->host, int32_t, w->rows), *row = ARENA_NEW(&s->host, int32_t, w->picks),
            *token = ARENA_NEW(&s->host, int32_t, w->picks);
    list_picks(x, w, slot, row, token);
    lap(x, &x->stats->trie_s);
    const int chunk = ops_rows_at_once(s->ops); // V floats a row
    size_t done = 0;
    for (int first = 0; first < w->rows; first += chunk) {
        HeadRows head;
        SessionMark begin = session_mark(s);
        head_rows(s, &head, slot + first, w->rows - first < chunk ? w->rows - first : chunk);
        size_t end = done + 1;
        while (end < w->picks && row[end] >= row[end - 1]) end++; // rows begin again at 0 with the next chunk
        head_pick(s, &head, row + done, token + done, end - done, logp + done);
        done = end;
        reader_drop_scratch(s, begin);
        lap(x, &x->stats->head_s);
        x->stats->head_s -= head.softmax_s;
        x->stats->softmax_s += head.softmax_s;
    }
    ops_wait(s->ops);
    lap(x, &x->stats->head_s);
    CHECK(done == w->picks);
}

// Every run's beam gets its own, and those of the tokens run ahead behind them.
static void give_out(Search *x, const Work *w, const float *logp) {
    for (Run *r = x->run; r < x->run + w->runs; r++) {
        size_t n = 0;
        for (int i = 0, at = r->beam->at; i < r->rows; i++, at = trie_first(x->t, at)) n += (size_t)trie_children(x->t, at);
        r->beam->logp = (ptrdiff_t)r->user->logps;
        memcpy(more_logp(r->user, n), logp, n * sizeof *logp);
        logp += n;
    }
}

// Log-probabilities of all children of all live beams.
static void search_score(Search *x) {
    SessionMark begin = session_mark(x->s);
    const Work w = plan_runs(x);
    if (w.runs == 0) return;
    if (w.forward > 0) forward_runs(x, &w);
    float *logp = ARENA_NEW(&x->s->host, float, w.picks);
    pick_logp(x, &w, logp);
    give_out(x, &w, logp);
    reader_drop_scratch(x->s, begin);
    lap(x, &x->stats->trie_s);
}

// ---- selection -------------------------------------------------------------------------------------------------------

// Whether something below the node may be found.
static int is_open(const Search *x, const User *u, int at) {
    return !u->start.open || at >= x->t->nodes || u->start.open[at]; // a tail is as open as the stub it hangs on
}

// Keep the 2W best; equal ones in the order in which they come.
static void offer(User *u, Candidate c) {
    int room = 2 * u->W;
    if (!isfinite(c.total)) {
        u->illegal++;
        return;
    }
    if (u->bests == room && u->best[room - 1].total >= c.total) return;
    int i = u->bests < room ? u->bests++ : room - 1;
    for (; i > 0 && u->best[i - 1].total < c.total; i--) u->best[i] = u->best[i - 1];
    u->best[i] = c;
}

static void finish(Search *x, User *u, Candidate c, double divisor) {
    Result r = {c.total / divisor, trie_leaf(x->t, c.at), u->length + 1};
    int W = u->W, i = u->dones;
    for (; i > 0; i--) {
        if (u->done[i - 1].score >= r.score) break; // of equal ones the first to finish
        if (i < W) u->done[i] = u->done[i - 1];
    }
    if (i < W) u->done[i] = r;
    if (u->dones < W) u->dones++;
}

// What child c of `at` adds to a beam's sum, where the user has so many open ones to choose from. A ghost is one to which the
// catalogue leaves no choice, whatever of it is open to this user. -INFINITY: the guide leaves nothing below it.
static double step_score(const Search *x, const User *u, int at, int c, int open, float logp) {
    const double lm = x->o.skip_ghosts && trie_children(x->t, at) == 1 ? 0 : (double)logp, *mass = u->start.mass;
    if (!mass) return lm;
    const double g = (double)x->o.guidance, cf = open == 1 ? 0 : mass[at] > 0 ? log(mass[c] / mass[at]) : -INFINITY;
    return cf == -INFINITY ? cf : g * lm + (1 - g) * cf;
}

// One more token. Of the 2W best continuations, finished ones among the first W become results, unfinished ones live on.
static void user_step(Search *x, User *u) {
    const Trie *t = x->t;
    const int W = u->W;
    const double divisor = pow(u->length + 1, (double)x->o.length_penalty);
    u->bests = 0;
    for (int b = 0; b < u->lives; b++) {
        const Beam *beam = &u->live[b];
        const int n = trie_children(t, beam->at), first = trie_first(t, beam->at);
        int open = 0;
        for (int i = 0; i < n; i++) open += is_open(x, u, first + i);
        for (int i = 0; i < n; i++) {
            if (!is_open(x, u, first + i)) continue;
            double step = step_score(x, u, beam->at, first + i, open, u->logp[beam->logp + i]);
            if (u->start.mass && step == -INFINITY) continue;
            offer(u, (Candidate){beam->total + step, b, first + i});
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
            u->next[lives++] = (Beam){c.total, known ? parent->logp + 1 : -1, c.at, parent->kv, known ? parent->ahead - 1 : 0};
        }
    }
    if (u->dones == W && lives > 0 && u->done[W - 1].score >= u->next[0].total / divisor) lives = 0;
    Beam *swap = u->live;
    u->live = u->next;
    u->next = swap;
    u->lives = lives;
    u->length++;
}

// ---- the search ------------------------------------------------------------------------------------------------------

BeamSearch *beam_open(Session *s, const Trie *t, const BeamOptions *o, int users, BeamStats *stats) {
    CHECK(o->beams > 0 && users > 0);
    const size_t W = (size_t)o->beams;
    BeamSearch *x = mem_alloc(1, sizeof *x);
    *x = (BeamSearch){.s = s, .t = t, .o = *o, .users = users, .stats = stats};
    x->user = mem_zalloc((size_t)users, sizeof *x->user);
    x->run = mem_alloc((size_t)users * W, sizeof *x->run);
    x->below = mem_alloc(2 * (size_t)widest(o->beams), sizeof *x->below);
    for (User *u = x->user; u < x->user + users; u++) {
        u->live = mem_alloc(W, sizeof *u->live);
        u->next = mem_alloc(W, sizeof *u->next);
        u->best = mem_alloc(2 * W, sizeof *u->best);
        u->done = mem_alloc(W, sizeof *u->done);
    }
    return x;
}

void beam_close(BeamSearch *x) {
    if (!x) return;
    for (User *u = x->user; u < x->user + x->users; u++)
        free(u->live), free(u->next), free(u->best), free(u->done), free(u->logp);
    free(x->user), free(x->run), free(x->below);
    free(x);
}

int beam_add(BeamSearch *x, const BeamStart *start) {
    User *u = x->user;
    while (u < x->user + x->users && u->state != PLACE_FREE) u++;
    CHECK(u < x->user + x->users && start->beams <= x->o.beams);
    u->state = PLACE_LIVE;
    u->start = *start;
    u->W = start->beams ? start->beams : x->o.beams;
    u->length = u->dones = u->bests = 0;
    u->illegal = 0;
    u->logps = 0;
    u->lives = 1;
    u->live[0] = (Beam){.logp = -1, .at = 0, .kv = start->node};
    return (int)(u - x->user);
}

int beam_step(BeamSearch *x) {
    int live = 0;
    clock_set(x);
    search_score(x);
    for (User *u = x->user; u < x->user + x->users; u++) {
        if (u->state != PLACE_LIVE) continue;
        user_step(x, u);
        if (u->lives == 0) u->state = PLACE_DONE;
        live += u->lives > 0;
    }
    lap(x, &x->stats->select_s);
    return live;
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

int beam_take(BeamSearch *x, int place, BeamHit *hit, int64_t *illegal) {
    User *u = &x->user[place];
    CHECK(u->state != PLACE_FREE);
    if (u->state == PLACE_LIVE) return -1;
    for (int j = 0; j < u->dones; j++) hit[j] = (BeamHit){u->done[j].leaf, (float)u->done[j].score, u->done[j].tokens};
    *illegal = u->illegal + count_illegal(x->t, u);
    x->stats->illegal += *illegal;
    u->state = PLACE_FREE;
    return u->dones;
}

void beam_drop(BeamSearch *x, int place) {
    x->user[place].state = PLACE_FREE;
}

size_t beam_step_slots(const BeamSearch *x) {
    const size_t rows = (size_t)x->users * (size_t)x->o.beams, most = rows * (size_t)(x->t->longest - 1);
    return rows + AHEAD_ROWS < most ? rows + AHEAD_ROWS : most;
}

void beam_compact(BeamSearch *x, SessionMark floor) {
    Arena *host = &x->s->host;
    const size_t mark = arena_mark(host);
    int **node = ARENA_NEW(host, int *, (size_t)x->users *(size_t)x->o.beams), n = 0;
    for (User *u = x->user; u < x->user + x->users; u++)
        for (int b = 0; u->state == PLACE_LIVE && b < u->lives; b++) node[n++] = &u->live[b].kv;
    session_compact(x->s, floor, node, n);
    arena_reset(host, mark);
}

void beam_search(Session *s, const Trie *t, const BeamOptions *o, const BeamStart *start, int users, BeamHit *hit, int *found,
                 BeamStats *stats) {
    SessionMark mark = session_mark(s);
    BeamSearch *x = beam_open(s, t, o, users, stats);
    int64_t illegal;
    for (int u = 0; u < users; u++) CHECK(beam_add(x, &start[u]) == u);
    while (beam_step(x) > 0) {
    }
    for (int u = 0; u < users; u++) found[u] = beam_take(x, u, hit + (size_t)u * (size_t)o->beams, &illegal);
    beam_close(x);
    session_reset(s, mark);
}
