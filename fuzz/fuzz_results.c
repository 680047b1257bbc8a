// Any bytes as the results of another evaluation: refused with a line, or a rank for each of the two rows.
#include "rec/results.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Row row[2] = {{.user = "u", .target_title = "a", .target_id = "1"}, {.user = "v", .target_title = "b", .target_id = "2"}};
    const Rows rows = {.n = 2, .row = row, .name = "test"};
    int rank[2] = {-1, -1}, list = -1;
    const ResultsAmong among = {.catalogue = "00"};
    Err err = {0};
    if (results_parse((const char *)data, bytes, "fuzz", &rows, &among, rank, &list, &err)) {
        EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    EXPECT(list > 0);
    for (int i = 0; i < 2; i++) EXPECT(rank[i] >= 0 && rank[i] <= list);
    return 0;
}
