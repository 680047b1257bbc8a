#include "app/experiment_file.h"
#include "app/commands.h"
#include "app/yaml_file.h"
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_LIMIT = 200, OPTIONS_LIMIT = 100 };

typedef struct Reader {
    YamlFile f;
    Experiment *e;
    int pass;             // over the members of the file
    ExperimentStep *step; // that is being read
} Reader;

static int fail(const Reader *r, const yaml_node_t *at, const char *what, const char *name) {
    return yaml_file_fail(&r->f, at, what, name);
}

// ---- nodes -------------------------------------------------------------------------------------------------------------

static const char *text(const Reader *r, const yaml_node_t *n, const char *what) {
    return yaml_file_text(&r->f, n, what, NULL);
}

// A text in which ${NAME} would stay as it is.
static const char *plain(const Reader *r, const yaml_node_t *n, const char *what, const char *name) {
    const char *s = text(r, n, what);
    if (!s || !strstr(s, "${")) return s;
    fail(r, n, "only options of steps and defaults may hold ${...}, not", name);
    return NULL;
}

static char *copy(const char *s) {
    return mem_strndup(s, strlen(s));
}

// Names become parts of folder names.
static int name_holds(const char *s) {
    const size_t n = strlen(s);
    return n > 0 && n <= 60 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n;
}

// ---- grid --------------------------------------------------------------------------------------------------------------

static int take_variable(void *context, const char *name, yaml_node_t *key, yaml_node_t *value) {
    Reader *r = context;
    Experiment *e = r->e;
    if (!name_holds(name)) return fail(r, key, "a variable's name is of letters, digits, - and _, not", name);
    if (e->variables == EXPERIMENT_VARIABLES) return fail(r, key, "too many variables, from", name);
    if (value->type != YAML_SEQUENCE_NODE) return fail(r, value, "a list of values is expected for", name);
    const int n = yaml_file_items(value);
    if (n == 0 || n > EXPERIMENT_VALUES) return fail(r, value, "1 to 100 values are expected for", name);
    ExperimentVariable *v = &e->variable[e->variables++];
    *v = (ExperimentVariable){copy(name), mem_zalloc((size_t)n, sizeof *v->value), .line = yaml_file_line(key)};
    for (int i = 0; i < n; i++) {
        const yaml_node_t *item = yaml_file_item(&r->f, value, i);
        const char *one = plain(r, item, "a plain value is expected", name);
        if (!one) return -1;
        for (int k = 0; k < v->n; k++)
            if (!strcmp(v->value[k], one)) return fail(r, item, "given twice:", one);
        v->value[v->n++] = copy(one);
    }
    return 0;
}

// ---- steps -------------------------------------------------------------------------------------------------------------

// Which options the experiment gives itself, or which mean nothing in it: a file that all runs would write.
static int is_ours(const char *name) {
    static const char *const ours[] = {"out", "save", "results", "trec-run", "trec-qrels", "force", "resume", "json", "config"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strcmp(ours[i], name)) return 1;
    return 0;
}

static int add_option(Reader *r, ExperimentOption **list, int *n, const char *name, yaml_node_t *value, int is_flag) {
    const char *s = text(r, value, "a plain value is expected");
    if (!s) return -1;
    if (*n == OPTIONS_LIMIT) return fail(r, value, "too many options, from", name);
    if (is_flag && !strstr(s, "${") && strcmp(s, "true") && strcmp(s, "false"))
        return fail(r, value, "true or false is expected for", name);
    *list = mem_realloc(*list, (size_t)*n + 1, sizeof **list);
    (*list)[(*n)++] = (ExperimentOption){copy(name), copy(s), is_flag, yaml_file_line(value)};
    return 0;
}

static int take_default(void *context, const char *name, yaml_node_t *key, yaml_node_t *value) {
    Reader *r = context;
    if (is_ours(name)) return fail(r, key, "not for defaults:", name);
    const OptionForm form = options_form(NULL, name);
    if (form == OPTION_UNKNOWN) return fail(r, key, "no command has the option", name);
    return add_option(r, &r->e->standard, &r->e->standards, name, value, form == OPTION_FLAG);
}

static int runs_here(const Command *c) {
    return c->bit & (CMD_PREPARE | CMD_CONVERT | CMD_SYNTH | CMD_SFT | CMD_RL | CMD_SASREC | CMD_EVAL);
}

