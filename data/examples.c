#include "data/examples.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

// Offsets first, addresses when the memory no longer moves.
typedef struct Place {
    size_t prompt, answer;
} Place;

static int example_make(Examples *e, Example *x, Place *place, const Row *row, const Tokenizer *t, const PromptStyle *style,
                        int thoughts, int limit_tokens, Err *err) {
    place->prompt = e->ids.len;
    if (prompt_input(&e->ids, t, style, row->title, row->text, row->n, err)) return -1;
    int input_len = (int)(e->ids.len - place->prompt), instruction_len = (int)e->instruction.len;
    place->answer = e->ids.len;
    if (prompt_answer(&e->ids, t, style, row->target_title, row->target_text, err)) return -1;
    x->answer_len = (int)(e->ids.len - place->answer);
    int room = limit_tokens - thoughts - x->answer_len, cut = instruction_len + input_len - room;
    if (room < 1)
        return err_set(err, ERR_DATA, "an answer of %d tokens does not fit in %d: \"%.80s\"", x->answer_len, limit_tokens,
                       row->target_title);
    x->prompt_len = input_len;
    x->shared = 1;
    if (cut > 0) {
        e->shortened++;
        x->shared = 0;
        x->prompt_len = room;
        size_t whole = e->ids.len; // what is left of the instruction and the input, as one run
        if (cut < instruction_len) ints_append(&e->ids, e->instruction.data + cut, (size_t)(instruction_len - cut));
        int from = cut > instruction_len ? cut - instruction_len : 0;
        for (int i = from; i < input_len; i++) ints_push(&e->ids, e->ids.data[place->prompt + (size_t)i]);
        place->prompt = whole;
    }
    int total = x->prompt_len + (x->shared ? instruction_len : 0) + thoughts + x->answer_len;
    if (total > e->longest) e->longest = total;
    e->answer_tokens += x->answer_len;
    return 0;
}

int examples_make(Examples *e, const Rows *rows, const Tokenizer *t, const PromptStyle *style, int thoughts, int limit_tokens,
                  Err *err) {
    *e = (Examples){.n = rows->n, .example = mem_zalloc((size_t)rows->n, sizeof(Example))};
    Place *place = mem_alloc((size_t)rows->n, sizeof *place);
    int status = prompt_instruction(&e->instruction, t, style, err);
    for (int i = 0; i < rows->n && status == 0; i++) {
        status = example_make(e, &e->example[i], &place[i], &rows->row[i], t, style, thoughts, limit_tokens, err);
        if (status) err_prefix(err, "%s row %d", rows->name, rows->row[i].number);
    }
    for (int i = 0; i < rows->n && status == 0; i++) {
        e->example[i].prompt = e->ids.data + place[i].prompt;
        e->example[i].answer = e->ids.data + place[i].answer;
        e->example[i].number = rows->row[i].number;
    }
    free(place);
    if (status) examples_free(e);
    return status;
}

void examples_free(Examples *e) {
    free(e->example);
    ints_free(&e->instruction);
    ints_free(&e->ids);
    *e = (Examples){0};
}

void examples_sample(Examples *e, int n, uint64_t seed) {
    if (n <= 0 || n >= e->n) return;
    uint32_t *order = rows_draw(e->n, n, seed);
    e->answer_tokens = 0;
    for (int i = 0; i < n; i++) {
        e->example[i] = e->example[order[i]];
        e->answer_tokens += e->example[i].answer_len;
    }
    e->n = n;
    free(order);
}
