#include "rec/recommend.h"
#include "base/arena.h"
#include "base/log.h"

#include <stdlib.h>

static BeamOptions beam_options(const RecommendOptions *o) {
    return (BeamOptions){
        .beams = o->beams, .length_penalty = o->length_penalty, .skip_ghosts = o->skip_ghosts, .guidance = o->guidance};
}

// The item with the longest tail: where one answer takes a good part of the positions, it is this one's.
static const char *longest_item(const Catalogue *c) {
    int at = 0;
    for (int l = 1; l < c->trie.leaves; l++)
        if (c->trie.tail[l + 1] - c->trie.tail[l] > c->trie.tail[at + 1] - c->trie.tail[at]) at = l;
    return c->items->id[c->trie.leaf_item[at]];
}

int recommend_crowds(const Llm *llm, int answer) {
    const int positions = llm->rope.positions;
    return answer > positions / 4 && positions - llm->config.thoughts - answer < PROMPT_RECOMMEND_TOKENS;
}

int recommend_fits(const Llm *llm, const Tokenizer *t, const PromptStyle *style, const Catalogue *c, Err *err) {
    if (reader_fits(llm, t, style, c->trie.longest, err) == 0) return 0;
    if (recommend_crowds(llm, c->trie.longest))
        err_prefix(err, "item %s, an answer of %d tokens", longest_item(c), c->trie.longest);
    return -1;
}

int recommend_open(Recommender *r, Llm *llm, const Tokenizer *t, const PromptStyle *style, const Catalogue *catalogue,
                   const RecommendOptions *o, Err *err) {
    *r = (Recommender){.catalogue = catalogue, .o = *o};
    if (o->k < 1 || o->k > o->beams)
        return err_set(err, ERR_USAGE, "%d items are asked for, %d beams find at most as many as they are", o->k, o->beams);
    const BeamOptions beam = beam_options(o);
    size_t tail = beam_slots(&catalogue->trie, &beam, 1);
    if (tail > INT32_MAX)
        return err_set(err, ERR_USAGE, "%d beams of up to %d tokens need too many cache slots", o->beams,
                       catalogue->trie.longest);
    const int longest = catalogue->trie.longest, crowds = recommend_crowds(llm, longest);
    if (reader_open(&r->reader, llm, t, style, o->users, PROMPT_RECOMMEND_TOKENS, (int)tail, longest, err))
        return crowds ? err_prefix(err, "item %s, an answer of %d tokens", longest_item(catalogue), longest) : -1;
    if (crowds)
        log_warn(
            "item %s is an answer of %d tokens: it leaves %d of %d positions for prompts, which lose their beginning beyond",
            longest_item(catalogue), longest, r->reader.room, llm->rope.positions);
    r->reader.prefixes = o->prefixes;
    r->place = mem_zalloc((size_t)o->users, sizeof *r->place);
    if (o->guide) guide_open(&r->guide, o->guide, catalogue, o->users);
    return 0;
}

void recommend_close(Recommender *r) {
    for (int u = 0; r->place && u < r->o.users; u++) free(r->place[u].open);
    free(r->place);
    beam_close(r->search);
    guide_close(&r->guide);
    reader_close(&r->reader);
    *r = (Recommender){0};
}

// The leaves of the items that the wish leaves, but for those of the history where it excludes what was seen.
static uint8_t *open_leaves(const Catalogue *c, const RecommendWish *w, const History *h) {
    uint8_t *leaf = mem_zalloc((size_t)c->trie.leaves, 1);
    for (int i = 0; i < c->items->n; i++)
        if ((!w->allowed || w->allowed[i]) && !c->items->removed[i]) leaf[c->leaf[i]] = 1;
    for (int i = 0; w->exclude_seen && i < h->n; i++) {
        const int seen = catalogue_history_leaf(c, h, i);
        if (seen >= 0) leaf[seen] = 0;
    }
    return leaf;
}

// The nodes below which such a leaf lies. Children have greater numbers than their parents, and stubs stand in the order of
// their leaves.
static uint8_t *open_nodes(const Catalogue *c, const RecommendWish *w, const History *h) {
    const Trie *t = &c->trie;
    uint8_t *open = mem_alloc((size_t)t->nodes, 1), *leaf = open_leaves(c, w, h);
    for (int n = t->nodes - 1, l = t->leaves; n >= 0; n--) {
        const int first = t->first_child[n], end = t->first_child[n + 1];
        open[n] = first == end ? leaf[--l] : 0;
        for (int child = first; child < end; child++) open[n] |= open[child];
    }
    free(leaf);
    return open;
}

// Where the answer of user u of a group begins.
static BeamStart start_of(const Recommender *r, RecommendPlace *p, const History *h, int u, int node) {
    BeamStart start = {.node = node, .beams = p->wish.beams, .mass = r->o.guide ? guide_mass(&r->guide, u) : NULL};
    if (p->wish.allowed || p->wish.exclude_seen) start.open = p->open = open_nodes(r->catalogue, &p->wish, h);
    return start;
}

