#include "train/loop.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    Optimizer *optimizer;
    const Session *s;
    LoopReport *report;       // what is in it is part of a checkpoint
    int64_t total, per_epoch; // steps: of the run, of an epoch
    uint32_t *order;          // (examples) of the present epoch
    int examples;
    Progress bar;
    double began; // seconds of the report count from here
    int refused;  // updates in a row
    int waited;   // validations since the best
    int saved;    // a best model was kept
    int owed;     // the validation of the present step has still to be made
    int finished; // no step is left to do
    int resumed;  // the run began at a checkpoint
} Loop;

static void emit(const Loop *l, json_t *event) {
    if (l->o->event) l->o->event(l->o->context, event);
    json_decref(event);
}

// ---- checkpoints ----------------------------------------------------------------------------------------------------

typedef struct StateField { // a value that a checkpoint keeps; one of the pointers
    const char *name;
    int64_t *count;
    int *small;
    double *real; // null where it is not finite
    int late;     // checkpoints were once written without it
} StateField;
enum { STATE_FIELDS = 16 };

static void state_fields(Loop *l, StateField field[STATE_FIELDS]) {
    LoopReport *r = l->report;
    const StateField all[STATE_FIELDS] = {{"step", .count = &r->steps},
                                          {"examples", .count = &r->examples},
                                          {"tokens", .count = &r->tokens},
                                          {"tokens_forward", .count = &r->tokens_forward},
                                          {"tokens_back", .count = &r->tokens_back},
                                          {"seconds", .real = &r->seconds},
                                          {"first_loss", .real = &r->first_loss},
                                          {"best_loss", .real = &r->best_loss},
                                          {"best_step", .count = &r->best_step},
                                          {"refused", .small = &r->refused},
                                          {"refused_in_a_row", .small = &l->refused},
                                          {"waited", .small = &l->waited},
                                          {"saved", .small = &l->saved},
                                          {"owed", .small = &l->owed},
                                          {"finished", .small = &l->finished},
                                          {"update_seconds", .real = &r->update_seconds, .late = 1}};
    memcpy(field, all, sizeof all);
}

static void count_seconds(Loop *l) {
    l->report->seconds = log_seconds() - l->began;
}

static int checkpoint(Loop *l, Err *err) {
    StateField field[STATE_FIELDS];
    json_t *state = json_object();
    count_seconds(l);
    state_fields(l, field);
    for (const StateField *f = field; f < field + STATE_FIELDS; f++)
        json_object_set_new(state, f->name, f->real ? json_finite(*f->real) : json_integer(f->count ? *f->count : *f->small));
    return checkpoints_save(l->o->checkpoints, l->optimizer, l->report->steps, json_pack("{s:o}", "loop", state), err);
}

static int read_state(Loop *l, const json_t *state) {
    StateField field[STATE_FIELDS];
    state_fields(l, field);
    for (const StateField *f = field; f < field + STATE_FIELDS; f++) {
        const json_t *x = json_object_get(state, f->name);
        if (!x && f->late) x = json_object_get(state, "seconds"); // the most that it can be
        if (f->real ? !json_is_real(x) && !json_is_null(x) : !json_is_integer(x) || json_integer_value(x) < 0) return -1;
        if (f->real) *f->real = json_is_null(x) ? NAN : json_number_value(x);
        if (f->count) *f->count = json_integer_value(x);
        if (f->small) *f->small = (int)json_integer_value(x);
    }
    return l->report->steps >= 1 && l->report->steps <= l->total ? 0 : -1;
}

static int is_first(const Loop *l) {
    return ranks_rank(l->o->ranks) == 0;
}

