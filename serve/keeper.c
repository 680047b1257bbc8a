#include "serve/keeper.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "serve/answer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void task_free(Task *t) {
    str_free(&t->reply.body);
    free(t->id), free(t->title), free(t->text);
    free(t);
}

// ---- loading ----------------------------------------------------------------------------------------------------------

// A model may open and yet answer nothing (weights that are no numbers): one user is ranked before it is trusted, one who had
// and is allowed the item of the shortest title, which takes the fewest steps.
static int try_out(Engine *e, Err *err) {
    const Items *items = &e->shelf->data.items;
    int item = -1;
    for (int i = 0; i < items->n; i++)
        if (!items->removed[i] && (item < 0 || strlen(items->title[i]) < strlen(items->title[item]))) item = i;
    const char *id[] = {item < 0 ? "" : items->id[item]};
    const Ask ask = {.history = id, .n = item >= 0, .by_id = 1, .k = 1, .beams = 1, .allow = id, .allows = item >= 0 ? 1 : -1};
    Answer answer = {0};
    const int status = engine_start(e, err) || engine_rank(e, &ask, &answer, err) ? -1 : 0;
    answer_free(&answer);
    return status ? err_prefix(err, "%s: tried on one user", e->model->name) : 0;
}

static int load_model(const Opener *opener, const EngineOptions *o, Shelf *s, Model **m, Engine **e, Err *err) {
    if (opener->model(opener->self, &s->data, m, err)) return -1;
    if (engine_open(e, *m, s, o, err) == 0) {
        if (try_out(*e, err) == 0) {
            engine_rest(*e); // the worker computes, and its helpers are then the only ones
            return 0;
        }
        engine_close(*e);
    }
    model_drop(*m);
    return -1;
}

int keeper_load(const Opener *opener, const EngineOptions *o, Model **m, Shelf **s, Engine **e, Err *err) {
    Dataset data;
    if (opener->data(opener->self, &data, err)) return -1;
    *s = shelf_open(&data);
    if (load_model(opener, o, *s, m, e, err) == 0) return 0;
    shelf_drop(*s);
    return -1;
}

// ---- tasks ------------------------------------------------------------------------------------------------------------

// From here on it is what everybody sees. Takes over all three, also where it fails and all stays as it was.
static int publish(Keeper *k, Model *m, Shelf *s, Engine *e, Err *err) {
    if (worker_adopt(k->worker, e, err)) {
        model_drop(m);
        shelf_drop(s);
        return -1;
    }
    pthread_mutex_lock(&k->lock);
    Model *old_model = k->model;
    Shelf *old_shelf = k->shelf;
    k->model = m;
    k->shelf = s;
    pthread_mutex_unlock(&k->lock);
    model_drop(old_model);
    shelf_drop(old_shelf);
    return 0;
}

static void fail(Task *t, int status, const Err *err) {
    t->reply.status = status;
    str_clear(&t->reply.body);
    answer_error(&t->reply.body, status, err->message);
}

static void reload(Keeper *k, Task *t) {
    Model *m;
    Shelf *s;
    Engine *e;
    Err err = {0};
    Str *body = &t->reply.body;
    const double start = log_seconds();
    int status = keeper_load(k->opener, &k->o, &m, &s, &e, &err);
    if (status == 0) {
        shelf_count(s, k->shelf, &k->closed);
        str_puts(body, "{\"model\": ");
        str_json(body, m->name, strlen(m->name));
        str_printf(body, ", \"model_version\": \"%s\", \"items\": %d", m->version, s->data.items.live);
        status = publish(k, m, s, e, &err);
    }
    counters_add(k->counters, status ? &k->counters->reload_failures : &k->counters->reloads, 1);
    if (status) {
        log_warn("reload: %s; the model that is served stays", err.message);
        fail(t, 422, &err);
        return;
    }
    t->reply.status = 200;
    str_printf(body, ", \"seconds\": %.3f}\n", log_seconds() - start);
    log_info("reloaded: %.*s", (int)body->len - 1, body->data); // in one line
}

// The item as it shall be, in memory. Returns the status of the reply.
static int put_item(Items *items, Task *t, Err *err) {
    Items one;
    Str line = {0};
    const int known = items_by_id(items, t->id), there = known >= 0 && !items->removed[known];
    str_printf(&line, "%s\t%s\t%s\n", t->title, t->id, t->text ? t->text : "");
    int status = items_parse_added(&one, line.data, line.len, "the item", err);
    str_free(&line);
    if (status) return 422;
    status = there ? items_set_title(items, t->id, t->title, &t->changed, err) : items_add(items, &one, &t->changed, err);
    const int same_text = known >= 0 && (items->text[known] ? t->text && !strcmp(items->text[known], t->text) : !t->text);
    if (status == 0 && known >= 0 && !same_text) {
        const char *text = t->text ? t->text : "";
        int more;
        status = items_set_texts(items, (const char *const *)&t->id, &text, 1, &more, err);
        t->changed += more;
    }
    items_free(&one);
    return status ? 500 : there ? 200 : 201;
}

static int remove_item(Items *items, Task *t, Err *err) {
    const int item = items_by_id(items, t->id);
    if (item < 0 || items->removed[item]) {
        err_set(err, ERR_DATA, "item %.64s is not in the catalogue", t->id);
        return 404;
    }
    return items_remove(items, (const char *const *)&t->id, 1, &t->changed, err) ? 409 : 200;
}

// All of the list, in memory. The first status that is an error, or 200.
static int change_items(Items *items, Task *list, Err *err) {
    int status = 200;
    for (Task *t = list; t && status < 300; t = t->next) {
        t->changed = 0;
        status = t->reply.status = t->kind == TASK_PUT ? put_item(items, t, err) : remove_item(items, t, err);
    }
    return status < 300 ? 200 : status;
}

