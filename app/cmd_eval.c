// latentr3 eval: hit rate and NDCG over the whole catalogue, beside what has to be beaten.
#include "app/commands.h"
#include "app/eval_save.h"
#include "app/out.h"
#include "app/resume.h"
#include "app/run.h"
#include "app/use.h"
#include "base/file.h"
#include "base/log.h"
#include "rec/evaluate.h"
#include "rec/protocol.h"
#include "rec/thought_test.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EVAL_RESAMPLES = 1000 };

// ---- the table ---------------------------------------------------------------------------------------------------------

typedef struct Column {
    const char *head;
    const Metrics *metrics;
} Column;

static void print_line(const char *label, const Column *column, int columns, Metric (*of)(const Metrics *, int), int k) {
    printf("%-8s", label);
    for (int c = 0; c < columns; c++) {
        Metric x = of(column[c].metrics, k);
        printf("  %*.4f", c < 2 ? 8 : 11, x.value);
        if (c > 0) continue;
        if (column[c].metrics->resamples)
            printf("  %.4f .. %.4f", x.low, x.high);
        else
            printf("  %-16s", "-");
    }
    putchar('\n');
}

static Metric hit_at(const Metrics *m, int k) {
    return m->hit[k];
}
static Metric ndcg_at(const Metrics *m, int k) {
    return m->ndcg[k];
}
static Metric mrr_of(const Metrics *m, int k) {
    (void)k;
    return m->mrr;
}

static void print_table(const Evaluation *e) {
    Column column[2 + BASELINES] = {{"by title", &e->match[MATCH_TITLE]}, {"by item", &e->match[MATCH_ITEM]}};
    int columns = 2;
    for (int kind = 0; kind < BASELINES; kind++)
        if (e->baseline[kind][MATCH_TITLE].rows)
            column[columns++] = (Column){baseline_name[kind], &e->baseline[kind][MATCH_TITLE]};
    printf("%-8s  %8s  %-16s", "", column[0].head, "95 % interval");
    for (int c = 1; c < columns; c++) printf("  %*s", c < 2 ? 8 : 11, column[c].head);
    putchar('\n');
    for (int ndcg = 0; ndcg < 2; ndcg++)
        for (int k = 0; k < METRIC_KS && metric_k[k] <= e->list; k++) {
            char label[16];
            snprintf(label, sizeof label, ndcg ? "NDCG@%d" : "HR@%d", metric_k[k]);
            print_line(label, column, columns, ndcg ? ndcg_at : hit_at, k);
        }
    print_line("MRR", column, columns, mrr_of, 0);
}

// HR at the largest K of the rows apart, and of another evaluation's.
static void print_slices(const Evaluation *e, int k) {
    const int against = e->slice[SLICE_ALL].gain.rows > 0;
    if (e->slice[SLICE_ALL].interactions == 0 && !against) return;
    while (against && k > 0 && metric_k[k] > e->slice[SLICE_ALL].gain.list) k--;
    printf("%-16s  %8s  %8s  %8s%s\n", "rows by target", "items", "rows", "HR",
           against ? "     other      gain  95 % interval" : "");
    for (int i = against ? SLICE_ALL : SLICE_WARM; i < SLICES; i++) {
        const Slice *s = &e->slice[i];
        const Metric gain = s->gain.hit[k];
        if (!s->metrics.rows) continue;
        printf("%-16s  %8d  %8d  %8.4f", slice_label[i], s->items, s->metrics.rows, s->metrics.hit[k].value);
        if (against) printf("  %8.4f  %+8.4f", s->other.hit[k].value, gain.value);
        if (against && s->gain.resamples) printf("  %+.4f .. %+.4f", gain.low, gain.high);
        putchar('\n');
    }
    printf("(HR@%d; warm: in the train rows; fifths of their interactions, the most popular items first)\n", metric_k[k]);
}

static int largest_k(const Evaluation *e) {
    int k = 0;
    while (k + 1 < METRIC_KS && metric_k[k + 1] <= e->list) k++;
    return k;
}

