#include "train/shares.h"
#include "base/log.h"
#include "base/thread.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKET_VALUES = 1 << 21 };

// One share on one rank is the whole update: nothing is added to anything.
static int whole(const Shares *s) {
    return s->n == 1;
}

int shares_check(const Ranks *ranks, int deterministic, Err *err) {
    if (!deterministic || ranks_size(ranks) <= SHARES_FIXED) return 0;
    return err_set(err, ERR_USAGE, "--deterministic cuts an update into %d shares: at most so many ranks", SHARES_FIXED);
}

int shares_count(const Ranks *ranks, int deterministic) {
    return deterministic ? SHARES_FIXED : ranks_size(ranks);
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

// ---- adding ---------------------------------------------------------------------------------------------------------

// Bucket 0 is the end of the range: layers become final from the last to the first, and the embedding behind them.
static size_t bucket_begin(const Shares *s, size_t bucket) {
    return (s->buckets - 1 - bucket) * (size_t)ranks_size(s->ranks) * s->slice;
}

static float *bucket_slot(const Shares *s, size_t bucket) {
    return s->slot + bucket % s->slots * (size_t)ranks_size(s->ranks) * s->slice;
}

static int last_round(const Shares *s) {
    return s->round == s->rounds - 1;
}

// Between a slot and the model's gradients.
static void bucket_move(const Shares *s, size_t bucket, int to_model) {
    const size_t at = bucket_begin(s, bucket), all = (size_t)ranks_size(s->ranks) * s->slice,
                 bytes = (s->count - at < all ? s->count - at : all) * sizeof(float);
    float *gradient = s->llm->dw + s->from + at, *slot = bucket_slot(s, bucket);
    if (to_model)
        ops_upload(s->llm->ops, gradient, slot, bytes);
    else
        ops_download(s->llm->ops, slot, gradient, bytes);
}

// From this rank's share of the round to the sum of all, in the slot.
static void bucket_add(const Shares *s, size_t bucket) {
    const int size = ranks_size(s->ranks), first = s->round * size, last = first + size < s->n ? size : s->n - first;
    const size_t bytes = s->slice * sizeof(float);
    float *slot = bucket_slot(s, bucket), *sum = s->sum + (s->rounds > 1 ? bucket * s->slice : 0);
    const float *in = slot;
    if (size > 1) s->ranks->carrier->exchange(s->ranks->self, slot, s->in, bytes), in = s->in;
    for (int i = 0; i < last; i++) {
        const float *x = in + (size_t)i * s->slice;
        if (first + i == 0)
            memcpy(sum, x, bytes);
        else
            for (size_t j = 0; j < s->slice; j++) sum[j] += x[j];
    }
    if (last_round(s)) ranks_gather(s->ranks, sum, slot, bytes);
}

// A thread that adds the buckets put before it. It alone uses the ranks until all are added, and never the model: that is the
// other thread's.
typedef struct Courier {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t given, added; // buckets of this round
    int ends;
} Courier;

static void *courier_main(void *shares) {
    const Shares *s = shares;
    Courier *c = s->courier;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (c->added == c->given && !c->ends) pthread_cond_wait(&c->changed, &c->lock);
        if (c->ends) break;
        const size_t bucket = c->added;
        pthread_mutex_unlock(&c->lock);
        bucket_add(s, bucket);
        pthread_mutex_lock(&c->lock);
        c->added++;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void courier_start(Shares *s) {
    Courier *c = s->courier = mem_zalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    mem_need(thread_start(&c->thread, courier_main, s) ? NULL : c, "a thread");
}

static void courier_end(Courier *c) {
    pthread_mutex_lock(&c->lock);
    c->ends = 1;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void courier_give(Courier *c) {
    pthread_mutex_lock(&c->lock);
    c->given++;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

// How many buckets are added; waits for `least`.
static size_t courier_added(Courier *c, size_t least) {
    pthread_mutex_lock(&c->lock);
    while (c->added < least) pthread_cond_wait(&c->changed, &c->lock);
    const size_t added = c->added;
    pthread_mutex_unlock(&c->lock);
    return added;
}

static void courier_next_round(Courier *c) {
    pthread_mutex_lock(&c->lock);
    CHECK(c->added == c->given);
    c->added = c->given = 0;
    pthread_mutex_unlock(&c->lock);
}

// Of the first `final` buckets as many as there is room for go to the courier; what it has added goes back to the model.
static void buckets_go(Shares *s, size_t final) {
    const size_t added = courier_added(s->courier, 0);
    for (; s->taken < added; s->taken++)
        if (last_round(s)) bucket_move(s, s->taken, 1);
    for (; s->given < final && s->given - s->taken < s->slots; s->given++) {
        bucket_move(s, s->given, 0);
        courier_give(s->courier);
    }
}

static void layer_final(void *shares, int layer) {
    Shares *s = shares;
    buckets_go(s, s->final[layer]);
}

void shares_begin(Shares *s, Session *session, int round) {
    s->round = round;
    if (!s->courier) return;
    s->session = session;
    session->layer_final = layer_final, session->final_context = s;
}

static void add_alone(Shares *s) {
    for (size_t bucket = 0; bucket < s->buckets; bucket++) {
        bucket_move(s, bucket, 0);
        bucket_add(s, bucket);
        if (last_round(s)) bucket_move(s, bucket, 1);
    }
}

static void add_together(Shares *s) {
    for (buckets_go(s, s->buckets); s->taken < s->buckets; buckets_go(s, s->buckets)) courier_added(s->courier, s->taken + 1);
    courier_next_round(s->courier);
    s->given = s->taken = 0;
    s->session->layer_final = NULL;
}

void shares_add(Shares *s) {
    if (whole(s)) return;
    const double began = log_seconds();
    if (s->courier)
        add_together(s);
    else
        add_alone(s);
    if (!last_round(s)) llm_zero_gradients(s->llm);
    s->seconds += log_seconds() - began;
}

static void find_final(Shares *s) {
    const size_t all = (size_t)ranks_size(s->ranks) * s->slice;
    const int L = s->llm->config.L;
    s->final = mem_alloc((size_t)L, sizeof *s->final);
    for (int l = 0; l < L; l++) s->final[l] = s->buckets - (llm_final_from(s->llm, l) - s->from + all - 1) / all;
}

// Room for all buckets that become final at once, and one that is still under way.
static size_t slots_of(const Shares *s) {
    size_t most = 1, before = 0;
    for (int l = s->llm->config.L - 1; l >= 0; l--) {
        if (s->final[l] - before > most) most = s->final[l] - before;
        before = s->final[l];
    }
    return most + 1 < s->buckets ? most + 1 : s->buckets;
}

void shares_init(Shares *s, const Ranks *ranks, Llm *m, int deterministic, size_t bucket) {
    const size_t size = (size_t)ranks_size(ranks);
    *s = (Shares){.ranks = ranks, .llm = m, .n = shares_count(ranks, deterministic)};
    CHECK((int)size <= s->n);
    s->rounds = (s->n + (int)size - 1) / (int)size;
    s->begin = mem_zalloc((size_t)s->n + 1, sizeof *s->begin);
    if (whole(s)) return;
    s->from = llm_train_range(m, &s->count);
    if (bucket == 0) bucket = BUCKET_VALUES;
    if (bucket > s->count) bucket = s->count;
    s->slice = (bucket + size - 1) / size;
    s->buckets = (s->count + size * s->slice - 1) / (size * s->slice);
    find_final(s);
    s->slots = size > 1 ? slots_of(s) : 1;
    s->slot = mem_zalloc(s->slots * size * s->slice, sizeof(float));
    s->in = mem_alloc(size * s->slice, sizeof(float));
    s->sum = mem_alloc((s->rounds > 1 ? s->buckets : 1) * s->slice, sizeof(float));
    if (size > 1) courier_start(s);
}

void shares_free(Shares *s) {
    if (s->courier) courier_end(s->courier);
    free(s->begin), free(s->final), free(s->slot), free(s->in), free(s->sum);
    *s = (Shares){0};
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
        shares_begin(s, session, round);
        mine[round] = run_share(session, u, shares_own(s, round));
        shares_add(s);
    }
    const Figures all = figures_of_all(s, mine);
    const double loss = all.loss / (double)u->terms;
    const OptimizerStep step = optimizer_update_for(o, loss);
    json_object_set_new(event, "loss", json_finite(loss));
    json_object_set_new(event, u->terms_name, json_integer(u->terms));
    json_object_set_new(event, "learning_rate", json_real(step.rate));
    json_object_set_new(event, "gradient_norm", json_finite(step.norm));
    if (all.thoughts) json_object_set_new(event, "thought_norm", json_finite(sqrt(all.squares / all.thoughts)));
    optimizer_tell(&step, event);
    shares_tell(s, event);
    return step.refused;
}