// The first item of a leaf that the wish allows.
static int item_of(const Catalogue *c, const RecommendWish *w, int leaf) {
    int item = c->trie.leaf_item[leaf];
    if (w->allowed)
        while (!w->allowed[item] || c->leaf[item] != leaf || c->items->removed[item]) item++;
    return item;
}

static void leave(Recommender *r, int place) {
    RecommendPlace *p = &r->place[place];
    free(p->open);
    *p = (RecommendPlace){0};
    if (--r->joined > 0) return;
    reader_end(&r->reader); // nothing of the session is needed any more
    r->rows_most = 0;       // what comes next does not depend on what was
}

// The rows of beams that were given up and of users who have left make room where the caches, which are as large as the longest
// prompts and widest searches of all places, are spent; and long before, so that no more memory is touched than is of use.
static void make_room(Recommender *r, size_t slots) {
    enum { PLACE_ROWS = 512 };
    const Session *s = &r->reader.session;
    if (s->slots_used <= r->rows_most && (size_t)s->slots_used + slots <= (size_t)s->slots) return;
    beam_compact(r->search, r->reader.clean);
    const int least = r->reader.clean.slots_used + PLACE_ROWS * r->o.users;
    r->rows_most = 2 * s->slots_used > least ? 2 * s->slots_used : least;
}

void recommend_make_room(Recommender *r) {
    if (r->joined) make_room(r, (size_t)(r->reader.room + r->reader.session.llm->config.thoughts));
}

int recommend_join(Recommender *r, const History *history, const RecommendWish *wish, int users, int *place, Err *err) {
    const RecommendOptions *o = &r->o;
    Session *s = &r->reader.session;
    CHECK(r->joined + users <= o->users && !(o->guide && r->joined));
    const BeamOptions beam = beam_options(o);
    if (!r->search) r->search = beam_open(s, &r->catalogue->trie, &beam, o->users, &r->stats);
    if (o->guide && guide_users(&r->guide, history, users, o->exclude_seen, err)) return -1;
    make_room(r, (size_t)users * (size_t)(r->reader.room + s->llm->config.thoughts));
    const SessionMark before = session_mark(s);
    int *node = ARENA_NEW(&s->host, int, users);
    if (reader_histories(&r->reader, history, users, node, err)) {
        session_reset(s, before);
        return -1;
    }
    for (int u = 0; u < users; u++) {
        CHECK(wish[u].k > 0 && wish[u].k <= wish[u].beams && wish[u].k <= o->k);
        RecommendPlace p = {.wish = wish[u]};
        const BeamStart start = start_of(r, &p, &history[u], u, node[u]);
        place[u] = beam_add(r->search, &start);
        r->place[place[u]] = p;
    }
    r->joined += users;
    reader_drop_scratch(s, before);
    return 0;
}

int recommend_step(Recommender *r) {
    make_room(r, beam_step_slots(r->search));
    return beam_step(r->search);
}

int recommend_take(Recommender *r, int place, Recommendation *out, int *found, Err *err) {
    const RecommendWish *w = &r->place[place].wish;
    int64_t illegal;
    BeamHit *hit = mem_alloc((size_t)w->beams, sizeof *hit);
    const int n = beam_take(r->search, place, hit, &illegal);
    if (n >= 0) *found = n < w->k ? n : w->k;
    for (int i = 0; n >= 0 && i < *found; i++) out[i] = (Recommendation){item_of(r->catalogue, w, hit[i].leaf), hit[i].score};
    free(hit);
    if (n < 0) return 0;
    leave(r, place);
    if (illegal == 0) return 1;
    return err_set(err, ERR_DATA, "%lld beams left the catalogue or have no finite score", (long long)illegal);
}

void recommend_drop(Recommender *r, int place) {
    beam_drop(r->search, place);
    leave(r, place);
}

int recommend_wishes(Recommender *r, const History *history, const RecommendWish *wish, int users, Recommendation *out,
                     int *found, Err *err) {
    int *place = mem_alloc((size_t)users, sizeof *place);
    int status = recommend_join(r, history, wish, users, place, err);
    while (status == 0 && recommend_step(r) > 0) {
    }
    for (int u = 0, joined = status == 0; joined && u < users; u++)
        if (recommend_take(r, place[u], out + (size_t)u * (size_t)r->o.k, &found[u], err) < 0) status = -1;
    free(place);
    return status;
}

int recommend_users(Recommender *r, const History *history, int users, Recommendation *out, int *found, Err *err) {
    const RecommendWish all = {.beams = r->o.beams, .k = r->o.k, .exclude_seen = r->o.exclude_seen};
    RecommendWish *wish = mem_alloc((size_t)users, sizeof *wish);
    for (int u = 0; u < users; u++) wish[u] = all;
    const int status = recommend_wishes(r, history, wish, users, out, found, err);
    free(wish);
    return status;
}

static int rank(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    return recommend_users(self, h, users, out, found, err);
}

Ranker recommend_ranker(Recommender *r) {
    return (Ranker){.self = r,
                    .items = r->catalogue->items,
                    .users = r->o.users,
                    .k = r->o.k,
                    .by_text = r->reader.style.index_answers,
                    .seen_by_item = r->o.exclude_seen && r->reader.style.index_answers,
                    .rank = rank};
}