static int check_items(const Engine *e, const Task *list, Err *err) {
    for (const Task *t = list; t; t = t->next)
        if (t->kind == TASK_PUT && t->changed && engine_check_item(e, items_by_id(&e->shelf->data.items, t->id), err))
            return -1;
    return 0;
}

static int count_changed(const Task *list) {
    int changed = 0;
    for (const Task *t = list; t; t = t->next) changed += t->changed > 0;
    return changed;
}

// The data folder is changed as `latentr3 catalog` does, so what others changed there is seen too. The engine is made before
// the change is written: an item that the model cannot answer with is refused and leaves nothing behind.
static int change_folder(Keeper *k, Dataset *d, Task *list, Shelf **s, Engine **e, Err *err) {
    const int lock = file_lock(k->shelf->data.folder, err);
    if (lock < 0) return lock == FILE_BUSY ? 503 : 500;
    int status = 500;
    if (k->opener->data(k->opener->self, d, err) == 0 && (status = change_items(&d->items, list, err)) < 300) {
        *s = shelf_open(d);
        shelf_count(*s, k->shelf, &k->closed);
        if (engine_open(e, k->model, *s, &k->o, err) || check_items(*e, list, err))
            status = err->code == ERR_IO || err->code == ERR_MEMORY ? 500 : 422;
        else if (count_changed(list) && dataset_save_items(&(*s)->data, err))
            status = 500;
    }
    close(lock);
    return status;
}

// 0: done, and each has its reply. Else the status of an error, and nothing is changed.
static int change(Keeper *k, Task *list, Err *err) {
    Dataset d = {0};
    Shelf *s = NULL;
    Engine *e = NULL;
    const int status = change_folder(k, &d, list, &s, &e, err);
    if (d.folder) dataset_close(&d);
    if (status >= 300) {
        engine_close(e);
        shelf_drop(s);
        return status;
    }
    for (Task *t = list; t; t = t->next) {
        str_clear(&t->reply.body); // of a try that others spoilt
        answer_item(&t->reply.body, s, items_by_id(&s->data.items, t->id));
    }
    counters_add(k->counters, &k->counters->item_changes, count_changed(list));
    return publish(k, model_hold(k->model), s, e, err) ? 500 : 0;
}

static void change_one(Keeper *k, Task *t) {
    Err err = {0};
    const int status = change(k, t, &err);
    if (status) fail(t, status, &err);
}

// A catalogue is made anew for each change: those that wait are made one, unless it cannot be; then each is its own.
static void change_all(Keeper *k, Task *list) {
    Err err = {0};
    const int together = list->next && change(k, list, &err) == 0;
    for (Task *t = list, *next; t; t = next) {
        next = t->next;
        t->next = NULL;
        if (!together) change_one(k, t);
        outbox_post(k->outbox, &t->reply);
    }
}

static int is_change(const Task *t) {
    return t->kind != TASK_COUNTED;
}

static int is_item(const Task *t) {
    return t->kind == TASK_PUT || t->kind == TASK_DELETE;
}

static int is_named(const Task *list, const Task *end, const char *id) {
    while (list != end && strcmp(list->id, id) != 0) list = list->next;
    return list != end;
}

// The first that waits, NULL for none; if it changes an item, with those right behind it that change others. Under the lock.
static Task *take(Keeper *k) {
    Task *list = k->first, *last = list;
    if (!list) return NULL;
    while (is_item(list) && last->next && is_item(last->next) && !is_named(list, last->next, last->next->id)) last = last->next;
    k->first = last->next;
    if (!k->first) k->last = NULL;
    last->next = NULL;
    for (const Task *t = list; t; t = t->next) k->changes -= is_change(t);
    return list;
}

static void *keeper_main(void *self) {
    Keeper *k = self;
    shelf_count(k->shelf, NULL, &k->closed); // what is served is not held up by it
    for (;;) {
        pthread_mutex_lock(&k->lock);
        while (!k->first && !k->closed) pthread_cond_wait(&k->changed, &k->lock);
        Task *t = take(k);
        pthread_mutex_unlock(&k->lock);
        if (!t) return NULL;
        if (is_item(t)) {
            change_all(k, t);
            continue;
        }
        if (t->kind == TASK_RELOAD) reload(k, t);
        outbox_post(k->outbox, &t->reply);
    }
}

static void let_go(Keeper *k) {
    model_drop(k->model);
    shelf_drop(k->shelf);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
}

int keeper_start(Keeper *k, Model *m, Shelf *s, Err *err) {
    k->model = m;
    k->shelf = s;
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->changed, NULL);
    if (thread_start(&k->thread, keeper_main, k) == 0) return 0;
    let_go(k);
    return err_set(err, ERR_MEMORY, "the keeper's thread cannot be started");
}

int keeper_put(Keeper *k, Task *t) {
    pthread_mutex_lock(&k->lock);
    const int fits = !k->closed && (k->changes < KEEPER_CHANGES || !is_change(t));
    if (fits) {
        t->next = NULL;
        *(k->last ? &k->last->next : &k->first) = t;
        k->last = t;
        k->changes += is_change(t);
        pthread_cond_broadcast(&k->changed);
    }
    pthread_mutex_unlock(&k->lock);
    return fits ? 0 : -1;
}

void keeper_join(Keeper *k) {
    pthread_mutex_lock(&k->lock);
    k->closed = 1;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    let_go(k);
}

void keeper_now(Keeper *k, Model **m, Shelf **s) {
    pthread_mutex_lock(&k->lock);
    *m = model_hold(k->model);
    *s = shelf_hold(k->shelf);
    pthread_mutex_unlock(&k->lock);
}
