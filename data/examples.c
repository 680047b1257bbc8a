#include "data/examples.h"
#include "base/arena.h"
#include "data/lines.h"

#include <stdlib.h>
#include <string.h>

// Offsets first, addresses when the memory no longer moves.
typedef struct Place {
    size_t prompt, answer;
} Place;

// Behind all ids, what is left of the instruction and the input without their first `cut` tokens, as one run.
static void stand_alone(Examples *e, Place *place, int cut, int input_len) {
    const int instruction_len = prompt_instruction_len(&e->common);
    const size_t input = place->prompt;
    place->prompt = e->ids.len;
    for (int i = cut; i < instruction_len; i++) ints_push(&e->ids, e->common.ids.data[i]);
    for (int i = cut > instruction_len ? cut - instruction_len : 0; i < input_len; i++)
        ints_push(&e->ids, e->ids.data[input + (size_t)i]);
}

// Returns 0, EXAMPLE_TOO_LONG with err where the answer does not fit, or -1.
enum { EXAMPLE_TOO_LONG = 1 };
static int example_make(Examples *e, Example *x, Place *place, const Row *row, const Tokenizer *t, const PromptStyle *style,
                        int thoughts, int limit_tokens, Err *err) {
    place->prompt = e->ids.len;
    if (prompt_input(&e->ids, t, style, row->title, row->text, row->n, err)) return -1;
    const int input_len = (int)(e->ids.len - place->prompt);
    place->answer = e->ids.len;
    if (prompt_answer(&e->ids, t, style, row->target_title, row->target_text, err)) return -1;
    x->answer_len = (int)(e->ids.len - place->answer);
    const int whole = prompt_instruction_len(&e->common) + input_len, room = limit_tokens - thoughts - x->answer_len;
    if (room < 1) {
        e->ids.len = place->prompt;
        err_set(err, ERR_DATA, "an answer of %d tokens does not fit in %d: \"%.80s\"", x->answer_len, limit_tokens,
                row->target_title);
        return EXAMPLE_TOO_LONG;
    }
    x->shared = prompt_shares(&e->common, e->ids.data + place->prompt, input_len, room, &x->prompt_len);
    if (x->shared)
        place->prompt += (size_t)(input_len - x->prompt_len);
    else
        stand_alone(e, place, whole - x->prompt_len, input_len);
    e->shortened += whole > room;
    const int total = x->prompt_len + (x->shared ? (int)e->common.ids.len : 0) + thoughts + x->answer_len;
    if (total > e->longest) e->longest = total;
    e->answer_tokens += x->answer_len;
    return 0;
}

int examples_make(Examples *e, Rows *rows, const Tokenizer *t, const PromptStyle *style, int thoughts, int limit_tokens,
                  int strict, Err *err) {
    *e = (Examples){.example = mem_zalloc((size_t)rows->n + 1, sizeof(Example))};
    Place *place = mem_alloc((size_t)rows->n + 1, sizeof *place);
    BadLines bad = {.name = rows->name, .strict = strict};
    int status = prompt_common(&e->common, t, style, err);
    for (int i = 0; i < rows->n && status == 0; i++) {
        const Row row = rows->row[i];
        Err why = {0};
        status = example_make(e, &e->example[e->n], &place[e->n], &row, t, style, thoughts, limit_tokens, &why);
        if (status) err_prefix(&why, "%s row %d", rows->name, row.number);
        if (status < 0) *err = why;
        if (status == 0) rows->row[e->n++] = row;
        if (status == EXAMPLE_TOO_LONG) status = lines_bad(&bad, &why, err);
    }
    if (status == 0) rows->n = e->n, lines_bad_total(&bad), status = lines_bad_only(&bad, e->n, err);
    for (int i = 0; i < e->n && status == 0; i++) {
        e->example[i].prompt = e->ids.data + place[i].prompt;
        e->example[i].answer = e->ids.data + place[i].answer;
        e->example[i].number = rows->row[i].number;
    }
    free(place);
    if (status) examples_free(e);
    return status;
}

int examples_join(const Example *a, const Example *b) {
    enum { WORTH_A_NODE = 16 };
    const int most = (a->prompt_len < b->prompt_len ? a->prompt_len : b->prompt_len) - 1;
    int n = 0;
    while (a->shared && b->shared && n < most && a->prompt[n] == b->prompt[n]) n++;
    return n < WORTH_A_NODE ? 0 : n;
}

void examples_free(Examples *e) {
    free(e->example);
    ints_free(&e->common.ids);
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
