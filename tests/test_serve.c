// What stands behind the server's routes: requests out of JSON, the queue, searching the catalogue, counters as text.
#include "base/arena.h"
#include "base/rng.h"
#include "fixture.h"
#include "folder.h"
#include "serve/answer.h"
#include "serve/counters.h"
#include "serve/queue.h"

static const RequestLimits limits = {.beams = 10, .max_beams = 50, .users = 4};

// ---- requests ---------------------------------------------------------------------------------------------------------

static void takes(Request *r, const char *body) {
    Err err = {0};
    if (request_parse(r, body, strlen(body), &limits, &err)) fail_msg("%s: %s", body, err.message);
}

static void refuses(const char *body, int code, const char *part) {
    Request r;
    Err err = {0};
    assert_int_equal(request_parse(&r, body, strlen(body), &limits, &err), -1);
    if (err.code != code || !strstr(err.message, part)) fail_msg("%s: %d %s", body, err.code, err.message);
    request_free(&r);
}

static void test_request(void **state) {
    (void)state;
    Request r;
    takes(&r, "{\"history\": [\"A\", \"B\"]}");
    assert_true(r.form == REQUEST_ONE && r.n == 1 && r.ask[0].n == 2 && !r.ask[0].by_id && r.ask[0].allows == -1);
    assert_true(r.ask[0].k == 10 && r.ask[0].beams == 10);
    assert_string_equal(r.ask[0].history[1], "B");
    request_free(&r);
    takes(&r, "{\"history_ids\": [], \"k\": 30}"); // a wider search goes with more items
    assert_true(r.ask[0].by_id && r.ask[0].n == 0 && r.ask[0].k == 30 && r.ask[0].beams == 30);
    request_free(&r);
    takes(&r, "{\"history\": [], \"beams\": 4, \"allow\": []}"); // and fewer items with a narrower one
    assert_true(r.ask[0].k == 4 && r.ask[0].beams == 4 && r.ask[0].allows == 0);
    request_free(&r);
    takes(&r, "{\"users\": [{\"history\": [\"A\"]}, {\"history\": [], \"deny\": [\"3\"], \"k\": 1}], \"k\": 2, \"deny\": "
              "[\"1\", \"2\"]}");
    assert_true(r.form == REQUEST_SEVERAL && r.n == 2 && r.ask[0].k == 2 && r.ask[1].k == 1);
    assert_true(r.ask[0].denies == 2 && r.ask[1].denies == 1);
    request_free(&r);
    // Of k and beams, as of all, what is said beside users holds for those who do not say otherwise.
    takes(&r, "{\"beams\": 5, \"users\": [{\"history\": [], \"beams\": 20}, {\"history\": []}, {\"history\": [], \"k\": 7}]}");
    assert_true(r.ask[0].k == 10 && r.ask[0].beams == 20 && r.ask[1].k == 5 && r.ask[1].beams == 5);
    assert_true(r.ask[2].k == 7 && r.ask[2].beams == 7);
    request_free(&r);
    takes(&r, "{\"k\": 20, \"users\": [{\"history\": [], \"beams\": 5}, {\"history\": [], \"k\": 2}]}");
    assert_true(r.ask[0].k == 20 && r.ask[0].beams == 20 && r.ask[1].k == 2 && r.ask[1].beams == 10);
    request_free(&r);
    refuses("", ERR_DATA, "body");
    refuses("{\"history\": []} x", ERR_DATA, "body");
    refuses("3", ERR_USAGE, "object");
    refuses("{\"history\": null}", ERR_USAGE, "history: no list");
    refuses("{\"history\": [], \"k\": true}", ERR_USAGE, "k: not a whole number from 1 to 50");
    refuses("{\"history\": [\"a\\u0007\"]}", ERR_USAGE, "history[0]: a text with a control byte");
    refuses("{\"users\": [{}, {}, {}, {}, {}]}", ERR_USAGE, "users: not a list of 1 to 4 users");
    refuses("{\"users\": [{\"history\": []}, {\"histori\": []}]}", ERR_USAGE, "users[1].histori");
}

