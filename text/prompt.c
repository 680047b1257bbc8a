#include "text/prompt.h"

#include <string.h>

void prompt_instruction_text(Str *out, const char *category) {
    str_printf(out,
               "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
               "response that appropriately completes the request. \n\n### Instruction:\nGiven a list of %s the user recetenly "
               "enjoy, please write a new %s that the user may bought\n",
               category, category);
}

static void input_head(Str *out, const char *category) {
    str_printf(out, "### User Input: \nThe user has palyed the following %ss before: ", category);
}

static void input_tail(Str *out) {
    str_puts(out, "\n\n### Response: \n");
}

void prompt_input_text(Str *out, const char *category, const char *const *title, int n) {
    input_head(out, category);
    for (int i = n > PROMPT_HISTORY ? n - PROMPT_HISTORY : 0, first = i; i < n; i++)
        str_printf(out, "%s\"%s\"", i > first ? ", " : "", title[i]);
    input_tail(out);
}

void prompt_answer_text(Str *out, const char *title) {
    str_printf(out, "\"%s\"\n", title);
}

size_t prompt_piece(const char *text, size_t from, size_t *begin) {
    for (const char *at = text + from; (at = strchr(at, '<')); at++) {
        size_t inside = strcspn(at + 1, "<>");
        if (inside == 0 || at[1 + inside] != '>') continue;
        *begin = (size_t)(at - text);
        return inside + 2;
    }
    return 0;
}

// Text goes in piece by piece: `plain` is what has not been tokenized yet.
typedef struct Encoder {
    Ints *ids;
    const Tokenizer *t;
    Str plain;
    int how; // what comes behind a token of an index text goes on, as where the whole is one text
} Encoder;

static int flush(Encoder *e, Err *err) {
    int status = e->plain.len ? tokenizer_encode(e->t, e->ids, e->plain.data, e->plain.len, e->how, err) : 0;
    str_clear(&e->plain);
    return status;
}

static int put_text(Encoder *e, const char *text, Err *err) {
    size_t done = 0, at = 0, len;
    for (size_t from = 0; (len = prompt_piece(text, from, &at)) > 0; from = at + len) {
        int id = tokenizer_text_token(e->t, text + at, len);
        if (id < 0) continue;
        str_append(&e->plain, text + done, at - done);
        if (flush(e, err)) return -1;
        ints_push(e->ids, id);
        e->how = TOKENIZER_INSIDE;
        done = at + len;
    }
    str_puts(&e->plain, text + done);
    return 0;
}

static int put_item(Encoder *e, const char *title, const char *text, Err *err) {
    str_puts(&e->plain, "\"");
    if (!text) str_puts(&e->plain, title);
    if (text && put_text(e, text, err)) return -1;
    str_puts(&e->plain, "\"");
    return 0;
}

static int finish(Encoder *e, int status, Err *err) {
    if (status == 0) status = flush(e, err);
    str_free(&e->plain);
    return status;
}

int prompt_instruction(Ints *ids, const Tokenizer *t, const PromptStyle *style, Err *err) {
    Encoder e = {.ids = ids, .t = t};
    prompt_instruction_text(&e.plain, style->category);
    if (style->bos_id >= 0) ints_push(ids, style->bos_id);
    return finish(&e, 0, err);
}

int prompt_input(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *const *title, const char *const *text,
                 int n, Err *err) {
    Encoder e = {.ids = ids, .t = t};
    const int first = n > PROMPT_HISTORY ? n - PROMPT_HISTORY : 0;
    int status = 0;
    input_head(&e.plain, style->category);
    for (int i = first; i < n && status == 0; i++) {
        if (i > first) str_puts(&e.plain, ", ");
        status = put_item(&e, title[i], style->index_histories && text ? text[i] : NULL, err);
    }
    input_tail(&e.plain);
    return finish(&e, status, err);
}

// Titles that begin as differently as titles do, so that no token that depends on the first of them counts.
static const char *const probe[] = {"A", "the", "7", "(x)", "\"", " ", "\xc3\xa9", "\xe6\xbc\xa2", "<a_1>"};

int prompt_common(PromptCommon *c, const Tokenizer *t, const PromptStyle *style, Err *err) {
    Ints input = {0};
    *c = (PromptCommon){0};
    int status = prompt_instruction(&c->ids, t, style, err);
    const size_t begin = c->ids.len;
    for (size_t i = 0; i < sizeof probe / sizeof *probe && status == 0; i++) {
        input.len = 0;
        status = prompt_input(&input, t, style, &probe[i], NULL, 1, err);
        if (i == 0) ints_append(&c->ids, input.data, input.len);
        size_t same = 0;
        while (begin + same < c->ids.len && same < input.len && c->ids.data[begin + same] == input.data[same]) same++;
        c->ids.len = begin + same;
    }
    c->of_input = (int)(c->ids.len - begin);
    ints_free(&input);
    return status;
}

int prompt_shares(const PromptCommon *c, const int32_t *input, int n, int room, int *own) {
    const int instruction = prompt_instruction_len(c), whole = instruction + n;
    int shares = whole <= room && n > c->of_input;
    for (int i = 0; i < c->of_input && shares; i++) shares = c->ids.data[instruction + i] == input[i];
    *own = shares ? n - c->of_input : whole <= room ? whole : room;
    return shares;
}

int prompt_answer(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *title, const char *text, Err *err) {
    Encoder e = {.ids = ids, .t = t};
    int status = put_item(&e, title, style->index_answers ? text : NULL, err);
    str_puts(&e.plain, "\n");
    if (finish(&e, status, err)) return -1;
    ints_push(ids, style->eos_id);
    return 0;
}

int prompt_item(Ints *ids, const Tokenizer *t, const char *text, int pieces, Err *err) {
    Encoder e = {.ids = ids, .t = t};
    int status = 0;
    if (pieces)
        status = put_text(&e, text, err);
    else
        str_puts(&e.plain, text);
    return finish(&e, status, err);
}
