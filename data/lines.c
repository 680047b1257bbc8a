#include "data/lines.h"
#include "base/log.h"
#include "base/utf8.h"
#include "data/csv.h"

#include <string.h>

enum { BAD_NAMED = 5 };

int lines_open(Lines *l, const char *data, size_t bytes, const char *name, Err *err) {
    *l = (Lines){.data = data, .bytes = bytes, .name = name};
    return csv_begin(&l->at, data, bytes, name, err);
}

static void cut(Lines *l, char delimiter) {
    const char *at = l->text, *end = l->text + l->len, *next;
    l->n = 0;
    do {
        next = l->n + 1 < LINES_FIELDS ? memchr(at, delimiter, (size_t)(end - at)) : NULL;
        l->field[l->n] = at;
        l->field_len[l->n++] = (size_t)((next ? next : end) - at);
        if (next) at = next + 1;
    } while (next);
}

int lines_next(Lines *l, char delimiter, Err *err) {
    do {
        if (l->at == l->bytes) return 0;
        l->line++;
        size_t left = l->bytes - l->at, most = left < LINES_LIMIT + 1 ? left : LINES_LIMIT + 1;
        const char *end = memchr(l->data + l->at, '\n', most);
        if (!end && most < left) return err_set(err, ERR_DATA, "%s: line %lld: more than 1 MiB", l->name, (long long)l->line);
        l->text = l->data + l->at;
        l->len = end ? (size_t)(end - l->text) : left;
        l->at += l->len + (end != NULL);
        if (end && l->len && l->text[l->len - 1] == '\r') l->len--;
        if (memchr(l->text, '\r', l->len))
            return err_set(err, ERR_DATA, "%s: line %lld: a carriage return without line feed", l->name, (long long)l->line);
        const char *nul = memchr(l->text, 0, l->len);
        size_t good = nul ? (size_t)(nul - l->text) : utf8_check(l->text, l->len);
        if (good < l->len)
            return err_set(err, ERR_DATA, "%s: line %lld, byte %zu of the file: %s", l->name, (long long)l->line,
                           (size_t)(l->text - l->data) + good, nul ? "a NUL byte" : "not UTF-8");
    } while (l->len == 0);
    cut(l, delimiter);
    return 1;
}

int lines_bad(BadLines *b, const Err *why, Err *err) {
    if (b->strict) {
        if (err) *err = *why;
        return -1;
    }
    if (b->count++ < BAD_NAMED) log_warn("%s (line passed over)", why->message);
    return 0;
}

void lines_bad_total(const BadLines *b) {
    if (b->count > BAD_NAMED) log_warn("%s: %lld bad lines passed over in all", b->name, (long long)b->count);
}
