// Small training runs of every kind, 60 steps of three micro-batches each, with their checkpoints in a folder.
#ifndef TESTS_TRAINEE_H
#define TESTS_TRAINEE_H

#include "base/vec.h"
#include "tiny_sasrec.h"
#include "train/rl.h"
#include "train/sasrec.h"

#include "folder.h"

typedef enum TraineeKind { TRAINEE_SFT, TRAINEE_LORA, TRAINEE_RL, TRAINEE_SASREC, TRAINEE_LEAN, TRAINEE_KINDS } TraineeKind;
static const char *const trainee_name[] = {"sft", "sft with adapters", "rl", "sasrec", "sft --lean"};
enum { TRAINEE_STEPS = 60, TRAINEE_ROWS = 6, TRAINEE_BATCH = 3 };

typedef struct Trainee {
    TraineeKind kind;
    Golden g;
    Session s;
    SasrecExample sequence[TRAINEE_ROWS];
    Checkpoints checkpoints;
    char *best, best_hash[33];                            // the file of the model kept, in the folder
    void (*on_event)(void *context, const json_t *event); // trainee_event
    const Ranks *ranks;                                   // that train together; NULL: alone
    int deterministic;
    size_t bucket;  // LoopOptions'
    int everything; // rl trains the backbone too
    atomic_int interrupt;
    int64_t interrupt_at; // this step's event asks to stop; 0: none does
    Str events;           // one line each, without times
    LoopReport report;
} Trainee;

static inline void trainee_event(void *context, const json_t *event) {
    Trainee *t = context;
    json_t *x = json_copy((json_t *)event);
    json_object_del(x, "seconds");
    json_object_del(x, "tokens_per_s");
    json_object_del(x, "seconds_between_ranks");
    char *line = json_dumps(x, JSON_COMPACT | JSON_REAL_PRECISION(17));
    str_printf(&t->events, "%s\n", line);
    free(line);
    if (json_object_get(x, "loss") && !strcmp(json_string_value(json_object_get(x, "event")), "step") &&
        json_integer_value(json_object_get(x, "step")) == t->interrupt_at)
        t->interrupt = 1;
    json_decref(x);
}

static inline float *trainee_weights(const Trainee *t, size_t *bytes) {
    const Llm *m = &t->g.llm;
    *bytes = m->params.total * sizeof(float);
    float *w = calloc(1, *bytes);
    for (int i = 0; i < m->params.n; i++)
        llm_get(m, &m->params.param[i], 0, m->params.param[i].count, w + m->params.param[i].offset);
    return w;
}

static inline int trainee_save(void *context, Err *err) {
    Trainee *t = context;
    size_t bytes;
    float *w = trainee_weights(t, &bytes);
    int status = file_write(t->best, w, bytes, err);
    free(w);
    t->checkpoints.best = t->best;
    return status ? -1 : file_hash(t->best_hash, t->best, err);
}

static inline json_t *trainee_note(void *context, Err *err) {
    (void)err;
    const Trainee *t = context;
    return json_pack("{s:o}", "best", t->checkpoints.best ? json_string(t->best_hash) : json_null());
}

// Rows of the golden file, cut short.
static inline void trainee_rows(Trainee *t) {
    for (int i = 0; i < t->g.examples.n; i++) {
        Example *x = &t->g.examples.example[i];
        memmove((int32_t *)x->prompt, x->prompt + x->prompt_len - 12, 12 * sizeof(int32_t));
        x->prompt_len = 12, x->answer_len = 4, x->number = 100 + i;
    }
    assert_int_equal(t->g.examples.n, TRAINEE_ROWS);
}

static inline void trainee_sequences(Trainee *t) {
    static const int32_t item[TRAINEE_ROWS + 6] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
    for (int i = 0; i < TRAINEE_ROWS; i++) t->sequence[i] = (SasrecExample){item + i, 4 + i % 3, item + i, 4 + i % 3, NULL, 0};
}

// The lean one multiplies bf16.
static inline int trainee_can(TraineeKind kind) {
    return kind != TRAINEE_LEAN || ops_has_bf16(NULL);
}

