// Token ids: the golden prompts, what comes back from ids, added tokens, saving, GGUF pieces, large inputs, threads.
// Equality with the `tokenizers` package on many lines is checked by tests/check_tokenizer.py.
#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/added.h"
#include "text/prompt.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/folder.h"

static const char *const models[] = {"tests/golden/tiny-qwen2", "tests/golden/tiny-llama"};

static Tokenizer *open_model(const char *folder) {
    Err err;
    Tokenizer *t;
    char *path = file_join(folder, "tokenizer.json");
    if (tokenizer_open(&t, path, &err)) fail_msg("%s", err.message);
    free(path);
    return t;
}

static Ints encode(const Tokenizer *t, const char *text, size_t len, int specials) {
    Err err;
    Ints ids = {0};
    if (tokenizer_encode(t, &ids, text, len, specials, &err)) fail_msg("%s", err.message);
    return ids;
}

static void expect_ids(const Ints *ids, const json_t *expected, const char *what) {
    if (ids->len != json_array_size(expected)) fail_msg("%s: %zu ids, expected %zu", what, ids->len, json_array_size(expected));
    for (size_t i = 0; i < ids->len; i++)
        if (ids->data[i] != json_integer_value(json_array_get(expected, i))) fail_msg("%s: id %zu differs", what, i);
}

static void test_golden(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++) {
        Err err;
        Tokenizer *t = open_model(models[m]);
        char *path = file_join(models[m], "golden.json");
        json_t *golden = json_read(path, 0, &err), *row;
        assert_non_null(golden);
        size_t k;
        assert_int_equal(json_array_size(json_object_get(golden, "rows")), 6);
        json_array_foreach(json_object_get(golden, "rows"), k, row) {
            const json_t *history = json_object_get(row, "history");
            const char *title[PROMPT_HISTORY];
            int n = (int)json_array_size(history);
            for (int i = 0; i < n; i++) title[i] = json_string_value(json_array_get(history, (size_t)i));
            PromptStyle style = {.category = json_string_value(json_object_get(row, "category")),
                                 .bos_id = -1,
                                 .eos_id = tokenizer_id(t, "<|endoftext|>")};
            Ints prompt = {0}, answer = {0};
            assert_int_equal(prompt_instruction(&prompt, t, &style, &err), 0);
            assert_int_equal(prompt_input(&prompt, t, &style, title, NULL, n, &err), 0);
            assert_int_equal(prompt_answer(&answer, t, &style, json_string_value(json_object_get(row, "target")), NULL, &err),
                             0);
            expect_ids(&prompt, json_object_get(row, "prompt_ids"), "prompt_ids");
            expect_ids(&answer, json_object_get(row, "answer_ids"), "answer_ids");
            ints_free(&prompt), ints_free(&answer);
        }
        json_decref(golden);
        free(path);
        tokenizer_close(t);
    }
}

static void test_prompt_text(void **state) {
    (void)state;
    const char *title[12] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"};
    Str text = {0};
    prompt_input_text(&text, "movie", title, 12); // the last ten only
    assert_string_equal(text.data,
                        "### User Input: \nThe user has palyed the following movies before: \"2\", \"3\", \"4\", \"5\", "
                        "\"6\", \"7\", \"8\", \"9\", \"10\", \"11\"\n\n### Response: \n");
    str_clear(&text);
    prompt_input_text(&text, "book", title, 1);
    prompt_answer_text(&text, "x");
    assert_string_equal(text.data,
                        "### User Input: \nThe user has palyed the following books before: \"0\"\n\n### Response: \n\"x\"\n");
    str_free(&text);

    Err err;
    Tokenizer *t = open_model(models[1]);
    PromptStyle style = {.category = "movie", .bos_id = 1498, .eos_id = 1497};
    Ints ids = {0};
    assert_int_equal(prompt_instruction(&ids, t, &style, &err), 0);
    assert_int_equal(ids.data[0], 1498);
    ids.len = 0;
    const char *rude = "a<|endoftext|>";
    assert_int_equal(prompt_input(&ids, t, &style, &rude, NULL, 1, &err), 0);
    assert_int_equal(prompt_answer(&ids, t, &style, rude, NULL, &err), 0);
    for (size_t i = 0; i + 1 < ids.len; i++) assert_true(ids.data[i] < 1497); // a title cannot end an answer
    assert_int_equal(ids.data[ids.len - 1], 1497);
    ints_free(&ids);
    tokenizer_close(t);
}

