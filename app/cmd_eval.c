// latentr3 eval: hit rate and NDCG over the whole catalogue, beside what has to be beaten.
#include "app/commands.h"
#include "app/use.h"
#include "base/log.h"
#include "rec/evaluate.h"
#include "rec/protocol.h"

#include <stdlib.h>
#include <string.h>

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
        if (c == 0) printf("  %.4f .. %.4f", x.low, x.high);
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
    static const char *const name[SLICES] = {"all",       "in train",  "not in train", "popular",   "unpopular",
                                             "1st fifth", "2nd fifth", "3rd fifth",    "4th fifth", "last fifth"};
    const int against = e->slice[SLICE_ALL].gain.rows > 0;
    if (e->slice[SLICE_ALL].interactions == 0 && !against) return;
    while (against && k > 0 && metric_k[k] > e->slice[SLICE_ALL].gain.list) k--;
    printf("%-16s  %8s  %8s  %8s%s\n", "rows by target", "items", "rows", "HR",
           against ? "     other      gain  95 % interval" : "");
    for (int i = against ? SLICE_ALL : SLICE_WARM; i < SLICES; i++) {
        const Slice *s = &e->slice[i];
        const Metric gain = s->gain.hit[k];
        if (!s->metrics.rows) continue;
        printf("%-16s  %8d  %8d  %8.4f", name[i], s->items, s->metrics.rows, s->metrics.hit[k].value);
        if (against) printf("  %8.4f  %+8.4f  %+.4f .. %+.4f", s->other.hit[k].value, gain.value, gain.low, gain.high);
        putchar('\n');
    }
    printf("(HR@%d; fifths of the interactions of the train rows, the most popular items first)\n", metric_k[k]);
}

static void print_report(const Evaluation *e, const BeamStats *beams, const Options *o) {
    int k = 0; // the largest K given
    while (k + 1 < METRIC_KS && metric_k[k + 1] <= e->list) k++;
    printf("%s, %s ranking: %d rows of %d users", o->split, o->protocol, e->rows, e->users);
    if (beams->steps)
        printf(", %d beams, %.3f s a user (%lld model calls)", o->beams, e->seconds / e->rows, (long long)beams->steps);
    printf("\n\n");
    print_table(e);
    putchar('\n');
    print_slices(e, k);
    if (e->outside) printf("%d targets are not in the catalogue\n", e->outside);
    if (e->short_lists) printf("%d rows have fewer than %d items\n", e->short_lists, e->list);
}

// ---- the command -------------------------------------------------------------------------------------------------------

static void add_beams(json_t *json, const Options *o, const BeamStats *beams) {
    json_object_set_new(json, "beams", json_integer(o->beams));
    json_object_set_new(json, "illegal_beams", json_integer(beams->illegal));
    json_object_set_new(json, "model_calls", json_integer(beams->steps));
    json_object_set_new(json, "beam_rows", json_integer(beams->rows));
}

static int eval_rows(Use *u, const Options *o, Rows *rows, Err *err) {
    Ranker ranker;
    Evaluation e;
    if (use_train(u, err) || use_histories(u, rows, o->split, err) ||
        use_ranker(u, o, o->beams, o->batch < rows->n ? o->batch : rows->n, &ranker, err))
        return -1;
    ProtocolRanker among;
    Protocol protocol = PROTOCOL_FULL;
    while (strcmp(o->protocol, protocol_name[protocol])) protocol++;
    const Ranker all = ranker;
    if (protocol != PROTOCOL_FULL && protocol_ranker(&among, protocol, &all, rows, &u->train, &ranker, err)) return -1;
    EvaluateOptions options = {.resamples = EVAL_RESAMPLES,
                               .seed = (uint64_t)o->seed,
                               .results = {o->results, o->trec_run, o->trec_qrels},
                               .against = o->against,
                               .alone = protocol != PROTOCOL_FULL,
                               .exclude_seen = o->exclude_seen};
    if (evaluate_rows(&e, &ranker, rows, &u->train, &options, err)) return -1;
    if (o->json) {
        json_t *json = evaluate_to_json(&e);
        json_object_set_new(json, "split", json_string(o->split));
        json_object_set_new(json, "protocol", json_string(o->protocol));
        add_beams(json, o, &u->recommender.stats);
        use_print(json);
        json_decref(json);
    } else {
        print_report(&e, &u->recommender.stats, o);
    }
    return 0;
}

static int eval_split(Use *u, const Options *o, Err *err) {
    Rows rows;
    if (dataset_rows(&u->data, &rows, o->split, o->max_rows, err)) return -1;
    if (!strcmp(o->split, "train")) log_warn("the baselines count the rows that they are measured on");
    rows_sample(&rows, o->sample, ROWS_SAMPLE_SEED);
    int status = rows.n ? eval_rows(u, o, &rows, err) : err_set(err, ERR_DATA, "%s: %s.csv holds no rows", o->data, o->split);
    rows_free(&rows);
    return status;
}

int cmd_eval(const Options *o, Err *err) {
    Use u;
    int status = use_open(&u, o, err);
    if (status == 0) status = eval_split(&u, o, err);
    use_close(&u);
    return status;
}
