/* latentr3: recommendations by language models that think in a latent vector before they answer, from C.
 *
 *     latentr3 *r;
 *     latentr3_error error;
 *     if (latentr3_open(&r, "model", "data", NULL, &error)) ...
 *     latentr3_recommend(r, &history, 1, &query, item, score, &found, &error)
 *     latentr3_close(r);
 *
 * Threads. A handle may be shared: calls that compute wait for each other, lookups of items wait for nobody. Handles are
 * independent of each other. Options and closing belong to one thread. A call computes in a thread of its own, with OpenMP
 * threads (the option "threads") that end with it: the caller's OpenMP team is left alone, and a child of fork() can go on with
 * the parent's handles, unless another thread was in a call just then or they are on a GPU.
 *
 * State. The library keeps none beside its handles, but for latentr3_log_level. It changes neither locale, signals nor
 * environment, writes nothing (but the file of the option "index") and prints nothing unless the log level asks for it.
 *
 * Errors. A function that can fail returns 0, or one of enum latentr3_code and fills *error, which may be NULL. Four things
 * are no return codes, because the layers below have no way back from them: memory that the system refuses (a limit of the
 * process, no overcommit) ends the process with exit code 5, a broken invariant (a bug) with 6, both with a line on stderr;
 * libgomp ends it where it can start no thread; and a file of the model, the data or the index that is cut short while it is
 * mapped, by SIGBUS: put new ones into place by renaming, never write over them. Searches too large for the machine by their
 * sizes are LATENTR3_MEMORY; memory refused in the middle of a JSON file can read as LATENTR3_DATA.
 *
 * Texts are UTF-8. What the library returns as const char * belongs to the handle and stays until it is closed. */
#ifndef LATENTR3_H
#define LATENTR3_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LATENTR3_API __attribute__((visibility("default")))

/* The exit codes of the program. */
enum latentr3_code {
    LATENTR3_OK = 0,
    LATENTR3_USAGE = 2,   /* a value out of its range, an unknown id */
    LATENTR3_DATA = 3,    /* a file, or a text, that is damaged or says what is not supported */
    LATENTR3_IO = 4,      /* what cannot be read */
    LATENTR3_MEMORY = 5,  /* more than the machine has */
    LATENTR3_INTERNAL = 6 /* a bug of this library */
};

typedef struct latentr3_error {
    int code;
    char message[1020]; /* one line that names file, place and limit */
} latentr3_error;

LATENTR3_API const char *latentr3_version(void); /* "0.1.0" */

/* What is said on stderr, by all handles: -1 nothing (as it is at first), 0 errors, 1 warnings, 2 what is opened, 3 more. */
LATENTR3_API void latentr3_log_level(int level);

/* ---- opening ---------------------------------------------------------------------------------------------------------- */

/* Options bear the names, ranges and, where not said otherwise, defaults of `latentr3 serve`: "threads", "dtype", "thoughts",
 * "beams" (where a query names none), "max-beams" (most beams, and items, of a query: 50), "batch" (users of a call who are
 * searched for together: 1), "prefix-cache" (MiB for prompts computed before: 0), "length-penalty", "ghost-tokens", "index",
 * "category", "seed" and others: docs/library.md. Flags take "true" or "false". */
typedef struct latentr3_options latentr3_options;
LATENTR3_API latentr3_options *latentr3_options_new(void);
LATENTR3_API int latentr3_options_set(latentr3_options *options, const char *name, const char *value, latentr3_error *error);
LATENTR3_API void latentr3_options_free(latentr3_options *options);

/* model: a model folder, a GGUF file, or one of popularity, item-knn, repeat-last, random. data: a data folder, as `latentr3
 * prepare` writes it. options may be NULL, and is not needed afterwards. *r is NULL after an error. */
typedef struct latentr3 latentr3;
LATENTR3_API int latentr3_open(latentr3 **r, const char *model, const char *data, const latentr3_options *options,
                               latentr3_error *error);
LATENTR3_API void latentr3_close(latentr3 *r); /* NULL: nothing */

/* 32 hexadecimal digits that the weights decide; the library's version for a baseline. */
LATENTR3_API const char *latentr3_model_version(const latentr3 *r);

/* ---- items ------------------------------------------------------------------------------------------------------------ */

/* Item numbers 0 .. latentr3_items(r) - 1, the lines of info.txt. An id is the shop's own where info.txt has it, as `prepare`
 * writes it: here and in queries. NULL, or 1 for removed, where there is no such item. */
LATENTR3_API int latentr3_items(const latentr3 *r);
LATENTR3_API const char *latentr3_item_id(const latentr3 *r, int item);
LATENTR3_API const char *latentr3_item_title(const latentr3 *r, int item);
LATENTR3_API int latentr3_item_removed(const latentr3 *r, int item); /* 1: known, but never recommended */

/* The item of that id, or the first one of that title; -1 where there is none. */
LATENTR3_API int latentr3_item_by_id(const latentr3 *r, const char *id);
LATENTR3_API int latentr3_item_by_title(const latentr3 *r, const char *title);

/* Items whose title begins with the text, then those with a word that does, without regard to case. item (most). Returns how
 * many were found; none for an empty text. */
LATENTR3_API int latentr3_search(const latentr3 *r, const char *text, int32_t *item, int most);

/* ---- recommending ----------------------------------------------------------------------------------------------------- */

/* What a user has enjoyed, oldest first, at least one. The last ten stand in a language model's prompt, a SASRec reads more. Of
 * a title that the catalogue lacks a language model reads the text. */
typedef struct latentr3_history {
    const char *const *entry; /* (n) titles, or ids where the query says by_id */
    int n;
} latentr3_history;

/* Begin with `latentr3_query query = {.size = sizeof query};` (C++: set size after `= {}`): members that later versions add
 * stand behind these, and zero always means what was before there was the member. */
typedef struct latentr3_query {
    size_t size;              /* sizeof(latentr3_query) */
    int k;                    /* items of a list; 0: 10, or as many as there are beams where these are fewer */
    int beams;                /* at least k; 0: the option "beams", or k where that is more */
    int by_id;                /* 1: histories are ids, each of which must exist; 0: titles */
    int exclude_seen;         /* 1: without the items of the history */
    const char *const *allow; /* (allows) ids; NULL: all items. Those that the catalogue lacks are passed over */
    const char *const *deny;  /* (denies) ids that are left out */
    int allows, denies;
} latentr3_query;

/* item, score (users, k) best first, found (users): how many of the k there are; the rest is -1 and 0. query may be NULL.
 * score: of a language model the log-probability of the title over its length to the power of "length-penalty". The same bits
 * as `latentr3 recommend` with as many threads, while "batch" is 1 and "prefix-cache" 0. */
LATENTR3_API int latentr3_recommend(latentr3 *r, const latentr3_history *history, int users, const latentr3_query *query,
                                    int32_t *item, float *score, int *found, latentr3_error *error);

/* How likely these items come next. item (items): the same for all users. score (users, items): of a language model the natural
 * logarithm of the answer's probability, summed over its tokens, whose number stands in tokens (users, items), or tokens is
 * NULL; of other models their score (-INFINITY: never listed), and tokens 0. Of the query by_id alone counts. Each pair costs a
 * language model a prompt: this is for some candidates, not for the catalogue. */
LATENTR3_API int latentr3_score(latentr3 *r, const latentr3_history *history, int users, const latentr3_query *query,
                                const int32_t *item, int items, double *score, int32_t *tokens, latentr3_error *error);

#ifdef __cplusplus
}
#endif

#endif
