// tokenizer.json as an attacker, or a careless program, would write it: what is refused, with which words, and what is
// accepted.
#include "base/arena.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tests/guard.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

// A whole, small tokenizer: the 256 bytes and four merges.
static json_t *small(void) {
    json_t *vocab = json_object();
    for (int byte = 0; byte < 256; byte++) {
        char text[4];
        size_t len = utf8_put(text, vocab_byte_char((unsigned char)byte));
        assert_int_equal(json_object_setn_new(vocab, text, len, json_integer(byte)), 0);
    }
    const char *more[] = {"ab", "abc", "Ġa", "aa"};
    for (int i = 0; i < 4; i++) json_object_set_new(vocab, more[i], json_integer(256 + i));
    json_t *doc =
        json_loads("{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,"
                   " \"added_tokens\": [{\"id\": 260, \"content\": \"<|end|>\", \"single_word\": false, \"lstrip\": false,"
                   "  \"rstrip\": false, \"normalized\": false, \"special\": true}],"
                   " \"normalizer\": null,"
                   " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true},"
                   " \"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\"},"
                   " \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"fuse_unk\": false,"
                   "  \"merges\": [\"a b\", \"ab c\", \"Ġ a\", \"a a\"]}}",
                   0, NULL);
    assert_non_null(doc);
    json_object_set_new(json_object_get(doc, "model"), "vocab", vocab);
    return doc;
}

// Set the value at a path such as "model/merges/2" to what the JSON says; NULL deletes it. One behind the end of a list
// appends.
static void patch(json_t *doc, const char *path, const char *json) {
    char step[64];
    size_t len = strcspn(path, "/");
    assert_true(len < sizeof step);
    memcpy(step, path, len);
    step[len] = 0;
    if (path[len]) {
        json_t *next = json_is_array(doc) ? json_array_get(doc, (size_t)atoi(step)) : json_object_get(doc, step);
        assert_non_null(next);
        patch(next, path + len + 1, json);
        return;
    }
    json_t *value = json ? json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    assert_true(!json || value);
    if (json_is_array(doc) && (size_t)atoi(step) == json_array_size(doc))
        assert_int_equal(json_array_append_new(doc, value), 0);
    else if (json_is_array(doc))
        assert_int_equal(json_array_set_new(doc, (size_t)atoi(step), value), 0);
    else if (value)
        assert_int_equal(json_object_set_new(doc, step, value), 0);
    else
        assert_int_equal(json_object_del(doc, step), 0);
}

static void expect_refused(const char *json, size_t len, const char *phrase) {
    Err err = {0};
    Tokenizer *t;
    Guard guard = guard_copy(json, len);
    double start = log_seconds();
    if (tokenizer_parse(&t, guard.data, len, "x.json", &err) == 0) fail_msg("accepted; expected \"%s\"", phrase);
    assert_true(log_seconds() - start <= 1 + 10e-6 * (double)len);
    guard_close(&guard);
    assert_null(t);
    assert_int_equal(err.code, ERR_DATA);
    assert_true(strncmp(err.message, "x.json: ", 8) == 0);
    for (const char *c = err.message; *c; c++) assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
    if (!strstr(err.message, phrase)) fail_msg("\"%s\" does not say \"%s\"", err.message, phrase);
}

static Tokenizer *expect_accepted(json_t *doc) {
    Err err = {0};
    Tokenizer *t;
    char *json = json_dumps(doc, 0);
    assert_non_null(json);
    if (tokenizer_parse(&t, json, strlen(json), "x.json", &err)) fail_msg("%s", err.message);
    free(json);
    json_decref(doc);
    return t;
}

static void expect_ids(const Tokenizer *t, const char *text, size_t len, int specials, const char *expected) {
    Err err;
    Ints ids = {0};
    Str got = {0};
    if (tokenizer_encode(t, &ids, text, len, specials, &err)) fail_msg("%s", err.message);
    str_clear(&got);
    for (size_t i = 0; i < ids.len; i++) str_printf(&got, i ? " %d" : "%d", ids.data[i]);
    assert_string_equal(got.data, expected);
    str_free(&got), ints_free(&ids);
}