static void expect_same_ids(const Ints *a, const Ints *b) {
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len * sizeof *a->data);
}

// The pieces of index texts are single tokens, as `tokenizers` would cut the whole text; titles and special tokens stay text.
static void test_index_texts(void **state) {
    (void)state;
    size_t at, len, from = 0;
    static const char odd[] = "x<a><<b>c<>d<e f>><g";
    static const char *const pieces[] = {"<a>", "<b>", "<e f>"};
    for (int i = 0; i < 3; i++, from = at + len) {
        len = prompt_piece(odd, from, &at);
        assert_int_equal(len, strlen(pieces[i]));
        assert_memory_equal(odd + at, pieces[i], len);
    }
    assert_int_equal(prompt_piece(odd, from, &at), 0);

    for (int m = 0; m < 2; m++) {
        Err err = {0};
        Tokenizer *t = open_model(models[m]), *again;
        assert_int_equal(tokenizer_drop_last(t, "<|endoftext|>"), 0);
        assert_int_equal(tokenizer_drop_last(t, PROMPT_THOUGHT_TOKEN), 1);
        assert_int_equal(tokenizer_id(t, PROMPT_THOUGHT_TOKEN), -1);
        assert_int_equal(tokenizer_drop_last(t, PROMPT_THOUGHT_TOKEN), 0);
        const int before = tokenizer_size(t);
        const char *added[] = {"<a_1>", "<b_22>", "<a_2>", "<a_1>", "<é>"};
        assert_int_equal(tokenizer_add_texts(t, added, 5, &err), 0);
        assert_int_equal(tokenizer_size(t), before + 4);
        for (int i = 0; i < 3; i++) assert_int_equal(tokenizer_text_token(t, added[i], strlen(added[i])), before + i);
        assert_int_equal(tokenizer_add(t, PROMPT_THOUGHT_TOKEN, &err), before + 4);
        assert_int_equal(tokenizer_text_token(t, PROMPT_THOUGHT_TOKEN, strlen(PROMPT_THOUGHT_TOKEN)), -1);
        assert_int_equal(tokenizer_text_token(t, "<a_3>", 5), -1);

        PromptStyle style = {.category = "movie", .bos_id = -1, .eos_id = tokenizer_id(t, "<|endoftext|>")};
        const char *title[] = {"Heat <a_1>", "Up", "Big"}, *text[] = {"<a_1><b_22>", NULL, "no<a_3> <a_2>?<é>"};
        Ints ids = {0}, whole = {0}, plain = {0};
        style.index_histories = style.index_answers = 1;
        assert_int_equal(prompt_input(&ids, t, &style, title, text, 3, &err), 0);
        const char *named[] = {text[0], title[1], text[2]};
        Str out = {0};
        prompt_input_text(&out, "movie", named, 3);
        assert_int_equal(tokenizer_encode(t, &whole, out.data, out.len, 1, &err), 0);
        expect_same_ids(&ids, &whole);
        ids.len = whole.len = out.len = 0;
        assert_int_equal(prompt_answer(&ids, t, &style, title[2], text[2], &err), 0);
        prompt_answer_text(&out, text[2]);
        assert_int_equal(tokenizer_encode(t, &whole, out.data, out.len, 1, &err), 0);
        ints_push(&whole, style.eos_id);
        expect_same_ids(&ids, &whole);

        // A title that spells a piece, and an index text that spells a special token.
        ids.len = out.len = 0;
        const char *rude = "a<|endoftext|><|Thought|>";
        assert_int_equal(prompt_answer(&ids, t, &style, title[0], NULL, &err), 0);
        assert_int_equal(prompt_answer(&ids, t, &style, title[0], rude, &err), 0);
        prompt_answer_text(&out, title[0]);
        assert_int_equal(tokenizer_encode(t, &plain, out.data, out.len, 0, &err), 0);
        ints_push(&plain, style.eos_id);
        out.len = 0;
        prompt_answer_text(&out, rude);
        assert_int_equal(tokenizer_encode(t, &plain, out.data, out.len, 0, &err), 0);
        ints_push(&plain, style.eos_id);
        expect_same_ids(&ids, &plain);

        // Each of the two switches alone, and a catalogue without texts.
        style.index_answers = 0;
        ids.len = plain.len = 0;
        assert_int_equal(prompt_answer(&ids, t, &style, title[1], text[0], &err), 0);
        style.index_answers = 1, style.index_histories = 0;
        assert_int_equal(prompt_input(&ids, t, &style, title, text, 3, &err), 0);
        style.index_answers = 0, style.index_histories = 1;
        assert_int_equal(prompt_answer(&plain, t, &style, title[1], NULL, &err), 0);
        assert_int_equal(prompt_input(&plain, t, &style, title, NULL, 3, &err), 0);
        expect_same_ids(&ids, &plain);

        // Saved and opened again: the same ids, and the same kinds of tokens.
        char path[] = "/tmp/latentr3-tokenizer-XXXXXX";
        close(mkstemp(path));
        assert_int_equal(tokenizer_save(t, path, &err), 0);
        assert_int_equal(tokenizer_open(&again, path, &err), 0);
        unlink(path);
        for (int i = 0; i < 5; i++)
            assert_int_equal(tokenizer_text_token(again, added[i], strlen(added[i])), tokenizer_id(t, added[i]));
        assert_int_equal(tokenizer_text_token(again, PROMPT_THOUGHT_TOKEN, strlen(PROMPT_THOUGHT_TOKEN)), -1);
        tokenizer_close(again), tokenizer_close(t);
        ints_free(&ids), ints_free(&whole), ints_free(&plain);
        str_free(&out);
    }
}

