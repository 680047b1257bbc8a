// The file of a checkpoint: what was written is read, and nothing else is: bits, bytes, lengths and blocks that changed are all
// found, and so are files whose hashes are right and whose sizes or state are not.
#include "base/rng.h"
#include "golden.h"
#include "train/checkpoint_file.h"

#include "folder.h"
#include <xxhash.h>

enum { HEADER = 64, BLOCK = 1 << 20, HASH_AT = 48 };
static const char state_text[] = "{\"step\":40,\"loop\":{\"best_loss\":1.5},\"run\":{}}";

typedef struct Bytes {
    char *data;
    size_t n;
} Bytes;

// A checkpoint of `bytes` bytes of data, by `seed`.
static Bytes written(const char *state, size_t bytes, uint64_t seed) {
    Err err = {0};
    MapFile f;
    char *folder = folder_new(), *path = file_join(folder, "training.state"), *data = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++) data[i] = (char)rng_u64(seed, 1, i / 8);
    OK(checkpoint_file_write(path, state, data, bytes, &err));
    OK(mapfile_open(&f, path, 0, &err));
    Bytes all = {malloc(f.bytes), f.bytes};
    memcpy(all.data, f.data, f.bytes);
    mapfile_close(&f);
    free(path), free(data);
    folder_remove(folder);
    return all;
}

// 0, or -1 with one line that names the file.
static int parse(const char *data, size_t n) {
    CheckpointFile c;
    Err err = {0};
    int status = checkpoint_file_parse(&c, data, n, "the file", &err);
    if (status) {
        assert_int_equal(err.code, ERR_DATA);
        assert_true(!strncmp(err.message, "the file: ", 10) && !strchr(err.message, '\n'));
        assert_null(c.state);
        return -1;
    }
    checkpoint_file_close(&c);
    return 0;
}

static void comes_back(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 63, 64, 4096, BLOCK - 64, BLOCK - 63, BLOCK, 3 * BLOCK + 17};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Err err = {0};
        CheckpointFile c;
        Bytes f = written(state_text, sizes[i], 5);
        OK(checkpoint_file_parse(&c, f.data, f.n, "the file", &err));
        assert_int_equal(c.bytes, sizes[i]);
        assert_int_equal(((const char *)c.data - f.data) % 64, 0);
        for (size_t b = 0; b < c.bytes; b++)
            if (((const char *)c.data)[b] != (char)rng_u64(5, 1, b / 8)) fail_msg("byte %zu of %zu", b, c.bytes);
        assert_int_equal(json_integer_value(json_object_get(c.state, "step")), 40);
        checkpoint_file_close(&c);
        free(f.data);
    }
}

static void every_bit_and_length(void **state) {
    (void)state;
    Bytes f = written(state_text, 900, 6);
    assert_int_equal(parse(f.data, f.n), 0);
    for (size_t bit = 0; bit < f.n * 8; bit++) {
        f.data[bit / 8] ^= (char)(1 << bit % 8);
        if (parse(f.data, f.n) == 0) fail_msg("bit %zu", bit);
        f.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t n = 0; n < f.n; n++)
        if (parse(f.data, n) == 0) fail_msg("%zu bytes of %zu", n, f.n);
    char *longer = calloc(1, f.n + 65);
    memcpy(longer, f.data, f.n);
    for (size_t more = 1; more <= 65; more++) assert_int_equal(parse(longer, f.n + more), -1);
    assert_int_equal(parse(f.data, f.n), 0);
    free(longer), free(f.data);
}

// 100,000 flips, and 10,000 bursts of 2 to 64 bits, of the payload; each alone.
static void random_changes(void **state) {
    (void)state;
    Bytes f = written(state_text, 1500, 7);
    const size_t payload = HEADER + 64;
    for (uint64_t i = 0; i < 110000; i++) {
        char copy[4096];
        const size_t width = i < 100000 ? 1 : 2 + (size_t)rng_below(8, 2, i, 63);
        const size_t first = (size_t)rng_below(8, 1, i, (f.n - payload) * 8 - width + 1);
        memcpy(copy, f.data, f.n);
        for (size_t b = first; b < first + width; b++) // the ends of a burst change for certain
            if (b == first || b == first + width - 1 || rng_u64(8, 3, i * 64 + b - first) & 1)
                copy[payload + b / 8] ^= (char)(1 << b % 8);
        if (parse(copy, f.n) == 0) fail_msg("change %llu", (unsigned long long)i);
    }
    free(f.data);
}