static void test_raw(void **state) {
    (void)state;
    static const struct {
        const char *json, *phrase;
    } cases[] = {
        {"", "line 1"},
        {"null", "\"model\""},
        {"[]", "\"model\""},
        {"7", "\"model\""},
        {"{}", "\"model\""},
        {"{\"model\": []}", "\"model\""},
        {"{\"model\": {}}", "model type \"(no type)\""},
        {"{\"model\": {\"type\": \"BPE\"}, \"model\": 1}", "duplicate"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1, \"\\u0061\": 2}}}", "duplicate"},
        {"{\"model\": {\"type\": \"\\ud800\"}}", "\\uD800"},
        {"{\"model\": {\"type\": \"\xff\"}}", "decode byte 0xff"},
        {"{\"model\": {\"type\": \"B\xed\xa0\x80\"}}", "decode byte 0xed"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\\u0000\": 1}}}", "NUL byte in object key"},
        {"{\"model\": {\"type\": \"\\u001b[31mX\\u0007\"}}", "model type \"?[31mX?\""},
        {"{} {}", "end of file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(cases[i].json, strlen(cases[i].json), cases[i].phrase);
    Str deep = {0};
    for (int i = 0; i < 100000; i++) str_puts(&deep, i % 2 ? "[" : "{\"model\":");
    expect_refused(deep.data, deep.len, "nested more than 64 deep");
    str_clear(&deep);
    for (int i = 0; i < 5000000; i++) str_append(&deep, i ? ",[]" : "[[]", 3);
    expect_refused(deep.data, deep.len, "JSON values, more than the limit of 4194304");
    str_free(&deep);
}

static void test_truncated(void **state) {
    (void)state;
    json_t *doc = small();
    char *json = json_dumps(doc, JSON_COMPACT);
    for (size_t len = 0; len < strlen(json); len++) expect_refused(json, len, "line 1");
    Tokenizer *t = expect_accepted(doc);
    expect_ids(t, "abcab aab", 9, 1, "257 256 258 256");
    tokenizer_close(t);
    free(json);
}

typedef struct Case {
    const char *path, *json, *phrase; // phrase NULL: accepted
} Case;

static void run_cases(const Case *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        json_t *doc = small();
        patch(doc, cases[i].path, cases[i].json);
        if (!cases[i].phrase) {
            tokenizer_close(expect_accepted(doc));
            continue;
        }
        char *json = json_dumps(doc, 0);
        expect_refused(json, strlen(json), cases[i].phrase);
        free(json);
        json_decref(doc);
    }
}
#define RUN(cases) run_cases(cases, sizeof cases / sizeof *cases)

static void test_vocab(void **state) {
    (void)state;
    static const Case cases[] = {
        {"model/vocab", NULL, "model.vocab"},
        {"model/vocab", "[]", "model.vocab"},
        {"model/vocab", "{}", "model.vocab"},
        {"model/vocab/abc", "256", "two tokens have the id 256"},
        {"model/vocab/abc", "-1", "the id of \"abc\""},
        {"model/vocab/abc", "257.0", "the id of \"abc\""},
        {"model/vocab/abc", "1.5", "the id of \"abc\""},
        {"model/vocab/abc", "1e3", "the id of \"abc\""},
        {"model/vocab/abc", "\"7\"", "the id of \"abc\""},
        {"model/vocab/abc", "null", "the id of \"abc\""},
        {"model/vocab/abc", "2147483648", "the limit for 260 tokens is 66056"},
        {"model/vocab/abc", "9223372036854775807", "the limit for 260 tokens"},
        {"model/vocab/abc", "2147483647", "the limit for 260 tokens"},
        {"model/vocab/a", NULL, "for the byte 0x61"},
        {"model/vocab/Ġ", NULL, "for the byte 0x20"},
        {"model/vocab/ð", NULL, "for the byte 0xf0"},
        {"model/vocab/Ā", NULL, "added_tokens[0]"}, // NUL may be missing, but then the ids are not what the file says
        {"model/unk_token", "\"nowhere\"", NULL},   // no byte is unknown
        {"model/unk_token", "\"a\"", NULL},
        {"model/byte_fallback", "true", NULL},
        {"model/type", "\"Unigram\"", "model type \"Unigram\""},
        {"model/type", "\"WordPiece\"", "model type \"WordPiece\""},
        {"model/type", NULL, "model type"},
        {"model/dropout", "0.1", "dropout"},
        {"model/dropout", "\"x\"", "dropout"},
        {"model/dropout", "0.0", NULL},
        {"model/continuing_subword_prefix", "\"##\"", "continuing_subword_prefix"},
        {"model/end_of_word_suffix", "\"</w>\"", "end_of_word_suffix"},
        {"model/end_of_word_suffix", "\"\"", NULL},
        {"model/fuse_unk", "1", "\"fuse_unk\""},
        {"model/ignore_merges", "\"yes\"", "\"ignore_merges\""},
        {"version", "\"2.0\"", "version"},
    };
    RUN(cases);
    static const char big[] = "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 9223372036854775808}, \"merges\": []},"
                              " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}}";
    expect_refused(big, strlen(big), "x.json: ");
}

// Ids may have gaps, which stand for nothing; `tokenizers` counts tokens when it gives the next id.
static void test_gap(void **state) {
    (void)state;
    json_t *doc = small();
    patch(doc, "model/vocab/zz", "300");
    patch(doc, "added_tokens/0/id", "261");
    Err err;
    Tokenizer *t = expect_accepted(doc);
    assert_int_equal(tokenizer_size(t), 301);
    assert_null(tokenizer_token(t, 270));
    assert_string_equal(tokenizer_token(t, 300), "zz");
    assert_int_equal(tokenizer_id(t, "<|end|>"), 261);
    Str text = {0};
    tokenizer_decode(t, &text, (const int32_t[]){97, 270, 300}, 3);
    assert_string_equal(text.data, "azz");
    str_free(&text);
    assert_int_equal(tokenizer_add(t, "<|more|>", &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.message, "gaps"));
    tokenizer_close(t);
}

static void test_merges(void **state) {
    (void)state;
    static const Case cases[] = {
        {"model/merges", NULL, "model.merges"},
        {"model/merges", "{}", "model.merges"},
        {"model/merges", "[]", NULL},
        {"model/merges/1", "\"ab x y\"", "model.merges[1]: not two tokens"},
        {"model/merges/1", "\"ab\"", "model.merges[1]: not two tokens"},
        {"model/merges/1", "\"\"", "model.merges[1]: not two tokens"},
        {"model/merges/1", "\" c\"", "model.merges[1]: \"\" is not in the vocabulary"},
        {"model/merges/1", "\"ab zz\"", "\"zz\" is not in the vocabulary"},
        {"model/merges/1", "\"zz ab\"", "\"zz\" is not in the vocabulary"},
        {"model/merges/1", "\"ab <|end|>\"", "\"<|end|>\" is not in the vocabulary"},
        {"model/merges/1", "\"abc ab\"", "its result \"abcab\" is not in the vocabulary"}, // longer than any token
        {"model/merges/1", "\"b c\"", "its result \"bc\" is not in the vocabulary"},
        {"model/merges/4", "\"a b\"", "model.merges[4]: it repeats merge 0"},
        {"model/merges/4", "[\"a\", \"b\"]", "not like the others"},
        {"model/merges/4", "7", "not like the others"},
        {"model/merges/4", "\"#version: 0.2\"", NULL},
        {"model/merges", "[[\"a\", \"b\"], [\"ab\", \"c\"]]", NULL},
        {"model/merges", "[[\"a\"]]", "model.merges[0]: not two tokens"},
        {"model/merges", "[[\"a\", \"b\", \"c\"]]", "model.merges[0]: not two tokens"},
        {"model/merges", "[[\"a\", 1]]", "model.merges[0]: not two tokens"},
        {"model/merges", "[[\"a\", \"b\"], \"ab c\"]", "not like the others"},
    };
    RUN(cases);
    json_t *doc = small(); // blanks inside the pair form
    patch(doc, "model/vocab/a b", "260");
    patch(doc, "model/vocab/ b", "261");
    patch(doc, "added_tokens/0/id", "262");
    patch(doc, "model/merges", "[[\"a\", \" b\"], [\"a\", \"b\"]]");
    Tokenizer *t = expect_accepted(doc);
    expect_ids(t, "ab", 2, 1, "256");
    tokenizer_close(t);
}

static void test_steps(void **state) {
    (void)state;
#define SPLIT(pattern, behavior)                                                                                               \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": " pattern ", \"behavior\": \"" behavior   \
    "\", \"invert\": false}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}"
    static const Case cases[] = {
        {"normalizer", "{\"type\": \"NFC\"}", NULL},
        {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}]}", NULL},
        {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}]}", "normalizer \"NFKC\""},
        {"normalizer", "{\"type\": \"Sequence\"}", "normalizers"},
        {"normalizer", "{\"type\": \"Lowercase\"}", "normalizer \"Lowercase\""},
        {"normalizer", "7", "normalizer"},
        {"pre_tokenizer", NULL, "decoder \"ByteLevel\" is not supported with this pre_tokenizer"},
        {"pre_tokenizer", "null", "decoder \"ByteLevel\" is not supported with this pre_tokenizer"},
        {"pre_tokenizer", "{\"type\": \"Sequence\", \"pretokenizers\": []}", "decoder \"ByteLevel\""},
        {"pre_tokenizer", "{\"type\": \"BertPreTokenizer\"}", "pre_tokenizer \"BertPreTokenizer\""},
        {"pre_tokenizer", "{\"type\": \"FixedLength\", \"length\": 0}", "pre_tokenizer \"FixedLength\""},
        {"pre_tokenizer", "{\"type\": \"Digits\", \"individual_digits\": true}", "the last step"},
        {"pre_tokenizer", "{\"type\": \"Sequence\", \"pretokenizers\": [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}", "17 steps"},
        {"pre_tokenizer/add_prefix_space", "1", "\"add_prefix_space\""},
        {"pre_tokenizer/add_prefix_space", NULL, "\"add_prefix_space\""},
        {"pre_tokenizer/use_regex", "null", "\"use_regex\""},
        {"pre_tokenizer",
         "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
         " {\"type\": \"Digits\", \"individual_digits\": true}]}",
         "the last step"},
        {"pre_tokenizer", SPLIT("{\"Regex\": \"\\\\s+\"}", "Isolated"), NULL},
        {"pre_tokenizer", SPLIT("{\"Regex\": \"\\\\s+\"}", "Sideways"), "behavior \"Sideways\""},
        {"pre_tokenizer", SPLIT("{\"Regex\": 1}", "Isolated"), "\"pattern\""},
        {"pre_tokenizer", SPLIT("{\"String\": \"\"}", "Isolated"), "a pattern of 0 bytes"},
        {"pre_tokenizer", SPLIT("\"x\"", "Isolated"), "\"pattern\""},
        {"decoder", "null", NULL},
        {"decoder", "{\"type\": \"WordPiece\"}", "decoder \"WordPiece\""},
        {"decoder", "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Strip\"}]}",
         "decoder \"Strip\""},
        {"truncation", "{\"max_length\": 8, \"stride\": 7}", NULL},
        {"truncation", "{\"max_length\": 8, \"stride\": 8}", "truncation"},
        {"truncation", "{\"max_length\": 0, \"stride\": 0}", "truncation"},
        {"truncation", "{\"max_length\": 8, \"stride\": -1}", "truncation"},
        {"truncation", "{\"max_length\": 8.5, \"stride\": 1}", "truncation"},
        {"post_processor", "{\"type\": \"Fancy\"}", "post_processor \"Fancy\""},
        {"post_processor", "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, {\"type\": \"X\"}]}",
         "post_processor \"X\""},
