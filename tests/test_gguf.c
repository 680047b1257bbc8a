// GGUF: what a hostile file is refused for, and what the blocks hold.
#include "io/gguf.h"
#include "tests/gguf_builder.h"
#include "tests/guard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

enum { TYPE_F32 = 0, TYPE_Q4_0 = 2, TYPE_Q4_1 = 3 }; // the format's numbers

static void refuse_bytes(const char *data, size_t bytes, const char *part) {
    Guard guard = guard_copy(data, bytes);
    Gguf g;
    Err err = {0};
    assert_int_equal(gguf_parse(&g, guard.data, bytes, "hostile.gguf", &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, "hostile.gguf") || !strstr(err.message, part) || strchr(err.message, '\n'))
        fail_msg("\"%s\" should name the file and \"%s\"", err.message, part);
    guard_close(&guard);
}

static void refuse(Str *file, const char *part) { // and give the bytes back
    refuse_bytes(file->data, file->len, part);
    str_free(file);
}

static void refuse_builder(GgufBuilder b, const char *part) {
    Str file = gb_finish(&b);
    refuse(&file, part);
}

static GgufBuilder valid_values(void) {
    GgufBuilder b = {.alignment = 32};
    gb_string(&b, "general.architecture", "llama");
    gb_u32(&b, "general.alignment", 32);
    gb_array(&b, "list", GGUF_STRING, 2);
    put_string(&b.values, "one");
    put_string(&b.values, "");
    gb_bool(&b, "truth", 1);
    return b;
}

static GgufBuilder valid(void) {
    GgufBuilder b = valid_values();
    gb_tensor(&b, "first", 2, (int64_t[]){2, 32}, TYPE_Q4_0, NULL, 36);
    gb_tensor(&b, "a", 1, (int64_t[]){8}, TYPE_F32, NULL, 32);
    return b;
}

static void patch(Str *file, size_t at, uint64_t x, size_t bytes) {
    assert_true(at + bytes <= file->len);
    memcpy(file->data + at, &x, bytes);
}

static void refuse_patch(size_t at, uint64_t x, size_t bytes, const char *part) {
    GgufBuilder b = valid();
    Str file = gb_finish(&b);
    patch(&file, at, x, bytes);
    refuse(&file, part);
}

// A tensor's fields behind its name: dimensions (4), sizes (8 each), type (4), offset (8).
static void refuse_tensor(size_t at, uint64_t x, size_t bytes, const char *part) {
    GgufBuilder b = valid_values();
    size_t fields = 24 + b.values.len + 8 + strlen("first");
    str_free(&b.values);
    refuse_patch(fields + at, x, bytes, part);
}

static void test_valid(void **state) {
    (void)state;
    GgufBuilder b = valid();
    Str file = gb_finish(&b);
    for (uint64_t version = 2; version <= 3; version++) {
        patch(&file, 4, version, 4);
        Guard guard = guard_copy(file.data, file.len);
        Gguf g;
        Err err = {0};
        assert_int_equal(gguf_parse(&g, guard.data, file.len, "valid.gguf", &err), 0);
        assert_int_equal(g.n_values, 4);
        assert_int_equal(g.n_tensors, 2);
        const Tensor *t = gguf_tensor(&g, "first");
        assert_non_null(t);
        assert_int_equal(t->type, TENSOR_Q4_0);
        assert_int_equal(t->dims[0], 2);
        assert_int_equal(t->dims[1], 32);
        assert_int_equal(t->bytes, 36);
        assert_null(gguf_tensor(&g, "second"));
        int truth;
        GgufString text;
        assert_int_equal(gguf_bool(&g, "truth", &truth, &err), 0);
        assert_int_equal(truth, 1);
        assert_int_equal(gguf_string(&g, "general.architecture", &text, &err), 0);
        assert_true(text.len == 5 && memcmp(text.data, "llama", 5) == 0);
        const GgufValue *list = gguf_find(&g, "list");
        assert_int_equal(list->count, 2);
        assert_int_equal(gguf_array_string(list, 0).len, 3);
        assert_int_equal(gguf_array_string(list, 1).len, 0);
        assert_null(gguf_find(&g, "lis"));
        gguf_close(&g);
        guard_close(&guard);
    }
    str_free(&file);
}

