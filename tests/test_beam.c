// Beam search against PyTorch's golden lists, against a literal search without caches, and against scoring every item.
#include "base/rng.h"
#include "fixture.h"
#include "rec/explain.h"
#include "rec/score.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

static RecommendOptions options(int beams, float length_penalty, int users) {
    return (RecommendOptions){.beams = beams, .k = beams, .users = users, .length_penalty = length_penalty};
}

// Lists of the first n golden rows, `users` at a time.
static BeamStats search(Fixture *f, RecommendOptions o, int n, Recommendation *out, int *found) {
    Err err = {0};
    Recommender r;
    OK(recommend_open(&r, &f->g.llm, f->tokenizer, &f->style, &f->catalogue, &o, &err));
    for (int i = 0; i < n; i += o.users) {
        int users = n - i < o.users ? n - i : o.users;
        OK(recommend_users(&r, f->history + i, users, out + (size_t)i * (size_t)o.k, found + i, &err));
    }
    BeamStats stats = r.stats;
    assert_int_equal(stats.illegal, 0);
    assert_int_equal(r.reader.session.slots_used, r.reader.clean.slots_used); // every slot was given back
    assert_int_equal(r.reader.session.device.used_bytes, r.reader.clean.device);
    recommend_close(&r);
    return stats;
}

static void assert_same_lists(const Recommendation *a, const Recommendation *b, int n, double tolerance) {
    for (int i = 0; i < n; i++) {
        assert_int_equal(a[i].item, b[i].item);
        golden_close(a[i].score, b[i].score, tolerance, "score", i);
    }
}

static void check_golden(Fixture *f, float length_penalty) {
    enum { W = 10, N = 3 };
    RecommendOptions o = options(W, length_penalty, N);
    Recommendation list[N * W];
    int found[N];
    search(f, o, N, list, found);
    for (int row = 0; row < N; row++) {
        json_t *want =
            json_object_get(fixture_row(f, row), length_penalty > 0 ? "beam_length_penalty_1" : "beam_length_penalty_0");
        assert_int_equal(found[row], W);
        assert_int_equal(json_array_size(want), W);
        for (int i = 0; i < W; i++) {
            json_t *hit = json_array_get(want, (size_t)i);
            assert_string_equal(f->items.title[list[row * W + i].item], json_string_value(json_object_get(hit, "title")));
            golden_close(list[row * W + i].score, json_number_value(json_object_get(hit, "score")), 1e-3, "score", i);
        }
    }
}

static void test_golden(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++) {
        Fixture f;
        fixture_open(&f, folders[m], 1);
        check_golden(&f, 1);
        check_golden(&f, 0);
        fixture_close(&f);
    }
}

// ---- every item scored -----------------------------------------------------------------------------------------------

// score (items) of every title for golden row `row`.
static void score_all(Fixture *f, int row, float length_penalty, double *score) {
    Err err = {0};
    enum { AT_ONCE = 27 };
    Reader r;
    Examples e = {.n = f->items.n, .example = calloc((size_t)f->items.n, sizeof(Example))};
    Ints ids = {0};
    size_t *offset = calloc((size_t)f->items.n + 1, sizeof *offset);
    for (int i = 0; i < f->items.n; i++) {
        OK(prompt_answer(&ids, f->tokenizer, &f->style, f->items.title[i], NULL, &err));
        offset[i + 1] = ids.len;
    }
    for (int i = 0; i < e.n; i++) {
        e.example[i] = f->g.examples.example[row];
        e.example[i].shared = 0;
        e.example[i].answer = ids.data + offset[i];
        e.example[i].answer_len = (int)(offset[i + 1] - offset[i]);
    }
    // golden.h shares what all prompts have in common: put it back
    Ints prompt = {0};
    ints_append(&prompt, f->g.examples.common.ids.data, f->g.examples.common.ids.len);
    ints_append(&prompt, f->g.examples.example[row].prompt, (size_t)f->g.examples.example[row].prompt_len);
    for (int i = 0; i < e.n; i++) e.example[i].prompt = prompt.data, e.example[i].prompt_len = (int)prompt.len;
    OK(score_open(&r, &f->g.llm, f->tokenizer, &f->style, AT_ONCE, PROMPT_TRAIN_TOKENS, &err));
    for (int i = 0; i < e.n; i += AT_ONCE) {
        RowScore part[AT_ONCE];
        int n = e.n - i < AT_ONCE ? e.n - i : AT_ONCE;
        score_examples(&r, &e, i, n, part);
        for (int j = 0; j < n; j++) score[i + j] = part[j].logprob / pow(part[j].tokens, (double)length_penalty);
    }
    reader_close(&r);
    free(e.example), free(offset);
    ints_free(&ids), ints_free(&prompt);
}

