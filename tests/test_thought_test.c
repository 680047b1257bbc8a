// The thought test: who gets whose thought; the same as a thought put in by hand; own thoughts fed in again change no bit.
#include "base/log.h"
#include "base/rng.h"
#include "fixture.h"
#include "rec/thought_test.h"

static const char *const folder = "tests/golden/tiny-qwen2";

// ---- who gets whose ----------------------------------------------------------------------------------------------------

// Everyone gives once, nobody to itself; returns how many give to a row of the same user.
static int check_exchange(const int *user, int rows, uint64_t seed, int *other) {
    int *gave = calloc((size_t)rows, sizeof *gave), same = 0;
    const int said = thought_test_others(user, rows, seed, other);
    for (int i = 0; i < rows; i++) {
        assert_in_range(other[i], 0, rows - 1);
        assert_int_equal(gave[other[i]]++, 0);
        assert_int_not_equal(other[i], i);
        same += user[other[i]] == user[i];
    }
    free(gave);
    assert_int_equal(same, said);
    return same;
}

static void test_exchange(void **state) {
    (void)state;
    enum { ROWS = 60 };
    int user[ROWS], other[ROWS], again[ROWS], moved = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        int users = 1 + (int)(seed % 40), count[ROWS] = {0}, rows = 2 + (int)rng_below(seed, 90, 0, ROWS - 1), most = 0,
            next = 0;
        int name[ROWS];
        memset(name, 0xff, sizeof name);
        for (int i = 0; i < rows; i++) { // skewed, numbered by first appearance
            const int u = (int)(users * pow(rng_uniform(seed, 91, (uint64_t)i), 3));
            if (name[u] < 0) name[u] = next++;
            user[i] = name[u];
            if (++count[user[i]] > most) most = count[user[i]];
        }
        const int least = 2 * most > rows ? 2 * most - rows : 0; // what cannot be helped
        assert_int_equal(check_exchange(user, rows, seed, other), least);
        thought_test_others(user, rows, seed, again);
        assert_memory_equal(other, again, (size_t)rows * sizeof *other);
        thought_test_others(user, rows, seed + 1, again);
        moved += memcmp(other, again, (size_t)rows * sizeof *other) != 0;
    }
    assert_true(moved > 150);
}

static void test_table(void **state) {
    (void)state;
    enum { ROWS = 3, N = 2, D = 4000 };
    static float own[ROWS * N * D], out[ROWS * N * D], again[ROWS * N * D];
    const int other[] = {2, 0, 1};
    for (int i = 0; i < ROWS * N; i++) rng_normal(own + i * D, D, 7, 92, (uint64_t)i * D);
    for (int i = 0; i < D; i++) own[i] *= 5; // the first thought is large
    thought_test_table(THOUGHT_OWN, own, other, ROWS, N, D, 1, out);
    assert_memory_equal(out, own, sizeof own);
    thought_test_table(THOUGHT_OTHER, own, other, ROWS, N, D, 1, out);
    for (int i = 0; i < ROWS; i++) assert_memory_equal(out + i * N * D, own + other[i] * N * D, N * D * sizeof(float));
    thought_test_table(THOUGHT_ZERO, own, other, ROWS, N, D, 1, out);
    for (int i = 0; i < ROWS * N * D; i++) assert_true(out[i] == 0);
    thought_test_table(THOUGHT_NOISE, own, other, ROWS, N, D, 1, out);
    thought_test_table(THOUGHT_NOISE, own, other, ROWS, N, D, 2, again);
    double products = 0;
    for (int t = 0; t < ROWS * N; t++) {
        double noise = 0, size = 0;
        for (int d = 0; d < D; d++) {
            const double z = (double)out[t * D + d] - (double)own[t * D + d];
            noise += z * z;
            size += (double)own[t * D + d] * (double)own[t * D + d];
            if (t > 0) products += z * ((double)out[(t - 1) * D + d] - (double)own[(t - 1) * D + d]);
        }
        golden_close(sqrt(noise / size), 1, .05, "noise of 1 rms", t);
    }
    golden_close(products / (ROWS * N * D), 0, .2, "noise of its own for every thought", 0);
    assert_memory_not_equal(out, again, sizeof out);
}

// ---- what is fed in ----------------------------------------------------------------------------------------------------

