// Free generation against a literal search; embeddings by hand; what is written exactly is found first; the guide's formula.
// tests/cli/oracle.bats holds texts and distances against transformers.
#include "base/log.h"
#include "base/rng.h"
#include "fixture.h"
#include "rec/evaluate.h"
#include "rec/ground.h"
#include "rec/thought_test.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

// ---- a literal search --------------------------------------------------------------------------------------------------

enum { TOKENS = 7, MOST_BEAMS = 5 };

typedef struct Text {
    double score; // or the sum, while it is unfinished
    int32_t ids[TOKENS];
    int n;
} Text;

// Log-probabilities (V) behind a prompt's node and a text, which is run whole each time.
static void next_logp(Session *s, int prompt, const Text *text, double *logp) {
    const int V = s->llm->config.V;
    const SessionMark mark = session_mark(s);
    int node = prompt;
    HeadRows head;
    if (text->n > 0) {
        Segment g;
        segment_begin(s, &g, 1, text->n);
        node = segment_add(s, &g, prompt, text->ids, text->n);
        segment_forward(s, &g, NULL, 0);
    }
    const int32_t slot = session_last(s, node);
    head_rows(s, &head, &slot, 1);
    float *logits = malloc((size_t)V * sizeof *logits);
    ops_download(s->ops, logits, head.logits, (size_t)V * sizeof *logits);
    double most = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) most = fmax(most, (double)logits[v]);
    for (int v = 0; v < V; v++) sum += exp((double)logits[v] - most);
    for (int v = 0; v < V; v++) logp[v] = (double)logits[v] - most - log(sum);
    free(logits);
    session_reset(s, mark);
}