static void check_exhaustive(Fixture *f, int row, float length_penalty) {
    int n = f->items.n;
    double *want = calloc((size_t)n, sizeof *want);
    Recommendation *list = calloc((size_t)n * (size_t)(row + 1), sizeof *list);
    int found[8];
    score_all(f, row, length_penalty, want);
    search(f, options(n, length_penalty, 1), row + 1, list, found);
    const Recommendation *mine = list + (size_t)row * (size_t)n;
    assert_int_equal(found[row], n);
    for (int i = 0; i < n; i++) {
        golden_close(mine[i].score, want[mine[i].item], 1e-3, "score of an item", mine[i].item);
        if (i > 0) assert_true(mine[i - 1].score >= mine[i].score && mine[i - 1].item != mine[i].item);
    }
    free(want), free(list);
}

static void test_exhaustive(void **state) {
    (void)state;
    Fixture f;
    fixture_open(&f, folders[0], 1);
    check_exhaustive(&f, 1, 1);
    check_exhaustive(&f, 0, 0);
    fixture_close(&f);
    fixture_open(&f, folders[1], 0); // no thought: beams begin behind the prompt
    check_exhaustive(&f, 0, 0.5f);
    fixture_close(&f);
}

// An answer that sees the thoughts alone: beams find what scoring finds, and whose thought is zero gets everybody's list.
static void test_answer_sees_thought(void **state) {
    (void)state;
    enum { W = 5, N = 3 };
    Err err = {0};
    Fixture f;
    fixture_open(&f, folders[0], 2);
    float *zero = calloc((size_t)N * (size_t)f.g.llm.config.D, sizeof *zero);
    f.g.llm.config.answer_sees_thought = 1;
    check_exhaustive(&f, 1, 1);
    f.g.llm.config.thoughts = 1;
    check_exhaustive(&f, 0, 0);
    for (int alone = 0; alone < 2; alone++) {
        const RecommendOptions o = options(W, 1, N);
        Recommendation list[N * W];
        Recommender r;
        int found[N], same = 0;
        f.g.llm.config.answer_sees_thought = alone;
        OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
        r.reader.thoughts.given = zero;
        OK(recommend_users(&r, f.history, N, list, found, &err));
        for (int i = W; i < N * W; i++)
            same += list[i].item == list[i % W].item && fabsf(list[i].score - list[i % W].score) < 1e-4f;
        assert_true(alone ? same == (N - 1) * W : same < (N - 1) * W);
        recommend_close(&r);
    }
    free(zero);
    fixture_close(&f);
}

// ---- a literal search ------------------------------------------------------------------------------------------------

// The reference's search, word by word: every hypothesis is run through the model from its first answer token at each step, and
// all continuations are sorted. Slow, and shares nothing with rec/beam.c but the trie.
typedef struct Hypothesis {
    double total;
    int32_t ids[256];
    int n, at, order;
} Hypothesis;

static int by_total(const void *a, const void *b) {
    const Hypothesis *x = a, *y = b;
    if (x->total != y->total) return x->total > y->total ? -1 : 1;
    return x->order - y->order;
}

static int literal_grow(Session *s, const Trie *t, int start, const Hypothesis *live, int lives, Hypothesis *grown) {
    int n = 0;
    for (int i = 0; i < lives; i++) {
        SessionMark mark = session_mark(s);
        int node = start, first = trie_first(t, live[i].at), children = trie_children(t, live[i].at);
        if (live[i].n > 0) {
            Segment g;
            segment_begin(s, &g, 1, live[i].n);
            node = segment_add(s, &g, start, live[i].ids, live[i].n);
            segment_forward(s, &g, NULL, 0);
        }
        int32_t slot[512];
        float logp[512];
        assert_true(children <= 512);
        for (int c = 0; c < children; c++) slot[c] = session_last(s, node);
        head_logprob(s, slot, t->token + first, children, logp, NULL);
        for (int c = 0; c < children; c++, n++) {
            grown[n] = live[i];
            grown[n].total += (double)logp[c];
            grown[n].ids[grown[n].n++] = t->token[first + c];
            grown[n].at = first + c;
            grown[n].order = n;
        }
        session_reset(s, mark);
    }
    qsort(grown, (size_t)n, sizeof *grown, by_total);
    return n;
}

