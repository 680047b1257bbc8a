// The data folder all commands read: train.csv, valid.csv, test.csv and info.txt in the published layout, and
// dataset.json (category phrase, counts, hashes). A folder from elsewhere without dataset.json is read as it is.
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include "base/err.h"
#include "base/json.h"
#include "base/vec.h"
#include <stdatomic.h>
#include <stdint.h>

// Items of info.txt, in file order: item number i is the line i, and stays so: an item that is removed keeps its line. A line
// is "title<TAB>row id", and may go on with "<TAB>index text<TAB>removed<TAB>id".
typedef struct Items {
    int n;
    const char **title;
    const char **id;          // (n): what people and their programs call it: the shop's own id, or else the row id
    const char **row_id;      // (n): what the files of the splits call it, a whole number; rows in memory bear `id`
    const char **text;        // (n): index text, NULL where the item has none
    unsigned char *removed;   // (n): 1: rows may name the item, but it is not recommended
    int live, texts;          // items that are not removed, and those of them with an index text
    int named;                // items whose id is not their row id
    struct ItemsIndex *index; // holds the strings
} Items;

int items_open(Items *items, const char *info_txt_path, Err *err);
int items_parse(Items *items, const char *data, size_t bytes, const char *name, Err *err);
// Lines for items_add, whose second field may be an id of any form (row_id NULL).
int items_open_added(Items *items, const char *path, Err *err);
int items_parse_added(Items *items, const char *data, size_t bytes, const char *name, Err *err);
void items_free(Items *items);
typedef struct ItemLine {
    const char *title, *row_id, *text; // text may be NULL
    int removed;
    const char *id; // row_id where it has no other
} ItemLine;
void items_put(Str *out, const ItemLine *line); // as info.txt has it
void items_put_line(Str *out, const Items *items, int item);
void items_put_line_as(Str *out, const Items *items, int item, const char *id); // with another id
int items_by_id(const Items *items, const char *id);                            // item number, or -1
int items_by_row_id(const Items *items, const char *row_id);                    // likewise
// Items with one title count as one, under the first of them that is not removed (the first, where all are): -1 where no item
// has the title.
int items_by_title(const Items *items, const char *title);
int items_title_group(const Items *items, int item);
// The item that an entry of a history names, by its id or by its title.
int items_find(const Items *items, const char *entry, int by_id);
// The same; *title, *id and *text receive what stands in a prompt. Of a title that no item has that is the title alone, of an
// id nothing: NULL.
int items_entry(const Items *items, const char *entry, int by_id, const char **title, const char **id, const char **text);
// The items_title_group of what a row names: by its id, so that rows go on meaning an item that was given another title; by the
// title alone where no item has the id, or it is NULL. -1: neither is there.
int items_group_of(const Items *items, const char *id, const char *title);

// Changes in memory. What is already so is no change and no error. Adding takes items back that were removed (with the new
// title); another title for one that is not removed is refused, and unknown ids are. `more` may hold removed items, which are
// passed over; its row ids are kept where they are free, else a new item gets one that is. An empty text takes the index text
// away. After an error the items are good for items_free alone.
int items_add(Items *items, const Items *more, int *changed, Err *err);
int items_set_title(Items *items, const char *id, const char *title, int *changed, Err *err); // of one that is there
int items_remove(Items *items, const char *const *id, int n, int *changed, Err *err);
int items_set_texts(Items *items, const char *const *id, const char *const *text, int n, int *changed, Err *err);

// Why a text cannot be a title of info.txt (empty, too long, control bytes); NULL where it can.
enum { ITEMS_TITLE_LIMIT = 64 << 10 };
const char *items_title_fault(const char *title, size_t len);
const char *items_text_fault(const char *text, size_t len); // the same for an index text
int items_is_blank(const char *text, size_t len);           // blanks of any kind alone: no title for a new item
enum { ITEMS_ID_LIMIT = 1024 };
const char *items_id_fault(const char *id, size_t len); // and for an id

// One row of a split: up to 10 predecessors, oldest first, and the target.
typedef struct Row {
    const char *user, *target_title, *target_id; // borrowed from the Rows
    int64_t timestamp;
    int number;                 // among the good rows of its file, whatever rows_sample has kept
    int n;                      // history
    const char *const *title;   // (n)
    const char *const *item_id; // (n): as target_id, row ids of info.txt; out of dataset_rows, the items' ids
    // Index texts of info.txt, set by dataset_rows: of the history (n), NULL for an item without; and of the target, or NULL.
    // text is NULL where no item of the catalogue has one.
    const char *const *text;
    const char *target_text;
} Row;

typedef struct Rows {
    int n;
    Row *row;
    char *name; // "valid"
    int64_t bad, unordered, repeated;
    const char **text;     // of all histories, or NULL
    const char **shuffled; // of all histories, or NULL
    struct RowsMemory *memory;
} Rows;