static int by_score(const void *a, const void *b) {
    const Text *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

// All continuations sorted at each step, as the words of rec/generate.h have it.
static Text literal(Session *s, int prompt, const GenerateOptions *o) {
    const int V = s->llm->config.V, W = o->beams;
    Text live[MOST_BEAMS] = {{0}}, done[TOKENS * 2 * MOST_BEAMS], *all = malloc((size_t)W * (size_t)V * sizeof *all);
    double *logp = malloc((size_t)V * sizeof *logp);
    int lives = 1, dones = 0;
    for (int step = 1; step <= o->tokens && lives > 0; step++) {
        int n = 0;
        for (int b = 0; b < lives; b++) {
            next_logp(s, prompt, &live[b], logp);
            for (int v = 0; v < V; v++, n++) {
                all[n] = live[b];
                all[n].ids[all[n].n++] = v;
                all[n].score += logp[v];
            }
        }
        qsort(all, (size_t)n, sizeof *all, by_score);
        const double divisor = pow(step, (double)o->length_penalty);
        lives = 0;
        for (int i = 0; i < 2 * W && i < n; i++) {
            if (all[i].ids[step - 1] != o->eos_id) {
                if (lives < W) live[lives++] = all[i];
            } else if (i < W) {
                done[dones] = all[i];
                done[dones].n--;
                done[dones++].score /= divisor;
            }
        }
        qsort(done, (size_t)dones, sizeof *done, by_score);
        if (dones > W) dones = W;
        if (dones == W && done[W - 1].score >= live[0].score / divisor) break;
        for (int b = 0; b < lives && step == o->tokens; b++) {
            done[dones] = live[b];
            done[dones++].score /= divisor;
        }
    }
    qsort(done, (size_t)dones, sizeof *done, by_score);
    const Text best = done[0];
    free(all), free(logp);
    return best;
}

// A session with the prompts of the first USERS histories, each run alone.
enum { USERS = 3 };
static void run_prompts(Fixture *f, Session *s, int node[USERS]) {
    Err err = {0};
    OK(session_init(s, &f->g.llm, 4096, &err));
    for (int u = 0; u < USERS; u++) {
        const History *h = &f->history[u];
        Ints ids = {0};
        Segment g;
        OK(prompt_instruction(&ids, f->tokenizer, &f->style, &err));
        OK(prompt_input(&ids, f->tokenizer, &f->style, h->title, NULL, h->n, &err));
        segment_begin(s, &g, 1, (int)ids.len);
        node[u] = segment_add(s, &g, -1, ids.data, (int)ids.len);
        segment_forward(s, &g, NULL, 0);
        ints_free(&ids);
    }
}

// Three users at a time, and what each of them would write alone. Returns how many ended by themselves.
static int check_literal(Fixture *f, const GenerateOptions *o, Session *s, const int *prompt) {
    Err err = {0};
    Reader r;
    BeamStats stats = {0};
    int node[USERS], len[USERS], ended = 0;
    int32_t ids[USERS * TOKENS];
    OK(reader_open(&r, &f->g.llm, f->tokenizer, &f->style, USERS, PROMPT_RECOMMEND_TOKENS, (int)generate_slots(o, 1), TOKENS,
                   &err));
    OK(reader_histories(&r, f->history, USERS, node, &err));
    generate_answers(&r.session, o, node, USERS, ids, len, &stats);
    reader_end(&r);
    assert_int_equal(stats.illegal, 0);
    for (int u = 0; u < USERS; u++) {
        const Text want = literal(s, prompt[u], o);
        assert_int_equal(len[u], want.n);
        assert_memory_equal(ids + u * TOKENS, want.ids, (size_t)want.n * sizeof *ids);
        ended += want.n < o->tokens;
    }
    reader_close(&r);
    return ended;
}

static void test_literal(void **state) {
    (void)state;
    const int beams[] = {1, 4, MOST_BEAMS};
    int ended = 0, cut = 0;
    for (int m = 0; m < 2; m++) {
        Fixture f;
        Session s;
        int prompt[USERS];
        fixture_open(&f, folders[m], 0);
        run_prompts(&f, &s, prompt);
        GenerateOptions o = {.beams = 1, .length_penalty = 1, .tokens = TOKENS, .eos_id = -1};
        const Text greedy = literal(&s, prompt[0], &o); // its tokens end answers below: the models seldom write end-of-text
        for (int b = 0; b < 3; b++)
            for (int end = 0; end < 3; end++) {
                o = (GenerateOptions){beams[b], (float)(end % 2), TOKENS, end ? greedy.ids[2 * end] : -1};
                const int n = check_literal(&f, &o, &s, prompt);
                ended += n;
                cut += USERS - n;
            }
        session_free(&s);
        fixture_close(&f);
    }
    assert_true(ended >= 6 && cut >= 6);
}

// ---- embeddings and distances ------------------------------------------------------------------------------------------

static Ground ground(Fixture *f, int users, const Ranker *guide, int counts, float power, int exclude_seen) {
    Err err = {0};
    Ground g;
    const GroundOptions o = {.beams = 2,
                             .k = 20,
                             .users = users,
                             .length_penalty = 1,
                             .exclude_seen = exclude_seen,
                             .guide = guide,
                             .guide_counts = counts,
                             .power = power};
    OK(ground_open(&g, &f->g.llm, f->tokenizer, &f->style, &f->catalogue, &o, &err));
    return g;
}

static void test_clean(void **state) {
    (void)state;
    static const char *const row[][2] = {{"\"Toy Story\"\n", "Toy Story"},
                                         {"Toy Story", "Toy Story"},
                                         {" \n\"\"A\" B\"\n", "A\" B"},
                                         {"", ""},
                                         {"\"\"", ""},
                                         {" \" A\"", " A"},
                                         {"\"A\"\nB\n", "A\"\nB"},
                                         {"\xff\"x\"", "\xef\xbf\xbd\"x"}};
    Str out = {0};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        ground_clean(&out, row[i][0], strlen(row[i][0]));
        assert_int_equal(out.len, strlen(row[i][1]));
        if (out.len) assert_string_equal(out.data, row[i][1]);
    }
    str_free(&out);
}

// The hidden state of a title's last token, the title run alone in a session of its own.
static void by_hand(Fixture *f, const char *title, float *out) {
    Err err = {0};
    Session s;
    Segment g;
    Ints ids = {0};
    if (f->style.bos_id >= 0) ints_push(&ids, f->style.bos_id);
    OK(tokenizer_encode(f->tokenizer, &ids, title, strlen(title), 0, &err));
    OK(session_init(&s, &f->g.llm, (int)ids.len, &err));
    segment_begin(&s, &g, 1, (int)ids.len);
    segment_add(&s, &g, -1, ids.data, (int)ids.len);
    segment_forward(&s, &g, NULL, 0);
    const size_t D = (size_t)f->g.llm.config.D;
    ops_download(s.ops, out, (const float *)s.h + (ids.len - 1) * D, D * sizeof *out); // f32
    session_free(&s);
    ints_free(&ids);
}

static void test_embeddings(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++)
        for (int bos = 0; bos < 2; bos++) {
            Fixture f;
            fixture_open(&f, folders[m], 0);
            f.style.bos_id = bos ? 5 : -1;
            const size_t D = (size_t)f.g.llm.config.D;
            float *want = malloc(D * sizeof *want);
            Ground g = ground(&f, 2, NULL, 0, 0, 0);
            for (int l = 0; l < f.catalogue.trie.leaves; l++) {
                by_hand(&f, f.items.title[f.catalogue.trie.leaf_item[l]], want);
                for (size_t d = 0; d < D; d++) golden_close(g.embedding[(size_t)l * D + d], want[d], 1e-4, "embedding", l);
            }
            ground_close(&g);
            free(want);
            fixture_close(&f);
        }
}

