#include "data/lines.h"
#include "base/log.h"
#include "base/utf8.h"
#include "data/csv.h"

#include <string.h>

enum { BAD_NAMED = 5 };

int lines_open(Lines *l, const char *data, size_t bytes, const char *name, Err *err) {
    *l = (Lines){.data = data, .bytes = bytes, .name = name, .limit = LINES_LIMIT};
    return csv_begin(&l->at, data, bytes, name, err);
}

int lines_open_stream(Lines *l, Stream *stream, const char *name, Err *err) {
    const char *data;
    size_t bytes;
    *l = (Lines){.name = name, .limit = LINES_LIMIT};
    if (stream_next(stream, &data, &bytes, err) < 0 || lines_open(l, data, bytes, name, err)) return -1;
    l->stream = stream;
    return 0;
}

void lines_close(Lines *l) {
    str_free(&l->carry);
}

static int too_long(const Lines *l, Err *err) {
    return err_set(err, ERR_DATA, "%s: line %lld: more than %zu MiB", l->name, (long long)l->line, l->limit >> 20);
}

static void cut(Lines *l, char delimiter) {
    const char *at = l->text, *end = l->text + l->len, *next;
    l->n = 0;
    do {
        next = delimiter && l->n + 1 < LINES_FIELDS ? memchr(at, delimiter, (size_t)(end - at)) : NULL;
        l->field[l->n] = at;
        l->field_len[l->n++] = (size_t)((next ? next : end) - at);
        if (next) at = next + 1;
    } while (next);
}

// The bytes up to the next line feed, which is passed over: 1, 0 at the end of the file, -1. A line that ends in the block
// at hand stays there; else its pieces are put together.
static int take(Lines *l, Err *err) {
    l->at_bytes = l->before + l->at;
    l->carry.len = 0;
    for (;;) {
        const char *from = l->data + l->at;
        size_t left = l->bytes - l->at, room = l->limit + 2 - l->carry.len, n = left < room ? left : room;
        const char *end = n ? memchr(from, '\n', n) : NULL;
        if (end) n = (size_t)(end - from);
        l->at += n + (end != NULL);
        if (l->carry.len + n > l->limit + 1) return too_long(l, err); // one more byte may be a carriage return
        int whole = (end || !l->stream) && l->carry.len == 0;
        if (!whole) str_append(&l->carry, from, n);
        l->text = whole ? from : l->carry.data;
        l->len = whole ? n : l->carry.len;
        if (end || !l->stream) return end || l->len;
        l->before += l->bytes;
        l->at = l->bytes = 0;
        int status = stream_next(l->stream, &l->data, &l->bytes, err);
        if (status <= 0) return status < 0 ? -1 : l->len > 0;
    }
}

static int check(const Lines *l, Err *err) {
    if (memchr(l->text, '\r', l->len))
        return err_set(err, ERR_DATA, "%s: line %lld: a carriage return without line feed", l->name, (long long)l->line);
    const char *nul = memchr(l->text, 0, l->len);
    size_t good = nul ? (size_t)(nul - l->text) : utf8_check(l->text, l->len);
    if (good == l->len) return 0;
    return err_set(err, ERR_DATA, "%s: line %lld, byte %zu of the file: %s", l->name, (long long)l->line, l->at_bytes + good,
                   nul ? "a NUL byte" : "not UTF-8");
}

int lines_next(Lines *l, char delimiter, Err *err) {
    do {
        l->line++;
        int status = take(l, err);
        if (status <= 0) return status;
        if (l->len && l->text[l->len - 1] == '\r') l->len--;
        if (l->len > l->limit) return too_long(l, err);
        if (check(l, err)) return -1;
    } while (l->len == 0);
    cut(l, delimiter);
    return 1;
}

int lines_bad(BadLines *b, const Err *why, Err *err) {
    if (b->strict) {
        if (err) *err = *why;
        return -1;
    }
    if (b->count == 0) b->first = *why;
    if (b->count++ < BAD_NAMED) log_warn("%s (line passed over)", why->message);
    return 0;
}

void lines_bad_total(const BadLines *b) {
    if (b->count > BAD_NAMED) log_warn("%s: %lld bad lines passed over in all", b->name, (long long)b->count);
}

int lines_bad_only(const BadLines *b, int64_t good, Err *err) {
    if (good > 0 || b->count == 0) return 0;
    return err_set(err, ERR_DATA, "no good row among %lld, the first: %s", (long long)b->count, b->first.message);
}