// A new model as it comes, and its run's folder, in which checkpoints of an earlier run may lie.
static inline void trainee_open(Trainee *t, TraineeKind kind, const char *folder, int keep) {
    Err err = {0};
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->on_event = trainee_event;
    if (kind == TRAINEE_SASREC) {
        tiny_sasrec_open(&t->g, 0, 0, ACTIVATION_RELU, 1);
        trainee_sequences(t);
    } else {
        const char *model = kind == TRAINEE_RL ? "tests/golden/tiny-llama" : "tests/golden/tiny-qwen2";
        const int lean = kind == TRAINEE_LEAN;
        golden_open_lora(&t->g, model, lean ? DTYPE_BF16 : DTYPE_F32, 1, 0, 1, kind == TRAINEE_LORA ? 2 : 0, 4);
        if (lean) llm_make_half(&t->g.llm);
        if (lean) golden_load_file(&t->g.llm, model, "model.safetensors");
        trainee_rows(t);
    }
    OK(session_init(&t->s, &t->g.llm, 1024, &err));
    OK(checkpoints_open(&t->checkpoints, folder, keep, &err));
    t->best = file_join(folder, "model");
    t->checkpoints.note = trainee_note;
    t->checkpoints.context = t;
}

static inline void trainee_close(Trainee *t) {
    checkpoints_close(&t->checkpoints);
    session_free(&t->s);
    if (t->kind == TRAINEE_SASREC)
        tiny_sasrec_close(&t->g);
    else
        golden_close_all(&t->g);
    str_free(&t->events);
    free(t->best);
}

// From the checkpoint that is there, if there is one, to the end or the interruption.
static inline int trainee_run(Trainee *t, int save_every, Err *err) {
    if (checkpoints_find(&t->checkpoints, err)) return -1;
    if (t->checkpoints.found_best) {
        t->checkpoints.best = t->best;
        if (file_hash(t->best_hash, t->checkpoints.found_best, err)) return -1;
    }
    const LoopOptions loop = {.batch = TRAINEE_BATCH,
                              .micro_rows = 1, // a row at a time
                              .epochs = TRAINEE_STEPS * TRAINEE_BATCH / TRAINEE_ROWS,
                              .patience = 1,
                              .validations = 1,
                              .seed = 3,
                              .interrupt = &t->interrupt,
                              .ranks = t->ranks,
                              .deterministic = t->deterministic,
                              .bucket = t->bucket,
                              .event = t->on_event,
                              .save = trainee_save,
                              .context = t,
                              .checkpoints = ranks_rank(t->ranks) ? NULL : &t->checkpoints,
                              .save_every = save_every};
    const OptimizerOptions adam = {
        .lr = 3e-3, .clip = 1, .spike = t->kind == TRAINEE_RL ? 0 : 50, .schedule = SCHEDULE_COSINE, .warmup = 5};
    if (t->kind == TRAINEE_SASREC) {
        const SasrecExamples rows = {TRAINEE_ROWS, 6, t->sequence};
        const SasrecOptions o = {loop, adam, {.loss = SASREC_BINARY, .negatives = 2, .dropout = 0.2f, .seed = 3}};
        return sasrec_train(&t->s, &rows, &rows, &o, &t->report, err);
    }
    const Examples *rows = &t->g.examples;
    if (t->kind == TRAINEE_RL) {
        const RlMethod method = {.rollout = {.samples = 3, .sigma = 1},
                                 .objective = {.beta = 0.05, .epsilon_low = 0.2, .epsilon_high = 0.28},
                                 .inner = 2};
        const RlOptions o = {loop, adam, method, TRAIN_LATENT | (t->everything ? TRAIN_BACKBONE : 0u)};
        return rl_train(&t->s, rows, rows, &o, &t->report, err);
    }
    const SftOptions o = {loop, adam, (t->kind == TRAINEE_LORA ? TRAIN_LORA : TRAIN_BACKBONE) | TRAIN_LATENT};
    return sft_train(&t->s, rows, rows, &o, &t->report, err);
}

// With its checkpoints.
static inline void trainee_remove(char *folder) {
    Err err = {0};
    Checkpoints c;
    OK(checkpoints_open(&c, folder, 1, &err));
    OK(checkpoints_clear(&c, &err));
    OK(file_remove_folder(c.folder, &err));
    checkpoints_close(&c);
    folder_remove(folder);
}

#endif