static void test_no_tensors(void **state) {
    (void)state;
    GgufBuilder b = {.alignment = 1};
    Str file = gb_finish(&b);
    Guard guard = guard_copy(file.data, file.len);
    Gguf g;
    assert_int_equal(gguf_parse(&g, guard.data, file.len, "empty.gguf", NULL), 0);
    assert_null(gguf_find(&g, "anything"));
    assert_null(gguf_tensor(&g, "anything"));
    gguf_close(&g);
    guard_close(&guard);
    str_free(&file);
}

static void test_head(void **state) {
    (void)state;
    refuse_bytes("", 0, "ends before its magic");
    refuse_bytes("GGUF", 4, "ends before its version");
    refuse_patch(0, 0x46554746, 4, "magic"); // FGUF
    refuse_patch(4, 0, 4, "version 0");
    refuse_patch(4, 1, 4, "version 1");
    refuse_patch(4, 4, 4, "version 4");
    refuse_patch(4, 0x03000000, 4, "big-endian");
    refuse_patch(8, UINT64_MAX, 8, "18446744073709551615 tensors");
    refuse_patch(8, (uint64_t)1 << 63, 8, "tensors");
    refuse_patch(8, 1000000000, 8, "tensors");
    refuse_patch(8, 200000, 8, "tensors"); // below the limit, but more than the file has room for
    refuse_patch(16, (uint64_t)1 << 63, 8, "values");
    refuse_patch(16, 1000000, 8, "values");
    refuse_patch(24, UINT64_MAX, 8, "a key of");
}

static void test_values(void **state) {
    (void)state;
    GgufBuilder b = valid();
    gb_u32(&b, "", 1);
    refuse_builder(b, "a key of 0 bytes");

    b = valid();
    char *key = malloc(65537);
    memset(key, 'k', 65536);
    key[65536] = 0;
    gb_u32(&b, key, 1);
    free(key);
    refuse_builder(b, "a key of 65536 bytes");

    b = valid();
    gb_u32(&b, "k", 1);
    b.values.data[b.values.len - 9] = 0;
    refuse_builder(b, "NUL");

    b = valid();
    gb_u32(&b, "truth", 1);
    refuse_builder(b, "duplicate key \"truth\"");

    b = valid();
    gb_key(&b, "k", (GgufType)13);
    refuse_builder(b, "unknown value type 13");

    b = valid();
    gb_array(&b, "k", (GgufType)13, 0);
    refuse_builder(b, "unknown value type 13");

    b = valid();
    gb_array(&b, "k", GGUF_ARRAY, 1);
    for (int i = 0; i < 10000; i++) {
        put_u32(&b.values, GGUF_ARRAY);
        put_u64(&b.values, 1);
    }
    refuse_builder(b, "array of arrays");

    b = valid();
    gb_key(&b, "k", GGUF_STRING);
    put_u64(&b.values, 1 << 20);
    refuse_builder(b, "a string of 1048576 bytes");

    b = valid();
    gb_array(&b, "k", GGUF_STRING, (uint64_t)1 << 61); // times 8 wraps
    refuse_builder(b, "more strings than the file");

    b = valid();
    gb_array(&b, "k", GGUF_STRING, 1 << 20);
    refuse_builder(b, "more strings than the file");

    b = valid();
    gb_array(&b, "k", GGUF_F64, ((uint64_t)1 << 61) + 1);
    refuse_builder(b, "longer than the file");

    b = valid();
    gb_bool(&b, "k", 2);
    refuse_builder(b, "neither 0 nor 1");
}

static void test_alignment(void **state) {
    (void)state;
    const uint32_t wrong[] = {0, 1, 3, 4, 13, 1u << 31, 1u << 17};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        GgufBuilder b = {.alignment = 32};
        gb_u32(&b, "general.alignment", wrong[i]);
        refuse_builder(b, "general.alignment");
    }
    GgufBuilder b = {.alignment = 32};
    gb_key(&b, "general.alignment", GGUF_I32);
    put_u32(&b.values, 32);
    refuse_builder(b, "general.alignment is no u32");

    b = (GgufBuilder){.alignment = 64};
    gb_u32(&b, "general.alignment", 64);
    gb_tensor(&b, "a", 1, (int64_t[]){1}, TYPE_F32, NULL, 4);
    gb_tensor(&b, "b", 1, (int64_t[]){1}, TYPE_F32, NULL, 4);
    Str file = gb_finish(&b);
    Gguf g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, "aligned.gguf", NULL), 0);
    assert_ptr_equal((const char *)g.tensor[1].data - (const char *)g.tensor[0].data, 64);
    gguf_close(&g);
    str_free(&file);
}

