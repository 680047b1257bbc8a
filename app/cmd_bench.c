// latentr3 bench: how fast each part runs on this machine, as one JSON object. Nothing is written, nothing is learnt.
//
// `peak_share` is useful multiply-adds over time over the rate of `bench gemm`: matrix products of the network's rows and of
// the head; attention, norms and the optimizer count as time only.
#include "app/commands.h"
#include "app/use.h"
#include "base/log.h"
#include "base/rng.h"
#include "model/measure.h"
#include "train/rl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct Bench {
    const Options *o;
    Use use;
    Rows rows;
    Examples examples;
    Session session;
    int opened;
} Bench;

enum { OPENED_USE = 1, OPENED_ROWS, OPENED_EXAMPLES, OPENED_SESSION };

typedef struct Figures {
    double seconds, macs;
    int64_t tokens;  // rows of the network
    BeamStats beams; // of a search
} Figures;

static double peak_mib(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)use.ru_maxrss / 1024;
}

// ---- sft, rl, beam, write -------------------------------------------------------------------------------------------

// What sft and rl have where the option is not given.
static int micro_rows(const Options *o, int rl) {
    return o->micro_rows > 0 ? o->micro_rows : rl ? 512 : 2048;
}

static int open_examples(Bench *b, int rl, Err *err) {
    const Options *o = b->o;
    Llm *m = &b->use.model.llm;
    if (examples_make(&b->examples, &b->rows, b->use.model.tokenizer, &b->use.model.style, m->config.thoughts,
                      PROMPT_TRAIN_TOKENS, 0, err))
        return -1;
    b->opened = OPENED_EXAMPLES;
    int slots = rl ? rollout_slots(&b->examples, m->config.thoughts, o->batch, o->samples, micro_rows(o, rl))
                   : sft_slots(&b->examples, m->config.thoughts, micro_rows(o, rl));
    if (session_init(&b->session, m, slots, err)) return -1;
    b->session.recompute = o->recompute;
    b->opened = OPENED_SESSION;
    return 0;
}

// In an order of chance, as an epoch has them: rows of one user that stand together would share their prompts' beginnings.
static uint32_t *all_rows(int n, uint64_t seed) {
    uint32_t *index = mem_alloc((size_t)n, sizeof *index);
    rng_permutation(index, (size_t)n, seed, RNG_SHUFFLE);
    return index;
}

// Updates of --batch rows over all rows, the first of them once more before the clock starts.
static int bench_training(Bench *b, int rl, Figures *f, Err *err) {
    Llm *m = &b->use.model.llm;
    const ModelConfig *c = &m->config;
    const Options *o = b->o;
    const int n = b->rows.n, K = o->samples;
    if (rl && c->thoughts == 0) return err_set(err, ERR_USAGE, "bench rl needs a model with a thought: --thoughts 1");
    if (open_examples(b, rl, err) || llm_train(m, model_io_trains(o), err)) return -1;
    Optimizer optimizer;
    OptimizerOptions adamw = {.lr = 1e-6, .clip = 1, .schedule = SCHEDULE_CONSTANT};
    if (optimizer_init(&optimizer, m, &adamw, err)) return -1;
    const RlMethod method = {.rollout = {.samples = K, .sigma = o->sigma}};
    float *noise = mem_alloc(rl ? (size_t)o->batch * (size_t)K * (size_t)c->D : 1, sizeof *noise);
    uint32_t *index = all_rows(n, (uint64_t)o->seed);
    int64_t before = 0;
    for (int first = -o->batch; first < n; first += o->batch) { // the first round warms up
        const int at = first < 0 ? 0 : first, rows = n - at < o->batch ? n - at : o->batch;
        if (first == 0) f->seconds = log_seconds(), before = b->session.tokens_run;
        if (rl) {
            rng_normal(noise, (size_t)rows * (size_t)K * (size_t)c->D, (uint64_t)o->seed, RNG_NOISE, 0);
            rl_examples(&b->session, &b->examples, index + at, rows, &method, noise, NULL, micro_rows(o, rl), NULL, NULL);
        } else {
            sft_update(&b->session, &b->examples, index + at, rows, micro_rows(o, rl), 1, NULL);
        }
        optimizer_update(&optimizer);
    }
    f->seconds = log_seconds() - f->seconds;
    f->tokens = b->session.tokens_run - before;
    const double answers = (double)b->examples.answer_tokens, suffix = rl ? answers * K : 0;
    f->macs = rl ? measure_row_macs(c) * ((double)f->tokens + suffix) + measure_head_macs(c) * suffix * 2
                 : 3 * (measure_row_macs(c) * (double)f->tokens + measure_head_macs(c) * answers);
    free(noise), free(index);
    optimizer_free(&optimizer);
    return 0;
}

