// Any bytes as info.txt: refused with a line, or items that are the same when they are written and read again, and that take
// changes.
#include "base/log.h"
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void put_all(Str *text, const Items *items) {
    str_clear(text);
    for (int i = 0; i < items->n; i++) items_put_line(text, items, i);
}

// Written and read again the same; titles and ids are found where they stand.
static void check(const Items *items, Str *text, Str *again) {
    Items twice;
    put_all(text, items);
    EXPECT(items_parse(&twice, text->data, text->len, "again", NULL) == 0);
    put_all(again, &twice);
    EXPECT(again->len == text->len && memcmp(again->data, text->data, text->len) == 0);
    EXPECT(twice.n == items->n && twice.named == items->named && twice.live == items->live && twice.texts == items->texts);
    for (int i = 0; i < items->n; i++) {
        int group = items_title_group(items, i);
        EXPECT(items_by_id(items, items->id[i]) == i && items_by_row_id(items, items->row_id[i]) == i);
        EXPECT(items_by_title(items, items->title[i]) == group);
        EXPECT(!strcmp(items->title[group], items->title[i]) && items->removed[group] <= items->removed[i]);
        EXPECT(items_title_group(&twice, i) == group);
    }
    items_free(&twice);
}

// As lines to add: each item that they bring has a row id of its own afterwards.
static void add(const char *data, size_t bytes, Str *text, Str *again) {
    Items items, more;
    Err err = {0};
    int changed;
    const char *two = "One\t1\nTwo\t0\t\tremoved\tB\n";
    if (items_parse_added(&more, data, bytes, "fuzz", NULL)) return;
    EXPECT(items_parse(&items, two, strlen(two), "fuzz", &err) == 0);
    if (items_add(&items, &more, &changed, &err) == 0) {
        EXPECT(items.n <= 2 + more.live && items.n + more.n >= 2 + changed);
        check(&items, text, again);
    }
    items_free(&items), items_free(&more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    log_level = LOG_ERROR - 1;
    Items items, more;
    Err err = {0};
    Str text = {0}, again = {0};
    add((const char *)data, bytes, &text, &again);
    if (items_parse(&items, (const char *)data, bytes, "fuzz", &err)) {
        EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        str_free(&text), str_free(&again);
        return 0;
    }
    check(&items, &text, &again);
    int changed, n = items.n, live = items.live;
    EXPECT(items_parse(&more, (const char *)data, bytes, "fuzz", &err) == 0);
    EXPECT(items_add(&items, &more, &changed, &err) == 0 && changed == 0);
    EXPECT(items_set_texts(&items, items.id, items.title, n, &changed, &err) == 0 && items.texts == live);
    check(&items, &text, &again);
    int status = items_remove(&items, more.id, n / 2, &changed, &err);
    EXPECT(items.n == n && items.live == live - changed && (status == 0) == (items.live > 0));
    check(&items, &text, &again);
    EXPECT(items_add(&items, &more, &changed, &err) == 0 || items.texts > 0); // other index texts than those set
    items_free(&items), items_free(&more);
    str_free(&text), str_free(&again);
    return 0;
}