static void test_tensors(void **state) {
    (void)state;
    refuse_tensor(0, 0, 4, "0 dimensions");
    refuse_tensor(0, 5, 4, "5 dimensions");
    refuse_tensor(0, UINT32_MAX, 4, "4294967295 dimensions");
    refuse_tensor(4, (uint64_t)-32, 8, "-32");
    refuse_tensor(4, 0, 8, "is 0");
    refuse_tensor(12, (uint64_t)1 << 62, 8, "below 2^63");
    refuse_tensor(4, 33, 8, "no multiple of the 32");
    refuse_tensor(20, 4, 4, "Q4_2");
    refuse_tensor(20, 10, 4, "Q2_K");
    refuse_tensor(20, 31, 4, "type 31 (unknown)");
    refuse_tensor(20, UINT32_MAX, 4, "unknown");
    refuse_tensor(24, 8, 8, "offset 8");
    refuse_tensor(24, 32, 8, "offset 32");              // a gap before the first
    refuse_tensor(24, UINT64_MAX - 31, 8, "offset 18"); // past the end
    refuse_tensor(12, 4, 8, "offset");                  // now it overlaps the second
    refuse_tensor(12, 1, 8, "offset");                  // and now there is a gap

    GgufBuilder b = valid_values(); // three sizes whose product wraps to a small number
    gb_tensor(&b, "w", 3, (int64_t[]){4194305, 4194305, 211106198978564}, TYPE_F32, NULL, 64);
    refuse_builder(b, "below 2^63");

    b = valid_values(); // so long that aligning its end wraps to 0
    gb_tensor(&b, "w", 1, (int64_t[]){INT64_MAX - 31}, TYPE_Q4_1, NULL, 64);
    refuse_builder(b, "the tensors begin");
    b = valid_values();
    gb_tensor(&b, "w", 1, (int64_t[]){INT64_MAX}, TYPE_F32, NULL, 64);
    refuse_builder(b, "overflow");
    b = valid_values();
    gb_tensor(&b, "w", 1, (int64_t[]){((int64_t)1 << 62) - 1}, TYPE_F32, NULL, 64);
    gb_tensor(&b, "x", 1, (int64_t[]){8}, TYPE_F32, NULL, 32);
    refuse_builder(b, "\"x\"");
    b = valid_values();
    gb_tensor(&b, "w", 1, (int64_t[]){((int64_t)1 << 62) - 1}, TYPE_F32, NULL, 64);
    refuse_builder(b, "overflow");

    b = valid();
    gb_tensor(&b, "first", 1, (int64_t[]){8}, TYPE_F32, NULL, 32);
    refuse_builder(b, "duplicate tensor \"first\"");
    b = valid();
    gb_tensor(&b, "", 1, (int64_t[]){8}, TYPE_F32, NULL, 32);
    refuse_builder(b, "name of 0 bytes");
    b = valid();
    gb_tensor(&b, "0123456789012345678901234567890123456789012345678901234567890123", 1, (int64_t[]){8}, TYPE_F32, NULL, 32);
    refuse_builder(b, "name of 64 bytes");
    b = valid();
    gb_tensor(&b, "n", 1, (int64_t[]){8}, TYPE_F32, NULL, 32);
    b.tensors.data[b.tensors.len - 25] = 0;
    refuse_builder(b, "NUL");
}

static void test_extent(void **state) {
    (void)state;
    GgufBuilder b = valid();
    Str file = gb_finish(&b);
    for (size_t n = 0; n < file.len; n++) refuse_bytes(file.data, n, "");
    size_t good = file.len;
    for (int i = 0; i < 33; i++) {
        str_append(&file, "", 1);
        refuse_bytes(file.data, file.len, "the file has");
    }
    file.len = good;
    Gguf g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, "valid.gguf", NULL), 0);
    gguf_close(&g);
    str_free(&file);
}

