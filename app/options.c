// The table, and what walks it: the command line, the --config file, --help and the echo. See options.h.
#include "app/options.h"
#include "app/meant.h"
#include "app/sasrec_model.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/number.h"
#include "data/records.h"
#include "model/config.h"
#include "rec/baseline.h"
#include "serve/engine.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef enum OptionKind { KIND_FLAG, KIND_INT, KIND_LONG, KIND_REAL, KIND_CHOICE, KIND_TEXT, KIND_LIST } OptionKind;

typedef struct OptionRow {
    const char *name;
    int commands;
    OptionKind kind;
    size_t field;
    const char *initial; // as a user would write it; NULL: not set (-1 for numbers); REQUIRED: must be given
    const char *value;   // what stands behind the name in the help; for KIND_CHOICE the choices, "a|b|c"
    double least, most;
    const char *help;
} OptionRow;

static const char REQUIRED[] = "";
#define AT(field) offsetof(Options, field)
enum {
    TRAIN = CMD_SFT | CMD_RL,
    LEARN = TRAIN | CMD_SASREC,
    RANK = CMD_EVAL | CMD_RECOMMEND | CMD_BENCH,
    USE = CMD_EVAL | CMD_RECOMMEND | CMD_SCORE | CMD_BENCH,
    RUN = USE | CMD_SERVE | CMD_LIBRARY, // a model over data
    ALL = (CMD_EXPERIMENT << 1) - 1
};

