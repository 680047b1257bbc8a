// What tests/cli/library.bats compiles against the installed library.
//   library rank MODEL DATA THOUGHTS BY_ID EXCLUDE_SEEN K ENTRY...   lines "rank id score", as of `latentr3 recommend --json`
//   library unknown NAME...                                          those that are no options
//   library items MODEL DATA                                         the scores of a model that scores all items
//   library locale MODEL DATA                                        whether a locale with a comma changes a list
//   library check MODEL DATA                                         all else; says nothing where it holds
#include <latentr3.h>
#include <locale.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USERS = 6, K = 8 };

#define HOLDS(condition) ((condition) ? (void)0 : fails(#condition, __LINE__))
static _Noreturn void fails(const char *condition, int line) {
    fprintf(stderr, "line %d: %s does not hold\n", line, condition);
    exit(1);
}

static latentr3 *open_with(const char *model, const char *data, const char *const *option) {
    latentr3 *r;
    latentr3_error error;
    latentr3_options *o = latentr3_options_new();
    for (; *option; option += 2) HOLDS(latentr3_options_set(o, option[0], option[1], &error) == 0);
    if (latentr3_open(&r, model, data, o, &error)) fprintf(stderr, "%s\n", error.message);
    latentr3_options_free(o);
    HOLDS(r);
    return r;
}

static int rank(char **argv, int n) {
    const char *const option[] = {"thoughts", argv[2], NULL};
    latentr3 *r = open_with(argv[0], argv[1], strcmp(argv[2], "-") ? option : option + 2);
    const latentr3_history history = {(const char *const *)argv + 6, n - 6};
    const latentr3_query query = {
        .size = sizeof query, .by_id = atoi(argv[3]), .exclude_seen = atoi(argv[4]), .k = atoi(argv[5])};
    int32_t item[50];
    float score[50];
    int found;
    HOLDS(latentr3_recommend(r, &history, 1, &query, item, score, &found, NULL) == 0);
    for (int i = 0; i < found; i++) printf("%d\t%s\t%.9g\n", i + 1, latentr3_item_id(r, item[i]), (double)score[i]);
    latentr3_close(r);
    return 0;
}

static int unknown(char **name, int n) {
    latentr3_options *o = latentr3_options_new();
    latentr3_error error;
    for (int i = 0; i < n; i++)
        if (latentr3_options_set(o, name[i], "", &error) && strstr(error.message, "unknown")) puts(name[i]);
    latentr3_options_free(o);
    return 0;
}

// ---- check --------------------------------------------------------------------------------------------------------------

typedef struct Lists { // (USERS, K)
    int32_t item[USERS * K];
    float score[USERS * K];
    int found[USERS];
} Lists;

// User u has enjoyed the u + 1 items from number 3 u on.
static const char *entries[USERS][USERS];
static latentr3_history histories[USERS];

static void make_histories(const latentr3 *r) {
    for (int u = 0; u < USERS; u++) {
        for (int i = 0; i <= u; i++) entries[u][i] = latentr3_item_title(r, 3 * u + i);
        histories[u] = (latentr3_history){entries[u], u + 1};
    }
}

static const latentr3_query query = {.size = sizeof query, .k = K, .exclude_seen = 1};

static void rank_all(latentr3 *r, Lists *all) {
    HOLDS(latentr3_recommend(r, histories, USERS, &query, all->item, all->score, all->found, NULL) == 0);
}

static void check_opening(const char *model, const char *data) {
    latentr3 *r = (latentr3 *)1;
    latentr3_error error = {0};
    latentr3_options *o = latentr3_options_new();
    HOLDS(latentr3_options_set(o, "beans", "3", &error) == LATENTR3_USAGE && strstr(error.message, "beans"));
    HOLDS(latentr3_options_set(o, "port", "80", &error) == LATENTR3_USAGE);
    HOLDS(latentr3_options_set(o, "model", "x", &error) == LATENTR3_USAGE && strstr(error.message, "latentr3_open"));
    HOLDS(latentr3_options_set(o, "beams", "0", &error) == LATENTR3_USAGE && strstr(error.message, "from 1 to 1000"));
    HOLDS(latentr3_options_set(o, "beams", NULL, NULL) == LATENTR3_USAGE);
    HOLDS(latentr3_open(&r, model, "no such folder", o, &error) == LATENTR3_IO && error.code == LATENTR3_IO && !r);
    HOLDS(latentr3_open(&r, "no such model", data, o, NULL) == LATENTR3_IO && !r);
    HOLDS(latentr3_open(&r, "popularty", data, o, &error) == LATENTR3_USAGE && strstr(error.message, "mean popularity"));
    HOLDS(latentr3_options_set(o, "beams", "60", &error) == 0); // beside max-beams 50
    HOLDS(latentr3_open(&r, model, data, o, &error) == LATENTR3_USAGE && strstr(error.message, "max-beams"));
    latentr3_options_free(o);
    latentr3_close(NULL);
}