static void test_access(void **state) {
    (void)state;
    GgufBuilder b = valid_values();
    gb_key(&b, "u64", GGUF_U64), put_u64(&b.values, UINT64_MAX);
    gb_key(&b, "i64", GGUF_I64), put_u64(&b.values, (uint64_t)-7);
    gb_key(&b, "i8", GGUF_I8), str_append(&b.values, "\xfe", 1);
    gb_key(&b, "u8", GGUF_U8), str_append(&b.values, "\xfe", 1);
    gb_key(&b, "i16", GGUF_I16), str_append(&b.values, "\xfe\xff", 2);
    gb_f32(&b, "f32", 0.5f);
    gb_array(&b, "u16s", GGUF_U16, 2), put_u32(&b.values, 0xffff0003);
    Str file = gb_finish(&b);
    Gguf g;
    Err err = {0};
    int64_t i;
    double f;
    int t;
    GgufString s;
    assert_int_equal(gguf_parse(&g, file.data, file.len, "access.gguf", &err), 0);
    assert_int_equal(gguf_int(&g, "u64", &i, &err), -1);
    assert_non_null(strstr(err.message, "\"u64\""));
    assert_int_equal(gguf_int(&g, "i64", &i, &err), 0);
    assert_int_equal(i, -7);
    assert_int_equal(gguf_int(&g, "i8", &i, &err), 0);
    assert_int_equal(i, -2);
    assert_int_equal(gguf_int(&g, "u8", &i, &err), 0);
    assert_int_equal(i, 254);
    assert_int_equal(gguf_int(&g, "i16", &i, &err), 0);
    assert_int_equal(i, -2);
    assert_int_equal(gguf_int(&g, "f32", &i, &err), -1);
    assert_int_equal(gguf_int(&g, "list", &i, &err), -1);
    assert_int_equal(gguf_int(&g, "general.architecture", &i, &err), -1);
    assert_int_equal(gguf_int(&g, "absent", &i, &err), -1);
    assert_non_null(strstr(err.message, "\"absent\" is missing"));
    assert_int_equal(gguf_float(&g, "f32", &f, &err), 0);
    assert_true(f == 0.5);
    assert_int_equal(gguf_float(&g, "i64", &f, &err), -1);
    assert_int_equal(gguf_bool(&g, "i8", &t, &err), -1);
    assert_int_equal(gguf_string(&g, "list", &s, &err), -1);
    assert_int_equal(gguf_array_int(gguf_find(&g, "u16s"), 0), 3);
    assert_int_equal(gguf_array_int(gguf_find(&g, "u16s"), 1), 65535);
    gguf_close(&g);
    str_free(&file);
}

// A million keys are read within a second, and refused where one comes twice.
static void test_many_keys(void **state) {
    (void)state;
    GgufBuilder b = {.alignment = 32};
    enum { N = 1000000 };
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        gb_bool(&b, key, i & 1);
    }
    Str file = gb_finish(&b);
    Gguf g;
    clock_t start = clock(); // of this process alone: other work on the machine does not count
    assert_int_equal(gguf_parse(&g, file.data, file.len, "many.gguf", NULL), 0);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("%d keys in %.3f s\n", N, seconds);
    assert_true(seconds <= 1);
    assert_int_equal(*gguf_find(&g, "k999999")->data, 1);
    gguf_close(&g);
    size_t last = file.len - 7; // behind it: type, value, padding
    while (memcmp(file.data + last, "k999999", 7)) last--;
    memcpy(file.data + last, "k999998", 7);
    Err err = {0};
    assert_int_equal(gguf_parse(&g, file.data, file.len, "many.gguf", &err), -1);
    assert_non_null(strstr(err.message, "duplicate key \"k999998\""));
    str_free(&file);
}

static void test_small_file_asks_for_little(void **state) {
    (void)state;
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    refuse_patch(8, 262144, 8, "tensors");
    refuse_patch(16, 1 << 20, 8, "values");
    GgufBuilder b = valid();
    gb_array(&b, "k", GGUF_U8, (uint64_t)3 << 30);
    refuse_builder(b, "longer than the file");
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 4096); // KiB
}

