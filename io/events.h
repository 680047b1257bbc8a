// Scalars as TensorBoard reads them: a file of records (TensorFlow's TFRecord), each an Event message of protocol buffers.
//   record: length (8 bytes), masked crc of the length (4), the message, masked crc of the message (4); little-endian
//   Event: 1 wall_time (double), 2 step (int64), 3 file_version (string, the first record's), 5 summary
//   Summary: 1 value (repeated); Value: 1 tag (string), 2 simple_value (float)
// Source: record_writer.h, event.proto and summary.proto of TensorFlow.
#ifndef IO_EVENTS_H
#define IO_EVENTS_H

#include "base/err.h"
#include "base/vec.h"

typedef struct EventFile {
    int fd, failed_errno; // of the first write that failed; reported by events_close
    Str summary, message, record;
    double wall_time;
    int64_t step;
} EventFile;

// Starts the file afresh. wall_time: seconds since 1970.
int events_open(EventFile *f, const char *path, double wall_time, Err *err);

// The values of one step: begin, any number of values, end. Each end is one write, so a reader never sees half a record.
void events_begin(EventFile *f, double wall_time, int64_t step);
void events_value(EventFile *f, const char *tag, float value);
void events_end(EventFile *f); // nothing is written where there was no value

int events_close(EventFile *f, const char *path, Err *err); // harmless for a file that was not opened (zeroed)

// CRC-32C (Castagnoli) of RFC 3720, and how a record holds it.
uint32_t events_crc(const void *data, size_t bytes);
uint32_t events_masked(uint32_t crc);

#endif
