#include "app/training.h"
#include "app/eval_save.h"
#include "app/interrupt.h"
#include "app/out.h"
#include "app/sasrec_model.h"
#include "app/use.h"
#include "base/file.h"
#include "base/log.h"
#include "data/sequences.h"
#include "report/card.h"
#include "train/shares.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int read_split(Training *t, Rows *rows, Examples *e, const char *split, int max_rows, int sample, int chains,
                      uint64_t seed, Err *err) {
    const Options *o = t->o;
    if (dataset_rows(&t->data, rows, split, max_rows, err)) return -1;
    (chains ? rows_sample_chains : rows_sample)(rows, sample, seed);
    if (rows->n == 0) {
        rows_free(rows);
        return err_set(err, ERR_DATA, "%s: %s.csv holds no rows", o->data, split);
    }
    if (examples_make(e, rows, t->model.tokenizer, &t->model.style, t->model.llm.config.thoughts, PROMPT_TRAIN_TOKENS,
                      o->strict, err)) {
        rows_free(rows);
        return -1;
    }
    log_info("%s: %d rows, %lld answer tokens, longest row %d tokens, %d rows shortened to %d", split, e->n,
             (long long)e->answer_tokens, e->longest, e->shortened, PROMPT_TRAIN_TOKENS);
    return 0;
}

// A SASRec's examples are rows of whole histories.
static int read_sequences(Training *t, int valid_rows, Err *err) {
    const Options *o = t->o;
    Rows *rows[2] = {&t->train_rows, &t->valid_rows};
    Examples *examples[2] = {&t->train, &t->valid};
    static const char *const split[2] = {"train", "valid"};
    Sequences s = {0};
    int32_t *token;
    int status = sasrec_model_tokens(&t->model, &t->data.items, &token, err);
    for (int i = 0; i < 2 && status == 0; i++) {
        if ((status = dataset_rows(&t->data, rows[i], split[i], i ? 0 : o->max_rows, err))) break;
        SequencePlace *place = mem_alloc((size_t)rows[i]->n + 1, sizeof *place);
        sequences_add(&s, &t->data.items, rows[i], place);
        sequences_examples(examples[i], &s, place, rows[i]->n, token, t->model.llm.config.max_positions);
        free(place);
        const int all = examples[i]->n;
        examples_sample(examples[i], i ? valid_rows : o->sample, i ? ROWS_SAMPLE_SEED : (uint64_t)o->seed);
        log_info("%s: %d of %d rows, longest %d items; %d left out, of items that the model does not know", split[i],
                 examples[i]->n, rows[i]->n, examples[i]->longest - 1, rows[i]->n - all);
        if (all == 0) status = err_set(err, ERR_DATA, "%s: %s.csv holds no row that the model knows", o->data, split[i]);
    }
    sequences_free(&s);
    free(token);
    return status;
}

// A validation that is the training data would keep whatever was learnt by heart.
static int check_splits(const Dataset *d, Err *err) {
    char hash[2][33];
    static const char *const name[] = {"train.csv", "valid.csv"};
    for (int i = 0; i < 2; i++) {
        char *path = dataset_path(d->folder, name[i]);
        int status = file_hash(hash[i], path, err);
        free(path);
        if (status) return -1;
    }
    return strcmp(hash[0], hash[1]) ? 0 : err_set(err, ERR_USAGE, "%s: train.csv and valid.csv are the same file", d->folder);
}

int training_data(Training *t, const Options *o, Err *err) {
    *t = (Training){.o = o};
    if (shares_check(o->ranks, o->deterministic, err)) return -1;
    if ((ranks_rank(o->ranks) == 0 && out_check_folder(o, err)) || dataset_open(&t->data, o->data, o->category, err)) return -1;
    t->data.strict = o->strict;
    return check_splits(&t->data, err);
}

// What the model that is trained on makes idle, where the command line alone did not show it.
static void warn_idle(const Training *t) {
    if (t->model.items) use_warn_titles(t->o, "with a SASRec");
    use_warn_latent(t->o, &t->model.llm);
}

