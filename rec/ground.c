#include "rec/ground.h"
#include "base/log.h"
#include "base/utf8.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROUND_ROWS = 4096 }; // tokens embedded together

// ---- embeddings --------------------------------------------------------------------------------------------------------

void ground_clean(Str *out, const char *text, size_t len) {
    str_clear(out);
    utf8_replace(out, text, len);
    size_t from = 0, end = out->len;
    while (from < end && isspace((unsigned char)out->data[from])) from++;
    while (end > from && isspace((unsigned char)out->data[end - 1])) end--;
    while (from < end && out->data[from] == '"') from++;
    while (end > from && out->data[end - 1] == '"') end--;
    if (end > from) memmove(out->data, out->data + from, end - from);
    out->len = end - from;
    if (out->data) out->data[out->len] = 0;
}

static int encode(const Ground *g, Ints *ids, const Str *text, int pieces, int limit, Err *err) {
    const Reader *r = &g->reader;
    const size_t from = ids->len;
    if (r->style.bos_id >= 0) ints_push(ids, r->style.bos_id);
    if (prompt_item(ids, r->tokenizer, text->len ? text->data : "", pieces, err)) return -1;
    if (ids->len == from) ints_push(ids, r->style.eos_id);
    if (ids->len > from + (size_t)limit) ids->len = from + (size_t)limit;
    return 0;
}

// The texts ids[offset[i] .. offset[i + 1]) as roots of one segment.
static void embed_together(Ground *g, const Ints *ids, const size_t *offset, int n, float *out) {
    Session *s = &g->reader.session;
    SessionMark begin = session_mark(s);
    int32_t *slot = ARENA_NEW(&s->host, int32_t, n);
    Segment seg;
    segment_begin(s, &seg, n, (int)(offset[n] - offset[0]));
    for (int i = 0; i < n; i++) {
        const int node = segment_add(s, &seg, -1, ids->data + offset[i], (int)(offset[i + 1] - offset[i]));
        slot[i] = session_last(s, node);
    }
    segment_forward(s, &seg, NULL, 0);
    session_hidden(s, slot, n, out);
    session_reset(s, begin);
}

int ground_embed(Ground *g, const Str *text, int n, int pieces, float *out, Err *err) {
    const Session *s = &g->reader.session;
    const size_t D = (size_t)s->llm->config.D;
    const int left = s->slots - s->slots_used, room = left < GROUND_ROWS ? left : GROUND_ROWS;
    const int limit = room < GROUND_TEXT_TOKENS ? room : GROUND_TEXT_TOKENS;
    Ints ids = {0};
    size_t *offset = mem_zalloc((size_t)n + 1, sizeof *offset);
    int status = 0, done = 0;
    for (int i = 0; i < n && status == 0; i++) {
        status = encode(g, &ids, &text[i], pieces, limit < s->llm->rope.positions ? limit : s->llm->rope.positions, err);
        offset[i + 1] = ids.len;
    }
    for (int end = 0; done < n && status == 0; done = end) {
        for (end = done; end < n && offset[end + 1] - offset[done] <= (size_t)room; end++) continue;
        embed_together(g, &ids, offset + done, end - done, out + (size_t)done * D);
    }
    ints_free(&ids);
    free(offset);
    return status;
}

static int embed_items(Ground *g, Err *err) {
    const Catalogue *c = g->catalogue;
    const Items *items = c->items;
    const int by_text = g->reader.style.index_answers, leaves = c->trie.leaves;
    const size_t D = (size_t)g->reader.session.llm->config.D;
    const double start = log_seconds();
    enum { TOGETHER = 1024 };
    Str text[TOGETHER] = {{0}};
    int status = 0;
    for (int first = 0; first < leaves && status == 0; first += TOGETHER)
        for (int pieces = 0; pieces < 2 && status == 0; pieces++) { // titles, then index texts
            int n = 0, leaf[TOGETHER];
            for (int l = first; l < leaves && l < first + TOGETHER; l++) {
                const int item = c->trie.leaf_item[l], has = by_text && items->text[item];
                if (has != pieces) continue;
                const char *of_item = has ? items->text[item] : items->title[item];
                ground_clean(&text[n], of_item, strlen(of_item));
                leaf[n++] = l;
            }
            if (n == 0) continue;
            float *some = mem_alloc((size_t)n * D, sizeof *some);
            status = ground_embed(g, text, n, pieces, some, err);
            for (int i = 0; i < n && status == 0; i++)
                memcpy(g->embedding + (size_t)leaf[i] * D, some + (size_t)i * D, D * sizeof *some);
            free(some);
        }
    for (int i = 0; i < TOGETHER; i++) str_free(&text[i]);
    if (status == 0) log_info("%d texts of items embedded, %.1f s", leaves, log_seconds() - start);
    return status;
}

