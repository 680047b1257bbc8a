#include "app/use.h"
#include "app/sasrec_model.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPENED_DATA = 1, OPENED_MODEL, OPENED_CATALOGUE, OPENED_RECOMMENDER };

int use_open(Use *u, const Options *o, Err *err) {
    *u = (Use){0};
    if (dataset_open(&u->data, o->data, o->category, err)) return -1;
    u->data.strict = o->strict;
    u->opened = OPENED_DATA;
    if ((o->command->bit & (CMD_EVAL | CMD_RECOMMEND)) && baseline_kind(o->model) >= 0) return 0;
    if (model_io_open(&u->model, o, &u->data, err)) return -1;
    u->opened = OPENED_MODEL;
    use_warn_latent(o, &u->model.llm);
    if (u->model.llm.config.thoughts > 0 && !u->model.had_latent && !u->model.llm.config.thought_hidden)
        log_warn("%s has no LatentRATT: its thoughts come from random weights", o->model);
    return 0;
}

// No rows, and a warning with what that means, where the folder does not have the split.
static int read_split(Use *u, Rows *rows, const char *split, const char *without, Err *err) {
    char name[16];
    snprintf(name, sizeof name, "%s.csv", split);
    const int there = dataset_has(u->data.folder, name);
    if (!there) log_warn("%s has no %s: %s", u->data.folder, name, without);
    return there ? dataset_rows(&u->data, rows, split, 0, err) : 0;
}

int use_train(Use *u, Err *err) {
    if (u->train_opened) return 0;
    if (read_split(u, &u->train, "train", "popularity and item-kNN have nothing to count", err)) return -1;
    u->train_opened = 1;
    return 0;
}

static int use_baseline(Use *u, UseBaseline *x, BaselineRanker options, MatchBy by, Ranker *r, Err *err) {
    if (use_train(u, err)) return -1;
    baseline_open(&x->counted, &u->data.items, &u->train, by);
    options.b = &x->counted;
    x->ranker = options;
    *r = baseline_ranker(&x->ranker);
    return 0;
}

static int use_sasrec(Use *u, UseSasrec *x, OpenModel *m, int k, int users, int exclude_seen, Ranker *r, Err *err) {
    int unknown = 0;
    if (sasrec_model_tokens(m, &u->data.items, &x->token, err)) return -1;
    for (int i = 0; i < u->data.items.n; i++) unknown += x->token[i] < 0;
    if (unknown) log_warn("%d of %d items are not in %s: it never recommends them", unknown, u->data.items.n, m->path);
    if (sasrec_ranker_open(&x->ranker, &m->llm, &u->data.items, x->token, users, k, exclude_seen, err)) return -1;
    *r = sasrec_ranker(&x->ranker);
    return 0;
}

static int use_guide(Use *u, const Options *o, int users, Err *err) {
    UseGuide *g = &u->guide;
    const int kind = baseline_kind(o->guidance);
    if (kind == BASELINE_RANDOM || kind == BASELINE_REPEAT_LAST)
        return err_set(err, ERR_USAGE, "--guidance %s: a SASRec, popularity or item-knn is expected", o->guidance);
    if (kind >= 0) {
        // Grounding ranks items, beams titles, of which each is to count once.
        const BaselineRanker options = {
            .kind = (BaselineKind)kind, .users = users, .k = 1, .seed = (uint64_t)o->seed, .every_item = use_grounds(o)};
        // Items of one title are one answer, but where each has an index text.
        return use_baseline(u, &g->baseline, options, u->model.style.index_answers ? MATCH_ITEM : MATCH_TITLE, &g->ranker, err);
    }
    Options of_guide = *o;
    of_guide.model = o->guidance;
    of_guide.thoughts = of_guide.thought_window = -1;
    of_guide.thought = of_guide.answer_sees = NULL;
    if (model_io_open(&g->model, &of_guide, &u->data, err)) return -1;
    g->opened = 1;
    if (!g->model.items)
        return err_set(err, ERR_USAGE, "--guidance %.200s: neither a SASRec that `sasrec` made nor the name of a baseline",
                       o->guidance);
    return use_sasrec(u, &g->sasrec, &g->model, 1, users, 0, &g->ranker, err);
}

