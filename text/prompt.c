#include "text/prompt.h"

#include <string.h>

void prompt_instruction_text(Str *out, const char *category) {
    str_printf(out,
               "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
               "response that appropriately completes the request. \n\n### Instruction:\nGiven a list of %s the user recetenly "
               "enjoy, please write a new %s that the user may bought\n",
               category, category);
}

void prompt_input_text(Str *out, const char *category, const char *const *title, int n) {
    str_printf(out, "### User Input: \nThe user has palyed the following %ss before: ", category);
    for (int i = n > PROMPT_HISTORY ? n - PROMPT_HISTORY : 0, first = i; i < n; i++)
        str_printf(out, "%s\"%s\"", i > first ? ", " : "", title[i]);
    str_puts(out, "\n\n### Response: \n");
}

void prompt_answer_text(Str *out, const char *title) {
    str_printf(out, "\"%s\"\n", title);
}

// The words of a piece are plain text throughout: a title that spells a special token must not become one.
static int encode(Ints *ids, const Tokenizer *t, Str *text, Err *err) {
    int status = tokenizer_encode(t, ids, text->data, text->len, 0, err);
    str_free(text);
    return status;
}

int prompt_instruction(Ints *ids, const Tokenizer *t, const PromptStyle *style, Err *err) {
    Str text = {0};
    prompt_instruction_text(&text, style->category);
    if (style->bos_id >= 0) ints_push(ids, style->bos_id);
    return encode(ids, t, &text, err);
}

int prompt_input(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *const *title, int n, Err *err) {
    Str text = {0};
    prompt_input_text(&text, style->category, title, n);
    return encode(ids, t, &text, err);
}

int prompt_answer(Ints *ids, const Tokenizer *t, const PromptStyle *style, const char *title, Err *err) {
    Str text = {0};
    prompt_answer_text(&text, title);
    if (encode(ids, t, &text, err)) return -1;
    ints_push(ids, style->eos_id);
    return 0;
}
