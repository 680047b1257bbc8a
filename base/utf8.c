#include "base/utf8.h"

#include <string.h>

size_t utf8_next(const char *text, size_t n, uint32_t *code_point) {
    const unsigned char *s = (const unsigned char *)text;
    if (n == 0) return 0;
    if (s[0] < 0x80) {
        *code_point = s[0];
        return 1;
    }
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < len) return 0;
    uint32_t c = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    *code_point = c;
    return len;
}

size_t utf8_put(char out[4], uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

// Bytes before the first one that is not ASCII. Eight at a time: nearly all of a file is ASCII.
static size_t ascii_run(const char *s, size_t n) {
    size_t i = 0;
    for (uint64_t w; i + 8 <= n; i += 8) {
        memcpy(&w, s + i, 8);
        if (w & 0x8080808080808080u) break;
    }
    while (i < n && (signed char)s[i] >= 0) i++;
    return i;
}

size_t utf8_check(const char *s, size_t n) {
    size_t i = 0;
    while ((i += ascii_run(s + i, n - i)) < n) {
        uint32_t c;
        size_t step = utf8_next(s + i, n - i, &c);
        if (step == 0) return i;
        i += step;
    }
    return n;
}

size_t utf8_count(const char *s, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

// Length of the piece at s, where no character stands, that one U+FFFD replaces: as many bytes as begin some character, at
// least one.
static size_t broken_piece(const unsigned char *s, size_t n) {
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < 2) return 1;
    unsigned low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) return 1;
    size_t len = s[0] >= 0xf0 ? 4 : 3, i = 2;
    while (i < len && i < n && (s[i] & 0xc0) == 0x80) i++;
    return i;
}

void utf8_replace(Str *out, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t good = utf8_check(s + i, n - i);
        str_append(out, s + i, good);
        i += good;
        if (i < n) {
            str_append(out, "\xef\xbf\xbd", 3);
            i += broken_piece((const unsigned char *)s + i, n - i);
        }
    }
}
