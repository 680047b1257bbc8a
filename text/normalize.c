#include "text/normalize.h"
#include "base/arena.h"
#include "base/utf8.h"
#include "text/unicode_table.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// Nothing below U+0300 combines with what stands before it, and all of it is in NFC: most titles end here.
static int is_plain(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0xcc) return 0;
    return 1;
}

static int is_inert(uint32_t c) {
    size_t low = 0, high = unicode_inert_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (unicode_inert[mid].last < c)
            low = mid + 1;
        else
            high = mid;
    }
    return low < unicode_inert_count && unicode_inert[low].first <= c;
}

static int combining_class(int32_t c) {
    return utf8proc_get_property(c)->combining_class;
}

// Sort a run of marks by combining class, equal ones in their order. By counting: a hostile run may be as long as the text
// (utf8proc's own sort is quadratic).
static void order_marks(int32_t *mark, size_t n, int32_t *scratch) {
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) start[combining_class(mark[i]) + 1]++;
    for (int k = 0; k < 256; k++) start[k + 1] += start[k];
    for (size_t i = 0; i < n; i++) scratch[start[combining_class(mark[i])]++] = mark[i];
    memcpy(mark, scratch, n * sizeof *mark);
}

// Order and compose a segment, which has no inert character but perhaps its first, and append it.
static void finish_segment(Str *out, int32_t *c, size_t n, int first_inert, int32_t *scratch) {
    for (size_t i = first_inert ? 1 : 0; i < n;) {
        size_t begin = i;
        while (i < n && combining_class(c[i]) != 0) i++;
        if (i - begin > 1) order_marks(c + begin, i - begin, scratch);
        if (i == begin) i++;
    }
    utf8proc_ssize_t len = utf8proc_normalize_utf32(c, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    CHECK(len >= 0);
    for (utf8proc_ssize_t i = 0; i < len; i++) {
        char bytes[4];
        str_append(out, bytes, utf8_put(bytes, (uint32_t)c[i]));
    }
}

static void nfc(Str *out, const char *text, size_t n) {
    if (is_plain(text, n)) {
        str_append(out, text, n);
        return;
    }
    enum { MOST = 4 }; // a canonical decomposition is at most 4 code points long
    int32_t *points = mem_alloc(MOST * n, sizeof *points), *scratch = mem_alloc(MOST * n, sizeof *scratch);
    size_t len = 0;
    int first_inert = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t step = utf8_next(text + i, n - i, &c);
        CHECK(step > 0);
        i += step;
        if (is_inert(c)) {
            finish_segment(out, points, len, first_inert, scratch);
            points[0] = (int32_t)c;
            len = 1;
            first_inert = 1;
        } else {
            utf8proc_ssize_t parts = utf8proc_decompose_char((int32_t)c, points + len, MOST, UTF8PROC_DECOMPOSE, NULL);
            CHECK(parts > 0 && parts <= MOST);
            len += (size_t)parts;
        }
    }
    finish_segment(out, points, len, first_inert, scratch);
    free(points);
    free(scratch);
}

// Every occurrence, from the left.
static void replace(Str *out, const char *from, const char *to, const char *text, size_t n) {
    const size_t len = strlen(from);
    size_t done = 0;
    for (const char *at; (at = memmem(text + done, n - done, from, len)); done = (size_t)(at - text) + len) {
        str_append(out, text + done, (size_t)(at - text) - done);
        str_puts(out, to);
    }
    str_append(out, text + done, n - done);
}

int normalize_run(const Normalizer *z, Str *out, const char *text, size_t n, Err *err) {
    Str made[2] = {{0}}; // by the last step and the one before it
    for (int i = 0; i < z->n && n <= NORMALIZE_TEXT_LIMIT; i++) {
        const NormalizeStep *step = &z->step[i];
        Str *to = &made[i % 2];
        str_clear(to);
        switch (step->kind) {
        case NORMALIZE_NFC: nfc(to, text, n); break;
        case NORMALIZE_PREPEND:
            if (n) str_puts(to, step->to);
            str_append(to, text, n);
            break;
        case NORMALIZE_REPLACE: replace(to, step->from, step->to, text, n); break;
        }
        text = to->data, n = to->len;
    }
    int status = 0;
    if (n <= NORMALIZE_TEXT_LIMIT)
        str_append(out, text, n);
    else
        status = err_set(err, ERR_DATA, "a text that its tokenizer makes %zu bytes of, more than the limit of 512 MiB", n);
    str_free(&made[0]), str_free(&made[1]);
    return status;
}