static const char *const texts[] = {
    "",
    " ",
    "Toy Story (1995)",
    "it's we'LL they'Ve 'ſ ''s",
    "a\r\n\r\n  b\t\tc\u00a0\u00a0d \n",
    "\u1112\u1161\u11ab\u0301 \uac00\u11a7 \uac00\u11a8",
    "e\u0301 \u00e9 \u212b q\u0307\u0323 q\u0323\u0307",
    "👩‍👩‍👧‍👦🏳️‍🌈 👍🏽 🇩🇪",
    "שָׁלוֹם עולם مرحبا ١٢٣",
    "中文漢字かな 0123 ½ Ⅷ \u0661\u0662",
    "\x01\x02\x7f\xc2\x80\xc2\x9f\ufffd\uffff\U0010ffff",
    "<|im_end|> <|Thought|>|",
};
enum { TEXTS = sizeof texts / sizeof *texts };

static void expect_round_trip(const Tokenizer *t, const char *text, size_t len, const char *back, size_t back_len) {
    for (int specials = 0; specials < 2; specials++) {
        Ints ids = encode(t, text, len, specials);
        Str out = {0};
        tokenizer_decode(t, &out, ids.data, ids.len);
        assert_int_equal(out.len, back_len);
        assert_memory_equal(out.data, back, back_len);
        ints_free(&ids);
        str_free(&out);
    }
}

