// Files as streams: every byte of a plain or gzip file in order, every damage of a gzip file refused; and lines that lie across
// the blocks.
#include "base/rng.h"
#include "base/stream.h"
#include "data/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <zlib.h>

#include <cmocka.h>

#include "tests/folder.h"

static char *folder;

static Str gzip(const char *text, size_t n) {
    Str out = {0};
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t most = deflateBound(&z, n);
    char *bytes = mem_alloc(most, 1);
    z.next_in = (unsigned char *)text, z.avail_in = (unsigned)n;
    z.next_out = (unsigned char *)bytes, z.avail_out = (unsigned)most;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    str_append(&out, bytes, most - z.avail_out);
    deflateEnd(&z);
    free(bytes);
    return out;
}

// All that the stream of these bytes gives; its status at the end.
static int read_back(const char *bytes, size_t n, Str *out, int *is_gzip, Err *err) {
    folder_put(folder, "file", bytes, n);
    char *path = file_join(folder, "file");
    Stream *s = stream_open(path, err);
    assert_non_null(s);
    const char *data, *peeked;
    size_t got, ahead;
    int status;
    str_clear(out);
    do {
        if (stream_peek(s, &peeked, &ahead, err) < 0) assert_int_equal(stream_next(s, &data, &got, NULL), -1);
        status = stream_next(s, &data, &got, err);
        if (status == 1) {
            assert_true(got > 0 && got <= STREAM_BLOCK && ahead == got);
            str_append(out, data, got);
        }
    } while (status == 1);
    if (is_gzip) *is_gzip = stream_is_gzip(s);
    if (status == 0) { // the hash is that of the file as it lies there
        char hex[33], expected[33];
        uint64_t done, all;
        stream_hash(s, hex);
        assert_int_equal(file_hash(expected, path, NULL), 0);
        assert_string_equal(hex, expected);
        stream_progress(s, &done, &all);
        assert_true(done == n && all == n);
    }
    stream_close(s);
    free(path);
    return status;
}

static void expect(const char *bytes, size_t n, const char *text, size_t text_n, int zipped) {
    Str out = {0};
    Err err = {0};
    int is_gzip;
    if (read_back(bytes, n, &out, &is_gzip, &err)) fail_msg("%s", err.message);
    assert_int_equal(is_gzip, zipped);
    assert_int_equal(out.len, text_n);
    if (text_n) assert_memory_equal(out.data, text, text_n);
    str_free(&out);
}

static Str random_text(size_t n) {
    Str s = {0};
    for (size_t i = 0; i < n; i++) str_append(&s, &"abcdefgh\n"[rng_below(5, RNG_SYNTHETIC, i, 9)], 1);
    return s;
}

static void test_sizes(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 1000, STREAM_BLOCK - 1, STREAM_BLOCK, STREAM_BLOCK + 1, 7 * STREAM_BLOCK, 1500000};
    Str text = random_text(7 * STREAM_BLOCK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Str zipped = gzip(text.data, sizes[i]);
        expect(text.data, sizes[i], text.data, sizes[i], 0);
        expect(zipped.data, zipped.len, text.data, sizes[i], 1);
        str_free(&zipped);
    }
    str_free(&text);
}

static void test_members(void **state) {
    (void)state;
    Str a = gzip("one\n", 4), none = gzip("", 0), b = gzip("two\n", 4), all = {0};
    str_append(&all, none.data, none.len);
    str_append(&all, a.data, a.len);
    str_append(&all, none.data, none.len);
    str_append(&all, b.data, b.len);
    expect(all.data, all.len, "one\ntwo\n", 8, 1);
    str_free(&a), str_free(&b), str_free(&none), str_free(&all);
}

static void refuses(const char *bytes, size_t n, const char *part) {
    Str out = {0};
    Err err = {0};
    assert_int_equal(read_back(bytes, n, &out, NULL, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, part) || !strstr(err.message, "file: byte "))
        fail_msg("\"%s\" should say \"%s\"", err.message, part);
    str_free(&out);
}

