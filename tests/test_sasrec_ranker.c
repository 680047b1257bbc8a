// SASRec as a recommender: its scores against every item scored on its own, its lists against those scores in order; items that
// the model does not know, removed ones, seen ones and ties.
#include "rec/sasrec.h"
#include "tiny_sasrec.h"
#include "train/sft.h"

enum { KNOWN = 37, EXTRA = 2, CATALOGUE = KNOWN + EXTRA, REMOVED = 5, USERS = 5, POSITIONS = 7 };

typedef struct World {
    Golden g;
    Items items;
    int32_t token[CATALOGUE]; // item i is the model's token i * 11 % 37; the last two items are not the model's
    const char *id[USERS][16], *title[USERS][16];
    History history[USERS];
} World;

// Items of the users' histories: none; one; the model's length; longer; with items the model does not know, and one twice.
static const int past[USERS][16] = {{-1},
                                    {3, -1},
                                    {9, 8, 7, 6, 4, 3, 2, -1},
                                    {1, 20, 30, 36, 0, 12, 13, 14, 15, 16, -1},
                                    {KNOWN, 11, 12, REMOVED, 11, KNOWN + 1, -1}};

static void world_open(World *w, int thoughts, int hidden) {
    Err err = {0};
    Str text = {0};
    memset(w, 0, sizeof *w);
    tiny_sasrec_open(&w->g, thoughts, hidden, ACTIVATION_RELU, 2);
    for (int i = 0; i < CATALOGUE; i++) str_printf(&text, "Title %d\t%d%s\n", i, 500 + i, i == REMOVED ? "\t\tremoved" : "");
    OK(items_parse(&w->items, text.data, text.len, "info.txt", &err));
    str_free(&text);
    assert_int_equal(w->items.live, CATALOGUE - 1);
    for (int i = 0; i < CATALOGUE; i++) w->token[i] = i < KNOWN ? i * 11 % KNOWN : -1;
    for (int u = 0; u < USERS; u++) {
        int n = 0;
        for (; past[u][n] >= 0; n++) w->id[u][n] = w->items.id[past[u][n]], w->title[u][n] = w->items.title[past[u][n]];
        w->history[u] = (History){.title = w->title[u], .item_id = w->id[u], .n = n, .number = u};
    }
}

static void world_close(World *w) {
    items_free(&w->items);
    tiny_sasrec_close(&w->g);
}

// The log-probability of every item behind a user's last items that the model knows, each as the answer of a prompt of its own.
static void brute_scores(World *w, Session *s, int u, float *score) {
    int32_t prompt[16], answer;
    int n = 0;
    for (int i = 0; past[u][i] >= 0; i++)
        if (w->token[past[u][i]] >= 0) prompt[n++] = w->token[past[u][i]];
    const int skip = n > POSITIONS ? n - POSITIONS : 0;
    for (int i = 0; i < CATALOGUE; i++) {
        const Example x = {.prompt = prompt + skip, .prompt_len = n - skip, .answer = &answer, .answer_len = 1};
        const Examples e = {.n = 1, .example = (Example *)&x, .longest = POSITIONS + 1};
        const uint32_t index = 0;
        score[i] = -INFINITY;
        answer = w->token[i];
        if (i == REMOVED || answer < 0) continue;
        score[i] = n ? (float)-sft_examples(s, &e, &index, 1, 1, 0) : 0;
    }
}

static int was_seen(int u, int item) {
    for (int i = 0; past[u][i] >= 0; i++)
        if (past[u][i] == item) return 1;
    return 0;
}

// The list by its definition: an item's rank is one more than the items that come before it.
static void check_list(int u, const float *score, int exclude, int k, const Recommendation *list, int found) {
    int listed = 0;
    for (int i = 0; i < CATALOGUE; i++) {
        if (score[i] == -INFINITY || (exclude && was_seen(u, i))) continue;
        int rank = 0;
        for (int j = 0; j < CATALOGUE; j++)
            if (score[j] != -INFINITY && !(exclude && was_seen(u, j)))
                rank += score[j] > score[i] || (score[j] == score[i] && j < i);
        listed++;
        if (rank >= k) continue;
        assert_true(rank < found);
        assert_int_equal(list[rank].item, i);
        assert_true(list[rank].score == score[i]);
    }
    assert_int_equal(found, listed < k ? listed : k);
}

