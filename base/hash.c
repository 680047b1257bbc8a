#include "base/hash.h"
#include "base/arena.h"

#include <stdio.h>
#include <xxhash.h>

static void put_hex(char hex[33], XXH128_hash_t h) {
    snprintf(hex, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

Hash *hash_open(void) {
    Hash *h = mem_need(XXH3_createState(), "a hash");
    CHECK(XXH3_128bits_reset(h) == XXH_OK);
    return h;
}

void hash_update(Hash *h, const void *data, size_t bytes) {
    XXH3_128bits_update(h, data, bytes);
}

void hash_text(const Hash *h, char hex[33]) {
    put_hex(hex, XXH3_128bits_digest(h));
}

void hash_close(Hash *h) {
    XXH3_freeState(h);
}

void hash_bytes(char hex[33], const void *data, size_t bytes) {
    put_hex(hex, XXH3_128bits(data, bytes));
}