#define TEMPLATE(name, id)                                                                                                     \
    "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"" name                                      \
    "\", \"type_id\": 0}}], \"pair\": [],"                                                                                     \
    " \"special_tokens\": {\"<|end|>\": {\"id\": \"<|end|>\", \"ids\": [" id "], \"tokens\": [\"<|end|>\"]}}}"
        {"post_processor", TEMPLATE("<|end|>", "260"), NULL},
        {"post_processor", TEMPLATE("<|start|>", "260"), "the special token \"<|start|>\", which is not listed"},
        {"post_processor", TEMPLATE("<|end|>", "259"), "\"<|end|>\" is absent from the vocabulary"},
        {"post_processor", TEMPLATE("<|end|>", "260, 1"), "as many ids as tokens"},
    };
    RUN(cases);
}

static void test_added(void **state) {
    (void)state;
#define ADDED(id, content)                                                                                                     \
    "{\"id\": " id ", \"content\": " content ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false,"                 \
    " \"normalized\": false, \"special\": true}"
    static const Case cases[] = {
        {"added_tokens", "{}", "\"added_tokens\" is not a list"},
        {"added_tokens", NULL, NULL},
        {"added_tokens/0", "null", "added_tokens[0]: \"content\""},
        {"added_tokens/0/content", "\"\"", "added_tokens[0]: \"content\""},
        {"added_tokens/0/content", NULL, "added_tokens[0]: \"content\""},
        {"added_tokens/0/special", NULL, "added_tokens[0]: \"special\""},
        {"added_tokens/0/lstrip", "0", "added_tokens[0]: \"lstrip\""},
        {"added_tokens/0/id", "261", "has the id 261, outside the vocabulary"},
        {"added_tokens/0/id", "5", "has the id 5, outside the vocabulary"},
        {"added_tokens/0/id", "-1", "has the id -1, outside the vocabulary"},
        {"added_tokens/0/id", "4294967556", "outside the vocabulary"},
        {"added_tokens/0/id", "260.0", "\"id\" is not a whole number"},
        {"added_tokens/1", ADDED("261", "\"<|end|>\""), "added_tokens[1]: \"<|end|>\" is listed twice"},
        {"added_tokens/1", ADDED("256", "\"ab\""), NULL},
        {"added_tokens/1", ADDED("261", "\"ab\""), "\"ab\" has the id 261"},
        {"added_tokens/1", ADDED("261", "\"x\\u0000y\""), NULL},
    };
    RUN(cases);
    json_t *doc = small();
    patch(doc, "added_tokens/1", ADDED("261", "\"x\\u0000y\""));
    Tokenizer *t = expect_accepted(doc);
    expect_ids(t, "ax\0ya", 5, 1, "97 261 97");
    expect_ids(t, "ax\0ya", 5, 0, "97 120 0 121 97");
    expect_ids(t, "a<|end|>", 8, 1, "97 260");
    expect_ids(t, "a<|end|>", 8, 0, "97 60 124 101 110 100 124 62");
    tokenizer_close(t);

    doc = small(); // two tokens that NFC makes one
    patch(doc, "normalizer", "{\"type\": \"NFC\"}");
    patch(doc, "added_tokens/1", ADDED("261", "\"\\u0958\""));
    patch(doc, "added_tokens/2", ADDED("262", "\"\\u0915\u093c\""));
    patch(doc, "added_tokens/1/normalized", "true");
    patch(doc, "added_tokens/2/normalized", "true");
    char *json = json_dumps(doc, 0);
    expect_refused(json, strlen(json), "has two ids");
    free(json);
    json_decref(doc);
}

