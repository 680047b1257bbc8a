// Any bytes as a log and a file of items (a byte 0x1e between them), in each format: refused with a line, or interactions,
// a core and splits that hold every event once.
#include "base/log.h"
#include "data/filter.h"
#include "data/split.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_splits(Interactions *x, int leave_one_out) {
    size_t n = x->n;
    Split s;
    SplitStatistics t;
    FilterCounts counts;
    filter_apply(&counts, x, &(FilterOptions){leave_one_out ? 3 : 2, 2, 1000, 3});
    split_make(&s, x, leave_one_out, 3, leave_one_out ? 7 : 0);
    split_statistics(&t, &s, x);
    EXPECT(s.events + (size_t)(counts.outside_window + counts.too_few) == n && s.items == counts.items);
    EXPECT(s.begin[SPLITS] == s.events - (size_t)s.users);
    EXPECT(s.begin[1] <= s.begin[2] && s.begin[2] <= s.begin[3]);
    for (size_t r = 0; r < s.begin[SPLITS]; r++) {
        const Event *e = &s.event[s.row[r]];
        int history = split_history(&s, s.row[r]);
        EXPECT(history > 0 && history <= 3 && (e - history)->user == e->user);
        EXPECT((e - 1)->timestamp <= e->timestamp && s.number[e->item] >= 0 && x->title[e->item] >= 0);
    }
    split_free(&s);
}

static int64_t dropped(const Interactions *x) {
    int64_t n = x->bad_lines + x->unknown_item + x->low_rating + x->outside_window;
    for (int f = 0; f < TITLE_FAULTS; f++) n += x->untitled[f];
    return n;
}

typedef struct Bytes {
    const char *data;
    size_t n;
} Bytes;

static void run(const RecordsFormat *f, Bytes log, Bytes item, int strict) {
    Interactions x = {0};
    Records logs = {0}, items = {0};
    Err err = {0};
    InteractionsOptions o = {strict, f->published_titles, strict ? 0 : 1, 0, 0, !strict};
    int with_items = f->shape[RECORDS_ITEMS].kind != RECORDS_NONE && item.n > 0;
    int status = with_items ? records_open(&items, f, RECORDS_ITEMS, NULL, item.data, item.n, "item", &err) : 0;
    if (status == 0) status = records_open(&logs, f, RECORDS_LOG, NULL, log.data, log.n, "log", &err);
    if (status == 0) status = interactions_read(&x, with_items ? &items : NULL, &logs, &o, &err);
    if (status) {
        EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
    } else {
        EXPECT(x.lines == (int64_t)x.n + dropped(&x) && (!strict || x.bad_lines + x.bad_item_lines == 0));
        check_splits(&x, strict);
    }
    records_close(&items), records_close(&logs);
    interactions_free(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char *const formats[] = {"amazon-2018", "amazon-2023", "ml-1m", "ml-100k", "ml-csv",
                                          "recbole",     "tsv",         "csv",   "jsonl",   "sequences"};
    log_level = LOG_ERROR - 1;
    const uint8_t *cut = bytes ? memchr(data, 0x1e, bytes) : NULL;
    Bytes log = {(const char *)data, cut ? (size_t)(cut - data) : bytes};
    Bytes item = {cut ? (const char *)cut + 1 : "", cut ? bytes - log.n - 1 : 0};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) run(records_format(formats[i]), log, item, (bytes + i) % 2);
    const RecordsFormat *format;
    RecordsRole role;
    if (records_sniff(&format, &role, NULL, log.data, log.n)) EXPECT(format && (role == RECORDS_LOG || role == RECORDS_ITEMS));
    return 0;
}