static int literal_search(Session *s, const Trie *t, int start, int W, double penalty, Hypothesis *done) {
    Hypothesis *live = calloc((size_t)W, sizeof *live), *grown = calloc(4096, sizeof *grown);
    int lives = 1, dones = 0;
    while (lives > 0) {
        int n = literal_grow(s, t, start, live, lives, grown);
        lives = 0;
        for (int rank = 0; rank < n && rank < 2 * W; rank++) {
            if (trie_children(t, grown[rank].at) > 0) {
                if (lives < W) live[lives++] = grown[rank];
            } else if (rank < W) {
                done[dones] = grown[rank];
                done[dones].total /= pow(grown[rank].n, penalty);
                done[dones].order = dones;
                dones++;
            }
        }
        qsort(done, (size_t)dones, sizeof *done, by_total);
        if (dones > W) dones = W;
        for (int i = 0; i < dones; i++) done[i].order = i;
        if (dones == W && lives > 0 && done[W - 1].total >= live[0].total / pow(live[0].n, penalty)) break;
    }
    free(live), free(grown);
    return dones;
}

static void check_literal(Fixture *f, int row, int W, float penalty) {
    Err err = {0};
    RecommendOptions o = options(W, penalty, 1);
    Recommendation list[32];
    Hypothesis *want = calloc((size_t)(3 * W), sizeof *want);
    int found, node;
    Recommender r;
    OK(recommend_open(&r, &f->g.llm, f->tokenizer, &f->style, &f->catalogue, &o, &err));
    OK(recommend_users(&r, f->history + row, 1, list, &found, &err));
    OK(reader_histories(&r.reader, f->history + row, 1, &node, &err));
    int n = literal_search(&r.reader.session, &f->catalogue.trie, node, W, (double)penalty, want);
    assert_int_equal(found, n);
    for (int i = 0; i < n; i++) {
        int leaf = trie_find(&f->catalogue.trie, want[i].ids, (size_t)want[i].n);
        assert_int_equal(list[i].item, f->catalogue.trie.leaf_item[leaf]);
        golden_close(list[i].score, want[i].total, 2e-4 * fmax(1, fabs(want[i].total) / 10), "literal score", i);
    }
    recommend_close(&r);
    free(want);
}

static void test_literal(void **state) {
    (void)state;
    const float penalty[] = {0, .5f, 1};
    const int width[] = {1, 2, 5, 16};
    for (int m = 0; m < 2; m++) {
        Fixture f;
        fixture_open(&f, folders[m], m); // with and without a thought
        for (int p = 0; p < 3; p++)
            for (int w = 0; w < 4; w++) check_literal(&f, (p + w) % f.rows, width[w], penalty[p]);
        fixture_close(&f);
    }
}

// Short random sequences: answers of many lengths end at every step and at every rank, which long titles seldom do.
static void random_trie(Trie *t, uint64_t round, const ModelConfig *c) {
    Ints ids = {0};
    uint64_t at = 0, letters = 2 + rng_below(round, RNG_SYNTHETIC, at++, 5);
    int n = 4 + (int)rng_below(round, RNG_SYNTHETIC, at++, 40);
    size_t offset[64] = {0};
    for (int i = 0; i < n; i++) {
        size_t len = rng_below(round, RNG_SYNTHETIC, at++, 6);
        for (size_t p = 0; p < len; p++) ints_push(&ids, 20 + (int32_t)rng_below(round, RNG_SYNTHETIC, at++, letters) * 90);
        ints_push(&ids, c->eos_id);
        offset[i + 1] = ids.len;
    }
    assert_int_equal(trie_build(t, ids.data, offset, n, c->eos_id, NULL), 0);
    ints_free(&ids);
}

