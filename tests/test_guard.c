// Numbers that go bad: NaN, Inf and spikes put into the loss or the gradient of a training are refused, nothing changes, the
// batch is told, three in a row end the run; and a healthy training is left alone.
#include "trainee.h"

#include "base/rng.h"

static void healthy(void **state) {
    (void)state;
    Guard g = {0};
    int alarms = 0;
    double x[2];
    for (int i = 0; i < 20000; i++) { // a loss that falls, a norm with a heavy tail
        float z[2];
        rng_normal(z, 2, 5, 1, 2 * (uint64_t)i);
        x[0] = 2 + 4 * exp(-i / 3000.0) + 0.1 * z[0], x[1] = 0.5 * exp(0.5 * z[1]);
        alarms += guard_refuses(&g, x[0], x[1], 50) != NULL;
    }
    assert_int_equal(alarms, 0);
    assert_int_equal(g.seen, 20000);
    const struct {
        double loss, norm;
        const char *why;
    } bad[] = {{NAN, 0.5, "the loss is not finite"},   {INFINITY, 0.5, "the loss is not finite"},
               {2, NAN, "the gradient is not finite"}, {2, INFINITY, "the gradient is not finite"},
               {20, 0.5, "the loss is a spike"},       {2, 1 << 30, "the gradient is a spike"}};
    const Guard before = g;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = guard_refuses(&g, bad[i].loss, bad[i].norm, 50);
        assert_non_null(why);
        assert_string_equal(why, bad[i].why);
        assert_memory_equal(&before, &g, sizeof g); // nor do they shift what is normal
    }
    assert_null(guard_refuses(&g, 20, 1 << 30, 0)); // not looked for
    Guard idle = {0}; // rewards that are mostly equal give no gradient: one that comes is no spike
    for (int i = 0; i < 200; i++) assert_null(guard_refuses(&idle, i % 9 ? 0 : 0.1, i % 9 ? 1e-13 : 0.7, 50));
    assert_int_equal(idle.seen, 200);
    Guard young = {0};
    for (int i = 0; i < GUARD_LEAST; i++) assert_null(guard_refuses(&young, i == 3 ? 1e9 : 1, 1, 50));
    assert_null(guard_refuses(&young, 1.04, 1, 50)); // no deviation at all: a thousandth of the median stands for it
    assert_non_null(guard_refuses(&young, 1.06, 1, 50));
}

// The gradient that the optimizer is given: numbers of a stream, but for `value` at parameter `at`.
static void gradient_put(const Llm *m, const Optimizer *o, uint64_t stream, size_t at, float value) {
    float *g = mem_alloc(o->count, sizeof *g);
    for (size_t j = 0; j < o->count; j++) g[j] = o->begin + j == at ? value : (float)rng_uniform(3, stream, j);
    ops_upload(m->ops, m->dw + o->begin, g, o->count * sizeof *g);
    free(g);
}

static void gradient_is_zero(const Llm *m, const Optimizer *o) {
    float *g = mem_alloc(o->count, sizeof *g);
    ops_download(m->ops, g, m->dw + o->begin, o->count * sizeof *g);
    for (size_t j = 0; j < o->count; j++) assert_true(g[j] == 0);
    free(g);
}

// 400 places and values in the gradient of each trainer's model: refused, named, nothing changed.
static void injected(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY, 0x1p30f, -0x1p30f};
    for (int kind = TRAINEE_SFT; kind <= TRAINEE_SASREC; kind++) {
        Trainee t;
        Err err = {0};
        Optimizer o;
        char *folder = folder_new();
        trainee_open(&t, (TraineeKind)kind, folder, 1);
        Llm *m = &t.g.llm;
        OK(llm_train(m,
                     kind == TRAINEE_LORA ? TRAIN_LORA | TRAIN_LATENT
                     : kind == TRAINEE_RL ? TRAIN_LATENT
                                          : TRAIN_BACKBONE,
                     &err));
        OK(optimizer_init(&o, m, &(OptimizerOptions){.lr = 1e-3, .spike = 50}, &err));
        for (int i = 0; i < GUARD_LEAST; i++) {
            gradient_put(m, &o, (uint64_t)i + 1, SIZE_MAX, 0);
            assert_false(optimizer_update_for(&o, 2 + 0.01 * (i % 7)).refused);
        }
        const size_t bytes = optimizer_bytes(&o);
        char *before = malloc(bytes), *after = malloc(bytes);
        optimizer_store(&o, before);
        for (int i = 0; i < 100; i++) {
            const Param *p;
            uint64_t draw = 1000 * (uint64_t)i;
            do p = &m->params.param[rng_below(4, 1, draw++, (uint64_t)m->params.n)];
            while (p->offset < o.begin || p->offset >= o.begin + o.count);
            gradient_put(m, &o, 1000 + (uint64_t)i, p->offset + (size_t)rng_below(4, 2, (uint64_t)i, p->count), bad[i % 5]);
            const OptimizerStep s = optimizer_update_for(&o, 2);
            assert_true(s.refused);
            assert_string_equal(s.why, i % 5 < 3 ? "the gradient is not finite" : "the gradient is a spike");
            if (i % 5 < 3) assert_string_equal(s.where, p->name);
            optimizer_store(&o, after);
            assert_memory_equal(before, after, bytes);
            gradient_is_zero(m, &o);
        }
        assert_true(optimizer_update_for(&o, NAN).refused && optimizer_update_for(&o, 1e6).refused);
        optimizer_store(&o, after);
        assert_memory_equal(before, after, bytes);
        free(before), free(after);
        optimizer_free(&o);
        trainee_close(&t);
        folder_remove(folder);
    }
}