enum { ROWS = 6, W = 6, ROOM = 4 };

typedef struct Variant {
    int thoughts, hidden, alone; // alone: the answer sees the thoughts alone
} Variant;
static const Variant variant[] = {{1, 0, 0}, {2, 0, 0}, {1, 1, 0}, {2, 0, 1}, {3, 1, 1}};
enum { VARIANTS = sizeof variant / sizeof *variant };

typedef struct Case {
    Fixture f;
    Row row[ROWS];
    Rows rows;
    Examples examples;
    size_t values; // of a table
    float *own, *table;
} Case;

static void case_open(Case *c, Variant v) {
    Err err = {0};
    memset(c, 0, sizeof *c);
    fixture_open(&c->f, folder, v.thoughts);
    c->f.g.llm.config.thought_hidden = v.hidden;
    c->f.g.llm.config.answer_sees_thought = v.alone;
    for (int i = 0; i < ROWS; i++) {
        const History *h = &c->f.history[i];
        c->row[i] = (Row){.user = i < 2 ? "same" : &"abcdef"[i],
                          .target_title = c->f.items.title[7 * i],
                          .target_id = c->f.items.id[7 * i],
                          .n = h->n,
                          .title = h->title,
                          .item_id = h->title};
    }
    c->rows = (Rows){.n = ROWS, .row = c->row, .name = "test"};
    OK(examples_make(&c->examples, &c->rows, c->f.tokenizer, &c->f.style, v.thoughts, PROMPT_TRAIN_TOKENS, 1, &err));
    c->values = (size_t)ROWS * (size_t)v.thoughts * (size_t)c->f.g.llm.config.D;
    c->own = calloc(2 * c->values, sizeof(float));
    c->table = c->own + c->values;
}

static void case_close(Case *c) {
    free(c->own);
    examples_free(&c->examples);
    fixture_close(&c->f);
}

static Recommender recommender(Case *c, int users) {
    Err err = {0};
    Recommender r;
    const RecommendOptions o = {.beams = W, .k = W, .users = users, .length_penalty = 1};
    OK(recommend_open(&r, &c->f.g.llm, c->f.tokenizer, &c->f.style, &c->f.catalogue, &o, &err));
    return r;
}

static void score(Case *c, Reader *r, RowScore *out) {
    for (int i = 0; i < ROWS; i += ROOM) score_examples(r, &c->examples, i, ROWS - i < ROOM ? ROWS - i : ROOM, out + i);
}

static Reader scorer(Case *c) {
    Err err = {0};
    Reader r;
    OK(score_open(&r, &c->f.g.llm, c->f.tokenizer, &c->f.style, ROOM, PROMPT_TRAIN_TOKENS, &err));
    return r;
}

// Lists and losses, to the bit.
static void test_own_again(void **state) {
    (void)state;
    Err err = {0};
    for (int v = 0; v < VARIANTS; v++) {
        Case c;
        case_open(&c, variant[v]);
        Recommender r = recommender(&c, ROWS);
        Recommendation plain[ROWS * W], again[ROWS * W];
        int found[ROWS];
        memset(plain, 0, sizeof plain);
        memset(again, 0, sizeof again);
        OK(recommend_users(&r, c.f.history, ROWS, plain, found, &err));
        r.reader.thoughts.keep = c.own;
        OK(recommend_users(&r, c.f.history, ROWS, again, found, &err)); // keeping them changes nothing
        assert_memory_equal(plain, again, sizeof plain);
        r.reader.thoughts.keep = NULL;
        r.reader.thoughts.given = c.own;
        OK(recommend_users(&r, c.f.history, ROWS, again, found, &err));
        assert_memory_equal(plain, again, sizeof plain);
        r.reader.thoughts.given = c.table; // zero
        OK(recommend_users(&r, c.f.history, ROWS, again, found, &err));
        assert_memory_not_equal(plain, again, sizeof plain);
        recommend_close(&r);
        RowScore own[ROWS], given[ROWS];
        memset(own, 0, sizeof own);
        memset(given, 0, sizeof given);
        Reader s = scorer(&c);
        s.thoughts.keep = c.own;
        score(&c, &s, own);
        s.thoughts.given = c.own;
        score(&c, &s, given);
        assert_memory_equal(own, given, sizeof own);
        reader_close(&s);
        case_close(&c);
    }
}

