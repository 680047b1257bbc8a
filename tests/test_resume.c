// Runs that stop and go on: after every step, of all trainers, with the same bits and the same log as one that never stopped.
#include "trainee.h"

#include <fcntl.h>
#include <sys/stat.h>

typedef struct Outcome { // of a run
    size_t bytes;
    float *weights;
    char *events;
    char kept[33]; // hash of the model kept
    LoopReport report;
} Outcome;

static Outcome outcome_of(Trainee *t) {
    Outcome x = {.report = t->report};
    Err err = {0};
    x.weights = trainee_weights(t, &x.bytes);
    x.events = mem_strndup(t->events.data, t->events.len);
    OK(file_hash(x.kept, t->best, &err));
    return x;
}

static void outcome_free(Outcome *x) {
    free(x->weights), free(x->events);
}

static Outcome never_stopped(TraineeKind kind) {
    Trainee t;
    Err err = {0};
    char *folder = folder_new();
    trainee_open(&t, kind, folder, 1);
    OK(trainee_run(&t, 0, &err));
    assert_int_equal(t.report.steps, TRAINEE_STEPS);
    assert_false(file_exists(t.checkpoints.folder)); // no one asked for checkpoints
    Outcome x = outcome_of(&t);
    trainee_close(&t);
    folder_remove(folder);
    return x;
}

static void expect_same(const Outcome *want, const Outcome *got, const char *name, int64_t step) {
    if (memcmp(want->weights, got->weights, want->bytes)) fail_msg("%s: other weights after step %lld", name, (long long)step);
    if (strcmp(want->kept, got->kept)) fail_msg("%s: another model was kept, after step %lld", name, (long long)step);
    const size_t all = strlen(want->events), tail = strlen(got->events);
    if (tail > all || strcmp(want->events + all - tail, got->events))
        fail_msg("%s: other events after step %lld:\n%s---\n%s", name, (long long)step, want->events, got->events);
    const LoopReport *a = &want->report, *b = &got->report;
    assert_int_equal(a->steps, b->steps);
    assert_int_equal(a->examples, b->examples);
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->tokens_forward, b->tokens_forward);
    assert_int_equal(a->tokens_back, b->tokens_back);
    assert_int_equal(a->best_step, b->best_step);
    assert_true(a->best_loss == b->best_loss && a->first_loss == b->first_loss);
}

// One run that is stopped after each of its steps; what it tells in all is what a run tells that never stopped.
static void stopped_after_every_step(TraineeKind kind) {
    Outcome want = never_stopped(kind), got;
    char *folder = folder_new();
    Str events = {0};
    for (int64_t step = 1; step <= TRAINEE_STEPS + 1; step++) {
        Trainee t;
        Err err = {0};
        if (step % 2) { // a validation comes first, and is stopped at its beginning: nothing has happened
            trainee_open(&t, kind, folder, 2);
            t.interrupt = 1;
            OK(trainee_run(&t, 0, &err));
            assert_int_equal(t.report.interrupted, 1);
            assert_int_equal(t.report.steps, step - 1);
            assert_int_equal(t.events.len, 0);
            trainee_close(&t);
        }
        trainee_open(&t, kind, folder, 2);
        t.interrupt_at = step;
        OK(trainee_run(&t, 0, &err));
        assert_int_equal(t.report.interrupted, step <= TRAINEE_STEPS);
        str_append(&events, t.events.data, t.events.len);
        if (step > TRAINEE_STEPS) got = outcome_of(&t);
        trainee_close(&t);
    }
    free(got.events);
    got.events = events.data;
    assert_int_equal(strlen(want.events), events.len);
    expect_same(&want, &got, trainee_name[kind], TRAINEE_STEPS);
    outcome_free(&want), outcome_free(&got);
    trainee_remove(folder);
}

static void stops_sft(void **state) {
    (void)state;
    stopped_after_every_step(TRAINEE_SFT);
}

static void stops_lora(void **state) {
    (void)state;
    stopped_after_every_step(TRAINEE_LORA);
}

static void stops_rl(void **state) {
    (void)state;
    stopped_after_every_step(TRAINEE_RL);
}

static void stops_sasrec(void **state) {
    (void)state;
    stopped_after_every_step(TRAINEE_SASREC);
}

static void stops_lean(void **state) {
    (void)state;
    if (!ops_has_bf16(NULL)) skip();
    stopped_after_every_step(TRAINEE_LEAN);
}

