// Rewards that ask for the list (`rl --reward hit`, `rank`): against scoring every item behind each noisy thought, and against
// the lists that `recommend` makes of the same thoughts; and that it is these rewards that the gradient follows.
#include "base/rng.h"
#include "fixture.h"
#include "rec/ranks.h"
#include "train/rl.h"

static const char *const folders[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

enum { K = 3, PROMPTS = 2 };

typedef struct Search {
    const Fixture *f;
    BeamOptions beam;
    int asked; // searches
} Search;

// The target of a row: some item of the catalogue, another for each row.
static int target_of(const Fixture *f, int row) {
    return (5 + 7 * row) % f->items.n;
}

static void rank_target(void *context, Session *s, uint32_t example, const int *node, int samples, int *rank) {
    Search *x = context;
    assert_int_equal(samples, K);
    const Catalogue *c = &x->f->catalogue;
    ranks_find(c, &x->beam, s, c->leaf[target_of(x->f, (int)example)], node, samples, rank);
    x->asked++;
}

static void noise_of(float *unit, int D) {
    rng_normal(unit, (size_t)(PROMPTS * K * D), 41, 1, 0);
}

// Rewards (PROMPTS, K), and the noisy thoughts they were given for.
static void draw(Fixture *f, RewardKind kind, ObjectiveKind objective, int beams, double *reward, float *thought) {
    Err err = {0};
    Session s;
    Rollout u;
    Search search = {.f = f, .beam = {.beams = beams, .length_penalty = 1}};
    const Ranking ranking = {&search, rank_target};
    const RolloutOptions o = {.samples = K, .sigma = 2, .sigma_relative = 1, .reward = kind, .ranking = &ranking};
    const Objective token = {.kind = objective, .epsilon_low = 0.2, .epsilon_high = 0.28};
    const int D = f->g.llm.config.D;
    const size_t slots = beam_slots(&f->catalogue.trie, &search.beam, K) + K;
    float *unit = malloc(sizeof(float) * (size_t)(PROMPTS * K * D));
    noise_of(unit, D);
    OK(llm_train(&f->g.llm, TRAIN_LATENT, &err));
    OK(session_init(&s, &f->g.llm, rollout_slots(&f->g.examples, 1, PROMPTS, K, 256) + (int)slots, &err));
    const SessionMark mark = session_mark(&s);
    rollout_init(&u, &s, &f->g.examples, f->g.index, PROMPTS, &o, &token, 256);
    rollout_draw(&u, unit);
    memcpy(reward, u.reward, sizeof(double) * PROMPTS * K);
    for (int i = 0; i < PROMPTS * K * D; i++) thought[i] = u.old[i / (K * D) * D + i % D] + u.noise[i];
    assert_int_equal(search.asked, PROMPTS);
    // The gradient goes on from there as ever.
    advantage_of(ADVANTAGE_BATCH, 0, u.reward, PROMPTS, K, u.advantage);
    rollout_gradient(&u);
    assert_true(isfinite(op_sum_squares(f->g.ops, f->g.llm.dw, f->g.llm.params.total)));
    session_reset(&s, mark);
    session_free(&s);
    free(unit);
}

// A row's prompt, ready for thoughts.
static int prompt_node(Fixture *f, Session *s, int row) {
    const Example *x = &f->g.examples.example[row];
    Segment g;
    segment_begin(s, &g, 2, (int)f->g.examples.common.ids.len + x->prompt_len);
    int node = segment_add(s, &g, -1, f->g.examples.common.ids.data, (int)f->g.examples.common.ids.len);
    node = segment_add(s, &g, node, x->prompt, x->prompt_len);
    segment_forward(s, &g, NULL, 0);
    return node;
}

// The log-probability of item `item`'s answer behind a thought, over its length: a pass of its own for each.
static double score_of(Fixture *f, Session *s, int prompt, int item, const float *thought) {
    Err err = {0};
    Ints ids = {0};
    const SessionMark mark = session_mark(s);
    Segment g;
    ints_push(&ids, -1);
    OK(prompt_answer(&ids, f->tokenizer, &f->style, f->items.title[item], NULL, &err));
    const int A = (int)ids.len - 1;
    segment_begin(s, &g, 1, A);
    const int node = segment_add(s, &g, prompt, ids.data, A);
    float *r = ARENA_NEW(&s->device, float, f->g.llm.config.D), logprob[256];
    int32_t slot[256];
    assert_true(A <= 256);
    ops_upload(f->g.ops, r, thought, (size_t)f->g.llm.config.D * sizeof(float));
    segment_forward(s, &g, r, 0);
    for (int i = 0; i < A; i++) slot[i] = session_slot(s, node, i);
    head_logprob(s, slot, ids.data + 1, A, logprob, NULL);
    double sum = 0;
    for (int i = 0; i < A; i++) sum += (double)logprob[i];
    session_reset(s, mark);
    ints_free(&ids);
    return sum / A;
}

// As many beams as items find all of them: the rank is one more than the number of items that score higher.
static void ranks_by_scoring(void **state) {
    (void)state;
    Err err = {0};
    Fixture f;
    Session s;
    fixture_open(&f, folders[0], 1);
    const int D = f.g.llm.config.D, n = f.items.n;
    double reward[PROMPTS * K], lowest = 1, highest = 0;
    float *thought = malloc(sizeof(float) * (size_t)(PROMPTS * K * D));
    draw(&f, REWARD_RANK, OBJECTIVE_LATENT, n, reward, thought);
    OK(session_init(&s, &f.g.llm, 1024, &err));
    for (int i = 0; i < PROMPTS * K; i++) {
        const int target = target_of(&f, i / K);
        const SessionMark mark = session_mark(&s);
        const int prompt = prompt_node(&f, &s, i / K);
        const double mine = score_of(&f, &s, prompt, target, thought + i * D);
        int rank = 1;
        for (int item = 0; item < n; item++) rank += item != target && score_of(&f, &s, prompt, item, thought + i * D) > mine;
        session_reset(&s, mark);
        golden_close(reward[i], 1 / log2(1 + rank), 1e-12, "reward of the rank", i);
        lowest = fmin(lowest, reward[i]), highest = fmax(highest, reward[i]);
    }
    assert_true(lowest < highest);
    free(thought);
    session_free(&s);
    fixture_close(&f);
}

// Half as many beams as items: what `recommend` lists for the same thoughts.
static void ranks_as_recommended(void **state) {
    (void)state;
    int hits = 0;
    for (int m = 0; m < 2; m++) {
        Err err = {0};
        Fixture f;
        Recommender r;
        fixture_open(&f, folders[m], 1);
        const int W = f.items.n / 2;
        Recommendation *list = calloc((size_t)(K * W), sizeof *list);
        const int D = f.g.llm.config.D;
        double hit[PROMPTS * K], rank[PROMPTS * K];
        float *thought = malloc(sizeof(float) * (size_t)(PROMPTS * K * D));
        draw(&f, REWARD_HIT, OBJECTIVE_TOKEN, W, hit, thought);
        draw(&f, REWARD_RANK, OBJECTIVE_TOKEN, W, rank, thought);
        const RecommendOptions o = {.beams = W, .k = W, .users = K, .length_penalty = 1};
        OK(recommend_open(&r, &f.g.llm, f.tokenizer, &f.style, &f.catalogue, &o, &err));
        for (int b = 0; b < PROMPTS; b++) {
            History same[K];
            int found[K];
            for (int k = 0; k < K; k++) same[k] = f.history[b], same[k].number = k;
            r.reader.thoughts.given = thought + b * K * D;
            OK(recommend_users(&r, same, K, list, found, &err));
            for (int k = 0; k < K; k++) {
                double want = 0;
                for (int i = 0; i < found[k]; i++)
                    if (list[k * W + i].item == target_of(&f, b)) want = 1 / log2(2 + i);
                golden_close(rank[b * K + k], want, 1e-12, "rank", b * K + k);
                golden_close(hit[b * K + k], want > 0, 0, "hit", b * K + k);
                hits += want > 0;
            }
        }
        recommend_close(&r);
        free(list), free(thought);
        fixture_close(&f);
    }
    if (hits == 0 || hits == 2 * PROMPTS * K) fail_msg("%d hits: the test sees only one side", hits);
}

// ---- what the rewards say is what is learnt ----------------------------------------------------------------------------

static void rank_by_table(void *context, Session *s, uint32_t example, const int *node, int samples, int *rank) {
    const int *table = context; // (PROMPTS, K)
    (void)s, (void)node;
    for (int k = 0; k < samples; k++) rank[k] = table[(int)example * K + k];
}

// LatentRATT's gradient for given hits.
static float *gradient_for(Fixture *f, const int *table, ObjectiveKind objective) {
    Err err = {0};
    Session s;
    const Ranking ranking = {(void *)(uintptr_t)table, rank_by_table};
    const RlMethod m = {.rollout = {.samples = K, .sigma = 2, .sigma_relative = 1, .reward = REWARD_HIT, .ranking = &ranking},
                        .objective = {.kind = objective, .epsilon_low = 0.2, .epsilon_high = 0.28},
                        .scope = ADVANTAGE_GROUP_MEAN};
    const int D = f->g.llm.config.D;
    float *unit = malloc(sizeof(float) * (size_t)(PROMPTS * K * D)), *dw = malloc(f->g.llm.params.total * sizeof(float));
    noise_of(unit, D);
    OK(llm_train(&f->g.llm, TRAIN_LATENT, &err));
    OK(session_init(&s, &f->g.llm, rollout_slots(&f->g.examples, 1, PROMPTS, K, 256) + K, &err));
    rl_examples(&s, &f->g.examples, f->g.index, PROMPTS, &m, unit, NULL, 256, NULL, NULL);
    ops_download(f->g.ops, dw, f->g.llm.dw, f->g.llm.params.total * sizeof(float));
    session_free(&s);
    free(unit);
    return dw;
}

// A constant reward teaches nothing; the opposite reward the opposite.
static void signs(void **state) {
    (void)state;
    const int same[PROMPTS * K] = {1, 1, 1, 1, 1, 1}, some[PROMPTS * K] = {1, 0, 1, 0, 0, 1},
                             others[PROMPTS * K] = {0, 1, 0, 1, 1, 0};
    for (int objective = OBJECTIVE_TOKEN; objective <= OBJECTIVE_LATENT; objective++) {
        Fixture f;
        fixture_open(&f, folders[0], 1);
        const size_t from = f.g.llm.params.begin[PARAMS_LATENT], end = f.g.llm.params.begin[PARAMS_LATENT + 1];
        float *none = gradient_for(&f, same, (ObjectiveKind)objective), *one = gradient_for(&f, some, (ObjectiveKind)objective),
              *other = gradient_for(&f, others, (ObjectiveKind)objective);
        double norm = 0;
        for (size_t i = from; i < end; i++) norm = fmax(norm, fabs((double)one[i]));
        assert_true(norm > 0);
        for (size_t i = from; i < end; i++) {
            golden_close(none[i], 0, 0, "gradient of a constant reward", (int)i);
            golden_close(other[i], -(double)one[i], 1e-5 * norm, "gradient of the opposite reward", (int)i);
        }
        free(none), free(one), free(other);
        fixture_close(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_by_scoring), cmocka_unit_test(ranks_as_recommended),
                                       cmocka_unit_test(signs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