// clang-format off
static const OptionRow table[] = {
    // files
    {"model", CMD_EVAL | CMD_RECOMMEND | CMD_SERVE | CMD_LIBRARY, KIND_TEXT, AT(model), REQUIRED, "PATH", 0, 0, "model folder or GGUF file; or popularity, item-knn, repeat-last, random"},
    {"model", CMD_CONVERT | CMD_TOKENIZE | TRAIN | CMD_SCORE | CMD_BENCH, KIND_TEXT, AT(model), REQUIRED, "PATH", 0, 0, "model folder or GGUF file"},
    {"model", CMD_INSPECT, KIND_TEXT, AT(model), NULL, "PATH", 0, 0, "model folder or GGUF file to describe"},
    {"data", CMD_PREPARE, KIND_TEXT, AT(data), REQUIRED, "PATH", 0, 0, "interaction log: a folder or a file of it"},
    {"data", LEARN | RUN | CMD_CATALOG, KIND_TEXT, AT(data), REQUIRED, "DIR", 0, 0, "data folder, as prepare writes it"},
    {"data", CMD_INSPECT, KIND_TEXT, AT(data), NULL, "DIR", 0, 0, "data folder to describe"},
    {"data", CMD_SYNTH, KIND_TEXT, AT(data), NULL, "DIR", 0, 0, "make the model alone, for the titles of this data folder"},
    {"out", CMD_PREPARE | CMD_CONVERT | CMD_SYNTH | LEARN, KIND_TEXT, AT(out), REQUIRED, "DIR", 0, 0, "folder to write"},
    {"out", CMD_EXPERIMENT, KIND_TEXT, AT(out), REQUIRED, "DIR", 0, 0, "folder of all runs and of the tables"},
    {"out", CMD_RECOMMEND, KIND_TEXT, AT(out), NULL, "FILE", 0, 0, "file of the lists of --users or --all-users"},
    {"plan", CMD_EXPERIMENT, KIND_FLAG, AT(plan), NULL, NULL, 0, 0, "print the runs, and whether they are done; run nothing"},
    {"jobs", CMD_EXPERIMENT, KIND_INT, AT(jobs), "1", "N", 1, 1024, "runs at a time, each with its own threads"},
    {"records", CMD_EXPERIMENT, KIND_TEXT, AT(records), NULL, "DIR", 0, 0, "put there what the table needs of the runs that are done; run nothing"},
    {"out", CMD_REPORT, KIND_TEXT, AT(out), REQUIRED, "FILE", 0, 0, "HTML file to write"},
    {"force", CMD_PREPARE | CMD_CONVERT | CMD_SYNTH | LEARN, KIND_FLAG, AT(force), NULL, NULL, 0, 0, "write into an --out that is not empty"},
    {"force", CMD_RECOMMEND, KIND_FLAG, AT(force), NULL, NULL, 0, 0, "write over an --out that is there"},
    {"config", ALL, KIND_TEXT, AT(config), NULL, "FILE", 0, 0, "YAML file of options by name; the command line wins over it"},
    {"json", CMD_PREPARE | CMD_INSPECT | USE | CMD_CATALOG | CMD_EXPERIMENT, KIND_FLAG, AT(json), NULL, NULL, 0, 0, "print JSON"},
    {"json", CMD_TOKENIZE, KIND_FLAG, AT(json), NULL, NULL, 0, 0, "each line of the input is a JSON string"},
    {"split", CMD_REPORT, KIND_CHOICE, AT(split), "test", "train|valid|test", 0, 0, "whose evaluation is shown"},
    {"split", CMD_EVAL | CMD_SCORE | CMD_BENCH, KIND_CHOICE, AT(split), "test", "train|valid|test", 0, 0, "rows to use"},
    {"protocol", CMD_EVAL, KIND_CHOICE, AT(protocol), "full", "full|uniform-100|popularity-100", 0, 0, "rank among all items, or among 100 drawn ones (models that score all items)"},
    {"results", CMD_EVAL, KIND_TEXT, AT(results), NULL, "FILE", 0, 0, "write one JSON line a row"},
    {"save", CMD_EVAL, KIND_TEXT, AT(save), NULL, "DIR", 0, 0, "keep the JSON and the results there (the model's folder, for report and the model card)"},
    {"against", CMD_EVAL, KIND_TEXT, AT(against), NULL, "FILE", 0, 0, "--results of another model on the same rows: print what is gained"},
    {"trec-run", CMD_EVAL, KIND_TEXT, AT(trec_run), NULL, "FILE", 0, 0, "write the lists as trec_eval reads them"},
    {"trec-qrels", CMD_EVAL, KIND_TEXT, AT(trec_qrels), NULL, "FILE", 0, 0, "write the targets as trec_eval reads them"},
    {"category", TRAIN | RUN, KIND_TEXT, AT(category), NULL, "PHRASE", 0, 0, "what the prompt calls an item; the data folder's where not given, or the model's"},
    {"category", CMD_PREPARE, KIND_TEXT, AT(category), NULL, "PHRASE", 0, 0, "what the prompt calls an item; \"movie\" for MovieLens, the published phrase of a published category, else the folder's name, \"item\" where --data has none"},
    {"strict", CMD_PREPARE | LEARN | RUN, KIND_FLAG, AT(strict), NULL, NULL, 0, 0, "refuse a bad row, rather than skip and count it"},
    {"max-rows", LEARN, KIND_INT, AT(max_rows), "0", "N", 0, 1e9, "use only the first N training rows; 0: all"},
    {"max-rows", CMD_EVAL | CMD_SCORE, KIND_INT, AT(max_rows), "0", "N", 0, 1e9, "use only the first N rows; 0: all"},
    {"sample", TRAIN, KIND_INT, AT(sample), "0", "N", 0, 1e9, "train on N rows drawn by --seed from those; 0: all"},
    {"sample", CMD_EVAL | CMD_SCORE, KIND_INT, AT(sample), "0", "N", 0, 1e9, "use N rows drawn from those, the same for every model; 0: all"},

    // prepare
    {"format", CMD_PREPARE, KIND_CHOICE, AT(format), "auto", "auto|" RECORDS_FORMATS, 0, 0, "format of the log; auto looks into the files"},
    {"items", CMD_PREPARE, KIND_TEXT, AT(item_file), NULL, "FILE", 0, 0, "the file of the items and their titles; the one beside the log where not given"},
    {"user-column", CMD_PREPARE, KIND_TEXT, AT(user_column), NULL, "NAME", 0, 0, "column or member of the user, in tsv, csv and jsonl"},
    {"item-column", CMD_PREPARE, KIND_TEXT, AT(item_column), NULL, "NAME", 0, 0, "column or member of the item's id"},
    {"time-column", CMD_PREPARE, KIND_TEXT, AT(time_column), NULL, "NAME", 0, 0, "column or member of the time: seconds or milliseconds since 1970, or ISO dates"},
    {"rating-column", CMD_PREPARE, KIND_TEXT, AT(rating_column), NULL, "NAME", 0, 0, "column or member of the rating"},
    {"title-column", CMD_PREPARE, KIND_TEXT, AT(title_column), NULL, "NAME", 0, 0, "column or member of the title"},
    {"columns", CMD_PREPARE, KIND_TEXT, AT(columns), NULL, "LIST", 0, 0, "of a log without a header, tsv or csv: its columns in order, as user,item,-,time"},
    {"item-text", CMD_PREPARE, KIND_TEXT, AT(item_text_column), NULL, "NAME", 0, 0, "column or member of the file of items that holds their index texts (semantic ids)"},
    {"item-ids", CMD_PREPARE, KIND_CHOICE, AT(item_ids), "log", "log|number", 0, 0, "log: items bear the log's ids, in info.txt too; number: 0, 1, 2, ..., as published"},
    {"title-rules", CMD_PREPARE, KIND_CHOICE, AT(title_rules), "auto", "auto|published|none", 0, 0, "drop items with <span id, one letter or over 20 words as title; auto: where log or items are Amazon's"},
    {"from", CMD_PREPARE, KIND_TEXT, AT(from), NULL, "DATE", 0, 0, "drop what is earlier (YYYY-MM-DD, UTC)"},
    {"until", CMD_PREPARE, KIND_TEXT, AT(until), NULL, "DATE", 0, 0, "drop what is of that day or later"},
    {"min-items", CMD_PREPARE, KIND_INT, AT(min_items), "0", "N", 0, 1e9, "move --from back by three months until N items are left; 0: off"},
    {"split", CMD_PREPARE, KIND_CHOICE, AT(split), "time", "time|leave-one-out", 0, 0, "80/10/10 by target time, or each user's last two items"},
    {"k-core", CMD_PREPARE, KIND_INT, AT(k_core), "5", "N", 0, 1000, "keep users and items with N interactions, iterated; 0: off"},
    {"tie-order", CMD_PREPARE, KIND_LONG, AT(tie_order), "0", "SEED", 0, 9007199254740991.0, "order of a user's events of the same time: 0, that of the file; else one of chance by this seed"},
    {"title-years", CMD_PREPARE, KIND_CHOICE, AT(title_years), "keep", "keep|drop", 0, 0, "drop: titles lose \" (1995)\" at their end"},
    {"train-from-histories", CMD_PREPARE, KIND_FLAG, AT(train_from_histories), NULL, NULL, 0, 0, "of a published folder without train.csv: its rows are made of what the others' histories hold of the time before"},
    {"max-history", CMD_PREPARE, KIND_INT, AT(max_history), "10", "N", 1, 1000, "predecessors a row"},
    {"min-rating", CMD_PREPARE, KIND_REAL, AT(min_rating), "0", "X", 0, 1000, "drop lower ratings; 0: off"},

    // model
    {"dtype", LEARN | RUN, KIND_CHOICE, AT(dtype), "auto", "auto|f32|bf16", 0, 0, "type of the matrix products; auto: bf16 where the machine has it"},
    {"device", LEARN | RUN, KIND_CHOICE, AT(device), NULL, "cpu|cuda", 0, 0, "what the model runs on; where not given, what LATENTR3_DEVICE names, else cpu"},
    {"dtype", CMD_CONVERT, KIND_CHOICE, AT(save_dtype), "f32", "f32|bf16", 0, 0, "type of the weights in the file"},
    {"save-dtype", LEARN, KIND_CHOICE, AT(save_dtype), "f32", "f32|bf16", 0, 0, "type of the weights in the saved model"},
    {"add-thought", CMD_CONVERT, KIND_FLAG, AT(add_thought), NULL, NULL, 0, 0, "add <|Thought|> and a fresh LatentRATT"},
    {"bos", CMD_CONVERT | TRAIN | RUN, KIND_CHOICE, AT(bos), "auto", "auto|yes|no", 0, 0, "begin the prompt with BOS; auto: as the model says"},
    {"thoughts", CMD_SFT, KIND_INT, AT(thoughts), NULL, "N", 0, CONFIG_THOUGHTS, "thought tokens, 0: none (BIGRec); as saved, or 1"},
    {"thoughts", CMD_RL | RUN, KIND_INT, AT(thoughts), NULL, "N", 0, CONFIG_THOUGHTS, "thought tokens; as saved with the model where not given"},
    {"thoughts", CMD_SASREC, KIND_INT, AT(thoughts), "0", "N", 0, CONFIG_THOUGHTS, "thoughts before each prediction, 0: none"},
    {"thought-window", CMD_SASREC, KIND_INT, AT(thought_window), "0", "N", 0, 1e6, "last positions that LatentRATT sees, 0: all"},
    {"thought", CMD_SASREC, KIND_CHOICE, AT(thought), "ratt", "ratt|hidden", 0, 0, "LatentRATT, or the last hidden state itself (ReaRec)"},
    {"thought-layer", CMD_SASREC, KIND_INT, AT(thought_layer), "0", "N", 0, 1e3, "thoughts are made of the states behind the first N layers, 0: behind all"},
    {"thought-rms", CMD_SASREC, KIND_REAL, AT(thought_rms), "0", "X", 0, CONFIG_THOUGHT_RMS, "what a thought's root mean square is scaled to, 0: it is left as LatentRATT makes it"},
    {"answer-sees", CMD_SASREC, KIND_CHOICE, AT(answer_sees), "prompt", "prompt|thought", 0, 0, "what the last thought's position attends to; thought: the thoughts alone"},
    {"thought-window", TRAIN | RUN, KIND_INT, AT(thought_window), NULL, "N", 0, 1e6, "last positions that LatentRATT sees, 0: the whole prompt; as saved"},
    {"thought", CMD_SFT | RUN, KIND_CHOICE, AT(thought), NULL, "ratt|hidden", 0, 0, "LatentRATT, or the last hidden state itself; as saved, or ratt"},
    {"thought-layer", CMD_SFT, KIND_INT, AT(thought_layer), NULL, "N", 0, 1e3, "thoughts are made of the states behind the first N layers, 0: behind all; as saved, or 0"},
    {"thought-rms", CMD_SFT, KIND_REAL, AT(thought_rms), NULL, "X", 0, CONFIG_THOUGHT_RMS, "what a thought's root mean square is scaled to, 0: it is left as LatentRATT makes it; as saved, or 0"},
    {"answer-sees", TRAIN | RUN, KIND_CHOICE, AT(answer_sees), NULL, "prompt|thought", 0, 0, "what the answer attends to; thought: the thoughts alone; as saved, or prompt"},
    {"item-text", CMD_SFT, KIND_FLAG, AT(item_text), NULL, NULL, 0, 0, "answers are the items' index texts, whose pieces <...> become tokens"},
    {"history-text", CMD_SFT, KIND_CHOICE, AT(history_text), NULL, "title|index", 0, 0, "what histories hold with --item-text; index where not given"},
    {"threads", LEARN | RUN, KIND_INT, AT(threads), NULL, "N", 1, 1024, "threads; all processors where not given"},
    {"weights-memory", TRAIN | RUN, KIND_REAL, AT(weights_memory), "0", "GB", 0, 1e6, "what the weights of a frozen backbone may take, the rest is read from the file again for each product; 0: as the machine allows"},
    {"seed", LEARN | RUN | CMD_CONVERT | CMD_SYNTH | CMD_REPORT, KIND_LONG, AT(seed), "42", "N", 0, 9007199254740991.0, "of every random number"},

    // training
    {"batch", CMD_SFT, KIND_INT, AT(batch), "128", "N", 1, 1 << 20, "rows an update"},
    {"batch", CMD_RL, KIND_INT, AT(batch), "32", "N", 1, 1 << 20, "prompts an update"},
    {"batch", CMD_SASREC, KIND_INT, AT(batch), "64", "N", 1, 1 << 20, "sequences an update"},
    {"batch", USE & ~CMD_BENCH, KIND_INT, AT(batch), "16", "N", 1, 4096, "users at a time"},
    {"batch", CMD_BENCH, KIND_INT, AT(batch), "16", "N", 1, 4096, "rows (sft) or prompts (rl) an update; else users at a time"},
    {"batch", CMD_SERVE, KIND_INT, AT(batch), "16", "N", 1, ENGINE_USERS, "most users who are in the search together"},
    {"batch", CMD_LIBRARY, KIND_INT, AT(batch), "1", "N", 1, ENGINE_USERS, "most users of a call who are in the search together"},
    {"micro-rows", CMD_SFT, KIND_INT, AT(micro_rows), "2048", "N", 1, 1 << 20, "tokens that run through the network together (memory)"},
    {"micro-rows", CMD_RL, KIND_INT, AT(micro_rows), "512", "N", 1, 1 << 20, "answer tokens that run through the network together (memory)"},
    {"micro-rows", CMD_SASREC, KIND_INT, AT(micro_rows), "4096", "N", 1, 1 << 20, "items that run through the network together (memory)"},
    {"micro-rows", CMD_BENCH, KIND_INT, AT(micro_rows), NULL, "N", 1, 1 << 20, "tokens that run through the network together; as sft and rl have it"},
    {"lean", CMD_SFT | CMD_BENCH, KIND_FLAG, AT(lean), NULL, NULL, 0, 0, "keep weights and moments in bf16, rounded at random: half the memory of a whole model's training"},
    {"recompute", CMD_SFT | CMD_RL | CMD_SASREC | CMD_BENCH, KIND_FLAG, AT(recompute), NULL, NULL, 0, 0, "keep each layer's input alone and compute the rest again going back: memory for time"},
    {"lr", CMD_SFT, KIND_REAL, AT(lr), "3e-4", "X", 1e-9, 1, "learning rate"},
    {"lr", CMD_RL, KIND_REAL, AT(lr), "1e-4", "X", 1e-9, 1, "learning rate"},
    {"lr", CMD_SASREC, KIND_REAL, AT(lr), "3e-3", "X", 1e-9, 1, "learning rate"},
    {"lr-schedule", CMD_SFT, KIND_CHOICE, AT(lr_schedule), "linear", "linear|cosine|constant", 0, 0, "after the warm-up"},
    {"lr-schedule", CMD_RL, KIND_CHOICE, AT(lr_schedule), "cosine", "linear|cosine|constant", 0, 0, "after the warm-up"},
    {"lr-schedule", CMD_SASREC, KIND_CHOICE, AT(lr_schedule), "linear", "linear|cosine|constant", 0, 0, "after the warm-up"},
    {"warmup", CMD_SFT, KIND_INT, AT(warmup), "20", "N", 0, 1e6, "steps of linear warm-up"},
    {"warmup", CMD_RL, KIND_INT, AT(warmup), "200", "N", 0, 1e6, "steps of linear warm-up"},
    {"warmup", CMD_SASREC, KIND_INT, AT(warmup), "100", "N", 0, 1e6, "steps of linear warm-up"},
    {"epochs", CMD_SFT, KIND_INT, AT(epochs), "3", "N", 1, 10000, "passes over the training rows"},
    {"epochs", CMD_RL, KIND_INT, AT(epochs), "1", "N", 1, 10000, "passes over the training rows"},
    {"epochs", CMD_SASREC, KIND_INT, AT(epochs), "60", "N", 1, 10000, "passes over the training sequences"},
    {"max-steps", LEARN, KIND_INT, AT(max_steps), "0", "N", 0, 1e9, "stop after N steps, each an update (of rl --inner, all of a batch); 0: no limit"},
    {"spike", CMD_SFT | CMD_RL | CMD_SASREC, KIND_REAL, AT(spike), "0", "X", 0, 1e9, "refuse an update whose loss or gradient lies X median deviations above the last 200 (50 is wide); 0: none"},
    {"save-every", LEARN, KIND_INT, AT(save_every), "0", "N", 0, 1e9, "a checkpoint every N steps and at the end; 0: only where the run is stopped"},
    {"keep", LEARN, KIND_INT, AT(keep), "2", "N", 1, 1000, "checkpoints that stay"},
    {"resume", LEARN, KIND_FLAG, AT(resume), NULL, NULL, 0, 0, "go on from the last checkpoint in --out, bit for bit"},
    {"resume", CMD_RECOMMEND, KIND_FLAG, AT(resume), NULL, NULL, 0, 0, "go on where a run into --out was cut off, bit for bit"},
    {"deterministic", LEARN, KIND_FLAG, AT(deterministic), NULL, NULL, 0, 0, "the same bits for any number of processes that mpirun starts (docs/cluster.md)"},
    {"max-tokens", CMD_SFT, KIND_LONG, AT(max_tokens), "0", "N", 0, 1e15, "as many updates as about N tokens forward and back allow, in place of --epochs; 0: no limit"},
    {"clip", LEARN, KIND_REAL, AT(clip), "1", "X", 0, 1e6, "largest norm of the gradient; 0: no limit"},
    {"valid-rows", CMD_SFT, KIND_INT, AT(valid_rows), "0", "N", 0, 1e9, "rows of the validation loss; 0: all"},
    {"valid-rows", CMD_SASREC, KIND_INT, AT(valid_rows), "0", "N", 0, 1e9, "validation rows that decide which model is kept; 0: all"},
    {"validations", LEARN, KIND_INT, AT(validations), "1", "N", 1, 1000000, "validations an epoch, evenly spread, the last at its end"},
    {"patience", CMD_SFT, KIND_INT, AT(patience), "1", "N", 1, 1000, "stop after N validations without a better loss"},
    {"patience", CMD_SASREC, KIND_INT, AT(patience), "10", "N", 1, 1000, "stop after N validations without a better model"},
    {"no-early-stop", CMD_SFT | CMD_SASREC, KIND_FLAG, AT(no_early_stop), NULL, NULL, 0, 0, "run all epochs (the best model is kept all the same)"},
    {"keep-last", LEARN, KIND_FLAG, AT(keep_last), NULL, NULL, 0, 0, "keep the model of the last validation, not the best one; all epochs run"},

    {"train", CMD_SFT, KIND_CHOICE, AT(train), "all", "all|latent", 0, 0, "what trains: all (with --lora-rank: LatentRATT and adapters), or latent: LatentRATT alone"},
    {"train", CMD_RL, KIND_CHOICE, AT(train), "latent", "latent|lora|all", 0, 0, "what trains: LatentRATT alone, with it adapters of --lora-rank, or the whole model"},
    {"latent-lr", TRAIN, KIND_REAL, AT(latent_lr), "0", "X", 0, 1, "learning rate of LatentRATT; 0: as --lr"},
    {"lora-rank", CMD_RL, KIND_INT, AT(lora_rank), "0", "R", 0, 4096, "rank of the adapters of --train lora"},
    {"lora-rank", CMD_SFT | CMD_BENCH, KIND_INT, AT(lora_rank), "0", "R", 0, 4096, "train adapters of this rank, the backbone frozen; 0: train all of it"},
    {"lora-alpha", TRAIN | CMD_BENCH, KIND_REAL, AT(lora_alpha), "0", "X", 0, 1e6, "what adapters add is scaled by X / rank; 0: twice the rank"},
    {"lora-targets", TRAIN | CMD_BENCH, KIND_TEXT, AT(lora_targets), "q,k,v,o,gate,up,down", "LIST", 0, 0, "linear layers that get adapters"},

    // rl
    {"samples", CMD_RL | CMD_BENCH, KIND_INT, AT(samples), "8", "K", 2, 1024, "thoughts a prompt; the first is without noise"},
    {"sigma", CMD_RL | CMD_BENCH, KIND_REAL, AT(sigma), "1.5", "X", 0, 1e6, "standard deviation of the noise"},
    {"sigma-relative", CMD_RL, KIND_FLAG, AT(sigma_relative), NULL, NULL, 0, 0, "--sigma counts in root mean squares of the thought"},
    {"advantage", CMD_RL, KIND_CHOICE, AT(advantage), "batch", "batch|group|group-mean", 0, 0, "against the batch's noiseless mean, the group's mean and deviation, or its mean alone"},
    {"advantage-window", CMD_RL, KIND_INT, AT(advantage_window), "0", "N", 0, 1 << 20, "prompts that share a mean; 0: the whole update"},
    {"reward", CMD_RL, KIND_CHOICE, AT(reward), "perplexity", "perplexity|logprob|hit|rank", 0, 0, "of the true item: minus its perplexity, its mean log-probability, whether beams find it, 1 / log2(1 + its rank there)"},
    {"objective", CMD_RL, KIND_CHOICE, AT(objective), "token", "token|latent", 0, 0, "policy whose gradient is taken: the answer's tokens, or the Gaussian of the thought"},
    {"inner", CMD_RL, KIND_INT, AT(inner), "1", "N", 1, 1000, "updates on the same samples; from the second on the ratio moves"},
    {"epsilon-low", CMD_RL, KIND_REAL, AT(epsilon_low), "0.2", "X", 0, 1, "the ratio is clipped below 1 - X"},
    {"epsilon-high", CMD_RL, KIND_REAL, AT(epsilon_high), "0.28", "X", 0, 1000, "the ratio is clipped above 1 + X"},
    {"beta", CMD_RL, KIND_REAL, AT(beta), "0", "X", 0, 1000, "weight of the KL divergence to the model as it came"},
    {"eval-rows", CMD_RL, KIND_INT, AT(eval_rows), "1000", "N", 1, 1e9, "validation rows that decide which model is kept"},

    // sasrec
    {"loss", CMD_SASREC, KIND_CHOICE, AT(loss), "ce", "ce|bce", 0, 0, "cross-entropy over all items, or binary with --negatives"},
    {"negatives", CMD_SASREC, KIND_INT, AT(negatives), "1", "N", 1, 1024, "items drawn against each true one (--loss bce)"},
    {"max-length", CMD_SASREC, KIND_INT, AT(max_length), "200", "N", 1, 16384, "last items of a sequence"},
    {"width", CMD_SASREC, KIND_INT, AT(width), "128", "D", 2, 4096, "of the item embeddings and hidden states"},
    {"layers", CMD_SASREC, KIND_INT, AT(layers), "2", "L", 1, 64, "blocks"},
    {"heads", CMD_SASREC, KIND_INT, AT(heads), "1", "H", 1, 64, "attention heads"},
    {"feed-forward", CMD_SASREC, KIND_INT, AT(feed_forward), "256", "F", 0, 16384, "width of the feed-forward; 0: that of the embeddings"},
    {"activation", CMD_SASREC, KIND_CHOICE, AT(activation), "relu", "relu|gelu", 0, 0, "of the feed-forward"},
    {"dropout", CMD_SASREC, KIND_REAL, AT(dropout), "0.2", "X", 0, 0.9, "share of values that fall out in training"},

    // recommending
    {"beams", RANK | CMD_SERVE | CMD_LIBRARY, KIND_INT, AT(beams), "10", "W", 1, 1000, "beams"},
    {"beams", CMD_RL, KIND_INT, AT(beams), "10", "W", 1, 1000, "beams of --reward hit and rank"},
    {"length-penalty", RANK | CMD_SERVE | CMD_LIBRARY | CMD_RL, KIND_REAL, AT(length_penalty), "1", "X", -10, 10, "score = sum of log-probabilities / length^X"},
    {"ghost-tokens", RANK | CMD_SERVE | CMD_LIBRARY, KIND_CHOICE, AT(ghost_tokens), "keep", "keep|skip", 0, 0, "skip: tokens to which the catalogue leaves no choice do not count in the score"},
    {"guidance", CMD_EVAL | CMD_RECOMMEND, KIND_TEXT, AT(guidance), NULL, "NAME", 0, 0, "a SASRec's folder, popularity or item-knn: its probabilities guide the beams (D3)"},
    {"guidance-weight", CMD_EVAL | CMD_RECOMMEND, KIND_REAL, AT(guidance_weight), "0.5", "G", 0, 1, "step score = G * language model + (1 - G) * guide"},
    {"guidance-power", CMD_EVAL | CMD_RECOMMEND, KIND_REAL, AT(guidance_power), "1", "X", 0, 100, "with --decode ground: rank by distance / (1 + guide)^X, both brought to 0..1"},
    {"decode", CMD_EVAL | CMD_RECOMMEND, KIND_CHOICE, AT(decode), "trie", "trie|ground", 0, 0, "ground: write freely, then rank items by the distance of their embeddings (BIGRec)"},
    {"exclude-seen", RANK, KIND_FLAG, AT(exclude_seen), NULL, NULL, 0, 0, "leave out items of the history"},
    {"k", CMD_RECOMMEND, KIND_INT, AT(k), NULL, "N", 1, 1000, "items of a list, at most the beams where these find it; if not given 10, or as many as there are beams"},
    {"history", CMD_RECOMMEND, KIND_LIST, AT(history), NULL, "TITLE", 0, 0, "a title the user enjoyed, oldest first; once for each"},
    {"history-id", CMD_RECOMMEND, KIND_LIST, AT(history_id), NULL, "ID", 0, 0, "the same by item id, in place of titles"},
    {"users", CMD_RECOMMEND, KIND_TEXT, AT(users), NULL, "FILE", 0, 0, "in place of a history: JSON lines of users, each with \"user\" and \"history\" or \"history_ids\""},
    {"all-users", CMD_RECOMMEND, KIND_FLAG, AT(all_users), NULL, NULL, 0, 0, "in place of a history: every user of the data folder, with all that its rows know"},
    {"format", CMD_RECOMMEND, KIND_CHOICE, AT(form), "tsv", "tsv|jsonl|trec", 0, 0, "of --out"},
    {"shuffle-history", CMD_EVAL | CMD_SCORE, KIND_FLAG, AT(shuffle_history), NULL, NULL, 0, 0, "each history in a random order, by --seed"},
    {"thought-test", CMD_EVAL, KIND_FLAG, AT(thought_test), NULL, NULL, 0, 0, "measure again with other users' thoughts, with zero and with noise"},
    {"index", RANK | CMD_SERVE | CMD_LIBRARY, KIND_TEXT, AT(index), NULL, "FILE", 0, 0, "keep the built catalogue there: for catalogues of many items"},

    // serve
    {"host", CMD_SERVE, KIND_TEXT, AT(host), "127.0.0.1", "ADDRESS", 0, 0, "address to listen at"},
    {"port", CMD_SERVE, KIND_INT, AT(port), "8080", "N", 0, 65535, "and port; 0: any that is free"},
    {"api-key-file", CMD_SERVE, KIND_TEXT, AT(api_key_file), NULL, "FILE", 0, 0, "one API key a line; needed where --host is no loopback address"},
    {"max-beams", CMD_SERVE | CMD_LIBRARY, KIND_INT, AT(max_beams), "50", "W", 1, 1000, "most beams, and items, that a request may ask for"},
    {"prefix-cache", CMD_SERVE, KIND_INT, AT(prefix_cache), "512", "MIB", 0, 1 << 20, "memory for prompts that were computed before; 0: none are kept"},
    {"prefix-cache", CMD_LIBRARY, KIND_INT, AT(prefix_cache), "0", "MIB", 0, 1 << 20, "memory for prompts that were computed before; 0: none are kept"},
    {"queue", CMD_SERVE, KIND_INT, AT(queue), "256", "N", 1, 100000, "most users that may wait; further requests get 503"},

    // catalog
    {"id", CMD_CATALOG, KIND_LIST, AT(id), NULL, "ID", 0, 0, "item to add or remove; once for each"},
    {"title", CMD_CATALOG, KIND_LIST, AT(title), NULL, "TITLE", 0, 0, "its title, for each --id of add"},
    {"file", CMD_CATALOG, KIND_TEXT, AT(file), NULL, "FILE", 0, 0, "items as lines: of add as in info.txt, of remove ids, of text id<TAB>index text"},

    // tokenize, synth
    {"plain", CMD_TOKENIZE, KIND_FLAG, AT(plain), NULL, NULL, 0, 0, "added tokens inside the text stay text, as in titles"},
    {"items", CMD_SYNTH, KIND_INT, AT(items), "200", "N", 60, 5000, "items of the catalogue"},
    {"tokens", CMD_BENCH, KIND_INT, AT(tokens), "128", "N", 1, 4096, "with write: tokens behind each prompt"},
    {"rows", CMD_BENCH, KIND_INT, AT(rows), "64", "N", 1, 1e6, "first rows of the split to run"},
    {"rows", CMD_SYNTH, KIND_INT, AT(rows), "6000", "N", 200, 1e6, "interactions of the log"},
    {"layers", CMD_SYNTH, KIND_INT, AT(layers), "4", "L", 1, 64, "layers of the model"},
    {"width", CMD_SYNTH, KIND_INT, AT(width), "64", "D", 8, 1024, "of the model's embeddings and hidden states"},
};
// clang-format on