static void take_histories(const Bench *b, int first, int users, History *history) {
    for (int u = 0; u < users; u++) history[u] = ranker_history(&b->rows.row[first + u], first + u);
}

// Lists of --beams items, --batch users at a time.
static int bench_beam(Bench *b, Figures *f, Err *err) {
    const Options *o = b->o;
    const ModelConfig *c = &b->use.model.llm.config;
    if (use_recommender(&b->use, o, o->beams, o->batch, err)) return -1;
    Recommender *r = &b->use.recommender;
    r->reader.session.timed = 1;
    Recommendation *out = mem_alloc((size_t)o->batch * (size_t)o->beams, sizeof *out);
    int *found = mem_alloc((size_t)o->batch, sizeof *found), status = 0;
    History *history = mem_alloc((size_t)o->batch, sizeof *history);
    int64_t tokens = 0;
    for (int first = -o->batch; first < b->rows.n && status == 0; first += o->batch) { // the first round warms up
        const int at = first < 0 ? 0 : first, users = b->rows.n - at < o->batch ? b->rows.n - at : o->batch;
        if (first == 0) {
            f->seconds = log_seconds(), tokens = r->reader.session.tokens_run;
            r->stats = (BeamStats){0};
        }
        take_histories(b, at, users, history);
        status = recommend_users(r, history, users, out, found, err);
    }
    f->seconds = log_seconds() - f->seconds;
    f->tokens = r->reader.session.tokens_run - tokens;
    f->beams = r->stats;
    f->macs = measure_row_macs(c) * (double)f->tokens + measure_head_macs(c) * (double)(r->stats.rows + b->rows.n);
    free(out), free(found), free(history);
    return status;
}

// --tokens tokens behind each prompt, always the likeliest: what a written chain of thought costs.
static int bench_write(Bench *b, Figures *f, Err *err) {
    const Options *o = b->o;
    const OpenModel *m = &b->use.model;
    const ModelConfig *c = &m->llm.config;
    const GenerateOptions g = {.beams = 1, .tokens = o->tokens, .eos_id = -1}; // nothing ends it before
    Reader r;
    if (reader_open(&r, &b->use.model.llm, m->tokenizer, &m->style, o->batch, PROMPT_RECOMMEND_TOKENS,
                    (int)generate_slots(&g, 1), g.tokens, err))
        return -1;
    int32_t *ids = mem_alloc((size_t)o->batch * (size_t)g.tokens, sizeof *ids);
    int *len = mem_alloc((size_t)o->batch, sizeof *len), *node = mem_alloc((size_t)o->batch, sizeof *node), status = 0;
    History *history = mem_alloc((size_t)o->batch, sizeof *history);
    int64_t tokens = 0;
    for (int first = -o->batch; first < b->rows.n && status == 0; first += o->batch) { // as above
        const int at = first < 0 ? 0 : first, users = b->rows.n - at < o->batch ? b->rows.n - at : o->batch;
        if (first == 0) f->seconds = log_seconds(), tokens = r.session.tokens_run;
        take_histories(b, at, users, history);
        status = reader_histories(&r, history, users, node, err);
        if (status == 0) generate_answers(&r.session, &g, node, users, ids, len, &f->beams);
        reader_end(&r);
    }
    f->seconds = log_seconds() - f->seconds;
    f->tokens = r.session.tokens_run - tokens;
    f->macs = measure_row_macs(c) * (double)f->tokens + measure_head_macs(c) * (double)b->rows.n * g.tokens;
    free(ids), free(len), free(node), free(history);
    reader_close(&r);
    return status;
}

// ---- the command ----------------------------------------------------------------------------------------------------

static json_t *common(const Bench *b) {
    const Ops *ops = b->use.model.ops;
    return json_pack("{s:s, s:s, s:i, s:s, s:f}", "bench", b->o->operand, "machine", ops_description(ops), "threads",
                     ops_threads(ops), "dtype", ops_dtype(ops) == DTYPE_BF16 ? "bf16" : "f32", "peak_mib", peak_mib());
}

// Where a search's time went, by shares; its prompts are not part of it.
static json_t *search_parts(const Figures *f, int users) {
    const BeamStats *s = &f->beams;
    const double search = s->trie_s + s->network_s + s->head_s + s->softmax_s + s->select_s;
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "calls_per_user", (double)s->steps / users, "rows_per_user",
                     (double)s->rows / users, "s_per_user", search / users, "network", s->network_s / search, "head",
                     s->head_s / search, "softmax", s->softmax_s / search, "select", s->select_s / search, "trie",
                     s->trie_s / search);
}

