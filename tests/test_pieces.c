// SentencePiece's tokenizers: characters that fall back to bytes, blanks written as "▁". The expected ids and texts are those
// of the `tokenizers` package for the same tokenizer.json.
#include "base/arena.h"
#include "base/json.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// After <unk>, <s>, </s> and the 256 bytes: pieces from the best down, then single characters.
static const char *const pieces[] = {"▁t", "he",  "▁the", "in", "▁a", "an", "▁▁", "ca", "cat", "at",
                                     "on", "▁on", "er",   "▁",  "t",  "h",  "e",  "i",  "n",   "a",
                                     "c",  "o",   "r",    "s",  "é",  "S",  "\"", "<",  ">",   "."};
enum { PIECES = sizeof pieces / sizeof *pieces, TOKENS = 259 + PIECES };

typedef struct Model {
    TokenizerPieces p;
    const char *token[TOKENS];
    size_t len[TOKENS];
    int32_t kind[TOKENS];
    float score[TOKENS];
    char bytes[256][8];
} Model;

static Model *model_new(void) {
    static const char *const marks[] = {"<unk>", "<s>", "</s>"};
    Model *m = mem_zalloc(1, sizeof *m);
    for (int i = 0; i < TOKENS; i++) {
        if (i >= 3 && i < 259) snprintf(m->bytes[i - 3], 8, "<0x%02X>", (unsigned)i - 3);
        m->token[i] = i < 3 ? marks[i] : i < 259 ? m->bytes[i - 3] : pieces[i - 259];
        m->len[i] = strlen(m->token[i]);
        m->kind[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
        m->score[i] = i < 259 ? 0 : -(float)(i - 259);
    }
    m->p = (TokenizerPieces){.n_tokens = TOKENS, .token = m->token, .token_len = m->len, .kind = m->kind, .score = m->score};
    return m;
}

static Tokenizer *open_pieces(const Model *m) {
    Err err;
    Tokenizer *t;
    if (tokenizer_from_pieces(&t, &m->p, "x.gguf", &err)) fail_msg("%s", err.message);
    return t;
}

// The JSON that a tokenizer is saved as.
static json_t *saved(const Tokenizer *t) {
    Err err;
    char path[] = "/tmp/latentr3-pieces-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    if (tokenizer_save(t, path, &err)) fail_msg("%s", err.message);
    json_t *doc = json_load_file(path, 0, NULL);
    assert_non_null(doc);
    unlink(path);
    return doc;
}

static int parse(Tokenizer **t, const json_t *doc, Err *err) {
    char *json = json_dumps(doc, 0);
    const int status = tokenizer_parse(t, json, strlen(json), "x.json", err);
    free(json);
    return status;
}

static json_t *of(const char *json) {
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

static void expect(const Tokenizer *t, const char *text, int how, const char *expected, const char *back) {
    Err err;
    Ints ids = {0};
    Str got = {0}, decoded = {0};
    if (tokenizer_encode(t, &ids, text, strlen(text), how, &err)) fail_msg("%s", err.message);
    str_clear(&got);
    for (size_t i = 0; i < ids.len; i++) str_printf(&got, i ? " %d" : "%d", ids.data[i]);
    if (strcmp(got.data, expected)) fail_msg("\"%s\": %s, expected %s", text, got.data, expected);
    tokenizer_decode(t, &decoded, ids.data, ids.len);
    if (back) assert_string_equal(decoded.data, back);
    str_free(&got), str_free(&decoded), ints_free(&ids);
}

typedef struct Text {
    const char *text, *ids, *back;
} Text;

static void expect_all(const Tokenizer *t, const Text *x, size_t n) {
    for (size_t i = 0; i < n; i++) expect(t, x[i].text, TOKENIZER_SPECIALS, x[i].ids, x[i].back);
}

static const Text prepended[] = {
    {"the cat", "261 272 267", "the cat"},
    {" the  cat", "272 261 265 267", " the  cat"},
    {"the</s> cat on<s>", "261 2 265 267 270 1", "the</s>  cat on<s>"},
    {"été\n日", "272 283 273 283 13 233 154 168", "été\n日"},
    {"▁the", "272 261", " the"},
    {"<s>", "1", "<s>"},
    {"", "", ""},
    {"cat <s>the", "272 267 272 1 261", "cat <s> the"},
    {"The<0x41>", "272 87 260 286 51 123 55 52 287", "The<0x41>"},
};

// Scores become merges: the same ids from GGUF and from the tokenizer.json that is written for it.
static void test_scores(void **state) {
    (void)state;
    Model *m = model_new();
    Tokenizer *t = open_pieces(m), *again;
    Err err;
    json_t *doc = saved(t);
    assert_int_equal(json_array_size(json_object_get(json_object_get(doc, "model"), "merges")), 14);
    if (parse(&again, doc, &err)) fail_msg("%s", err.message);
    expect_all(t, prepended, sizeof prepended / sizeof *prepended);
    expect_all(again, prepended, sizeof prepended / sizeof *prepended);
    assert_int_equal(tokenizer_add(again, "<|Thought|>", &err), TOKENS);
    tokenizer_close(t), tokenizer_close(again);

    m->p.no_prefix = 1;
    t = open_pieces(m);
    static const Text bare[] = {{"the cat", "273 260 272 267", "the cat"},
                                {" the  cat", "261 265 267", " the  cat"},
                                {"the</s> cat on<s>", "273 260 2 272 267 270 1", "the</s> cat on<s>"}};
    expect_all(t, bare, sizeof bare / sizeof *bare);
    tokenizer_close(t);
    json_decref(doc);
    free(m);
}

static void test_metaspace(void **state) {
    (void)state;
    static const struct {
        const char *scheme;
        int splits, strips;
        Text text[5];
    } cases[] = {
        {"\"prepend_scheme\": \"first\"",
         0,
         1,
         {{"the cat", "261 272 267", "the cat"},
          {" the  cat", "261 265 267", "the  cat"},
          {"the</s> cat on<s>", "261 2 272 267 270 1", "the</s> cat on<s>"},
          {"▁the", "261", "the"},
          {"cat <s>the", "272 267 272 1 273 260", "cat <s>the"}}},
        {"\"prepend_scheme\": \"always\"",
         1,
         1,
         {{"the cat", "261 272 267", "the cat"},
          {" the  cat", "261 272 272 267", "the  cat"},
          {"the</s> cat on<s>", "261 2 272 267 270 1", "the</s> cat on<s>"},
          {"▁the", "261", "the"},
          {"cat <s>the", "272 267 272 1 261", "cat <s> the"}}},
        {"\"add_prefix_space\": false",
         0,
         0,
         {{"the cat", "273 260 272 267", "the cat"},
          {" the  cat", "261 265 267", " the  cat"},
          {"the</s> cat on<s>", "273 260 2 272 267 270 1", "the</s> cat on<s>"},
          {"▁the", "261", " the"},
          {"cat <s>the", "267 272 1 273 260", "cat <s>the"}}},
    };
    Model *m = model_new();
    Tokenizer *base = open_pieces(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Err err;
        Tokenizer *t;
        Str pre = {0};
        json_t *doc = saved(base);
        str_printf(&pre, "{\"type\": \"Metaspace\", \"replacement\": \"▁\", %s, \"split\": %s}", cases[i].scheme,
                   cases[i].splits ? "true" : "false");
        json_object_set_new(doc, "normalizer", json_null());
        json_object_set_new(doc, "pre_tokenizer", of(pre.data));
        if (!cases[i].strips) json_array_remove(json_object_get(json_object_get(doc, "decoder"), "decoders"), 3);
        if (parse(&t, doc, &err)) fail_msg("%s", err.message);
        expect_all(t, cases[i].text, 5);
        // What goes on behind a token has no beginning; "always" does not care.
        expect(t, "the", TOKENIZER_INSIDE, i == 1 ? "261" : "273 260", NULL);
        tokenizer_close(t);
        json_decref(doc);
        str_free(&pre);
    }
    tokenizer_close(base);
    free(m);
}

static void test_decode(void **state) {
    (void)state;
    static const struct {
        int32_t ids[4];
        int n;
        const char *text;
    } cases[] = {{{198, 43}, 2, "\xef\xbf\xbd\xef\xbf\xbd"},
                 {{233, 154, 261}, 3, "\xef\xbf\xbd\xef\xbf\xbd the"},
                 {{68, 258, 69}, 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                 {{261, 233, 154, 168}, 4, "the日"},
                 {{270, 9999, 261}, 3, "on the"}};
    Model *m = model_new();
    Tokenizer *t = open_pieces(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Str text = {0};
        str_puts(&text, " x"); // what stands before is left alone
        tokenizer_decode(t, &text, cases[i].ids, (size_t)cases[i].n);
        assert_string_equal(text.data + 2, cases[i].text);
        str_free(&text);
    }
    Str text = {0};
    tokenizer_token_text(t, &text, 261);
    tokenizer_token_text(t, &text, 3 + 0xe6);
    assert_string_equal(text.data, " the\xe6");
    str_free(&text);
    tokenizer_close(t);
    free(m);
}

// Each piece of a prompt is a text of its own, with a blank in front, as where the published code tokenizes them.
static void test_prompt(void **state) {
    (void)state;
    Err err;
    Model *m = model_new();
    Tokenizer *t = open_pieces(m);
    const PromptStyle style = {.category = "cat", .bos_id = 1, .eos_id = 2};
    Ints answer = {0}, input = {0};
    if (prompt_answer(&answer, t, &style, "the", NULL, &err)) fail_msg("%s", err.message);
    const int32_t expected[] = {272, 285, 273, 260, 285, 13, 2}; // ▁ " t he " \n </s>
    assert_int_equal(answer.len, 7);
    assert_memory_equal(answer.data, expected, sizeof expected);
    assert_int_equal(prompt_input(&input, t, &style, NULL, NULL, 0, &err), 0);
    assert_int_equal(input.data[0], 272);
    ints_free(&answer), ints_free(&input);
    tokenizer_close(t);
    free(m);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *json, *phrase;
    } cases[] = {
        {"normalizer", "{\"type\": \"Prepend\", \"prepend\": 7}", "step 0, \"Prepend\": not a text"},
        {"normalizer", "{\"type\": \"Prepend\", \"prepend\": \"12345678901234567\"}", "at most 16 bytes"},
        {"normalizer", "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" \"}, \"content\": \"x\"}", "\"pattern\" is not"},
        {"normalizer", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"x\"}",
         "\"pattern\": not a text"},
        {"normalizer", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\\u0000\"}, \"content\": \"x\"}", "not a text"},
        {"normalizer", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"12345\"}",
         "over 4 times as long"},
        {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [1, 2, 3, 4, 5]}", "5 steps"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\"}", "\"replacement\" is not one character"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"▁▁\"}", "\"replacement\" is not one character"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"last\"}",
         "prepend_scheme \"last\""},
        {"pre_tokenizer",
         "{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"first\", \"add_prefix_space\": false}",
         "contradicts"},
        {"pre_tokenizer", "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}", "decoder \"Replace\""},
        {"decoder", "{\"type\": \"ByteLevel\"}", "decoder \"ByteLevel\""},
        {"decoder", "{\"type\": \"Metaspace\"}", "decoder \"Metaspace\""},
        {"decoder", "{\"type\": \"Strip\", \"content\": \" \", \"start\": 2, \"stop\": 0}", "more than a blank"},
        {"model/byte_fallback", "false", "neither a byte-level pre_tokenizer nor byte_fallback"},
        {"model/vocab/<0x41>", NULL, "no token \"<0x41>\" for the byte 0x41"},
    };
    Model *m = model_new();
    Tokenizer *base = open_pieces(m), *t;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Err err = {0};
        json_t *doc = saved(base), *at = doc;
        const char *key = cases[i].key;
        for (const char *slash; (slash = strchr(key, '/')); key = slash + 1) {
            char step[16] = "";
            memcpy(step, key, (size_t)(slash - key));
            at = json_object_get(at, step);
        }
        if (cases[i].json)
            json_object_set_new(at, key, json_loads(cases[i].json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
        else
            json_object_del(at, key);
        assert_int_equal(parse(&t, doc, &err), -1);
        assert_int_equal(err.code, ERR_DATA);
        if (!strstr(err.message, cases[i].phrase)) fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].phrase);
        json_decref(doc);
    }
    tokenizer_close(base);
    free(m);
}

static void refuse_pieces(const Model *m, const char *phrase) {
    Err err = {0};
    Tokenizer *t;
    assert_int_equal(tokenizer_from_pieces(&t, &m->p, "x.gguf", &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, phrase)) fail_msg("\"%s\" does not say \"%s\"", err.message, phrase);
}

static void test_bad_pieces(void **state) {
    (void)state;
    char text[257];
    Model *m = model_new();
    m->kind[260] = 7, refuse_pieces(m, "token 260: kind 7");
    m->kind[260] = 1, m->score[260] = NAN,
    refuse_pieces(m, "token 260: a piece of 2 bytes (the limit is 256) with the score nan");
    m->score[260] = -1, m->token[3] = "x", m->len[3] = 1, refuse_pieces(m, "no token \"<0x00>\"");
    m->token[3] = "<0x00>", m->len[3] = 6;
    memset(text, 'a', sizeof text);
    m->token[260] = text, m->len[260] = sizeof text, refuse_pieces(m, "token 260: a piece of 257 bytes");
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores), cmocka_unit_test(test_metaspace), cmocka_unit_test(test_decode),
        cmocka_unit_test(test_prompt), cmocka_unit_test(test_refused),   cmocka_unit_test(test_bad_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
