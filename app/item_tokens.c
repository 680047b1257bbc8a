#include "app/item_tokens.h"
#include "base/arena.h"
#include "base/log.h"
#include "data/intern.h"
#include "text/prompt.h"

// Distinct pieces that are no added tokens, by first appearance.
static void missing_pieces(Intern *missing, const Tokenizer *t, const Items *items) {
    size_t at, len;
    for (int i = 0; i < items->n; i++)
        for (size_t from = 0; items->text[i] && (len = prompt_piece(items->text[i], from, &at)) > 0; from = at + len)
            if (!tokenizer_is_added(t, items->text[i] + at, len)) intern_put(missing, items->text[i] + at, len);
}

static int add_missing(ItemTokens *out, Tokenizer *t, const Intern *missing, const char *path, Err *err) {
    out->moved = tokenizer_drop_last(t, PROMPT_THOUGHT_TOKEN);
    if (tokenizer_id(t, PROMPT_THOUGHT_TOKEN) >= 0)
        return err_set(err, ERR_DATA, "%s: %s is not the last token, and no other may follow it", path, PROMPT_THOUGHT_TOKEN);
    out->first = tokenizer_size(t);
    if (tokenizer_add_texts(t, missing->text, missing->n, err)) return err_prefix(err, "index texts");
    out->n = tokenizer_size(t) - out->first;
    log_info("%d pieces of index texts become tokens, %d new ones from id %d on", missing->n, out->n, out->first);
    return 0;
}

int item_tokens_add(ItemTokens *out, Tokenizer *t, const Items *items, int add, const char *path, Err *err) {
    *out = (ItemTokens){0};
    if (items->texts == 0)
        return err_set(err, ERR_DATA,
                       "%s answers with index texts, and no item of info.txt has one; `latentr3 catalog text` sets them",
                       add ? "sft --item-text" : path);
    if (items->texts < items->live)
        log_warn("%d of %d items have no index text: their titles stand for them", items->live - items->texts, items->live);
    Intern missing = {0};
    int status = 0;
    missing_pieces(&missing, t, items);
    if (missing.n && add)
        status = add_missing(out, t, &missing, path, err);
    else if (missing.n)
        log_warn("%d pieces of index texts (%s, ...) are no tokens of %s and are read as plain text", missing.n,
                 missing.text[0], path);
    intern_free(&missing);
    return status;
}