// A vocabulary without a token for some control characters: with unk_token they become it, without they are left out.
static void test_missing_bytes(void **state) {
    (void)state;
    static const char *const ids[][3] = {
        {NULL, "false", "97 98"}, {"\"c\"", "false", "97 99 99 98"}, {"\"c\"", "true", "97 99 98"}};
    for (int i = 0; i < 3; i++) {
        json_t *doc = small();
        patch(doc, "model/merges", "[]");
        patch(doc, "model/vocab/Ą", NULL);
        patch(doc, "model/vocab/Ć", NULL);
        patch(doc, "model/vocab/ab", "4"), patch(doc, "model/vocab/aa", "6"); // no gaps
        patch(doc, "added_tokens", "[]");
        if (ids[i][0]) patch(doc, "model/unk_token", ids[i][0]);
        patch(doc, "model/fuse_unk", ids[i][1]);
        Tokenizer *t = expect_accepted(json_incref(doc));
        expect_ids(t,
                   "a\x04\x06"
                   "b",
                   4, 1, ids[i][2]);
        tokenizer_close(t);
        patch(doc, "model/unk_token", "\"nowhere\"");
        char *json = json_dumps(doc, 0);
        expect_refused(json, strlen(json), "unk_token is not in the vocabulary");
        patch(doc, "model/byte_fallback", "true");
        free(json);
        json = json_dumps(doc, 0);
        expect_refused(json, strlen(json), "byte_fallback");
        free(json);
        json_decref(doc);
    }
}

