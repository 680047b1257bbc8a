// 128-bit XXH3 as 32 hexadecimal digits: of bytes at once, or of bytes as they come.
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>

typedef struct XXH3_state_s Hash;

Hash *hash_open(void); // the caller's, for hash_close
void hash_update(Hash *h, const void *data, size_t bytes);
void hash_text(const Hash *h, char hex[33]); // of what came so far
void hash_close(Hash *h);                    // NULL is fine

void hash_bytes(char hex[33], const void *data, size_t bytes);

#endif