static int open_catalogue(Use *u, const Options *o, Err *err) {
    double start = log_seconds();
    if (catalogue_open(&u->catalogue, &u->data.items, u->model.tokenizer, &u->model.style, o->index, err)) return -1;
    u->opened = OPENED_CATALOGUE;
    const Trie *t = &u->catalogue.trie;
    log_info("catalogue: %d items, %d titles, %d trie nodes (%.0f bytes an item), longest answer %d tokens, %.1f s",
             u->data.items.n, t->leaves, t->nodes + t->tails, (double)trie_bytes(t) / u->data.items.n, t->longest,
             log_seconds() - start);
    int first, hidden = catalogue_hidden(&u->catalogue, &first);
    if (hidden)
        log_warn(
            "never listed, as the tokenizer makes the answer of another title of theirs: %d of the items, \"%.80s\" the first",
            hidden, u->data.items.title[first]);
    return 0;
}

int use_recommender(Use *u, const Options *o, int k, int users, Err *err) {
    if ((o->guidance && use_guide(u, o, users, err)) || open_catalogue(u, o, err)) return -1;
    RecommendOptions options = {.beams = o->beams,
                                .k = k,
                                .users = users,
                                .length_penalty = (float)o->length_penalty,
                                .exclude_seen = o->exclude_seen,
                                .skip_ghosts = !strcmp(o->ghost_tokens, "skip"),
                                .guide = o->guidance ? &u->guide.ranker : NULL,
                                .guidance = (float)o->guidance_weight};
    if (recommend_open(&u->recommender, &u->model.llm, u->model.tokenizer, &u->model.style, &u->catalogue, &options, err))
        return -1;
    u->opened = OPENED_RECOMMENDER;
    return 0;
}

int use_grounds(const Options *o) {
    return o->decode && !strcmp(o->decode, "ground");
}

static int use_ground(Use *u, const Options *o, int k, int users, Err *err) {
    if ((o->guidance && use_guide(u, o, users, err)) || open_catalogue(u, o, err)) return -1;
    const GroundOptions options = {.beams = o->beams,
                                   .k = k,
                                   .users = users,
                                   .length_penalty = (float)o->length_penalty,
                                   .exclude_seen = o->exclude_seen,
                                   .guide = o->guidance ? &u->guide.ranker : NULL,
                                   .guide_counts = o->guidance && baseline_kind(o->guidance) == BASELINE_POPULARITY,
                                   .power = (float)o->guidance_power};
    return ground_open(&u->ground, &u->model.llm, u->model.tokenizer, &u->model.style, &u->catalogue, &options, err);
}

Reader *use_reader(Use *u, const Options *o) {
    return use_grounds(o) ? &u->ground.reader : &u->recommender.reader;
}

Thoughts *use_thoughts(Use *u, const Options *o) {
    return u->model.items ? &u->sasrec.ranker.thoughts : &use_reader(u, o)->thoughts;
}

const BeamStats *use_stats(const Use *u, const Options *o) {
    return use_grounds(o) ? &u->ground.stats : &u->recommender.stats;
}

int use_histories(Use *u, const Rows *rows, const char *split, Rows *whole, Err *err) {
    Sequences *s = &u->histories;
    Rows valid = {0};
    if (use_train(u, err) || (!strcmp(split, "test") && read_split(u, &valid, "valid", "histories are without its items", err)))
        return -1;
    if (strcmp(split, "train")) sequences_add(s, &u->data.items, &u->train, NULL);
    sequences_add(s, &u->data.items, &valid, NULL);
    s->broken = 0;
    SequencePlace *place = mem_alloc((size_t)rows->n + 1, sizeof *place);
    sequences_add(s, &u->data.items, rows, place);
    rows_copy(whole, rows);
    sequences_into_rows(s, &u->data.items, whole, place);
    if (s->broken)
        log_info("%lld rows do not go on with what is known of their user: they keep their own history", (long long)s->broken);
    free(place);
    rows_free(&valid);
    return 0;
}