static void scores_and_lists(void **state) {
    (void)state;
    Err err = {0};
    static const struct { int thoughts, hidden; } form[] = {{0, 0}, {1, 0}, {2, 0}, {2, 1}};
    for (size_t f = 0; f < sizeof form / sizeof *form; f++) {
        World w;
        Session s;
        float brute[USERS][CATALOGUE], score[USERS * CATALOGUE];
        world_open(&w, form[f].thoughts, form[f].hidden);
        OK(session_init(&s, &w.g.llm, 64, &err));
        for (int u = 0; u < USERS; u++) brute_scores(&w, &s, u, brute[u]);
        session_free(&s);
        for (int exclude = 0; exclude < 2; exclude++)
            for (int k = 1; k <= CATALOGUE; k += 19) {
                SasrecRanker r;
                Recommendation list[USERS * CATALOGUE];
                int found[USERS];
                OK(sasrec_ranker_open(&r, &w.g.llm, &w.items, w.token, USERS, k, exclude, &err));
                const Ranker ranker = sasrec_ranker(&r);
                OK(ranker.score(ranker.self, w.history, USERS, score, &err));
                for (int i = 0; i < USERS * CATALOGUE; i++) {
                    const int left_out = exclude && was_seen(i / CATALOGUE, i % CATALOGUE);
                    const float want = left_out ? -INFINITY : brute[i / CATALOGUE][i % CATALOGUE];
                    if (want == -INFINITY)
                        assert_true(score[i] == want);
                    else
                        golden_close(score[i], want, 2e-5, "score", i);
                }
                OK(ranker.rank(ranker.self, w.history, USERS, list, found, &err));
                assert_int_equal(found[0], 0); // nothing known of the user
                for (int u = 1; u < USERS; u++) check_list(u, score + u * CATALOGUE, exclude, k, list + u * k, found[u]);
                // One at a time, and by title: the same lists.
                for (int u = 0; u < USERS; u++) {
                    Recommendation alone[CATALOGUE];
                    int n;
                    History h = w.history[u];
                    h.item_id = NULL;
                    OK(ranker.rank(ranker.self, &h, 1, alone, &n, &err));
                    assert_int_equal(n, found[u]);
                    for (int i = 0; i < n; i++) assert_int_equal(alone[i].item, list[u * k + i].item);
                }
                sasrec_ranker_close(&r);
            }
        world_close(&w);
    }
}

// Log-probabilities of all tokens behind a user's last items and one thought that is fed in as it is.
static void scores_by_hand(World *w, int u, const float *thought, float *logprob) {
    Err err = {0};
    Session s;
    int32_t prompt[16];
    int n = 0;
    OK(session_init(&s, &w->g.llm, 64, &err));
    for (int i = 0; past[u][i] >= 0; i++)
        if (w->token[past[u][i]] >= 0) prompt[n++] = w->token[past[u][i]];
    const int skip = n > POSITIONS ? n - POSITIONS : 0, D = w->g.llm.config.D;
    const int32_t given = -1;
    Segment g, last;
    segment_begin(&s, &g, 1, n);
    int node = segment_add(&s, &g, -1, prompt + skip, n - skip);
    segment_forward(&s, &g, NULL, 0);
    float *device = ARENA_NEW(&s.device, float, D);
    ops_upload(w->g.ops, device, thought, (size_t)D * sizeof(float));
    segment_begin(&s, &last, 1, 1);
    node = segment_add(&s, &last, node, &given, 1);
    segment_forward(&s, &last, device, 0);
    for (int32_t v = 0; v < KNOWN; v++) {
        const int32_t slot = session_last(&s, node);
        head_logprob(&s, &slot, &v, 1, &logprob[v], NULL);
    }
    session_free(&s);
}

// Own thoughts come out and give the same bits when they go in again; another user's give what that vector gives by hand; the
// losses of the thought test are minus the targets' scores.
static void thoughts_exchanged(void **state) {
    (void)state;
    Err err = {0};
    for (int hidden = 0; hidden < 2; hidden++) {
        World w;
        SasrecRanker r;
        float own[USERS * 8] = {0}, turned[USERS * 8] = {0}, plain[USERS * CATALOGUE], again[USERS * CATALOGUE];
        world_open(&w, 1, hidden);
        assert_int_equal(w.g.llm.config.D, 8);
        OK(sasrec_ranker_open(&r, &w.g.llm, &w.items, w.token, USERS, 5, 0, &err));
        r.thoughts.keep = own;
        OK(sasrec_ranker_scores(&r, w.history, USERS, plain, &err));
        r.thoughts = (Thoughts){.given = own};
        OK(sasrec_ranker_scores(&r, w.history, USERS, again, &err));
        assert_memory_equal(again, plain, sizeof plain);
        for (int i = 0; i < 8; i++) assert_true(own[i] == 0 && own[8 + i] != 0); // user 0 has no history
        for (int u = 1; u < USERS; u++) memcpy(turned + u * 8, own + (u % (USERS - 1) + 1) * 8, 8 * sizeof(float));
        r.thoughts.given = turned;
        OK(sasrec_ranker_scores(&r, w.history, USERS, again, &err));
        assert_memory_not_equal(again, plain, sizeof plain);
        Row row[USERS];
        const Rows rows = {.n = USERS, .row = row};
        double loss[USERS], tokens[USERS];
        for (int u = 0; u < USERS; u++) {
            row[u] = (Row){.target_id = w.items.id[u == 1   ? KNOWN
                                                   : u == 2 ? REMOVED
                                                            : 3 + u],
                           .n = w.history[u].n,
                           .title = w.title[u],
                           .item_id = w.id[u]};
            float want[KNOWN];
            if (u > 0) scores_by_hand(&w, u, turned + u * 8, want);
            for (int i = 0; i < KNOWN && u > 0; i++)
                if (i != REMOVED) golden_close(again[u * CATALOGUE + i], want[w.token[i]], 2e-5, "score", u * CATALOGUE + i);
        }
        OK(sasrec_losses(&(SasrecLosses){&r, &rows}, loss, tokens, &err));
        for (int u = 0; u < USERS; u++) { // user 0 is unknown, item KNOWN too, REMOVED is no answer
            assert_true(tokens[u] == (u > 2));
            assert_true(loss[u] == (u > 2 ? -(double)again[u * CATALOGUE + 3 + u] : 0));
        }
        sasrec_ranker_close(&r);
        world_close(&w);
    }
}

