// The options of all commands. One table (options_table.c) holds each option's name, kind, default, range, help and the
// commands it belongs to; parsing, --config, --help and the echo into metrics.json walk that table. A new option is one field
// here and one row there.
#ifndef APP_OPTIONS_H
#define APP_OPTIONS_H

#include "base/err.h"
#include "base/json.h"
#include <stdint.h>
#include <stdio.h>

enum {
    CMD_PREPARE = 1 << 0,
    CMD_CONVERT = 1 << 1,
    CMD_INSPECT = 1 << 2,
    CMD_TOKENIZE = 1 << 3,
    CMD_SFT = 1 << 4,
    CMD_RL = 1 << 5,
    CMD_EVAL = 1 << 6,
    CMD_RECOMMEND = 1 << 7,
    CMD_SCORE = 1 << 8,
    CMD_SYNTH = 1 << 9,
    CMD_BENCH = 1 << 10,
    CMD_CATALOG = 1 << 11,
    CMD_SASREC = 1 << 12,
    CMD_SERVE = 1 << 13,
    CMD_REPORT = 1 << 14,
    CMD_EXPERIMENT = 1 << 15,
    CMD_ALL = (CMD_EXPERIMENT << 1) - 1,
    CMD_LIBRARY = 1 << 30 // no command: what the C library lets be set (lib/)
};

typedef struct Options Options;

typedef struct Command {
    const char *name, *summary;
    int bit;                                // one of CMD_*
    const char *operand;                    // what stands without an option name, or NULL: "NAME: help"; "NAME...: " once or
                                            // more; "[NAME]: " it may be left out
    int (*run)(const Options *o, Err *err); // cmd_NAME
} Command;

enum { OPTIONS_MAX = 192 };

typedef struct TextList { // of an option or operand that may be given several times
    const char **text;    // (n)
    int n;
} TextList;

// Strings are owned by the Options. An option that the command does not have holds 0 or NULL.
// "the model's" in the comments: -1 or NULL where the option was not given, and what was saved with the model counts.
struct Options {
    const Command *command;
    const struct Ranks *ranks; // that run the command together (train/ranks.h); NULL: alone
    const char *operand;       // e.g. inspect PATH; or NULL
    TextList operands;         // all of them

    // files
    const char *model, *data, *out, *config;
    const char *index;                           // built catalogue; or NULL
    const char *protocol;                        // eval: "full", "uniform-100", "popularity-100"
    const char *results;                         // eval: one JSON line a row; or NULL
    const char *save;                            // eval: folder of what is kept; or NULL
    const char *ghost_tokens;                    // "keep", "skip"
    const char *decode;                          // "trie", "ground"
    const char *guidance;                        // NULL: none
    double guidance_weight;                      // of the language model
    double guidance_power;                       // with "ground"
    const char *against, *trec_run, *trec_qrels; // eval
    const char *split;                           // "train", "valid", "test"; prepare: "time", "leave-one-out"
    const char *category;                        // phrase of the prompt; NULL: the data folder's
    int strict, force, json, thought_test, shuffle_history;
    int plan, jobs;      // experiment
    const char *records; // experiment: a folder, or NULL
    int max_rows;        // 0: all
    int sample;          // rows drawn from those; 0: all

    // model and machine
    const char *dtype;     // "auto", "f32", "bf16"
    const char *device;    // "cpu", "cuda"; NULL: the environment's, else cpu
    const char *bos;       // "auto", "yes", "no"
    int threads;           // 0: all processors
    double weights_memory; // GB that a backbone which does not train may take; 0: as the machine allows
    int64_t seed;
    int thoughts, thought_window; // -1: the model's
    int thought_layer;            // -1: the model's
    double thought_rms;           // < 0: the model's
    const char *thought;          // "ratt", "hidden"; NULL: the model's
    int item_text;                // sft
    const char *history_text;     // "title", "index"; NULL: the model's
    const char *answer_sees;      // "prompt", "thought"; NULL: the model's
    const char *save_dtype;       // "f32", "bf16"
    int add_thought;              // convert