static int take_step_member(void *context, const char *name, yaml_node_t *key, yaml_node_t *value) {
    Reader *r = context;
    ExperimentStep *s = r->step;
    if (!strcmp(name, "run")) return 0; // read before
    if (!strcmp(name, "row")) {
        if (s->command->bit != CMD_EVAL) return fail(r, key, "only an eval makes a row of the table:", s->name);
        const char *row = plain(r, value, "a label is expected", name);
        if (!row) return -1;
        s->row = copy(row);
        return 0;
    }
    const OptionForm form = options_form(s->command, name);
    if (form == OPTION_UNKNOWN) {
        char none[64];
        snprintf(none, sizeof none, "%s has no option", s->command->name);
        return fail(r, key, none, name);
    }
    if (is_ours(name)) return fail(r, key, "the experiment itself decides", name);
    return add_option(r, &s->option, &s->n, name, value, form == OPTION_FLAG);
}

static const Command *command_of(Reader *r, const yaml_node_t *step, const char *name) {
    if (step->type != YAML_MAPPING_NODE) return fail(r, step, "a mapping is expected for the step", name), NULL;
    const yaml_node_t *value = yaml_file_find(&r->f, step, "run");
    if (!value) return fail(r, step, "no `run: COMMAND` in the step", name), NULL;
    const char *run = text(r, value, "a command is expected");
    const Command *c = run ? commands_find(run) : NULL;
    if (run && (!c || !runs_here(c))) fail(r, value, "none of prepare, convert, synth, sft, rl, sasrec, eval:", run);
    return c && runs_here(c) ? c : NULL;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const ExperimentOption *)a)->name, ((const ExperimentOption *)b)->name);
}

static int take_step(void *context, const char *name, yaml_node_t *key, yaml_node_t *value) {
    Reader *r = context;
    Experiment *e = r->e;
    if (!name_holds(name)) return fail(r, key, "a step's name is of letters, digits, - and _, not", name);
    if (e->steps == STEPS_LIMIT) return fail(r, key, "too many steps, from", name);
    const Command *command = command_of(r, value, name);
    if (!command) return -1;
    e->step = mem_realloc(e->step, (size_t)e->steps + 1, sizeof *e->step);
    ExperimentStep *s = &e->step[e->steps++];
    *s = (ExperimentStep){.name = copy(name), .command = command, .line = yaml_file_line(key)};
    r->step = s;
    return yaml_file_members(&r->f, value, "a mapping is expected", take_step_member, r);
}

// ---- the file ------------------------------------------------------------------------------------------------------------

static int take_metrics(Reader *r, yaml_node_t *value) {
    static const char *const known[] = {"HR@1",   "HR@3",   "HR@5",    "HR@10",   "HR@20", "NDCG@1",
                                        "NDCG@3", "NDCG@5", "NDCG@10", "NDCG@20", "MRR"};
    if (value->type != YAML_SEQUENCE_NODE) return fail(r, value, "a list of metrics is expected", NULL);
    for (int i = 0; i < yaml_file_items(value); i++) {
        const yaml_node_t *item = yaml_file_item(&r->f, value, i);
        const char *name = text(r, item, "a metric is expected");
        int found = 0;
        if (!name) return -1;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) found |= !strcmp(known[k], name);
        if (!found || r->e->metrics == EXPERIMENT_METRICS)
            return fail(r, item, "no metric (HR@K, NDCG@K with K 1, 3, 5, 10, 20; MRR):", name);
        for (int k = 0; k < r->e->metrics; k++)
            if (!strcmp(r->e->metric[k], name)) return fail(r, item, "a metric comes twice:", name);
        r->e->metric[r->e->metrics++] = copy(name);
    }
    return 0;
}

// The members that steps are read by come first, wherever they stand.
enum { FIRST, SECOND };

static int take_member(void *context, const char *name, yaml_node_t *key, yaml_node_t *value) {
    Reader *r = context;
    Experiment *e = r->e;
    const int first = r->pass == FIRST;
    char **own = !strcmp(name, "name") ? &e->name : !strcmp(name, "baseline") ? &e->baseline : NULL;
    if (own && first) {
        const char *s = plain(r, value, "a text is expected", name);
        if (!s || !*s) return s ? fail(r, value, "no text for", name) : -1;
        *own = copy(s);
        return 0;
    }
    if (own) return 0;
    static const struct {
        const char *name, *what;
        YamlTake *take;
        int pass;
    } mapping[] = {{"grid", "a mapping of variables is expected", take_variable, FIRST},
                   {"defaults", "a mapping of options is expected", take_default, FIRST},
                   {"steps", "a mapping of steps is expected", take_step, SECOND}};
    for (size_t i = 0; i < sizeof mapping / sizeof *mapping; i++)
        if (!strcmp(name, mapping[i].name))
            return mapping[i].pass == r->pass ? yaml_file_members(&r->f, value, mapping[i].what, mapping[i].take, r) : 0;
    if (!strcmp(name, "metrics")) return first ? take_metrics(r, value) : 0;
    return fail(r, key, "none of name, grid, baseline, metrics, defaults, steps:", name);
}