void use_warn_idle(const Options *o, const char *const *names, const char *why) {
    for (; *names; names++)
        if (options_changed(o, *names)) log_warn("--%s does nothing %s", *names, why);
}

void use_warn_titles(const Options *o, const char *why) {
    static const char *const of_titles[] = {"length-penalty", "ghost-tokens", "index", "bos", "history-text", "order", NULL};
    use_warn_idle(o, of_titles, why);
}

void use_warn_latent(const Options *o, const Llm *llm) {
    static const char *const of_latent[] = {"latent-lr", "thought-window", NULL};
    if (!llm_has_latent(llm)) use_warn_idle(o, of_latent, "with a model that has no LatentRATT");
}

// What does nothing where lists do not come from titles.
static void warn_idle(const Use *u, const Options *o) {
    static const char *const of_models[] = {"thoughts", "thought", "thought-window", "thought-rms", "answer-sees", NULL},
                             *const of_thoughts[] = {"thought", NULL};
    const int baseline = u->opened == OPENED_DATA;
    if (use_reads_titles(u)) return;
    use_warn_titles(o, baseline ? "with a baseline" : "with a SASRec");
    if (baseline) use_warn_idle(o, of_models, "with a baseline");
    if (!baseline && u->model.llm.config.thoughts == 0) use_warn_idle(o, of_thoughts, "with a SASRec that has no thoughts");
}

int use_reads_titles(const Use *u) {
    return u->opened >= OPENED_MODEL && !u->model.items;
}

int use_ranker(Use *u, const Options *o, int k, int users, Ranker *r, Err *err) {
    const char *needs = o->guidance ? "guidance" : use_grounds(o) ? "decode ground" : NULL;
    if (needs && !use_reads_titles(u))
        return err_set(err, ERR_USAGE, "--%s goes with a language model, which %s is not", needs, o->model);
    warn_idle(u, o);
    if (u->opened == OPENED_DATA) {
        const BaselineRanker options = {.kind = (BaselineKind)baseline_kind(o->model),
                                        .users = users,
                                        .k = k,
                                        .exclude_seen = o->exclude_seen,
                                        .every_item = o->protocol && strcmp(o->protocol, "full") != 0,
                                        .seed = (uint64_t)o->seed};
        return use_baseline(u, &u->baseline, options, MATCH_TITLE, r, err);
    }
    if (u->model.items) return use_sasrec(u, &u->sasrec, &u->model, k, users, o->exclude_seen, r, err);
    if (use_grounds(o)) {
        if (use_ground(u, o, k, users, err)) return -1;
        *r = ground_ranker(&u->ground);
        return 0;
    }
    if (use_recommender(u, o, k, users, err)) return -1;
    *r = recommend_ranker(&u->recommender);
    return 0;
}

static void use_guide_close(UseGuide *g) {
    baseline_ranker_free(&g->baseline.ranker);
    baseline_close(&g->baseline.counted);
    sasrec_ranker_close(&g->sasrec.ranker);
    free(g->sasrec.token);
    if (g->opened) model_io_close(&g->model);
}

void use_close(Use *u) {
    baseline_ranker_free(&u->baseline.ranker);
    baseline_close(&u->baseline.counted);
    rows_free(&u->train);
    sasrec_ranker_close(&u->sasrec.ranker);
    sequences_free(&u->histories);
    free(u->sasrec.token);
    use_guide_close(&u->guide);
    if (u->ground.o.users) ground_close(&u->ground);
    if (u->opened >= OPENED_RECOMMENDER) recommend_close(&u->recommender);
    if (u->opened >= OPENED_CATALOGUE) catalogue_free(&u->catalogue);
    if (u->opened >= OPENED_MODEL) model_io_close(&u->model);
    if (u->opened >= OPENED_DATA) dataset_close(&u->data);
}

void use_print(const json_t *json) {
    CHECK(json);
    json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
}
