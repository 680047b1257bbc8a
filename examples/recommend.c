/* The next ten items for a history: recommend MODEL DATA TITLE...
 * Built with: cc recommend.c $(pkg-config --cflags --libs latentr3) -o recommend */
#include <latentr3.h>
#include <stdio.h>

static int fail(const latentr3_error *error) {
    fprintf(stderr, "%s\n", error->message);
    return error->code;
}

int main(int argc, char **argv) {
    latentr3 *r;
    latentr3_error error;
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODEL DATA TITLE...\n", argv[0]);
        return LATENTR3_USAGE;
    }
    if (latentr3_open(&r, argv[1], argv[2], NULL, &error)) return fail(&error);

    const latentr3_history history = {(const char *const *)argv + 3, argc - 3};
    const latentr3_query query = {.size = sizeof query, .k = 10, .exclude_seen = 1};
    int32_t item[10];
    float score[10];
    int found;
    if (latentr3_recommend(r, &history, 1, &query, item, score, &found, &error)) {
        latentr3_close(r);
        return fail(&error);
    }
    for (int i = 0; i < found; i++)
        printf("%d\t%.9g\t%s\t%s\n", i + 1, score[i], latentr3_item_id(r, item[i]), latentr3_item_title(r, item[i]));
    latentr3_close(r);
    return 0;
}