enum { ROWS = sizeof table / sizeof table[0] };
_Static_assert((int)ROWS <= (int)OPTIONS_MAX, "Options.given holds a byte for each row");

// ---- values -----------------------------------------------------------------------------------------------------------

// "-k" is the one short name; all others have two dashes.
static const char *dashes(const OptionRow *row) {
    return row->name[1] ? "--" : "-";
}

static const OptionRow *find_row(const char *name, size_t len, int commands) {
    for (int i = 0; i < ROWS; i++)
        if ((table[i].commands & commands) && strlen(table[i].name) == len && !memcmp(table[i].name, name, len))
            return &table[i];
    return NULL;
}

static char *own(Options *o, const char *s) {
    o->owned = mem_realloc(o->owned, (size_t)o->n_owned + 1, sizeof *o->owned);
    return o->owned[o->n_owned++] = mem_strndup(s, strlen(s));
}

// Digits, with a sign and, where `real`, a point and an exponent: what strtod takes beyond that (nan, inf, hexadecimal,
// blanks, the locale's comma) is refused.
static int well_formed(const char *s, int real) {
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, "0123456789"), part = 0;
    s += whole;
    if (real && *s == '.') {
        part = strspn(++s, "0123456789");
        s += part;
    }
    if (whole + part == 0) return 0;
    if (real && (*s == 'e' || *s == 'E')) {
        s++;
        s += *s == '-' || *s == '+';
        size_t digits = strspn(s, "0123456789");
        if (!digits) return 0;
        s += digits;
    }
    return *s == 0;
}