// ---- whole runs -----------------------------------------------------------------------------------------------------

typedef struct Injection {
    int64_t first;
    int count; // so many steps from `first` on get a gradient of `value`
    float value;
} Injection;

static Injection injection;

// What lies in the gradients before a step is added to: so the event of one step spoils the next.
static void spoil(void *context, const json_t *event) {
    Trainee *t = context;
    const int64_t step = json_integer_value(json_object_get(event, "step"));
    trainee_event(context, event);
    if (strcmp(json_string_value(json_object_get(event, "event")), "step")) return;
    Llm *m = &t->g.llm;
    size_t count, begin = llm_train_range(m, &count);
    if (step + 1 >= injection.first && step + 1 < injection.first + injection.count)
        ops_upload(m->ops, m->dw + begin + count / 2, &injection.value, sizeof injection.value);
}

static int run_with(TraineeKind kind, const char *folder, int64_t first, int count, float value, Trainee *t, Err *err) {
    injection = (Injection){first, count, value};
    trainee_open(t, kind, folder, 2);
    t->on_event = spoil;
    return trainee_run(t, 0, err);
}

static void batch_is_told(void **state) {
    (void)state;
    for (int kind = TRAINEE_SFT; kind <= TRAINEE_SASREC; kind++)
        for (int count = 1; count <= 2; count++) {
            Trainee t;
            Err err = {0};
            char *folder = folder_new();
            OK(run_with((TraineeKind)kind, folder, 55, count,
                        count == 1           ? NAN
                        : kind == TRAINEE_RL ? INFINITY
                                             : 0x1p40f,
                        &t, &err));
            assert_int_equal(t.report.steps, TRAINEE_STEPS);
            assert_int_equal(t.report.refused, count);
            const char *at = strstr(t.events.data, "\"step\":55,");
            assert_non_null(at);
            const char *why = strstr(at, "\"why\":\"the gradient is "), *batch = strstr(at, "\"batch\":["),
                       *end = strchr(at, '\n');
            assert_true(why && why < end && batch && batch < end);
            // Of rows their numbers, of sequences their order.
            assert_int_equal(atoi(batch + strlen("\"batch\":[")) >= 100, kind != TRAINEE_SASREC);
            trainee_close(&t);
            trainee_remove(folder);
        }
}

static void three_end_the_run(void **state) {
    (void)state;
    for (int kind = TRAINEE_SFT; kind <= TRAINEE_SASREC; kind++) {
        Trainee t, again;
        Err err = {0};
        char *folder = folder_new();
        assert_int_equal(run_with((TraineeKind)kind, folder, 20, 9, NAN, &t, &err), -1);
        assert_int_equal(err.code, ERR_DATA);
        assert_non_null(strstr(err.message, "stopped at step 22: three updates in a row were refused"));
        assert_int_equal(t.report.refused, 3);
        trainee_close(&t);
        // It has left a checkpoint of sound weights: nothing was injected into a run that goes on behind the three.
        OK(run_with((TraineeKind)kind, folder, 0, 0, 0, &again, &err));
        assert_int_equal(again.report.steps, TRAINEE_STEPS);
        assert_non_null(strstr(again.events.data, "\"step\":23,"));
        assert_null(strstr(again.events.data, "\"event\":\"step\",\"step\":22,"));
        assert_int_equal(again.report.refused, 3);
        assert_true(isfinite(again.report.best_loss));
        trainee_close(&again);
        trainee_remove(folder);
    }
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy),
        cmocka_unit_test(injected),
        cmocka_unit_test(batch_is_told),
        cmocka_unit_test(three_end_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