// A guide that knows what it is asked: user h->number's score of item i.
static int guide_score(void *self, const History *h, int users, float *score, Err *err) {
    (void)err;
    const Items *items = self;
    for (int u = 0; u < users; u++)
        for (int i = 0; i < items->n; i++)
            score[u * items->n + i] =
                i % 7 == 3 ? -INFINITY : (float)(10 * rng_uniform(1, 93, (uint64_t)(h[u].number * 1000 + i)));
    return 0;
}

// Scores of item `written` as what a user has written, from the definition; of_item (items, D) by hand.
static void literal_scores(Fixture *f, const float *of_item, int written, int number, const Ranker *guide, int counts,
                           double power, double *score) {
    Err err = {0};
    const int n = f->items.n;
    const size_t D = (size_t)f->g.llm.config.D;
    float *says = malloc((size_t)n * sizeof *says);
    const float *a = of_item + (size_t)written * D;
    double near[2] = {INFINITY, -INFINITY}, told[2] = {INFINITY, -INFINITY};
    for (int i = 0; i < n; i++) {
        const float *b = of_item + (size_t)i * D;
        double sum = 0;
        for (size_t d = 0; d < D; d++) sum += ((double)a[d] - (double)b[d]) * ((double)a[d] - (double)b[d]);
        score[i] = sqrt(sum);
        near[0] = fmin(near[0], score[i]), near[1] = fmax(near[1], score[i]);
    }
    if (guide) {
        const History h = {.number = number};
        guide->score(guide->self, &h, 1, says, &err);
        for (int i = 0; i < n && counts; i++) says[i] = expf(says[i]) - 1;
        for (int i = 0; i < n; i++)
            if (says[i] > -1) told[0] = fmin(told[0], (double)says[i]), told[1] = fmax(told[1], (double)says[i]);
    }
    for (int i = 0; i < n && guide; i++) {
        const double c = says[i] > -1 ? ((double)says[i] - told[0]) / (told[1] - told[0]) : 0;
        score[i] = (score[i] - near[0]) / (near[1] - near[0]) * pow(1 + c, -power);
    }
    free(says);
}

// What is written exactly is the first, whoever wrote it with whom; all other distances are those of the definition.
static void test_exact(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    fixture_open(&f, folders[0], 1);
    const int n = f.items.n;
    float *score = malloc(USERS * (size_t)n * sizeof *score);
    double *want = malloc((size_t)n * sizeof *want);
    float *of_item = malloc((size_t)n * (size_t)f.g.llm.config.D * sizeof *of_item);
    for (int i = 0; i < n; i++) by_hand(&f, f.items.title[i], of_item + (size_t)i * (size_t)f.g.llm.config.D);
    const Ranker ranker = {.self = &f.items, .items = &f.items, .users = 2, .score = guide_score};
    for (int guided = 0; guided < 3; guided++) { // alone, by the guide's scores, by the counts that they are logarithms of
        const float power = 2.5f;
        Ground g = ground(&f, USERS, guided ? &ranker : NULL, guided == 2, power, 0);
        for (int first = 0; first < n; first += USERS) {
            const int users = n - first < USERS ? n - first : USERS;
            Str text[USERS] = {{0}};
            for (int u = 0; u < users; u++) str_puts(&text[u], f.items.title[first + u]);
            OK(ground_scores(&g, text, f.history, users, score, &err));
            for (int u = 0; u < users; u++) {
                const float *mine = score + u * n;
                for (int i = 0; i < n; i++)
                    if (i != first + u) assert_true(mine[i] < mine[first + u]);
                if (!guided) golden_close(mine[first + u], 0, 1e-4, "distance to itself", first + u);
                literal_scores(&f, of_item, first + u, f.history[u].number, guided ? &ranker : NULL, guided == 2, (double)power,
                               want);
                for (int i = 0; i < n; i++) golden_close(mine[i], -want[i], 1e-3, "score", i);
                str_free(&text[u]);
            }
        }
        ground_close(&g);
    }
    free(score), free(want), free(of_item);
    fixture_close(&f);
}

// ---- lists -------------------------------------------------------------------------------------------------------------