static void check_random(Fixture *f, Reader *r, uint64_t round) {
    Err err = {0};
    Trie t;
    uint32_t draw[4];
    rng_block(draw, round, RNG_SYNTHETIC, 1 << 20);
    BeamOptions o = {.beams = 1 + (int)(draw[0] % 6), .length_penalty = (float)(draw[1] % 5) * .5f};
    BeamStats stats = {0};
    BeamHit hit[8];
    Hypothesis *want = calloc(32, sizeof *want);
    int found, node;
    random_trie(&t, round, &f->g.llm.config);
    OK(reader_histories(r, f->history + round % (uint64_t)f->rows, 1, &node, &err));
    beam_search(&r->session, &t, &o, &(BeamStart){.node = node}, 1, hit, &found, &stats);
    int n = literal_search(&r->session, &t, node, o.beams, (double)o.length_penalty, want);
    reader_end(r);
    assert_int_equal(found, n);
    assert_true((size_t)stats.rows <= beam_slots(&t, &o, 1));
    for (int i = 0; i < n; i++) {
        assert_int_equal(hit[i].leaf, trie_find(&t, want[i].ids, (size_t)want[i].n));
        assert_int_equal(hit[i].tokens, want[i].n);
        golden_close(hit[i].score, want[i].total, 1e-4, "score", i);
    }
    trie_free(&t);
    free(want);
}

static void test_random_tries(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    Reader r;
    fixture_open(&f, folders[1], 1);
    OK(reader_open(&r, &f.g.llm, f.tokenizer, &f.style, 1, 512, 400, 8, &err));
    for (uint64_t round = 0; round < 100; round++) check_random(&f, &r, round);
    reader_close(&r);
    // Where all tokens are equally likely everything ties: the order in which continuations come decides.
    ops_zero(f.g.ops, (float *)f.g.llm.norm.weight, (size_t)f.g.llm.config.D * sizeof(float));
    OK(reader_open(&r, &f.g.llm, f.tokenizer, &f.style, 1, 512, 400, 8, &err));
    for (uint64_t round = 0; round < 30; round++) check_random(&f, &r, round);
    reader_close(&r);
    fixture_close(&f);
}

// ---- the same answer, whatever the way ------------------------------------------------------------------------------

enum { SAME_W = 7, SAME_ROWS = 6 };

// Tokens that nothing competes with are run ahead: a search takes far fewer calls than its longest title has tokens.
static void test_calls(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    Reader r;
    fixture_open(&f, folders[0], 1);
    const Trie *t = &f.catalogue.trie;
    const BeamOptions o = {.beams = SAME_W, .length_penalty = 1};
    OK(reader_open(&r, &f.g.llm, f.tokenizer, &f.style, 1, 512, (int)beam_slots(t, &o, 1), t->longest, &err));
    for (int row = 0; row < SAME_ROWS; row++) {
        BeamStats stats = {0};
        BeamHit hit[SAME_W];
        int found, node, longest = 0;
        OK(reader_histories(&r, f.history + row, 1, &node, &err));
        beam_search(&r.session, t, &o, &(BeamStart){.node = node}, 1, hit, &found, &stats);
        reader_end(&r);
        for (int i = 0; i < found; i++) longest = hit[i].tokens > longest ? hit[i].tokens : longest;
        print_message("%lld calls of %.1f rows; titles of up to %d tokens\n", (long long)stats.steps,
                      (double)stats.rows / (double)stats.steps, longest);
        assert_true(stats.steps > 1 && stats.steps < longest * 2 / 3);
    }
    reader_close(&r);
    fixture_close(&f);
}

static void test_together(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++) {
        Fixture f;
        fixture_open(&f, folders[m], 2); // two thoughts
        Recommendation alone[SAME_ROWS * SAME_W], together[SAME_ROWS * SAME_W];
        int found[SAME_ROWS], again[SAME_ROWS];
        search(&f, options(SAME_W, 1, 1), SAME_ROWS, alone, found);
        for (int users = 2; users <= SAME_ROWS; users += 2) {
            search(&f, options(SAME_W, 1, users), SAME_ROWS, together, again);
            assert_memory_equal(found, again, sizeof found);
            assert_same_lists(alone, together, SAME_ROWS * SAME_W, 1e-5);
        }
        fixture_close(&f);
    }
}

