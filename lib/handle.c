// Opening, closing, items.
#include "lib/handle.h"
#include "app/opener.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The program talks, a library does not unless it is asked.
__attribute__((constructor)) static void handle_be_silent(void) {
    log_level = -1;
}

void latentr3_log_level(int level) {
    log_level = level;
}

const char *latentr3_version(void) {
    return LATENTR3_VERSION;
}

int handle_fail(latentr3_error *error, const Err *err) {
    if (error) {
        error->code = err->code;
        snprintf(error->message, sizeof error->message, "%s", err->message);
    }
    return err->code;
}

// ---- what computes ------------------------------------------------------------------------------------------------------

typedef struct Run {
    HandleWork *work;
    void *context;
    Err *err;
    int status;
} Run;

static void *run_there(void *context) {
    Run *run = context;
    run->status = run->work(run->context, run->err);
    return NULL;
}

int handle_run(HandleWork *work, void *context, Err *err) {
    Run run = {work, context, err, 0};
    pthread_t thread;
    const int failed = thread_start(&thread, run_there, &run); // signals are for the host's threads
    if (failed) return err_set(err, ERR_MEMORY, "no thread can be started: %s", strerror(failed));
    pthread_join(thread, NULL);
    return run.status;
}

// ---- options ------------------------------------------------------------------------------------------------------------

static const Command library = {.name = "library", .bit = CMD_LIBRARY};

struct latentr3_options {
    char **text; // (2 n) name, value, name, value, ...
    int n;
};

latentr3_options *latentr3_options_new(void) {
    return calloc(1, sizeof(latentr3_options));
}

// Tried on its own, so that the caller hears at once what is wrong with it.
int latentr3_options_set(latentr3_options *options, const char *name, const char *value, latentr3_error *error) {
    Err err = {0};
    Options alone;
    options_init(&alone, &library);
    if (!options || !name || !value)
        err_set(&err, ERR_USAGE, "an option, its name or its value is NULL");
    else if (!strcmp(name, "model") || !strcmp(name, "data"))
        err_set(&err, ERR_USAGE, "'%s' is an argument of latentr3_open", name);
    else
        options_set(&alone, name, value, &err);
    options_free(&alone);
    if (err.code) return handle_fail(error, &err);
    const size_t n = 2 * (size_t)options->n++;
    options->text = mem_realloc(options->text, n + 2, sizeof *options->text);
    options->text[n] = mem_strndup(name, strlen(name));
    options->text[n + 1] = mem_strndup(value, strlen(value));
    return 0;
}

void latentr3_options_free(latentr3_options *options) {
    if (!options) return;
    for (int i = 0; i < 2 * options->n; i++) free(options->text[i]);
    free(options->text);
    free(options);
}

static int take_options(Options *o, const char *model, const char *data, const latentr3_options *given, Err *err) {
    options_init(o, &library);
    for (int i = 0; given && i < given->n; i++)
        if (options_set(o, given->text[2 * i], given->text[2 * i + 1], err)) return -1;
    if (!model || !data) return err_set(err, ERR_USAGE, "model or data is NULL");
    if (options_set(o, "model", model, err) || options_set(o, "data", data, err)) return -1;
    return options_check(o, err) || options_check_model(o, err) ? -1 : 0;
}

// ---- opening ------------------------------------------------------------------------------------------------------------

static int open_all(void *self, Err *err) {
    latentr3 *r = self;
    const Opener opener = opener_of(&r->o);
    const EngineOptions options = opener_engine(&r->o);
    Dataset data;
    if (opener.data(opener.self, &data, err)) return -1;
    r->shelf = shelf_open(&data);
    if (opener.model(opener.self, &r->shelf->data, &r->model, err)) return -1;
    if (engine_open(&r->engine, r->model, r->shelf, &options, err)) return -1;
    return engine_start(r->engine, err);
}

int latentr3_open(latentr3 **out, const char *model, const char *data, const latentr3_options *options, latentr3_error *error) {
    Err err = {0};
    latentr3 *r = mem_zalloc(1, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    int status = take_options(&r->o, model, data, options, &err);
    if (status == 0) status = handle_run(open_all, r, &err);
    if (status) latentr3_close(r);
    *out = status ? NULL : r;
    return status ? handle_fail(error, &err) : 0;
}

static int close_all(void *self, Err *err) {
    latentr3 *r = self;
    (void)err;
    if (r->scores) reader_close(&r->scoring);
    engine_close(r->engine);
    model_drop(r->model);
    shelf_drop(r->shelf);
    return 0;
}

void latentr3_close(latentr3 *r) {
    if (!r) return;
    Err err = {0};
    handle_run(close_all, r, &err);
    if (err.code) close_all(r, NULL); // no thread to be had
    options_free(&r->o);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

const char *latentr3_model_version(const latentr3 *r) {
    return r->model->version;
}

// ---- items --------------------------------------------------------------------------------------------------------------

static int has(const latentr3 *r, int item) {
    return item >= 0 && item < r->shelf->data.items.n;
}

int latentr3_items(const latentr3 *r) {
    return r->shelf->data.items.n;
}

const char *latentr3_item_id(const latentr3 *r, int item) {
    return has(r, item) ? r->shelf->data.items.id[item] : NULL;
}

const char *latentr3_item_title(const latentr3 *r, int item) {
    return has(r, item) ? r->shelf->data.items.title[item] : NULL;
}

int latentr3_item_removed(const latentr3 *r, int item) {
    return !has(r, item) || r->shelf->data.items.removed[item];
}

int latentr3_item_by_id(const latentr3 *r, const char *id) {
    return id ? items_by_id(&r->shelf->data.items, id) : -1;
}

int latentr3_item_by_title(const latentr3 *r, const char *title) {
    return title ? items_by_title(&r->shelf->data.items, title) : -1;
}

int latentr3_search(const latentr3 *r, const char *text, int32_t *item, int most) {
    return text && *text ? shelf_search(r->shelf, text, strlen(text), item, most) : 0;
}
