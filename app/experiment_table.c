#include "app/experiment_table.h"
#include "app/use.h"
#include "base/arena.h"
#include "base/file.h"
#include "report/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPERIMENT_RESAMPLES = 1000, EXPERIMENT_SEED = 42 };

typedef struct Tabling {
    const Plan *p;
    Record *record; // (runs) of the evaluations that make rows; else zeroed
    Table table;
    TableRow *row; // table.row
} Tabling;

// ---- combinations of variables -------------------------------------------------------------------------------------------

static const char SEED[] = "seed"; // the variable that runs are repeated over

static int is_seed(const Plan *p, int variable) {
    return !strcmp(p->e->variable[variable].name, SEED);
}

// The first run of a step shows which variables it uses.
static const PlanRun *first_run(const Plan *p, const ExperimentStep *s) {
    for (int i = 0; i < p->runs; i++)
        if (p->run[i].step == s) return &p->run[i];
    return NULL;
}

// The next combination of the variables in `moves` (bits), the last changing fastest; 0 behind the last.
static int next_chosen(const Plan *p, unsigned moves, int *chosen) {
    for (int v = p->e->variables - 1; v >= 0; v--) {
        if (!(moves >> v & 1)) continue;
        if (++chosen[v] < p->e->variable[v].n) return 1;
        chosen[v] = 0;
    }
    return 0;
}

static unsigned uses_of(const Plan *p, const ExperimentStep *s) {
    const PlanRun *r = first_run(p, s);
    unsigned uses = 0;
    for (int v = 0; v < p->e->variables; v++)
        if (r->chosen[v] >= 0) uses |= 1u << v;
    return uses;
}

static unsigned seed_bit(const Plan *p) {
    for (int v = 0; v < p->e->variables; v++)
        if (is_seed(p, v)) return 1u << v;
    return 0;
}

// ---- rows ------------------------------------------------------------------------------------------------------------------

static const Record *record_of(const Tabling *t, const PlanRun *r) {
    return &t->record[r - t->p->run];
}

static const char *split_of(const PlanRun *r) {
    for (int i = 0; i < r->argc; i++)
        if (!strncmp(r->argv[i], "--split=", 8)) return r->argv[i] + 8;
    return "test";
}

static int open_records(Tabling *t, Err *err) {
    t->record = mem_zalloc((size_t)t->p->runs + 1, sizeof *t->record);
    for (int i = 0; i < t->p->runs; i++) {
        const PlanRun *r = &t->p->run[i];
        if (r->step->row && record_open(&t->record[i], r->folder, split_of(r), err)) return -1;
        if (r->step->row && !t->record[i].evaluation)
            return err_set(err, ERR_DATA, "%s: no evaluation of the split", r->folder);
    }
    return 0;
}

// Each run of the row beside the baseline's that shares its variables. Returns how many.
static int pair_up(const Tabling *t, const ExperimentStep *s, const ExperimentStep *base, const int *at, SpreadPair *pair) {
    const unsigned moves = (uses_of(t->p, s) & seed_bit(t->p)) | (uses_of(t->p, base) & ~uses_of(t->p, s)) |
                           (uses_of(t->p, base) & seed_bit(t->p));
    int chosen[EXPERIMENT_VARIABLES], n = 0;
    memcpy(chosen, at, sizeof chosen);
    for (int v = 0; v < t->p->e->variables; v++)
        if (moves >> v & 1) chosen[v] = 0;
    do {
        const PlanRun *mine = experiment_plan_find(t->p, s, chosen), *other = experiment_plan_find(t->p, base, chosen);
        if (mine != other) pair[n++] = (SpreadPair){record_of(t, mine), record_of(t, other)};
    } while (n < PLAN_RUNS && next_chosen(t->p, moves, chosen));
    return n;
}

static char *label_of(const Plan *p, const ExperimentStep *s, const int *at) {
    Str label = {0};
    str_puts(&label, s->row);
    for (int v = 0; v < p->e->variables; v++)
        if (uses_of(p, s) >> v & 1 && !is_seed(p, v) && p->e->variable[v].n > 1)
            str_printf(&label, ", %s=%s", p->e->variable[v].name, p->e->variable[v].value[at[v]]);
    return label.data;
}