static int set_number(Options *o, const OptionRow *row, const char *text, Err *err) {
    int real = row->kind == KIND_REAL;
    double x = 0;
    errno = 0;
    int bad = !well_formed(text, real);
    if (!bad) x = number_read(text);
    if (bad || errno || !(x >= row->least && x <= row->most))
        return err_set(err, ERR_USAGE, "%s%s: '%.60s' is not a %s from %.16g to %.16g", dashes(row), row->name, text,
                       real ? "number" : "whole number", row->least, row->most);
    char *field = (char *)o + row->field;
    if (real)
        *(double *)field = x;
    else if (row->kind == KIND_LONG)
        *(int64_t *)field = (int64_t)strtoll(text, NULL, 10);
    else
        *(int *)field = (int)x;
    return 0;
}

static int set_choice(Options *o, const OptionRow *row, const char *text, Err *err) {
    size_t n = strlen(text);
    for (const char *c = row->value; *c;) {
        size_t len = strcspn(c, "|");
        if (len == n && !memcmp(c, text, n)) {
            *(const char **)((char *)o + row->field) = own(o, text);
            return 0;
        }
        c += len + (c[len] == '|');
    }
    return err_set(err, ERR_USAGE, "%s%s: '%.60s' is none of %s", dashes(row), row->name, text, row->value);
}