int training_open(Training *t, const Options *o, Err *err) {
    if (training_data(t, o, err) || model_io_open(&t->model, o, &t->data, err)) return -1;
    warn_idle(t);
    return 0;
}

static void take_chains(Training *t) {
    int64_t joined = 0, all = 0;
    t->next = rows_next(&t->train_rows);
    for (int i = 0; i < t->train.n; i++) {
        all += example_rows(&t->train.example[i], t->model.llm.config.thoughts);
        if (t->next[i] >= 0) joined += examples_join(&t->train.example[i], &t->train.example[t->next[i]]);
    }
    log_info("train: of %lld positions %lld are the beginning of the user's row before", (long long)all, (long long)joined);
}

int training_examples(Training *t, int valid_rows, Err *err) {
    const Options *o = t->o;
    if (t->model.items) return read_sequences(t, valid_rows, err);
    const int chains = o->order && !strcmp(o->order, "users");
    if (read_split(t, &t->train_rows, &t->train, "train", o->max_rows, o->sample, chains, (uint64_t)o->seed, err)) return -1;
    if (chains) take_chains(t);
    return read_split(t, &t->valid_rows, &t->valid, "valid", 0, valid_rows, 0, ROWS_SAMPLE_SEED, err);
}

int training_session(Training *t, int slots, Err *err) {
    if (session_init(&t->session, &t->model.llm, slots, err)) return -1;
    t->session.recompute = t->o->recompute;
    return run_open(&t->run, t->o, &t->model, &t->data, err);
}

void training_close(Training *t) {
    run_close(&t->run);
    session_free(&t->session);
    examples_free(&t->valid), rows_free(&t->valid_rows);
    examples_free(&t->train), rows_free(&t->train_rows);
    free(t->next);
    model_io_close(&t->model);
    dataset_close(&t->data);
}

// All ranks come here together; rank 0 alone writes.
static void training_event(void *context, const json_t *event) {
    Training *t = context;
    run_share_cost(&t->run, t->o->ranks);
    if (ranks_rank(t->o->ranks) == 0) run_event(&t->run, event);
}

static int training_lost(void *context, Err *err) {
    const Training *t = context;
    return run_lost(&t->run, err);
}

static int training_save(void *context, Err *err) {
    Training *t = context;
    const TensorType type = strcmp(t->o->save_dtype, "bf16") ? TENSOR_F32 : TENSOR_BF16;
    if (model_io_save(&t->model, t->o->out, type, err) || eval_save_forget(t->o->out, err)) return -1;
    return run_saved_best(&t->run, err);
}

LoopOptions training_loop(Training *t) {
    const Options *o = t->o;
    const int writes = ranks_rank(o->ranks) == 0;
    interrupt_tell("\nstopping after this step; once more stops at once\n");
    return (LoopOptions){.batch = o->batch,
                         .micro_rows = o->micro_rows,
                         .epochs = o->epochs,
                         .max_steps = o->max_steps,
                         .early_stop = !o->no_early_stop && !o->keep_last,
                         .keep_last = o->keep_last,
                         .patience = o->patience > 0 ? o->patience : 1,
                         .validations = o->validations,
                         .seed = (uint64_t)o->seed,
                         .next = t->next,
                         .interrupt = interrupt_watch(),
                         .ranks = o->ranks,
                         .deterministic = o->deterministic,
                         .event = training_event,
                         .lost = writes ? training_lost : NULL,
                         .save = training_save,
                         .context = t,
                         .checkpoints = writes ? &t->run.checkpoints : NULL,
                         .save_every = o->save_every};
}

OptimizerOptions training_optimizer(const Options *o) {
    const Schedule schedule = !strcmp(o->lr_schedule, "linear")   ? SCHEDULE_LINEAR
                              : !strcmp(o->lr_schedule, "cosine") ? SCHEDULE_COSINE
                                                                  : SCHEDULE_CONSTANT;
    return (OptimizerOptions){.lr = o->lr,
                              .latent_lr = o->latent_lr,
                              .clip = o->clip,
                              .spike = o->spike,
                              .schedule = schedule,
                              .warmup = o->warmup,
                              .seed = (uint64_t)o->seed};
}

