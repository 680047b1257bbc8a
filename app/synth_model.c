// Merges are learnt as Sennrich et al. 2016 do: words with their counts, the commonest adjacent pair joined, again and again.
#include "app/synth_model.h"
#include "app/model_io.h"
#include "base/arena.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "data/intern.h"
#include "text/prompt.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, MERGES = 1200, TOKENS = BYTES + MERGES + 1, WORD_SYMBOLS = 48 };

typedef struct Word {
    int count, len;
    uint16_t symbol[WORD_SYMBOLS]; // token ids
} Word;

typedef struct Bpe {
    int words, cap, tokens, merges;
    Word *word;
    Intern seen;         // the words' letters, in their order
    char *token[TOKENS]; // in the byte-level alphabet; 0..255 are the bytes
    char *merge[MERGES];
} Bpe;

// The letter that stands for a byte in a byte-level vocabulary: printable Latin-1 stands for itself.
static char *byte_letter(int byte) {
    int shift = 0;
    for (int b = 0; b <= byte; b++) {
        int printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
        if (b == byte) {
            char text[4];
            size_t n = utf8_put(text, printable ? (uint32_t)b : (uint32_t)(256 + shift));
            return mem_strndup(text, n);
        }
        shift += !printable;
    }
    return NULL;
}

static void bpe_count(Bpe *b, const char *s, size_t len) {
    if (len > WORD_SYMBOLS) return;
    const int i = intern_put(&b->seen, s, len);
    if (i < b->words) {
        b->word[i].count++;
        return;
    }
    if (b->words == b->cap) b->word = mem_realloc(b->word, (size_t)(b->cap = 2 * b->cap + 64), sizeof *b->word);
    Word *w = &b->word[b->words++];
    *w = (Word){.count = 1, .len = (int)len};
    for (size_t k = 0; k < len; k++) w->symbol[k] = (unsigned char)s[k];
}

static int letter_class(char c) {
    return isspace((unsigned char)c) ? 0 : isalpha((unsigned char)c) ? 1 : 2;
}

// A word is a run of letters, or of signs, with the blank before it: as GPT-2's pattern cuts text without digits.
static void bpe_read(Bpe *b, const char *text, size_t len) {
    for (size_t i = 0; i < len;) {
        size_t first = i + (text[i] == ' '), j = first;
        while (j < len && letter_class(text[j]) && letter_class(text[j]) == letter_class(text[first])) j++;
        if (j > first)
            bpe_count(b, text + i, j - i);
        else
            j = i + 1;
        i = j;
    }
}

static void word_merge(Word *w, int left, int right, int merged) {
    int n = 0;
    for (int i = 0; i < w->len; i++) {
        int pair = i + 1 < w->len && w->symbol[i] == left && w->symbol[i + 1] == right;
        w->symbol[n++] = (uint16_t)(pair ? merged : w->symbol[i]);
        i += pair;
    }
    w->len = n;
}

// Joins the commonest pair; of equals the one with the smallest ids. Returns 0 where no pair is left that occurs twice.
static int bpe_merge(Bpe *b, int *count) { // count (TOKENS, TOKENS)
    memset(count, 0, sizeof *count * TOKENS * TOKENS);
    int best = 0;
    for (int i = 0; i < b->words; i++)
        for (int j = 0; j + 1 < b->word[i].len; j++)
            count[b->word[i].symbol[j] * TOKENS + b->word[i].symbol[j + 1]] += b->word[i].count;
    for (int p = 1; p < b->tokens * TOKENS; p++)
        if (count[p] > count[best]) best = p;
    if (count[best] < 2) return 0;
    const char *left = b->token[best / TOKENS], *right = b->token[best % TOKENS];
    Str merge = {0}, token = {0};
    str_printf(&merge, "%s %s", left, right);
    str_printf(&token, "%s%s", left, right);
    for (int i = 0; i < b->words; i++) word_merge(&b->word[i], best / TOKENS, best % TOKENS, b->tokens);
    b->merge[b->merges++] = merge.data;
    b->token[b->tokens++] = token.data;
    return 1;
}