static void check_items(const latentr3 *r) {
    const int n = latentr3_items(r);
    int32_t found[5];
    HOLDS(n > 50);
    for (int i = 0; i < n; i++) HOLDS(latentr3_item_by_id(r, latentr3_item_id(r, i)) == i && !latentr3_item_removed(r, i));
    HOLDS(!latentr3_item_id(r, -1) && !latentr3_item_title(r, n) && latentr3_item_removed(r, n));
    HOLDS(latentr3_item_by_id(r, "no such id") == -1 && latentr3_item_by_title(r, "No Such Title") == -1);
    HOLDS(latentr3_item_by_id(r, NULL) == -1 && latentr3_item_by_title(r, NULL) == -1 && !latentr3_search(r, NULL, found, 5));
    HOLDS(latentr3_search(r, "", found, 5) == 0 && latentr3_search(r, "qqq", found, 5) == 0);
    HOLDS(latentr3_search(r, latentr3_item_title(r, 7), found, 5) >= 1);
    HOLDS(!strcmp(latentr3_item_title(r, found[0]), latentr3_item_title(r, 7)));
}

// Each user alone, and all at once: the same bits. Together in the search, with prompts kept: the same but for rounding.
static void check_users(latentr3 *r, const char *model, const char *data) {
    Lists all, one, together;
    rank_all(r, &all);
    for (int u = 0; u < USERS; u++) {
        HOLDS(latentr3_recommend(r, &histories[u], 1, &query, one.item, one.score, one.found, NULL) == 0);
        HOLDS(one.found[0] == all.found[u] && one.found[0] == K);
        HOLDS(!memcmp(one.item, all.item + u * K, sizeof(int32_t) * K) &&
              !memcmp(one.score, all.score + u * K, sizeof(float) * K));
    }
    const char *const option[] = {"thoughts", "1", "batch", "4", "prefix-cache", "8", "dtype", "f32", NULL};
    const char *const alone[] = {"thoughts", "1", "dtype", "f32", NULL};
    latentr3 *f32 = open_with(model, data, alone), *batched = open_with(model, data, option);
    HOLDS(!strcmp(latentr3_model_version(r), latentr3_model_version(f32)) && strlen(latentr3_model_version(r)) == 32);
    rank_all(f32, &all);
    for (int again = 0; again < 2; again++) {
        rank_all(batched, &together);
        for (int i = 0; i < USERS * K; i++) HOLDS(fabsf(all.score[i] - together.score[i]) <= 1e-4f);
    }
    latentr3_close(f32), latentr3_close(batched);
}