// What a step does not say itself; and all in one order, so that the order of the file changes no run.
static void add_defaults(Experiment *e, ExperimentStep *s) {
    for (int i = 0; i < e->standards; i++) {
        const ExperimentOption *o = &e->standard[i];
        int given = options_form(s->command, o->name) == OPTION_UNKNOWN;
        for (int k = 0; k < s->n; k++) given |= !strcmp(s->option[k].name, o->name);
        if (given) continue;
        s->option = mem_realloc(s->option, (size_t)s->n + 1, sizeof *s->option);
        s->option[s->n++] = (ExperimentOption){copy(o->name), copy(o->value), o->is_flag, o->line};
    }
    if (s->n) qsort(s->option, (size_t)s->n, sizeof *s->option, by_name);
}

// small of experiments/small.yaml
static char *name_of(const char *path) {
    const char *file = file_name(path), *point = strrchr(file, '.');
    return mem_strndup(file, point && point > file ? (size_t)(point - file) : strlen(file));
}

// "A, k=1" beside a row "A" of the values of k.
static int is_row_of(const Experiment *e, const char *row, const char *other) {
    const size_t n = strlen(other);
    if (strncmp(row, other, n) != 0 || strncmp(row + n, ", ", 2) != 0) return 0;
    for (int k = 0; k < e->variables; k++) {
        const size_t m = strlen(e->variable[k].name);
        if (!strncmp(row + n + 2, e->variable[k].name, m) && row[n + 2 + m] == '=') return 1;
    }
    return 0;
}

static int check_rows(Reader *r, const yaml_node_t *root) {
    const Experiment *e = r->e;
    for (int i = 0; i < e->steps; i++)
        for (int k = 0; k < e->steps; k++) {
            const char *row = e->step[i].row, *other = e->step[k].row;
            if (i == k || !row || !other) continue;
            if (!strcmp(row, other)) return fail(r, root, "two steps make the row", row);
            if (is_row_of(e, row, other)) return fail(r, root, "another step's row may be called", row);
        }
    return 0;
}

static int check_together(Reader *r, const yaml_node_t *root) {
    static const char *const standard[] = {"HR@5", "HR@10", "NDCG@5", "NDCG@10"};
    Experiment *e = r->e;
    int found = !e->baseline;
    if (e->steps == 0) return fail(r, root, "there are no steps", NULL);
    for (int i = 0; i < e->steps; i++) {
        add_defaults(e, &e->step[i]);
        found |= e->step[i].row && !strcmp(e->step[i].row, e->baseline ? e->baseline : "");
        for (int k = 0; k < e->variables; k++)
            if (!strcmp(e->step[i].name, e->variable[k].name))
                return fail(r, root, "a step and a variable are both called", e->step[i].name);
    }
    if (check_rows(r, root)) return -1;
    if (!found) return fail(r, root, "no eval makes the row that is the baseline:", e->baseline);
    if (e->metrics == 0)
        for (; e->metrics < 4; e->metrics++) e->metric[e->metrics] = copy(standard[e->metrics]);
    if (!e->name) e->name = name_of(e->path);
    return 0;
}

static int read_file(Reader *r, const char *what) {
    const yaml_node_t *root = yaml_file_root(&r->f);
    r->e->text = mem_strndup(r->f.file.data, r->f.file.bytes);
    for (r->pass = FIRST; r->pass <= SECOND; r->pass++)
        if (yaml_file_members(&r->f, root, what, take_member, r)) return -1;
    return check_together(r, root);
}

int experiment_file_open(Experiment *e, const char *path, Err *err) {
    static const char what[] = "a mapping is expected (grid, steps, ...)";
    Reader r = {.e = e};
    *e = (Experiment){.path = path};
    if (yaml_file_open(&r.f, path, what, err)) return -1;
    const int status = read_file(&r, what);
    yaml_file_close(&r.f);
    if (status) experiment_file_close(e);
    return status;
}

static void free_options(ExperimentOption *o, int n) {
    for (int i = 0; i < n; i++) free(o[i].name), free(o[i].value);
    free(o);
}

void experiment_file_close(Experiment *e) {
    for (int i = 0; i < e->variables; i++) {
        for (int k = 0; k < e->variable[i].n; k++) free(e->variable[i].value[k]);
        free(e->variable[i].value), free(e->variable[i].name);
    }
    for (int i = 0; i < e->steps; i++) {
        free_options(e->step[i].option, e->step[i].n);
        free(e->step[i].name), free(e->step[i].row);
    }
    free_options(e->standard, e->standards);
    for (int i = 0; i < e->metrics; i++) free(e->metric[i]);
    free(e->step), free(e->text), free(e->name), free(e->baseline);
    *e = (Experiment){0};
}
