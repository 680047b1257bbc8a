// latentr3 score: log-probability and perplexity of each row's true answer.
#include "app/commands.h"
#include "app/use.h"
#include "base/log.h"
#include "rec/score.h"

#include <math.h>
#include <stdlib.h>

static void print_scores(const Options *o, const Rows *rows, const RowScore *score) {
    json_t *list = json_array();
    RowScore all = {0};
    if (!o->json) printf("   row  tokens     logprob  perplexity  target\n");
    for (int i = 0; i < rows->n; i++) {
        RowScore s = score[i];
        all.tokens += s.tokens;
        all.logprob += s.logprob;
        if (o->json)
            json_array_append_new(list, json_pack("{s:i, s:i, s:f, s:o}", "row", i, "tokens", s.tokens, "logprob", s.logprob,
                                                  "perplexity", json_finite(score_perplexity(s))));
        else
            printf("%6d  %6d  %10.4f  %10.4f  %s\n", i, s.tokens, s.logprob, score_perplexity(s), rows->row[i].target_title);
    }
    json_t *json = json_pack("{s:o, s:i, s:f, s:o}", "rows", list, "tokens", all.tokens, "loss", -all.logprob / all.tokens,
                             "perplexity", json_finite(score_perplexity(all)));
    if (o->json)
        use_print(json);
    else
        printf("   all  %6d  %10.4f  %10.4f  loss %.6f a token\n", all.tokens, all.logprob, score_perplexity(all),
               -all.logprob / all.tokens);
    json_decref(json);
}

static int score_all(Use *u, const Options *o, const Examples *e, const Rows *rows, Err *err) {
    Reader r;
    int users = o->batch < rows->n ? o->batch : rows->n;
    if (score_open(&r, &u->model.llm, u->model.tokenizer, &u->model.style, users, PROMPT_TRAIN_TOKENS, err)) return -1;
    RowScore *score = mem_alloc((size_t)rows->n, sizeof *score);
    int status = 0;
    Progress progress;
    progress_start(&progress, "score", "rows", (uint64_t)rows->n);
    for (int i = 0; i < rows->n; i += users) {
        int n = rows->n - i < users ? rows->n - i : users;
        score_examples(&r, e, i, n, score + i);
        progress_update(&progress, (uint64_t)(i + n), " ");
    }
    progress_finish(&progress);
    for (int i = 0; i < rows->n && status == 0; i++)
        if (!isfinite(score[i].logprob))
            status = err_set(err, ERR_DATA, "%s row %d: the log-probability is not finite", rows->name, i);
    if (status == 0) print_scores(o, rows, score);
    free(score);
    reader_close(&r);
    return status;
}

static int score_split(Use *u, const Options *o, Err *err) {
    Rows rows;
    Examples e;
    if (dataset_rows(&u->data, &rows, o->split, o->max_rows, err)) return -1;
    rows_sample(&rows, o->sample, ROWS_SAMPLE_SEED);
    rows_cut_histories(&rows, PROMPT_HISTORY);
    rows_retitle_targets(&rows, &u->data.items);
    if (o->shuffle_history) rows_shuffle_histories(&rows, (uint64_t)o->seed);
    int status = rows.n ? 0 : err_set(err, ERR_DATA, "%s: %s.csv holds no rows", o->data, o->split);
    if (status == 0)
        status = examples_make(&e, &rows, u->model.tokenizer, &u->model.style, u->model.llm.config.thoughts,
                               PROMPT_TRAIN_TOKENS, o->strict, err);
    if (status == 0) {
        status = score_all(u, o, &e, &rows, err);
        examples_free(&e);
    }
    rows_free(&rows);
    return status;
}

int cmd_score(const Options *o, Err *err) {
    Use u;
    int status = use_open(&u, o, err);
    if (status == 0) status = score_split(&u, o, err);
    use_close(&u);
    return status;
}