static void print_report(const Evaluation *e, const BeamStats *beams, const Options *o) {
    printf("%s, %s ranking: %d rows of %d users", o->split, o->protocol, e->rows, e->users);
    if (beams->steps)
        printf(", %d beams, %.3f s a user (%lld model calls)", o->beams, e->seconds / e->rows, (long long)beams->steps);
    printf("\n\n");
    print_table(e);
    putchar('\n');
    print_slices(e, largest_k(e));
    if (e->outside) printf("%d targets are not in the catalogue\n", e->outside);
    if (e->short_lists) printf("%d rows have fewer than %d items\n", e->short_lists, e->list);
}

// ---- the thought test --------------------------------------------------------------------------------------------------

// width: of an interval's column.
static void print_more(Metric more, int width, int interval) {
    printf("  %+8.4f", more.value);
    if (interval)
        printf("  %+.4f .. %+.4f", more.low, more.high);
    else
        printf("  %-*s", width, "-");
}

static void print_thoughts(const ThoughtTest *t, int k) {
    static const char *const name[THOUGHT_SOURCES] = {"own", "another row's", "zero", "own and noise"};
    printf("\n%-14s  %8s  %8s  %-18s  %6s%-2d  %8s  %-16s\n", "thought", "loss", "less own", "95 % interval", "HR@",
           metric_k[k], "less own", "95 % interval");
    for (int i = 0; i < THOUGHT_SOURCES; i++) {
        const int interval = t->gain[i].resamples > 0;
        printf("%-14s  %8.4f", name[i], t->loss[i].value);
        if (i == THOUGHT_OWN)
            printf("  %8s  %-18s", "", "");
        else
            print_more(t->loss_gain[i], 18, interval);
        printf("  %8.4f", t->metrics[i].hit[k].value);
        if (i != THOUGHT_OWN) print_more(t->gain[i].hit[k], 0, interval);
        putchar('\n');
    }
    if (t->same_user) printf("%d rows got the thought of another row of the same user\n", t->same_user);
}

static int refuse_thought_test(const Use *u, const Options *o, Err *err) {
    if (!u->model.items && !u->model.tokenizer)
        return err_set(err, ERR_USAGE, "--thought-test goes with a model that thinks, which %.200s is not", o->model);
    if (u->model.llm.config.thoughts == 0) return err_set(err, ERR_USAGE, "--thought-test: %.200s has no thoughts", o->model);
    return 0;
}

// What a language model's losses are measured on: made before all else is measured, which a row that does not fit would waste.
static int make_examples(Examples *e, const Use *u, const Rows *rows, Err *err) {
    const OpenModel *m = &u->model;
    Rows titled;
    rows_copy(&titled, rows);
    rows_retitle_targets(&titled, &u->data.items); // as the lists are looked through
    const int status = examples_make(e, &titled, m->tokenizer, &m->style, m->llm.config.thoughts, PROMPT_TRAIN_TOKENS, 1, err);
    rows_free(&titled);
    return status;
}

static int thought_test_llm(Use *u, ThoughtTestRun *run, const Examples *examples, ThoughtTest *t, Err *err) {
    Reader scorer;
    const OpenModel *m = &u->model;
    if (score_open(&scorer, &u->model.llm, m->tokenizer, &m->style, run->ranker->users, PROMPT_TRAIN_TOKENS, err)) return -1;
    run->losses = thought_test_losses;
    run->scorer = &(ThoughtTestScorer){&scorer, examples, run->rows->name};
    run->scored = &scorer.thoughts;
    const int status = thought_test_run(t, run, err);
    reader_close(&scorer);
    return status;
}

// own (rows, thoughts, D) and rank (rows): what the evaluation left. examples: of a language model.
static int thought_test(Use *u, const Options *o, const Rows *rows, const Examples *examples, const Ranker *ranker,
                        const float *own, const int *rank, ThoughtTest *t, Err *err) {
    ThoughtTestRun run = {.rows = rows,
                          .ranker = ranker,
                          .config = &u->model.llm.config,
                          .ranked = use_thoughts(u, o),
                          .rank = rank,
                          .own = own,
                          .resamples = EVAL_RESAMPLES,
                          .seed = (uint64_t)o->seed};
    if (!u->model.items) return thought_test_llm(u, &run, examples, t, err);
    run.losses = sasrec_losses;
    run.scorer = &(SasrecLosses){&u->sasrec.ranker, rows};
    run.scored = run.ranked;
    return thought_test_run(t, &run, err);
}

