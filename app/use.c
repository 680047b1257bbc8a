#include "app/use.h"
#include "base/log.h"

#include <stdio.h>

enum { OPENED_DATA = 1, OPENED_MODEL, OPENED_CATALOGUE, OPENED_RECOMMENDER };

int use_open(Use *u, const Options *o, Err *err) {
    *u = (Use){0};
    if (dataset_open(&u->data, o->data, o->category, err)) return -1;
    u->data.strict = o->strict;
    u->opened = OPENED_DATA;
    if (model_io_open(&u->model, o, u->data.category, err)) return -1;
    u->opened = OPENED_MODEL;
    if (u->model.llm.config.thoughts > 0 && !u->model.had_latent && !u->model.llm.config.thought_hidden)
        log_warn("%s has no LatentRATT: its thoughts come from random weights", o->model);
    return 0;
}

int use_recommender(Use *u, const Options *o, int k, int users, Err *err) {
    double start = log_seconds();
    if (catalogue_open(&u->catalogue, &u->data.items, u->model.tokenizer, &u->model.style, o->index, err)) return -1;
    u->opened = OPENED_CATALOGUE;
    const Trie *t = &u->catalogue.trie;
    log_info("catalogue: %d items, %d titles, %d trie nodes (%.0f bytes an item), longest answer %d tokens, %.1f s",
             u->data.items.n, t->leaves, t->nodes + t->tails, (double)trie_bytes(t) / u->data.items.n, t->longest,
             log_seconds() - start);
    RecommendOptions options = {.beams = o->beams,
                                .k = k,
                                .users = users,
                                .length_penalty = (float)o->length_penalty,
                                .exclude_seen = o->exclude_seen,
                                .chain_ahead = RECOMMEND_CHAIN_AHEAD};
    if (recommend_open(&u->recommender, &u->model.llm, u->model.tokenizer, &u->model.style, &u->catalogue, &options, err))
        return -1;
    u->opened = OPENED_RECOMMENDER;
    return 0;
}

void use_close(Use *u) {
    if (u->opened >= OPENED_RECOMMENDER) recommend_close(&u->recommender);
    if (u->opened >= OPENED_CATALOGUE) catalogue_free(&u->catalogue);
    if (u->opened >= OPENED_MODEL) model_io_close(&u->model);
    if (u->opened >= OPENED_DATA) dataset_close(&u->data);
}

void use_print(const json_t *json) {
    json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
}