static void list_add(Options *o, TextList *list, const char *text) {
    list->text = mem_realloc(list->text, (size_t)list->n + 1, sizeof *list->text);
    list->text[list->n++] = own(o, text);
}

static TextList *list_of(const Options *o, const OptionRow *row) {
    return (TextList *)((char *)o + row->field);
}

static int set_value(Options *o, const OptionRow *row, const char *text, Err *err) {
    switch (row->kind) {
    case KIND_FLAG:
        if (strcmp(text, "true") && strcmp(text, "false"))
            return err_set(err, ERR_USAGE, "%s%s: '%.60s' is neither true nor false", dashes(row), row->name, text);
        *(int *)((char *)o + row->field) = !strcmp(text, "true");
        return 0;
    case KIND_INT:
    case KIND_LONG:
    case KIND_REAL: return set_number(o, row, text, err);
    case KIND_CHOICE: return set_choice(o, row, text, err);
    case KIND_TEXT:
        if (!*text) return err_set(err, ERR_USAGE, "%s%s: the value is empty", dashes(row), row->name);
        *(const char **)((char *)o + row->field) = own(o, text);
        return 0;
    case KIND_LIST: list_add(o, list_of(o, row), text); return 0;
    }
    return 0;
}

static void set_defaults(Options *o) {
    for (int i = 0; i < ROWS; i++) {
        const OptionRow *row = &table[i];
        if (!(row->commands & o->command->bit)) continue;
        Err err = {0};
        if (row->initial && row->initial != REQUIRED)
            CHECK(set_value(o, row, row->initial, &err) == 0);
        else if (row->kind == KIND_INT && row->field != AT(threads))
            *(int *)((char *)o + row->field) = -1;
    }
}

