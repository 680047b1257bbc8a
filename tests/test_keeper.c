// The keeper: changes of items that wait for it are made together, each gets its own reply, and one that cannot be made spoils
// none of the others. And the whole server's beginning and end.
#include "base/arena.h"
#include "base/log.h"
#include "fixture.h"
#include "folder.h"
#include "serve/serve.h"
#include <poll.h>
#include <signal.h>

// How the keeper opens the data: in the test's folder, counted, and where `held` not before it is let go.
typedef struct Door {
    const char *folder;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int opened, held;
} Door;

static int open_data(void *self, Dataset *d, Err *err) {
    Door *door = self;
    pthread_mutex_lock(&door->lock);
    door->opened++;
    pthread_cond_broadcast(&door->changed);
    while (door->held) pthread_cond_wait(&door->changed, &door->lock);
    pthread_mutex_unlock(&door->lock);
    return dataset_open(d, door->folder, NULL, err);
}

static int open_model(void *self, const Dataset *d, Model **m, Err *err) {
    (void)self, (void)d, (void)err;
    *m = mem_zalloc(1, sizeof **m);
    (*m)->baseline = BASELINE_RANDOM;
    (*m)->name = mem_strndup("random", 6);
    model_hold(*m);
    return 0;
}

static void hold(Door *door, int held) {
    pthread_mutex_lock(&door->lock);
    door->held = held;
    pthread_cond_broadcast(&door->changed);
    pthread_mutex_unlock(&door->lock);
}

static void wait_opened(Door *door, int times) {
    pthread_mutex_lock(&door->lock);
    while (door->opened < times) pthread_cond_wait(&door->changed, &door->lock);
    pthread_mutex_unlock(&door->lock);
}

static void put(Keeper *k, TaskKind kind, const char *id, const char *title) {
    Task *t = mem_zalloc(1, sizeof *t);
    t->kind = kind;
    t->id = mem_strndup(id, strlen(id));
    if (title) t->title = mem_strndup(title, strlen(title));
    assert_int_equal(keeper_put(k, t), 0);
}

typedef struct Want {
    const char *id;
    int status;
    const char *part; // of the reply
} Want;

// The next replies are these, in this order.
static void replies(Outbox *o, const Want *want, int n) {
    for (int i = 0; i < n;) {
        struct pollfd ready = {.fd = o->event, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, -1), 1);
        for (Reply *r = outbox_take(o), *next; r; r = next, i++) {
            Task *t = (Task *)r;
            next = r->next;
            assert_true(i < n);
            assert_string_equal(t->id, want[i].id);
            if (r->status != want[i].status || !strstr(r->body.data, want[i].part))
                fail_msg("%s: %d %s", t->id, r->status, r->body.data);
            task_free(t);
        }
    }
}

static void has(const char *folder, const char *const title[], int n) { // NULL: removed
    Dataset d;
    Err err = {0};
    OK(dataset_open(&d, folder, NULL, &err));
    assert_int_equal(d.items.n, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(d.items.removed[i], !title[i]);
        if (title[i]) assert_string_equal(d.items.title[i], title[i]);
    }
    dataset_close(&d);
}

static void put_data(const char *folder) {
    static const char
        items[] = "One\t0\nTwo\t1\nThree\t2\n",
        rows[] = "user_id,item_asins,item_asin,history_item_id,item_id,history_item_title,item_title,history_rating,rating,"
                 "history_timestamp,timestamp\nu,['0'],1,[0],1,['One'],Two,[5.0],4.0,[10],30\n";
    folder_put(folder, "info.txt", items, sizeof items - 1);
    folder_put(folder, "train.csv", rows, sizeof rows - 1);
}

