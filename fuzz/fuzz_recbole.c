// Any bytes as a log and an item file (a byte 0x1e between them), RecBole's or MovieLens': refused with a line, or splits
// that hold every event once.
#include "base/log.h"
#include "data/split.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_splits(Interactions *x, int leave_one_out) {
    size_t n = x->n;
    Split s;
    SplitStatistics t;
    split_make(&s, x, &(SplitOptions){.k_core = 2, .history = 3, .min_rating = 1, .leave_one_out = leave_one_out});
    split_statistics(&t, &s, x);
    EXPECT(s.events + (size_t)(s.low_rating + s.untitled + s.too_few) == n);
    EXPECT(s.begin[SPLITS] == s.events - (size_t)s.users);
    EXPECT(s.begin[1] <= s.begin[2] && s.begin[2] <= s.begin[3]);
    for (size_t r = 0; r < s.begin[SPLITS]; r++) {
        const Event *e = &s.event[s.row[r].event];
        EXPECT(s.row[r].history > 0 && s.row[r].history <= 3 && (e - s.row[r].history)->user == e->user);
        EXPECT((e - 1)->timestamp <= e->timestamp && s.number[e->item] >= 0 && x->title[e->item] >= 0);
    }
    split_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    log_level = LOG_ERROR - 1;
    const uint8_t *cut = bytes ? memchr(data, 0x1e, bytes) : NULL;
    size_t log_bytes = cut ? (size_t)(cut - data) : bytes;
    InteractionsFile log = {(const char *)data, "log", log_bytes};
    InteractionsFile item = {cut ? (const char *)cut + 1 : "", "item", cut ? bytes - log_bytes - 1 : 0};
    for (int way = 0; way < 4; way++) {
        Interactions x;
        Err err = {0};
        int strict = way & 1;
        int status = (way & 2 ? interactions_recbole : interactions_movielens)(&x, &log, &item, strict, &err);
        if (status) {
            EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        } else {
            EXPECT(x.lines == (int64_t)x.n + x.bad_lines + x.unknown_item && (!strict || x.bad_lines + x.bad_item_lines == 0));
            check_splits(&x, strict);
        }
        interactions_free(&x);
    }
    return 0;
}
