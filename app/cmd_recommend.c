// latentr3 recommend: the next items for one history, or for those of many users.
#include "app/commands.h"
#include "app/meant.h"
#include "app/recommend_users.h"
#include "app/use.h"
#include "base/log.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

static void print_items(const Use *u, const Options *o, const Recommendation *item, int n) {
    const Items *items = &u->data.items;
    json_t *list = json_array();
    if (!o->json && u->ground.text) printf("written: %s\n", u->ground.text[0].len ? u->ground.text[0].data : "");
    if (!o->json && n > 0) printf("rank     score  item\n");
    for (int i = 0; i < n; i++) {
        const char *id = items->id[item[i].item], *title = items->title[item[i].item];
        if (o->json)
            json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:f}", "rank", i + 1, "id", id, "title", title, "score",
                                                  (double)item[i].score));
        else
            printf("%4d  %8.4f  %s (%s)\n", i + 1, (double)item[i].score, title, id);
    }
    json_t *json = json_pack("{s:o, s:I}", "items", list, "illegal_beams", (json_int_t)use_stats(u, o)->illegal);
    if (u->ground.text) json_object_set_new(json, "written", json_string(u->ground.text[0].len ? u->ground.text[0].data : ""));
    if (o->json) use_print(json);
    json_decref(json);
}

static void warn_unknown(const Items *items, const char *title, int prompt) {
    const char *becomes = prompt ? "it stands in the prompt as it is" : "it is left out";
    const int meant = meant_item(items, title);
    if (meant < 0)
        log_warn("\"%s\" is not in the catalogue; %s", title, becomes);
    else if (!strcmp(items->id[meant], title))
        log_warn("\"%s\" is not in the catalogue; %s. An item has this id: --history-id %s", title, becomes, title);
    else
        log_warn("\"%s\" is not in the catalogue; %s. Did you mean \"%s\" (id %s)?", title, becomes, items->title[meant],
                 items->id[meant]);
}

// Whether a model that reads no titles makes its lists of the history's items at all.
static int needs_items(const Use *u, const Options *o) {
    const int kind = baseline_kind(o->model);
    return kind == BASELINE_ITEM_KNN || kind == BASELINE_REPEAT_LAST || (kind < 0 && u->model.items);
}

// The history by titles or by ids. titles, ids and texts (its length) receive what the catalogue has.
static int read_history(const Use *u, const Options *o, History *h, const char **titles, const char **ids, const char **texts,
                        Err *err) {
    const Items *items = &u->data.items;
    const int by_id = o->history_id.n > 0;
    const TextList *given = by_id ? &o->history_id : &o->history;
    int known = 0;
    *h = (History){.title = titles, .text = texts, .item_id = by_id ? ids : NULL, .n = given->n};
    for (int i = 0; i < given->n; i++) {
        const char *entry = given->text[i], *fault = items_title_fault(entry, strlen(entry));
        if (!fault && utf8_check(entry, strlen(entry)) < strlen(entry)) fault = "no UTF-8";
        if (fault) return err_set(err, ERR_USAGE, "--history%s, entry %d: %s", by_id ? "-id" : "", i + 1, fault);
        const int item = items_entry(items, entry, by_id, &titles[i], &ids[i], &texts[i]);
        if (item < 0 && by_id) return err_set(err, ERR_USAGE, "--history-id %.60s: no item of the catalogue", entry);
        if (item < 0) warn_unknown(items, entry, use_reads_titles(u));
        known += item >= 0;
    }
    if (known == 0 && needs_items(u, o))
        return err_set(err, ERR_DATA, "nothing of the history is in the catalogue, and %s goes by its items alone", o->model);
    if (h->n > PROMPT_HISTORY && use_reads_titles(u))
        log_info("the last %d of %d titles stand in the prompt", PROMPT_HISTORY, h->n);
    return 0;
}

static int recommend(Use *u, const Options *o, Err *err) {
    Ranker ranker;
    History history;
    if (use_ranker(u, o, o->k, 1, &ranker, err)) return -1;
    const size_t n = (size_t)(o->history.n + o->history_id.n);
    const char **titles = mem_alloc(3 * n, sizeof *titles);
    Recommendation *item = mem_alloc((size_t)o->k, sizeof *item);
    int found, status = read_history(u, o, &history, titles, titles + n, titles + 2 * n, err);
    if (status == 0) {
        status = ranker.rank(ranker.self, &history, 1, item, &found, err);
        if (status) err_prefix(err, "%s", o->model);
    }
    if (status == 0) print_items(u, o, item, found);
    free(item), free(titles);
    return status;
}

int cmd_recommend(const Options *o, Err *err) {
    Use u;
    int status = use_open(&u, o, err);
    if (status == 0) status = o->out ? recommend_users_write(&u, o, err) : recommend(&u, o, err);
    use_close(&u);
    return status;
}