static void test_round_trip(void **state) {
    (void)state;
    Tokenizer *llama = open_model(models[1]), *qwen = open_model(models[0]);
    for (int i = 0; i < TEXTS; i++) expect_round_trip(llama, texts[i], strlen(texts[i]), texts[i], strlen(texts[i]));
    expect_round_trip(llama, "a\0b", 3, "a\0b", 3);
    Str all = {0};
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 61) {
        char bytes[4];
        if (c < 0xd800 || c > 0xdfff) str_append(&all, bytes, utf8_put(bytes, c));
    }
    expect_round_trip(llama, all.data, all.len, all.data, all.len);
    str_free(&all);
    const char *forms[][2] = {{"e\u0301", "\u00e9"},
                              {"\u212b", "\u00c5"},
                              {"q\u0307\u0323", "q\u0323\u0307"},
                              {"\u1112\u1161\u11ab", "\ud55c"},
                              {"\uac00\u11a7", "\uac00\u11a7"}, // no final: utf8proc alone would drop it
                              {"\u0958", "\u0915\u093c"},
                              {"\U0001d15e", "\U0001d157\U0001d165"},
                              {"a\u0898\u0323", "a\u0898\u0323"}}; // a mark younger than the package's NFC: stays, and blocks
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        expect_round_trip(qwen, forms[i][0], strlen(forms[i][0]), forms[i][1], strlen(forms[i][1]));
    tokenizer_close(llama);
    tokenizer_close(qwen);
}

// What is UTF-8 comes back from its ids byte for byte.
static void text_verdict(const char *path, int is_good) {
    Tokenizer *t = open_model(models[1]);
    MapFile f;
    Ints ids = {0};
    Err err = {0};
    if (mapfile_open(&f, path, 0, &err)) fail_msg("%s", err.message);
    if (is_good)
        expect_round_trip(t, f.data, f.bytes, f.data, f.bytes);
    else if (tokenizer_encode(t, &ids, f.data, f.bytes, 1, &err) != -1 || err.code != ERR_DATA || ids.len)
        fail_msg("%s: read", path);
    ints_free(&ids);
    mapfile_close(&f);
    tokenizer_close(t);
}

static void test_text_files(void **state) {
    (void)state;
    folder_verdicts("tests/data/texts", text_verdict, 5);
}

static void test_specials(void **state) {
    (void)state;
    Tokenizer *t = open_model(models[0]);
    static const char text[] = "a<|im_end|>b";
    Ints with = encode(t, text, strlen(text), 1), without = encode(t, text, strlen(text), 0);
    assert_int_equal(with.len, 3);
    assert_int_equal(with.data[1], 1499);
    for (size_t i = 0; i < without.len; i++) assert_true(without.data[i] < 1497);
    assert_int_equal(tokenizer_size(t), 1501);
    assert_string_equal(tokenizer_token(t, 1499), "<|im_end|>");
    assert_null(tokenizer_token(t, 1501));
    assert_null(tokenizer_token(t, -1));
    assert_int_equal(tokenizer_id(t, "<|im_end|>"), 1499);
    assert_int_equal(tokenizer_id(t, "Ġthe"), tokenizer_id(t, "Ġthe"));
    assert_true(tokenizer_id(t, "Ġthe") > 0);
    assert_int_equal(tokenizer_id(t, " the"), -1);
    Str out = {0};
    int32_t strange[] = {-1, 5000, 1499, INT32_MAX};
    tokenizer_decode(t, &out, strange, 4);
    assert_string_equal(out.data, "<|im_end|>");
    str_free(&out), ints_free(&with), ints_free(&without);
    tokenizer_close(t);
}

static int put_piece(void *user, int32_t id, const char *text, size_t len, Err *err) {
    (void)err;
    if (id >= 0)
        str_printf(user, "%d|", (int)id);
    else
        str_printf(user, "%.*s|", (int)len, text);
    return 0;
}

// What stands in blanks that the token before has stripped: as `tokenizers` has it, a token that strips to its left is none
// there.
static void test_stripped_twice(void **state) {
    (void)state;
    for (int lstrip = 0; lstrip < 2; lstrip++) {
        AddedSet set = {0};
        Err err = {0};
        Str out = {0};
        assert_int_equal(added_put(&set, 1, "<a>", 3, ADDED_RSTRIP, &err), 0);
        assert_int_equal(added_put(&set, 2, "  ", 2, lstrip ? ADDED_LSTRIP : 0, &err), 0);
        assert_int_equal(added_put(&set, 3, "x", 1, ADDED_LSTRIP, &err), 0);
        assert_int_equal(added_sort(&set, &err), 0);
        assert_int_equal(added_split(&set, NULL, "<a>   b<a> x", 12, put_piece, &out, &err), 0);
        assert_string_equal(out.data, lstrip ? "1| b|1|3|" : "1|2| b|1|3|");
        added_free(&set), str_free(&out);
    }
}

