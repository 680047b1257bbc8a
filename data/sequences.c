#include "data/sequences.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

static int new_sequence(Sequences *s) {
    if ((size_t)s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 256;
        s->item = mem_realloc(s->item, s->cap, sizeof *s->item);
    }
    s->item[s->n] = (Ints){0};
    return s->n++;
}

// The number of a user, whose present sequence is -1 when he is new.
static int user_number(Sequences *s, const char *user) {
    const int known = s->users.n, number = intern_put(&s->users, user, strlen(user));
    if (number < known) return number;
    if ((size_t)number == s->users_cap) {
        s->users_cap = s->users_cap ? 2 * s->users_cap : 256;
        s->present = mem_realloc(s->present, s->users_cap, sizeof *s->present);
    }
    s->present[number] = -1;
    return number;
}

static int item_number(const Items *items, const char *id) {
    const int item = items_by_id(items, id);
    CHECK(item >= 0); // dataset_rows has refused rows with others
    return item;
}

// The most of the row's first items that `sequence` ends with.
static int known_items(const Ints *sequence, const Items *items, const Row *row) {
    int n = (size_t)row->n < sequence->len ? row->n : (int)sequence->len;
    for (; n > 0; n--) {
        const int32_t *tail = sequence->data + sequence->len - (size_t)n;
        int same = 0;
        while (same < n && tail[same] == item_number(items, row->item_id[same])) same++;
        if (same == n) break;
    }
    return n;
}

void sequences_add(Sequences *s, const Items *items, const Rows *rows, SequencePlace *place) {
    for (int r = 0; r < rows->n; r++) {
        const Row *row = &rows->row[r];
        const int user = user_number(s, row->user);
        int at = s->present[user];
        const int known = at < 0 ? 0 : known_items(&s->item[at], items, row);
        if (at < 0 || (known == 0 && row->n > 0)) {
            s->broken += at >= 0;
            at = s->present[user] = new_sequence(s);
        }
        for (int i = known; i < row->n; i++) ints_push(&s->item[at], item_number(items, row->item_id[i]));
        if (place) place[r] = (SequencePlace){at, (int)s->item[at].len};
        ints_push(&s->item[at], item_number(items, row->target_id));
    }
}

void sequences_free(Sequences *s) {
    for (int i = 0; i < s->n; i++) {
        ints_free(&s->item[i]);
        if (s->title) free(s->title[i]), free(s->id[i]);
    }
    intern_free(&s->users);
    free(s->item), free(s->present), free(s->title), free(s->id);
    *s = (Sequences){0};
}

static const char **texts(const Ints *item, const char *const *of) {
    const char **text = mem_alloc(item->len + 1, sizeof *text);
    for (size_t i = 0; i < item->len; i++) text[i] = of[item->data[i]];
    return text;
}

void sequences_into_rows(Sequences *s, const Items *items, Rows *rows, const SequencePlace *place) {
    CHECK(!s->title);
    s->title = mem_alloc((size_t)s->n + 1, sizeof *s->title);
    s->id = mem_alloc((size_t)s->n + 1, sizeof *s->id);
    for (int i = 0; i < s->n; i++) {
        s->title[i] = texts(&s->item[i], items->title);
        s->id[i] = texts(&s->item[i], items->id);
    }
    for (int r = 0; r < rows->n; r++) {
        Row *row = &rows->row[r];
        row->n = place[r].n;
        row->title = s->title[place[r].sequence];
        row->item_id = s->id[place[r].sequence];
        row->text = NULL; // they belonged to the shorter history
    }
}

// All sequences' tokens stand behind each other in e->ids; item i of a sequence comes behind the first at[i] of them.
void sequences_examples(Examples *e, const Sequences *s, const SequencePlace *place, int rows, const int32_t *token, int most) {
    *e = (Examples){.example = mem_zalloc((size_t)rows + 1, sizeof(Example))};
    size_t **at = mem_alloc((size_t)s->n + 1, sizeof *at);
    for (int q = 0; q < s->n; q++) {
        const Ints *item = &s->item[q];
        at[q] = mem_alloc(item->len + 1, sizeof **at);
        for (size_t i = 0; i < item->len; i++) {
            at[q][i] = e->ids.len;
            if (token[item->data[i]] >= 0) ints_push(&e->ids, token[item->data[i]]);
        }
    }
    for (int r = 0; r < rows; r++) {
        const int q = place[r].sequence, n = place[r].n;
        const size_t known = at[q][n] - at[q][0], len = known < (size_t)most ? known : (size_t)most;
        if (len == 0 || token[s->item[q].data[n]] < 0) continue;
        const int32_t *target = e->ids.data + at[q][n];
        e->example[e->n++] =
            (Example){.prompt = target - len, .prompt_len = (int)len, .answer = target, .answer_len = 1, .number = r};
        if ((int)len + 1 > e->longest) e->longest = (int)len + 1;
    }
    e->answer_tokens = e->n;
    for (int q = 0; q < s->n; q++) free(at[q]);
    free(at);
}
