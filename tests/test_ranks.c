// Several ranks, here as threads of one process: the order of sums, the same bits whatever their number, and what happens to
// all of them when one is asked to stop, has a gradient that is no number, or begins with other weights.
#include "trainee.h"

#include "base/log.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { MOST = 8 };

typedef struct Team { // threads that stand for ranks
    int size;
    pthread_barrier_t barrier;
    const void *given[MOST];
    int value[MOST];
    int64_t spoilt; // rank 1 gives a NaN in this exchange
} Team;

typedef struct Member {
    Team *team;
    int rank;
    atomic_long exchanges; // begun
    float *given;          // (exchanges) the first value that it gave in each, or NULL
} Member;

static void give(Member *m, const void *x) {
    m->team->given[m->rank] = x;
    pthread_barrier_wait(&m->team->barrier);
}

static void gather(void *self, const void *mine, void *all, size_t bytes) {
    Member *m = self;
    give(m, mine);
    for (int i = 0; i < m->team->size; i++) memcpy((char *)all + (size_t)i * bytes, m->team->given[i], bytes);
    pthread_barrier_wait(&m->team->barrier);
}

static void exchange(void *self, const void *out, void *in, size_t bytes) {
    Member *m = self;
    if (m->given) m->given[m->exchanges] = *(const float *)out;
    if (++m->exchanges == m->team->spoilt && m->rank == 1) ((float *)out)[1] = NAN;
    give(m, out);
    for (int i = 0; i < m->team->size; i++)
        memcpy((char *)in + (size_t)i * bytes, (const char *)m->team->given[i] + (size_t)m->rank * bytes, bytes);
    pthread_barrier_wait(&m->team->barrier);
}

static void broadcast(void *self, void *data, size_t bytes) {
    Member *m = self;
    give(m, data);
    if (m->rank) memcpy(data, m->team->given[0], bytes);
    pthread_barrier_wait(&m->team->barrier);
}

static int meet(void *self, int value, int *all, double seconds) {
    (void)seconds;
    gather(self, &value, all, sizeof value);
    return 0;
}

static void leave(void *self) {
    (void)self;
}

static const RanksCarrier carrier = {gather, exchange, broadcast, meet, leave, _Exit};

typedef void Work(const Ranks *r, void *context); // context: an array's entry of this rank

typedef struct Start {
    Ranks ranks;
    Member member;
    Work *work;
    void *context;
} Start;

static void *start_member(void *argument) {
    Start *s = argument;
    s->work(&s->ranks, s->context);
    return NULL;
}