static int parse_pattern(Tokenizer **t, const char *pattern, Err *err) {
    json_t *doc = small();
    patch(doc, "pre_tokenizer", SPLIT("{\"Regex\": \"x\"}", "Isolated"));
    json_t *split = json_array_get(json_object_get(json_object_get(doc, "pre_tokenizer"), "pretokenizers"), 0);
    json_object_set_new(json_object_get(split, "pattern"), "Regex", json_string(pattern));
    char *json = json_dumps(doc, 0);
    int status = tokenizer_parse(t, json, strlen(json), "x.json", err);
    free(json);
    json_decref(doc);
    return status;
}

static void test_patterns(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *phrase;
    } cases[] = {
        {"(a+)+$", "exponential"},
        {"(a+)+", "exponential"},
        {"(?:a|a)*b", "exponential"},
        {"(a?){30}a", "exponential"},
        {"(?:a+)??b", "exponential"},
        {"a(?=b)+", "exponential"},
        {"[a", "not closed"},
        {"[]", "empty brackets"},
        {"[^]", "empty brackets"},
        {"(a", "not closed"},
        {"a)", "unmatched"},
        {"*a", "must be escaped"},
        {"a**", "repeat of a repeat"},
        {"a{2}{3}", "repeat of a"},
        {"a{2}?", "repeat of a repeat"},
        {"a{3,2}", "bad repeat"},
        {"a{,2}", "bad repeat"},
        {"a{99999}", "limit of 1000"},
        {"a{2", "bad repeat"},
        {"\\", "nothing behind"},
        {"\\w+", "not known here"},
        {"\\bx", "not known here"},
        {"(a)\\1", "not known here"},
        {"\\h", "not known here"},
        {"\\p{Han}", "general category"},
        {"\\p{Mn}", "general category"},
        {"\\pL", "in braces"},
        {"[\\P{L}]", "inverted"},
        {"[[:alpha:]]", "this kind"},
        {"[a&&b]", "this kind"},
        {"[a[^b]]", "this kind"},
        {"[z-a]", "bad range"},
        {"[a-\\s]", "bad range"},
        {"[\\s-a]", "neither first"},
        {"\\x{110000}", "no character"},
        {"\\x{d800}", "no character"},
        {"\\xff", "no character"},
        {"\\u12", "hexadecimal"},
        {"(?<=a)b", "this kind of group"},
        {"(?i)a", "this kind of group"},
        {"(?>a)", "this kind of group"},
        {"(?i:[a])", "inside (?i:"},
        {"(?i:ss)", "folds to one"},
        {"(?i:é)", "inside (?i:"},
        {"(?i:\\s)", "inside (?i:"},
        {"a*", "the empty text"},
        {"a|", "the empty text"},
        {"(?=a)", "the empty text"},
        {"^a", "must be escaped"},
        {"", "the empty text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Err err = {0};
        Tokenizer *t;
        if (parse_pattern(&t, cases[i].pattern, &err) == 0) fail_msg("%s: accepted", cases[i].pattern);
        assert_int_equal(err.code, ERR_DATA);
        if (!strstr(err.message, cases[i].phrase)) fail_msg("%s: \"%s\"", cases[i].pattern, err.message);
    }
    Str nested = {0};
    for (int i = 0; i < 40; i++) str_puts(&nested, "(");
    Err err;
    Tokenizer *t;
    assert_int_equal(parse_pattern(&t, nested.data, &err), -1);
    str_clear(&nested);
    for (int i = 0; i < 20000; i++) str_puts(&nested, "a");
    assert_int_equal(parse_pattern(&t, nested.data, &err), -1);
    assert_non_null(strstr(err.message, "more than the limit"));
    str_free(&nested);
}