static void test_not_utf8(void **state) {
    (void)state;
    Tokenizer *t = open_model(models[0]);
    Ints ids = {0};
    Err err;
    ints_push(&ids, 7);
    assert_int_equal(tokenizer_encode(t, &ids, "ab\xed\xa0\x80", 5, 1, &err), -1);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.message, "byte 2"));
    assert_int_equal(ids.len, 1);
    ints_free(&ids);
    tokenizer_close(t);

    static const char *const replaced[][2] = {// as Python's errors="replace"
                                              {"a\xffz", "a?z"},
                                              {"\xc3", "?"},
                                              {"\xc3(", "?("},
                                              {"\xe2\x82", "?"},
                                              {"\xe2(\xa1", "?(?"},
                                              {"\xe0\x80\xaf", "???"},
                                              {"\xed\xa0\x80", "???"},
                                              {"\xf0\x9f\x98", "?"},
                                              {"\xf0\x80\x80\xaf", "????"},
                                              {"\xf4\x90\x80\x80", "????"},
                                              {"\xf4\x8f\xbf", "?"},
                                              {"\xf1\x80\x80x", "?x"},
                                              {"\xc0\xaf\xc3\xa9", "??\xc3\xa9"}};
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
        Str got = {0}, want = {0};
        utf8_replace(&got, replaced[i][0], strlen(replaced[i][0]));
        for (const char *c = replaced[i][1]; *c; c++)
            if (*c == '?')
                str_puts(&want, "\ufffd");
            else
                str_append(&want, c, 1);
        assert_string_equal(got.data, want.data);
        str_free(&got), str_free(&want);
    }
}

static void expect_same(const Tokenizer *a, const Tokenizer *b) {
    for (int i = 0; i < TEXTS; i++) {
        Ints x = encode(a, texts[i], strlen(texts[i]), 1), y = encode(b, texts[i], strlen(texts[i]), 1);
        assert_int_equal(x.len, y.len);
        if (x.len) assert_memory_equal(x.data, y.data, x.len * sizeof *x.data);
        ints_free(&x), ints_free(&y);
    }
    assert_int_equal(tokenizer_size(a), tokenizer_size(b));
}

static void test_add_and_save(void **state) {
    (void)state;
    char path[] = "/tmp/latentr3-tokenizer-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int m = 0; m < 2; m++) {
        Err err;
        Tokenizer *t = open_model(models[m]), *again;
        assert_int_equal(tokenizer_add(t, "<|Thought|>", &err), 1500); // it has it
        assert_int_equal(tokenizer_size(t), 1501);
        assert_int_equal(tokenizer_add(t, "<|New \"é\"|>", &err), 1501);
        assert_int_equal(tokenizer_add(t, "<|New \"é\"|>", &err), 1501);
        assert_int_equal(tokenizer_add(t, "Ġthe", &err), tokenizer_id(t, "Ġthe")); // of the model's: becomes an added one
        assert_int_equal(tokenizer_add(t, "", &err), -1);
        assert_int_equal(tokenizer_add(t, "\xff", &err), -1);
        assert_int_equal(tokenizer_size(t), 1502);
        Ints ids = encode(t, "x<|New \"é\"|>yĠthe", strlen("x<|New \"é\"|>yĠthe"), 1);
        assert_int_equal(ids.len, 4);
        assert_int_equal(ids.data[1], 1501);
        assert_int_equal(ids.data[3], tokenizer_id(t, "Ġthe"));
        ints_free(&ids);
        assert_int_equal(tokenizer_save(t, path, &err), 0);
        if (tokenizer_open(&again, path, &err)) fail_msg("%s", err.message);
        expect_same(t, again);
        assert_int_equal(tokenizer_id(again, "<|New \"é\"|>"), 1501);
        assert_int_equal(tokenizer_add(again, "<|Newer|>", &err), 1502);
        tokenizer_close(t);
        tokenizer_close(again);
    }
    unlink(path);
}