// ---- open and close ----------------------------------------------------------------------------------------------------

static GenerateOptions generate_options(const Ground *g) {
    return (GenerateOptions){.beams = g->o.beams,
                             .length_penalty = g->o.length_penalty,
                             .tokens = GROUND_ANSWER_TOKENS,
                             .eos_id = g->reader.style.eos_id};
}

int ground_open(Ground *g, Llm *llm, const Tokenizer *t, const PromptStyle *style, const Catalogue *catalogue,
                const GroundOptions *o, Err *err) {
    *g = (Ground){.catalogue = catalogue, .o = *o};
    const size_t D = (size_t)llm->config.D, users = (size_t)o->users;
    const GenerateOptions generate = generate_options(g);
    const size_t tail = generate_slots(&generate, 1);
    if (tail > INT32_MAX)
        return err_set(err, ERR_USAGE, "%d beams of %d tokens need too many cache slots", o->beams, generate.tokens);
    if (reader_open(&g->reader, llm, t, style, o->users, PROMPT_RECOMMEND_TOKENS, (int)tail, GROUND_ANSWER_TOKENS, err))
        return -1;
    g->embedding = mem_alloc((size_t)catalogue->trie.leaves * D, sizeof *g->embedding);
    g->near = mem_alloc((size_t)catalogue->trie.leaves, sizeof *g->near);
    g->written = mem_alloc(users * D, sizeof *g->written);
    g->text = mem_zalloc(users, sizeof *g->text);
    if (o->guide) g->guide = mem_alloc(users * (size_t)catalogue->items->n, sizeof *g->guide);
    return embed_items(g, err);
}

void ground_close(Ground *g) {
    for (int u = 0; g->text && u < g->o.users; u++) str_free(&g->text[u]);
    free(g->embedding), free(g->written), free(g->near), free(g->guide), free(g->text);
    reader_close(&g->reader);
    *g = (Ground){0};
}

// ---- what is written ---------------------------------------------------------------------------------------------------

static int is_special(const Tokenizer *t, int id) {
    const char *token = tokenizer_token(t, id);
    return token && tokenizer_is_added(t, token, strlen(token)) && tokenizer_text_token(t, token, strlen(token)) < 0;
}

// Special tokens are left out, as transformers' skip_special_tokens does.
static void answer_text(const Ground *g, Str *out, int32_t *ids, int n) {
    Str raw = {0};
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (!is_special(g->reader.tokenizer, ids[i])) ids[kept++] = ids[i];
    tokenizer_decode(g->reader.tokenizer, &raw, ids, (size_t)kept);
    for (size_t i = 0; i < raw.len; i++)
        if (!raw.data[i]) raw.data[i] = ' '; // texts end at a NUL byte
    ground_clean(out, raw.data ? raw.data : "", raw.len);
    str_free(&raw);
}

// g->text of these users.
static int write_answers(Ground *g, const History *h, int users, Err *err) {
    Session *s = &g->reader.session;
    const GenerateOptions o = generate_options(g);
    const int64_t illegal = g->stats.illegal;
    int *node = ARENA_NEW(&s->host, int, users), *len = ARENA_NEW(&s->host, int, users);
    int32_t *ids = ARENA_NEW(&s->host, int32_t, (size_t)users * (size_t)o.tokens);
    if (reader_histories(&g->reader, h, users, node, err)) return -1;
    generate_answers(s, &o, node, users, ids, len, &g->stats);
    for (int u = 0; u < users; u++) answer_text(g, &g->text[u], ids + (size_t)u * (size_t)o.tokens, len[u]);
    reader_end(&g->reader);
    if (g->stats.illegal > illegal) return err_set(err, ERR_DATA, "log-probabilities of an answer are not finite");
    return 0;
}

// ---- what is near ------------------------------------------------------------------------------------------------------

