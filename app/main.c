// latentr3 <command> --option value: the table of commands, and the exit codes.
#include "app/commands.h"
#include "app/interrupt.h"
#include "base/json.h"
#include "base/log.h"
#include "train/ranks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const Command commands[] = {
    {"prepare", "an interaction log into a data folder", CMD_PREPARE, NULL, cmd_prepare},
    {"catalog", "add, remove or list the items of a data folder, or set their index texts", CMD_CATALOG,
     "ACTION: add, remove, text or list", cmd_catalog},
    {"convert", "a GGUF file or model folder into a Hugging Face folder", CMD_CONVERT, NULL, cmd_convert},
    {"inspect", "describe a model, a file of tensors, a data folder or a training run", CMD_INSPECT, "[PATH]: one of these",
     cmd_inspect},
    {"tokenize", "lines of text in, JSON lists of token ids out", CMD_TOKENIZE, NULL, cmd_tokenize},
    {"sft", "supervised fine-tuning: language model and latent layer", CMD_SFT, NULL, cmd_sft},
    {"rl", "reinforcement learning of the latent layer (LR-GRPO)", CMD_RL, NULL, cmd_rl},
    {"sasrec", "train a conventional sequential recommender", CMD_SASREC, NULL, cmd_sasrec},
    {"eval", "hit rate and NDCG over the whole catalogue, with baselines", CMD_EVAL, NULL, cmd_eval},
    {"recommend", "the next items for a history", CMD_RECOMMEND, NULL, cmd_recommend},
    {"serve", "recommendations over HTTP, with a page to try them on", CMD_SERVE, NULL, cmd_serve},
    {"report", "runs side by side as one HTML file", CMD_REPORT,
     "RUN...: folders of a training or of eval --save, side by side", cmd_report},
    {"experiment", "the runs that a file names, and their table", CMD_EXPERIMENT, "FILE: YAML with the runs", cmd_experiment},
    {"score", "log-probability and perplexity of each row's true answer", CMD_SCORE, NULL, cmd_score},
    {"synth", "make a small catalogue, log and random model to try things on", CMD_SYNTH, NULL, cmd_synth},
    {"bench", "time one part: sft, rl, beam, write, gemm, trie or load", CMD_BENCH,
     "WHAT: sft, rl, beam, write, gemm, trie or load", cmd_bench},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void usage(FILE *f) {
    fputs("usage: latentr3 <command> [--option value ...]\n\n", f);
    for (int i = 0; i < COMMANDS; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nlatentr3 <command> --help lists the options; --version prints the version.\n"
          "LATENTR3_LOG=error|warn|info|debug sets how much is said on stderr.\n",
          f);
}

const Command *commands_find(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, name)) return &commands[i];
    return NULL;
}

static int set_log_level(Err *err) {
    static const char *const level[] = {"error", "warn", "info", "debug"};
    const char *wanted = getenv("LATENTR3_LOG");
    if (!wanted || !*wanted) return 0;
    for (int i = 0; i < 4; i++)
        if (!strcmp(wanted, level[i])) {
            log_level = i;
            return 0;
        }
    return err_set(err, ERR_USAGE, "LATENTR3_LOG: '%.60s' is none of error, warn, info, debug", wanted);
}

static int is_help(const char *arg) {
    return !strcmp(arg, "--help") || !strcmp(arg, "-h");
}

// Of these commands the processes that mpirun starts do a part each.
enum { TOGETHER = CMD_SFT | CMD_RL | CMD_SASREC | CMD_EVAL };
// Who reads their messages, as a `tee` that the same Ctrl-C ended, takes no work with them.
enum { LONG = CMD_SFT | CMD_RL | CMD_SASREC | CMD_SERVE | CMD_EXPERIMENT };

static int run_command(const Command *command, int argc, char **argv, Err *err) {
    for (int i = 0; i < argc; i++)
        if (is_help(argv[i])) {
            options_help(stdout, command);
            return 0;
        }
    if (command->bit & LONG) signal(SIGPIPE, SIG_IGN);
    Ranks ranks = {.size = 1};
    if ((command->bit & TOGETHER) && ranks_open(&ranks, err)) return -1;
    if (ranks.rank > 0) log_level = LOG_ERROR;
    Options o;
    int status = options_parse(&o, command, argc, argv, err);
    o.ranks = &ranks;
    if (status == 0) status = options_check_model(&o, err);
    if (status == 0) status = command->run(&o, err);
    options_free(&o);
    return ranks_close(&ranks, status, err);
}

static int dispatch(int argc, char **argv, Err *err) {
    if (argc < 2) {
        usage(stderr);
        return err_set(err, ERR_USAGE, "a command is missing");
    }
    if (is_help(argv[1])) {
        usage(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("latentr3 " LATENTR3_VERSION);
        return 0;
    }
    const Command *command = commands_find(argv[1]);
    if (!command) return err_set(err, ERR_USAGE, "unknown command '%.60s'; see latentr3 --help", argv[1]);
    return run_command(command, argc - 2, argv + 2, err);
}

// By default threads that wait for the next loop spin for milliseconds. Alone on a machine that costs nothing; beside other
// work it takes the processor from the very thread that is waited for, and the program can become fifty times slower. The
// OpenMP library reads its environment before main, so the program starts itself again with a short spin.
static void start_with_short_spin(char **argv) {
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    setenv("GOMP_SPINCOUNT", "20000", 1); // about a tenth of a millisecond
    execv("/proc/self/exe", argv);        // where that fails, the long spin it is
}

static int ends_by_itself; // main is done, or has not begun

// The OpenMP library ends the program by exit(1) where it finds no memory or no thread.
static void exit_of_a_library(void) {
    if (!ends_by_itself) _exit(ERR_MEMORY);
}

// Files are mapped: where one is cut short while it is read, or its disk fails, there is no call that could say so.
static void file_is_gone(int number) {
    static const char line[] = "latentr3: a file was cut short while it was read, or its disk failed\n";
    (void)number;
    (void)!write(STDERR_FILENO, line, sizeof line - 1);
    _exit(ERR_IO);
}

// A standard file that is closed would be the next file that is opened. Reading what stands for it, or writing, fails as
// before.
static void hold_standard_files(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0) open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv) {
    start_with_short_spin(argv);
    hold_standard_files();
    interrupt_open();
    atexit(exit_of_a_library);
    json_use_mem();
    Err err = {0};
    signal(SIGXFSZ, SIG_IGN); // a file over the limit is an error of the write, not the end
    signal(SIGBUS, file_is_gone);
    int status = set_log_level(&err);
    if (status == 0) status = dispatch(argc, argv, &err);
    ends_by_itself = 1;
    // Results that did not reach their file or pipe are an error too.
    errno = 0;
    if ((fflush(stdout) || ferror(stdout)) && status == 0) { // what failed earlier is not in the buffer any more, nor in errno
        if (!errno) errno = EIO;
        status = err_errno(&err, "stdout");
    }
    if (status) {
        if (*err.message) log_line(LOG_ERROR, "latentr3: %s", err.message); // else another rank says it
        return err.code;
    }
    return interrupt_signal() ? 128 + interrupt_signal() : 0;
}