// ---- the command line ---------------------------------------------------------------------------------------------------

// With more letters amiss something else was meant.
static int amiss(const char *typed) {
    return ((int)strlen(typed) + 1) / 3;
}

static int distance(const char *typed, const char *name) {
    return meant_distance(typed, strlen(typed), name, strlen(name), amiss(typed));
}

static int unknown_option(const Options *o, const char *name, Err *err) {
    const OptionRow *best = NULL;
    int least = 4;
    for (int i = 0; i < ROWS; i++) {
        if (!(table[i].commands & o->command->bit)) continue;
        int d = distance(name, table[i].name), begins = strlen(name) > 1 && !strncmp(name, table[i].name, strlen(name));
        if (begins) d = 1;
        if (d < least && (begins || d <= amiss(name))) {
            least = d;
            best = &table[i];
        }
    }
    const char *command = o->command->name;
    if (best)
        return err_set(err, ERR_USAGE, "%s: unknown option '%.60s'; did you mean %s%s?", command, name, dashes(best),
                       best->name);
    if (find_row(name, strlen(name), ALL))
        return err_set(err, ERR_USAGE, "%s has no option '%.60s'; another command has", command, name);
    return err_set(err, ERR_USAGE, "%s: unknown option '%.60s'; see latentr3 %s --help", command, name, command);
}

// The row an argument names; *value is what stands behind "=", or NULL. NULL with err where it names none.
static const OptionRow *argument_row(const Options *o, const char *arg, const char **value, Err *err) {
    int twice = arg[1] == '-';
    const char *name = arg + 1 + twice, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const OptionRow *row = find_row(name, len, o->command->bit);
    if (row && (len > 1) == twice) {
        *value = equals ? equals + 1 : NULL;
        return row;
    }
    char *bare = mem_strndup(name, len);
    unknown_option(o, bare, err);
    free(bare);
    return NULL;
}

enum { FROM_CONFIG = 1, FROM_ARGUMENTS = 2 };

static int takes_operand(const Options *o) {
    const char *operand = o->command->operand;
    return operand && (!o->operand || strstr(operand, "..."));
}

static int read_arguments(Options *o, int argc, char **argv, Err *err) {
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i], *value;
        if (arg[0] != '-' || !arg[1]) {
            if (!takes_operand(o)) return err_set(err, ERR_USAGE, "%s: unexpected argument '%.200s'", o->command->name, arg);
            list_add(o, &o->operands, arg);
            o->operand = o->operands.text[0];
            continue;
        }
        const OptionRow *row = argument_row(o, arg, &value, err);
        if (!row) return -1;
        if (o->given[row - table] == FROM_ARGUMENTS && row->kind != KIND_LIST)
            return err_set(err, ERR_USAGE, "%s%s is given twice", dashes(row), row->name);
        if (row->kind == KIND_FLAG) {
            if (value) return err_set(err, ERR_USAGE, "--%s takes no value", row->name);
            value = "true";
        } else if (!value) {
            // A value that looks like an option is a forgotten value; --name=--value says it is meant.
            if (i + 1 == argc || !strncmp(argv[i + 1], "--", 2))
                return err_set(err, ERR_USAGE, "%s%s has no value", dashes(row), row->name);
            value = argv[++i];
        }
        if (o->given[row - table] == FROM_CONFIG && row->kind == KIND_LIST) list_of(o, row)->n = 0;
        o->given[row - table] = FROM_ARGUMENTS;
        if (set_value(o, row, value, err)) return -1;
    }
    return 0;
}

// ---- --config -------------------------------------------------------------------------------------------------------------

typedef struct ConfigReader {
    yaml_parser_t parser;
    yaml_event_t event;
    int line; // of the event
    const char *path;
    const MapFile *file;
    Err *err;
} ConfigReader;

int options_yaml_line(const yaml_parser_t *parser, const MapFile *f) {
    size_t line = parser->problem_mark.line + 1;
    for (size_t i = 0; parser->error == YAML_READER_ERROR && i < parser->problem_offset && i < f->bytes; i++)
        line += f->data[i] == '\n';
    return (int)line;
}

static int config_fail(ConfigReader *r, const char *what, const char *name) {
    return err_set(r->err, ERR_USAGE, "%s: line %d: %s%s%.60s%s", r->path, r->line, what, name ? " '" : "", name ? name : "",
                   name ? "'" : "");
}

static int config_next(ConfigReader *r) {
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        mem_need((void *)r->parser.problem, "YAML"); // all but memory has a name
        memset(&r->event, 0, sizeof r->event);
        r->line = options_yaml_line(&r->parser, r->file);
        return config_fail(r, r->parser.problem, NULL);
    }
    r->line = (int)r->event.start_mark.line + 1;
    if (r->event.type == YAML_ALIAS_EVENT) return config_fail(r, "aliases are not read", NULL);
    return 0;
}

static int config_value(ConfigReader *r, Options *o, const OptionRow *row) {
    if (r->event.type != YAML_SCALAR_EVENT) return config_fail(r, "one plain value is expected for", row->name);
    const char *text = (const char *)r->event.data.scalar.value;
    if (strlen(text) != r->event.data.scalar.length) return config_fail(r, "NUL byte in the value of", row->name);
    if (!*text && row->kind != KIND_LIST) return config_fail(r, "no value for", row->name);
    if (set_value(o, row, text, r->err)) return err_prefix(r->err, "%s: line %d", r->path, r->line);
    return 0;
}

static int config_entry(ConfigReader *r, Options *o) {
    if (r->event.type != YAML_SCALAR_EVENT) return config_fail(r, "an option's name is expected", NULL);
    const char *name = (const char *)r->event.data.scalar.value;
    const OptionRow *row = find_row(name, strlen(name), o->command->bit);
    if (row && row->field == AT(config)) return config_fail(r, "a configuration names no other:", row->name);
    if (!row) {
        unknown_option(o, name, r->err);
        return err_prefix(r->err, "%s: line %d", r->path, r->line);
    }
    if (o->given[row - table] == FROM_CONFIG) return config_fail(r, "given twice:", row->name);
    o->given[row - table] = FROM_CONFIG;
    if (config_next(r)) return -1;
    if (row->kind != KIND_LIST || r->event.type != YAML_SEQUENCE_START_EVENT) return config_value(r, o, row);
    while (config_next(r) == 0) {
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return 0;
        if (config_value(r, o, row)) return -1;
    }
    return -1;
}

