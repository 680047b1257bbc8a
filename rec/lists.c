#include "rec/lists.h"
#include "base/utf8.h"

#include <ctype.h>
#include <string.h>

const char *const list_form_name[LIST_FORMS] = {"tsv", "jsonl", "trec"};

const char *lists_head(ListForm form) {
    return form == LIST_TSV ? "user\trank\tid\tscore\ttitle\n" : "";
}

void lists_put_text(Str *out, const char *before, const char *text) {
    str_puts(out, before);
    str_json(out, text, strlen(text));
}

void lists_put_json(Str *out, const Items *items, const Recommendation *item, int n) {
    str_puts(out, "[");
    for (int i = 0; i < n; i++) {
        lists_put_text(out, i ? ", {\"id\": " : "{\"id\": ", items->id[item[i].item]);
        lists_put_text(out, ", \"title\": ", items->title[item[i].item]);
        str_printf(out, ", \"score\": %.9g}", (double)item[i].score);
    }
    str_puts(out, "]");
}

int lists_check_word(const char *word, const char *what, Err *err) {
    for (const char *c = word; *c; c++)
        if (isspace((unsigned char)*c))
            return err_set(err, ERR_DATA, "%s \"%.60s\": a blank in it, which a TREC run cannot hold", what, word);
    return 0;
}

int lists_check_field(const char *text, const char *what, Err *err) {
    for (const char *c = text; *c; c++)
        if (utf8_is_control(*c))
            return err_set(err, ERR_DATA, "%s \"%.60s\": a control byte in it, which a TSV cannot hold (JSON lines can)", what,
                           text);
    return 0;
}

int lists_check_trec(const Items *items, const Rows *rows, Err *err) {
    for (int i = 0; i < items->n; i++)
        if (!items->removed[i] && lists_check_word(items->id[i], "the item id", err)) return -1;
    for (int i = 0; rows && i < rows->n; i++) {
        const Row *row = &rows->row[i];
        const int title = items_group_of(items, row->target_id, row->target_title);
        if (lists_check_word(title < 0 ? row->target_id : items->id[title], "the item id", err)) return -1;
    }
    return 0;
}

void lists_put_trec(Str *out, const Items *items, const char *topic, const Recommendation *item, int n, const int *left_out,
                    int mark) {
    for (int i = 0, rank = 1; i < n; i++) {
        const int title = items_title_group(items, item[i].item);
        int again = left_out && left_out[title] == mark;
        for (int j = 0; j < i && !again; j++) again = items_title_group(items, item[j].item) == title;
        if (again) continue;
        str_printf(out, "%s Q0 %s %d %d latentr3\n", topic, items->id[title], rank, n - rank + 1);
        rank++;
    }
}

void lists_put(Str *out, ListForm form, const Items *items, const char *user, const Recommendation *item, int n) {
    if (form == LIST_TREC) {
        lists_put_trec(out, items, user, item, n, NULL, 0);
    } else if (form == LIST_JSONL) {
        lists_put_text(out, "{\"user\": ", user);
        str_puts(out, ", \"items\": ");
        lists_put_json(out, items, item, n);
        str_puts(out, "}\n");
    } else {
        for (int i = 0; i < n; i++)
            str_printf(out, "%s\t%d\t%s\t%.9g\t%s\n", user, i + 1, items->id[item[i].item], (double)item[i].score,
                       items->title[item[i].item]);
    }
}
