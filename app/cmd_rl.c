// latentr3 rl: stage 2, from a model that sft has trained.
#include "app/commands.h"
#include "app/training.h"
#include "app/use.h"
#include "base/log.h"
#include "rec/ranks.h"
#include "rec/recommend.h"
#include "rec/sasrec.h"
#include "train/rl.h"

#include <string.h>

static AdvantageScope scope_of(const char *name) {
    return !strcmp(name, "batch") ? ADVANTAGE_BATCH : !strcmp(name, "group") ? ADVANTAGE_GROUP : ADVANTAGE_GROUP_MEAN;
}

static RewardKind reward_of(const char *name) {
    return !strcmp(name, "perplexity") ? REWARD_PERPLEXITY
           : !strcmp(name, "logprob")  ? REWARD_LOGPROB
           : !strcmp(name, "hit")      ? REWARD_HIT
                                       : REWARD_RANK;
}

static RlMethod method_of(const Options *o) {
    return (RlMethod){.rollout = {.samples = o->samples,
                                  .sigma = o->sigma,
                                  .sigma_relative = o->sigma_relative,
                                  .reward = reward_of(o->reward)},
                      .objective = {.kind = strcmp(o->objective, "latent") ? OBJECTIVE_TOKEN : OBJECTIVE_LATENT,
                                    .epsilon_low = o->epsilon_low,
                                    .epsilon_high = o->epsilon_high,
                                    .beta = o->beta},
                      .scope = scope_of(o->advantage),
                      .window = o->advantage_window,
                      .inner = o->inner};
}

typedef struct Lists { // the searches of the rewards that ask for the list
    Catalogue catalogue;
    BeamOptions beam;
    const Rows *rows; // of the examples
    const Examples *examples;
    Ranking ranking;
} Lists;

static void rank_target(void *context, Session *s, uint32_t example, const int *node, int samples, int *rank) {
    const Lists *l = context;
    const Row *row = &l->rows->row[example];
    ranks_find(&l->catalogue, &l->beam, s, catalogue_item_leaf(&l->catalogue, row->target_title, row->target_id), node, samples,
               rank);
}

static void rank_item(void *context, Session *s, uint32_t example, const int *node, int samples, int *rank) {
    const Lists *l = context;
    sasrec_ranks(s, l->examples->example[example].answer[0], node, samples, l->beam.beams, rank);
}

static int lists_open(Lists *l, const Training *t, Err *err) {
    const Options *o = t->o;
    *l = (Lists){.beam = {.beams = o->beams, .length_penalty = (float)o->length_penalty},
                 .rows = &t->train_rows,
                 .examples = &t->train,
                 .ranking = {l, t->model.items ? rank_item : rank_target}};
    if (t->model.items) return 0;
    return catalogue_build(&l->catalogue, &t->data.items, t->model.tokenizer, &t->model.style, err);
}

static int rl_session(Training *t, const Lists *l, Err *err) {
    const Options *o = t->o;
    const int thoughts = t->model.llm.config.thoughts, batch = o->batch < t->train.n ? o->batch : t->train.n;
    size_t slots = (size_t)rollout_slots(&t->train, thoughts, batch, o->samples, o->micro_rows),
           valid = (size_t)sft_slots(&t->valid, thoughts, o->micro_rows);
    if (l->catalogue.trie.nodes) slots += (size_t)o->samples + beam_slots(&l->catalogue.trie, &l->beam, o->samples);
    if (slots > INT32_MAX)
        return err_set(err, ERR_USAGE, "%d beams of up to %d tokens for %d samples need too many cache slots", o->beams,
                       l->catalogue.trie.longest, o->samples);
    return training_session(t, (int)(slots > valid ? slots : valid), err);
}

static int rl_run(Training *t, RlOptions *options, Lists *lists, Err *err) {
    const Options *o = t->o;
    if (!t->model.had_latent && !t->model.llm.config.thought_hidden)
        log_warn("%s holds no LatentRATT: rl starts from a random one (run sft first)", o->model);
    options->loop = training_loop(t);
    options->loop.early_stop = 0;
    static const char *const of_lists[] = {"beams", "length-penalty", NULL};
    const int lists_reward = reward_of_lists(options->method.rollout.reward);
    if (!lists_reward) use_warn_idle(o, of_lists, "without --reward hit or rank");
    if (lists_reward && lists_open(lists, t, err)) return -1;
    options->method.rollout.ranking = &lists->ranking;
    if (rl_session(t, lists, err)) return -1;
    if (t->run.done) return 0;
    LoopReport report;
    if (rl_train(&t->session, &t->train, &t->valid, options, &report, err)) return -1;
    return training_finish(t, "rl", &report, err);
}

int cmd_rl(const Options *o, Err *err) {
    Training t;
    Lists lists = {0};
    RlOptions options = {.optimizer = training_optimizer(o), .method = method_of(o), .groups = model_io_trains(o)};
    int status = training_open(&t, o, err);
    if (status == 0) status = rl_check(&t.model.llm, &options, err);
    if (status == 0) status = training_examples(&t, o->eval_rows, err);
    if (status == 0) status = rl_run(&t, &options, &lists, err);
    catalogue_free(&lists.catalogue);
    training_close(&t);
    return status;
}