// One document, one mapping of names to values.
static int config_document(ConfigReader *r, Options *o) {
    static const yaml_event_type_t before[] = {YAML_STREAM_START_EVENT, YAML_DOCUMENT_START_EVENT, YAML_MAPPING_START_EVENT},
                                   after[] = {YAML_DOCUMENT_END_EVENT, YAML_STREAM_END_EVENT};
    for (int i = 0; i < 3; i++)
        if (config_next(r))
            return -1;
        else if (r->event.type != before[i])
            return config_fail(r, "a mapping of options is expected", NULL);
    for (;;) {
        if (config_next(r)) return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT) break;
        if (config_entry(r, o)) return -1;
    }
    for (int i = 0; i < 2; i++)
        if (config_next(r))
            return -1;
        else if (r->event.type != after[i])
            return config_fail(r, "one document is expected", NULL);
    return 0;
}

static int read_config(Options *o, const char *path, Err *err) {
    enum { CONFIG_BYTES = 1 << 20 };
    MapFile f;
    if (mapfile_open(&f, path, CONFIG_BYTES, err)) return -1;
    ConfigReader r = {.path = path, .file = &f, .err = err};
    mem_need(yaml_parser_initialize(&r.parser) ? &r : NULL, "a YAML parser");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)f.data, f.bytes);
    int status = config_document(&r, o);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    mapfile_close(&f);
    return status;
}

// ---- together ---------------------------------------------------------------------------------------------------------------

static int check_required(const Options *o, Err *err) {
    for (int i = 0; i < ROWS; i++)
        if (table[i].initial == REQUIRED && (table[i].commands & o->command->bit) && !o->given[i])
            return err_set(err, ERR_USAGE, "%s: --%s is missing; see latentr3 %s --help", o->command->name, table[i].name,
                           o->command->name);
    return 0;
}

static int is_given(const Options *o, const char *name) {
    const OptionRow *row = find_row(name, strlen(name), o->command->bit);
    return row && o->given[row - table];
}

int options_changed(const Options *o, const char *name) {
    const OptionRow *row = find_row(name, strlen(name), o->command->bit);
    if (!row || !o->given[row - table]) return 0;
    if (!row->initial) return 1;
    const char *field = (const char *)o + row->field;
    if (row->kind == KIND_TEXT || row->kind == KIND_CHOICE) return strcmp(*(const char *const *)field, row->initial) != 0;
    if (row->kind == KIND_LONG) return (double)*(const int64_t *)field != number_read(row->initial);
    return (row->kind == KIND_REAL ? *(const double *)field : *(const int *)field) != number_read(row->initial);
}

// What would be taken and change nothing.
static int check_idle(const Options *o, Err *err) {
    const int whole = o->lora_rank == 0, made = (o->command->bit & CMD_SYNTH) && o->data,
              unthinking = (o->command->bit & (CMD_SFT | CMD_SASREC)) && o->thoughts == 0,
              hidden = (o->command->bit & (CMD_SFT | CMD_SASREC)) && o->thought && !strcmp(o->thought, "hidden"),
              grouped = o->advantage && strcmp(o->advantage, "batch"), once = (o->command->bit & CMD_RL) && o->inner == 1,
              ground = o->decode && !strcmp(o->decode, "ground"), alone = o->decode && !o->guidance;
    const struct {
        const char *option, *with;
        int idle;
    } of[] = {{"lora-alpha", "--lora-rank R", whole},
              {"lora-targets", "--lora-rank R", whole},
              {"advantage-window", "--advantage batch", grouped},
              {"epsilon-low", "--inner N of at least 2: the ratio of a first update is 1", once},
              {"epsilon-high", "--inner N of at least 2: the ratio of a first update is 1", once},
              {"thought", "--thoughts N of at least 1", unthinking},
              {"thought-rms", "--thoughts N of at least 1", unthinking},
              {"thought-layer", "--thoughts N of at least 1", unthinking},
              {"thought-window", "--thoughts N of at least 1", unthinking},
              {"latent-lr", "--thoughts N of at least 1", unthinking},
              {"thought-window", "--thought ratt", hidden},
              {"latent-lr", "--thought ratt", hidden},
              {"patience", "early stopping, not with --no-early-stop or --keep-last", o->no_early_stop || o->keep_last},
              {"ghost-tokens", "--decode trie", ground},
              {"guidance-weight", "--decode trie", ground},
              {"guidance-power", "--decode ground", o->decode && !ground},
              {"guidance-weight", "--guidance", alone},
              {"guidance-power", "--guidance", alone},
              {"negatives", "--loss bce", o->loss && strcmp(o->loss, "bce")},
              {"items", "a log that synth makes, not with --data", made},
              {"rows", "a log that synth makes, not with --data", made}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (of[i].idle && options_changed(o, of[i].option))
            return err_set(err, ERR_USAGE, "--%s goes with %s", of[i].option, of[i].with);
    return 0;
}

// For one user, or for many into a file.
static int check_recommend(const Options *o, Err *err) {
    static const char *const of_many[] = {"out", "format", "resume", "force"};
    const int many = o->users || o->all_users;
    if (!!o->history.n + !!o->history_id.n + !!o->users + o->all_users != 1)
        return err_set(err, ERR_USAGE,
                       "recommend: exactly one of --history, --history-id, --users and --all-users is expected");
    if (many && !o->out) return err_set(err, ERR_USAGE, "recommend: --%s needs --out", o->users ? "users" : "all-users");
    for (size_t i = 0; i < sizeof of_many / sizeof *of_many; i++)
        if (!many && is_given(o, of_many[i]))
            return err_set(err, ERR_USAGE, "recommend: --%s goes with --users or --all-users", of_many[i]);
    return 0;
}

// A baseline, or the folder of a SASRec: they score all items, without a search.
static int scores_all(const char *model) {
    return baseline_kind(model) >= 0 || sasrec_model_is(model);
}

// Whether the lists of `recommend` come from beams, which give no more items than they are.
static int beams_bound(const Options *o) {
    return strcmp(o->decode, "ground") && !scores_all(o->model);
}

static int check_together(const Options *o, Err *err) {
    if (check_idle(o, err)) return -1;
    if ((o->command->bit & CMD_RECOMMEND) && check_recommend(o, err)) return -1;
    if ((o->command->bit & CMD_RECOMMEND) && o->k > o->beams && beams_bound(o))
        return err_set(err, ERR_USAGE, "-k %d is more than --beams %d, which give at most so many items: add --beams %d", o->k,
                       o->beams, o->k);
    if (o->against && strcmp(o->protocol, "full"))
        return err_set(err, ERR_USAGE, "--against compares rankings among all items: --protocol %s does not go with it",
                       o->protocol);
    if (o->save && o->results) return err_set(err, ERR_USAGE, "--save keeps the results too: --results does not go with it");
    if ((o->command->bit & (CMD_SERVE | CMD_LIBRARY)) && o->beams > o->max_beams)
        return err_set(err, ERR_USAGE, "--beams %d%s is more than --max-beams %d", o->beams,
                       options_changed(o, "beams") ? "" : " (where not given)", o->max_beams);
    if ((o->command->bit & CMD_RL) && !strcmp(o->objective, "latent") && !(o->sigma > 0))
        return err_set(err, ERR_USAGE, "--objective latent needs noise: --sigma above 0");
    if ((o->command->bit & CMD_RL) && !strcmp(o->train, "lora") != (o->lora_rank > 0))
        return err_set(err, ERR_USAGE, "--train lora and --lora-rank R go together");
    if ((o->command->bit & CMD_SFT) && !strcmp(o->train, "latent") && o->lora_rank > 0)
        return err_set(err, ERR_USAGE, "--train latent trains no adapters, and --lora-rank asks for some");
    if ((o->command->bit & CMD_EXPERIMENT) && !o->operand) return err_set(err, ERR_USAGE, "experiment: a FILE is missing");
    if ((o->command->bit & CMD_REPORT) && !o->operand) return err_set(err, ERR_USAGE, "report: a RUN is missing");
    if ((o->command->bit & CMD_INSPECT) && !!o->operand + !!o->model + !!o->data != 1)
        return err_set(err, ERR_USAGE, "inspect: one of PATH, --model PATH and --data DIR is expected");
    return 0;
}

// Where --config stands on the command line, or NULL; read before the rest, which wins over it.
static const char *config_path(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "--config=", 9)) return argv[i] + 9;
        if (!strcmp(argv[i], "--config") && i + 1 < argc) return argv[i + 1];
    }
    return NULL;
}

