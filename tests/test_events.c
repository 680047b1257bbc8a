// Event files: the checksum of RFC 3720, and records byte by byte as TensorFlow writes them.
#include "base/file.h"
#include "io/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/folder.h"

static void test_crc(void **state) {
    (void)state;
    unsigned char bytes[32] = {0}, up[32], ones[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) up[i] = (unsigned char)i;
    assert_int_equal(events_crc(bytes, 32), 0x8a9136aa); // RFC 3720, appendix B.4
    assert_int_equal(events_crc(ones, 32), 0x62a8ab43);
    assert_int_equal(events_crc(up, 32), 0x46dd794e);
    assert_int_equal(events_crc("123456789", 9), 0xe3069283);
    assert_int_equal(events_crc("", 0), 0);
    assert_int_equal(events_masked(0), 0xa282ead8);
    assert_int_equal(events_masked(0x80000000), 0xa283ead8);
}

// Reads the next record's message, its framing checked.
static const unsigned char *next_record(const MapFile *f, size_t *at, size_t *len) {
    const unsigned char *p = (const unsigned char *)f->data + *at;
    uint64_t n = 0;
    uint32_t crc[2] = {0};
    assert_true(f->bytes - *at >= 16);
    for (int i = 7; i >= 0; i--) n = n << 8 | p[i];
    assert_true(n <= f->bytes - *at - 16);
    for (int i = 3; i >= 0; i--) crc[0] = crc[0] << 8 | p[8 + i], crc[1] = crc[1] << 8 | p[12 + n + (size_t)i];
    assert_int_equal(crc[0], events_masked(events_crc(p, 8)));
    assert_int_equal(crc[1], events_masked(events_crc(p + 12, n)));
    *at += 16 + n;
    *len = n;
    return p + 12;
}

static void test_records(void **state) {
    (void)state;
    Err err = {0};
    char *folder = folder_new();
    char *path = file_join(folder, "events");
    EventFile e;
    assert_int_equal(events_open(&e, path, 1.0, &err), 0);
    events_begin(&e, 2.0, 300);
    events_value(&e, "a", 0.5f);
    events_value(&e, "bc", -1);
    events_end(&e);
    events_begin(&e, 3.0, 301);
    events_end(&e); // without a value: no record
    assert_int_equal(events_close(&e, path, &err), 0);

    MapFile f;
    assert_int_equal(mapfile_open(&f, path, 0, &err), 0);
    // The beginning of every event file TensorFlow ever wrote, but for the wall time.
    static const unsigned char head[] = {0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22, 0x09};
    assert_memory_equal(f.data, head, sizeof head);
    static const unsigned char first[] = "\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0d"
                                         "brain.Event:2",
                               second[] = "\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x15"
                                          "\x0a\x08\x0a\x01"
                                          "a\x15\0\0\0\x3f"
                                          "\x0a\x09\x0a\x02"
                                          "bc\x15\0\0\x80\xbf";
    size_t at = 0, len;
    const unsigned char *message = next_record(&f, &at, &len);
    assert_int_equal(len, sizeof first - 1);
    assert_memory_equal(message, first, len);
    message = next_record(&f, &at, &len);
    assert_int_equal(len, sizeof second - 1);
    assert_memory_equal(message, second, len);
    assert_int_equal(at, f.bytes);
    mapfile_close(&f);
    free(path);
    folder_remove(folder);
}

static void test_full_disk(void **state) {
    (void)state;
    Err err = {0};
    EventFile e;
    if (!file_exists("/dev/full")) skip();
    assert_int_equal(events_open(&e, "/dev/full", 1.0, &err), 0);
    assert_int_equal(events_close(&e, "/dev/full", &err), -1);
    assert_int_equal(err.code, ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crc), cmocka_unit_test(test_records),
                                       cmocka_unit_test(test_full_disk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