// The pieces of a GGUF file, taken from a tokenizer.json.
typedef struct Pieces {
    TokenizerPieces p;
    json_t *doc;
    char **merge;
} Pieces;

static Pieces pieces_of(const Tokenizer *t, const char *folder, const char *pre, size_t padding) {
    Err err;
    char *path = file_join(folder, "tokenizer.json");
    Pieces out = {.doc = json_read(path, 0, &err)};
    free(path);
    assert_non_null(out.doc);
    json_t *merges = json_object_get(json_object_get(out.doc, "model"), "merges");
    size_t n = (size_t)tokenizer_size(t), n_merges = json_array_size(merges);
    const char **token = mem_alloc(n + padding, sizeof *token);
    size_t *token_len = mem_alloc(n + padding, sizeof *token_len), *merge_len = mem_alloc(n_merges, sizeof *merge_len);
    int32_t *kind = mem_alloc(n + padding, sizeof *kind);
    out.merge = mem_alloc(n_merges, sizeof *out.merge);
    for (size_t i = 0; i < n + padding; i++) {
        token[i] = i < n ? tokenizer_token(t, (int)i) : "[PAD]";
        token_len[i] = strlen(token[i]);
        kind[i] = i < 1497 ? 1 : i < n ? 3 : 5;
    }
    for (size_t i = 0; i < n_merges; i++) {
        Str s = {0};
        const json_t *pair = json_array_get(merges, i);
        str_printf(&s, "%s %s", json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1)));
        out.merge[i] = s.data;
        merge_len[i] = s.len;
    }
    out.p = (TokenizerPieces){.n_tokens = n + padding,
                              .n_merges = n_merges,
                              .token = token,
                              .token_len = token_len,
                              .merge = (const char *const *)out.merge,
                              .merge_len = merge_len,
                              .kind = kind,
                              .pre_tokenizer = pre};
    return out;
}

static void pieces_free(Pieces *p) {
    for (size_t i = 0; i < p->p.n_merges; i++) free(p->merge[i]);
    free(p->merge);
    free((void *)p->p.token), free((void *)p->p.token_len), free((void *)p->p.merge_len), free((void *)p->p.kind);
    json_decref(p->doc);
}

static void expect_refused(Pieces *p, const char *phrase) {
    Err err = {0};
    Tokenizer *t;
    assert_int_equal(tokenizer_from_pieces(&t, &p->p, "x.gguf", &err), -1);
    assert_null(t);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.message, "x.gguf: "));
    if (!strstr(err.message, phrase)) fail_msg("\"%s\" does not say \"%s\"", err.message, phrase);
}

static void test_pieces(void **state) {
    (void)state;
    static const char *const pre[] = {"qwen2", "smollm"};
    for (int m = 0; m < 2; m++) {
        Err err;
        Tokenizer *t = open_model(models[m]), *made;
        Pieces p = pieces_of(t, models[m], pre[m], 100);
        if (tokenizer_from_pieces(&made, &p.p, "x.gguf", &err)) fail_msg("%s", err.message);
        expect_same(t, made); // and the padding is gone
        assert_int_equal(tokenizer_add(made, "<|New|>", &err), 1501);
        tokenizer_close(made);
        static const char *const others[] = {"llama-bpe", "gpt-2", "default", "", NULL};
        for (int i = 0; i < 5; i++) {
            p.p.pre_tokenizer = others[i];
            if (tokenizer_from_pieces(&made, &p.p, "x.gguf", &err)) fail_msg("%s", err.message);
            Ints ids = encode(made, "12", 2, 1); // one piece in these, two in the others
            assert_int_equal(tokenizer_id(made, "12") >= 0 ? 1 : 2, ids.len);
            ints_free(&ids);
            tokenizer_close(made);
        }
        pieces_free(&p);
        tokenizer_close(t);
    }
}

