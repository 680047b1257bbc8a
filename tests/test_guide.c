// Guided beams and ghost tokens: masses against sums over items, and beams as wide as the catalogue against every item scored
// token by token.
#include "base/rng.h"
#include "fixture.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

// ---- a guide with scores of its own --------------------------------------------------------------------------------------

enum { PEOPLE = 8, THINGS = 512 };
static float made_up[PEOPLE][THINGS]; // scores
static double weight[PEOPLE][THINGS]; // exp of them

static int make_up(void **state) {
    (void)state;
    for (int u = 0; u < PEOPLE; u++)
        for (int i = 0; i < THINGS; i++) {
            made_up[u][i] = 6 * (float)rng_uniform(11, RNG_SYNTHETIC, (uint64_t)(u * THINGS + i));
            weight[u][i] = exp((double)made_up[u][i]);
        }
    return 0;
}

static int score(void *self, const History *h, int users, float *out, Err *err) {
    const Items *items = self;
    (void)err;
    for (int u = 0; u < users; u++)
        for (int i = 0; i < items->n; i++) out[u * items->n + i] = made_up[h[u].number][i];
    return 0;
}

static Ranker guide_of(Items *items) {
    return (Ranker){.self = items, .items = items, .users = 2, .k = 1, .score = score};
}

typedef struct Answers {
    Ints ids;
    size_t *offset; // (items + 1)
} Answers;

static Answers answers_of(const Fixture *f) {
    Err err = {0};
    Answers a = {.offset = calloc((size_t)f->items.n + 1, sizeof *a.offset)};
    for (int i = 0; i < f->items.n; i++) {
        OK(prompt_answer(&a.ids, f->tokenizer, &f->style, f->items.title[i], NULL, &err));
        a.offset[i + 1] = a.ids.len;
    }
    return a;
}

static void answers_free(Answers *a) {
    ints_free(&a->ids);
    free(a->offset);
}

// Sum of the items whose answers begin with the first n ids of item i's, but for those left out.
static double brute_mass(const Fixture *f, const Answers *a, int number, int i, size_t n, int without) {
    double sum = 0;
    const int32_t *mine = a->ids.data + a->offset[i];
    for (int j = 0; j < f->items.n; j++) {
        const int32_t *other = a->ids.data + a->offset[j];
        if (a->offset[j + 1] - a->offset[j] < n || memcmp(mine, other, n * sizeof *mine) != 0) continue;
        if (without >= 0 && !strcmp(f->items.title[j], f->items.title[without])) continue;
        sum += weight[number][j];
    }
    return sum;
}

static void test_masses(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    fixture_open(&f, folders[0], 0);
    json_t *titles = json_copy(json_object_get(f.g.json, "catalogue")); // some titles a second time
    for (size_t i = 0; i < 9; i++) json_array_append(titles, json_array_get(titles, 5 * i));
    catalogue_free(&f.catalogue), items_free(&f.items);
    fixture_items(&f.items, titles);
    json_decref(titles);
    OK(catalogue_build(&f.catalogue, &f.items, f.tokenizer, &f.style, &err));
    Answers a = answers_of(&f);
    const Trie *t = &f.catalogue.trie;
    const Ranker ranker = guide_of(&f.items);
    const char *seen[] = {f.items.title[5]};
    History h[3] = {{.title = seen, .n = 1, .number = 4}, {.title = seen, .n = 1, .number = 5}, {.number = 6}};
    Guide g;
    guide_open(&g, &ranker, &f.catalogue, 3); // more than the guide takes at a time
    for (int exclude = 0; exclude < 2; exclude++) {
        OK(guide_users(&g, h, 3, exclude, &err));
        for (int u = 0; u < 3; u++) {
            const double *mass = guide_mass(&g, u), all = brute_mass(&f, &a, h[u].number, 0, 0, exclude && h[u].n ? 5 : -1);
            for (int i = 0; i < f.items.n; i++) {
                int node = 0;
                for (size_t n = 0; node < t->nodes; n++) {
                    double want = brute_mass(&f, &a, h[u].number, i, n, exclude && h[u].n ? 5 : -1) / all;
                    golden_close(mass[node] / mass[0], want, 1e-12, "mass", node);
                    if (trie_children(t, node) == 0) break;
                    node = trie_child(t, node, a.ids.data[a.offset[i] + n]);
                    assert_true(node > 0);
                }
            }
        }
    }
    guide_close(&g);
    answers_free(&a);
    fixture_close(&f);
}

