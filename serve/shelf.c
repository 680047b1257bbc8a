#include "serve/shelf.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/utf8.h"
#include "data/sequences.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// ---- opening ----------------------------------------------------------------------------------------------------------

// Case and compatibility forms are no difference when searching ("AMÉLIE" finds "Amélie"); accents are.
static void fold(Str *out, const char *text, size_t len) {
    utf8proc_uint8_t *folded = NULL;
    const utf8proc_option_t options = UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_STABLE;
    const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &folded, options);
    if (n >= 0)
        str_append(out, folded, (size_t)n);
    else // no UTF-8: it finds nothing
        str_append(out, text, len);
    free(folded);
}

static void fold_titles(Shelf *s) {
    const Items *items = &s->data.items;
    s->folded_at = mem_alloc((size_t)items->n + 1, sizeof *s->folded_at);
    for (int i = 0; i < items->n; i++) {
        s->folded_at[i] = s->folded.len;
        fold(&s->folded, items->title[i], strlen(items->title[i]));
    }
    s->folded_at[items->n] = s->folded.len;
}

Shelf *shelf_open(Dataset *data) {
    Shelf *s = mem_zalloc(1, sizeof *s);
    s->data = *data;
    *data = (Dataset){0};
    fold_titles(s);
    return shelf_hold(s);
}

Shelf *shelf_hold(Shelf *s) {
    atomic_fetch_add(&s->holders, 1);
    return s;
}

void shelf_drop(Shelf *s) {
    if (!s || atomic_fetch_sub(&s->holders, 1) > 1) return;
    dataset_close(&s->data);
    str_free(&s->folded);
    free(s->folded_at), free(s->count), free(s->title_count), free(s->popular);
    free(s);
}

// ---- what is popular -------------------------------------------------------------------------------------------------

// Returns -1 where it was stopped. A file that cannot be read now has no stamp, so that the next count looks again.
static int count_rows(Shelf *s, const atomic_int *stop) {
    enum { LOOKS = 4096 };
    Rows train = {0};
    Sequences users = {0};
    Err err = {0};
    const int there = dataset_has(s->data.folder, "train.csv");
    if (!there) err_set(&err, ERR_IO, "%s has no train.csv", s->data.folder);
    s->data.stop = stop;
    const int failed = !there || dataset_rows(&s->data, &train, "train", 0, &err);
    s->data.stop = NULL;
    if (failed && !(stop && *stop)) {
        log_warn("%s: nothing is known to be popular", err.message);
        s->train = (FileStamp){0};
    }
    for (int at = 0; at < train.n && !(stop && *stop); at += LOOKS) {
        Rows some = train;
        some.row += at;
        some.n = train.n - at < LOOKS ? train.n - at : LOOKS;
        sequences_add(&users, &s->data.items, &some, NULL);
    }
    for (int u = 0; u < users.n; u++)
        for (size_t i = 0; i < users.item[u].len; i++) s->count[users.item[u].data[i]]++;
    sequences_free(&users);
    rows_free(&train);
    return stop && *stop ? -1 : 0;
}

static void count_titles(Shelf *s) {
    const Items *items = &s->data.items;
    s->title_count = mem_zalloc((size_t)items->n, sizeof *s->title_count);
    for (int i = 0; i < items->n; i++) s->title_count[items_title_group(items, i)] += s->count[i];
}

int shelf_interactions(const Shelf *s, int item) {
    return s->title_count[items_title_group(&s->data.items, item)];
}

// By insertion.
static void find_popular(Shelf *s) {
    const Items *items = &s->data.items;
    s->popular = mem_alloc(SHELF_POPULAR, sizeof *s->popular);
    for (int i = 0; i < items->n; i++) {
        if (items->removed[i] || items_title_group(items, i) != i) continue;
        int at = s->populars;
        while (at > 0 && s->title_count[s->popular[at - 1]] < s->title_count[i]) at--;
        if (at == SHELF_POPULAR) continue;
        if (s->populars < SHELF_POPULAR) s->populars++;
        memmove(s->popular + at + 1, s->popular + at, (size_t)(s->populars - 1 - at) * sizeof *s->popular);
        s->popular[at] = i;
    }
}

// A folder that was replaced has other interactions, or other items under the numbers.
static int has_counts_of(const Shelf *s, const Shelf *before) {
    const Items *now = &s->data.items, *then = &before->data.items;
    int same = before->counted && !memcmp(&s->train, &before->train, sizeof s->train) && then->n <= now->n;
    for (int i = 0; i < then->n && same; i++) same = !strcmp(then->id[i], now->id[i]);
    return same;
}

void shelf_count(Shelf *s, const Shelf *before, const atomic_int *stop) {
    int stopped = 0;
    char *path = dataset_path(s->data.folder, "train.csv");
    s->train = file_stamp(path); // of before it is read
    free(path);
    s->count = mem_zalloc((size_t)s->data.items.n, sizeof *s->count);
    if (before && has_counts_of(s, before))
        memcpy(s->count, before->count, (size_t)before->data.items.n * sizeof *s->count);
    else
        stopped = count_rows(s, stop);
    count_titles(s);
    find_popular(s);
    s->counted = !stopped;
}

// ---- searching --------------------------------------------------------------------------------------------------------

// Whether the first character is a letter, a mark on one, or a digit, of whatever script.
static int is_word(const char *s, size_t n) {
    uint32_t c;
    const utf8proc_category_t kind = utf8_next(s, n, &c) ? utf8proc_category((utf8proc_int32_t)c) : UTF8PROC_CATEGORY_CN;
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_NO;
}

// Whether a word of the title that is not its first text begins with `text`.
static int has_word(const char *title, size_t n, const char *text, size_t len) {
    if (n == 0 || !is_word(text, len)) return 0;
    for (const char *at = title + 1, *before; (at = memmem(at, (size_t)(title + n - at), text, len)); at++) {
        for (before = at - 1; before > title && (*before & 0xc0) == 0x80;) before--;
        if (!is_word(before, (size_t)(at - before))) return 1;
    }
    return 0;
}

static int begins(const char *title, size_t n, const char *text, size_t len) {
    return n >= len && !memcmp(title, text, len);
}

int shelf_search(const Shelf *s, const char *text, size_t len, int *found, int most) {
    Str want = {0};
    int n = 0;
    fold(&want, text, len);
    if (want.len == 0)
        for (; n < s->populars && n < most; n++) found[n] = s->popular[n];
    for (int inside = 0; inside < 2 && want.len; inside++)
        for (int i = 0; i < s->data.items.n && n < most; i++) {
            const char *title = s->folded.data + s->folded_at[i];
            const size_t bytes = s->folded_at[i + 1] - s->folded_at[i];
            if (s->data.items.removed[i] || begins(title, bytes, want.data, want.len) == inside) continue;
            if (!inside || has_word(title, bytes, want.data, want.len)) found[n++] = i;
        }
    str_free(&want);
    return n;
}