// What a pattern matches becomes a piece: merges show where pieces end.
static void test_pattern_meaning(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text, *ids; // "ab" is 256 inside a piece, "abc" 257, "aa" 259
    } cases[] = {
        {"zz", "ab", "256"},
        {"a", "ab", "97 98"},
        {"\\x61|\\u0063", "abc", "97 98 99"},
        {"[^\\n-a]", "aab", "259 98"},
        {"(?i:B)c?", "aab", "259 98"},
        {"a(?!b)", "aab", "97 256"},
        {"a(?=b)", "aab", "97 97 98"},
        {"a{2,}|[x[yc]]", "aaabc", "259 97 98 99"},
        {"\\.|[.-]", "ab.ab", "256 46 256"},
        {"a\\S?", "aaab", "259 256"},
        {"\\D", "ab1ab", "97 98 49 97 98"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Err err;
        Tokenizer *t;
        if (parse_pattern(&t, cases[i].pattern, &err)) fail_msg("%s", err.message);
        expect_ids(t, cases[i].text, strlen(cases[i].text), 1, cases[i].ids);
        tokenizer_close(t);
    }
}

static Tokenizer *patched(const char *path, const char *json) {
    json_t *doc = small();
    patch(doc, path, json);
    return expect_accepted(doc);
}