static void test_damage(void **state) {
    (void)state;
    static const char text[] = "a text that is long enough, long enough, to be compressed a little\n";
    Str zipped = gzip(text, sizeof text - 1);
    for (size_t n = 2; n < zipped.len; n++) refuses(zipped.data, n, "cut off");
    for (size_t i = 2; i < zipped.len; i++) { // every byte matters but some of the header (time, operating system)
        char was = zipped.data[i];
        zipped.data[i] = (char)(was ^ 0x20);
        Str out = {0};
        Err err = {0};
        int status = read_back(zipped.data, zipped.len, &out, NULL, &err);
        if (i < 4 || i >= 10) assert_int_equal(status, -1);
        if (status == 0) assert_true(out.len == sizeof text - 1 && !memcmp(out.data, text, out.len));
        str_free(&out);
        zipped.data[i] = was;
    }
    size_t whole = zipped.len;
    str_append(&zipped, "xyz", 3);
    refuses(zipped.data, zipped.len, "incorrect header check");
    zipped.data[whole - 1] ^= 1;
    refuses(zipped.data, whole, "incorrect length check");
    zipped.data[whole - 1] ^= 1, zipped.data[whole - 5] ^= 1;
    refuses(zipped.data, whole, "incorrect data check");
    str_free(&zipped);
}

static void test_paths(void **state) {
    (void)state;
    Err err = {0};
    assert_null(stream_open("/tmp/latentr3-there-is-none", &err));
    assert_int_equal(err.code, ERR_IO);
    assert_null(stream_open("/tmp", &err));
    assert_null(stream_open("/dev/zero", &err));
    assert_non_null(strstr(err.message, "neither a regular file nor a pipe"));
    // Closed before it was read: the thread ends all the same.
    Str text = random_text(6 * STREAM_BLOCK);
    folder_put(folder, "file", text.data, text.len);
    char *path = file_join(folder, "file");
    for (int blocks = 0; blocks < 3; blocks++) {
        const char *data;
        size_t n;
        Stream *s = stream_open(path, &err);
        assert_non_null(s);
        for (int i = 0; i < blocks; i++) assert_int_equal(stream_next(s, &data, &n, &err), 1);
        stream_close(s);
    }
    str_free(&text);
    free(path);
}

// The same lines from a stream as from memory, wherever the blocks are cut.
static void test_lines(void **state) {
    (void)state;
    Str text = {0};
    str_puts(&text, "\xef\xbb\xbf");
    for (uint64_t i = 0; text.len < 5 * STREAM_BLOCK; i++) {
        size_t n = rng_below(7, RNG_SYNTHETIC, 2 * i, 50) ? rng_below(7, RNG_SYNTHETIC, 2 * i + 1, 90) : 300000;
        for (size_t k = 0; k < n; k++) str_append(&text, k % 7 ? "x" : "\t", 1);
        str_puts(&text, i % 3 ? "\n" : "\r\n");
    }
    str_puts(&text, "last"); // without an end
    folder_put(folder, "file", text.data, text.len);
    char *path = file_join(folder, "file");
    Stream *s = stream_open(path, NULL);
    Lines a, b;
    Err err = {0};
    assert_int_equal(lines_open(&a, text.data, text.len, "memory", &err), 0);
    assert_int_equal(lines_open_stream(&b, s, "stream", &err), 0);
    int status;
    do {
        status = lines_next(&a, '\t', &err);
        assert_int_equal(lines_next(&b, '\t', &err), status);
        if (status != 1) break;
        assert_true(a.line == b.line && a.len == b.len && a.n == b.n && a.at_bytes == b.at_bytes);
        assert_memory_equal(a.text, b.text, a.len);
    } while (1);
    assert_int_equal(status, 0);
    lines_close(&b);
    stream_close(s);
    str_free(&text);
    free(path);
}

static int open_folder(void **state) {
    (void)state;
    folder = folder_new();
    return 0;
}

static int close_folder(void **state) {
    (void)state;
    folder_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_members), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_paths), cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, open_folder, close_folder);
}
