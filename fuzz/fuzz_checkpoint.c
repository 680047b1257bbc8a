// Any bytes as a checkpoint, as they are and with their hashes made to fit: refused with a line, or a state and data inside the
// file.
#include "base/arena.h"
#include "train/checkpoint_file.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

enum { HEADER = 64, STATE_AT = 24, DATA_AT = 32, HASH_AT = 48, BLOCK = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void put_hash(char *to, const char *from, size_t bytes) {
    const XXH128_hash_t h = XXH3_128bits(from, bytes);
    memcpy(to, &h.low64, 8);
    memcpy(to + 8, &h.high64, 8);
}

// Where the sizes allow it: one block, so one hash.
static void make_hashes_fit(char *file, size_t bytes) {
    uint64_t state, data;
    if (bytes < HEADER + 64) return;
    memcpy(&state, file + STATE_AT, 8), memcpy(&data, file + DATA_AT, 8);
    const size_t payload = bytes - HEADER - 64;
    if (state > payload || data != payload - state || payload > BLOCK) return;
    memset(file + HEADER, 0, 64);
    if (payload) put_hash(file + HEADER, file + HEADER + 64, payload);
    memset(file + HASH_AT, 0, 16);
    char hash[16];
    put_hash(hash, file, HEADER + 64);
    memcpy(file + HASH_AT, hash, 16);
}

static void parse(const char *file, size_t bytes) {
    CheckpointFile c;
    Err err = {0};
    int status = checkpoint_file_parse(&c, file, bytes, "fuzz", &err);
    EXPECT(status == 0 || (status == -1 && err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n') && !c.state));
    if (status) return;
    EXPECT(json_is_object(c.state));
    EXPECT((const char *)c.data >= file + HEADER && (const char *)c.data + c.bytes == file + bytes);
    checkpoint_file_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char *copy = mem_alloc(bytes + 1, 1);
    memcpy(copy, data, bytes);
    parse(copy, bytes);
    make_hashes_fit(copy, bytes);
    parse(copy, bytes);
    free(copy);
    return 0;
}
