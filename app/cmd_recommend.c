// latentr3 recommend: the next items for one history.
#include "app/commands.h"
#include "app/use.h"
#include "base/log.h"

#include <stdlib.h>

static void print_items(const Use *u, const Options *o, const Recommendation *item, int n) {
    const Items *items = &u->data.items;
    json_t *list = json_array();
    if (!o->json && n > 0) printf("rank     score  item\n");
    for (int i = 0; i < n; i++) {
        const char *id = items->id[item[i].item], *title = items->title[item[i].item];
        if (o->json)
            json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:f}", "rank", i + 1, "id", id, "title", title, "score",
                                                  (double)item[i].score));
        else
            printf("%4d  %8.4f  %s (%s)\n", i + 1, (double)item[i].score, title, id);
    }
    json_t *json = json_pack("{s:o, s:I}", "items", list, "illegal_beams", (json_int_t)u->recommender.stats.illegal);
    if (o->json) use_print(json);
    json_decref(json);
}

static int recommend(Use *u, const Options *o, Err *err) {
    Ranker ranker;
    if (use_ranker(u, o, o->k, 1, &ranker, err)) return -1;
    const TextList *titles = &o->history;
    const char **text = mem_zalloc((size_t)titles->n, sizeof *text);
    History history = {.title = titles->text, .text = text, .n = titles->n};
    for (int i = 0; i < titles->n; i++) {
        int known = items_by_title(&u->data.items, titles->text[i]);
        if (known >= 0)
            text[i] = u->data.items.text[known];
        else
            log_warn("\"%s\" is not in the catalogue; it stands in the prompt as it is", titles->text[i]);
    }
    if (titles->n > PROMPT_HISTORY) log_info("the last %d of %d titles stand in the prompt", PROMPT_HISTORY, titles->n);
    Recommendation *item = mem_alloc((size_t)o->k, sizeof *item);
    int found, status = ranker.rank(ranker.self, &history, 1, item, &found, err);
    if (status) err_prefix(err, "%s", o->model);
    if (status == 0) print_items(u, o, item, found);
    free(item), free(text);
    return status;
}

int cmd_recommend(const Options *o, Err *err) {
    Use u;
    int status = use_open(&u, o, err);
    if (status == 0) status = recommend(&u, o, err);
    use_close(&u);
    return status;
}