static void bpe_learn(Bpe *b, const char *text, size_t len) {
    *b = (Bpe){.tokens = BYTES};
    for (int i = 0; i < BYTES; i++) b->token[i] = byte_letter(i);
    bpe_read(b, text, len);
    int *count = mem_alloc((size_t)TOKENS * TOKENS, sizeof *count);
    while (b->merges < MERGES && bpe_merge(b, count)) {
    }
    free(count);
    b->token[b->tokens++] = mem_strndup("<|endoftext|>", 13);
}

static void bpe_free(Bpe *b) {
    for (int i = 0; i < b->tokens; i++) free(b->token[i]);
    for (int i = 0; i < b->merges; i++) free(b->merge[i]);
    free(b->word);
    intern_free(&b->seen);
}

static int bpe_tokenizer(Tokenizer **t, const Bpe *b, Err *err) {
    size_t token_len[TOKENS], merge_len[MERGES];
    int32_t kind[TOKENS];
    for (int i = 0; i < b->tokens; i++) {
        token_len[i] = strlen(b->token[i]);
        kind[i] = i + 1 < b->tokens ? 1 : 3; // the last is end-of-text, a control token
    }
    for (int i = 0; i < b->merges; i++) merge_len[i] = strlen(b->merge[i]);
    TokenizerPieces pieces = {.n_tokens = (size_t)b->tokens,
                              .n_merges = (size_t)b->merges,
                              .token = (const char *const *)b->token,
                              .token_len = token_len,
                              .merge = (const char *const *)b->merge,
                              .merge_len = merge_len,
                              .kind = kind,
                              .pre_tokenizer = "gpt-2"};
    return tokenizer_from_pieces(t, &pieces, "synthetic vocabulary", err);
}

static int write_model(OpenModel *m, const char *folder, int vocabulary, SynthShape shape, Err *err) {
    ModelConfig c = {.family = FAMILY_LLAMA,
                     .L = shape.layers,
                     .D = shape.width,
                     .H = SYNTH_HEADS,
                     .G = SYNTH_HEADS / 2,
                     .K = shape.width / SYNTH_HEADS,
                     .F = 3 * shape.width,
                     .V = vocabulary,
                     .tied = 1,
                     .max_positions = 4096,
                     .rms_eps = 1e-5f,
                     .rope_base = 10000,
                     .bos_id = -1,
                     .eos_id = vocabulary - 1,
                     .add_bos = 0};
    if (ops_open(&m->ops, NULL, 0, DTYPE_F32, err) || llm_init(&m->llm, m->ops, &c, c.max_positions, err)) return -1;
    llm_init_random(&m->llm, shape.seed);
    m->tokenizer_config = json_pack("{s:b, s:i}", "clean_up_tokenization_spaces", 0, "model_max_length", c.max_positions);
    m->style = (PromptStyle){.bos_id = -1, .eos_id = c.eos_id};
    return model_io_save(m, folder, TENSOR_F32, err);
}

// What prompts and answers of the data are made of.
static void model_text(Str *text, const Dataset *d) {
    prompt_instruction_text(text, d->category);
    prompt_input_text(text, d->category, NULL, 0);
    for (int i = 0; i < d->items.n; i++) str_printf(text, "\"%s\", \"%s\"\n", d->items.title[i], d->items.title[i]);
    // Each piece of the fixed text occurs once; twice makes its words worth a token.
    prompt_instruction_text(text, d->category);
    prompt_input_text(text, d->category, NULL, 0);
}

int synth_model_write(const char *folder, const Dataset *data, SynthShape shape, Err *err) {
    Bpe bpe;
    OpenModel m = {0};
    Str text = {0};
    model_text(&text, data);
    bpe_learn(&bpe, text.data, text.len);
    int status = bpe_tokenizer(&m.tokenizer, &bpe, err);
    if (status == 0) status = write_model(&m, folder, bpe.tokens, shape, err);
    model_io_close(&m);
    bpe_free(&bpe);
    str_free(&text);
    return status;
}
