#include "train/loop.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

static int64_t epoch_steps(const LoopOptions *o, int examples) {
    return (examples + o->batch - 1) / o->batch;
}

int64_t loop_steps(const LoopOptions *o, int examples) {
    int64_t steps = (int64_t)o->epochs * epoch_steps(o, examples);
    return o->max_steps && o->max_steps < steps ? o->max_steps : steps;
}

typedef struct Loop {
    const LoopOptions *o;
    const LoopStage *stage;
    void *context;
    LoopReport *report;
    int waited; // validations since the best
    int saved;
} Loop;

static void emit(const Loop *l, json_t *event) {
    if (l->o->event) l->o->event(l->o->context, event);
    json_decref(event);
}

static int keep(Loop *l, double loss, int64_t step, Err *err) {
    l->report->best_loss = loss;
    l->report->best_step = step;
    l->waited = 0;
    l->saved = 1;
    return l->o->save(l->o->context, err);
}

// Measure, and keep the model where it is the best so far. A loss that is no number never is.
static int validate(Loop *l, int64_t step, Err *err) {
    double loss = l->stage->validate(l->context);
    int best = isfinite(loss) && (!l->saved || !(l->report->best_loss <= loss)); // anything is better than no number
    if (step == 0) l->report->first_loss = loss;
    emit(l, json_pack("{s:s, s:I, s:o, s:b}", "event", "validation", "step", (json_int_t)step, "loss",
                      isfinite(loss) ? json_real(loss) : json_null(), "best", step == 0 ? l->stage->keep_first : best));
    log_info("%s: step %lld: validation %s %.4f%s", l->stage->name, (long long)step,
             l->stage->figure ? l->stage->figure : "loss", loss, best && step ? " (best)" : "");
    if (step == 0) return l->stage->keep_first ? keep(l, loss, 0, err) : 0;
    if (best) return keep(l, loss, step, err);
    l->waited++;
    return 0;
}

// One update, with its event and the progress bar.
static void loop_step(Loop *l, Progress *bar, const Session *s, const uint32_t *index, int n, int64_t step, int64_t total) {
    double started = log_seconds();
    const int64_t tokens = s->tokens_run, back = s->tokens_back;
    json_t *event = json_pack("{s:s, s:I, s:i}", "event", "step", "step", (json_int_t)step, "examples", n);
    l->report->refused += l->stage->update(l->context, index, n, event);
    double took = log_seconds() - started;
    json_object_set_new(event, "seconds", json_real(took));
    json_object_set_new(event, "tokens_per_s", json_real((double)(s->tokens_run - tokens) / took));
    double loss = json_number_value(json_object_get(event, "loss")),
           reward = json_number_value(json_object_get(event, "reward_mean"));
    l->report->steps = step;
    l->report->examples += n;
    l->report->tokens_forward += s->tokens_run - tokens;
    l->report->tokens_back += s->tokens_back - back;
    if (json_object_get(event, "reward_mean"))
        progress_update(bar, (uint64_t)l->report->examples, "step %lld/%lld reward %.3f", (long long)step, (long long)total,
                        reward);
    else
        progress_update(bar, (uint64_t)l->report->examples, "step %lld/%lld loss %.4f", (long long)step, (long long)total,
                        loss);
    emit(l, event);
}

static int stop_asked(const LoopOptions *o) {
    return o->interrupt && *o->interrupt;
}

int loop_run(const LoopOptions *o, const LoopStage *stage, void *context, const Session *s, int examples, LoopReport *report,
             Err *err) {
    *report = (LoopReport){0};
    Loop l = {.o = o, .stage = stage, .context = context, .report = report};
    const int64_t total = loop_steps(o, examples), per_epoch = epoch_steps(o, examples), tokens = s->tokens_run;
    const int64_t every =
        per_epoch / (o->validations > 0 ? o->validations : 1) > 0 ? per_epoch / (o->validations > 0 ? o->validations : 1) : 1;
    uint32_t *order = mem_alloc((size_t)examples, sizeof *order);
    double started = log_seconds();
    Progress bar;
    int status = validate(&l, 0, err), stopped = 0;
    progress_start(&bar, stage->name, "rows",
                   (uint64_t)examples * (uint64_t)(total / per_epoch) + (uint64_t)(total % per_epoch) * (uint64_t)o->batch);
    for (int64_t step = 0; step < total && status == 0 && !stopped; step++) {
        int64_t in_epoch = step % per_epoch;
        if (in_epoch == 0) rng_permutation(order, (size_t)examples, o->seed, RNG_SHUFFLE + ((uint64_t)(step / per_epoch) << 8));
        int first = (int)in_epoch * o->batch, n = examples - first < o->batch ? examples - first : o->batch;
        loop_step(&l, &bar, s, order + first, n, step + 1, total);
        report->interrupted = stopped = stop_asked(o);
        if (report->refused >= 3 && !stopped)
            status = err_set(err, ERR_DATA, "%s: stopped at step %lld: three updates had a gradient that is not finite",
                             stage->name, (long long)step + 1);
        int last = step + 1 == total, epoch_end = in_epoch + 1 == per_epoch;
        if (status == 0 && !stopped && (last || epoch_end || (in_epoch + 1) % every == 0)) {
            status = validate(&l, step + 1, err);
            stopped = o->early_stop && l.waited >= o->patience;
        }
    }
    progress_finish(&bar);
    // An interrupted run that has kept nothing yet leaves the model as it is now.
    if (status == 0 && !l.saved) status = keep(&l, NAN, report->steps, err);
    report->seconds = log_seconds() - started;
    report->tokens = s->tokens_run - tokens;
    free(order);
    return status;
}