// A session that has served before gives the same bits.
static void test_again(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    fixture_open(&f, folders[0], 1);
    Recommendation first[SAME_W * 2], second[SAME_W * 2];
    int found[2];
    Recommender r;
    RecommendOptions o = options(SAME_W, 1, 2);
    OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
    OK(recommend_users(&r, f.history, 2, first, found, &err));
    OK(recommend_users(&r, f.history + 2, 1, second, found, &err));
    OK(recommend_users(&r, f.history, 2, second, found, &err));
    assert_memory_equal(first, second, sizeof first);
    recommend_close(&r);
    fixture_close(&f);
}

// ---- leaves that are not wanted ---------------------------------------------------------------------------------------

// Titles of the history that are not to come back: the lists, also of narrow searches, are those of a catalogue without them.
static void test_exclude_seen(void **state) {
    (void)state;
    enum { W = 3, SEEN = 6 }; // the best, and others
    for (int ghosts = 0; ghosts <= 1; ghosts++) {
        Fixture f;
        Catalogue less;
        Recommender r;
        Err err = {0};
        fixture_open(&f, folders[0], 1);
        Recommendation all[W], list[W], expected[W];
        int found, n, again = 0;
        RecommendOptions o = options(W, 1, 1);
        o.skip_ghosts = ghosts;
        search(&f, o, 1, all, &found);
        const char *title[SEEN];
        for (int i = 0; i < W; i++) title[i] = f.items.title[all[i].item];
        for (int i = W; i < SEEN; i++) title[i] = f.items.title[i * 3];
        const History h = {.title = title, .n = SEEN};
        o.exclude_seen = 1;
        OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
        OK(recommend_users(&r, &h, 1, list, &found, &err));
        recommend_close(&r);
        for (int i = 0, changed; i < f.items.n; i++)
            for (int j = 0; j < SEEN; j++)
                if (!strcmp(f.items.title[i], title[j])) OK(items_remove(&f.items, &f.items.id[i], 1, &changed, &err));
        OK(catalogue_open(&less, &f.items, f.tokenizer, &f.style, NULL, &err));
        o.exclude_seen = 0;
        OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &less, &o, &err));
        OK(recommend_users(&r, &h, 1, expected, &n, &err));
        recommend_close(&r);
        assert_int_equal(found, W);
        assert_int_equal(n, W);
        assert_same_lists(list, expected, W, 1e-4);
        for (int i = 0; i < W; i++)
            for (int j = 0; j < SEEN; j++) again += !strcmp(f.items.title[list[i].item], title[j]);
        assert_int_equal(again, 0);
        catalogue_free(&less);
        fixture_close(&f);
    }
}

// ---- prompts -----------------------------------------------------------------------------------------------------------

// Users with wishes of their own: the allowed items alone, in the order that scoring all of them gives; fewer beams than
// others.
static void test_wishes(void **state) {
    (void)state;
    Fixture f;
    Err err = {0};
    Recommender r;
    fixture_open(&f, folders[0], 1);
    enum { USERS = 3 };
    const int n = f.items.n;
    RecommendOptions o = options(n, 1, USERS);
    Recommendation *all = calloc((size_t)n * USERS, sizeof *all), *out = calloc((size_t)n * USERS, sizeof *out);
    uint8_t *allowed = calloc((size_t)n, 1);
    int found[USERS], alone[USERS];
    for (int i = 0; i < n; i += 3) allowed[i] = 1;
    search(&f, o, USERS, all, found);
    OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
    const RecommendWish wish[USERS] = {{.beams = n, .k = n, .allowed = allowed}, {.beams = 4, .k = 2}, {.beams = n, .k = 5}};
    OK(recommend_wishes(&r, f.history, wish, USERS, out, alone, &err));
    int k = 0;
    for (int i = 0; i < found[0]; i++)
        if (allowed[all[i].item]) {
            assert_int_equal(out[k].item, all[i].item);
            golden_close(out[k++].score, all[i].score, 1e-4, "score of an allowed item", i);
        }
    assert_true(k > 3 && alone[0] == k && alone[1] == 2 && alone[2] == 5);
    assert_same_lists(out + 2 * n, all + 2 * n, 5, 1e-4);
    recommend_close(&r);
    o = options(4, 1, 1); // a search of four beams among wider ones is one of four beams
    OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
    OK(recommend_users(&r, f.history + 1, 1, all, found, &err));
    assert_same_lists(out + n, all, 2, 1e-4);
    recommend_close(&r);
    free(all), free(out), free(allowed);
    fixture_close(&f);
}