static void test_bad_pieces(void **state) {
    (void)state;
    Tokenizer *t = open_model(models[0]);
    Pieces p = pieces_of(t, models[0], "qwen2", 0);
    const char **token = (const char **)p.p.token;
    int32_t *kind = (int32_t *)p.p.kind;
    size_t *token_len = (size_t *)p.p.token_len, *merge_len = (size_t *)p.p.merge_len, n = p.p.n_tokens;
    p.p.pre_tokenizer = "deepseek-llm", expect_refused(&p, "pre-tokenizer \"deepseek-llm\"");
    p.p.pre_tokenizer = "qwen2";
    p.p.n_tokens = 0, expect_refused(&p, "0 tokens");
    p.p.n_tokens = 200, expect_refused(&p, "for the byte");
    p.p.n_tokens = n;
    kind[3] = 6, expect_refused(&p, "token 3: kind 6");
    kind[3] = -1, expect_refused(&p, "token 3: kind -1");
    kind[3] = 1;
    const char *fourth = token[4];
    token[4] = token[5], expect_refused(&p, "token 5: token \"&\" has two ids, 4 and 5");
    token[4] = "\xff", expect_refused(&p, "token 4: its text is no UTF-8");
    token[4] = fourth, token_len[4] = 0, kind[4] = 3, expect_refused(&p, "token 4: its text is empty");
    token_len[4] = 1, kind[4] = 1;
    size_t seventh = merge_len[7];
    merge_len[7] = 1, expect_refused(&p, "merge 7: no blank");
    merge_len[7] = seventh;
    char *kept = p.merge[7];
    p.merge[7] = p.merge[8], expect_refused(&p, "merge 8");
    p.merge[7] = kept;
    pieces_free(&p);
    tokenizer_close(t);
}

#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SECONDS_LIMIT = 10 };
#elif defined(__has_feature)
enum { SECONDS_LIMIT = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ? 10 : 1 };
#else
enum { SECONDS_LIMIT = 1 };
#endif

static double seconds_for(const Tokenizer *t, const char *text, size_t len) {
    clock_t start = clock(); // of the processor: other programs do not count
    Ints ids = encode(t, text, len, 1);
    clock_t end = clock();
    assert_true(ids.len > 0);
    ints_free(&ids);
    return (double)(end - start) / CLOCKS_PER_SEC;
}

// 1 MB of the worst texts.
static void test_large(void **state) {
    (void)state;
    static const char *const units[] = {"a", " ", "ab", "\n", "\xcc\xa3\xcc\x81", "<|im_end", "1", "\xe4\xb8\xad", "'"};
    for (int m = 0; m < 2; m++) {
        Tokenizer *t = open_model(models[m]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            Str text = {0};
            while (text.len < 1000000) str_puts(&text, units[u]);
            double seconds = seconds_for(t, text.data, text.len);
            if (!(seconds <= SECONDS_LIMIT)) fail_msg("%s: \"%s\" takes %.2f s", models[m], units[u], seconds);
            str_free(&text);
        }
        tokenizer_close(t);
    }
}

static void *encode_all(void *arg) {
    const Tokenizer *t = arg;
    uint64_t sum = 0;
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < TEXTS; i++) {
            Ints ids = {0};
            if (tokenizer_encode(t, &ids, texts[i], strlen(texts[i]), 1, NULL)) return NULL;
            for (size_t k = 0; k < ids.len; k++) sum = sum * 31 + (uint64_t)ids.data[k] + 1;
            ints_free(&ids);
        }
    return (void *)(uintptr_t)(sum | 1);
}

static void test_threads(void **state) {
    (void)state;
    Tokenizer *t = open_model(models[0]);
    void *alone = encode_all(t), *result;
    pthread_t thread[4];
    assert_non_null(alone);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, encode_all, t), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(thread[i], &result), 0);
        assert_ptr_equal(result, alone);
    }
    tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_prompt_text),    cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_specials),     cmocka_unit_test(test_stripped_twice), cmocka_unit_test(test_not_utf8),
        cmocka_unit_test(test_add_and_save), cmocka_unit_test(test_pieces),         cmocka_unit_test(test_bad_pieces),
        cmocka_unit_test(test_large),        cmocka_unit_test(test_threads),        cmocka_unit_test(test_index_texts),
        cmocka_unit_test(test_text_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
