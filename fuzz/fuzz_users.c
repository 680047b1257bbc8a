// Any bytes as a file of users: each that is read has a name, and a history of titles or of the catalogue's items.
#include "data/users.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const UserHistory *h, const Items *items) {
    EXPECT(*h->user && h->n >= 0);
    for (int i = 0; i < h->n; i++) {
        EXPECT(!items_title_fault(h->title[i], strlen(h->title[i])));
        const int item = h->by_id ? items_by_id(items, h->id[i]) : items_by_title(items, h->title[i]);
        EXPECT(!h->by_id || (item >= 0 && h->title[i] == items->title[item]));
        EXPECT(h->text[i] == (item >= 0 ? items->text[item] : NULL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char catalogue[] = "Toy Story\t1\t<a_1><b_2>\nBabe\t22\nBabe\t3\nCasino\t4\n";
    Items items;
    Err err = {0};
    EXPECT(items_parse(&items, catalogue, sizeof catalogue - 1, "info.txt", &err) == 0);
    for (int strict = 0; strict < 2; strict++) {
        Users u;
        UserHistory h;
        int64_t read = 0;
        int status = users_parse(&u, (const char *)data, bytes, "users", &items, strict, &err) ? -1 : 1;
        while (status > 0 && (status = users_next(&u, &h, &err)) > 0) {
            check(&h, &items);
            user_history_free(&h);
            EXPECT(u.read == ++read && !(strict && u.unknown_ids));
        }
        EXPECT(status == 0 || (err.code == ERR_DATA && *err.message));
        users_close(&u);
    }
    items_free(&items);
    return 0;
}
