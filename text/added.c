#include "text/added.h"
#include "base/arena.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

int added_put(AddedSet *set, int32_t id, const char *text, size_t len, int flags, Err *err) {
    if (len == 0 || len > ADDED_BYTES_LIMIT)
        return err_set(err, ERR_DATA, "an added token of %zu bytes; the limits are 1 and %d", len, ADDED_BYTES_LIMIT);
    if ((flags & ADDED_SINGLE_WORD) && !set->word_char && pattern_word_char(&set->word_char, err)) return -1;
    if (set->n == set->cap) {
        set->cap = set->cap ? 2 * set->cap : 16;
        set->token = mem_realloc(set->token, set->cap, sizeof *set->token);
    }
    set->token[set->n++] = (AddedToken){.text = mem_strndup(text, len), .len = len, .id = id, .flags = flags};
    return 0;
}

int added_drop(AddedSet *set, int32_t id) {
    size_t i = 0;
    while (i < set->n && set->token[i].id != id) i++;
    if (i == set->n) return 0;
    free(set->token[i].text);
    set->token[i] = set->token[--set->n];
    return 1;
}

static int compare(const void *a, const void *b) {
    const AddedToken *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

int added_sort(AddedSet *set, Err *err) {
    if (set->n) qsort(set->token, set->n, sizeof *set->token, compare);
    for (size_t i = 1; i < set->n; i++)
        if (compare(&set->token[i - 1], &set->token[i]) == 0)
            return err_set(err, ERR_DATA, "added token \"%.60s\" has two ids, %d and %d", set->token[i].text,
                           (int)set->token[i - 1].id, (int)set->token[i].id);
    size_t i = 0;
    for (unsigned byte = 0; byte < 257; byte++) {
        while (i < set->n && (unsigned char)set->token[i].text[0] < byte) i++;
        set->first[byte] = (uint32_t)i;
    }
    return 0;
}

// The first token of [low, high), all of which agree before byte k, whose byte k is at least `byte`; those that end there sort
// first.
static size_t bound(const AddedSet *set, size_t low, size_t high, size_t k, unsigned byte) {
    while (low < high) {
        size_t mid = (low + high) / 2;
        const AddedToken *t = &set->token[mid];
        if (t->len <= k || (unsigned char)t->text[k] < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

// The longest token that stands at the beginning of the text, or NULL.
static const AddedToken *longest(const AddedSet *set, const char *text, size_t len) {
    const AddedToken *best = NULL;
    unsigned char head = (unsigned char)text[0];
    size_t low = set->first[head], high = set->first[head + 1];
    for (size_t k = 1; low < high; k++) {
        if (set->token[low].len == k) best = &set->token[low++];
        if (k == len) break;
        unsigned byte = (unsigned char)text[k];
        low = bound(set, low, high, k, byte);
        high = bound(set, low, high, k, byte + 1);
    }
    return best;
}

// Whether the character that ends at `at`, or the one that begins there, is one of words.
static int is_word_beside(const AddedSet *set, PatternRun *run, const char *text, size_t len, size_t at, int before) {
    size_t begin = at, end = at, match_begin, match_end;
    uint32_t c;
    if (before) {
        if (at == 0) return 0;
        do begin--;
        while (begin > 0 && ((unsigned char)text[begin] & 0xc0) == 0x80);
    } else {
        end += utf8_next(text + at, len - at, &c);
        if (end == at) return 0;
    }
    return pattern_next(set->word_char, run, text + begin, end - begin, 0, &match_begin, &match_end, NULL) == 1;
}

static size_t spaces_begin(const char *text, size_t at) {
    while (at > 0) {
        size_t begin = at - 1;
        uint32_t c;
        while (begin > 0 && ((unsigned char)text[begin] & 0xc0) == 0x80) begin--;
        if (!utf8_next(text + begin, at - begin, &c) || !pattern_is_space(c)) break;
        at = begin;
    }
    return at;
}

static size_t spaces_end(const char *text, size_t len, size_t at) {
    for (uint32_t c;;) {
        size_t n = utf8_next(text + at, len - at, &c);
        if (n == 0 || !pattern_is_space(c)) return at;
        at += n;
    }
}

int added_split(const AddedSet *set, PatternRun *run, const char *text, size_t len, AddedSink sink, void *user, Err *err) {
    size_t done = 0; // what stands before has gone out
    for (size_t at = 0; at < len && set->n;) {
        const AddedToken *t = longest(set, text + at, len - at);
        if (!t) {
            at++;
            continue;
        }
        size_t begin = at, end = at + t->len;
        at = end;
        if ((t->flags & ADDED_SINGLE_WORD) &&
            (is_word_beside(set, run, text, len, begin, 1) || is_word_beside(set, run, text, len, end, 0)))
            continue;
        if (t->flags & ADDED_LSTRIP) begin = spaces_begin(text, begin);
        if (t->flags & ADDED_RSTRIP) end = spaces_end(text, len, end);
        if (begin > done && sink(user, -1, text + done, begin - done, err)) return -1;
        const int passed = (t->flags & ADDED_LSTRIP) && done >= end; // all of it is stripped: nothing is left of the token
        if (!passed && sink(user, t->id, NULL, 0, err)) return -1;
        done = end; // may go back: a token of blanks may stand in what the one before has stripped, as in `tokenizers`
    }
    return len > done ? sink(user, -1, text + done, len - done, err) : 0;
}

void added_free(AddedSet *set) {
    for (size_t i = 0; i < set->n; i++) free(set->token[i].text);
    free(set->token);
    pattern_close(set->word_char);
    *set = (AddedSet){0};
}
