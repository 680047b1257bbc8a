// safetensors: what a hostile file is refused for, shards, and that what is written reads back, here and elsewhere.
#include "base/arena.h"
#include "base/log.h"
#include "base/vec.h"
#include "io/safetensors.h"
#include "tests/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/latentr3-test-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void refuse_bytes(const char *data, size_t bytes, const char *part) {
    Guard guard = guard_copy(data, bytes);
    Safetensors s;
    Err err = {0};
    if (safetensors_parse(&s, guard.data, bytes, "hostile.safetensors", &err) != -1) fail_msg("accepted; wanted \"%s\"", part);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, "hostile.safetensors") || !strstr(err.message, part) || strchr(err.message, '\n'))
        fail_msg("\"%s\" should name the file and \"%s\"", err.message, part);
    guard_close(&guard);
}

// A file of this header and so many bytes of data.
static Str file_of(const char *header, size_t header_bytes, size_t data_bytes) {
    Str file = {0};
    uint64_t n = header_bytes;
    str_append(&file, &n, 8);
    str_append(&file, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++) str_append(&file, "x", 1);
    return file;
}

static void refuse_sized(const char *header, size_t header_bytes, size_t data_bytes, const char *part) {
    Str file = file_of(header, header_bytes, data_bytes);
    refuse_bytes(file.data, file.len, part);
    str_free(&file);
}

static void refuse(const char *header, size_t data_bytes, const char *part) {
    refuse_sized(header, strlen(header), data_bytes, part);
}

// One tensor "w" with these fields.
static void refuse_shape(const char *dtype, const char *shape, const char *offsets, size_t data_bytes, const char *part) {
    char header[512];
    snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":%s}}", dtype, shape, offsets);
    refuse(header, data_bytes, part);
}

static void accept(const char *header, size_t data_bytes, int n) {
    Str file = file_of(header, strlen(header), data_bytes);
    Guard guard = guard_copy(file.data, file.len);
    Safetensors s;
    Err err = {0};
    if (safetensors_parse(&s, guard.data, file.len, "good.safetensors", &err)) fail_msg("%s", err.message);
    assert_int_equal(s.n, n);
    safetensors_close(&s);
    guard_close(&guard);
    str_free(&file);
}

#define W "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static void test_accepted(void **state) {
    (void)state;
    accept("{}", 0, 0);
    accept("{" W "}", 8, 1);
    accept("{" W "}   ", 8, 1);
    accept("{ \"w\" :\n{\"shape\":[ 2 ], \"data_offsets\" : [0,\t8],\"dtype\":\"F32\"} } ", 8, 1);
    accept("{\"__metadata__\":{}," W "}", 8, 1);
    accept("{" W ",\"__metadata__\":{\"a\":\"}{\\\"\"}}", 8, 1);
    accept("{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, 1); // a scalar
    // Nothing, behind and before something, and in a shape of none.
    accept("{" W ",\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}", 8, 2);
    accept("{" W ",\"e\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[0,0]}}", 8, 2);
    accept("{\"\\u0077\\ud83d\\ude00\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1);
}

static void test_head(void **state) {
    (void)state;
    uint64_t wrong[] = {0, 100000001, UINT64_MAX, UINT64_MAX - 8, 1000};
    Str file = file_of("{" W "}", strlen("{" W "}"), 8);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(file.data, &wrong[i], 8);
        refuse_bytes(file.data, file.len, "a header of");
    }
    str_free(&file);
    for (size_t n = 0; n < 8; n++) refuse_bytes("\2\0\0\0\0\0\0\0", n, "at least 8");
    refuse(" {}", 0, "does not begin with '{'");
    refuse("\xef\xbb\xbf{}", 0, "does not begin with '{'");
    refuse("[]", 0, "does not begin with '{'");
    refuse("12", 0, "does not begin with '{'");
    refuse("{\"\xff\":1}", 0, "UTF-8");
    refuse("{} x", 0, "bytes behind");
    refuse("{}\n", 0, "bytes behind");
    refuse("{}{}", 0, "bytes behind");
    refuse_sized("{}\0", 3, 0, "bytes behind");
}