static void test_together(void **state) {
    (void)state;
    char *folder = folder_new();
    put_data(folder);
    Door door = {.folder = folder, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    const Opener opener = {&door, open_data, open_model};
    const EngineOptions o = {.users = 2, .beams = 4};
    Queue queue;
    Outbox outbox;
    Counters counters;
    Worker worker;
    Model *m;
    Shelf *s;
    Engine *e;
    Err err = {0};
    queue_open(&queue, 4);
    counters_open(&counters);
    OK(outbox_open(&outbox, &err));
    OK(keeper_load(&opener, &o, &m, &s, &e, &err));
    OK(worker_start(&worker, e, &queue, &outbox, &counters, &err));
    Keeper k = {.opener = &opener, .o = o, .worker = &worker, .outbox = &outbox, .counters = &counters};
    OK(keeper_start(&k, m, s, &err));

    // While the first is made five more come: three together, and two, for one of these changes an item of the three.
    hold(&door, 1);
    put(&k, TASK_PUT, "a", "Four");
    wait_opened(&door, 2);
    put(&k, TASK_PUT, "b", "Five");
    put(&k, TASK_DELETE, "0", NULL);
    put(&k, TASK_PUT, "c", "Six");
    put(&k, TASK_PUT, "b", "Five Again");
    put(&k, TASK_PUT, "1", "Two"); // as it is already
    hold(&door, 0);
    replies(&outbox,
            (const Want[]){{"a", 201, "Four"},
                           {"b", 201, "\"Five\""},
                           {"0", 200, "One"},
                           {"c", 201, "Six"},
                           {"b", 200, "Five Again"},
                           {"1", 200, "Two"}},
            6);
    assert_int_equal(door.opened, 4);
    assert_int_equal(counters.item_changes, 5);
    has(folder, (const char *const[]){NULL, "Two", "Three", "Four", "Five Again", "Six"}, 6);

    // One that cannot be made has its own reply, and the others of its list are made.
    hold(&door, 1);
    put(&k, TASK_DELETE, "2", NULL);
    wait_opened(&door, 5);
    put(&k, TASK_PUT, "d", "Seven");
    put(&k, TASK_DELETE, "77", NULL);
    put(&k, TASK_PUT, "e", "");
    put(&k, TASK_DELETE, "c", NULL);
    hold(&door, 0);
    replies(&outbox,
            (const Want[]){{"2", 200, "Three"},
                           {"d", 201, "Seven"},
                           {"77", 404, "item 77 is not in"},
                           {"e", 422, "the item"},
                           {"c", 200, "Six"}},
            5);
    assert_int_equal(counters.item_changes, 8);
    has(folder, (const char *const[]){NULL, "Two", NULL, "Four", "Five Again", NULL, "Seven"}, 7);
    keeper_now(&k, &m, &s);
    assert_int_equal(s->data.items.live, 4);
    model_drop(m);
    shelf_drop(s);

    keeper_join(&k);
    queue_close(&queue);
    worker_join(&worker);
    outbox_free(&outbox);
    queue_free(&queue);
    counters_free(&counters);
    folder_remove(folder);
}

// ---- the server ---------------------------------------------------------------------------------------------------------

static atomic_int stop;
static int told;

static void on_ready(const char *url) {
    told += strncmp(url, "http://127.0.0.1:", 17) == 0;
    stop = SIGTERM;
}

// A server that is stopped while it loads does not say that it is ready.
static void test_ready(void **state) {
    (void)state;
    char *folder = folder_new();
    put_data(folder);
    Door door = {.folder = folder, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    const Opener opener = {&door, open_data, open_model};
    const ServeOptions o = {.host = "127.0.0.1", .engine = {.users = 2, .beams = 4}, .beams = 4, .queue = 8, .ready = on_ready};
    for (int run = 0; run < 2; run++) {
        Err err = {0};
        stop = run ? SIGTERM : 0;
        OK(serve_run(&o, &opener, &stop, &err));
        assert_int_equal(told, 1);
        assert_int_equal(door.opened, run + 1);
    }
    folder_remove(folder);
}

int main(void) {
    log_level = LOG_WARN;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_together), cmocka_unit_test(test_ready)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