// The weights of the titles and of what is between them are those of all tokens; a title that comes back counts at its place.
static void test_explain(void **state) {
    (void)state;
    for (int thoughts = 0; thoughts <= 2; thoughts++) {
        Fixture f;
        Err err = {0};
        Recommender r;
        fixture_open(&f, folders[0], thoughts);
        const RecommendOptions o = options(5, 1, 1);
        OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
        const char *titles[12];
        for (int i = 0; i < 12; i++) titles[i] = f.items.title[i % 4];
        const History h = {.title = titles, .n = 12};
        float weight[12], rest, sum = 0;
        assert_int_equal(explain_history(&r.reader, &h, weight, &rest, &err), thoughts > 0);
        for (int i = 0; i < 12 && thoughts; i++) {
            assert_true(i < 2 ? weight[i] == 0 : weight[i] > 0); // the first two are not in the prompt
            sum += weight[i];
        }
        if (thoughts) golden_close(sum + rest, 1, 1e-5, "sum of the weights", thoughts);
        if (thoughts) assert_true(rest > 0);
        assert_int_equal(r.reader.session.slots_used, r.reader.clean.slots_used);
        f.g.llm.config.thought_window = 1; // the last token is no title's
        if (thoughts == 1) {
            assert_int_equal(explain_history(&r.reader, &h, weight, &rest, &err), 1);
            golden_close(rest, 1, 1e-5, "weight of the last token", 0);
        }
        recommend_close(&r);
        fixture_close(&f);
    }
}