static void test_step_meaning(void **state) {
    (void)state;
#define SPLIT_A(kind, pattern, behavior, invert)                                                                               \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"" kind "\": \"" pattern                \
    "\"}, \"behavior\": \"" behavior "\", \"invert\": " invert                                                                 \
    "}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}"
#define DIGITS(individual)                                                                                                     \
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": " individual                   \
    "}, {\"type\": \"ByteLevel\", \"add_prefix_space\": true}]}"
    static const char text[] = "aaabcaabaa", each[] = "97 97 97 98 99 97 97 98 97 97", runs[] = "259 97 98 99 259 98 259";
    static const struct {
        const char *pre_tokenizer, *text, *ids;
    } cases[] = {
        {SPLIT_A("Regex", "a", "Isolated", "false"), text, each},
        {SPLIT_A("Regex", "a", "Isolated", "true"), text, each},
        {SPLIT_A("Regex", "a", "Removed", "false"), text, "98 99 98"},
        {SPLIT_A("Regex", "a", "Removed", "true"), text, "97 97 97 97 97 97 97"},
        {SPLIT_A("Regex", "a", "MergedWithPrevious", "false"), text, each},
        {SPLIT_A("Regex", "a", "MergedWithPrevious", "true"), text, "97 97 257 97 256 97 97"},
        {SPLIT_A("Regex", "a", "MergedWithNext", "false"), text, "97 97 257 97 256 97 97"},
        {SPLIT_A("Regex", "a", "MergedWithNext", "true"), text, each},
        {SPLIT_A("Regex", "a", "Contiguous", "false"), text, runs},
        {SPLIT_A("Regex", "a", "Contiguous", "true"), text, runs},
        {SPLIT_A("String", "b.", "Isolated", "false"), "ab.ab", "97 98 46 256"},
        {SPLIT_A("Regex", ".+", "Isolated", "false"), "ab\nab", "256 10 256"},
        {SPLIT_A("Regex", "[\\\\Sa]+", "Isolated", "false"), "ab ab", "256 32 256"},
        {DIGITS("false"), "a12a", "258 32 49 50 258"},
        {DIGITS("true"), "a12a", "258 32 49 32 50 258"},
        {"{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", "a a", "258 258"},
        {"{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", " a", "258"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tokenizer *t = patched("pre_tokenizer", cases[i].pre_tokenizer);
        expect_ids(t, cases[i].text, strlen(cases[i].text), 1, cases[i].ids);
        tokenizer_close(t);
    }
    json_t *doc = small();
    patch(doc, "model/ignore_merges", "true");
    patch(doc, "model/merges", "[\"a a\"]");
    Tokenizer *t = expect_accepted(doc);
    expect_ids(t, "abc ab abcd", 11, 1, "257 32 97 98 32 97 98 99 100");
    tokenizer_close(t);
}

static void test_added_meaning(void **state) {
    (void)state;
    json_t *doc = small();
    patch(doc, "normalizer", "{\"type\": \"NFC\"}");
    patch(doc, "added_tokens/0/content", "\"<x>\"");
    patch(doc, "added_tokens/1", ADDED("261", "\"<l>\"")), patch(doc, "added_tokens/1/lstrip", "true");
    patch(doc, "added_tokens/2", ADDED("262", "\"<r>\"")), patch(doc, "added_tokens/2/rstrip", "true");
    patch(doc, "added_tokens/3", ADDED("263", "\"<w>\"")), patch(doc, "added_tokens/3/single_word", "true");
    patch(doc, "added_tokens/4", ADDED("233", "\"é\"")), patch(doc, "added_tokens/4/normalized", "true");
    patch(doc, "added_tokens/5", ADDED("264", "\"<x>>\""));
    Tokenizer *t = expect_accepted(doc);
    static const char *const cases[][2] = {
        {"a <x> a", "97 32 260 258"},
        {"a \u00a0<l> a", "97 261 258"},
        {"a <r>\t a", "97 32 262 97"},
        {"a<w>a", "97 60 119 62 97"},
        {"中<w> ", "228 184 173 60 119 62 32"},
        {"_<w>", "95 60 119 62"},
        {"\u0301<w>", "204 129 60 119 62"},
        {"a <w> a", "97 32 263 258"},
        {"<w>", "263"},
        {"<w><w>", "263 263"},
        {"e\u0301\u00e9", "233 233"},
        {"<x>>a", "264 97"},
        {"<r>  <l>", "262 261"},
        {"<x> <r> <l> <l>a", "260 32 262 261 261 97"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_ids(t, cases[i][0], strlen(cases[i][0]), 1, cases[i][1]);
    tokenizer_close(t);
    tokenizer_close(patched("added_tokens/0/normalized", "true")); // with nothing that normalizes
}

// Merges as "a b" stay so, and a token outside the byte-level alphabet stands for itself.
static void test_save_small(void **state) {
    (void)state;
    char path[] = "/tmp/latentr3-tokenizer-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    json_t *doc = small();
    patch(doc, "model/vocab/▁x", "260");
    patch(doc, "added_tokens/0/id", "261");
    patch(doc, "model/unk_token", "\"a\"");
    json_t *kept = json_deep_copy(doc);
    Err err;
    Tokenizer *t = expect_accepted(doc);
    assert_int_equal(tokenizer_save(t, path, &err), 0);
    json_t *saved = json_read(path, 0, &err);
    assert_true(json_equal(saved, kept));
    Str text = {0};
    tokenizer_decode(t, &text, (const int32_t[]){258, 260, 261}, 3);
    assert_string_equal(text.data, " a▁x<|end|>");
    assert_int_equal(tokenizer_save(t, "nowhere/tokenizer.json", &err), -1);
    assert_int_equal(err.code, ERR_IO);
    str_free(&text), json_decref(kept), json_decref(saved);
    tokenizer_close(t);
    unlink(path);
}

// A pattern that would go back and forth for ever ends with an error.
static void test_slow_pattern(void **state) {
    (void)state;
    Err err = {0};
    Tokenizer *t;
    Ints ids = {0};
    Str text = {0};
    if (parse_pattern(&t, "a*a*a*a*a*a*a*a*b", &err)) fail_msg("%s", err.message);
    for (int i = 0; i < 3000; i++) str_puts(&text, "a");
    str_puts(&text, "cb"); // else there is no 'b' to look for
    double start = log_seconds();
    assert_int_equal(tokenizer_encode(t, &ids, text.data, text.len, 1, &err), -1);
    assert_true(log_seconds() - start <= 1);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.message, "limit"));
    assert_int_equal(ids.len, 0);
    str_free(&text), ints_free(&ids);
    tokenizer_close(t);
}

static void test_size_limit(void **state) {
    (void)state;
    char path[] = "/tmp/latentr3-tokenizer-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && ftruncate(fd, 500l << 20) == 0);
    close(fd);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    Err err = {0};
    Tokenizer *t;
    assert_int_equal(tokenizer_open(&t, path, &err), -1);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.message, "more than the limit of 67108864"));
    assert_true(after.ru_maxrss - before.ru_maxrss < 8 << 10); // KiB
    assert_int_equal(tokenizer_open(&t, "nowhere/tokenizer.json", &err), -1);
    assert_int_equal(err.code, ERR_IO);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),           cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_vocab),         cmocka_unit_test(test_gap),
        cmocka_unit_test(test_merges),        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_added),         cmocka_unit_test(test_missing_bytes),
        cmocka_unit_test(test_patterns),      cmocka_unit_test(test_pattern_meaning),
        cmocka_unit_test(test_slow_pattern),  cmocka_unit_test(test_step_meaning),
        cmocka_unit_test(test_added_meaning), cmocka_unit_test(test_save_small),
        cmocka_unit_test(test_size_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
