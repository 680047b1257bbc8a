#include "app/opener.h"
#include "app/model_io.h"
#include "app/sasrec_model.h"
#include "base/arena.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

// An OpenModel stands behind a Model.
static void close_opened(void *self) {
    OpenModel *m = self;
    if (m->path) model_io_close(m);
    free(m);
}

static int sasrec_tokens(void *self, const Items *items, int32_t **token, Err *err) {
    return sasrec_model_tokens(self, items, token, err);
}

static int open_data(void *self, Dataset *d, Err *err) {
    const Options *o = self;
    if (dataset_open(d, o->data, o->category, err)) return -1;
    d->strict = o->strict;
    return 0;
}

// The last part of the path; of one that ends in "." or "..", which no URL can name, that of the folder meant.
static char *name_of(const char *path) {
    char *name = file_last_part(path), *real = !strcmp(name, ".") || !strcmp(name, "..") ? realpath(path, NULL) : NULL;
    if (!real) return name;
    free(name);
    name = file_last_part(real);
    free(real);
    return name;
}

static int open_network(Model *model, const Options *o, const Dataset *d, Err *err) {
    OpenModel *m = mem_zalloc(1, sizeof *m);
    model->self = m;
    model->close = close_opened;
    if (model_io_open(m, o, d, err)) return -1;
    if (m->llm.config.thoughts > 0 && !m->had_latent && !m->llm.config.thought_hidden)
        log_warn("%s has no LatentRATT: its thoughts come from random weights", o->model);
    model->llm = &m->llm;
    model->tokenizer = m->tokenizer;
    model->style = m->style;
    if (m->items) model->tokens = sasrec_tokens;
    weights_hash(&m->llm, model->version);
    return 0;
}

static int open_model(void *self, const Dataset *d, Model **out, Err *err) {
    const Options *o = self;
    Model *model = mem_zalloc(1, sizeof *model);
    model->baseline = baseline_kind(o->model);
    model->seed = (uint64_t)o->seed;
    model->name = name_of(o->model);
    model_hold(model);
    if (model->baseline >= 0)
        strcpy(model->version, LATENTR3_VERSION);
    else if (open_network(model, o, d, err)) {
        model_drop(model);
        return -1;
    }
    *out = model;
    return 0;
}

Opener opener_of(const Options *o) {
    return (Opener){(void *)o, open_data, open_model};
}

EngineOptions opener_engine(const Options *o) {
    return (EngineOptions){.users = o->batch,
                           .beams = o->max_beams,
                           .length_penalty = (float)o->length_penalty,
                           .skip_ghosts = !strcmp(o->ghost_tokens, "skip"),
                           .index = o->index,
                           .prefix_bytes = (size_t)o->prefix_cache << 20};
}
