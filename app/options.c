// What walks the table of options: the command line, the --config file, --help and the echo. See options.h.
#include "app/meant.h"
#include "app/options_table.h"
#include "app/sasrec_model.h"
#include "app/yaml_file.h"
#include "base/arena.h"
#include "base/number.h"
#include "rec/baseline.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- values -----------------------------------------------------------------------------------------------------------

// "-k" is the one short name; all others have two dashes.
static const char *dashes(const OptionRow *row) {
    return row->name[1] ? "--" : "-";
}

static const OptionRow *find_row(const char *name, size_t len, int commands) {
    for (int i = 0; i < options_rows; i++)
        if ((options_table[i].commands & commands) && strlen(options_table[i].name) == len &&
            !memcmp(options_table[i].name, name, len))
            return &options_table[i];
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
    for (int i = 0; i < options_rows; i++) {
        const OptionRow *row = &options_table[i];
        if (!(row->commands & o->command->bit)) continue;
        Err err = {0};
        if (row->initial && row->initial != options_required)
            CHECK(set_value(o, row, row->initial, &err) == 0);
        else if (row->kind == KIND_INT && row->field != offsetof(Options, threads))
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
    for (int i = 0; i < options_rows; i++) {
        if (!(options_table[i].commands & o->command->bit)) continue;
        int d = distance(name, options_table[i].name),
            begins = strlen(name) > 1 && !strncmp(name, options_table[i].name, strlen(name));
        if (begins) d = 1;
        if (d < least && (begins || d <= amiss(name))) {
            least = d;
            best = &options_table[i];
        }
    }
    const char *command = o->command->name;
    if (best)
        return err_set(err, ERR_USAGE, "%s: unknown option '%.60s'; did you mean %s%s?", command, name, dashes(best),
                       best->name);
    if (find_row(name, strlen(name), CMD_ALL))
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
        if (o->given[row - options_table] == FROM_ARGUMENTS && row->kind != KIND_LIST)
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
        if (o->given[row - options_table] == FROM_CONFIG && row->kind == KIND_LIST) list_of(o, row)->n = 0;
        o->given[row - options_table] = FROM_ARGUMENTS;
        if (set_value(o, row, value, err)) return -1;
    }
    return 0;
}

// ---- --config -------------------------------------------------------------------------------------------------------------

typedef struct Config {
    YamlFile file;
    Options *o;
} Config;

static int config_value(Config *c, const OptionRow *row, const yaml_node_t *value) {
    const char *text = yaml_file_text(&c->file, value, "one plain value is expected for", row->name);
    if (!text) return -1;
    if (!*text && row->kind != KIND_LIST) return yaml_file_fail(&c->file, value, "no value for", row->name);
    return set_value(c->o, row, text, c->file.err) ? err_prefix(c->file.err, "%s: line %d", c->file.path, yaml_file_line(value))
                                                   : 0;
}

static int config_option(void *context, const char *name, yaml_node_t *key, yaml_node_t *value) {
    Config *c = context;
    const OptionRow *row = find_row(name, strlen(name), c->o->command->bit);
    if (!row) {
        unknown_option(c->o, name, c->file.err);
        return err_prefix(c->file.err, "%s: line %d", c->file.path, yaml_file_line(key));
    }
    if (row->field == offsetof(Options, config))
        return yaml_file_fail(&c->file, key, "a configuration names no other:", row->name);
    c->o->given[row - options_table] = FROM_CONFIG;
    if (row->kind != KIND_LIST || value->type != YAML_SEQUENCE_NODE) return config_value(c, row, value);
    for (int i = 0; i < yaml_file_items(value); i++)
        if (config_value(c, row, yaml_file_item(&c->file, value, i))) return -1;
    return 0;
}

static int read_config(Options *o, const char *path, Err *err) {
    static const char what[] = "a mapping of options is expected";
    Config c = {.o = o};
    if (yaml_file_open(&c.file, path, what, err)) return -1;
    const int status = yaml_file_members(&c.file, yaml_file_root(&c.file), what, config_option, &c);
    yaml_file_close(&c.file);
    return status;
}

// ---- together ---------------------------------------------------------------------------------------------------------------

static int check_required(const Options *o, Err *err) {
    for (int i = 0; i < options_rows; i++)
        if (options_table[i].initial == options_required && (options_table[i].commands & o->command->bit) && !o->given[i])
            return err_set(err, ERR_USAGE, "%s: --%s is missing; see latentr3 %s --help", o->command->name,
                           options_table[i].name, o->command->name);
    return 0;
}

static int is_given(const Options *o, const char *name) {
    const OptionRow *row = find_row(name, strlen(name), o->command->bit);
    return row && o->given[row - options_table];
}

int options_changed(const Options *o, const char *name) {
    const OptionRow *row = find_row(name, strlen(name), o->command->bit);
    if (!row || !o->given[row - options_table]) return 0;
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
    o->given[row - options_table] = FROM_CONFIG;
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
    for (int i = 0; i < options_rows; i++)
        if (options_table[i].kind == KIND_LIST) {
            free(list_of(o, &options_table[i])->text);
            *list_of(o, &options_table[i]) = (TextList){0}; // two rows may share it
        }
    *o = (Options){0};
}

OptionForm options_form(const Command *command, const char *name) {
    const OptionRow *row = find_row(name, strlen(name), command ? command->bit : CMD_ALL);
    return !row ? OPTION_UNKNOWN : row->kind == KIND_FLAG ? OPTION_FLAG : OPTION_VALUE;
}

// ---- shown ------------------------------------------------------------------------------------------------------------------

json_t *options_text(const char *s) {
    return s ? json_text(s) : json_null();
}

json_t *options_to_json(const Options *o) {
    json_t *all = json_object();
    for (int i = 0; i < options_rows; i++) {
        const OptionRow *row = &options_table[i];
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
    if (row->initial == options_required)
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
    for (int i = 0; i < options_rows; i++)
        if ((options_table[i].commands & command->bit) && options_table[i].initial == options_required)
            fprintf(f, " %s%s %s", dashes(&options_table[i]), options_table[i].name, options_table[i].value);
    fputs(" [--option value ...]\n\n", f);
    if (operand) fprintf(f, "  %.*s%*s  %s\n", name, operand, 35 - name, "", operand + name + 2);
    for (int i = 0; i < options_rows; i++)
        if (options_table[i].commands & command->bit) help_row(f, &options_table[i]);
}