// Prompts that are known: lists are those without a memory, whether a prompt is known whole, in part, or was pushed out.
static void test_prefixes(void **state) {
    (void)state;
    enum { W = 5, USERS = 3, ROUNDS = 12 };
    for (int kind = 0; kind < 3; kind++) { // without a thought, with one, with one of the first layer's states
        const int thoughts = kind > 0;
        Fixture f;
        Err err = {0};
        Recommender plain, known;
        PrefixCache cache;
        fixture_open(&f, folders[thoughts], thoughts);
        f.g.llm.config.thought_layer = kind == 2; // what the thought is made of is kept too
        RecommendOptions o = options(W, 1, USERS);
        OK(recommend_open(&plain, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
        prefix_open(&cache, 700 * session_row_bytes(&plain.reader.session)); // a few prompts
        o.prefixes = &cache;
        OK(recommend_open(&known, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
        for (int round = 0; round < ROUNDS; round++) {
            const char *titles[USERS][10];
            History h[USERS];
            Recommendation a[USERS * W], b[USERS * W];
            int found_a[USERS], found_b[USERS];
            for (int u = 0; u < USERS; u++) {
                h[u] = (History){.title = titles[u], .n = 1 + (round / 2 + u) % 10}; // each twice, then one longer
                for (int i = 0; i < h[u].n; i++) titles[u][i] = f.items.title[(u * 7 + i) % f.items.n];
            }
            OK(recommend_users(&plain, h, USERS, a, found_a, &err));
            OK(recommend_users(&known, h, USERS, b, found_b, &err));
            for (int u = 0; u < USERS; u++) {
                assert_int_equal(found_a[u], found_b[u]);
                assert_same_lists(a + u * W, b + u * W, found_a[u], 1e-4);
            }
            assert_int_equal(known.reader.session.slots_used, known.reader.clean.slots_used);
        }
        assert_true(cache.found_tokens > cache.asked_tokens / 3 && cache.found_tokens < cache.asked_tokens);
        assert_true(cache.bytes <= cache.most_bytes && cache.entries > 1);
        recommend_close(&plain), recommend_close(&known);
        prefix_close(&cache);
        fixture_close(&f);
    }
}

// Users who join while others are under way, leave early or stay, in a session with room for few: each list is that of the user
// alone, and all slots come back.
static void test_joining(void **state) {
    (void)state;
    enum { W = 6, PLACES = 3, USERS = 24 };
    Fixture f;
    Err err = {0};
    Recommender r, alone;
    fixture_open(&f, folders[0], 1);
    RecommendOptions o = options(W, 1, 1);
    OK(recommend_open(&alone, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
    o.users = PLACES;
    OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
    const int tail = (int)beam_slots(&f.catalogue.trie, &(BeamOptions){.beams = W}, PLACES);
    r.reader.session.slots = r.reader.clean.slots_used + PLACES * 201 + tail; // so rows must move from time to time
    r.reader.room = 200;
    int user[PLACES], place[PLACES], there = 0, next = 0, done = 0, moved = 0, most = 0;
    while (done < USERS) {
        const int before = r.reader.session.slots_used;
        if (there < PLACES && next < USERS && (next % 3 || there < 2)) {
            const RecommendWish wish = {.beams = W, .k = 1 + next % W};
            History h = f.history[next % f.rows];
            if (h.n > 2) h.n = 2;
            OK(recommend_join(&r, &h, &wish, 1, &place[there], &err));
            user[there++] = next++;
        }
        recommend_step(&r);
        moved += r.reader.session.slots_used < before && there > 1;
        if (r.reader.session.slots_used > most) most = r.reader.session.slots_used;
        for (int i = 0; i < there; i++) {
            Recommendation out[W], want[W];
            int found, want_found, status = 0;
            if (user[i] % 7 == 5 && user[i] + 2 < next)
                recommend_drop(&r, place[i]);
            else if ((status = recommend_take(&r, place[i], out, &found, &err)) == 0)
                continue;
            if (status) {
                History h = f.history[user[i] % f.rows];
                if (h.n > 2) h.n = 2;
                OK(recommend_users(&alone, &h, 1, want, &want_found, &err));
                assert_int_equal(status, 1);
                assert_int_equal(found, 1 + user[i] % W);
                assert_same_lists(out, want, found, 1e-4);
            }
            done++, there--;
            user[i] = user[there], place[i] = place[there];
            i--;
        }
    }
    assert_true(moved > 0 && most <= r.reader.session.slots);
    assert_int_equal(r.reader.session.slots_used, r.reader.clean.slots_used);
    assert_int_equal(r.reader.session.nodes, r.reader.clean.nodes);
    recommend_close(&r), recommend_close(&alone);
    fixture_close(&f);
}

static void test_long_history(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    fixture_open(&f, folders[0], 1);
    char *title = calloc(2001, 1);
    for (int i = 0; i < 2000; i++) title[i] = "lorem ipsum dolor "[i % 18];
    const char *titles[2] = {title, f.items.title[0]};
    History both[2] = {{.title = titles, .n = 2}, {.title = titles + 1, .n = 1, .number = 1}};
    RecommendOptions o = options(5, 1, 2);
    Recommender r;
    Recommendation list[10];
    int found[2], node[2];
    OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
    int room = f.g.llm.rope.positions - 1 - f.catalogue.trie.longest;
    assert_int_equal(r.reader.room, room);
    OK(reader_histories(&r.reader, both, 2, node, &err));
    const Session *s = &r.reader.session;
    int prompt = s->node[node[0]].parent, other = s->node[node[1]].parent;
    assert_int_equal(s->node[prompt].parent, -1); // alone, its first tokens gone
    assert_int_equal(s->node[prompt].len, room);
    assert_int_equal(s->node[other].parent, r.reader.node);
    reader_end(&r.reader);
    OK(recommend_users(&r, both, 2, list, found, &err));
    assert_int_equal(found[0], 5);
    assert_int_equal(found[1], 5);
    recommend_close(&r);
    o.k = 6;
    assert_int_equal(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    free(title);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_exhaustive),   cmocka_unit_test(test_answer_sees_thought),
        cmocka_unit_test(test_literal),      cmocka_unit_test(test_random_tries), cmocka_unit_test(test_calls),
        cmocka_unit_test(test_together),     cmocka_unit_test(test_again),        cmocka_unit_test(test_exclude_seen),
        cmocka_unit_test(test_long_history), cmocka_unit_test(test_wishes),       cmocka_unit_test(test_explain),
        cmocka_unit_test(test_prefixes),     cmocka_unit_test(test_joining)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
