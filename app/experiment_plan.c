#include "app/experiment_plan.h"
#include "app/commands.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/vec.h"
#include "rec/baseline.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

typedef struct Planner {
    Plan *p;
    const Experiment *e;
    const char *out;
    unsigned *uses;     // (steps) bits of the variables
    char *state;        // (steps) 0: not looked at, 1: being looked at, 2: done
    int *order, n;      // (steps) each behind those it needs
    json_t *hash_of[2]; // of inputs, by path; [1]: of models
    Err *err;
} Planner;

static int fail(Planner *q, int line, const char *what, const char *name) {
    return err_set(q->err, ERR_USAGE, "%s: line %d: %s '%.60s'", q->e->path, line, what, name);
}

// ---- references ----------------------------------------------------------------------------------------------------------

static int find_step(const Experiment *e, const char *name, size_t len) {
    for (int i = 0; i < e->steps; i++)
        if (strlen(e->step[i].name) == len && !memcmp(e->step[i].name, name, len)) return i;
    return -1;
}

static int find_variable(const Experiment *e, const char *name, size_t len) {
    for (int i = 0; i < e->variables; i++)
        if (strlen(e->variable[i].name) == len && !memcmp(e->variable[i].name, name, len)) return i;
    return -1;
}

// The next ${NAME} in *at: what stands before it, and the name; 0 where there is none.
static int next_reference(const char **at, size_t *before, const char **name, size_t *len) {
    const char *begin = strstr(*at, "${"), *end = begin ? strchr(begin, '}') : NULL;
    if (!end) return 0;
    *before = (size_t)(begin - *at);
    *name = begin + 2;
    *len = (size_t)(end - begin - 2);
    *at = end + 1;
    return 1;
}

static int visit(Planner *q, int step);

// The variables and steps that a value names.
static int visit_value(Planner *q, int step, const ExperimentOption *o) {
    const char *at = o->value, *name;
    size_t before, len;
    while (next_reference(&at, &before, &name, &len)) {
        const int v = find_variable(q->e, name, len), s = find_step(q->e, name, len);
        if (v < 0 && s < 0) {
            char *bare = mem_strndup(name, len);
            fail(q, o->line, "neither a variable nor a step:", bare);
            free(bare);
            return -1;
        }
        if (v >= 0) q->uses[step] |= 1u << v;
        if (s >= 0 && visit(q, s)) return -1;
        if (s >= 0) q->uses[step] |= q->uses[s];
    }
    return strstr(at, "${") ? fail(q, o->line, "no } behind", strstr(at, "${")) : 0;
}

static int visit(Planner *q, int step) {
    const ExperimentStep *s = &q->e->step[step];
    if (q->state[step] == 2) return 0;
    if (q->state[step] == 1) return fail(q, s->line, "needs itself: step", s->name);
    q->state[step] = 1;
    for (int i = 0; i < s->n; i++)
        if (visit_value(q, step, &s->option[i])) return -1;
    q->state[step] = 2;
    q->order[q->n++] = step;
    return 0;
}

// A variable that was forgotten in its step would make runs that are all alike.
static int check_used(Planner *q) {
    unsigned used = 0;
    for (int i = 0; i < q->e->steps; i++) used |= q->uses[i];
    for (int v = 0; v < q->e->variables; v++)
        if (!(used >> v & 1)) return fail(q, q->e->variable[v].line, "no step uses the variable", q->e->variable[v].name);
    return 0;
}

// ---- inputs --------------------------------------------------------------------------------------------------------------

