// latentr3 sft: stage 1.
#include "app/commands.h"
#include "app/training.h"
#include "app/use.h"
#include "base/log.h"
#include "train/sft.h"

// As many updates as --max-tokens allows, whatever epochs that is; at least one.
static void bound_tokens(const Training *t, SftOptions *s) {
    const Options *o = t->o;
    LoopOptions *loop = &s->loop;
    const int64_t epoch = sft_epoch_tokens(&t->train, t->next, t->model.llm.config.thoughts, o->batch, o->micro_rows,
                                           shares_count(o->ranks, o->deterministic), s->groups),
                  updates = (t->train.n + o->batch - 1) / o->batch;
    const double fit = (double)o->max_tokens / (double)epoch * (double)updates;
    const int steps = fit < 1 ? 1 : fit > 1e9 ? 1000000000 : (int)fit;
    if (loop->max_steps == 0 || steps < loop->max_steps) loop->max_steps = steps;
    loop->epochs = (int)(loop->max_steps / updates) + 1;
    log_info("%d updates of about %lld tokens forward and back", loop->max_steps, (long long)(epoch / updates));
}

static int sft_run(Training *t, Err *err) {
    const Options *o = t->o;
    int slots = sft_slots(&t->train, t->model.llm.config.thoughts, o->micro_rows),
        valid_slots = sft_slots(&t->valid, t->model.llm.config.thoughts, o->micro_rows);
    if (training_session(t, slots > valid_slots ? slots : valid_slots, err)) return -1;
    if (t->run.done) return 0;
    SftOptions options = {.loop = training_loop(t), .optimizer = training_optimizer(o), .groups = model_io_trains(o)};
    static const char *const of_epochs[] = {"epochs", NULL};
    if (o->max_tokens) use_warn_idle(o, of_epochs, "beside --max-tokens"), bound_tokens(t, &options);
    LoopReport report;
    if (sft_train(&t->session, &t->train, &t->valid, &options, &report, err)) return -1;
    return training_finish(t, "sft", &report, err);
}

enum { MANY_ROWS = 2000 }; // whose validation takes long enough to be told

int cmd_sft(const Options *o, Err *err) {
    Training t;
    int status = training_open(&t, o, err);
    if (status == 0) status = sft_check(&t.model.llm, model_io_trains(o), err);
    if (status == 0) status = training_examples(&t, o->valid_rows, err);
    if (status == 0 && !o->valid_rows && t.valid.n > MANY_ROWS)
        log_info("every validation, the first one too, runs all %d rows of valid.csv; --valid-rows N: N of them", t.valid.n);
    if (status == 0) status = sft_run(&t, err);
    training_close(&t);
    return status;
}