static void say_next(const Training *t, const char *stage) {
    const Options *o = t->o;
    if (!strcmp(stage, "sft") && strcmp(o->train, "latent") && llm_has_latent(&t->model.llm))
        log_next("latentr3 rl --model %s --data %s --category %s --out runs/rl", o->out, o->data, o->category);
    else
        log_next("latentr3 eval --model %s --data %s --category %s --save %s", o->out, o->data, o->category, o->out);
}

int training_finish(Training *t, const char *stage, const LoopReport *r, Err *err) {
    interrupt_elsewhere(r->interrupted);
    run_share_cost(&t->run, t->o->ranks);
    if (ranks_rank(t->o->ranks) > 0) return 0;
    if (r->interrupted && r->steps == 0) { // the folder says, as after a kill, that nothing was done
        log_info("%s: stopped by a signal before the first step; the same command with --resume begins again", stage);
        return 0;
    }
    const double mib = 1.0 / (1 << 20);
    const double tokens_per_s = r->update_seconds > 0 ? (double)r->tokens_forward / r->update_seconds : 0;
    const int none = !isfinite(r->best_loss); // where it was not stopped before, no validation has given a number
    char kept[64] = "no number since";
    if (none && r->interrupted && r->best_step)
        snprintf(kept, sizeof kept, "the model of step %lld kept, not yet measured", (long long)r->best_step);
    if (!none) snprintf(kept, sizeof kept, "%.4f kept (step %lld)", r->best_loss, (long long)r->best_step);
    log_info("%s: %lld steps, %lld rows in %.1f s (%.3f s a row, %.0f tokens/s); validation %s %.4f before, %s%s", stage,
             (long long)r->steps, (long long)r->examples, r->seconds, r->examples ? r->update_seconds / (double)r->examples : 0,
             tokens_per_s, r->figure, r->first_loss, kept, r->interrupted ? "; stopped by a signal" : "");
    if (r->interrupted)
        log_info("%s: checkpoint at step %lld; the same command with --resume goes on", stage, (long long)r->steps);
    if (r->best_step == 0 && r->steps && !r->interrupted)
        log_warn("%s did not lower the validation %s: the model as it came was kept", stage, r->figure);
    if (none && !r->interrupted)
        log_warn("%s: no validation %s was a number: the model of the last step was kept, and is hardly of use", stage,
                 r->figure);
    if (r->best_loss > r->first_loss)
        log_warn("%s: the model that was kept has a higher validation %s than the one that came", stage, r->figure);
    log_info("memory: weights and gradients %.0f MiB, steps %.0f MiB", (double)t->model.llm.arena.peak_bytes * mib,
             (double)t->session.device.peak_bytes * mib);
    run_metric(&t->run, "stage", json_string(stage));
    run_metric(&t->run, "steps", json_integer(r->steps));
    run_metric(&t->run, "rows", json_integer(r->examples));
    run_metric(&t->run, "tokens_per_s", json_real(tokens_per_s));
    run_metric(&t->run, "tokens_forward", json_integer(r->tokens_forward));
    run_metric(&t->run, "tokens_backward", json_integer(r->tokens_back));
    run_metric(&t->run, "validation_loss_before", json_finite(r->first_loss));
    run_metric(&t->run, "validation_loss_kept", json_finite(r->best_loss));
    run_metric(&t->run, "kept_step", json_integer(r->best_step));
    run_metric(&t->run, "refused_updates", json_integer(r->refused));
    run_metric(&t->run, "interrupted", json_boolean(r->interrupted));
    if (run_finish(&t->run, err) || card_write(t->o->out, err)) return -1;
    if (!r->interrupted && !none) say_next(t, stage);
    return 0;
}
