#include "train/shares.h"
#include "base/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE_VALUES = 1 << 18 };

// One share on one rank is the whole update: nothing is added to anything.
static int whole(const Shares *s) {
    return s->n == 1;
}

int shares_check(const Ranks *ranks, int deterministic, Err *err) {
    if (!deterministic || ranks_size(ranks) <= SHARES_FIXED) return 0;
    return err_set(err, ERR_USAGE, "--deterministic cuts an update into %d shares: at most so many ranks", SHARES_FIXED);
}

void shares_init(Shares *s, const Ranks *ranks, Llm *m, int deterministic) {
    const size_t size = (size_t)ranks_size(ranks);
    *s = (Shares){.ranks = ranks, .llm = m, .n = deterministic ? SHARES_FIXED : (int)size};
    CHECK((int)size <= s->n);
    s->rounds = (s->n + (int)size - 1) / (int)size;
    s->begin = mem_zalloc((size_t)s->n + 1, sizeof *s->begin);
    if (whole(s)) return;
    s->from = llm_train_range(m, &s->count);
    s->slice = (s->count + size - 1) / size;
    if (s->slice > SLICE_VALUES) s->slice = SLICE_VALUES;
    s->slices = (s->count + size * s->slice - 1) / (size * s->slice);
    s->out = mem_zalloc(size * s->slice, sizeof(float));
    s->in = mem_alloc(size * s->slice, sizeof(float));
    s->sum = mem_alloc((s->rounds > 1 ? s->slices : 1) * s->slice, sizeof(float));
}

void shares_free(Shares *s) {
    free(s->begin), free(s->out), free(s->in), free(s->sum);
    *s = (Shares){0};
}

void shares_cut(Shares *s, const int *rows, int n) {
    int64_t all = 0, before = 0;
    for (int i = 0; i < n; i++) all += rows[i];
    int share = 0;
    for (int i = 0; i < n; i++) { // an example belongs where its middle lies
        while (share < s->n && (2 * before + rows[i]) * s->n >= 2 * all * share) s->begin[share++] = i;
        before += rows[i];
    }
    while (share <= s->n) s->begin[share++] = n;
}

Share shares_own(const Shares *s, int round) {
    const int number = round * ranks_size(s->ranks) + ranks_rank(s->ranks);
    return number < s->n ? (Share){number, s->begin[number], s->begin[number + 1]} : (Share){s->n, 0, 0};
}

// Values [at, at + size slice) of the gradients.
static void add_slices(Shares *s, size_t at, float *sum, int round) {
    const int size = ranks_size(s->ranks), first = round * size, last = first + size < s->n ? size : s->n - first;
    const size_t all = (size_t)size * s->slice, n = s->count - at < all ? s->count - at : all, bytes = s->slice * sizeof(float);
    float *gradient = s->llm->dw + s->from + at;
    ops_download(s->llm->ops, s->out, gradient, n * sizeof(float));
    const float *in = s->out;
    if (size > 1) s->ranks->carrier->exchange(s->ranks->self, s->out, s->in, bytes), in = s->in;
    for (int i = 0; i < last; i++) {
        const float *x = in + (size_t)i * s->slice;
        if (first + i == 0)
            memcpy(sum, x, bytes);
        else
            for (size_t j = 0; j < s->slice; j++) sum[j] += x[j];
    }
    if (first + size < s->n) return;
    ranks_gather(s->ranks, sum, s->out, bytes);
    ops_upload(s->llm->ops, gradient, s->out, n * sizeof(float));
}

void shares_add(Shares *s, int round) {
    if (whole(s)) return;
    const double began = log_seconds();
    for (size_t i = 0; i < s->slices; i++)
        add_slices(s, i * (size_t)ranks_size(s->ranks) * s->slice, s->sum + (s->rounds > 1 ? i * s->slice : 0), round);
    if (round < s->rounds - 1) llm_zero_gradients(s->llm);
    s->seconds += log_seconds() - began;
}

void shares_tell(Shares *s, json_t *event) {
    if (ranks_size(s->ranks) > 1) json_object_set_new(event, "seconds_between_ranks", json_real(s->seconds));
    s->seconds = 0;
}

void shares_gather(const Shares *s, const void *x, void *all, size_t bytes) {
    const size_t size = (size_t)ranks_size(s->ranks), rounds = (size_t)s->rounds;
    char *of_ranks = mem_alloc(size * rounds, bytes);
    ranks_gather(s->ranks, x, of_ranks, rounds * bytes);
    for (size_t i = 0; i < (size_t)s->n; i++)
        memcpy((char *)all + i * bytes, of_ranks + (i % size * rounds + i / size) * bytes, bytes);
    free(of_ranks);
}

void shares_collect(const Shares *s, void *x, size_t bytes) {
    const int n = s->begin[s->n];
    int *owner = mem_alloc((size_t)n + 1, sizeof *owner);
    for (int share = 0; share < s->n; share++)
        for (int i = s->begin[share]; i < s->begin[share + 1]; i++) owner[i] = share % ranks_size(s->ranks);
    ranks_collect(s->ranks, x, owner, n, bytes);
    free(owner);
}

// ---- an update -----------------------------------------------------------------------------------------------------

typedef struct Figures {      // of a share, or of all of them
    double loss;              // summed
    double thoughts, squares; // thoughts made, and the sum of their squared norms
} Figures;

static Figures run_share(Session *session, const SharesUpdate *u, Share x) {
    double squares;
    session->thoughts_run = 0; // a difference of running sums would depend on what ran before
    ops_zero(session->ops, session->thought_squares, sizeof squares);
    const double loss = u->work(u->context, u->index, x.first, x.end, 1.0 / (double)u->terms);
    ops_download(session->ops, &squares, session->thought_squares, sizeof squares);
    return (Figures){loss, (double)session->thoughts_run, squares};
}

static Figures figures_of_all(const Shares *s, const Figures *mine) {
    Figures sum = {0}, *all = mem_alloc((size_t)s->n, sizeof *all);
    shares_gather(s, mine, all, sizeof *all);
    for (int i = 0; i < s->n; i++) sum.loss += all[i].loss, sum.thoughts += all[i].thoughts, sum.squares += all[i].squares;
    free(all);
    return sum;
}

int shares_update(Shares *s, Session *session, Optimizer *o, const SharesUpdate *u, json_t *event) {
    Figures mine[SHARES_FIXED];
    shares_cut(s, u->rows, u->n);
    for (int round = 0; round < s->rounds; round++) {
        mine[round] = run_share(session, u, shares_own(s, round));
        shares_add(s, round);
    }
    const Figures all = figures_of_all(s, mine);
    const double loss = all.loss / (double)u->terms;
    const OptimizerStep step = optimizer_update_for(o, loss);
    json_object_set_new(event, "loss", json_real(loss));
    json_object_set_new(event, u->terms_name, json_integer(u->terms));
    json_object_set_new(event, "learning_rate", json_real(step.rate));
    json_object_set_new(event, "gradient_norm", json_real(step.norm));
    if (all.thoughts) json_object_set_new(event, "thought_norm", json_real(sqrt(all.squares / all.thoughts)));
    optimizer_tell(&step, event);
    shares_tell(s, event);
    return step.refused;
}