static void check_query(latentr3 *r) {
    struct {
        latentr3_query known;
        int64_t later; // a member of a later header
    } newer = {query, 0};
    Lists all, other;
    latentr3_error error;
    rank_all(r, &all);
    newer.known.size = sizeof newer;
#define ASK(q) latentr3_recommend(r, histories, USERS, (q), other.item, other.score, other.found, &error)
    HOLDS(ASK(&newer.known) == 0 && !memcmp(all.item, other.item, sizeof all.item));
    newer.later = 1;
    HOLDS(ASK(&newer.known) == LATENTR3_USAGE && strstr(error.message, "size"));
    latentr3_query q = query; // of a header that ends behind exclude_seen
    q.size = offsetof(latentr3_query, allow);
    q.denies = -7;
    HOLDS(ASK(&q) == 0 && !memcmp(all.item, other.item, sizeof all.item));
    q = query, q.size = 0;
    HOLDS(ASK(&q) == LATENTR3_USAGE);
    q = query, q.k = 9, q.beams = 8;
    HOLDS(ASK(&q) == LATENTR3_USAGE && strstr(error.message, "k 9 and beams 8"));
    q = query, q.beams = 51;
    HOLDS(ASK(&q) == LATENTR3_USAGE && strstr(error.message, "max-beams 50"));
    q = query, q.by_id = 1;
    HOLDS(ASK(&q) == LATENTR3_USAGE && strstr(error.message, "user 0"));
    // Three items allowed, one of them denied: two are left.
    const char *allow[] = {latentr3_item_id(r, 30), latentr3_item_id(r, 31), latentr3_item_id(r, 32), "no such id"};
    q = query, q.allow = allow, q.allows = 4, q.deny = allow + 1, q.denies = 1;
    HOLDS(ASK(&q) == 0);
    for (int u = 0; u < USERS; u++) {
        const int32_t *item = other.item + u * K;
        HOLDS(other.found[u] == 2 && item[0] + item[1] == 62 && item[0] != 31 && item[2] == -1 && other.score[u * K + 2] == 0);
    }
    allow[2] = NULL;
    HOLDS(ASK(&q) == LATENTR3_USAGE && strstr(error.message, "entry 2 of allow is NULL"));
    q = query, q.deny = allow + 2, q.denies = 1;
    HOLDS(ASK(&q) == LATENTR3_USAGE && strstr(error.message, "entry 0 of deny is NULL"));
#undef ASK
    HOLDS(latentr3_recommend(r, histories, 1, &query, NULL, other.score, other.found, NULL) == LATENTR3_USAGE);
    HOLDS(latentr3_score(r, histories, 1, NULL, NULL, 1, NULL, NULL, NULL) == LATENTR3_USAGE);
    const char *bad[] = {entries[0][0], "ab\xff"};
    const latentr3_history broken[] = {histories[0], {entries[0], 0}, {bad, 2}};
    HOLDS(latentr3_recommend(r, broken + 1, 2, &query, other.item, other.score, other.found, &error) == LATENTR3_USAGE &&
          strstr(error.message, "user 0"));
    HOLDS(latentr3_recommend(r, broken + 2, 1, &query, other.item, other.score, other.found, &error) == LATENTR3_DATA &&
          strstr(error.message, "user 0: entry 1 of the history is no UTF-8 at byte 2"));
    // Of the query for scores by_id alone counts.
    const latentr3_query wide = {.size = sizeof wide, .k = 60, .allows = 1};
    double alone;
    HOLDS(latentr3_score(r, histories, 1, &wide, all.item, 1, &alone, NULL, NULL) == 0);
    HOLDS(latentr3_recommend(r, NULL, 0, NULL, NULL, NULL, NULL, NULL) == 0);
    rank_all(r, &other); // a call that failed leaves nothing behind
    HOLDS(!memcmp(all.item, other.item, sizeof all.item) && !memcmp(all.score, other.score, sizeof all.score));
}

// Options that allow fewer than ten beams: as many items are what a query without k asks for.
static void check_few_beams(const char *model, const char *data) {
    const char *const option[] = {"thoughts", "1", "beams", "5", "max-beams", "6", NULL};
    latentr3 *r = open_with(model, data, option);
    const latentr3_query narrow = {.size = sizeof narrow, .beams = 3}, more = {.size = sizeof more, .k = 6};
    int32_t item[2 * K];
    float score[2 * K];
    int found[2];
    double logprob;
    HOLDS(latentr3_recommend(r, histories, 2, NULL, item, score, found, NULL) == 0 && found[0] == 5 && found[1] == 5);
    HOLDS(latentr3_recommend(r, histories, 1, &narrow, item, score, found, NULL) == 0 && found[0] == 3);
    HOLDS(latentr3_recommend(r, histories, 1, &more, item, score, found, NULL) == 0 && found[0] == 6);
    HOLDS(latentr3_score(r, histories, 1, NULL, item, 1, &logprob, NULL, NULL) == 0);
    latentr3_close(r);
}

// The search's scores are the scorer's, over the length of the answer; of a history of long titles too.
static void check_scores(const char *model, const char *data) {
    const char *const option[] = {"thoughts", "1", "dtype", "f32", NULL};
    latentr3 *r = open_with(model, data, option);
    Lists all;
    double score[USERS * K];
    int32_t tokens[USERS * K];
    const int32_t beyond = latentr3_items(r);
    latentr3_error error;
    static char longest[4000]; // of more tokens than a training row holds
    for (int i = 0; strlen(longest) < 3000; i++) strcat(strcat(longest, latentr3_item_title(r, i % beyond)), " ");
    static const char *words = longest;
    histories[0] = (latentr3_history){&words, 1};
    rank_all(r, &all);
    for (int u = 0; u < USERS; u++) {
        HOLDS(latentr3_score(r, &histories[u], 1, NULL, all.item + u * K, K, score, tokens, NULL) == 0);
        for (int i = 0; i < K; i++) {
            HOLDS(tokens[i] > 1);
            HOLDS(fabs(score[i] / tokens[i] - (double)all.score[u * K + i]) <= 1e-4);
        }
    }
    HOLDS(latentr3_score(r, histories, USERS, NULL, all.item, 1, score, NULL, NULL) == 0 && isfinite(score[USERS - 1]));
    HOLDS(latentr3_score(r, histories, 1, NULL, &beyond, 1, score, NULL, &error) == LATENTR3_USAGE);
    latentr3_close(r);
}

typedef struct Thread {
    latentr3 *r;
    Lists lists;
    pthread_t id;
} Thread;

