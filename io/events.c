#include "io/events.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

// ---- the checksum ------------------------------------------------------------------------------------------------------

uint32_t events_crc(const void *data, size_t bytes) {
    enum { POLYNOMIAL = (int32_t)0x82f63b78 }; // reversed, as the bits come in
    const unsigned char *p = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++) { // bit by bit: some hundred bytes a training step
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? (uint32_t)POLYNOMIAL : 0);
    }
    return ~crc;
}

uint32_t events_masked(uint32_t crc) {
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// ---- messages ----------------------------------------------------------------------------------------------------------

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; // wire types

static void put_little(Str *to, uint64_t x, int bytes) {
    for (int i = 0; i < bytes; i++) str_append(to, &(unsigned char){(unsigned char)(x >> 8 * i)}, 1);
}

static void put_varint(Str *to, uint64_t x) {
    for (; x >= 0x80; x >>= 7) put_little(to, (x & 0x7f) | 0x80, 1);
    put_little(to, x, 1);
}

static void put_field(Str *to, int number, int wire_type) {
    put_varint(to, (uint64_t)(number << 3 | wire_type));
}

static void put_bytes(Str *to, int number, const void *data, size_t bytes) {
    put_field(to, number, BYTES);
    put_varint(to, bytes);
    str_append(to, data, bytes);
}

static void put_double(Str *to, int number, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_field(to, number, FIXED64);
    put_little(to, bits, 8);
}

static void put_float(Str *to, int number, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_field(to, number, FIXED32);
    put_little(to, bits, 4);
}

// ---- records -----------------------------------------------------------------------------------------------------------

static void write_message(EventFile *f) {
    Str *r = &f->record;
    str_clear(r);
    put_little(r, f->message.len, 8);
    put_little(r, events_masked(events_crc(r->data, 8)), 4);
    str_append(r, f->message.data, f->message.len);
    put_little(r, events_masked(events_crc(f->message.data, f->message.len)), 4);
    if (!f->failed_errno) f->failed_errno = file_put(f->fd, r->data, r->len);
}

int events_open(EventFile *f, const char *path, double wall_time, Err *err) {
    static const char version[] = "brain.Event:2";
    *f = (EventFile){.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666)};
    if (f->fd < 0) {
        *f = (EventFile){0};
        return err_errno(err, "%s: cannot be written", path);
    }
    put_double(&f->message, 1, wall_time);
    put_bytes(&f->message, 3, version, sizeof version - 1);
    write_message(f);
    return 0;
}

void events_begin(EventFile *f, double wall_time, int64_t step) {
    f->wall_time = wall_time;
    f->step = step;
    str_clear(&f->summary);
}

void events_value(EventFile *f, const char *tag, float value) {
    Str *one = &f->message;
    str_clear(one);
    put_bytes(one, 1, tag, strlen(tag));
    put_float(one, 2, value);
    put_bytes(&f->summary, 1, one->data, one->len);
}

void events_end(EventFile *f) {
    if (f->summary.len == 0) return;
    str_clear(&f->message);
    put_double(&f->message, 1, f->wall_time);
    put_field(&f->message, 2, VARINT);
    put_varint(&f->message, (uint64_t)f->step);
    put_bytes(&f->message, 5, f->summary.data, f->summary.len);
    write_message(f);
}

int events_close(EventFile *f, const char *path, Err *err) {
    int failed = f->failed_errno;
    if (f->record.data && close(f->fd) && !failed) failed = errno;
    str_free(&f->summary), str_free(&f->message), str_free(&f->record);
    *f = (EventFile){0};
    errno = failed;
    return failed ? err_errno(err, "%s", path) : 0;
}