static void test_keys(void **state) {
    (void)state;
    refuse("{" W "," W "}", 8, "tensor \"w\"");
    refuse("{" W ",\"\\u0077\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}", 16, "duplicate tensor \"w\"");
    refuse("{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "duplicate key \"dtype\"");
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "duplicate key \"shape\"");
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"data_offsets\":[0,8]}}", 8, "duplicate key");
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"offsets\":[0,8]}}", 8, "unknown key \"offsets\"");
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "missing");
    refuse("{\"w\":{}}", 0, "expected '\"'");
    refuse("{\"w\":[]}", 0, "expected '{'");
    refuse("{\"w\":null}", 0, "expected '{'");
    refuse("{" W ",}", 8, "expected '\"'");
    refuse("{" W "", 8, "expected '}'");
    refuse("{w:1}", 8, "expected '\"'");
    refuse("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "NUL");
    refuse("{\"a\\ud800\":1}", 0, "surrogate");
    refuse("{\"a\\ud800\\u0041\":1}", 0, "surrogate");
    refuse("{\"a\\x\":1}", 0, "escape");
    refuse("{\"a\\u12g4\":1}", 0, "escape");
    refuse("{\"a\tb\":1}", 0, "control byte");
    refuse("{\"a", 0, "inside a string");
    refuse("{\"a\\", 0, "escape");
    refuse("{\"a\\u", 0, "escape");
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    memcpy(deep, "{\"w\":", 5);
    refuse_sized(deep, 200000, 0, "expected '{'");
    memset(deep, '{', 200000);
    refuse_sized(deep, 200000, 0, "expected '\"'");
    memset(deep + 2, 'k', 199998);
    deep[1] = '"';
    refuse_sized(deep, 200000, 0, "longer than 1024");
    free(deep);
}

static void test_metadata(void **state) {
    (void)state;
    refuse("{\"__metadata__\":{\"a\":1}," W "}", 8, "\"a\" is no string");
    refuse("{\"__metadata__\":{\"a\":{}}," W "}", 8, "expected '}'");
    refuse("{\"__metadata__\":{\"a\":[]}," W "}", 8, "expected '}'");
    refuse("{\"__metadata__\":[]," W "}", 8, "expected '{'");
    refuse("{\"__metadata__\":{},\"__metadata__\":{}," W "}", 8, "duplicate __metadata__");
    refuse("{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}," W "}", 8, "__metadata__");
    refuse("{\"__metadata__\":{\"a", 8, "expected '}'");
    refuse("{\"__metadata__\":{\"a\\", 8, "expected '}'");
    Str big = {0};
    str_puts(&big, "{\"__metadata__\":{\"a\":\"");
    for (int i = 0; i < 1 << 20; i++) str_append(&big, "m", 1);
    str_puts(&big, "\"}}");
    refuse(big.data, 0, "1 MiB");
    str_free(&big);
}

static void test_shapes(void **state) {
    (void)state;
    refuse_shape("F8_E4M3", "[2]", "[0,2]", 2, "dtype \"F8_E4M3\" is not supported");
    refuse_shape("F64", "[2]", "[0,16]", 16, "dtype \"F64\"");
    refuse_shape("Q8_0", "[32]", "[0,34]", 34, "dtype \"Q8_0\""); // a type, but not of this format
    refuse_shape("", "[2]", "[0,8]", 8, "dtype \"\"");
    const char *const wrong[] = {"[-2]",
                                 "[2.0]",
                                 "[1.5]",
                                 "[1e3]",
                                 "[\"2\"]",
                                 "[null]",
                                 "[true]",
                                 "[02]",
                                 "[+2]",
                                 "[9223372036854775808]",
                                 "[18446744073709551618]",
                                 "[2,]",
                                 "[,2]",
                                 "2",
                                 "[2",
                                 "{}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) refuse_shape("F32", wrong[i], "[0,8]", 8, "byte");
    refuse_shape("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]", 1, "too many numbers");
    refuse_shape("U8", "[4294967296,4294967296]", "[0,0]", 0, "beyond 2^63");
    refuse_shape("U8", "[4294967296,2147483648]", "[0,0]", 0, "beyond 2^63");
    refuse_shape("F32", "[4611686018427387904]", "[0,0]", 0, "overflow");
    refuse_shape("F32", "[4611686018427387903]", "[0,8]", 8, "its shape wants");
    refuse_shape("F32", "[2]", "[0]", 8, "two numbers");
    refuse_shape("F32", "[2]", "[0,4,8]", 8, "too many numbers");
    refuse_shape("F32", "[2]", "[8,0]", 8, "[8, 0]");
    refuse_shape("F32", "[2]", "[0,9]", 8, "[0, 9]");
    refuse_shape("F32", "[2]", "[0,9223372036854775807]", 8, "not inside");
    refuse_shape("F32", "[2]", "[0,-8]", 8, "plain digits");
    refuse_shape("F32", "[1048576]", "[0,4]", 4, "its shape wants 4194304 bytes, data_offsets say 4");
    refuse_shape("F32", "[0]", "[0,4]", 4, "its shape wants 0");
    refuse_shape("F32", "[2]", "[4,12]", 12, "begins at 4");
    refuse_shape("F32", "[2]", "[0,8]", 9, "the file has 9");
    refuse_shape("F32", "[2]", "[0,8]", 7, "not inside");
}

static void test_cover(void **state) {
    (void)state;
    const char *a = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},";
    const char *const second[] = {"[4],\"data_offsets\":[2,6]}}", "[4],\"data_offsets\":[0,4]}}",
                                  "[3],\"data_offsets\":[5,8]}}", "[2],\"data_offsets\":[1,3]}}",
                                  "[0],\"data_offsets\":[2,2]}}"};
    for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
        char header[512];
        snprintf(header, sizeof header, "%s\"b\":{\"dtype\":\"U8\",\"shape\":%s", a, second[i]);
        refuse(header, i == 2 ? 8 : i == 0 ? 6 : 4, "the one before it ends");
    }
    refuse("{}", 1, "the file has 1");
}