// at: what the row's variables are, but for the seed.
static int add_row(Tabling *t, const ExperimentStep *s, const ExperimentStep *base, const int *at, Err *err) {
    const Plan *p = t->p;
    Table *table = &t->table;
    const unsigned seeds = uses_of(p, s) & seed_bit(p);
    int chosen[EXPERIMENT_VARIABLES], n = 0, status = 0;
    const Record *run[EXPERIMENT_VALUES];
    memcpy(chosen, at, sizeof chosen);
    do run[n++] = record_of(t, experiment_plan_find(p, s, chosen));
    while (n < EXPERIMENT_VALUES && next_chosen(p, seeds, chosen));
    SpreadPair *pair = mem_alloc(PLAN_RUNS, sizeof *pair);
    const int pairs = base && base != s ? pair_up(t, s, base, at, pair) : 0;
    t->row = table->row = mem_realloc(t->row, (size_t)table->rows + 1, sizeof *t->row);
    TableRow *row = &t->row[table->rows++];
    *row = (TableRow){label_of(p, s, at), mem_zalloc((size_t)table->metrics, sizeof *row->value)};
    for (int j = 0; j < table->metrics && status == 0; j++) {
        double x[EXPERIMENT_VALUES];
        for (int i = 0; i < n; i++) x[i] = record_number(run[i]->evaluation, "title", table->metric[j], NULL);
        spread_mean(&row->value[j], x, n);
        status = spread_gain(&row->value[j], pair, pairs, table->metric[j], EXPERIMENT_RESAMPLES, EXPERIMENT_SEED, err);
    }
    free(pair);
    return status;
}

static int add_rows(Tabling *t, const ExperimentStep *s, const ExperimentStep *base, Err *err) {
    const unsigned moves = uses_of(t->p, s) & ~seed_bit(t->p);
    int at[EXPERIMENT_VARIABLES] = {0};
    do
        if (add_row(t, s, base, at, err)) return -1;
    while (next_chosen(t->p, moves, at));
    return 0;
}

static int fill_table(Tabling *t, Err *err) {
    const Experiment *e = t->p->e;
    const ExperimentStep *base = NULL;
    t->table = (Table){.name = e->name, .baseline = e->baseline, .metric = e->metric, .metrics = e->metrics};
    for (int i = 0; i < e->steps; i++)
        if (e->baseline && e->step[i].row && !strcmp(e->step[i].row, e->baseline)) base = &e->step[i];
    for (int i = 0; i < e->steps; i++)
        if (e->step[i].row && add_rows(t, &e->step[i], base, err)) return -1;
    return 0;
}

// ---- results -------------------------------------------------------------------------------------------------------------

static int write_text(const char *folder, const char *name, void (*form)(Str *, const Table *), const Table *t, Err *err) {
    Str text = {0};
    char *path = file_join(folder, name);
    form(&text, t);
    int status = file_write(path, text.data, text.len, err);
    free(path);
    str_free(&text);
    return status;
}

static int write_table(const Tabling *t, const Options *o, Err *err) {
    json_t *json = table_to_json(&t->table);
    char *path = file_join(o->out, "results.json");
    int status = json ? json_save(path, json, err) : err_set(err, ERR_DATA, "%s: a label is no UTF-8", t->p->e->path);
    if (status == 0) status = write_text(o->out, "table.md", table_markdown, &t->table, err);
    if (status == 0) status = write_text(o->out, "table.csv", table_csv, &t->table, err);
    if (status == 0) status = write_text(o->out, "table.tex", table_latex, &t->table, err);
    if (status == 0 && o->json) {
        use_print(json);
    } else if (status == 0) {
        Str text = {0};
        table_markdown(&text, &t->table);
        fputs(text.data, stdout);
        str_free(&text);
    }
    json_decref(json);
    free(path);
    return status;
}

int experiment_table_make(const Plan *p, const Options *o, Err *err) {
    Tabling t = {.p = p};
    int status = open_records(&t, err);
    if (status == 0) status = fill_table(&t, err);
    if (status == 0) status = write_table(&t, o, err);
    for (int i = 0; i < p->runs; i++) record_close(&t.record[i]);
    for (int i = 0; i < t.table.rows; i++) free(t.row[i].label), free(t.row[i].value);
    free(t.record), free(t.row);
    return status;
}