static int run_rows(Bench *b, const char *what, Figures *f, Err *err) {
    if (!strcmp(what, "beam")) return bench_beam(b, f, err);
    if (!strcmp(what, "write")) return bench_write(b, f, err);
    return bench_training(b, !strcmp(what, "rl"), f, err);
}

static int bench_rows(Bench *b, const char *what, json_t **out, Err *err) {
    Figures f = {0};
    double rate;
    if (measure_products(&b->use.model.llm, &rate, err)) return -1;
    if (dataset_rows(&b->use.data, &b->rows, b->o->split, b->o->rows, err)) return -1;
    b->opened = OPENED_ROWS;
    if (b->rows.n == 0) return err_set(err, ERR_DATA, "%s: %s.csv holds no rows", b->o->data, b->o->split);
    if (run_rows(b, what, &f, err)) return -1;
    *out = common(b);
    json_object_set_new(*out, "rows", json_integer(b->rows.n));
    json_object_set_new(*out, "batch", json_integer(b->o->batch));
    json_object_set_new(*out, "s_per_row", json_real(f.seconds / b->rows.n));
    json_object_set_new(*out, "tokens_per_s", json_real((double)f.tokens / f.seconds));
    json_object_set_new(*out, "gmac_per_s", json_real(f.macs / f.seconds * 1e-9));
    json_object_set_new(*out, "peak_share", json_real(f.macs / f.seconds / rate));
    if (!strcmp(what, "beam")) json_object_set_new(*out, "search", search_parts(&f, b->rows.n));
    return 0;
}

static int bench_gemm(Bench *b, json_t **out, Err *err) {
    double rate;
    if (measure_products(&b->use.model.llm, &rate, err)) return -1;
    *out = common(b);
    json_object_set_new(*out, "gmac_per_s", json_real(rate * 1e-9));
    return 0;
}

static int bench_trie(Bench *b, json_t **out, Err *err) {
    double start = log_seconds();
    Catalogue c;
    if (catalogue_open(&c, &b->use.data.items, b->use.model.tokenizer, &b->use.model.style, b->o->index, err)) return -1;
    double built = log_seconds() - start;
    *out = common(b);
    json_object_set_new(*out, "items", json_integer(b->use.data.items.n));
    json_object_set_new(*out, "nodes", json_integer((json_int_t)c.trie.nodes + c.trie.tails));
    json_object_set_new(*out, "build_s", json_real(built));
    json_object_set_new(*out, "bytes_per_item", json_real((double)trie_bytes(&c.trie) / b->use.data.items.n));
    catalogue_free(&c);
    return 0;
}

// From the command's start to the first answer.
static int bench_load(Bench *b, double started, json_t **out, Err *err) {
    double opened = log_seconds() - started;
    if (use_recommender(&b->use, b->o, b->o->beams, 1, err)) return -1;
    const char *title = b->use.data.items.title[0];
    const History history = {.title = &title, .n = 1};
    Recommendation *answer = mem_alloc((size_t)b->o->beams, sizeof *answer);
    int found, status = recommend_users(&b->use.recommender, &history, 1, answer, &found, err);
    free(answer);
    if (status) return -1;
    *out = common(b);
    json_object_set_new(*out, "open_s", json_real(opened));
    json_object_set_new(*out, "first_answer_s", json_real(log_seconds() - started));
    return 0;
}

static void bench_close(Bench *b) {
    if (b->opened >= OPENED_SESSION) session_free(&b->session);
    if (b->opened >= OPENED_EXAMPLES) examples_free(&b->examples);
    if (b->opened >= OPENED_ROWS) rows_free(&b->rows);
    use_close(&b->use);
}

static int bench_run(Bench *b, double started, json_t **out, Err *err) {
    const char *what = b->o->operand;
    if (use_open(&b->use, b->o, err)) return -1;
    if (!strcmp(what, "gemm")) return bench_gemm(b, out, err);
    if (!strcmp(what, "trie")) return bench_trie(b, out, err);
    if (!strcmp(what, "load")) return bench_load(b, started, out, err);
    return bench_rows(b, what, out, err);
}

int cmd_bench(const Options *o, Err *err) {
    static const char *const known[] = {"sft", "rl", "beam", "write", "gemm", "trie", "load"};
    int found = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= o->operand && !strcmp(o->operand, known[i]);
    if (!found) return err_set(err, ERR_USAGE, "bench: say what: sft, rl, beam, write, gemm, trie or load");
    Bench b = {.o = o};
    json_t *out = NULL;
    int status = bench_run(&b, log_seconds(), &out, err);
    if (status == 0) {
        if (o->json)
            use_print(out);
        else
            json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4)), putchar('\n');
    }
    json_decref(out);
    bench_close(&b);
    return status;
}
