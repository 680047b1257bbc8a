// latentr3 sasrec: train SASRec on users' whole sequences.
#include "app/commands.h"
#include "app/sasrec_model.h"
#include "app/training.h"
#include "base/log.h"
#include "data/sequences.h"
#include "train/sasrec.h"

#include <stdlib.h>
#include <string.h>

typedef struct Work {
    Training t; // its Examples stay empty
    Sequences sequences;
    SasrecExample *example[2]; // of train and valid
    SasrecExamples train, valid;
    int32_t *place; // of the examples of valid
} Work;

// The last items of a sequence whose first n items count: at most `most` of them to predict from, and what is predicted. What
// stands behind them, a user's validation items, is not known to be met: it may be drawn as a negative like any other.
static SasrecExample example_of(const Ints *sequence, int n, int most) {
    const int skip = n > most + 1 ? n - most - 1 : 0;
    return (SasrecExample){.item = sequence->data + skip, .n = n - skip, .seen = sequence->data, .seen_n = n};
}

static void add_example(SasrecExamples *e, SasrecExample *to, SasrecExample x) {
    to[e->n++] = x;
    if (x.n > e->longest) e->longest = x.n;
}

static int by_place(const void *a, const void *b) {
    const SequencePlace *p = a, *q = b;
    return p->sequence != q->sequence ? (p->sequence > q->sequence) - (p->sequence < q->sequence)
                                      : (p->n > q->n) - (p->n < q->n);
}

// The targets of --valid-rows of the rows. A user's rows are places of one sequence, which runs once, as far as they begin it
// at the same item. All rows must have a place: each goes on from the one before it. Returns how many there are.
static int add_valid(Work *w, const SequencePlace *place, int rows, int wanted, int most) {
    const int n = wanted > 0 && wanted < rows ? wanted : rows;
    uint32_t *row = rows_draw(rows, n, ROWS_SAMPLE_SEED);
    SequencePlace *drawn = mem_alloc((size_t)n + 1, sizeof *drawn);
    for (int i = 0; i < n; i++) drawn[i] = place[row[i]];
    qsort(drawn, (size_t)n, sizeof *drawn, by_place);
    w->valid.example = w->example[1] = mem_alloc((size_t)n + 1, sizeof(SasrecExample));
    w->place = mem_alloc((size_t)n + 1, sizeof *w->place);
    for (int i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && drawn[end].sequence == drawn[i].sequence && drawn[end].n <= most;) end++;
        SasrecExample x = example_of(&w->sequences.item[drawn[i].sequence], drawn[end - 1].n + 1, most);
        x.place = w->place + i, x.places = end - i;
        const int skipped = drawn[end - 1].n + 1 - x.n;
        for (int j = i; j < end; j++) w->place[j] = drawn[j].n - skipped;
        add_example(&w->valid, w->example[1], x);
    }
    free(row), free(drawn);
    return n;
}

// The sequences of train.csv; and those of the validation rows, whose targets are the last items. Pointers are taken when
// all sequences are there.
static int make_examples(Work *w, Err *err) {
    Training *t = &w->t;
    const int most = t->o->max_length;
    sequences_add(&w->sequences, &t->data.items, &t->train_rows, NULL);
    const int n = w->sequences.n;
    int *len = mem_alloc((size_t)n + 1, sizeof *len);
    for (int i = 0; i < n; i++) len[i] = (int)w->sequences.item[i].len;
    SequencePlace *place = mem_alloc((size_t)t->valid_rows.n + 1, sizeof *place);
    const int users = w->sequences.users.n;
    sequences_add(&w->sequences, &t->data.items, &t->valid_rows, place);
    w->train.example = w->example[0] = mem_alloc((size_t)n + 1, sizeof(SasrecExample));
    int64_t predictions = 0;
    for (int i = 0; i < n; i++) {
        const SasrecExample x = example_of(&w->sequences.item[i], len[i], most);
        add_example(&w->train, w->example[0], x);
        predictions += x.n - 1;
    }
    const int valid = add_valid(w, place, t->valid_rows.n, t->o->valid_rows, most);
    free(len), free(place);
    log_info("train: %d sequences of %d users, %lld predictions, longest %d; valid: %d rows; %lld rows do not go on with "
             "their user's sequence",
             w->train.n, users, (long long)predictions, w->train.longest - 1, valid, (long long)w->sequences.broken);
    return w->train.n && valid ? 0 : err_set(err, ERR_DATA, "%s: train.csv or valid.csv holds no rows", t->o->data);
}

static int sasrec_run(Work *w, Err *err) {
    Training *t = &w->t;
    const Options *o = t->o;
    if (dataset_rows(&t->data, &t->train_rows, "train", o->max_rows, err) ||
        dataset_rows(&t->data, &t->valid_rows, "valid", 0, err))
        return -1;
    if (sasrec_model_new(&t->model, o, &t->data.items, err) || make_examples(w, err)) return -1;
    const int thoughts = t->model.llm.config.thoughts, train = sasrec_slots(&w->train, thoughts, o->micro_rows),
              valid = sasrec_slots(&w->valid, thoughts, o->micro_rows);
    if (training_session(t, train > valid ? train : valid, err)) return -1;
    if (t->run.done) return 0;
    const SasrecOptions options = {.loop = training_loop(t),
                                   .optimizer = training_optimizer(o),
                                   .method = {.loss = strcmp(o->loss, "bce") ? SASREC_CROSS_ENTROPY : SASREC_BINARY,
                                              .negatives = o->negatives,
                                              .dropout = (float)o->dropout,
                                              .seed = (uint64_t)o->seed}};
    LoopReport report;
    if (sasrec_train(&t->session, &w->train, &w->valid, &options, &report, err)) return -1;
    return training_finish(t, "sasrec", &report, err);
}

int cmd_sasrec(const Options *o, Err *err) {
    Work w = {0};
    int status = training_data(&w.t, o, err);
    if (status == 0) status = sasrec_run(&w, err);
    free(w.example[0]), free(w.example[1]), free(w.place);
    sequences_free(&w.sequences);
    training_close(&w.t);
    return status;
}