// The files that a model is made of: what else lies beside them, of runs or of somebody's, is no part of it as an input.
static int is_of_model(const char *name) {
    static const char *const part[] = {"config.json",
                                       "generation_config.json",
                                       "items.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "tokenizer.model",
                                       "chat_template.jinja"};
    static const char *const ending[] = {".safetensors", ".safetensors.index.json", ".gguf"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (!strcmp(name, part[i])) return 1;
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
        if (file_ends_with(name, ending[i])) return 1;
    return 0;
}

// A line for each file: of a folder of data also for those one level below, as in train/NAME.csv of the published layout.
static int hash_files(Str *all, const char *path, const char *below, int of_model, Err *err) {
    struct dirent **entry;
    const int n = scandir(path, &entry, NULL, alphasort);
    int status = n < 0 ? err_errno(err, "%s", path) : 0;
    for (int i = 0; i < n; i++) {
        char *file = file_join(path, entry[i]->d_name), one[33];
        const char *name = entry[i]->d_name;
        const int counts = status == 0 && *name != '.' && (!of_model || is_of_model(name));
        if (counts && !file_is_folder(file)) {
            status = file_hash(one, file, err);
            if (status == 0) str_printf(all, "%s %s%s%s\n", one, below, *below ? "/" : "", name);
        } else if (counts && !of_model && !*below) {
            status = hash_files(all, file, name, of_model, err);
        }
        free(file), free(entry[i]);
    }
    if (n >= 0) free(entry);
    return status;
}

static int hash_folder(char hex[33], const char *path, int of_model, Err *err) {
    Str all = {0};
    const int status = hash_files(&all, path, "", of_model, err);
    if (status == 0) hash_bytes(hex, all.data ? all.data : "", all.len);
    str_free(&all);
    return status;
}

static int hash_input(char hex[33], const char *path, int of_model, Err *err) {
    return file_is_folder(path) ? hash_folder(hex, path, of_model, err) : file_hash(hex, path, err);
}

// Whether an option names a file or folder to read: of synth, the items are how many.
static int is_input(const Command *c, const char *name) {
    static const char *const input[] = {"model", "data", "guidance", "against"};
    for (size_t i = 0; i < sizeof input / sizeof *input; i++)
        if (!strcmp(input[i], name)) return 1;
    return c->bit == CMD_PREPARE && !strcmp(name, "items");
}

// An input's bytes count for the key. The name of a baseline is no input.
static int add_input(Planner *q, PlanRun *r, Str *key, const char *option, const char *path, int line) {
    PlanInput in = {.of_model = !strcmp(option, "model") || !strcmp(option, "guidance"), .line = line};
    const char *known = json_string_value(json_object_get(q->hash_of[in.of_model], path));
    if (known) {
        snprintf(in.hash, sizeof in.hash, "%s", known);
    } else if (file_exists(path)) {
        if (hash_input(in.hash, path, in.of_model, q->err)) return -1;
        json_object_set_new(q->hash_of[in.of_model], path, json_string(in.hash));
    } else if (in.of_model && r->step->command->bit == CMD_EVAL && baseline_kind(path) >= 0) {
        return 0;
    }
    if (*in.hash) str_printf(key, " = %s", in.hash);
    in.path = mem_strndup(path, strlen(path));
    r->input = mem_realloc(r->input, (size_t)r->inputs + 1, sizeof *r->input);
    r->input[r->inputs++] = in;
    return 0;
}

int experiment_plan_check_inputs(const Plan *p, Err *err) {
    for (int i = 0; i < p->runs; i++)
        for (int k = 0; k < p->run[i].inputs; k++) {
            const PlanInput *in = &p->run[i].input[k];
            if (!*in->hash)
                return err_set(err, ERR_IO, "%s: line %d: no file, folder or ${STEP}: '%.300s'", p->e->path, in->line,
                               in->path);
        }
    return 0;
}

int experiment_plan_check_unchanged(const PlanRun *r, Err *err) {
    char hex[33];
    for (int i = 0; i < r->inputs; i++) {
        const PlanInput *in = &r->input[i];
        if (hash_input(hex, in->path, in->of_model, err)) return -1;
        if (strcmp(hex, in->hash)) return err_set(err, ERR_DATA, "%s: changed since the experiment began", in->path);
    }
    return 0;
}

// ---- one run -------------------------------------------------------------------------------------------------------------

const PlanRun *experiment_plan_find(const Plan *p, const ExperimentStep *step, const int *chosen) {
    for (int i = 0; i < p->runs; i++) {
        int same = p->run[i].step == step;
        for (int v = 0; v < p->e->variables && same; v++) same = p->run[i].chosen[v] < 0 || p->run[i].chosen[v] == chosen[v];
        if (same) return &p->run[i];
    }
    return NULL;
}

static void add_need(const Plan *p, PlanRun *r, const PlanRun *other) {
    r->need = mem_realloc(r->need, (size_t)r->needs + 1, sizeof *r->need);
    r->need[r->needs++] = (int)(other - p->run);
}

// A value as the command gets it, and as it counts for the key: there a step's folder is the step's key. Returns how many of
// those it names.
static int expand(const Planner *q, PlanRun *r, const ExperimentOption *o, Str *value, Str *key) {
    const char *at = o->value, *from = at, *name;
    size_t before, len;
    int steps = 0;
    str_clear(value), str_clear(key);
    for (; next_reference(&at, &before, &name, &len); from = at) {
        const int v = find_variable(q->e, name, len);
        const PlanRun *other = v < 0 ? experiment_plan_find(q->p, &q->e->step[find_step(q->e, name, len)], r->chosen) : NULL;
        const char *text = v >= 0 ? q->e->variable[v].value[r->chosen[v]] : other->folder;
        str_append(value, from, before), str_append(key, from, before);
        str_puts(value, text), str_puts(key, v >= 0 ? text : other->key);
        if (v < 0) add_need(q->p, r, other), steps++;
    }
    str_puts(value, from), str_puts(key, from);
    return steps;
}

static void add_argument(PlanRun *r, const char *text) {
    r->argv = mem_realloc(r->argv, (size_t)r->argc + 1, sizeof *r->argv);
    r->argv[r->argc++] = mem_strndup(text, strlen(text));
}

// Of a prepare: the file that it finds by itself beside its log.
static int add_beside(Planner *q, PlanRun *r, Str *key) {
    Options o;
    Err why;                    // check_run says what is wrong
    add_argument(r, "--out=."); // the folder has no name yet
    int status = options_parse(&o, r->step->command, r->argc - 1, r->argv + 1, &why);
    char *path = status || file_is_folder(o.data) ? NULL : cmd_prepare_beside(&o);
    if (path) str_puts(key, "beside");
    status = path ? add_input(q, r, key, "data", path, r->step->line) : 0;
    options_free(&o);
    free(r->argv[--r->argc]);
    free(path);
    return status;
}

// What a flag is shows only here, as a variable may have stood for it.
static int add_flag(Planner *q, PlanRun *r, const ExperimentOption *o, const char *value, Str *key) {
    Str argument = {0};
    if (!strcmp(value, "false")) return 0;
    if (strcmp(value, "true")) return fail(q, o->line, "true or false is expected, not", value);
    str_printf(key, "%s\n", o->name);
    str_printf(&argument, "--%s", o->name);
    add_argument(r, argument.data);
    str_free(&argument);
    return 0;
}

static int add_value(Planner *q, PlanRun *r, const ExperimentOption *o, const char *value, const char *counts, int of_step,
                     Str *key) {
    Str argument = {0};
    str_printf(key, "%s: %s", o->name, counts);
    if (!of_step && is_input(r->step->command, o->name) && add_input(q, r, key, o->name, value, o->line)) return -1;
    str_puts(key, "\n");
    str_printf(&argument, "--%s=%s", o->name, value);
    add_argument(r, argument.data);
    str_free(&argument);
    return 0;
}

static int add_options(Planner *q, PlanRun *r, Str *key) {
    Str value = {0}, counts = {0};
    int status = 0, beside = 0;
    for (int i = 0; i < r->step->n && status == 0; i++) {
        const ExperimentOption *o = &r->step->option[i];
        const int steps = expand(q, r, o, &value, &counts);
        beside |= r->step->command->bit == CMD_PREPARE && !strcmp(o->name, "data") && !steps;
        status = o->is_flag ? add_flag(q, r, o, value.data, key) : add_value(q, r, o, value.data, counts.data, steps > 0, key);
    }
    if (status == 0 && beside) status = add_beside(q, r, key);
    str_free(&value), str_free(&counts);
    return status;
}

static void name_run(Planner *q, PlanRun *r) {
    Str s = {0};
    str_puts(&s, r->step->name);
    for (int v = 0; v < q->e->variables; v++)
        if (r->chosen[v] >= 0) str_printf(&s, " %s=%s", q->e->variable[v].name, q->e->variable[v].value[r->chosen[v]]);
    r->label = s.data;
    s = (Str){0};
    str_printf(&s, "%s/%s-%.12s", q->out, r->step->name, r->key);
    r->folder = s.data;
    s = (Str){0};
    str_printf(&s, "--%s=%s", r->step->command->bit == CMD_EVAL ? "save" : "out", r->folder);
    add_argument(r, s.data);
    str_free(&s);
}

// A column that will hold nothing is told of before the hours, not after them. Once a step: its other runs are alike.
static void check_places(const Planner *q, const PlanRun *r, const Options *o) {
    if (!r->step->row || (q->p->runs > 1 && r[-1].step == r->step)) return; // a row is of an eval
    const int places = cmd_eval_places(o);
    for (int i = 0; i < q->e->metrics; i++) {
        const char *k = strchr(q->e->metric[i], '@');
        if (k && atoi(k + 1) > places)
            log_warn("%s: line %d: step %s makes lists of %d, so its row has no %s: beams: %s", q->e->path, r->step->line,
                     r->step->name, places, q->e->metric[i], k + 1);
    }
}

// As the command itself would look at it, so that hours of work do not end at a word written wrongly.
static int check_run(Planner *q, const PlanRun *r) {
    Options o;
    int status = options_parse(&o, r->step->command, r->argc - 1, r->argv + 1, q->err);
    if (status == 0) check_places(q, r, &o);
    options_free(&o);
    return status ? err_prefix(q->err, "%s: line %d: step %s", q->e->path, r->step->line, r->step->name) : 0;
}

// They would share a folder, and be two rows of one run.
static int check_new(Planner *q, const PlanRun *r) {
    for (const PlanRun *before = q->p->run; before < r; before++)
        if (before->step == r->step && !strcmp(before->key, r->key))
            return err_set(q->err, ERR_USAGE, "%s: line %d: '%.200s' and '%.200s' are the same run", q->e->path, r->step->line,
                           before->label, r->label);
    return 0;
}

static int add_run(Planner *q, const ExperimentStep *s, const int *chosen) {
    Plan *p = q->p;
    Str key = {0};
    if (p->runs == PLAN_RUNS) return fail(q, s->line, "more than 10000 runs, from step", s->name);
    p->run = mem_realloc(p->run, (size_t)p->runs + 1, sizeof *p->run);
    PlanRun *r = &p->run[p->runs];
    *r = (PlanRun){.step = s};
    memcpy(r->chosen, chosen, sizeof r->chosen);
    p->runs++;
    add_argument(r, s->command->name);
    str_printf(&key, "latentr3 %s %s\n", LATENTR3_VERSION, s->command->name);
    int status = add_options(q, r, &key);
    if (status == 0) {
        hash_bytes(r->key, key.data, key.len);
        name_run(q, r);
        status = check_new(q, r) || check_run(q, r) ? -1 : 0;
    }
    str_free(&key);
    return status;
}

// Every combination of the variables that a step uses; the last variable changes fastest.
static int add_runs(Planner *q, int step) {
    int chosen[EXPERIMENT_VARIABLES];
    for (int v = 0; v < EXPERIMENT_VARIABLES; v++) chosen[v] = q->uses[step] >> v & 1 ? 0 : -1;
    for (;;) {
        if (add_run(q, &q->e->step[step], chosen)) return -1;
        int v = q->e->variables - 1;
        for (; v >= 0; v--) {
            if (chosen[v] < 0) continue;
            if (++chosen[v] < q->e->variable[v].n) break;
            chosen[v] = 0;
        }
        if (v < 0) return 0;
    }
}

int experiment_plan_make(Plan *p, const Experiment *e, const char *out, Err *err) {
    const size_t n = (size_t)e->steps;
    *p = (Plan){.e = e};
    Planner q = {.p = p, .e = e, .out = out, .err = err, .hash_of = {json_object(), json_object()}};
    q.uses = mem_zalloc(n, sizeof *q.uses), q.state = mem_zalloc(n, 1), q.order = mem_alloc(n, sizeof *q.order);
    int status = 0;
    for (int i = 0; i < e->steps && status == 0; i++) status = visit(&q, i);
    if (status == 0) status = check_used(&q);
    for (int i = 0; i < q.n && status == 0; i++) status = add_runs(&q, q.order[i]);
    free(q.uses), free(q.state), free(q.order);
    json_decref(q.hash_of[0]), json_decref(q.hash_of[1]);
    if (status) experiment_plan_free(p);
    return status;
}

void experiment_plan_free(Plan *p) {
    for (int i = 0; i < p->runs; i++) {
        PlanRun *r = &p->run[i];
        for (int k = 0; k < r->argc; k++) free(r->argv[k]);
        for (int k = 0; k < r->inputs; k++) free(r->input[k].path);
        free(r->argv), free(r->folder), free(r->label), free(r->input), free(r->need);
    }
    free(p->run);
    *p = (Plan){0};
}