static double distance(const float *a, const float *b, size_t D) {
    double sum[4] = {0}; // four sums hide the latency of an addition
    size_t d = 0;
    for (; d + 4 <= D; d += 4)
        for (size_t i = 0; i < 4; i++) {
            const double x = (double)a[d + i] - (double)b[d + i];
            sum[i] += x * x;
        }
    for (; d < D; d++) sum[0] += ((double)a[d] - (double)b[d]) * ((double)a[d] - (double)b[d]);
    return sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

typedef struct Range {
    double least, most;
} Range;

static double normalised(Range r, double x) {
    return r.most > r.least ? (x - r.least) / (r.most - r.least) : 0;
}

static void widen(Range *r, double x) {
    if (x < r->least) r->least = x;
    if (x > r->most) r->most = x;
}

// What is brought to 0..1 of the guide's score.
static double guide_says(const Ground *g, float score) {
    return g->o.guide_counts ? expm1((double)score) : (double)score;
}

// near (leaves) and guide (items) of one user become score (items): minus what the items are ranked by.
static int score_items(const Ground *g, const float *guide, float *score, Err *err) {
    const Catalogue *c = g->catalogue;
    const Items *items = c->items;
    Range near = {INFINITY, -INFINITY}, of_guide = near;
    for (int l = 0; l < c->trie.leaves; l++) {
        if (!isfinite(g->near[l]))
            return err_set(err, ERR_DATA, "the distance of item %s is not finite", items->id[c->trie.leaf_item[l]]);
        widen(&near, g->near[l]);
    }
    for (int i = 0; i < items->n && guide; i++) {
        if (!(guide[i] < INFINITY)) return err_set(err, ERR_DATA, "the guide's score of item %s is not finite", items->id[i]);
        if (!items->removed[i] && guide[i] > -INFINITY) widen(&of_guide, guide_says(g, guide[i]));
    }
    for (int i = 0; i < items->n; i++) {
        const double d = items->removed[i] ? INFINITY : g->near[c->leaf[i]];
        const double says = guide && guide[i] > -INFINITY ? normalised(of_guide, guide_says(g, guide[i])) : 0;
        score[i] = -(float)(guide && isfinite(d) ? normalised(near, d) * pow(1 + says, -(double)g->o.power) : d);
    }
    return 0;
}

int ground_scores(Ground *g, const Str *text, const History *h, int users, float *score, Err *err) {
    const Catalogue *c = g->catalogue;
    const size_t D = (size_t)g->reader.session.llm->config.D, n = (size_t)c->items->n;
    const Ranker *guide = g->o.guide;
    if (ground_embed(g, text, users, g->reader.style.index_answers, g->written, err)) return -1;
    for (int u = 0, end; u < users && guide; u = end) {
        end = u + guide->users < users ? u + guide->users : users;
        if (guide->score(guide->self, h + u, end - u, g->guide + (size_t)u * n, err)) return -1;
    }
    for (size_t u = 0; u < (size_t)users; u++) {
        for (size_t l = 0; l < (size_t)c->trie.leaves; l++) g->near[l] = distance(g->written + u * D, g->embedding + l * D, D);
        if (score_items(g, guide ? g->guide + u * n : NULL, score + u * n, err)) return -1;
    }
    return 0;
}

// All items of the texts that stand in the history.
static void leave_out_seen(const Catalogue *c, const History *h, float *score) {
    uint8_t *seen = mem_zalloc((size_t)c->trie.leaves, 1);
    for (int i = 0; i < h->n; i++) {
        const int leaf = catalogue_history_leaf(c, h, i);
        if (leaf >= 0) seen[leaf] = 1;
    }
    for (int i = 0; i < c->items->n; i++)
        if (c->leaf[i] >= 0 && seen[c->leaf[i]]) score[i] = -INFINITY;
    free(seen);
}

static int rank_score(void *self, const History *h, int users, float *score, Err *err) {
    Ground *g = self;
    if (write_answers(g, h, users, err) || ground_scores(g, g->text, h, users, score, err)) return -1;
    for (int u = 0; u < users && g->o.exclude_seen; u++)
        leave_out_seen(g->catalogue, &h[u], score + (size_t)u * (size_t)g->catalogue->items->n);
    return 0;
}

static int rank_list(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    Ground *g = self;
    const Catalogue *c = g->catalogue;
    const size_t n = (size_t)c->items->n;
    float *score = mem_alloc((size_t)users * n, sizeof *score);
    int status = rank_score(g, h, users, score, err);
    for (int u = 0; u < users && status == 0; u++) {
        float *mine = score + (size_t)u * n;
        for (size_t i = 0; i < n; i++)
            if (!c->items->removed[i] && c->trie.leaf_item[c->leaf[i]] != (int)i) mine[i] = -INFINITY;
        status = ranker_best(mine, (int)n, g->o.k, out + (size_t)u * (size_t)g->o.k, &found[u], err);
    }
    free(score);
    return status;
}

Ranker ground_ranker(Ground *g) {
    return (Ranker){.self = g,
                    .items = g->catalogue->items,
                    .users = g->o.users,
                    .k = g->o.k,
                    .by_text = g->reader.style.index_answers,
                    .seen_by_item = g->o.exclude_seen && g->reader.style.index_answers,
                    .rank = rank_list,
                    .score = rank_score};
}