// ---- several ranks -----------------------------------------------------------------------------------------------------

typedef struct Shared { // a ranker of which each rank asks its own for its part of the users, and gets all lists
    const Ranks *ranks;
    Ranker own;
    int *owner; // (rows) which rank a row was ranked by
} Shared;

static int shared_rank(void *self, const History *h, int users, Recommendation *out, int *found, Err *err) {
    Shared *s = self;
    const int size = ranks_size(s->ranks), rank = ranks_rank(s->ranks), first = users * rank / size,
              n = users * (rank + 1) / size - first, k = s->own.k;
    int *owner = mem_alloc((size_t)users, sizeof *owner);
    for (int i = 0; i < size; i++)
        for (int b = users * i / size; b < users * (i + 1) / size; b++) s->owner[h[b].number] = owner[b] = i;
    int status = n ? s->own.rank(s->own.self, h + first, n, out + (size_t)first * (size_t)k, found + first, err) : 0;
    status = ranks_agree(s->ranks, status, err);
    if (status == 0) ranks_collect(s->ranks, out, owner, users, (size_t)k * sizeof *out);
    if (status == 0) ranks_collect(s->ranks, found, owner, users, sizeof *found);
    free(owner);
    return status;
}

static BeamStats stats_of_all(const Ranks *ranks, const BeamStats *mine) {
    BeamStats sum = {0}, *all = mem_alloc((size_t)ranks_size(ranks), sizeof *all);
    ranks_gather(ranks, mine, all, sizeof *mine);
    for (int i = 0; i < ranks_size(ranks); i++)
        sum.steps += all[i].steps, sum.rows += all[i].rows, sum.illegal += all[i].illegal;
    free(all);
    return sum;
}

static int sum_of_all(const Ranks *ranks, int mine) {
    int sum = 0, *all = mem_alloc((size_t)ranks_size(ranks), sizeof *all);
    ranks_gather(ranks, &mine, all, sizeof mine);
    for (int i = 0; i < ranks_size(ranks); i++) sum += all[i];
    free(all);
    return sum;
}

static int agree(const Use *u, const Options *o, Err *err) {
    if (ranks_size(o->ranks) == 1) return 0;
    const OpenModel *m = u->model.path ? &u->model : NULL;
    json_t *all = run_describe(o, m, &u->data, 1, err), *identity = all ? resume_identity(all) : NULL;
    const int status = resume_agree(o->ranks, identity, err);
    json_decref(all), json_decref(identity);
    return status;
}

// ---- the command -------------------------------------------------------------------------------------------------------

static void add_beams(json_t *json, const Options *o, const BeamStats *beams) {
    json_object_set_new(json, "beams", json_integer(o->beams));
    json_object_set_new(json, "illegal_beams", json_integer(beams->illegal));
    json_object_set_new(json, "model_calls", json_integer(beams->steps));
    json_object_set_new(json, "beam_rows", json_integer(beams->rows));
}

typedef struct Eval {
    Use *u;
    const Options *o;
    Protocol protocol;
    Rows own, whole;  // with the histories of the file; with whole ones, where a SASRec or the protocol asks for them
    const Rows *rows; // which of them the model reads
    Ranker ranker;
    ProtocolRanker among; // behind it, where candidates are drawn
    Shared shared;        // behind that, of several ranks
    BeamStats beams;
    Evaluation e;
    ThoughtTest thoughts;
    int *slices;   // (rows) where they are kept; or NULL
    char *results; // path of --results, or of what --save will keep; or NULL
} Eval;

int cmd_eval_places(const Options *o) {
    return use_grounds(o) ? metric_k[METRIC_KS - 1] : o->beams;
}