// Checkpoints made in the background while training goes on, after every step and kept: from each the run ends the same.
static void from_each_checkpoint(void **state) {
    (void)state;
    const TraineeKind kind = TRAINEE_SASREC;
    Trainee t;
    Err err = {0};
    Outcome want = never_stopped(kind), got;
    char *folder = folder_new(), line[32];
    trainee_open(&t, kind, folder, TRAINEE_STEPS);
    OK(trainee_run(&t, 1, &err));
    got = outcome_of(&t);
    expect_same(&want, &got, "saving all the time", 0);
    outcome_free(&got);
    char *latest = file_join(t.checkpoints.folder, "latest");
    trainee_close(&t);
    for (int64_t step = TRAINEE_STEPS; step >= 1; step--) {
        snprintf(line, sizeof line, "step-%010lld\n", (long long)step);
        OK(file_write(latest, line, strlen(line), &err));
        trainee_open(&t, kind, folder, TRAINEE_STEPS);
        OK(trainee_run(&t, 0, &err));
        got = outcome_of(&t);
        expect_same(&want, &got, trainee_name[kind], step);
        outcome_free(&got);
        trainee_close(&t);
    }
    outcome_free(&want);
    free(latest);
    trainee_remove(folder);
}

// ---- which checkpoint is taken --------------------------------------------------------------------------------------

static void damage(const char *checkpoints, int64_t step, const char *name) {
    char folder[32];
    snprintf(folder, sizeof folder, "step-%010lld", (long long)step);
    char *a = file_join(checkpoints, folder), *path = file_join(a, name);
    int fd = open(path, O_RDWR);
    char byte;
    assert_true(fd >= 0);
    const off_t middle = lseek(fd, 0, SEEK_END) / 2;
    assert_int_equal(pread(fd, &byte, 1, middle), 1);
    byte ^= 8;
    assert_int_equal(pwrite(fd, &byte, 1, middle), 1);
    close(fd);
    free(a), free(path);
}

static int64_t found_step(const char *folder) {
    Checkpoints c;
    Err err = {0};
    OK(checkpoints_open(&c, folder, 2, &err));
    int64_t step = checkpoints_find(&c, &err) ? -2 : c.last;
    if (step == -2) assert_int_equal(err.code, ERR_DATA);
    checkpoints_close(&c);
    return step;
}

static void falls_back(void **state) {
    (void)state;
    Trainee t;
    Err err = {0};
    char *folder = folder_new();
    assert_int_equal(found_step(folder), -1);
    trainee_open(&t, TRAINEE_SASREC, folder, 3);
    t.interrupt_at = 11;
    OK(trainee_run(&t, 2, &err));
    char *checkpoints = mem_strndup(t.checkpoints.folder, strlen(t.checkpoints.folder)),
         *latest = file_join(checkpoints, "latest");
    trainee_close(&t);
    assert_int_equal(found_step(folder), 11); // 8, 10, 11 were kept
    damage(checkpoints, 11, "training.state");
    assert_int_equal(found_step(folder), 10);
    damage(checkpoints, 10, "best.safetensors");
    assert_int_equal(found_step(folder), 8);
    damage(checkpoints, 10, "best.safetensors");
    assert_int_equal(found_step(folder), 10);
    const struct {
        const char *latest;
        int64_t step;
    } pointers[] = {{"step-0000000008\n", 8},
                    {"step-0000000009\n", 10},
                    {"step-8\n", 10},
                    {"step-00000000081\n", 10},
                    {"../x", 10},
                    {"", 10},
                    {"step-0000000008", 10},
                    {"step-0000000010\n", 10}};
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++) {
        OK(file_write(latest, pointers[i].latest, strlen(pointers[i].latest), &err));
        assert_int_equal(found_step(folder), pointers[i].step);
    }
    assert_int_equal(unlink(latest), 0);
    assert_int_equal(found_step(folder), 10);
    assert_int_equal(mkdir(latest, 0777), 0);
    assert_int_equal(found_step(folder), 10);
    assert_int_equal(rmdir(latest), 0);
    damage(checkpoints, 8, "training.state"), damage(checkpoints, 10, "training.state");
    assert_int_equal(found_step(folder), -2);
    free(checkpoints), free(latest);
    trainee_remove(folder);
}

// After a fall back the damaged one is made again, and those of steps to come go.
static void goes_on_from_the_one_before(void **state) {
    (void)state;
    Trainee t;
    Err err = {0};
    Outcome want = never_stopped(TRAINEE_SASREC);
    char *folder = folder_new();
    trainee_open(&t, TRAINEE_SASREC, folder, 3);
    t.interrupt_at = 20;
    OK(trainee_run(&t, 10, &err));
    damage(t.checkpoints.folder, 20, "training.state");
    trainee_close(&t);
    trainee_open(&t, TRAINEE_SASREC, folder, 3);
    t.interrupt_at = 15;
    OK(trainee_run(&t, 10, &err));
    assert_int_equal(t.report.steps, 15);
    trainee_close(&t);
    assert_int_equal(found_step(folder), 15);
    trainee_open(&t, TRAINEE_SASREC, folder, 3);
    OK(trainee_run(&t, 10, &err));
    Outcome got = outcome_of(&t);
    expect_same(&want, &got, "after a fall back", 15);
    outcome_free(&want), outcome_free(&got);
    trainee_close(&t);
    trainee_remove(folder);
}

// ---- saving ---------------------------------------------------------------------------------------------------------

