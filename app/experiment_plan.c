#include "app/experiment_plan.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/vec.h"

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
    const char *at = o->value ? o->value : "", *name;
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

// ---- inputs --------------------------------------------------------------------------------------------------------------

// What runs leave beside a model: no part of what it is as an input.
static int is_aside(const char *name) {
    static const char *const aside[] = {"README.md",           "log.jsonl",          "metrics.json",    "curves.csv",
                                        "eval-test.json",      "eval-valid.json",    "eval-train.json", "results-test.jsonl",
                                        "results-valid.jsonl", "results-train.jsonl"};
    for (size_t i = 0; i < sizeof aside / sizeof *aside; i++)
        if (!strcmp(name, aside[i])) return 1;
    return !strncmp(name, "events.out.tfevents.", strlen("events.out.tfevents."));
}

static int hash_folder(char hex[33], const char *path, int of_model, Err *err) {
    struct dirent **entry;
    Str all = {0};
    const int n = scandir(path, &entry, NULL, alphasort);
    int status = n < 0 ? err_errno(err, "%s", path) : 0;
    for (int i = 0; i < n; i++) {
        char *file = file_join(path, entry[i]->d_name), one[33];
        const char *name = entry[i]->d_name;
        if (status == 0 && *name != '.' && !(of_model && is_aside(name)) && !file_is_folder(file)) {
            status = file_hash(one, file, err);
            if (status == 0) str_printf(&all, "%s %s\n", one, name);
        }
        free(file), free(entry[i]);
    }
    if (n >= 0) free(entry);
    if (status == 0) file_hash_bytes(hex, all.data ? all.data : "", all.len);
    str_free(&all);
    return status;
}

// An option that names an input. Where the value is no file, it is the name of a baseline, or the command will say so.
static int is_input(const char *name) {
    static const char *const input[] = {"model", "data", "items", "guidance", "against"};
    for (size_t i = 0; i < sizeof input / sizeof *input; i++)
        if (!strcmp(input[i], name)) return 1;
    return 0;
}

static int put_hash(Planner *q, Str *key, const char *option, const char *path) {
    const int of_model = !strcmp(option, "model") || !strcmp(option, "guidance");
    char hex[33];
    const char *known = json_string_value(json_object_get(q->hash_of[of_model], path));
    if (!known) {
        if (!file_exists(path)) return 0;
        if (file_is_folder(path) ? hash_folder(hex, path, of_model, q->err) : file_hash(hex, path, q->err)) return -1;
        json_object_set_new(q->hash_of[of_model], path, json_string(hex));
        known = hex;
    }
    str_printf(key, " = %s", known);
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

// A value as the command gets it, and as it counts for the key: there a step's folder is the step's key.
static int expand(Planner *q, const PlanRun *r, const ExperimentOption *o, Str *value, Str *key) {
    const char *at = o->value, *from = at, *name;
    size_t before, len;
    int steps = 0;
    str_clear(value);
    str_printf(key, "%s: ", o->name);
    for (; next_reference(&at, &before, &name, &len); from = at) {
        const int v = find_variable(q->e, name, len);
        const PlanRun *other = v < 0 ? experiment_plan_find(q->p, &q->e->step[find_step(q->e, name, len)], r->chosen) : NULL;
        const char *text = v >= 0 ? q->e->variable[v].value[r->chosen[v]] : other->folder;
        str_append(value, from, before), str_append(key, from, before);
        str_puts(value, text), str_puts(key, v >= 0 ? text : other->key);
        steps += v < 0;
    }
    str_puts(value, from), str_puts(key, from);
    if (!steps && is_input(o->name) && put_hash(q, key, o->name, value->data)) return -1;
    str_puts(key, "\n");
    return 0;
}

static void add_argument(PlanRun *r, const char *text) {
    r->argv = mem_realloc(r->argv, (size_t)r->argc + 1, sizeof *r->argv);
    r->argv[r->argc++] = mem_strndup(text, strlen(text));
}

static int add_options(Planner *q, PlanRun *r, Str *key) {
    Str value = {0}, argument = {0};
    int status = 0;
    for (int i = 0; i < r->step->n && status == 0; i++) {
        const ExperimentOption *o = &r->step->option[i];
        str_clear(&argument);
        str_printf(&argument, "--%s", o->name);
        if (o->value) {
            status = expand(q, r, o, &value, key);
            str_printf(&argument, "=%s", value.data);
        } else {
            str_printf(key, "%s\n", o->name);
        }
        if (status == 0) add_argument(r, argument.data);
    }
    str_free(&value), str_free(&argument);
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

// As the command itself would look at it, so that hours of work do not end at a word written wrongly.
static int check_run(Planner *q, const PlanRun *r) {
    Options o;
    int status = options_parse(&o, r->step->command, r->argc - 1, r->argv + 1, q->err);
    options_free(&o);
    return status ? err_prefix(q->err, "%s: line %d: step %s", q->e->path, r->step->line, r->step->name) : 0;
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
        file_hash_bytes(r->key, key.data, key.len);
        name_run(q, r);
        status = check_run(q, r);
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
        free(r->argv), free(r->folder), free(r->label);
    }
    free(p->run);
    *p = (Plan){0};
}