void options_init(Options *o, const Command *command) {
    *o = (Options){.command = command, .thoughts = -1, .thought_window = -1, .thought_layer = -1, .thought_rms = -1};
    set_defaults(o);
}

int options_set(Options *o, const char *name, const char *value, Err *err) {
    const OptionRow *row = find_row(name, strlen(name), o->command->bit);
    if (!row) return err_set(err, ERR_USAGE, "unknown option '%.60s'", name);
    o->given[row - table] = FROM_CONFIG;
    return set_value(o, row, value, err);
}

int options_check(const Options *o, Err *err) {
    return check_required(o, err) ? -1 : check_together(o, err);
}

int options_check_model(const Options *o, Err *err) {
    const char *name = o->model, *slash = name ? strchr(name, '/') : NULL;
    const int takes_baselines = (o->command->bit & (CMD_EVAL | CMD_RECOMMEND | CMD_SERVE | CMD_LIBRARY)) != 0;
    if (!name || baseline_kind(name) >= 0 || file_exists(name)) return 0;
    for (int kind = 0; kind < BASELINES && takes_baselines; kind++)
        if (distance(name, baseline_name[kind]) <= amiss(name))
            return err_set(err, ERR_USAGE, "--model %s: no such file or folder; did you mean %s?", name, baseline_name[kind]);
    if (!slash || slash == name || *name == '.' || !slash[1] || strchr(slash + 1, '/')) return 0;
    char *owner = mem_strndup(name, (size_t)(slash - name));
    const int of_hub = !file_exists(owner);
    free(owner);
    if (!of_hub) return 0;
    return err_set(
        err, ERR_IO,
        "--model %s: no such file or folder; if a model of the Hugging Face hub is meant: hf download %s --local-dir %s", name,
        name, slash + 1);
}

int options_parse(Options *o, const Command *command, int argc, char **argv, Err *err) {
    options_init(o, command);
    const char *config = config_path(argc, argv);
    if ((config && read_config(o, config, err)) || read_arguments(o, argc, argv, err) || options_check(o, err)) return -1;
    if (o->k < 0) o->k = o->beams < 10 && beams_bound(o) ? o->beams : 10;
    return 0;
}

void options_free(Options *o) {
    for (int i = 0; i < o->n_owned; i++) free(o->owned[i]);
    free(o->owned), free(o->operands.text);
    for (int i = 0; i < ROWS; i++)
        if (table[i].kind == KIND_LIST) {
            free(list_of(o, &table[i])->text);
            *list_of(o, &table[i]) = (TextList){0}; // two rows may share it
        }
    *o = (Options){0};
}

OptionForm options_form(const Command *command, const char *name) {
    const OptionRow *row = find_row(name, strlen(name), command ? command->bit : ALL);
    return !row ? OPTION_UNKNOWN : row->kind == KIND_FLAG ? OPTION_FLAG : OPTION_VALUE;
}

// ---- shown ------------------------------------------------------------------------------------------------------------------

json_t *options_text(const char *s) {
    return s ? json_text(s) : json_null();
}

json_t *options_to_json(const Options *o) {
    json_t *all = json_object();
    for (int i = 0; i < ROWS; i++) {
        const OptionRow *row = &table[i];
        if (!(row->commands & o->command->bit)) continue;
        const char *field = (const char *)o + row->field;
        json_t *value = NULL;
        switch (row->kind) {
        case KIND_FLAG: value = json_boolean(*(const int *)field); break;
        case KIND_INT: value = *(const int *)field < 0 ? json_null() : json_integer(*(const int *)field); break;
        case KIND_LONG: value = json_integer(*(const int64_t *)field); break;
        case KIND_REAL:
            value = !row->initial && *(const double *)field < 0 ? json_null() : json_real(*(const double *)field);
            break;
        case KIND_CHOICE:
        case KIND_TEXT: value = options_text(*(const char *const *)field); break;
        case KIND_LIST:
            value = json_array();
            for (int j = 0; j < list_of(o, row)->n; j++) json_array_append_new(value, options_text(list_of(o, row)->text[j]));
            break;
        }
        json_object_set_new(all, row->name, value);
    }
    return all;
}

static void help_row(FILE *f, const OptionRow *row) {
    Str left = {0};
    str_printf(&left, "%s%s%s%s", dashes(row), row->name, row->value ? " " : "", row->value ? row->value : "");
    fprintf(f, "  %-35s  %s", left.data, row->help); // two blanks at least: they are where the manual page cuts
    str_free(&left);
    if (row->initial == REQUIRED)
        fputs(" (required)", f);
    else if (row->initial)
        fprintf(f, " (default %s)", row->initial);
    if (row->kind == KIND_INT || row->kind == KIND_LONG || row->kind == KIND_REAL)
        fprintf(f, " [%.16g .. %.16g]", row->least, row->most);
    fputc('\n', f);
}

void options_help(FILE *f, const Command *command) {
    fprintf(f, "latentr3 %s: %s\n\nusage: latentr3 %s", command->name, command->summary, command->name);
    const char *operand = command->operand;
    const int name = operand ? (int)strcspn(operand, ":") : 0;
    if (operand) fprintf(f, " %.*s", name, operand);
    for (int i = 0; i < ROWS; i++)
        if ((table[i].commands & command->bit) && table[i].initial == REQUIRED)
            fprintf(f, " %s%s %s", dashes(&table[i]), table[i].name, table[i].value);
    fputs(" [--option value ...]\n\n", f);
    if (operand) fprintf(f, "  %.*s%*s  %s\n", name, operand, 35 - name, "", operand + name + 2);
    for (int i = 0; i < ROWS; i++)
        if (table[i].commands & command->bit) help_row(f, &table[i]);
}
