// The pieces of index texts ("<a_12><b_7>") as tokens of a model.
#ifndef APP_ITEM_TOKENS_H
#define APP_ITEM_TOKENS_H

#include "data/dataset.h"
#include "text/tokenizer.h"

typedef struct ItemTokens { // what was added
    int first, n;           // ids [first, first + n)
    int moved;              // <|Thought|> had the id `first`, and is to be added again behind them
} ItemTokens;

// With `add`, every piece that is no added token becomes one, in the order in which info.txt has them. Without, such pieces are
// counted in a warning: they will be read as plain text. ERR_DATA where no item has an index text. path: of the model, for
// messages.
int item_tokens_add(ItemTokens *out, Tokenizer *t, const Items *items, int add, const char *path, Err *err);

#endif
