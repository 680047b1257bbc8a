#include "rec/recommend.h"

#include <string.h>

static BeamOptions beam_options(const RecommendOptions *o) {
    return (BeamOptions){.beams = o->beams,
                         .length_penalty = o->length_penalty,
                         .chain_ahead = o->chain_ahead,
                         .skip_ghosts = o->skip_ghosts,
                         .guidance = o->guidance};
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
    if (reader_open(&r->reader, llm, t, style, o->users, PROMPT_RECOMMEND_TOKENS, (int)tail, catalogue->trie.longest, err))
        return -1;
    r->reader.prefixes = o->prefixes;
    if (o->guide) guide_open(&r->guide, o->guide, catalogue, o->users);
    return 0;
}

void recommend_close(Recommender *r) {
    guide_close(&r->guide);
    reader_close(&r->reader);
    *r = (Recommender){0};
}

// The nodes below which an allowed item lies. Children have greater numbers than their parents, and stubs stand in the order
// of their leaves.
static const uint8_t *open_nodes(const Catalogue *c, const uint8_t *allowed, Arena *host) {
    const Trie *t = &c->trie;
    uint8_t *open = ARENA_NEW(host, uint8_t, t->nodes), *leaf = ARENA_NEW(host, uint8_t, t->leaves);
    memset(leaf, 0, (size_t)t->leaves);
    for (int i = 0; i < c->items->n; i++)
        if (allowed[i] && !c->items->removed[i]) leaf[c->leaf[i]] = 1;
    for (int n = t->nodes - 1, l = t->leaves; n >= 0; n--) {
        const int first = t->first_child[n], end = t->first_child[n + 1];
        open[n] = first == end ? leaf[--l] : 0;
        for (int child = first; child < end; child++) open[n] |= open[child];
    }
    return open;
}

// Where the answer of user u begins, without the leaves of the items that are known already.
static BeamStart start_of(Recommender *r, const History *h, const RecommendWish *w, int u, int node) {
    Arena *host = &r->reader.session.host;
    BeamStart start = {.node = node, .beams = w->beams, .mass = r->o.guide ? guide_mass(&r->guide, u) : NULL};
    if (w->allowed) start.open = open_nodes(r->catalogue, w->allowed, host);
    if (!w->exclude_seen) return start;
    int32_t *skip = ARENA_NEW(host, int32_t, h->n);
    start.skip = skip;
    for (int i = 0; i < h->n; i++) {
        int leaf = catalogue_history_leaf(r->catalogue, h->title[i], h->item_id ? h->item_id[i] : NULL);
        if (leaf >= 0) skip[start.skips++] = leaf;
    }
    return start;
}

// The first item of a leaf that the wish allows.
static int item_of(const Catalogue *c, const RecommendWish *w, int leaf) {
    int item = c->trie.leaf_item[leaf];
    if (w->allowed)
        while (!w->allowed[item] || c->leaf[item] != leaf || c->items->removed[item]) item++;
    return item;
}

int recommend_wishes(Recommender *r, const History *history, const RecommendWish *wish, int users, Recommendation *out,
                     int *found, Err *err) {
    const RecommendOptions *o = &r->o;
    Arena *host = &r->reader.session.host;
    const BeamOptions beam = beam_options(o);
    const int64_t illegal = r->stats.illegal;
    if (o->guide && guide_users(&r->guide, history, users, o->exclude_seen, err)) return -1;
    int *node = ARENA_NEW(host, int, users);
    if (reader_histories(&r->reader, history, users, node, err)) return -1;
    BeamStart *start = ARENA_NEW(host, BeamStart, users);
    BeamHit *hit = ARENA_NEW(host, BeamHit, (size_t)users * (size_t)o->beams);
    for (int u = 0; u < users; u++) {
        CHECK(wish[u].k > 0 && wish[u].k <= wish[u].beams && wish[u].k <= o->k);
        start[u] = start_of(r, &history[u], &wish[u], u, node[u]);
    }
    beam_search(&r->reader.session, &r->catalogue->trie, &beam, start, users, hit, found, &r->stats);
    for (int u = 0; u < users; u++) {
        if (found[u] > wish[u].k) found[u] = wish[u].k;
        for (int i = 0; i < found[u]; i++) {
            BeamHit h = hit[(size_t)u * (size_t)o->beams + (size_t)i];
            out[(size_t)u * (size_t)o->k + (size_t)i] = (Recommendation){item_of(r->catalogue, &wish[u], h.leaf), h.score};
        }
    }
    reader_end(&r->reader);
    if (r->stats.illegal > illegal)
        return err_set(err, ERR_DATA, "%lld beams left the catalogue or have no finite score",
                       (long long)(r->stats.illegal - illegal));
    return 0;
}

int recommend_users(Recommender *r, const History *history, int users, Recommendation *out, int *found, Err *err) {
    const RecommendWish all = {.beams = r->o.beams, .k = r->o.k, .exclude_seen = r->o.exclude_seen};
    RecommendWish *wish = ARENA_NEW(&r->reader.session.host, RecommendWish, users);
    for (int u = 0; u < users; u++) wish[u] = all;
    return recommend_wishes(r, history, wish, users, out, found, err);
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
                    .rank = rank};
}
