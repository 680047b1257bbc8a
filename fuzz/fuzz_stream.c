// Any bytes as a file, plain or gzip: all of them, what zlib makes of them, or one line that refuses them. Then as lines.
#include "base/arena.h"
#include "base/log.h"
#include "base/vec.h"
#include "data/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define EXPECT(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST = 1 << 20 };

// What zlib's own reader of members gives; -1 where it finds damage, -2 where there is more than MOST.
static int inflate_all(Str *out, const uint8_t *data, size_t bytes) {
    z_stream z = {.next_in = (unsigned char *)data, .avail_in = (unsigned)bytes};
    char block[4096];
    int status = Z_STREAM_END;
    EXPECT(inflateInit2(&z, 15 + 16) == Z_OK);
    while (out->len <= MOST && !(status == Z_STREAM_END && z.avail_in == 0)) {
        if (status == Z_STREAM_END) inflateReset(&z);
        z.next_out = (unsigned char *)block, z.avail_out = sizeof block;
        status = inflate(&z, Z_NO_FLUSH);
        str_append(out, block, sizeof block - z.avail_out);
        if (status != Z_OK && status != Z_STREAM_END) break;
    }
    inflateEnd(&z);
    return out->len > MOST ? -2 : status == Z_STREAM_END ? 0 : -1;
}

static void check_bytes(const char *path, const uint8_t *data, size_t bytes) {
    Str expected = {0}, got = {0};
    Err err = {0};
    int gzip = bytes >= 2 && data[0] == 0x1f && data[1] == 0x8b, sound = 0, status;
    if (gzip)
        sound = inflate_all(&expected, data, bytes);
    else
        str_append(&expected, data, bytes);
    Stream *s = stream_open(path, &err);
    EXPECT(s);
    const char *block;
    size_t n;
    while ((status = stream_next(s, &block, &n, &err)) == 1 && got.len <= MOST) str_append(&got, block, n);
    if (status < 0) EXPECT(sound && err.code == ERR_DATA && !strchr(err.message, '\n'));
    if (status == 0) EXPECT(sound == 0 && got.len == expected.len && (!got.len || !memcmp(got.data, expected.data, got.len)));
    stream_close(s);
    str_free(&expected), str_free(&got);
}

static void check_lines(const char *path) {
    Err err = {0};
    Lines l;
    Stream *s = stream_open(path, &err);
    EXPECT(s);
    int status = lines_open_stream(&l, s, "stream", &err);
    int64_t line = 0;
    while (status == 0 && (status = lines_next(&l, '\t', &err)) == 1) {
        EXPECT(l.line > line && l.n >= 1 && !memchr(l.text, '\n', l.len) && l.len <= l.limit);
        line = l.line;
        status = 0;
    }
    if (status < 0) EXPECT(err.code == ERR_DATA && err.message[0]);
    lines_close(&l);
    stream_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char path[64];
    log_level = LOG_ERROR - 1;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    EXPECT(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check_bytes(path, data, bytes);
    check_lines(path);
    close(fd);
    return 0;
}