static void run_team(Team *team, Work *work, void *contexts, size_t bytes) {
    Start start[MOST];
    pthread_t thread[MOST];
    assert_int_equal(pthread_barrier_init(&team->barrier, NULL, (unsigned)team->size), 0);
    for (int i = 0; i < team->size; i++) {
        start[i] = (Start){.member = {.team = team, .rank = i}, .work = work, .context = (char *)contexts + (size_t)i * bytes};
        start[i].ranks = (Ranks){.rank = i, .size = team->size, .carrier = &carrier, .self = &start[i].member};
        assert_int_equal(pthread_create(&thread[i], NULL, start_member, &start[i]), 0);
    }
    for (int i = 0; i < team->size; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    pthread_barrier_destroy(&team->barrier);
}

// ---- shares ---------------------------------------------------------------------------------------------------------

static void cuts(void **state) {
    (void)state;
    for (int size = 1; size <= MOST; size++)
        for (int n = 1; n < 40; n++) {
            int rows[40], begin[SHARES_FIXED + 1], all = 0, most = 0;
            for (int i = 0; i < n; i++) {
                rows[i] = 1 + (int)rng_below(3, (uint64_t)size, (uint64_t)(40 * n + i), 100);
                all += rows[i], most = rows[i] > most ? rows[i] : most;
            }
            Shares s = {.n = size, .begin = begin};
            shares_cut(&s, rows, n);
            assert_int_equal(begin[0], 0);
            assert_int_equal(begin[size], n);
            for (int i = 0; i < size; i++) {
                int part = 0;
                assert_true(begin[i] <= begin[i + 1]);
                for (int j = begin[i]; j < begin[i + 1]; j++) part += rows[j];
                assert_true(part <= all / size + 1 + most);
            }
        }
}

// A model whose gradients are values whose sum depends on their order.
typedef struct Sum {
    Golden g;
    Shares shares;
    int deterministic, round;
    size_t bucket, from, count;
    float *own, *got; // (count)
} Sum;

static float term(int share, size_t i) {
    float z[2];
    rng_normal(z, 2, 7, (uint64_t)share + 1, 2 * i);
    return z[0] * exp2f(8 * z[1]);
}

static void put(const Sum *x, const float *value, size_t begin, size_t end) {
    ops_upload(x->g.ops, x->g.llm.dw + x->from + begin, value, (end - begin) * sizeof *value);
}

// Buckets from the end of the range whose values all stand behind `begin`.
static long buckets_behind(const Shares *s, size_t begin) {
    const size_t bucket = s->slice * (size_t)s->ranks->size;
    long n = 0;
    while ((size_t)n < s->buckets && (s->buckets - 1 - (size_t)n) * bucket >= begin) n++;
    return n;
}

// What a layer's values are before they are final goes nowhere, and once they are their buckets go, without shares_add.
static void pass_back(Sum *x, Member *m, const float *wrong) {
    Shares *s = &x->shares;
    Session session = {0};
    shares_begin(s, &session, x->round);
    assert_int_equal(!session.layer_final, s->ranks->size == 1);
    const long before = m->exchanges;
    size_t end = x->count, taken = x->count;
    for (int l = x->g.llm.config.L - 1; l >= 0 && session.layer_final; l--) {
        const size_t begin = llm_final_from(&x->g.llm, l) - x->from;
        assert_true(begin > 0 && begin < end);
        put(x, x->own + begin, begin, end);
        session.layer_final(session.final_context, l);
        for (int tries = 0; m->exchanges < before + buckets_behind(s, begin); tries++) {
            if (tries == 60000)
                fail_msg("layer %d is final, and %ld of %ld buckets go", l, m->exchanges - before, buckets_behind(s, begin));
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
        assert_int_equal(m->exchanges, before + buckets_behind(s, begin));
        const size_t left = (s->buckets - (size_t)buckets_behind(s, begin)) * s->slice * (size_t)s->ranks->size;
        if (left < taken) put(x, wrong, left, taken), taken = left;
        end = begin;
    }
    put(x, x->own, 0, end);
    shares_add(s);
    assert_null(session.layer_final);
    assert_int_equal(m->exchanges - before, s->ranks->size > 1 ? s->buckets : 0);
}

static void sum_shares(const Ranks *r, void *context) {
    Sum *x = context;
    Member *m = r->self;
    Err err = {0};
    golden_open(&x->g, "tests/golden/tiny-qwen2", DTYPE_F32, 1, 0);
    OK(llm_train(&x->g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    Shares *s = &x->shares;
    shares_init(s, r, &x->g.llm, x->deterministic, x->bucket);
    for (int i = 0; i <= s->n; i++) s->begin[i] = i; // one example each
    x->from = llm_train_range(&x->g.llm, &x->count);
    x->own = malloc(x->count * sizeof *x->own), x->got = malloc(x->count * sizeof *x->got);
    m->given = malloc(s->buckets * (size_t)s->rounds * sizeof *m->given);
    for (x->round = 0; x->round < s->rounds; x->round++) {
        const Share mine = shares_own(s, x->round);
        for (size_t i = 0; i < x->count; i++) x->own[i] = mine.first < mine.end ? term(mine.number, i) : 0, x->got[i] = NAN;
        pass_back(x, m, x->got);
    }
    ops_download(x->g.ops, x->got, x->g.llm.dw + x->from, x->count * sizeof *x->got);
    // From the last bucket to the first.
    for (long i = 0; i < m->exchanges; i++) {
        const size_t at = (s->buckets - 1 - (size_t)i % s->buckets) * s->slice * (size_t)r->size;
        const int share = (int)((size_t)i / s->buckets) * r->size + r->rank;
        assert_true(m->given[i] == (share < s->n ? term(share, at) : 0));
    }
    free(m->given), free(x->own);
    shares_free(s);
    golden_close_all(&x->g);
}

static void order_of(int size, int deterministic, size_t bucket) {
    Team team = {.size = size};
    Sum sum[MOST] = {0};
    for (int i = 0; i < size; i++) sum[i].deterministic = deterministic, sum[i].bucket = bucket;
    run_team(&team, sum_shares, sum, sizeof *sum);
    const int shares = deterministic ? SHARES_FIXED : size;
    for (size_t i = 0; i < sum[0].count; i++) {
        float want = term(0, i), other = term(shares - 1, i);
        for (int share = 1; share < shares; share++) want += term(share, i);
        for (int share = shares - 2; share >= 0; share--) other += term(share, i);
        for (int rank = 0; rank < size; rank++) {
            if (memcmp(&sum[rank].got[i], &want, sizeof want))
                fail_msg("%d ranks, value %zu of rank %d: %.9g, not %.9g (%.9g the other way round)", size, i, rank,
                         (double)sum[rank].got[i], (double)want, (double)other);
        }
    }
    for (int rank = 0; rank < size; rank++) free(sum[rank].got);
}

static void order(void **state) {
    (void)state;
    static const size_t bucket[] = {0, 1009, 20000}; // 0: one bucket, which goes behind the pass back
    for (int deterministic = 0; deterministic <= 1; deterministic++)
        for (int size = 2 - deterministic; size <= MOST; size++)
            for (int i = 0; i < 3; i++)
                if (size <= 4 || i == size % 3) order_of(size, deterministic, bucket[i]);
}

// ---- whole runs -----------------------------------------------------------------------------------------------------

typedef struct Told { // of a pass back
    const Llm *llm;
    int64_t passes;
    int layer;
    size_t end;        // values from here on are final
    float *then, *now; // (all that train) when they were told to be
} Told;

static void tell(void *context, int layer) {
    Told *t = context;
    const Llm *m = t->llm;
    size_t count, from = llm_train_range(m, &count), begin = llm_final_from(m, layer) - from;
    if (layer == m->config.L - 1)
        t->passes++, t->end = count;
    else
        assert_int_equal(layer, t->layer - 1);
    ops_download(m->ops, t->now, m->dw + from, count * sizeof *t->now);
    assert_memory_equal(t->now + t->end, t->then + t->end, (count - t->end) * sizeof *t->now);
    memcpy(t->then, t->now, count * sizeof *t->now);
    t->layer = layer, t->end = begin;
}

// Once in each update, last layer first, all that is final; nothing is added to that.
static void layers_become_final(void **state) {
    (void)state;
    for (int kind = TRAINEE_SFT; kind <= TRAINEE_KINDS + 1; kind++) {
        const int earlier = kind == TRAINEE_KINDS + 1; // SFT of a thought that the first layer's states make
        if (!earlier && !trainee_can((TraineeKind)kind)) continue;
        Trainee t;
        Err err = {0};
        char *folder = folder_new();
        const int all = kind == TRAINEE_KINDS, passes = kind == TRAINEE_RL ? 0 : all ? 2 : 1; // two inner updates
        trainee_open(&t, all ? TRAINEE_RL : earlier ? TRAINEE_SFT : (TraineeKind)kind, folder, 1);
        t.everything = all;
        if (earlier) {
            session_free(&t.s);
            t.g.llm.config.thought_layer = 1;
            OK(session_init(&t.s, &t.g.llm, 1024, &err));
        }
        const size_t bytes = t.g.llm.params.total * sizeof(float);
        Told told = {.llm = &t.g.llm, .then = malloc(bytes), .now = malloc(bytes)};
        t.s.layer_final = tell, t.s.final_context = &told;
        OK(trainee_run(&t, 0, &err));
        assert_int_equal(told.passes, passes * TRAINEE_STEPS);
        assert_int_equal(told.layer, 0);
        free(told.then), free(told.now);
        trainee_close(&t);
        trainee_remove(folder);
    }
}

typedef struct Outcome { // what a rank was left with
    TraineeKind kind;
    int deterministic, save_every, other_weights, everything;
    size_t bucket;
    int64_t interrupt_at; // by this rank alone
    int interrupted;      // and from the beginning: in the first validation
    char *folder;         // NULL: one of its own
    int status;
    Err err;
    LoopReport report;
    size_t bytes;
    float *weights;
    char *events, kept[33]; // kept: the hash, of rank 0
} Outcome;

static void train(const Ranks *r, void *context) {
    Outcome *x = context;
    Trainee t;
    char *folder = x->folder && r->rank == 0 ? x->folder : folder_new();
    trainee_open(&t, x->kind, folder, 1);
    t.ranks = r;
    t.deterministic = x->deterministic;
    t.bucket = x->bucket;
    t.everything = x->everything;
    t.interrupt_at = x->interrupt_at;
    t.interrupt = x->interrupted;
    if (x->other_weights) {
        const Param *p = &t.g.llm.params.param[t.g.llm.params.n / 2];
        float w;
        llm_get(&t.g.llm, p, 0, 1, &w);
        w += 1e-6f;
        llm_set(&t.g.llm, p, 0, 1, &w);
    }
    x->status = trainee_run(&t, x->save_every, &x->err);
    x->report = t.report;
    x->weights = trainee_weights(&t, &x->bytes);
    x->events = t.events.data ? mem_strndup(t.events.data, t.events.len) : NULL;
    if (r->rank == 0 && x->status == 0) memcpy(x->kept, t.best_hash, sizeof x->kept);
    trainee_close(&t);
    if (folder != x->folder) trainee_remove(folder);
}

static Outcome *run_all(Team *team, TraineeKind kind, int deterministic, Outcome first) {
    Outcome *x = calloc((size_t)team->size, sizeof *x);
    for (int i = 0; i < team->size; i++) {
        x[i] = first;
        x[i].kind = kind, x[i].deterministic = deterministic;
    }
    run_team(team, train, x, sizeof *x);
    return x;
}

static void outcomes_free(Outcome *x, int n) {
    for (int i = 0; i < n; i++) free(x[i].weights), free(x[i].events);
    free(x);
}

static void expect_same(const Outcome *a, const Outcome *b, const char *what, int ranks) {
    if (a->status || b->status) fail_msg("%s, %d ranks: %s", what, ranks, a->status ? a->err.message : b->err.message);
    assert_int_equal(a->bytes, b->bytes);
    if (memcmp(a->weights, b->weights, a->bytes)) fail_msg("%s, %d ranks: other weights", what, ranks);
    if (strcmp(a->events, b->events)) fail_msg("%s, %d ranks: other events:\n%s---\n%s", what, ranks, a->events, b->events);
    assert_int_equal(a->report.tokens, b->report.tokens);
    if (*a->kept && *b->kept) assert_string_equal(a->kept, b->kept);
}

// With buckets that go while the pass back goes on, and (the one rank) without any.
static void deterministic(void **state) {
    (void)state;
    static const size_t bucket[] = {700, 0, 5000}; // of 2, 3 and 4 ranks
    for (int kind = TRAINEE_SFT; kind <= TRAINEE_KINDS; kind++) {
        if (!trainee_can((TraineeKind)kind)) continue;
        const Outcome first = {.everything = kind == TRAINEE_KINDS};
        const TraineeKind of = kind == TRAINEE_KINDS ? TRAINEE_RL : (TraineeKind)kind;
        Team alone = {.size = 1};
        Outcome *want = run_all(&alone, of, 1, first);
        for (int size = 2; size <= 4; size++) {
            Team team = {.size = size};
            Outcome some = first;
            some.bucket = bucket[size - 2];
            Outcome *got = run_all(&team, of, 1, some);
            for (int i = 0; i < size; i++) expect_same(want, &got[i], trainee_name[of], size);
            outcomes_free(got, size);
        }
        outcomes_free(want, 1);
    }
}

// The figures of the first update are those of one rank, but for sums in another order.
static void expect_near(const Outcome *want, const Outcome *got) {
    static const char *const figure[] = {"loss", "gradient_norm", "reward_mean", "reward_std", "thought_norm"};
    json_t *event[2];
    const char *events[] = {want->events, got->events};
    for (int i = 0; i < 2; i++) // line 1 is the validation before it
        event[i] = json_loads(strchr(events[i], '\n') + 1, JSON_DISABLE_EOF_CHECK, NULL);
    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++) {
        const double x = json_number_value(json_object_get(event[0], figure[i]));
        golden_close(json_number_value(json_object_get(event[1], figure[i])), x, 1e-5 * fabs(x) + 1e-9, figure[i], got->kind);
    }
    json_decref(event[0]), json_decref(event[1]);
}

static void again(void **state) {
    (void)state;
    for (int kind = TRAINEE_SFT; kind < TRAINEE_KINDS; kind++) {
        if (!trainee_can((TraineeKind)kind)) continue;
        Team alone = {.size = 1};
        Outcome *one = run_all(&alone, (TraineeKind)kind, 0, (Outcome){0});
        Team team = {.size = 3};
        Outcome *want = run_all(&team, (TraineeKind)kind, 0, (Outcome){0}), // all gradients at once
            *got = run_all(&team, (TraineeKind)kind, 0, (Outcome){.bucket = 1200});
        for (int i = 0; i < team.size; i++) expect_same(want, &got[i], trainee_name[kind], team.size);
        expect_near(one, got);
        outcomes_free(want, team.size), outcomes_free(got, team.size), outcomes_free(one, 1);
    }
}

// Rank 2 of 3 is asked to stop, in the first validation and after a step; the run goes on with 4 ranks, then with one.
static void stops_and_goes_on(void **state) {
    (void)state;
    for (int kind = TRAINEE_SFT; kind < TRAINEE_KINDS; kind++) {
        if (!trainee_can((TraineeKind)kind)) continue;
        Team alone = {.size = 1}, team = {.size = 3};
        Outcome *want = run_all(&alone, (TraineeKind)kind, 1, (Outcome){0});
        char *folder = folder_new();
        Outcome *got;
        for (int64_t step = 0; step <= 17; step += 17) {
            got = calloc((size_t)team.size, sizeof *got);
            for (int i = 0; i < team.size; i++)
                got[i] = (Outcome){.kind = (TraineeKind)kind, .deterministic = 1, .folder = folder};
            got[2].interrupt_at = step;
            got[2].interrupted = step == 0;
            run_team(&team, train, got, sizeof *got);
            for (int i = 0; i < team.size; i++) {
                assert_int_equal(got[i].status, 0);
                assert_int_equal(got[i].report.steps, step);
                assert_int_equal(got[i].report.interrupted, 1);
            }
            outcomes_free(got, team.size);
        }
        team.size = 4;
        got = run_all(&team, (TraineeKind)kind, 1, (Outcome){.folder = folder, .save_every = 25});
        for (int i = 0; i < team.size; i++) {
            assert_int_equal(got[i].status, 0);
            assert_memory_equal(want->weights, got[i].weights, want->bytes);
            assert_string_equal(want->events + strlen(want->events) - strlen(got[i].events), got[i].events);
        }
        assert_string_equal(want->kept, got->kept);
        outcomes_free(got, team.size);
        outcomes_free(want, 1);
        trainee_remove(folder);
    }
}

// One value that one rank hands over is no number: all refuse that update, and no other.
static void refused_by_all(void **state) {
    (void)state;
    for (int kind = TRAINEE_SFT; kind < TRAINEE_KINDS; kind++)
        for (int fixed = 0; fixed <= 1 && trainee_can((TraineeKind)kind); fixed++) {
            Team team = {.size = 3, .spoilt = 20};
            Outcome *got = run_all(&team, (TraineeKind)kind, fixed, (Outcome){0});
            for (int i = 0; i < team.size; i++) {
                expect_same(got, &got[i], trainee_name[kind], team.size);
                assert_int_equal(got[i].report.refused, 1);
                assert_non_null(strstr(got[i].events, "\"why\":\"the gradient is not finite\""));
            }
            outcomes_free(got, team.size);
        }
}

static void other_weights(void **state) {
    (void)state;
    Team team = {.size = 3};
    Outcome got[3] = {0};
    got[1].other_weights = 1;
    run_team(&team, train, got, sizeof *got);
    for (int i = 0; i < team.size; i++) {
        assert_int_equal(got[i].status, -1);
        assert_int_equal(got[i].err.code, ERR_DATA);
        assert_string_equal(got[i].err.message, "rank 1: sft: it does not start from the weights, moments and step of rank 0");
        assert_int_equal(got[i].report.steps, 0);
        free(got[i].weights), free(got[i].events);
    }
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {cmocka_unit_test(cuts),
                                       cmocka_unit_test(order),
                                       cmocka_unit_test(layers_become_final),
                                       cmocka_unit_test(deterministic),
                                       cmocka_unit_test(again),
                                       cmocka_unit_test(refused_by_all),
                                       cmocka_unit_test(stops_and_goes_on),
                                       cmocka_unit_test(other_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