// Row `row` with the thoughts in `table`, put in by hand: a root of the whole prompt, a node for each thought, the answer.
static double by_hand(Case *c, int row, const float *table) {
    Err err = {0};
    Session s;
    const Example *x = &c->examples.example[row];
    const ModelConfig *m = &c->f.g.llm.config;
    const size_t D = (size_t)m->D;
    assert_true(x->shared);
    Ints prompt = {0};
    ints_append(&prompt, c->examples.common.ids.data, c->examples.common.ids.len);
    ints_append(&prompt, x->prompt, (size_t)x->prompt_len);
    OK(session_init(&s, &c->f.g.llm, 1024, &err));
    Segment g;
    segment_begin(&s, &g, 1, (int)prompt.len);
    int node = segment_add(&s, &g, -1, prompt.data, (int)prompt.len);
    segment_forward(&s, &g, NULL, 0);
    for (int n = 0; n < m->thoughts; n++) {
        float *r = ARENA_NEW(&s.device, float, D);
        ops_upload(s.ops, r, table + ((size_t)row * (size_t)m->thoughts + (size_t)n) * D, D * sizeof *r);
        segment_begin(&s, &g, 1, 1);
        node = segment_add(&s, &g, node, (const int32_t[]){-1}, 1);
        if (n == m->thoughts - 1 && m->answer_sees_thought) s.node[node].sees_from = (int)prompt.len;
        segment_forward(&s, &g, r, 0);
    }
    double sum = 0;
    for (int t = 0; t < x->answer_len; t++) {
        const int32_t slot = session_last(&s, node), target = x->answer[t];
        float logprob;
        head_logprob(&s, &slot, &target, 1, &logprob, NULL);
        sum += (double)logprob;
        segment_begin(&s, &g, 1, 1);
        node = segment_add(&s, &g, node, &target, 1);
        segment_forward(&s, &g, NULL, 0);
    }
    session_free(&s);
    ints_free(&prompt);
    return sum;
}

static void test_by_hand(void **state) {
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        Case c;
        case_open(&c, variant[v]);
        const int user[ROWS] = {0, 0, 1, 2, 3, 4};
        int other[ROWS];
        thought_test_others(user, ROWS, 5, other);
        RowScore own[ROWS], got[ROWS];
        Reader s = scorer(&c);
        s.thoughts.keep = c.own;
        score(&c, &s, own);
        s.thoughts.keep = NULL;
        for (int source = THOUGHT_OWN; source < THOUGHT_SOURCES; source++) {
            thought_test_table((ThoughtSource)source, c.own, other, ROWS, variant[v].thoughts, c.f.g.llm.config.D, 5, c.table);
            s.thoughts.given = c.table;
            score(&c, &s, got);
            for (int i = 0; i < ROWS; i++) {
                golden_close(got[i].logprob, by_hand(&c, i, c.table), 2e-3, thought_source_name[source], i);
                if (source != THOUGHT_OWN) assert_true(fabs(got[i].logprob - own[i].logprob) > 1e-3);
            }
        }
        reader_close(&s);
        case_close(&c);
    }
}

// ---- the whole test ----------------------------------------------------------------------------------------------------

static void check_own(const ThoughtTest *t, const Evaluation *plain, const RowScore *score, uint64_t seed) {
    double sum = 0, tokens = 0;
    for (int i = 0; i < ROWS; i++) sum -= score[i].logprob, tokens += score[i].tokens;
    assert_memory_equal(&t->metrics[THOUGHT_OWN], &plain->match[MATCH_TITLE], sizeof(Metrics));
    golden_close(t->loss[THOUGHT_OWN].value, sum / tokens, 0, "loss", (int)seed);
    assert_true(t->loss_gain[THOUGHT_OWN].low == 0 && t->loss_gain[THOUGHT_OWN].high == 0);
    assert_true(t->loss[THOUGHT_OWN].low < sum / tokens && sum / tokens < t->loss[THOUGHT_OWN].high);
}

