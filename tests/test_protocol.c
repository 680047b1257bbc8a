// Ranking among drawn candidates: who is drawn, ties, and what equal scores are worth.
#include "golden.h"
#include "rec/protocol.h"

#include <unistd.h>

enum { ITEMS = 400, USERS = 600, SEEN = 12 };

typedef struct Fake {
    Items items;
    Rows rows, train;
    Row row[USERS], train_row[USERS];
    const char *id[USERS][SEEN];
    float favourite; // score of every row's target; all others have 0
} Fake;

static int fake_score(void *self, const History *h, int users, float *score, Err *err) {
    const Fake *f = self;
    (void)err;
    for (int u = 0; u < users; u++)
        for (int i = 0; i < ITEMS; i++)
            score[u * ITEMS + i] = i == items_by_id(&f->items, f->row[h[u].number].target_id) ? f->favourite : 0;
    return 0;
}

static void fake_open(Fake *f) {
    Err err = {0};
    Str text = {0};
    for (int i = 0; i < ITEMS; i++) str_printf(&text, "title %d\t%d\n", i, i);
    OK(items_parse(&f->items, text.data, text.len, "items", &err));
    str_free(&text);
    for (int u = 0; u < USERS; u++) {
        for (int i = 0; i < SEEN; i++) f->id[u][i] = f->items.id[(u * 7 + i * 31) % ITEMS];
        const int target = (u * 7 + SEEN * 31) % ITEMS;
        f->row[u] = (Row){.target_id = f->items.id[target], .number = u, .n = SEEN, .item_id = f->id[u], .title = f->id[u]};
        f->train_row[u] = (Row){.target_id = f->items.id[u % 150], .n = 0}; // 150 items have interactions
    }
    f->rows = (Rows){.n = USERS, .row = f->row};
    f->train = (Rows){.n = USERS, .row = f->train_row};
}

static int listed(const Recommendation *list, int n, const Items *items, const char *id) {
    for (int i = 0; i < n; i++)
        if (list[i].item == items_by_id(items, id)) return i + 1;
    return 0;
}

static void check(Protocol protocol, float favourite) {
    Err err = {0};
    Fake *f = calloc(1, sizeof *f);
    fake_open(f);
    f->favourite = favourite;
    const Ranker inner = {.self = f, .items = &f->items, .users = 2, .k = 101, .score = fake_score};
    Ranker r;
    ProtocolRanker p;
    OK(protocol_ranker(&p, protocol, &inner, &f->rows, &f->train, &r, &err));
    int hits = 0, counts[ITEMS] = {0};
    for (int u = 0; u < USERS; u++) {
        Recommendation list[101];
        int found;
        const History h = ranker_history(&f->row[u], u);
        OK(r.rank(r.self, &h, 1, list, &found, &err));
        assert_int_equal(found, 101);
        const int rank = listed(list, found, &f->items, f->row[u].target_id);
        assert_true(rank > 0);
        if (favourite > 0) assert_int_equal(rank, 1);
        hits += rank <= 10;
        for (int i = 0; i < found; i++) {
            counts[list[i].item]++;
            for (int j = 0; j < i; j++) assert_true(list[i].item != list[j].item);
        }
        for (int i = 0; i < SEEN; i++) assert_int_equal(listed(list, found, &f->items, f->id[u][i]), 0);
    }
    // Equal scores go by item number, which says nothing of the target: 10 of 101, within four standard deviations.
    if (favourite == 0 && protocol == PROTOCOL_UNIFORM)
        golden_close((double)hits / USERS, 10.0 / 101, 4 * sqrt(0.09 / USERS), "HR@10", 0);
    int rare = 0;
    for (int i = 150; i < ITEMS; i++) rare += counts[i];
    assert_true(protocol == PROTOCOL_UNIFORM ? rare > 30 * USERS : rare < 2 * USERS);
    items_free(&f->items);
    free(f);
}

static void candidates(void **state) {
    (void)state;
    check(PROTOCOL_UNIFORM, 0);
    check(PROTOCOL_UNIFORM, 1);
    check(PROTOCOL_POPULARITY, 1);
}

static void refusals(void **state) {
    (void)state;
    Err err = {0};
    Rows none = {0};
    Ranker inner = {0}, r;
    ProtocolRanker p;
    assert_int_equal(protocol_ranker(&p, PROTOCOL_UNIFORM, &inner, &none, &none, &r, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    inner.score = fake_score;
    assert_int_equal(protocol_ranker(&p, PROTOCOL_POPULARITY, &inner, &none, &none, &r, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(candidates), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
