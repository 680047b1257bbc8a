// latentr3 rl: stage 2, from a model that sft has trained.
#include "app/commands.h"
#include "app/training.h"
#include "base/log.h"
#include "train/rl.h"

#include <string.h>

static AdvantageScope scope_of(const char *name) {
    return !strcmp(name, "batch") ? ADVANTAGE_BATCH : !strcmp(name, "group") ? ADVANTAGE_GROUP : ADVANTAGE_GROUP_MEAN;
}

static RlMethod method_of(const Options *o) {
    return (RlMethod){.rollout = {.samples = o->samples, .sigma = o->sigma, .sigma_relative = o->sigma_relative},
                      .objective = {.kind = strcmp(o->objective, "latent") ? OBJECTIVE_TOKEN : OBJECTIVE_LATENT,
                                    .epsilon_low = o->epsilon_low,
                                    .epsilon_high = o->epsilon_high,
                                    .beta = o->beta},
                      .scope = scope_of(o->advantage),
                      .window = o->advantage_window,
                      .inner = o->inner};
}

static int rl_run(Training *t, Err *err) {
    const Options *o = t->o;
    const int thoughts = t->model.llm.config.thoughts;
    if (!t->model.had_latent && !t->model.llm.config.thought_hidden && thoughts > 0)
        log_warn("%s holds no LatentRATT: rl starts from a random one (run sft first)", o->model);
    int slots = rollout_slots(&t->train, thoughts, o->batch, o->samples, o->micro_rows),
        valid = sft_slots(&t->valid, thoughts, o->micro_rows);
    if (training_session(t, slots > valid ? slots : valid, err)) return -1;
    RlOptions options = {
        .loop = training_loop(t), .optimizer = training_optimizer(o), .method = method_of(o), .groups = TRAIN_LATENT};
    options.loop.early_stop = 0;
    LoopReport report;
    if (rl_train(&t->session, &t->train, &t->valid, &options, &report, err)) return -1;
    return training_finish(t, "rl", &report, err);
}

int cmd_rl(const Options *o, Err *err) {
    Training t;
    int status = training_open(&t, o, o->eval_rows, err);
    if (status == 0) status = rl_run(&t, err);
    training_close(&t);
    return status;
}