static void set_embedding(World *w, int32_t token, const float *row) {
    const size_t D = (size_t)w->g.llm.config.D;
    ops_upload(w->g.ops, (float *)w->g.llm.embed + (size_t)token * D, row, D * sizeof(float));
    llm_changed(&w->g.llm, PARAMS_BACKBONE);
}

// Ranks of every token behind two timelines against the definition, two of them equal.
static void ranks_of_one_item(void **state) {
    (void)state;
    Err err = {0};
    World w;
    Session s;
    float score[2][KNOWN], row[8];
    world_open(&w, 0, 0);
    ops_download(w.g.ops, row, (const float *)w.g.llm.embed + 4 * 8, sizeof row);
    set_embedding(&w, 9, row);
    OK(session_init(&s, &w.g.llm, 64, &err));
    const int32_t items[] = {3, 1, 4, 30};
    Segment g;
    segment_begin(&s, &g, 2, 4);
    int node[2];
    node[0] = segment_add(&s, &g, -1, items, 3);
    node[1] = segment_add(&s, &g, -1, items + 3, 1);
    segment_forward(&s, &g, NULL, 0);
    for (int i = 0; i < 2; i++)
        for (int v = 0; v < KNOWN; v++) {
            const int32_t slot = session_last(&s, node[i]), target = v;
            head_logprob(&s, &slot, &target, 1, &score[i][v], NULL);
        }
    assert_true(score[0][4] == score[0][9]);
    const int used = s.slots_used;
    for (int k = 1; k <= KNOWN; k += 12)
        for (int v = 0; v < KNOWN; v++) {
            int rank[2];
            sasrec_ranks(&s, v, node, 2, k, rank);
            for (int i = 0; i < 2; i++) {
                int want = 1;
                for (int o = 0; o < KNOWN; o++) want += score[i][o] > score[i][v] || (score[i][o] == score[i][v] && o < v);
                assert_int_equal(rank[i], want <= k ? want : 0);
            }
        }
    assert_int_equal(s.slots_used, used);
    session_free(&s);
    world_close(&w);
}

// Three items with one embedding: equal scores, the lower item number first. A NaN among the embeddings is an error that names
// the item.
static void ties_and_nan(void **state) {
    (void)state;
    Err err = {0};
    World w;
    SasrecRanker r;
    float score[CATALOGUE], row[8];
    Recommendation list[CATALOGUE];
    int found;
    world_open(&w, 1, 0);
    ops_download(w.g.ops, row, (const float *)w.g.llm.embed + (size_t)w.token[29] * 8, sizeof row);
    set_embedding(&w, w.token[17], row);
    set_embedding(&w, w.token[33], row);
    OK(sasrec_ranker_open(&r, &w.g.llm, &w.items, w.token, 1, CATALOGUE, 1, &err));
    const Ranker ranker = sasrec_ranker(&r);
    OK(ranker.score(ranker.self, &w.history[2], 1, score, &err));
    assert_true(score[17] == score[29] && score[29] == score[33]);
    OK(ranker.rank(ranker.self, &w.history[2], 1, list, &found, &err));
    check_list(2, score, 1, CATALOGUE, list, found);
    row[2] = NAN;
    set_embedding(&w, w.token[33], row);
    assert_int_not_equal(ranker.rank(ranker.self, &w.history[2], 1, list, &found, &err), 0);
    assert_int_equal(err.code, ERR_DATA);
    sasrec_ranker_close(&r);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_and_lists),
        cmocka_unit_test(thoughts_exchanged),
        cmocka_unit_test(ties_and_nan),
        cmocka_unit_test(ranks_of_one_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