static void blocks(void **state) {
    (void)state;
    Bytes f = written(state_text, 4 * BLOCK, 9), other = written(state_text, 4 * BLOCK, 10);
    char *copy = malloc(f.n);
    const size_t payload = HEADER + 128; // five hashes, and zeros
    assert_int_equal(parse(other.data, other.n), 0);
    for (size_t a = 0; a < 4; a++) {
        for (size_t b = a + 1; b < 4; b++)
            for (int with_hash = 0; with_hash < 2; with_hash++) { // swapped
                memcpy(copy, f.data, f.n);
                memcpy(copy + payload + a * BLOCK, f.data + payload + b * BLOCK, BLOCK);
                memcpy(copy + payload + b * BLOCK, f.data + payload + a * BLOCK, BLOCK);
                if (with_hash) memcpy(copy + HEADER + a * 16, f.data + HEADER + b * 16, 16);
                if (with_hash) memcpy(copy + HEADER + b * 16, f.data + HEADER + a * 16, 16);
                assert_int_equal(parse(copy, f.n), -1);
            }
        for (int with_hash = 0; with_hash < 2; with_hash++) { // of another checkpoint
            memcpy(copy, f.data, f.n);
            memcpy(copy + payload + a * BLOCK, other.data + payload + a * BLOCK, BLOCK);
            if (with_hash) memcpy(copy + HEADER + a * 16, other.data + HEADER + a * 16, 16);
            assert_int_equal(parse(copy, f.n), -1);
        }
    }
    for (size_t n = f.n % 4096; n < f.n; n += 4096 * 5) assert_int_equal(parse(f.data, n), -1);
    free(copy), free(f.data), free(other.data);
}

// ---- right hashes ---------------------------------------------------------------------------------------------------

// The header's hash made to fit the header and the table behind it.
static void sign(Bytes *f, size_t table) {
    memset(f->data + HASH_AT, 0, 16);
    const XXH128_hash_t h = XXH3_128bits(f->data, HEADER + table);
    memcpy(f->data + HASH_AT, &h.low64, 8);
    memcpy(f->data + HASH_AT + 8, &h.high64, 8);
}

static void impossible_headers(void **state) {
    (void)state;
    const struct {
        size_t at;
        uint64_t value;
    } bad[] = {{16, 0x0807060504030201},
               {24, 0},
               {24, 63},
               {24, 65},
               {24, (16 << 20) + 64},
               {24, UINT64_MAX},
               {24, UINT64_MAX - 63},
               {32, UINT64_MAX},
               {32, UINT64_MAX - 63},
               {32, 599},
               {32, 601},
               {32, 1ull << 40},
               {40, 0},
               {40, 1 << 19},
               {8, 0x32206574617473}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Bytes f = written(state_text, 600, 11);
        sign(&f, 64);
        assert_int_equal(parse(f.data, f.n), 0); // as it was
        memcpy(f.data + bad[i].at, &bad[i].value, 8);
        sign(&f, 64);
        if (parse(f.data, f.n) == 0) fail_msg("header %zu", i);
        free(f.data);
    }
}

static void impossible_states(void **state) {
    (void)state;
    static const char *const bad[] = {"", "[]", "40", "{", "{}{}", "{\"a\":1,\"a\":2}", "{\"a\":nan}", "nul"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Bytes f = written(bad[i], 64, 12);
        if (parse(f.data, f.n) == 0) fail_msg("state %s", bad[i]);
        free(f.data);
    }
    Str deep = {0};
    for (int i = 0; i < 100000; i++) str_puts(&deep, "[");
    Bytes f = written(deep.data, 64, 12);
    assert_int_equal(parse(f.data, f.n), -1);
    free(f.data);
    str_free(&deep);
}

static void verdict(const char *path, int is_good) {
    CheckpointFile c;
    Err err = {0};
    const int status = checkpoint_file_open(&c, path, &err);
    if (is_good ? status != 0 : status != -1 || err.code != ERR_DATA || !strstr(err.message, path))
        fail_msg("%s: %s", path, status ? err.message : "read");
    if (status == 0) checkpoint_file_close(&c);
}

static void files(void **state) {
    (void)state;
    folder_verdicts("tests/data/checkpoint", verdict, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back), cmocka_unit_test(every_bit_and_length), cmocka_unit_test(random_changes),
        cmocka_unit_test(blocks),     cmocka_unit_test(impossible_headers),   cmocka_unit_test(impossible_states),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