static void *run_thread(void *self) {
    Thread *t = self;
    rank_all(t->r, &t->lists);
    return NULL;
}

// Four threads over two handles, again and again: threads of OpenMP's come and go with those that call.
static void check_threads(latentr3 *r, const char *model, const char *data) {
    const char *const option[] = {"thoughts", "1", NULL};
    latentr3 *other = open_with(model, data, option);
    Lists all;
    Thread thread[4];
    rank_all(r, &all);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 4; i++) {
            thread[i].r = i % 2 ? r : other;
            HOLDS(pthread_create(&thread[i].id, NULL, run_thread, &thread[i]) == 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(thread[i].id, NULL);
            HOLDS(!memcmp(all.item, thread[i].lists.item, sizeof all.item));
            HOLDS(!memcmp(all.score, thread[i].lists.score, sizeof all.score));
        }
    }
    latentr3_close(other);
}

static int mine; // each OpenMP thread's own
#pragma omp threadprivate(mine)

// A caller's own OpenMP threads outlive a call, with what is theirs, and may each make one.
static void check_team(latentr3 *r) {
    enum { TEAM = 3 };
    Lists all, one[TEAM];
    int kept = 0;
#pragma omp parallel num_threads(TEAM)
    mine = omp_get_thread_num() + 1;
    rank_all(r, &all);
#pragma omp parallel num_threads(TEAM) reduction(+ : kept)
    kept += mine == omp_get_thread_num() + 1;
    HOLDS(kept == TEAM);
#pragma omp parallel num_threads(TEAM)
    rank_all(r, &one[omp_get_thread_num()]);
    for (int i = 0; i < TEAM; i++)
        HOLDS(!memcmp(all.item, one[i].item, sizeof all.item) && !memcmp(all.score, one[i].score, sizeof all.score));
}

// Where an item alone is allowed it is listed, with the very score that it has; or it has none. USERS - 1 has no known item.
static void check_item_scores(const char *model, const char *data) {
    const char *const none[] = {NULL};
    latentr3 *r = open_with(model, data, none);
    make_histories(r);
    const char *unknown = "A Title of No Item";
    histories[USERS - 1] = (latentr3_history){&unknown, 1};
    for (int32_t i = 0; i < latentr3_items(r); i++) {
        const char *id = latentr3_item_id(r, i);
        const latentr3_query q = {.size = sizeof q, .k = 1, .allow = &id, .allows = 1};
        double score[USERS];
        Lists one;
        HOLDS(latentr3_recommend(r, histories, USERS, &q, one.item, one.score, one.found, NULL) == 0);
        HOLDS(latentr3_score(r, histories, USERS, NULL, &i, 1, score, NULL, NULL) == 0);
        for (int u = 0; u < USERS; u++)
            HOLDS(one.found[u] ? one.item[u] == i && (double)one.score[u] == score[u] : score[u] == -INFINITY);
    }
    // Each user of a call has a random list of their own.
    Lists all;
    rank_all(r, &all);
    HOLDS(strcmp(model, "random") || memcmp(all.item, all.item + K, sizeof(int32_t) * K));
    latentr3_close(r);
}

// A host that has chosen a locale in which numbers have a comma.
static void check_locale(const char *model, const char *data) {
    const char *const option[] = {"thoughts", "1", "length-penalty", "0.5", NULL};
    Lists here, there;
    for (int comma = 0; comma < 2; comma++) {
        if (comma) HOLDS(setlocale(LC_ALL, "") && *localeconv()->decimal_point == ',');
        latentr3 *r = open_with(model, data, option);
        make_histories(r);
        rank_all(r, comma ? &there : &here);
        latentr3_close(r);
    }
    HOLDS(!memcmp(here.item, there.item, sizeof here.item) && !memcmp(here.score, there.score, sizeof here.score));
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "unknown")) return unknown(argv + 2, argc - 2);
    if (argc > 8 && !strcmp(argv[1], "rank")) return rank(argv + 2, argc - 2);
    HOLDS(argc == 4);
    if (!strcmp(argv[1], "items")) return check_item_scores(argv[2], argv[3]), 0;
    if (!strcmp(argv[1], "locale")) return check_locale(argv[2], argv[3]), 0;
    HOLDS(!strcmp(argv[1], "check"));
    const char *const option[] = {"thoughts", "1", NULL};
    check_opening(argv[2], argv[3]);
    latentr3 *r = open_with(argv[2], argv[3], option);
    make_histories(r);
    check_items(r);
    check_users(r, argv[2], argv[3]);
    check_query(r);
    check_few_beams(argv[2], argv[3]);
    check_scores(argv[2], argv[3]);
    check_threads(r, argv[2], argv[3]);
    check_team(r);
    latentr3_close(r);
    return 0;
}