// Items of one title that index texts tell apart: the one that was seen is left out, its twin is not.
static void test_index_texts(void **state) {
    (void)state;
    Err err = {0};
    static const char info[] = "Heat\t1\t<a_1>\nHeat\t2\t<a_2>\nUp\t3\t<a_3>\n";
    static const char *const added[] = {"<a_1>", "<a_2>", "<a_3>"}, *const title[] = {"Heat"}, *const id[] = {"2"};
    Items items;
    Tokenizer *t;
    Catalogue c;
    Guide g;
    OK(items_parse(&items, info, strlen(info), "info", &err));
    OK(tokenizer_open(&t, "tests/golden/tiny-llama/tokenizer.json", &err));
    OK(tokenizer_add_texts(t, added, 3, &err));
    const PromptStyle style = {
        .category = "item", .bos_id = -1, .eos_id = tokenizer_id(t, "<|endoftext|>"), .index_answers = 1};
    OK(catalogue_build(&c, &items, t, &style, &err));
    const Ranker ranker = guide_of(&items);
    const History h = {.title = title, .item_id = id, .n = 1};
    guide_open(&g, &ranker, &c, 1);
    OK(guide_users(&g, &h, 1, 1, &err));
    assert_true(g.leaf[c.leaf[0]] > 0 && g.leaf[c.leaf[1]] == 0 && g.leaf[c.leaf[2]] > 0);
    guide_close(&g);
    catalogue_free(&c);
    tokenizer_close(t);
    items_free(&items);
}

// ---- every item, token by token --------------------------------------------------------------------------------------------

// Log-probabilities of item i's tokens behind `node`.
static void token_logp(Session *s, const Answers *a, int i, int node, float *logp) {
    const int32_t *ids = a->ids.data + a->offset[i];
    const int n = (int)(a->offset[i + 1] - a->offset[i]);
    SessionMark mark = session_mark(s);
    Segment g;
    segment_begin(s, &g, 1, n);
    int answer = segment_add(s, &g, node, ids, n - 1);
    segment_forward(s, &g, NULL, 0);
    int32_t slot[256];
    for (int p = 0; p < n; p++) slot[p] = p == 0 ? session_last(s, node) : session_slot(s, answer, p - 1);
    head_logprob(s, slot, ids, n, logp, NULL);
    session_reset(s, mark);
}

// The score of item i by its definition.
static double brute_score(const Fixture *f, const Answers *a, const RecommendOptions *o, int number, int i, const float *logp) {
    const size_t n = a->offset[i + 1] - a->offset[i];
    double total = 0;
    for (size_t p = 0; p < n; p++) {
        int choices = 0, met[64] = {0};
        for (int j = 0; j < f->items.n; j++) { // different next tokens of the items that agree so far
            const int32_t *mine = a->ids.data + a->offset[i], *other = a->ids.data + a->offset[j];
            if (a->offset[j + 1] - a->offset[j] <= p || memcmp(mine, other, p * sizeof *mine) != 0) continue;
            int known = 0;
            for (int k = 0; k < choices && !known; k++) known = met[k] == other[p];
            if (!known && choices < 64) met[choices++] = other[p];
        }
        double lm = choices == 1 && o->skip_ghosts ? 0 : (double)logp[p], g = (double)o->guidance;
        double cf = o->guide ? log(brute_mass(f, a, number, i, p + 1, -1) / brute_mass(f, a, number, i, p, -1)) : 0;
        total += o->guide ? g * lm + (1 - g) * cf : lm;
    }
    return total / pow((double)n, (double)o->length_penalty);
}

static void check(Fixture *f, const Answers *a, RecommendOptions o, int row) {
    Err err = {0};
    Recommender r;
    const int n = f->items.n;
    int found, node;
    Recommendation *list = calloc((size_t)n, sizeof *list);
    float logp[256];
    OK(recommend_open(&r, &f->g.llm, f->tokenizer, &f->style, &f->catalogue, &o, &err));
    OK(recommend_users(&r, f->history + row, 1, list, &found, &err));
    if (o.exclude_seen)
        assert_true(found > 0 && found < n);
    else
        assert_int_equal(found, n);
    OK(reader_histories(&r.reader, f->history + row, 1, &node, &err));
    for (int i = 0; i < found; i++) {
        if (i > 0) assert_true(list[i - 1].score >= list[i].score && list[i - 1].item != list[i].item);
        if (i % 8 > 0) continue; // to save time
        token_logp(&r.reader.session, a, list[i].item, node, logp);
        golden_close(list[i].score, brute_score(f, a, &o, row, list[i].item, logp), 1e-3, "score of an item", list[i].item);
    }
    recommend_close(&r);
    free(list);
}