static void test_infer(void **state) {
    (void)state;
    static const char body[] = "{\"inputs\": [{\"name\": \"history\", \"datatype\": \"BYTES\", \"shape\": [2, 2], "
                               "\"data\": [[\"a\", \"b\"], [\"\", \"c\"]]}], \"parameters\": {\"k\": 3}}";
    Request r;
    Err err = {0};
    OK(request_infer(&r, body, strlen(body), &limits, &err));
    assert_true(r.form == REQUEST_INFER && r.n == 2 && r.ask[0].n == 2 && r.ask[1].n == 1 && r.ask[1].k == 3);
    assert_string_equal(r.ask[1].history[0], "c");
    assert_true(!r.id && r.outputs == 7);
    request_free(&r);
    static const char part[] =
        "{\"id\": \"a\\u0000b\", \"outputs\": [{\"name\": \"score\"}, {\"name\": \"item\"}], \"inputs\": [{\"name\": "
        "\"history\", \"datatype\": \"BYTES\", \"shape\": [1, 1], \"data\": [\"a\"]}]}";
    OK(request_infer(&r, part, strlen(part), &limits, &err));
    assert_int_equal(json_string_length(r.id), 3);
    assert_true(r.outputs == (1 << REQUEST_ITEM | 1 << REQUEST_SCORE));
    request_free(&r);
    static const struct {
        const char *shape, *data, *fault; // fault NULL: it is taken
    } cases[] = {
        {"[2, 2]", "[\"a\", \"b\", \"\", \"c\"]", NULL},
        {"[1, 2]", "[[\"a\", \"b\"]]", NULL},
        {"[2, 0]", "[]", NULL},
        {"[2, 0]", "[[], []]", NULL},
        {"[2, 2]", "[[\"a\"], [\"b\", \"c\", \"d\"]]", "data[0]: 1 entries, the shape has 2"},
        {"[2, 2]", "[[\"a\", \"b\", \"c\", \"d\"]]", "data: 1 lists, the shape has 2"},
        {"[2, 2]", "[[\"a\", \"b\"], \"c\", \"d\"]", "data: 3 lists"},
        {"[2, 2]", "[[\"a\", \"b\"], \"c\"]", "data[1]: no list"},
        {"[2, 1]", "[\"a\", [\"b\"]]", "data: entry 1: no text"},
        {"[2, 1]", "[[[\"a\"]], [\"b\"]]", "data[0]: entry 0: no text"},
        {"[2, 1]", "\"a\"", "data: no list"},
        {"[1, 2]", "[\"a\"]", "data: 1 entries, the shape has 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Str text = {0};
        str_printf(&text, "{\"inputs\": [{\"name\": \"history\", \"datatype\": \"BYTES\", \"shape\": %s, \"data\": %s}]}",
                   cases[i].shape, cases[i].data);
        const int status = request_infer(&r, text.data, text.len, &limits, &err);
        if (status != (cases[i].fault ? -1 : 0) || (status && !strstr(err.message, cases[i].fault)))
            fail_msg("%s of %s: %d %s", cases[i].data, cases[i].shape, status, err.message);
        request_free(&r);
        str_free(&text);
    }
}

static void test_infer_members(void **state) {
    (void)state;
    static const struct {
        const char *top, *input, *output, *fault; // more members; fault NULL: they are taken
    } cases[] = {
        {", \"id\": \"a\", \"parameters\": {}", ", \"parameters\": {\"content_type\": \"str\"}",
         ", \"parameters\": {\"binary_data\": false}", NULL},
        {", \"output\": []", "", "", "output: there is no such member"},
        {"", ", \"dtype\": \"BYTES\"", "", "inputs[0].dtype: there is no such member"},
        {"", "", ", \"shape\": [1]", "outputs[0].shape: there is no such member"},
        {"", ", \"parameters\": {\"binary_data_size\": 9}", "", "inputs[0].parameters.binary_data_size: there is no"},
        {"", ", \"parameters\": {\"content_type\": \"base64\"}", "", "inputs[0].parameters.content_type: not str"},
        {"", ", \"parameters\": []", "", "inputs[0].parameters: no JSON object"},
        {"", "", ", \"parameters\": {\"binary_data\": true}", "outputs[0].parameters.binary_data: not false"},
        {"", "", ", \"parameters\": {\"classification\": 2}", "outputs[0].parameters.classification: there is no"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Request r;
        Err err = {0};
        Str text = {0};
        str_printf(&text,
                   "{\"inputs\": [{\"name\": \"history\", \"datatype\": \"BYTES\", \"shape\": [1, 1], \"data\": [\"a\"]%s}], "
                   "\"outputs\": [{\"name\": \"item\"%s}]%s}",
                   cases[i].input, cases[i].output, cases[i].top);
        const int status = request_infer(&r, text.data, text.len, &limits, &err);
        if (status != (cases[i].fault ? -1 : 0) || (status && !strstr(err.message, cases[i].fault)))
            fail_msg("%s: %d %s", text.data, status, err.message);
        request_free(&r);
        str_free(&text);
    }
}

// ---- the queue --------------------------------------------------------------------------------------------------------

static Job *new_job(int users) {
    Job *job = mem_zalloc(1, sizeof *job);
    job->request.n = users;
    return job;
}

static void test_queue(void **state) {
    (void)state;
    Queue q;
    QueueUser user[8];
    queue_open(&q, 6);
    Job *a = new_job(2), *b = new_job(3), *c = new_job(2);
    assert_int_equal(queue_put(&q, a), 0);
    assert_int_equal(queue_put(&q, b), 0);
    assert_int_equal(queue_put(&q, c), -1); // 5 wait, 2 more would be 7
    assert_int_equal(queue_take(&q, user, 3, QUEUE_WAIT), 3);
    assert_true(user[0].job == a && user[0].user == 0 && user[1].user == 1 && user[2].job == b);
    assert_int_equal(queue_put(&q, c), 0);
    assert_int_equal(queue_waiting(&q), 4);
    assert_int_equal(queue_give(&q, user[0], NULL), 0);
    const Err wrong = {ERR_DATA, "wrong"};
    assert_int_equal(queue_give(&q, user[1], &wrong), 1);
    assert_string_equal(a->err.message, "wrong");
    // Of b one user is taken, two wait: they are not taken any more, and whoever gives the one back has the job.
    assert_int_equal(queue_cancel(&q, b), 0);
    assert_int_equal(queue_waiting(&q), 2);
    assert_int_equal(queue_give(&q, user[2], NULL), 1);
    assert_int_equal(queue_cancel(&q, c), 1); // nobody has a part of it
    assert_int_equal(queue_waiting(&q), 0);
    assert_int_equal(queue_take(&q, user, 8, QUEUE_NOW), 0);
    queue_nudge(&q);
    assert_int_equal(queue_take(&q, user, 8, QUEUE_WAIT), 0);
    queue_close(&q);
    assert_int_equal(queue_take(&q, user, 8, QUEUE_WAIT), -1);
    queue_free(&q);
    free(a), free(b), free(c);
}

// QUEUE_REST goes on with a job and begins none.
static void test_queue_rest(void **state) {
    (void)state;
    Queue q;
    QueueUser user[8];
    queue_open(&q, 8);
    Job *a = new_job(3), *b = new_job(2);
    assert_true(queue_put(&q, a) == 0 && queue_put(&q, b) == 0);
    assert_int_equal(queue_take(&q, user, 8, QUEUE_REST), 0);
    assert_int_equal(queue_take(&q, user, 1, QUEUE_NOW), 1);
    assert_int_equal(queue_take(&q, user, 8, QUEUE_REST), 2);
    assert_true(user[1].job == a && user[1].user == 2);
    assert_int_equal(queue_take(&q, user, 8, QUEUE_REST), 0);
    assert_int_equal(queue_take(&q, user, 8, QUEUE_NOW), 2);
    queue_free(&q);
    free(a), free(b);
}

// Threads that put, take and cancel at random: every job ends exactly once, with whoever was told so.
enum { JOBS = 4000, TAKERS = 3 };

typedef struct Ends {
    Queue q;
    atomic_int ended[JOBS];
    Job *job[JOBS];
} Ends;

static void *taker(void *self) {
    Ends *e = self;
    QueueUser user[5];
    for (int n; (n = queue_take(&e->q, user, 5, QUEUE_WAIT)) >= 0;)
        for (int i = 0; i < n; i++) {
            const int number = (int)(intptr_t)user[i].job->reply.owner;
            if (queue_give(&e->q, user[i], NULL)) atomic_fetch_add(&e->ended[number], 1);
        }
    return NULL;
}

static void test_queue_threads(void **state) {
    (void)state;
    Ends *e = mem_zalloc(1, sizeof *e);
    pthread_t thread[TAKERS];
    queue_open(&e->q, 50);
    for (int t = 0; t < TAKERS; t++) assert_int_equal(pthread_create(&thread[t], NULL, taker, e), 0);
    for (int i = 0; i < JOBS; i++) {
        e->job[i] = new_job(1 + i % 7);
        e->job[i]->reply.owner = (void *)(intptr_t)i;
        while (queue_put(&e->q, e->job[i])) sched_yield();
        if (i % 3 == 0 && queue_cancel(&e->q, e->job[i])) atomic_fetch_add(&e->ended[i], 1);
    }
    queue_close(&e->q);
    for (int t = 0; t < TAKERS; t++) pthread_join(thread[t], NULL);
    for (int i = 0; i < JOBS; i++) assert_int_equal(e->ended[i], 1);
    for (int i = 0; i < JOBS; i++) free(e->job[i]);
    queue_free(&e->q);
    free(e);
}

// ---- the catalogue ----------------------------------------------------------------------------------------------------

static Shelf *new_shelf(const char *info) {
    Dataset d = {.folder = mem_strndup("nowhere", 7)};
    Err err = {0};
    OK(items_parse(&d.items, info, strlen(info), "info", &err));
    return shelf_open(&d);
}

static void finds(const Shelf *s, const char *text, int most, const char *want) {
    int found[8], n = shelf_search(s, text, strlen(text), found, most);
    Str ids = {0};
    str_puts(&ids, "");
    for (int i = 0; i < n; i++) str_printf(&ids, "%s ", s->data.items.id[found[i]]);
    assert_string_equal(n ? ids.data : "", want);
    str_free(&ids);
}

static void test_search(void **state) {
    (void)state;
    Shelf *before = new_shelf("Toy Story\t0\nAm\xc3\xa9lie\t1\nStory of Us, The\t2\nToy Story\t3\n");
    before->count = mem_alloc(4, sizeof *before->count);
    memcpy(before->count, (const int[]){1, 5, 3, 3}, 4 * sizeof *before->count);
    Shelf *s = new_shelf("Toy Story\t0\nAm\xc3\xa9lie\t1\nStory of Us, The\t2\nToy Story\t3\nOld Story\t4\t\tremoved\n"
                         "\xc3\x89toile story\t5\n");
    finds(s, "toy", 8, "0 3 ");
    finds(s, "", 8, ""); // nothing is counted yet
    before->counted = 1;
    shelf_count(s, before, NULL);
    Shelf *other = new_shelf("Toy Story\t0\nOld Story\t2\nAm\xc3\xa9lie\t1\nToy Story\t3\n"),
          *later = new_shelf("Toy Story\t0\n");
    shelf_count(other, before, NULL), shelf_count(later, before, NULL); // other items, and some that are gone: counted anew
    assert_int_equal(other->count[0] + later->count[0], 0);
    before->train.inode++; // another train.csv
    Shelf *again = new_shelf("Toy Story\t0\nAm\xc3\xa9lie\t1\nStory of Us, The\t2\nToy Story\t3\n");
    shelf_count(again, before, NULL);
    assert_int_equal(again->count[1], 0);
    shelf_drop(other), shelf_drop(later), shelf_drop(again), shelf_drop(before);
    finds(s, "STORY", 8, "2 0 3 5 ");
    finds(s, "STORY", 2, "2 0 ");
    finds(s, "am\xc3\x89", 8, "1 "); // case is no difference
    finds(s, "\xc3\xa9TOILE", 8, "5 ");
    finds(s, "tory", 8, ""); // inside a word
    finds(s, "\xc3\xa9lie", 8, "");
    finds(s, "old", 8, ""); // removed
    finds(s, "of us, t", 8, "2 ");
    finds(s, "", 8, "1 0 2 5 "); // the popular ones, each title once, with the interactions of all its items
    assert_int_equal(s->populars, 4);
    assert_true(shelf_interactions(s, 0) == 4 && shelf_interactions(s, 3) == 4 && shelf_interactions(s, 2) == 3);
    Shelf *held = shelf_hold(s);
    shelf_drop(s);
    finds(held, "toy", 8, "0 3 ");
    shelf_drop(held);
    // A word begins behind any script's punctuation and spaces, not behind its letters, marks and digits.
    Shelf *all = new_shelf("The \u201cHeroes\u201d\t0\nAlien\u2014Heroes\t1\n\u00bfHeroes?\t2\nSuper\u00e9heroes\t3\n"
                           "X\u0301heroes\t4\n\u0663heroes\t5\nO\u3000heroes\t6\nVi\u1ec7t, \u00e9toile\t7\n");
    finds(all, "HEROES", 8, "0 1 2 6 ");
    finds(all, "\u00c9toile", 8, "7 ");
    finds(all, "\u201d", 8, ""); // no word
    shelf_drop(all);
}

// A count that is stopped leaves nothing that the next one believes.
static void test_count_stops(void **state) {
    (void)state;
    char *folder = folder_new();
    Err err = {0};
    Str rows = {0};
    const atomic_int on = 1, off = 0;
    str_puts(&rows, "user_id,item_asins,item_asin,history_item_id,item_id,history_item_title,item_title,history_rating,rating,"
                    "history_timestamp,timestamp\n");
    for (int i = 0; i < 10000; i++) str_printf(&rows, "u%d,['A'],B,[0],1,['One'],Two,[5.0],4.0,[10],30\n", i);
    folder_put(folder, "info.txt", "One\t0\nTwo\t1\n", 12);
    folder_put(folder, "train.csv", rows.data, rows.len);
    Shelf *s[3];
    for (int i = 0; i < 3; i++) {
        Dataset d;
        OK(dataset_open(&d, folder, NULL, &err));
        s[i] = shelf_open(&d);
    }
    Rows train;
    s[0]->data.stop = &on;
    assert_int_equal(dataset_rows(&s[0]->data, &train, "train", 0, &err), -1);
    assert_true(err.code == ERR_IO && strstr(err.message, "stopped"));
    shelf_count(s[0], NULL, &on);
    assert_true(!s[0]->counted && s[0]->count[0] == 0);
    shelf_count(s[1], s[0], &off);
    assert_true(s[1]->counted && s[1]->count[0] == 10000 && s[1]->count[1] == 10000);
    folder_put(folder, "train.csv", "no rows", 7);
    shelf_count(s[2], NULL, &off);
    assert_true(s[2]->counted && s[2]->count[0] == 0);
    assert_memory_equal(&s[2]->train, &(FileStamp){0}, sizeof(FileStamp)); // it was not read: to be tried again
    for (int i = 0; i < 3; i++) shelf_drop(s[i]);
    str_free(&rows);
    folder_remove(folder);
}

// ---- counters ---------------------------------------------------------------------------------------------------------

static void test_counters(void **state) {
    (void)state;
    Counters m;
    Str text = {0};
    const CountersNow now = {.waiting = 3};
    counters_open(&m);
    counters_recommended(&m, 0.05); // on a border: in the bucket that ends there
    counters_recommended(&m, 99);
    counters_reply(&m, 200);
    counters_reply(&m, 200);
    counters_reply(&m, 422);
    counters_add(&m, &m.cancelled, 2);
    counters_print(&m, &now, &text);
    assert_non_null(strstr(text.data, "latentr3_recommend_seconds_bucket{le=\"0.025\"} 0\n"));
    assert_non_null(strstr(text.data, "latentr3_recommend_seconds_bucket{le=\"0.05\"} 1\n"));
    assert_non_null(strstr(text.data, "latentr3_recommend_seconds_bucket{le=\"30\"} 1\n"));
    assert_non_null(strstr(text.data, "latentr3_recommend_seconds_bucket{le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(text.data, "latentr3_http_replies_total{status=\"200\"} 2\n"));
    assert_non_null(strstr(text.data, "latentr3_http_replies_total{status=\"422\"} 1\n"));
    assert_non_null(strstr(text.data, "latentr3_cancelled_total 2\n"));
    assert_non_null(strstr(text.data, "latentr3_queue_users 3\n"));
    assert_int_equal(counters_retry_after(&m, 100), 1); // nothing is known of the speed yet
    str_free(&text);
    counters_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request), cmocka_unit_test(test_infer),         cmocka_unit_test(test_infer_members),
        cmocka_unit_test(test_queue),   cmocka_unit_test(test_queue_threads), cmocka_unit_test(test_queue_rest),
        cmocka_unit_test(test_search),  cmocka_unit_test(test_counters),      cmocka_unit_test(test_count_stops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