// Columns are found by name. user_id, history_item_id, item_id, history_item_title, item_title and timestamp are needed,
// the other five are checked for form and kept out of memory. max_rows 0: all; else the first max_rows. A bad row is passed
// over, counted and named in the log; strict makes it an error that names file, line and column. A file that is damaged, or
// that has rows but no good one, is an error in either case. Rows out of time order and exact repeats are kept and counted
// (strict: out of time order is an error).
// stop: looked at again and again, ERR_IO where it is set; or NULL.
int rows_open(Rows *rows, const char *csv_path, const char *name, int max_rows, int strict, const atomic_int *stop, Err *err);
// The same over bytes in memory, which are not needed afterwards.
int rows_parse(Rows *rows, const char *data, size_t bytes, const char *path, const char *name, int max_rows, int strict,
               Err *err);
void rows_free(Rows *rows);
// A Rows of its own over the same strings, for other histories, draws or orders: free it before `rows`.
void rows_copy(Rows *copy, const Rows *rows);
// Ids in the place of row ids, which must be known; the items outlive the rows.
void rows_name_items(Rows *rows, const Items *items);
// Keep n rows drawn without replacement, in their order; n 0 or as many as there are: all.
void rows_sample(Rows *rows, int n, uint64_t seed);
// next (n), malloc'd: for each row the user's next one, where its history begins with all of this row's, or -1. Such a chain of
// rows shares its prompts' beginnings. Of a history the last PROMPT_HISTORY entries count.
int32_t *rows_next(const Rows *rows);
// As rows_sample, whole chains but for the last one.
void rows_sample_chains(Rows *rows, int n, uint64_t seed);
// The numbers of n of `rows` rows that rows_sample keeps, rising; malloc'd. n <= rows.
uint32_t *rows_draw(int rows, int n, uint64_t seed);
// Histories of the last n entries, where they are longer: what a prompt holds.
void rows_cut_histories(Rows *rows, int n);
// Targets under the titles that their ids have in the catalogue, borrowed from it.
void rows_retitle_targets(Rows *rows, const Items *items);
// Each history in a random order of its own, which depends on seed and row number alone. Once for a Rows.
void rows_shuffle_histories(Rows *rows, uint64_t seed);
enum { ROWS_SAMPLE_SEED = 1 }; // for validation and test: the same rows whatever --seed of the run

#define DATASET_FORMAT "latentr3-dataset"
enum { DATASET_VERSION = 1 };

typedef struct Dataset {
    char *folder, *category;
    int category_said;  // by the caller or by dataset.json
    int category_known; // that, or by a published name of the files; else it is "item"
    Items items;
    char items_hash[33];    // of info.txt
    int items_waiting;      // they came from info.txt.next: see dataset_save_items
    json_t *json;           // dataset.json, or NULL
    int strict;             // of dataset_rows; 0 after dataset_open
    const atomic_int *stop; // borrowed: dataset_rows gives up where it is set; NULL after dataset_open
} Dataset;

// Where a file of the folder, "train.csv" and its like, is to be read: in the folder itself, or where the published code writes
// it for each category, as train/CATEGORY.csv beside info/CATEGORY.txt, of which there must be one. malloc'd; for one that is
// not there, where it should be.
char *dataset_path(const char *folder, const char *name);
int dataset_has(const char *folder, const char *name);
// category_override may be NULL.
int dataset_open(Dataset *d, const char *folder, const char *category_override, Err *err);
// dataset.json of a folder: 1 with *json (the caller owns it), 0 where there is none, -1 where it is not one of ours.
int dataset_json(json_t **json, const char *folder, Err *err);
// What the prompts of the published code call an item of a category whose files' names begin so (Video_Games_5_2016...): "video
// games"; NULL for any other name.
const char *dataset_published_category(const char *name);
int dataset_check_category(const char *category, int code, Err *err);   // code: of the error
int dataset_call(Dataset *d, const char *category, int code, Err *err); // its items so from now on; likewise
void dataset_close(Dataset *d);
// Write d->items as they are now into info.txt, and its hash and counts into dataset.json where there is one: whole or not at
// all, whatever stops it. The new info.txt waits under the name info.txt.next until dataset.json names its hash; from then on
// it is the one that dataset_open reads, and it takes its place. For one writer at a time (file_lock).
int dataset_save_items(Dataset *d, Err *err);
// split: "train", "valid" or "test". All items of the rows must be in info.txt, and a file that dataset.json names must
// have the bytes it had then: a folder that was half overwritten would mix splits.
int dataset_rows(const Dataset *d, Rows *rows, const char *split, int max_rows, Err *err);
// Whether a file of the folder has the hash that dataset.json, where there is one, names for it.
int dataset_check_hash(const Dataset *d, const char *name, const char hex[33], Err *err);
// {"folder": name, "train.csv": hash, ...} of the files that are there, for metrics.json. The caller owns it.
// with_test 0: test.csv is not opened (a command that trains has no business there).
json_t *dataset_hashes(const Dataset *d, int with_test, Err *err);

#endif