// Rank 0 has read the checkpoint: the others get what is in it.
static int share_checkpoint(Loop *l, json_t **state, Err *err) {
    const Ranks *ranks = l->o->ranks;
    char *mine = is_first(l) ? json_dumps(*state, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL,
         *text = ranks_text(ranks, mine);
    size_t bytes = optimizer_bytes(l->optimizer);
    ranks_broadcast(ranks, &bytes, sizeof bytes);
    char *data = mem_alloc(bytes, 1);
    if (is_first(l)) optimizer_store(l->optimizer, data);
    ranks_broadcast(ranks, data, bytes);
    int status = 0;
    if (!is_first(l)) {
        *state = json_loads(text, 0, NULL);
        status = optimizer_load(l->optimizer, data, bytes, err);
    }
    free(mine), free(text), free(data);
    return status;
}

// The loop and the optimizer as they were.
static int restore(Loop *l, Err *err) {
    LoopReport *r = l->report;
    json_t *state = NULL;
    int status = is_first(l) ? checkpoints_restore(l->o->checkpoints, l->optimizer, &state, err) : 0;
    status = ranks_agree(l->o->ranks, status, err);
    if (status == 0 && ranks_size(l->o->ranks) > 1) status = share_checkpoint(l, &state, err);
    if (status == 0 && read_state(l, json_object_get(state, "loop")))
        status = err_set(err, ERR_DATA, "%s: the checkpoint's state is not that of this run", l->stage->name);
    json_decref(state);
    l->began -= r->seconds;
    if (status == 0) log_info("%s: goes on after step %lld of %lld", l->stage->name, (long long)r->steps, (long long)l->total);
    return status;
}

// Whether the run begins at a checkpoint, and all ranks with the same.
static int begin(Loop *l, Err *err) {
    const LoopOptions *o = l->o;
    int resumes = o->checkpoints && o->checkpoints->found.state;
    ranks_broadcast(o->ranks, &resumes, sizeof resumes);
    if (resumes && restore(l, err)) return -1;
    if (ranks_size(o->ranks) > 1) {
        char mine[33], first[33];
        optimizer_hash(l->optimizer, mine);
        memcpy(first, mine, sizeof first);
        ranks_broadcast(o->ranks, first, sizeof first);
        const int other = strcmp(mine, first);
        if (other) err_set(err, ERR_DATA, "%s: it does not start from the weights, moments and step of rank 0", l->stage->name);
        if (ranks_agree(o->ranks, other ? -1 : 0, err)) return -1;
    }
    l->resumed = resumes;
    return 0;
}

// ---- one step -------------------------------------------------------------------------------------------------------

typedef struct Work { // positions that went through the network
    int64_t forward, back;
} Work;

static Work work_of(const Session *s) {
    return (Work){s->tokens_run, s->tokens_back};
}

// What all ranks have done since `before`; the report counts it.
static Work count(Loop *l, Work before) {
    const int size = ranks_size(l->o->ranks);
    const Work now = work_of(l->s), mine = {now.forward - before.forward, now.back - before.back};
    Work sum = {0}, *all = mem_alloc((size_t)size, sizeof *all);
    ranks_gather(l->o->ranks, &mine, all, sizeof mine);
    for (int i = 0; i < size; i++) sum.forward += all[i].forward, sum.back += all[i].back;
    free(all);
    l->report->tokens += sum.forward;
    return sum;
}

static int keep(Loop *l, double loss, int64_t step, Err *err) {
    if (is_first(l) && l->o->save(l->o->context, err)) return -1;
    l->report->best_loss = loss;
    l->report->best_step = step;
    l->waited = 0;
    l->saved = 1;
    return 0;
}

// All ranks stop where one of them is asked to.
static int stop_asked(const LoopOptions *o) {
    const int size = ranks_size(o->ranks), mine = o->interrupt ? *o->interrupt : 0;
    int asked = 0, *all = mem_alloc((size_t)size, sizeof *all);
    ranks_gather(o->ranks, &mine, all, sizeof mine);
    for (int i = 0; i < size && !asked; i++) asked = all[i];
    free(all);
    return asked;
}

int loop_validation_stops(LoopValidation *v, int done, int n) {
    if (!v) return 0;
    if (done == 0) progress_start(&v->bar, "validation", "rows", (uint64_t)n);
    progress_update(&v->bar, (uint64_t)done, "%s", "");
    return v->interrupt && *v->interrupt;
}

// Measure, and keep the model where it is the best so far. A loss that is no number never is. An interrupted measurement
// leaves no trace, nor does one whose model could not be kept: it is still owed.
static int validate(Loop *l, Err *err) {
    const int64_t step = l->report->steps;
    const Work before = work_of(l->s);
    LoopValidation v = {.interrupt = l->o->interrupt};
    double loss = l->stage->validate(l->context, &v);
    if ((l->report->interrupted = stop_asked(l->o))) return 0;
    count(l, before);
    // Anything is better than no number.
    const int best = isfinite(loss) && (l->o->keep_last || !l->saved || !(l->report->best_loss <= loss)),
              kept = step == 0 ? l->stage->keep_first : best;
    if (kept && keep(l, loss, step, err)) return -1;
    l->owed = 0;
    if (step == 0) l->report->first_loss = loss;
    if (step > 0 && !kept) l->waited++;
    emit(l, json_pack("{s:s, s:I, s:o, s:b}", "event", "validation", "step", (json_int_t)step, "loss", json_finite(loss),
                      "best", kept));
    log_info("%s: step %lld: validation %s %.4f%s", l->stage->name, (long long)step, l->report->figure, loss,
             best && step && !l->o->keep_last ? " (best)" : "");
    return 0;
}

// The examples of step number `step` (0, 1, ...): an epoch's order depends on the seed and the epoch alone.
static const uint32_t *examples_of(Loop *l, int64_t step, int *n) {
    const int64_t epoch = step / l->per_epoch, in_epoch = step % l->per_epoch;
    const int first = (int)in_epoch * l->o->batch, left = l->examples - first;
    if (in_epoch == 0 || !l->order) {
        if (!l->order) l->order = mem_alloc((size_t)l->examples, sizeof *l->order);
        rng_chains(l->order, (size_t)l->examples, l->o->next, l->o->seed, RNG_SHUFFLE + ((uint64_t)epoch << 8));
    }
    *n = left < l->o->batch ? left : l->o->batch;
    return l->order + first;
}

// The examples of an update that was refused.
static void tell_batch(const Loop *l, const uint32_t *index, int n, json_t *event) {
    json_t *batch = json_array();
    for (int i = 0; i < n; i++) {
        const uint32_t x = index[i];
        json_array_append_new(batch, json_integer(l->stage->number ? l->stage->number(l->context, x) : (json_int_t)x));
    }
    json_object_set_new(event, "batch", batch);
    const OptimizerStep *s = &l->optimizer->last;
    log_warn("%s: step %lld: update refused, %s%s%s", l->stage->name, (long long)l->report->steps + 1, s->why,
             s->where ? ": " : "", s->where ? s->where : "");
}

// One update, with its event and the progress bar.
static void update(Loop *l) {
    LoopReport *r = l->report;
    int n;
    const uint32_t *index = examples_of(l, r->steps, &n);
    double started = log_seconds();
    json_t *event = json_pack("{s:s, s:I, s:i}", "event", "step", "step", (json_int_t)r->steps + 1, "examples", n);
    const Work before = work_of(l->s);
    const int refused = l->stage->update(l->context, r->steps, index, n, event);
    const Work work = count(l, before);
    l->refused = refused ? l->refused + 1 : 0;
    r->refused += refused;
    if (refused) tell_batch(l, index, n, event);
    const double took = log_seconds() - started;
    r->update_seconds += took;
    json_object_set_new(event, "tokens_per_s", json_real((double)work.forward / took));
    r->steps++;
    r->examples += n;
    r->tokens_forward += work.forward;
    r->tokens_back += work.back;
    const char *figure = l->stage->shown ? l->stage->shown : "loss";
    const json_t *value = json_object_get(event, figure);
    progress_update(&l->bar, (uint64_t)r->examples, "step %lld/%lld %.6s %.4f", (long long)r->steps, (long long)l->total,
                    figure, json_is_number(value) ? json_number_value(value) : (double)NAN);
    emit(l, event);
}

// Where the run goes on from.
static int interrupted(Loop *l, Err *err) {
    return l->o->checkpoints ? checkpoint(l, err) : 0;
}

static int events_lost(const Loop *l, Err *err) {
    return l->o->lost ? l->o->lost(l->o->context, err) : 0;
}

// Ends the run with the error that the caller has set, and with what a signal leaves.
static int give_up(Loop *l) {
    Checkpoints *c = l->o->checkpoints;
    if (c && l->report->steps && checkpoint(l, NULL) == 0 && checkpoints_wait(c, NULL) == 0)
        log_info("%s: checkpoint at step %lld; the same command with --resume goes on", l->stage->name,
                 (long long)l->report->steps);
    return -1;
}

// What comes after an update: the validation that is owed, and a checkpoint where it is time for one.
static int after_update(Loop *l, Err *err) {
    const LoopOptions *o = l->o;
    const int64_t step = l->report->steps;
    if (l->owed && validate(l, err)) return give_up(l);
    if (l->report->interrupted) return interrupted(l, err);
    l->finished = step == l->total || (o->early_stop && l->waited >= o->patience);
    if (events_lost(l, err)) return give_up(l);
    if (!o->checkpoints) return 0;
    const int due = o->save_every && step % o->save_every == 0, has_others = o->save_every || o->checkpoints->last >= 0;
    return due || (l->finished && has_others) ? checkpoint(l, err) : 0;
}

// Three updates in a row were: a run that goes on begins behind them, and may meet three more.
static int refuse(Loop *l, Err *err) {
    err_set(err, ERR_DATA, "%s: stopped at step %lld: three updates in a row were refused", l->stage->name,
            (long long)l->report->steps);
    l->refused = 0;
    give_up(l);
    ranks_agree(l->o->ranks, 0, NULL); // the others wait for the checkpoint
    return -1;
}

static int loop_step(Loop *l, Err *err) {
    const LoopOptions *o = l->o;
    update(l);
    const int64_t step = l->report->steps, in_epoch = (step - 1) % l->per_epoch + 1;
    const int64_t due = in_epoch * o->validations / l->per_epoch, before = (in_epoch - 1) * o->validations / l->per_epoch;
    l->owed = step == l->total || due > before;
    if (events_lost(l, err)) return give_up(l);
    if ((l->report->interrupted = stop_asked(o))) return interrupted(l, err);
    return l->refused >= 3 ? refuse(l, err) : after_update(l, err);
}

int loop_run(const LoopOptions *o, const LoopStage *stage, void *context, Optimizer *optimizer, const Session *s, int examples,
             LoopReport *report, Err *err) {
    const int64_t per_epoch = epoch_steps(o, examples);
    Loop l = {.o = o,
              .stage = stage,
              .context = context,
              .optimizer = optimizer,
              .s = s,
              .report = report,
              .total = loop_steps(o, examples),
              .per_epoch = per_epoch,
              .examples = examples,
              .began = log_seconds()};
    *report = (LoopReport){.figure = stage->figure ? stage->figure : "loss"};
    int status = begin(&l, err);
    if (status == 0 && !l.resumed) status = validate(&l, err);
    progress_start(&l.bar, stage->name, "rows",
                   (uint64_t)examples * (uint64_t)(l.total / per_epoch) + (uint64_t)(l.total % per_epoch) * (uint64_t)o->batch);
    l.bar.begun = l.bar.done = (uint64_t)report->examples;
    if (status == 0 && l.resumed && l.owed) status = after_update(&l, err);
    while (status == 0 && !l.finished && !report->interrupted) status = loop_step(&l, err);
    if (report->steps) progress_finish(&l.bar);
    if (o->checkpoints) {
        Err *first = status ? NULL : err; // of two errors the first is told
        if (checkpoints_wait(o->checkpoints, first)) status = -1;
    }
    // An interrupted run that has kept nothing yet leaves the model as it is now, unless that is the one that came.
    if (status == 0 && !l.saved && report->steps) status = keep(&l, NAN, report->steps, err);
    count_seconds(&l);
    free(l.order);
    return status;
}