static int open_ranker(Eval *x, Err *err) {
    const Options *o = x->o;
    const int ground = use_grounds(o), list = cmd_eval_places(o);
    const int scores = ground || baseline_kind(o->model) >= 0,
              apart = x->u->model.items || (scores && x->protocol != PROTOCOL_FULL),
              k = apart ? ranker_places(&x->u->data.items, list, o->exclude_seen ? x->rows : NULL) : list;
    if (use_ranker(x->u, o, k, o->batch < x->rows->n ? o->batch : x->rows->n, &x->ranker, err)) return -1;
    x->ranker.titles = list;
    const Ranker all = x->ranker;
    if (x->protocol != PROTOCOL_FULL && protocol_ranker(&x->among, x->protocol, &all, &x->whole, &x->u->train, &x->ranker, err))
        return -1;
    if (ranks_size(o->ranks) == 1) return 0;
    x->shared = (Shared){o->ranks, x->ranker, mem_zalloc((size_t)x->rows->n, sizeof(int))};
    x->ranker.self = &x->shared, x->ranker.rank = shared_rank, x->ranker.score = NULL;
    x->ranker.users *= o->ranks->size;
    return 0;
}

// The evaluation itself. What comes behind it draws again, so this is when those that fell short are counted.
static int evaluate(Eval *x, const EvaluateOptions *options, Err *err) {
    if (evaluate_rows(&x->e, &x->ranker, x->rows, &x->u->train, options, err)) return -1;
    const int fewer = sum_of_all(x->o->ranks, x->among.fewer);
    if (fewer)
        log_warn("--protocol %s: %d rows are ranked among fewer than %d drawn items, for want of others", x->o->protocol, fewer,
                 PROTOCOL_CANDIDATES);
    return 0;
}

static int measure(Eval *x, Err *err) {
    const Options *o = x->o;
    const ModelConfig *c = &x->u->model.llm.config;
    const size_t n = (size_t)x->rows->n;
    EvaluateOptions options = {
        .resamples = EVAL_RESAMPLES,
        .seed = (uint64_t)o->seed,
        .results = {x->results, o->trec_run, o->trec_qrels, x->protocol == PROTOCOL_FULL ? NULL : o->protocol},
        .against = o->against,
        .own = &x->own,
        .alone = x->protocol != PROTOCOL_FULL,
        .exclude_seen = o->exclude_seen,
        .slices = x->slices};
    if (!o->thought_test) return evaluate(x, &options, err);
    Examples examples = {0};
    if (!x->u->model.items && make_examples(&examples, x->u, x->rows, err)) return -1;
    float *own = mem_zalloc(n * (size_t)c->thoughts, (size_t)c->D * sizeof *own); // zero for a history without known items
    Thoughts *thoughts = use_thoughts(x->u, o);
    options.rank = mem_alloc(n, sizeof *options.rank);
    thoughts->keep = own;
    int status = evaluate(x, &options, err);
    thoughts->keep = NULL;
    if (status == 0) ranks_collect(o->ranks, own, x->shared.owner, (int)n, (size_t)(c->thoughts * c->D) * sizeof *own);
    if (status == 0) status = thought_test(x->u, o, x->rows, &examples, &x->ranker, own, options.rank, &x->thoughts, err);
    examples_free(&examples);
    free(own), free(options.rank);
    return status;
}

static json_t *eval_to_json(const Eval *x) {
    const Options *o = x->o;
    json_t *json = evaluate_to_json(&x->e);
    json_object_set_new(json, "split", json_string(o->split));
    json_object_set_new(json, "protocol", json_string(o->protocol));
    if (o->thought_test) json_object_set_new(json, "thought_test", thought_test_to_json(&x->thoughts));
    add_beams(json, o, &x->beams);
    return json;
}

static void report(const Eval *x) {
    const Options *o = x->o;
    if (ranks_rank(o->ranks) > 0) return;
    if (!o->json) {
        print_report(&x->e, &x->beams, o);
        if (o->thought_test) print_thoughts(&x->thoughts, largest_k(&x->e));
        return;
    }
    json_t *json = eval_to_json(x);
    use_print(json);
    json_decref(json);
}