    // training
    int batch;          // sft: rows an update; rl: prompts an update; eval, recommend, score: users at a time
    int max_steps;      // 0: no limit
    int64_t max_tokens; // sft; 0: no limit
    int epochs, warmup, micro_rows, recompute, lean, validations, patience, valid_rows, no_early_stop, keep_last;
    double lr, latent_lr, clip, spike; // latent_lr 0: lr
    const char *train;                 // sft: "all", "latent"; rl: "latent", "lora", "all"
    const char *order;                 // "rows", "users"; NULL: of a command without it
    const char *lr_schedule;           // "linear", "cosine", "constant"
    int lora_rank;                     // 0: the whole model trains
    double lora_alpha;                 // 0: twice the rank
    const char *lora_targets;          // "q,k,v,o,gate,up,down", some of these
    int save_every, keep;              // steps between checkpoints, how many stay
    int resume, deterministic;

    // rl
    int samples, sigma_relative, advantage_window, eval_rows, inner;
    double sigma, epsilon_low, epsilon_high, beta;
    const char *advantage; // "batch", "group", "group-mean"
    const char *objective; // "token", "latent"
    const char *reward;    // "perplexity", "logprob", "hit", "rank"

    // sasrec
    const char *loss, *activation;                                 // "ce", "bce"; "relu", "gelu"
    int negatives, max_length, width, layers, heads, feed_forward; // feed_forward 0: the width
    double dropout;

    // recommending
    int beams, k, exclude_seen;
    double length_penalty;
    TextList history, history_id;
    const char *users; // in their place: file of users; or NULL
    int all_users;     // the same: those of the data folder
    const char *form;  // of their lists: "tsv", "jsonl", "trec"

    // serve
    const char *host, *api_key_file;          // api_key_file: or NULL
    int port, max_beams, queue, prefix_cache; // prefix_cache: MiB

    // prepare
    const char *format, *item_file, *title_rules, *from, *until;
    const char *user_column, *item_column, *time_column, *rating_column, *title_column, *item_text_column, *columns;
    int k_core, max_history, min_items, train_from_histories;
    int64_t tie_order;       // 0: file order, else a seed
    const char *title_years; // "keep", "drop"
    const char *item_ids;    // "log", "number"
    double min_rating;

    // catalog
    TextList id, title;
    const char *file;

    // tokenize, synth
    int plain, items, rows, tokens;

    uint8_t given[OPTIONS_MAX]; // by row of the table: 1 by --config, 2 on the command line
    char **owned;
    int n_owned;
};

// argv: what follows the command's name. Unknown, repeated and malformed options are ERR_USAGE, one line naming the option
// and its range; a --config file is read first and loses against the command line. Also checks what options say together.
int options_parse(Options *o, const Command *command, int argc, char **argv, Err *err);
void options_free(Options *o);
// Where --model names nothing that is there: what may have been meant, a baseline or a model of the Hugging Face hub. To be
// asked when the command is to run, not when it is planned.
int options_check_model(const Options *o, Err *err);

// For lib/, in place of options_parse: the defaults, then one option at a time as --config would set it (a second value takes
// the place of the first), then what must be given and what options say together.
void options_init(Options *o, const Command *command);
int options_set(Options *o, const char *name, const char *value, Err *err);
int options_check(const Options *o, Err *err);

// Whether it was given, and is not what holds without it: a command line with all its defaults, as a model card shows it, may
// be typed.
int options_changed(const Options *o, const char *name);

// The final values of all options the command has, under their names. The caller owns it.
json_t *options_to_json(const Options *o);

// What an option is to a command (NULL: to any).
typedef enum OptionForm { OPTION_UNKNOWN, OPTION_VALUE, OPTION_FLAG } OptionForm;
OptionForm options_form(const Command *command, const char *name);

// A JSON string, or null where `s` is NULL. A path may hold any bytes: what is no UTF-8 stands there as U+FFFD.
json_t *options_text(const char *s);

void options_help(FILE *f, const Command *command);

#endif