// What the file holds is what the weights were when the save began, however fast they change meanwhile.
static void background_sees_no_later_weights(void **state) {
    (void)state;
    Trainee t;
    Err err = {0};
    Optimizer o;
    const OptimizerOptions options = {.lr = 1e-3, .steps = 1000};
    char *folder = folder_new();
    trainee_open(&t, TRAINEE_SASREC, folder, 1);
    OK(llm_train(&t.g.llm, TRAIN_BACKBONE, &err));
    OK(optimizer_init(&o, &t.g.llm, &options, &err));
    const size_t bytes = optimizer_bytes(&o);
    char *now = malloc(bytes);
    for (int step = 1; step <= 500; step++) {
        o.step = step;
        for (size_t i = 0; i < o.count; i++) t.g.llm.w[o.begin + i] = (float)(step * 1000 + (int)(i % 997));
        optimizer_store(&o, now);
        OK(checkpoints_save(&t.checkpoints, &o, step, json_object(), &err));
        for (int change = 0; change < 20; change++) // training goes on
            for (size_t i = 0; i < o.count; i++) t.g.llm.w[o.begin + i] += 1, o.v[i] += 1;
        OK(checkpoints_wait(&t.checkpoints, &err));
        OK(checkpoints_find(&t.checkpoints, &err));
        assert_int_equal(t.checkpoints.last, step);
        assert_int_equal(t.checkpoints.found.bytes, bytes);
        if (memcmp(t.checkpoints.found.data, now, bytes)) fail_msg("save %d holds other weights", step);
        checkpoint_file_close(&t.checkpoints.found);
    }
    free(now);
    optimizer_free(&o);
    trainee_close(&t);
    trainee_remove(folder);
}

static void one_run_a_folder(void **state) {
    (void)state;
    Checkpoints a, b;
    Err err = {0};
    char *folder = folder_new();
    OK(checkpoints_open(&a, folder, 1, &err));
    assert_int_equal(checkpoints_open(&b, folder, 1, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    checkpoints_close(&b);
    checkpoints_close(&a);
    OK(checkpoints_open(&b, folder, 1, &err));
    checkpoints_close(&b);
    folder_remove(folder);
}

// A checkpoint of another model, or with numbers that no training has, is refused and changes nothing.
static void other_models(void **state) {
    (void)state;
    Trainee a, b;
    Err err = {0};
    Optimizer x, y;
    const OptimizerOptions options = {.lr = 1e-3, .steps = 1000};
    char *folder = folder_new(), *other = folder_new();
    trainee_open(&a, TRAINEE_SFT, folder, 1);
    trainee_open(&b, TRAINEE_SFT, other, 1);
    OK(llm_train(&a.g.llm, TRAIN_BACKBONE, &err));
    OK(llm_train(&b.g.llm, TRAIN_LATENT, &err));
    OK(optimizer_init(&x, &a.g.llm, &options, &err));
    OK(optimizer_init(&y, &b.g.llm, &options, &err));
    const size_t bytes = optimizer_bytes(&x), n = x.count;
    char *stored = malloc(bytes);
    optimizer_store(&x, stored);
    assert_int_equal(optimizer_load(&y, stored, bytes, &err), -1);
    assert_int_equal(optimizer_load(&y, stored, optimizer_bytes(&y), &err), -1);
    OK(optimizer_load(&x, stored, bytes, &err));
    const float bad[] = {NAN, INFINITY, -INFINITY, -1e-30f};
    float *values = (float *)(void *)(stored + bytes - 3 * n * sizeof(float));
    size_t size;
    float *before = trainee_weights(&a, &size);
    for (int array = 0; array < 3; array++)
        for (int i = 0; i < 4; i++) {
            const float was = values[(size_t)array * n + n / 2];
            values[(size_t)array * n + n / 2] = bad[i];
            const int fine = i == 3 && array < 2; // a second moment is a square
            assert_int_equal(optimizer_load(&x, stored, bytes, &err), fine ? 0 : -1);
            values[(size_t)array * n + n / 2] = was;
            OK(optimizer_load(&x, stored, bytes, &err));
        }
    stored[7] = (char)0xff; // a negative step
    assert_int_equal(optimizer_load(&x, stored, bytes, &err), -1);
    float *after = trainee_weights(&a, &size);
    assert_int_equal(memcmp(before, after, size), 0);
    free(before), free(after), free(stored);
    optimizer_free(&x), optimizer_free(&y);
    trainee_close(&a), trainee_close(&b);
    folder_remove(folder), folder_remove(other);
}

int main(void) {
    log_level = LOG_ERROR;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_sft),
        cmocka_unit_test(stops_lora),
        cmocka_unit_test(stops_rl),
        cmocka_unit_test(stops_sasrec),
        cmocka_unit_test(stops_lean),
        cmocka_unit_test(from_each_checkpoint),
        cmocka_unit_test(falls_back),
        cmocka_unit_test(goes_on_from_the_one_before),
        cmocka_unit_test(background_sees_no_later_weights),
        cmocka_unit_test(one_run_a_folder),
        cmocka_unit_test(other_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