static int eval_rows(Eval *x, Err *err) {
    const Options *o = x->o;
    Use *u = x->u;
    if (o->save && !(x->results = eval_save_results(o, err))) return -1;
    if (o->save) x->slices = mem_zalloc((size_t)x->rows->n, sizeof *x->slices);
    if (o->results) x->results = mem_strndup(o->results, strlen(o->results));
    int status = open_ranker(x, err) || measure(x, err);
    if (status == 0) x->beams = stats_of_all(o->ranks, use_stats(u, o));
    if (status == 0 && o->save) status = eval_save(eval_to_json(x), u, o, x->rows, x->slices, x->results, err);
    if (status && o->save) unlink(x->results);
    free(x->results), free(x->shared.owner), free(x->slices);
    if (status == 0) report(x);
    return status ? -1 : 0;
}

// Rows are drawn when whole histories are there: each goes on from the rows before it.
static int read_rows(Eval *x, Err *err) {
    const Options *o = x->o;
    Use *u = x->u;
    if (dataset_rows(&u->data, &x->own, o->split, o->max_rows, err) || use_train(u, err)) return -1;
    if (x->own.n == 0) return err_set(err, ERR_DATA, "%s: %s.csv holds no rows", o->data, o->split);
    const int whole = u->model.items || x->protocol != PROTOCOL_FULL;
    if (whole && use_histories(u, &x->own, o->split, &x->whole, err)) return -1;
    x->rows = u->model.items ? &x->whole : &x->own;
    rows_cut_histories(&x->own, PROMPT_HISTORY);
    Rows *all[] = {&x->own, &x->whole};
    for (int i = 0; i < 2; i++) {
        rows_sample(all[i], o->sample, ROWS_SAMPLE_SEED);
        if (o->shuffle_history) rows_shuffle_histories(all[i], (uint64_t)o->seed);
    }
    return 0;
}

static int eval_split(Use *u, const Options *o, Err *err) {
    Eval x = {.u = u, .o = o};
    while (strcmp(o->protocol, protocol_name[x.protocol])) x.protocol++;
    if (o->thought_test && refuse_thought_test(u, o, err)) return -1;
    if (!strcmp(o->split, "train")) log_warn("the baselines count the rows that they are measured on");
    int status = read_rows(&x, err) || (o->thought_test && thought_test_check(x.rows->n, err)) || eval_rows(&x, err);
    rows_free(&x.whole), rows_free(&x.own);
    return status ? -1 : 0;
}

enum { FILES = 3 };

static const char *file_of(const Options *o, int i) {
    return i == 0 ? o->results : i == 1 ? o->trec_run : o->trec_qrels;
}

// One file for two of them would hold the last alone.
static int check_files(const Options *o, Err *err) {
    static const char *const name[FILES] = {"results", "trec-run", "trec-qrels"};
    for (int i = 0; i < FILES; i++) {
        const char *path = file_of(o, i);
        if (path && out_check_file(o, path, err)) return -1;
        for (int k = 0; k < i && path; k++)
            if (file_of(o, k) && file_is_same(file_of(o, k), path))
                return err_set(err, ERR_USAGE, "--%s and --%s name one file, %s", name[k], name[i], path);
    }
    return 0;
}

static int make_parents(const Options *o, Err *err) {
    for (int i = 0; i < FILES; i++)
        if (file_of(o, i) && out_make_parent(file_of(o, i), err)) return -1;
    return 0;
}

int cmd_eval(const Options *given, Err *err) {
    Use u = {0};
    Options o = *given;
    if (ranks_rank(o.ranks) > 0) o.results = o.save = o.trec_run = o.trec_qrels = NULL; // rank 0 writes them
    int status = ranks_agree(o.ranks, check_files(&o, err) || use_open(&u, &o, err) ? -1 : 0, err);
    if (o.threads > 0) omp_set_num_threads(o.threads); // of the intervals: ops have it set for their own length alone
    if (status == 0) status = agree(&u, given, err) || make_parents(&o, err) || eval_split(&u, &o, err);
    use_close(&u);
    return status ? -1 : 0;
}