static Safetensors open_file(const char *path) {
    Safetensors s;
    Err err = {0};
    if (safetensors_open(&s, path, &err)) fail_msg("%s", err.message);
    return s;
}

static Str read_file(const char *path) {
    MapFile f;
    Str s = {0};
    assert_int_equal(mapfile_open(&f, path, 0, NULL), 0);
    str_append(&s, f.data, f.bytes);
    mapfile_close(&f);
    return s;
}

// Cut anywhere, a file is refused; so is one with anything behind it.
static void test_truncation(void **state) {
    (void)state;
    Str file = read_file("tests/golden/tiny-llama/latentratt.safetensors");
    Safetensors s;
    for (size_t n = 0; n < file.len; n += n < 2048 ? 1 : 41) refuse_bytes(file.data, n, "");
    refuse_bytes(file.data, file.len - 1, "not inside");
    Guard guard = guard_copy(file.data, file.len);
    assert_int_equal(safetensors_parse(&s, guard.data, file.len, "whole", NULL), 0);
    assert_int_equal(s.n, 6);
    safetensors_close(&s);
    guard_close(&guard);
    str_append(&file, "", 1);
    refuse_bytes(file.data, file.len, "the file has");
    str_free(&file);
}

// What is refused costs no more memory than twice the file and a little.
static void test_memory(void **state) {
    (void)state;
    Str header = {0};
    str_puts(&header, "{");
    for (int i = 0; i < 300000; i++)
        str_printf(&header, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    str_puts(&header, "}");
    struct rusage before, after;
    Str file = file_of(header.data, header.len, 0);
    str_free(&header);
    getrusage(RUSAGE_SELF, &before);
    double start = log_seconds();
    refuse_bytes(file.data, file.len, "more than 262144 tensors");
    getrusage(RUSAGE_SELF, &after);
    print_message("%.1f MB refused in %.3f s, %ld KiB more\n", (double)file.len / 1e6, log_seconds() - start,
                  after.ru_maxrss - before.ru_maxrss);
    assert_true((size_t)(after.ru_maxrss - before.ru_maxrss) * 1024 <= 2 * file.len + (64u << 20));
    str_free(&file);
}

// ---- writing ------------------------------------------------------------------------------------------------------

static char *in_folder(const char *name) {
    return file_join(folder, name);
}

static void write_sample(const char *path) {
    const Tensor tensor[] = {
        {.name = "b.\"quoted\" \xc3\xa9", .type = TENSOR_F32, .n_dims = 2, .dims = {2, 3}},
        {.name = "a", .type = TENSOR_BF16, .n_dims = 1, .dims = {3}},
        {.name = "none", .type = TENSOR_F16, .n_dims = 2, .dims = {0, 5}},
        {.name = "scalar", .type = TENSOR_I64, .n_dims = 0},
    };
    const float b[6] = {1, -2, 3.5f, 0, 1e-30f, -1e30f};
    const uint16_t a[3] = {0x3f80, 0xbf80, 0x4000};
    const int64_t scalar = -9;
    json_t *metadata = json_pack("{s:s, s:s}", "format", "pt", "note", "a \"b\"\n\\ \xe4\xb8\xad");
    SafetensorsWriter w;
    Err err = {0};
    assert_int_equal(safetensors_write_begin(&w, path, tensor, 4, metadata, &err), 0);
    safetensors_write_data(&w, b, sizeof b);
    safetensors_write_data(&w, a, 2);
    safetensors_write_data(&w, a + 1, 4);
    safetensors_write_data(&w, &scalar, sizeof scalar);
    if (safetensors_write_end(&w, &err)) fail_msg("%s", err.message);
    json_decref(metadata);
}

static void test_round_trip(void **state) {
    (void)state;
    char *path = in_folder("sample.safetensors");
    write_sample(path);
    Safetensors s = open_file(path);
    assert_int_equal(s.n, 4);
    assert_string_equal(json_string_value(json_object_get(s.metadata, "format")), "pt");
    assert_string_equal(json_string_value(json_object_get(s.metadata, "note")), "a \"b\"\n\\ \xe4\xb8\xad");
    const Tensor *t = safetensors_find(&s, "b.\"quoted\" \xc3\xa9");
    assert_non_null(t);
    float x[6];
    tensor_to_f32(x, t, 0, 6);
    assert_true(x[1] == -2 && x[4] == 1e-30f && x[5] == -1e30f);
    assert_int_equal((uintptr_t)t->data % 8, 0);
    t = safetensors_find(&s, "a");
    tensor_to_f32(x, t, 1, 2);
    assert_true(x[0] == -1 && x[1] == 2);
    assert_int_equal(safetensors_find(&s, "none")->count, 0);
    assert_int_equal(safetensors_find(&s, "scalar")->n_dims, 0);
    assert_null(safetensors_find(&s, "c"));
    safetensors_close(&s);

    // A writer that is given too little leaves the file as it was.
    const Tensor one = {.name = "w", .type = TENSOR_F32, .n_dims = 1, .dims = {2}};
    SafetensorsWriter w;
    Err err = {0};
    assert_int_equal(safetensors_write_begin(&w, path, &one, 1, NULL, &err), 0);
    safetensors_write_data(&w, "1234", 4);
    assert_int_equal(safetensors_write_end(&w, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
    s = open_file(path);
    assert_int_equal(s.n, 4);
    safetensors_close(&s);
    free(path);
}

// Python's safetensors reads our files. LATENTR3_PYTHON names an interpreter that has it.
static void test_python_reads(void **state) {
    (void)state;
    const char *python = getenv("LATENTR3_PYTHON");
    if (!python || !*python) {
        print_message("LATENTR3_PYTHON is not set: not checked\n");
        skip();
    }
    char *path = in_folder("for-python.safetensors");
    write_sample(path);
    Str command = {0};
    str_printf(
        &command,
        "'%s' -c \"\nimport sys\ntry: from safetensors import safe_open; import torch\nexcept ImportError: sys.exit(77)\n"
        "s = safe_open('%s', 'pt')\nk = [n for n in s.keys() if n.startswith('b')][0]\n"
        "assert k == 'b.' + chr(34) + 'quoted' + chr(34) + ' ' + chr(233), k\n"
        "assert s.get_tensor(k).tolist()[0] == [1, -2, 3.5] and s.get_tensor('a').tolist() == [1, -1, 2]\n"
        "assert s.get_tensor('scalar').item() == -9 and s.get_tensor('none').shape == (0, 5)\n"
        "assert s.metadata()['format'] == 'pt'\n\"",
        python, path);
    int status = system(command.data);
    str_free(&command);
    free(path);
    if (status == 77 << 8) {
        print_message("%s has no safetensors or torch: not checked\n", python);
        skip();
    }
    assert_int_equal(status, 0);
}

// ---- shards -------------------------------------------------------------------------------------------------------

static void write_shard(const char *name, const char *const *tensor, int n) {
    char *path = in_folder(name);
    Tensor t[4] = {{0}};
    for (int i = 0; i < n; i++) t[i] = (Tensor){.name = tensor[i], .type = TENSOR_U8, .n_dims = 1, .dims = {4}};
    json_t *metadata = json_pack("{s:s}", "name", name);
    SafetensorsWriter w;
    assert_int_equal(safetensors_write_begin(&w, path, t, n, metadata, NULL), 0);
    for (int i = 0; i < n; i++) safetensors_write_data(&w, tensor[i], 4); // the first bytes of the name
    assert_int_equal(safetensors_write_end(&w, NULL), 0);
    json_decref(metadata);
    free(path);
}

static void refuse_index(const char *text, const char *part, int code) {
    char *path = in_folder("hostile.index.json");
    Safetensors s;
    Err err = {0};
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
    if (safetensors_open(&s, path, &err) != -1) fail_msg("accepted; wanted \"%s\"", part);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part)) fail_msg("\"%s\" should name \"%s\"", err.message, part);
    free(path);
}

static void test_shards(void **state) {
    (void)state;
    write_shard("one.safetensors", (const char *const[]){"aaaa", "cccc"}, 2);
    write_shard("two.safetensors", (const char *const[]){"bbbb"}, 1);
    write_shard("three.safetensors", (const char *const[]){"bbbb"}, 1);
    char *path = in_folder("model.safetensors.index.json"), *link = in_folder("link.safetensors");
    const char *good =
        "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"aaaa\":\"one.safetensors\",\"bbbb\":\"two.safetensors\","
        "\"cccc\":\"one.safetensors\"}}";
    assert_int_equal(file_write(path, good, strlen(good), NULL), 0);
    Safetensors s = open_file(path);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.files, 2);
    for (const char *const *name = (const char *const[]){"aaaa", "bbbb", "cccc", NULL}; *name; name++)
        assert_memory_equal(safetensors_find(&s, *name)->data, *name, 4);
    assert_string_equal(json_string_value(json_object_get(s.metadata, "name")), "one.safetensors");
    safetensors_close(&s);

    refuse_index("{\"weight_map\":{\"aaaa\":\"../../etc/passwd\"}}", "no plain file name", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":\"/etc/passwd\"}}", "no plain file name", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":\"..\"}}", "no plain file name", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":\"\"}}", "no plain file name", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":\"one\\u0000.safetensors\"}}", "no file name", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":1}}", "no file name", ERR_DATA);
    refuse_index("{\"weight_map\":[]}", "weight_map", ERR_DATA);
    refuse_index("[]", "weight_map", ERR_DATA);
    refuse_index("{", "hostile.index.json", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":\"missing.safetensors\"}}", "missing.safetensors", ERR_IO);
    refuse_index("{\"weight_map\":{\"aaaa\":\"one.safetensors\"}}", "\"cccc\" of a shard is not in the index", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":\"one.safetensors\",\"cccc\":\"one.safetensors\",\"d\":\"one.safetensors\"}}",
                 "\"d\" is not in shard", ERR_DATA);
    refuse_index("{\"weight_map\":{\"aaaa\":\"one.safetensors\",\"cccc\":\"two.safetensors\",\"bbbb\":\"two.safetensors\"}}",
                 "\"cccc\" is not in shard \"two.safetensors\"", ERR_DATA);
    refuse_index("{\"weight_map\":{\"bbbb\":\"two.safetensors\",\"x\":\"three.safetensors\"}}", "duplicate tensor \"bbbb\"",
                 ERR_DATA);
    // As in the cache of huggingface_hub, whose files are links to others elsewhere.
    const char *linked = "{\"weight_map\":{\"aaaa\":\"link.safetensors\",\"cccc\":\"link.safetensors\"}}";
    assert_int_equal(symlink("one.safetensors", link), 0);
    assert_int_equal(file_write(path, linked, strlen(linked), NULL), 0);
    s = open_file(path);
    assert_int_equal(s.n, 2);
    safetensors_close(&s);
    assert_int_equal(unlink(link) || symlink(folder, link), 0);
    refuse_index(linked, "not a regular file", ERR_IO);
    assert_int_equal(unlink(link) || symlink("nowhere", link), 0);
    refuse_index(linked, "link.safetensors", ERR_IO);
    free(path), free(link);
}