static void test_lists(void **state) {
    (void)state;
    enum { MANY = 3, K = 20 };
    Err err = {0};
    for (int thoughts = 0; thoughts < 3; thoughts += 2) {
        Fixture f;
        fixture_open(&f, folders[1], thoughts);
        Recommendation together[MANY * K], alone[K], unseen[K];
        int found[MANY], one;
        Ground g = ground(&f, MANY, NULL, 0, 0, 0), h = ground(&f, 1, NULL, 0, 0, 1);
        const Ranker r = ground_ranker(&g), without = ground_ranker(&h);
        OK(r.rank(r.self, f.history, MANY, together, found, &err));
        for (int u = 0; u < MANY; u++) {
            const Recommendation *mine = together + u * K;
            assert_int_equal(found[u], f.items.n < K ? f.items.n : K);
            OK(r.rank(r.self, &f.history[u], 1, alone, &one, &err));
            for (int i = 0; i < K; i++) {
                assert_int_equal(alone[i].item, mine[i].item);
                golden_close(alone[i].score, mine[i].score, 1e-4, "alone", i);
                if (i > 0) assert_true(mine[i].score <= mine[i - 1].score);
            }
            // With the first of them in the history, it is gone and the others move up.
            const char *seen[] = {f.items.title[mine[0].item]};
            History history = {.title = seen, .n = 1, .number = u};
            OK(r.rank(r.self, &history, 1, alone, &one, &err));
            OK(without.rank(without.self, &history, 1, unseen, &one, &err));
            for (int i = 0, j = 0; i < K && j < one; i++) {
                if (alone[i].item == mine[0].item) continue;
                assert_int_equal(alone[i].item, unseen[j++].item);
            }
        }
        if (thoughts) { // a thought has a say in what is written
            float *zero = calloc((size_t)MANY * (size_t)thoughts * (size_t)f.g.llm.config.D, sizeof *zero);
            Recommendation other[MANY * K];
            memset(other, 0, sizeof other);
            g.reader.thoughts.given = zero;
            OK(r.rank(r.self, f.history, MANY, other, found, &err));
            assert_memory_not_equal(other, together, sizeof other);
            free(zero);
        }
        ground_close(&g);
        ground_close(&h);
        fixture_close(&f);
    }
}

// Items that share a title share a place, and the first of them has it; a removed one has none.
static void test_same_titles(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    fixture_open(&f, folders[0], 0);
    Items items;
    Catalogue catalogue;
    static const char info[] = "B\t1\t\tremoved\nA\t2\nB\t3\nA\t4\nC\t5\n";
    OK(items_parse(&items, info, strlen(info), "info", &err));
    OK(catalogue_build(&catalogue, &items, f.tokenizer, &f.style, &err));
    Ground g;
    const GroundOptions o = {.beams = 1, .k = 10, .users = 1};
    OK(ground_open(&g, &f.g.llm, f.tokenizer, &f.style, &catalogue, &o, &err));
    const Ranker r = ground_ranker(&g);
    Recommendation list[10];
    float score[5];
    int found;
    OK(r.rank(r.self, f.history, 1, list, &found, &err));
    assert_int_equal(found, 3);
    for (int i = 0; i < found; i++) assert_true(list[i].item == 1 || list[i].item == 2 || list[i].item == 4);
    OK(r.score(r.self, f.history, 1, score, &err));
    assert_true(score[0] == -INFINITY && score[1] == score[3] && score[2] > -INFINITY);
    // What was seen has no score where it is left out, and so has nothing else with its title: nobody ranks it by scores
    // either.
    const char *seen[] = {"A"};
    g.o.exclude_seen = 1;
    OK(r.score(r.self, &(History){.title = seen, .n = 1}, 1, score, &err));
    assert_true(score[1] == -INFINITY && score[3] == -INFINITY && score[2] > -INFINITY && score[4] > -INFINITY);
    ground_close(&g);
    catalogue_free(&catalogue);
    items_free(&items);
    fixture_close(&f);
}

static void test_refused(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    fixture_open(&f, folders[0], 0);
    const float nan = NAN;
    Ground g = ground(&f, 1, NULL, 0, 0, 0);
    Recommendation list[20];
    int found;
    g.embedding[3] = NAN;
    const Ranker r = ground_ranker(&g);
    assert_int_equal(r.rank(r.self, f.history, 1, list, &found, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    ops_upload(f.g.ops, (float *)f.g.llm.norm.weight, &nan, sizeof nan);
    assert_int_equal(r.rank(r.self, f.history, 1, list, &found, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.message, "log-probabilities"));
    ground_close(&g);
    fixture_close(&f);
}

int main(void) {
    log_level = LOG_WARN;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_literal),    cmocka_unit_test(test_clean),
                                       cmocka_unit_test(test_embeddings), cmocka_unit_test(test_exact),
                                       cmocka_unit_test(test_lists),      cmocka_unit_test(test_same_titles),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