// Targets that the model finds with the users' own thoughts.
static void targets_from_lists(Case *c, Recommender *r) {
    Err err = {0};
    Recommendation list[ROWS * W];
    int found[ROWS];
    for (int i = 0; i < ROWS; i += 3) OK(recommend_users(r, c->f.history + i, 3, list + i * W, found + i, &err));
    for (int i = 0; i < ROWS; i++) {
        const int item = list[i * W + i % 3].item;
        c->row[i].target_title = c->f.items.title[item];
        c->row[i].target_id = c->f.items.id[item];
    }
    examples_free(&c->examples);
    OK(examples_make(&c->examples, &c->rows, c->f.tokenizer, &c->f.style, variant[0].thoughts, PROMPT_TRAIN_TOKENS, 1, &err));
}

static void test_run(void **state) {
    (void)state;
    Err err = {0};
    enum { SEED = 3 };
    Case c;
    case_open(&c, variant[0]);
    Recommender r = recommender(&c, 4);
    const Ranker ranker = recommend_ranker(&r);
    targets_from_lists(&c, &r);
    Evaluation plain;
    ThoughtTest t;
    RowScore own[ROWS], got[ROWS];
    int rank[ROWS], user[ROWS], other[ROWS], changed = 0;
    r.reader.thoughts.keep = c.own;
    OK(evaluate_rows(&plain, &ranker, &c.rows, NULL, &(EvaluateOptions){.resamples = 50, .seed = SEED, .rank = rank}, &err));
    r.reader.thoughts.keep = NULL;
    Reader s = scorer(&c);
    score(&c, &s, own);
    ThoughtTestScorer losses = {&s, &c.examples, c.rows.name};
    const ThoughtTestRun run = {
        &c.rows, &ranker, &c.f.g.llm.config, &r.reader.thoughts, rank, c.own, thought_test_losses, &losses, &s.thoughts,
        50,      SEED};
    OK(thought_test_run(&t, &run, &err));
    assert_true(!r.reader.thoughts.given && !r.reader.thoughts.keep && !s.thoughts.given && !s.thoughts.keep);
    assert_int_equal(t.same_user, 0);
    assert_int_equal(plain.match[MATCH_TITLE].hits[1], ROWS);
    check_own(&t, &plain, own, SEED);
    baseline_number_users(&c.rows, user);
    thought_test_others(user, ROWS, SEED, other);
    json_t *json = thought_test_to_json(&t);
    for (int source = THOUGHT_OTHER; source < THOUGHT_SOURCES; source++) {
        double more = 0, tokens = 0;
        Evaluation e;
        thought_test_table((ThoughtSource)source, c.own, other, ROWS, 1, c.f.g.llm.config.D, SEED, c.table);
        r.reader.thoughts.given = s.thoughts.given = c.table;
        OK(evaluate_rows(&e, &ranker, &c.rows, NULL, &(EvaluateOptions){.resamples = 50, .seed = SEED}, &err));
        score(&c, &s, got);
        for (int i = 0; i < ROWS; i++) more += own[i].logprob - got[i].logprob, tokens += got[i].tokens;
        assert_memory_equal(&t.metrics[source], &e.match[MATCH_TITLE], sizeof(Metrics));
        golden_close(t.loss_gain[source].value, more / tokens, 1e-4, "loss less own", source); // scoring makes its own prompts
        golden_close(t.loss[source].value - t.loss[THOUGHT_OWN].value, t.loss_gain[source].value, 1e-12, "difference", source);
        changed += t.gain[source].mrr.value != 0;
        golden_close(t.gain[source].mrr.value, e.match[MATCH_TITLE].mrr.value - plain.match[MATCH_TITLE].mrr.value, 1e-12,
                     "MRR", source);
        json_t *one = json_object_get(json, thought_source_name[source]), *against = json_object_get(one, "against_own");
        golden_close(json_number_value(json_object_get(json_object_get(against, "loss"), "gain")), t.loss_gain[source].value, 0,
                     "json", source);
        golden_close(json_number_value(json_object_get(json_object_get(against, "MRR"), "other")), plain.match[0].mrr.value, 0,
                     "json", source);
    }
    assert_true(changed > 0);
    json_decref(json);
    r.reader.thoughts.given = s.thoughts.given = NULL;
    c.rows.n = 1;
    assert_int_equal(thought_test_run(&t, &run, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    reader_close(&s);
    recommend_close(&r);
    case_close(&c);
}

int main(void) {
    log_level = LOG_WARN;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exchange), cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_own_again), cmocka_unit_test(test_by_hand),
                                       cmocka_unit_test(test_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