// Against the gguf package: see tools/make_quants.py.
static void test_blocks(void **state) {
    (void)state;
    Gguf g;
    Err err = {0};
    if (gguf_open(&g, "tests/data/quants.gguf", &err)) fail_msg("%s", err.message);
    int types = 0;
    for (int i = 0; i < g.n_tensors; i++) {
        const Tensor *t = &g.tensor[i];
        char name[80];
        snprintf(name, sizeof name, "%s.f32", t->name);
        const Tensor *want = gguf_tensor(&g, name);
        if (!want) continue;
        types++;
        assert_string_equal(t->name, tensor_type_name(t->type));
        float *x = malloc(t->count * sizeof *x), *y = malloc(t->count * sizeof *y);
        tensor_to_f32(x, t, 0, t->count);
        tensor_to_f32(y, want, 0, want->count);
        assert_int_equal(want->count, t->count);
        for (size_t k = 0; k < t->count; k++)
            if (!(x[k] == y[k])) fail_msg("%s value %zu: %.9g, wanted %.9g", t->name, k, (double)x[k], (double)y[k]);
        // The same from any block on, and at an odd address.
        size_t block = (size_t)tensor_block_values(t->type), bytes = tensor_block_bytes(t->type);
        Tensor moved = *t;
        Guard guard = guard_copy(t->data, t->bytes);
        moved.data = guard.data;
        tensor_to_f32(x, &moved, 0, t->count);
        tensor_to_f32(x + block, &moved, block, t->count - block);
        assert_memory_equal(x, y, t->count * sizeof *x);
        guard_close(&guard);
        guard = guard_open(t->bytes + 1);
        memcpy(guard.data, t->data, t->bytes);
        moved.data = guard.data;
        tensor_to_f32(x, &moved, 0, t->count);
        assert_memory_equal(x, y, t->count * sizeof *x);
        guard_close(&guard);
        assert_int_equal(t->bytes, t->count / block * bytes);
        free(x), free(y);
    }
    assert_int_equal(types, 11);
    int64_t i;
    double f;
    assert_int_equal(gguf_int(&g, "test.u64", &i, &err), 0);
    assert_true(i == (int64_t)1 << 40);
    assert_int_equal(gguf_int(&g, "test.i8", &i, &err), 0);
    assert_int_equal(i, -5);
    assert_int_equal(gguf_float(&g, "test.f64", &f, &err), 0);
    assert_true(f == 0.1);
    assert_int_equal(gguf_array_int(gguf_find(&g, "test.ints"), 1), -2);
    assert_int_equal(gguf_array_string(gguf_find(&g, "test.strings"), 2).len, 5);
    gguf_close(&g);
}

// Every half by the definition of the format.
static void test_f16(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        int exponent = h >> 10 & 31, fraction = h & 1023;
        double x = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
        if (h & 0x8000) x = -x;
        float got = f16_to_f32((uint16_t)h);
        if (isnan(x) ? !isnan(got) : !((double)got == x)) fail_msg("half 0x%04x: %.9g, wanted %.9g", h, (double)got, x);
        assert_int_equal(!!signbit(got), !!(h & 0x8000));
    }
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static void test_bf16(void **state) {
    (void)state;
    assert_int_equal(f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(f32_to_bf16(from_bits(0x3f808000)), 0x3f80); // a tie, to even
    assert_int_equal(f32_to_bf16(from_bits(0x3f818000)), 0x3f82); // a tie, to even
    assert_int_equal(f32_to_bf16(from_bits(0x3f808001)), 0x3f81);
    assert_int_equal(f32_to_bf16(from_bits(0x3f807fff)), 0x3f80);
    assert_int_equal(f32_to_bf16(from_bits(0x7f7fffff)), 0x7f80); // the largest rounds to Inf
    assert_int_equal(f32_to_bf16(-INFINITY), 0xff80);
    assert_int_equal(f32_to_bf16(-0.0f), 0x8000);
    const uint32_t nans[] = {0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff, 0x7fc00000};
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
        uint16_t h = f32_to_bf16(from_bits(nans[i]));
        assert_true((h & 0x7f80) == 0x7f80 && (h & 0x7f));
        assert_int_equal(h >> 15, nans[i] >> 31);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_file_asks_for_little), // first: it looks at the memory of the whole process
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_extent),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