static void test_many_shards(void **state) {
    (void)state;
    Str index = {0};
    str_puts(&index, "{\"weight_map\":{");
    for (int i = 0; i <= 1024; i++) {
        char name[32];
        snprintf(name, sizeof name, "many-%d", i);
        char *path = in_folder(name), header[80];
        int n = snprintf(header, sizeof header, "{\"w%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", i);
        uint64_t length = (uint64_t)n;
        FILE *f = fopen(path, "w");
        assert_true(f && fwrite(&length, 8, 1, f) == 1 && fputs(header, f) >= 0 && fclose(f) == 0);
        str_printf(&index, "%s\"w%d\":\"%s\"", i ? "," : "", i, name);
        free(path);
    }
    str_puts(&index, "}}");
    refuse_index(index.data, "more than 1024 shards", ERR_DATA);
    str_free(&index);
}

static void test_not_a_file(void **state) {
    (void)state;
    Safetensors s;
    Err err = {0};
    assert_int_equal(safetensors_open(&s, folder, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    char *fifo = in_folder("fifo"), *none = in_folder("none");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(safetensors_open(&s, fifo, &err), -1);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(safetensors_open(&s, none, &err), -1);
    assert_non_null(strstr(err.message, "none"));
    free(fifo), free(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory), // first: it looks at the memory of the whole process
        cmocka_unit_test(test_accepted),   cmocka_unit_test(test_head),        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_metadata),   cmocka_unit_test(test_shapes),      cmocka_unit_test(test_cover),
        cmocka_unit_test(test_truncation), cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_python_reads),
        cmocka_unit_test(test_shards),     cmocka_unit_test(test_many_shards), cmocka_unit_test(test_not_a_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