static void test_exhaustive(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++) {
        Fixture f;
        fixture_open(&f, folders[m], m); // without and with a thought
        Answers a = answers_of(&f);
        const Ranker guide = guide_of(&f.items);
        RecommendOptions o = {.beams = f.items.n, .k = f.items.n, .users = 1, .skip_ghosts = 1};
        if (m == 0) check(&f, &a, o, 0);
        const char *seen[12];
        for (int i = 0; i < 12; i++) seen[i] = f.items.title[3 * i];
        f.history[3] = (History){.title = seen, .n = 12, .number = 3};
        o.exclude_seen = 1; // what is not open to this user is a choice of the catalogue's all the same
        check(&f, &a, o, 3);
        o.exclude_seen = 0;
        o.guide = &guide, o.guidance = .7f;
        check(&f, &a, o, 1);
        o.skip_ghosts = 0, o.length_penalty = 1;
        check(&f, &a, o, 2);
        answers_free(&a);
        fixture_close(&f);
    }
}

// ---- the same list, whatever the way
// -----------------------------------------------------------------------------------------

enum { W = 7, USERS = 3 };

static void list_of(Fixture *f, RecommendOptions o, Recommendation *list) {
    Err err = {0};
    Recommender r;
    int found[USERS];
    OK(recommend_open(&r, &f->g.llm, f->tokenizer, &f->style, &f->catalogue, &o, &err));
    for (int u = 0; u < USERS; u += o.users) OK(recommend_users(&r, f->history + u, o.users, list + u * W, found + u, &err));
    for (int u = 0; u < USERS; u++) assert_int_equal(found[u], W);
    recommend_close(&r);
}

static void same(const Recommendation *a, const Recommendation *b) {
    for (int i = 0; i < W * USERS; i++) {
        assert_int_equal(a[i].item, b[i].item);
        golden_close(a[i].score, b[i].score, 1e-5, "score", i);
    }
}

static void test_narrow(void **state) {
    (void)state;
    Fixture f;
    fixture_open(&f, folders[0], 1);
    Ranker guide = guide_of(&f.items);
    Recommendation plain[W * USERS], ahead[W * USERS];
    RecommendOptions o = {
        .beams = W, .k = W, .users = USERS, .length_penalty = 1, .skip_ghosts = 1, .guide = &guide, .guidance = .6f};
    list_of(&f, o, plain);
    o.users = 1;
    list_of(&f, o, ahead);
    same(plain, ahead);
    o.guidance = 1; // the guide has no say
    list_of(&f, o, plain);
    o.guide = NULL;
    list_of(&f, o, ahead);
    same(plain, ahead);
    o.skip_ghosts = 0;
    list_of(&f, o, plain);
    int other = 0;
    for (int i = 0; i < W * USERS; i++) other += plain[i].item != ahead[i].item;
    assert_true(other > 0);
    // Nothing of the history comes back, and its share goes to the others.
    o.guide = &guide, o.guidance = .5f, o.exclude_seen = 1;
    list_of(&f, o, plain);
    for (int u = 0; u < USERS; u++)
        for (int i = 0; i < W; i++)
            for (int h = 0; h < f.history[u].n; h++)
                assert_string_not_equal(f.items.title[plain[u * W + i].item], f.history[u].title[h]);
    fixture_close(&f);
}

static int score_badly(void *self, const History *h, int users, float *out, Err *err) {
    const Items *items = self;
    (void)err, (void)h;
    for (int i = 0; i < users * items->n; i++) out[i] = i == 3 ? NAN : -INFINITY;
    if (users == 1) out[3] = -INFINITY;
    return 0;
}

static void test_refused(void **state) {
    (void)state;
    Fixture f;
    fixture_open(&f, folders[0], 0);
    const Ranker bad = {.self = &f.items, .items = &f.items, .users = 2, .k = 1, .score = score_badly};
    Guide g;
    guide_open(&g, &bad, &f.catalogue, 2);
    for (int users = 1; users <= 2; users++) { // no score for any item; NaN
        Err err = {0};
        assert_int_equal(guide_users(&g, f.history, users, 0, &err), -1);
        assert_int_equal(err.code, ERR_DATA);
    }
    guide_close(&g);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_masses), cmocka_unit_test(test_index_texts),
                                       cmocka_unit_test(test_exhaustive), cmocka_unit_test(test_narrow),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, make_up, NULL);
}
